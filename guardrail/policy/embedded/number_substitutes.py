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

__all__ = ["NUMBERS", "SUBSTITUTES", "whole_number"]


class NumberSpellings:
    """The original spellings of the numbers in an evaluation. OPA preserves them, but the engine
    knows only the values.
    """

    def __init__(self) -> None:
        self.fixed: frozenset[float | str] = frozenset()
        self.input = b""
        self.odd: frozenset[float | str] | None = None
        self.computed: set[float | str] = set()
        """Numbers that functions returned, if OPA writes them in another form than the engine."""

    def load(self, texts: list[str]) -> None:
        """Set the texts of the policies and the data, which all evaluations share."""
        self.fixed = _unusual_spellings("\n".join(texts))

    def set_input(self, body: bytes | str) -> None:
        """Set the input for one evaluation. The input is searched only if a number is formatted."""
        self.input = body if isinstance(body, bytes) else body.encode("utf-8", "surrogatepass")
        self.odd = None
        self.computed.clear()

    def note(self, value: float | str) -> None:
        """Remember a result that OPA writes in another form than the engine."""
        self.computed.add(value)

    def is_spelled_unusually(self, value: float | str) -> bool:
        """Return True if *value* is spelled anywhere in a form other than its shortest."""
        if self.odd is None:
            self.odd = _unusual_spellings(self.input.decode("utf-8", "replace")) | self.fixed
        return value in self.odd or value in self.computed


def _unusual_spellings(text: str) -> frozenset[float | str]:
    """Return the numbers in *text*, JSON or Rego, that are spelled in an unusual form. Digits in
    strings and comments are no numbers; a function that reads numbers from a string calls ``note``
    or raises.
    """
    import re

    found: set[float | str] = set()
    skipped = r'"(?:[^"\\]|\\.)*"|`[^`]*`|\#[^\n]*'
    spelled = r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"
    for written in re.findall(f"{skipped}|({spelled})", text):
        if not written:
            continue
        number = float(written)
        fraction = "." in written or "e" in written or "E" in written
        if fraction and (repr(number) != written or number.is_integer()):
            found.add(number)
            if _figures(written) != _figures(repr(number)):
                found.add(f"long {number!r}")
        if number == 0 and written[0] == "-":
            found |= {0.0, "-0"}
    return frozenset(found)


def _figures(written: str) -> str:
    return written.lower().partition("e")[0].replace(".", "").strip("-0")


NUMBERS = NumberSpellings()
"""The spellings for the current evaluation. A worker evaluates one request at a time."""


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


def whole_number(value: object) -> int:
    """Return an integer below 2^31 that is written as one. Raises ``ValueError``."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("not a whole number")
    if NUMBERS.is_spelled_unusually(value) or abs(value) >= 2**31:
        raise ValueError("a large number, or one that was written as a fraction")
    return value


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


def bits_negate(value: int) -> int:
    """Return *value* with all bits inverted."""
    return _require_64_bits(~_require_written_integer(value))


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
    "bits.negate": (1, bits_negate),
    "bits.or": (2, bits_or),
    "bits.rsh": (2, bits_rsh),
    "bits.xor": (2, bits_xor),
    "ceil": (1, ceil),
    "floor": (1, floor),
    "format_int": (2, format_int),
    "round": (1, round_),
}
"""(number of arguments, replacement) for each function, keyed by name."""
