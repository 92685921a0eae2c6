"""Replacements for built-in functions that handle numbers, including numbers in strings. They
return the same results as OPA.

Like ``substitutes``, this module is loaded by the worker and does not import guardrail. A function
raises ``ValueError`` if OPA does not return a result either, or if OPA's result depends on
information that the engine lacks: the original spelling of a number, which OPA preserves, or digits
beyond 64 bits.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["NUMBERS", "SUBSTITUTES"]


class NumberSpellings:
    """The original spellings of the numbers in an evaluation. OPA preserves them, but the engine
    knows only the values.
    """

    def __init__(self) -> None:
        self.fixed: frozenset[float | str] = frozenset()
        self.input = b""
        self.odd: frozenset[float | str] | None = None

    def load(self, texts: list[str]) -> None:
        """Set the texts of the policies and the data, which all evaluations share."""
        self.fixed = _unusual_spellings("\n".join(texts))

    def set_input(self, body: bytes | str) -> None:
        """Set the input for one evaluation. The input is searched only if a number is formatted."""
        self.input = body if isinstance(body, bytes) else body.encode("utf-8", "surrogatepass")
        self.odd = None

    def is_spelled_unusually(self, value: float | str) -> bool:
        """Return True if *value* is spelled anywhere in a form other than its shortest."""
        if self.odd is None:
            self.odd = _unusual_spellings(self.input.decode("utf-8", "replace")) | self.fixed
        return value in self.odd


def _unusual_spellings(text: str) -> frozenset[float | str]:
    import re

    found: set[float | str] = set()
    for written in re.findall(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?", text):
        number = float(written)
        fraction = "." in written or "e" in written or "E" in written
        if fraction and (repr(number) != written or number.is_integer()):
            found.add(number)
        if number == 0 and written[0] == "-":
            found |= {0.0, "-0"}
    return frozenset(found)


NUMBERS = NumberSpellings()
"""The spellings for the current evaluation. A worker evaluates one request at a time."""

_RANKS = {type(None): 0, bool: 1, int: 2, float: 2, str: 3}


def sprintf(text: str, values: list[Any]) -> str:
    """Return *text* with its verbs ``%v``, ``%s`` and ``%d`` replaced as in Go.

    Raises ``ValueError`` if *text* has other verbs, if the numbers of verbs and values differ, or
    if OPA might print a number in its original spelling.
    """
    if not isinstance(values, list):
        raise ValueError("not an array")
    if not isinstance(text, str):
        raise ValueError("not a text")
    pieces = text.split("%")
    found = [pieces[0]]
    rest = iter(values)
    index = 1
    while index < len(pieces):
        piece = pieces[index]
        if piece == "" and index + 1 < len(pieces):
            found.append("%" + pieces[index + 1])
            index += 2
            continue
        if piece[:1] not in {"v", "s", "d"}:
            raise ValueError("another verb")
        found += [_format_verb(piece[0], next(rest, _MISSING)), piece[1:]]
        index += 1
    if next(rest, _MISSING) is not _MISSING:
        raise ValueError("more values than verbs")
    return "".join(found)


_MISSING = object()


def _format_verb(verb: str, value: object) -> str:
    if value is _MISSING:
        raise ValueError("more verbs than values")
    if isinstance(value, str):
        return f"%!d(string={value})" if verb == "d" else value
    if isinstance(value, int | float) and not isinstance(value, bool):
        # OPA prints 0.0 as 0, but keeps the sign of -0.0.
        if NUMBERS.is_spelled_unusually(value) and (
            verb != "v" or abs(value) >= 1e6 or (value == 0 and NUMBERS.is_spelled_unusually("-0"))
        ):
            raise ValueError("a number that was written in another form")
        if isinstance(value, float):
            short = _format_float(value)
            return short if verb == "v" else f"%!{verb}(float64={short})"
        if abs(value) >= 2**63 and verb == "s":
            raise ValueError("a large number")
        return f"%!s(int64={value})" if verb == "s" else str(value)
    written = _format_value(value)
    return f"%!d(string={written})" if verb == "d" else written


def _format_float(value: float) -> str:
    """Return *value* as Go formats it: with an exponent if it is one million or more."""
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
            f"{_format_value(key)}: {_format_value(value[key])}" for key in _sorted_members(value)
        ]
        return "{" + ", ".join(members) + "}"
    if isinstance(value, set):
        return (
            "{" + ", ".join(map(_format_value, _sorted_members(value))) + "}" if value else "set()"
        )
    raise ValueError("another type")


def _sorted_members(members: Any) -> list[Any]:
    # In Python, 1 == True, so converting a set to Python could have dropped one of them.
    if any(isinstance(member, bool) or member in (0, 1) for member in members):
        raise ValueError("a set or the keys of an object contain 0, 1, true or false")
    ranks = [_RANKS.get(type(member), 9) for member in members]
    if 9 in ranks:
        raise ValueError("another type")
    return sorted(
        members, key=lambda member: (_RANKS[type(member)], 0 if member is None else member)
    )


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
        # A later version of Unicode can assign this code point.
        raise ValueError("a character that is not assigned")
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


_SAFE = 2**53
"""Upper limit for rounded numbers. Sums and differences of a few such numbers fit in 64 bits."""


def round_(value: float) -> int:
    """Return the integer nearest to *value*. If two are equally near, return the one farther from
    zero.
    """
    whole, rest = divmod(abs(_require_number(value)), 1)
    return _require_53_bits(int(whole + (rest >= 0.5)) * (-1 if value < 0 else 1))


def ceil(value: float) -> int:
    """Return the smallest integer that is not less than *value*."""
    return _require_53_bits(int(-(-_require_no_small_fraction(value) // 1)))


def floor(value: float) -> int:
    """Return the largest integer that is not greater than *value*."""
    return _require_53_bits(int(_require_no_small_fraction(value) // 1))


def _require_number(value: object) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("not a number")
    return value


def _require_no_small_fraction(value: object) -> int | float:
    # OPA returns 0 for floor(-0.5), and 1 for ceil(-0.5).
    if -1 < _require_number(value) < 0:
        raise ValueError("a fraction between -1 and 0")
    return _require_number(value)


def _require_53_bits(value: int) -> int:
    if abs(value) >= _SAFE:
        raise ValueError("a number of more than 53 bits")
    return value


def format_int(value: float, base: int) -> str:
    """Return *value*, truncated to an integer, in base 2, 8, 10 or 16."""
    # The preflight requires a literal base, so a call can't pass 10.0, which OPA refuses.
    form = {2: "b", 8: "o", 10: "d", 16: "x"}.get(base)
    if form is None:
        raise ValueError("another base")
    return format(int(_require_number(value)), form)


def sum_(values: list[int] | set[int]) -> int:
    """Return the sum of integers."""
    return _require_64_bits(sum(map(_require_integer, _require_collection(values))))


def product(values: list[int] | set[int]) -> int:
    """Return the product of integers."""
    found = 1
    for value in _require_collection(values):
        found = _require_64_bits(found * _require_integer(value))
    return found


def bits_and(one: int, other: int) -> int:
    """Return the bits that are set in both integers."""
    return _require_64_bits(_require_written_integer(one) & _require_written_integer(other))


def bits_or(one: int, other: int) -> int:
    """Return the bits that are set in at least one of the integers."""
    return _require_64_bits(_require_written_integer(one) | _require_written_integer(other))


def bits_xor(one: int, other: int) -> int:
    """Return the bits that are set in exactly one of the integers."""
    return _require_64_bits(_require_written_integer(one) ^ _require_written_integer(other))


def bits_rsh(value: int, by: int) -> int:
    """Return *value* shifted to the right."""
    if not 0 <= _require_integer(by) < 64:
        raise ValueError("a shift beyond 64 bits")
    return _require_64_bits(_require_written_integer(value) >> by)


def _require_collection(values: object) -> list[Any]:
    if not isinstance(values, list | set):
        raise ValueError("not an array or set")
    return list(values)


def _require_integer(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("not a whole number")
    return value


def _require_written_integer(value: object) -> int:
    # OPA refuses 1.0, which the engine passes as 1.
    if NUMBERS.is_spelled_unusually(_require_integer(value)):
        raise ValueError("a number that was written as a fraction")
    return _require_integer(value)


def _require_64_bits(value: int) -> int:
    if not -(2**63) <= value < 2**64:
        raise ValueError("a number of more than 64 bits")
    return value


SUBSTITUTES: dict[str, tuple[int, Callable[..., Any]]] = {
    "bits.and": (2, bits_and),
    "bits.or": (2, bits_or),
    "bits.rsh": (2, bits_rsh),
    "bits.xor": (2, bits_xor),
    "ceil": (1, ceil),
    "floor": (1, floor),
    "format_int": (2, format_int),
    "product": (1, product),
    "round": (1, round_),
    "sprintf": (2, sprintf),
    "sum": (1, sum_),
}
"""(number of arguments, replacement) for each function, keyed by name."""
