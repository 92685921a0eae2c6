"""Finds the end of a secret that contains a sign which usually ends a value."""

from __future__ import annotations

import re

__all__ = ["secret_end"]

_SIGNS = r"&,;|(){}\[\]<>'\"`"
# Signs and further characters, up to the next blank. With "=" or ":", the rest is the next
# parameter ("&user=bob"). A tag is markup after the value, and a
# lower-case word after a separator of a shell is the next command. The size is bounded, because the
# pattern is tried after each value.
_TAIL = re.compile(
    rf"(?!</?[A-Za-z][\w\-]{{0,16}} ?/?>|(?:;|\|\|?|&&)[a-z./]{{1,32}}(?:[ \t]|\Z))"
    rf"(?P<tail>(?:[{_SIGNS}]{{1,4}}[^\s{_SIGNS}=:\\\x00\x01]{{1,32}}){{1,6}})"
    r"[)\]}>.,;!?]{0,3}(?=[\s\x00\x01]|\Z)"
)
_OPENING = {")": "(", "]": "[", "}": "{", ">": "<"}
_AFTER = r"(?=[\s,;:.)\]}&<\x00\x01]|\Z)"
_REST = {
    sign: re.compile(
        rf"(?P<tail>(?:\\[^\r\n\x00\x01]|[^{sign}\\\r\n\x00\x01]){{1,128}}){sign}{_AFTER}"
    )
    for sign in "\"'`"
}
_ESCAPED_REST = {
    sign: re.compile(rf"(?P<tail>[^{sign}\\\r\n\x00\x01]{{1,128}})\\{{1,3}}{sign}{_AFTER}")
    for sign in "\"'`"
}


def secret_end(text: str, end: int, quoted: re.Match[str] | None) -> int:
    """Return the end of the secret whose usual end is *end*, the first quote, backslash or sign
    after it. *quoted* is the match of a value in quotes, whose group ``q`` is the opening quote.

    A password can contain any sign, as in ``password: Tr0ub&4dor`` and ``'Tr0ub"4dor'``. A value
    without quotes goes on after a sign, unless that is the next parameter, markup, or the syntax
    around the value. A value in quotes goes on to the same quote in the same line.
    """
    if quoted is None:
        pattern = _TAIL
    else:
        sign, at = quoted.group("q"), quoted.start("q")
        escaped = text[at - 1 : at] == "\\"
        if text.startswith(f"\\{sign}" if escaped else sign, end):
            return end
        pattern = (_ESCAPED_REST if escaped else _REST)[sign]
    match = pattern.match(text, end)
    if match is None:
        return end
    last = match.end("tail")
    opening = _OPENING.get(text[last : last + 1])
    # as in Summer(2024)
    return last + (quoted is None and opening is not None and opening in match.group("tail"))
