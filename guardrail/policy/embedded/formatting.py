"""Formats text as OPA's ``sprintf`` does: Go's ``fmt.Sprintf`` over OPA's conversion of terms.

OPA passes a whole number as int64 or big.Int, any other number as float64, and everything else as a
string: a string itself, any other value in Rego syntax. Like ``substitutes``, this module is loaded
by the worker and does not import guardrail. A function raises ``ValueError`` if OPA's result is not
known.
"""

from __future__ import annotations

from number_substitutes import NUMBERS  # type: ignore[import-not-found]  # found in its own folder
from rego_values import sorted_members  # type: ignore[import-not-found]  # found in its own folder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

__all__ = ["SUBSTITUTES"]

_FLAGS = frozenset("+-# 0")
_DIGITS = frozenset("0123456789")
_WIDEST = 1_000
"""Largest width and precision. Go's limit is a million, which would use up memory."""


class _Verb:
    """One verb of a format with its flags."""

    def __init__(self, flags: str, width: int | None, precision: int | None, letter: str) -> None:
        self.minus = "-" in flags
        self.plus = "+" in flags
        self.sharp = "#" in flags
        self.space = " " in flags
        # Go ignores the flag 0 if the text is aligned to the left.
        self.zero = "0" in flags and not self.minus
        self.width = width
        self.precision = precision
        self.letter = letter
        # For %v, these two ask for names of fields and for Go syntax.
        self.go_syntax = letter == "v" and self.sharp
        self.names = letter == "v" and self.plus
        if letter == "v":
            self.plus = self.sharp = False

    @property
    def plain(self) -> bool:
        """True if there are no flags, no width and no precision."""
        flags = self.minus or self.plus or self.sharp or self.space or self.zero or self.go_syntax
        return not flags and self.width is None and self.precision is None

    def with_letter(self, letter: str) -> _Verb:
        """Return the same flags with another letter."""
        found = _Verb("", self.width, self.precision, letter)
        found.minus, found.plus, found.sharp = self.minus, self.plus, self.sharp
        found.space, found.zero = self.space, self.zero
        return found

    def pad(self, text: str) -> str:
        """Return *text* padded to the width, with zeros if the flag 0 is set."""
        missing = (self.width or 0) - len(text)
        if missing <= 0:
            return text
        if self.minus:
            return text + " " * missing
        return ("0" if self.zero else " ") * missing + text


def sprintf(text: str, values: list[Any]) -> str:
    """Return *text* with its verbs replaced as in OPA, including Go's reports of wrong types,
    missing values and extra values.

    Raises ``ValueError`` for widths from an argument, for indexes of arguments, and for numbers
    that OPA might print in their original spelling.
    """
    if not isinstance(values, list):
        raise ValueError("not an array")
    if not isinstance(text, str):
        raise ValueError("not a text")
    found: list[str] = []
    used = 0
    for piece in _pieces(text):
        if isinstance(piece, str):
            found.append(piece)
        elif piece.letter == "":
            found.append("%!(NOVERB)")
        elif piece.letter == "%":
            found.append("%")
        elif used >= len(values):
            found.append(f"%!{piece.letter}(MISSING)")
        else:
            found.append(_format(piece, values[used]))
            used += 1
    if used < len(values):
        plain = _Verb("", None, None, "v")
        extra = [f"{_type_of(value, plain)}={_format(plain, value)}" for value in values[used:]]
        found.append(f"%!(EXTRA {', '.join(extra)})")
    return "".join(found)


def template(parts: list[Any]) -> str:
    """Return the text of a template string. *parts* are texts, and a list for each expression with
    its value, or without a value if the expression is undefined.
    """
    if not isinstance(parts, list):
        raise ValueError("not an array")
    found: list[str] = []
    for part in parts:
        if isinstance(part, str):
            found.append(part)
        elif not isinstance(part, list) or len(part) > 1:
            raise ValueError("an expression with several values")
        elif not part:
            found.append("<undefined>")
        else:
            found.append(part[0] if isinstance(part[0], str) else _format_value(part[0]))
    return "".join(found)


def _pieces(text: str) -> Iterator[str | _Verb]:
    """Yield the parts of a format in order. A format that ends within a verb yields a verb without
    a letter.
    """
    at = 0
    while True:
        sign = text.find("%", at)
        if sign < 0:
            yield text[at:]
            return
        yield text[at:sign]
        at = start = sign + 1
        while text[at : at + 1] in _FLAGS and at < len(text):
            at += 1
        flags = text[start:at]
        width, at = _number(text, at)
        precision = None
        if text[at : at + 1] == ".":
            precision, at = _number(text, at + 1)
            precision = precision or 0
        letter = text[at : at + 1]
        if letter and letter in "*[":
            raise ValueError("a width or an index from an argument")
        at += 1
        yield _Verb(flags, width, precision, letter)


def _number(text: str, at: int) -> tuple[int | None, int]:
    end = at
    while text[end : end + 1] in _DIGITS and end < len(text):
        end += 1
    if end - at > 4 or (end > at and int(text[at:end]) > _WIDEST):
        raise ValueError("a large width or precision")
    return (int(text[at:end]) if end > at else None), end


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _type_of(value: object, verb: _Verb) -> str:
    """Return the name of the type of *value* in Go."""
    if not _is_number(value):
        return "string"
    # A number may have been written 1.0, which OPA passes as float64.
    if NUMBERS.is_spelled_unusually(value):
        raise ValueError("a number that was written in another form")
    if isinstance(value, float):
        return "float64"
    assert isinstance(value, int)
    if -(2**63) <= value < 2**63:
        return "int64"
    return "*big.Int" if verb.letter in {"v", "T", "w"} else "big.Int"


def _format(verb: _Verb, value: object) -> str:
    """Return one value as *verb* prints it."""
    if verb.letter == "T":
        return _text(verb.with_letter("s"), _type_of(value, verb))
    if verb.letter == "p" or (verb.letter == "w" and not verb.plain):
        raise ValueError("an address, or an error with flags")
    if not _is_number(value):
        return _text(verb, value if isinstance(value, str) else _format_value(value))
    assert isinstance(value, int | float)
    if NUMBERS.is_spelled_unusually(value):
        # A fraction of zero is written as a whole number, unless it has a sign.
        small = abs(value) < 1e6 and not (value == 0 and NUMBERS.is_spelled_unusually("-0"))
        if verb.letter != "v" or not verb.plain or not small:
            raise ValueError("a number that was written in another form")
    if isinstance(value, float):
        return _float(verb, value)
    if -(2**63) <= value < 2**63:
        return _whole(verb, value)
    if verb.letter not in {"v", "d", "s"} or not verb.plain or verb.names:
        raise ValueError("a large number")
    return str(value)


def _bad(verb: _Verb, kind: str, shown: Callable[[_Verb], str]) -> str:
    """Return Go's report of a value that does not fit its verb."""
    return f"%!{verb.letter}({kind}={shown(verb.with_letter('v'))})"


def _text(verb: _Verb, value: str) -> str:
    letter = verb.letter
    if letter not in {"v", "s", "q", "x", "X"}:
        return _bad(verb, "string", lambda plain: _text(plain, value))
    if letter == "v" and verb.go_syntax:
        letter = "q"
    cut = value if verb.precision is None else value[: verb.precision]
    if letter in {"v", "s"}:
        return verb.pad(cut)
    if letter == "q":
        if verb.sharp or verb.plus:
            raise ValueError("a quoted text with flags")
        return verb.pad(_quote(cut))
    if verb.sharp or verb.space or verb.precision is not None:
        raise ValueError("hexadecimal text with flags")
    digits = value.encode("utf-8").hex()
    return verb.pad(digits if letter == "x" else digits.upper())


_BASES = {"d": "d", "v": "d", "b": "b", "o": "o", "O": "o", "x": "x", "X": "X"}
_PREFIXES = {"b": "0b", "o": "0", "x": "0x", "X": "0X"}


def _whole(verb: _Verb, value: int) -> str:
    """Return a number of at most 64 bits as Go prints an int64."""
    letter = verb.letter
    if letter in {"c", "q", "U"}:
        raise ValueError("a number as a character")
    if letter not in _BASES:
        return _bad(verb, "int64", lambda plain: _whole(plain, value))
    if verb.go_syntax:
        raise ValueError("a number in Go syntax")
    digits = format(abs(value), _BASES[letter])
    zero = verb.zero
    if verb.precision is not None:
        zero = False
        if verb.precision == 0 and value == 0:
            # Go writes nothing but the padding.
            return " " * (verb.width or 0)
        digits = digits.rjust(verb.precision, "0")
    sign = "-" if value < 0 else "+" if verb.plus else " " if verb.space else ""
    if verb.sharp and letter in _PREFIXES and verb.precision is None and not zero:
        prefix = _PREFIXES[letter]
        digits = digits if letter == "o" and digits[0] == "0" else prefix + digits
    elif verb.sharp and letter in _PREFIXES:
        raise ValueError("a prefix with a width of zeros")
    if zero and verb.width is not None:
        digits = digits.rjust(verb.width - len(sign), "0")
    if letter == "O":
        if zero or verb.sharp or verb.precision is not None:
            raise ValueError("a prefix with a width of zeros")
        digits = "0o" + digits
    written = sign + digits
    missing = (verb.width or 0) - len(written)
    return written + " " * missing if verb.minus else " " * missing + written


def _float(verb: _Verb, value: float) -> str:
    """Return a number as Go prints a float64."""
    letter = verb.letter
    if letter in {"b", "x", "X"}:
        raise ValueError("a float in another base")
    if letter not in {"v", "e", "E", "f", "F", "g", "G"}:
        return _bad(verb, "float64", lambda plain: _float(plain, value))
    if verb.sharp or verb.go_syntax:
        raise ValueError("a float with a sharp")
    if letter in {"v", "g", "G"}:
        written = _shortest_or_rounded(abs(value), verb.precision)
    else:
        precision = 6 if verb.precision is None else verb.precision
        written = format(abs(value), f".{precision}{'f' if letter in {'f', 'F'} else 'e'}")
    if letter in {"E", "G"}:
        written = written.upper()
    negative = value < 0 or (value == 0 and str(value)[0] == "-")
    sign = "-" if negative else "+" if verb.plus else " " if verb.space else ""
    if verb.zero and sign and verb.width is not None:
        return sign + written.rjust(verb.width - 1, "0")
    return verb.pad(sign + written)


def _shortest_or_rounded(value: float, precision: int | None) -> str:
    """Return a positive *value* for the verb ``%g``."""
    if precision is None:
        return _format_float(value)
    digits = max(precision, 1)
    mantissa, _, exponent = format(value, f".{digits - 1}e").partition("e")
    figures = mantissa.replace(".", "").rstrip("0") or "0"
    power = int(exponent)
    limit = digits
    if limit > len(figures) and len(figures) >= power + 1:
        limit = len(figures)
    if power < -4 or power >= limit:
        fraction = "." + figures[1:] if len(figures) > 1 else ""
        return f"{figures[0]}{fraction}e{'-' if power < 0 else '+'}{abs(power):02d}"
    return format(value, f".{max(len(figures) - power - 1, 0)}f")


def _format_float(value: float) -> str:
    """Return *value* as Go formats it: with an exponent from one million on."""
    if value == 0 or 1e-4 <= abs(value) < 1e6:
        short = repr(value)
        return short.removesuffix(".0")
    mantissa, _, exponent = f"{value!r}".partition("e")
    digits, point = mantissa.lstrip("-").partition(".")[::2]
    power = int(exponent or 0) + len(digits) - 1
    figures = (digits + point).lstrip("0")
    if not digits.strip("0"):
        power -= len(point) - len(point.lstrip("0")) + 1
    figures = figures.rstrip("0") or "0"
    sign = "-" if value < 0 else ""
    fraction = "." + figures[1:] if len(figures) > 1 else ""
    return f"{sign}{figures[0]}{fraction}e{'-' if power < 0 else '+'}{abs(power):02d}"


def _format_value(value: object) -> str:
    """Return *value* in Rego syntax."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _quote(value)
    if isinstance(value, int | float):
        if NUMBERS.is_spelled_unusually(value):
            raise ValueError("a number that was written in another form")
        return repr(value)
    if isinstance(value, list):
        return "[" + ", ".join(map(_format_value, value)) + "]"
    if isinstance(value, dict):
        members = [
            f"{_format_value(key)}: {_format_value(value[key])}" for key in sorted_members(value)
        ]
        return "{" + ", ".join(members) + "}"
    if isinstance(value, set):
        return (
            "{" + ", ".join(map(_format_value, sorted_members(value))) + "}" if value else "set()"
        )
    raise ValueError("another type")


_ESCAPES = {7: "a", 8: "b", 12: "f", 10: "n", 13: "r", 9: "t", 11: "v", 92: "\\", 34: '"'}


def _quote(text: str) -> str:
    """Return *text* in quotes, escaped as in Go."""
    if text.isascii() and text.isprintable() and "\\" not in text and '"' not in text:
        return f'"{text}"'
    return '"' + "".join([_escape_character(character) for character in text]) + '"'


def _escape_character(character: str) -> str:
    code = ord(character)
    if code in _ESCAPES:
        return "\\" + _ESCAPES[code]
    if character.isprintable():
        return character
    if code < 0x20 or code == 0x7F:
        return f"\\x{code:02x}"
    import unicodedata

    if unicodedata.category(character) == "Cn":
        # A later version of Unicode may assign this character.
        raise ValueError("a character that is not assigned")
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


SUBSTITUTES: dict[str, tuple[int, Callable[..., Any]]] = {
    "guardrail.template": (1, template),
    "sprintf": (2, sprintf),
}
"""Number of arguments and replacement of each function, by name."""
