"""Decodes a text in all plausible ways, so that values are found even if they are escaped."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from html import unescape
from urllib.parse import unquote

from guardrail.core.redaction.entities import decode_entities
from guardrail.core.redaction.marks import normalised

__all__ = ["decodings"]

_DEEP = 3
"""Maximum number of nested encodings."""

_ESCAPE = re.compile(
    r"\\(?:u\{([0-9a-fA-F]{1,6})\}|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|x([0-9a-fA-F]{2})|([0-3]?[0-7]{1,2})|(.))",
    re.DOTALL,
)
# Escaped octets, as in the representation of bytes in Python and in C. Two or more that are not ASCII
# can be the UTF-8 encoding of a character.
_OCTETS = re.compile(r"(?:\\(?:x[89a-fA-F][0-9a-fA-F]|[23][0-7]{2})){2,}")
_SIMPLE = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}
_WIDE = re.compile(r"%u([0-9a-fA-F]{4})")
_HIGH = re.compile("%[89a-fA-F][0-9a-fA-F]")
_QUOTED_PRINTABLE = re.compile("=(?:([0-9A-Fa-f]{2})|[ \t]*\r?\n)")
_QUOTED = re.compile("=(?:[2-7][0-9A-Fa-f]|[89A-Fa-f][0-9A-Fa-f]=|[ \t]*\r?\n)")
"""Quoted-printable encoding of a value: printable ASCII, several octets of UTF-8, or a continued
line (RFC 2045 6.7).
"""
_PLUS = re.compile(r"\+(?<=[^\s\x00]\+)[^\s\x00]")
"""A plus sign that can stand for a space: inside a value, not at the beginning of a number or of
one of several joined texts.

The pattern begins with a literal character, because ``re`` searches for literals quickly.
"""
_BETWEEN_DIGITS = b"-:,;._+ \t\n\r\x0b\x0c"
"""Separators of digits, including a plus sign, which stands for a space in a form."""
_KINDS = bytes(0x30 if chr(one) in "0123456789abcdefABCDEF" else 0x78 for one in range(256))
_MANY_DIGITS = b"0" * 12
_HEX_RUN = re.compile(rb"[0-9a-f]{12,}")
_LINE_END = re.compile(r"[A-Za-z0-9+/_-]{8}")


def decodings(
    text: str, spend: Callable[[int], None], *, blanks: bool = True, runs: bool = True
) -> Iterator[str]:
    """Yield *text* with its escapes decoded: each kind of escape separately and all kinds together,
    up to three levels deep.

    The results are in the form used for searches. *spend* is called with the amount of work. If
    *blanks* is False, a plus sign is never read as a space, because no searched value contains a
    space. If *runs* is False, the hex digits and the lines of *text* itself are not joined.
    """
    seen = {text}
    pending = [text]
    for _ in range(_DEEP):
        following: list[str] = []
        for known in pending:
            for joined in _joined(known) if runs or known is not text else ():
                spend(len(known))
                if joined not in seen:
                    seen.add(joined)
                    yield joined
            for plain in _readings(known, blanks):
                spend(len(known))
                if plain not in seen:
                    seen.add(plain)
                    # Two escapes can be the halves of one character, and the result may have to be
                    # normalised again.
                    whole = plain.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
                    yield whole if whole.isascii() else normalised(whole)
                    following.append(plain)
        pending = following


def _readings(text: str, blanks: bool) -> Iterator[str]:
    plus = blanks and "+" in text and _PLUS.search(text) is not None
    if "%" in text:
        # A plus sign stands for itself in a path and for a space in a form. Octets are UTF-8 or,
        # from old programs, Latin-1.
        yield unquote(text, errors="replace")
        if plus:
            yield unquote(text.replace("+", " "), errors="replace")
        if _HIGH.search(text):
            yield unquote(text, encoding="latin-1")
        if "%u" in text:
            yield _WIDE.sub(lambda match: chr(int(match[1], 16)), text)
    elif plus:
        yield text.replace("+", " ")
    if "\\" in text:
        yield _ESCAPE.sub(_unescape, text)
        if _OCTETS.search(text):
            yield _ESCAPE.sub(_unescape, _OCTETS.sub(_decode_octets, text))
    if "&" in text:
        yield decode_entities(text)
        yield unescape(text)  # the semicolon is optional
    if "=" in text and _QUOTED.search(text):
        octets = _QUOTED_PRINTABLE.sub(_percent, text.replace("%", "%25"))
        yield unquote(octets, errors="replace")


def _unescape(match: re.Match[str]) -> str:
    braced, wide, wider, narrow, octal, simple = match.groups()
    if simple is not None:
        return _SIMPLE.get(simple, simple)
    code = int(octal, 8) if octal else int(braced or wide or wider or narrow, 16)
    return chr(code) if code <= 0x10FFFF else match.group()


def _decode_octets(match: re.Match[str]) -> str:
    codes = (
        int(code[1:], 16) if code[0] == "x" else int(code, 8)
        for code in match.group().split("\\")[1:]
    )
    return bytes(codes).decode("utf-8", "replace")


def _percent(match: re.Match[str]) -> str:
    return f"%{match[1]}" if match[1] else ""


def _joined(text: str) -> Iterator[str]:
    """Yield the long runs of hex digits in *text*, without separators and in lower case. Also yield
    *text* as one line if it can be a hex encoding.
    """
    octets = text.encode("ascii", "replace")
    if "0x" in text or "0X" in text:
        octets = octets.lower().replace(b"0x", b"")
    # Hex digits become "0" and all other characters "x", so that a run of twelve digits is easy to
    # find.
    if _MANY_DIGITS in octets.translate(_KINDS, _BETWEEN_DIGITS):
        digits = octets.lower().translate(None, _BETWEEN_DIGITS)
        yield "\n".join(run.decode("ascii") for run in _HEX_RUN.findall(digits))
    if ("\n" in text or "\r" in text) and any(
        _LINE_END.fullmatch(line.rstrip()[-8:]) for line in text.splitlines()[:-1]
    ):
        yield "".join(text.split())
