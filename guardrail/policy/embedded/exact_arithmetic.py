"""Arithmetic as OPA does it: with mantissas of 64 bits, and results in the shortest decimal form.

``0.1 + 0.2`` is 0.3 in OPA. The engine's own arithmetic uses 53 bits. Like ``substitutes``, this
module is loaded by the worker and does not import guardrail. A function raises ``ValueError`` if
OPA raises an error too, or if its result has more digits than the engine supports.
"""

from __future__ import annotations

from number_substitutes import NUMBERS  # type: ignore[import-not-found]  # found in its own folder
from rego_values import require_complete  # type: ignore[import-not-found]  # found in its own folder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["SUBSTITUTES", "number_of", "rounded_ratio"]

_BITS = 64
_DIGITS = 15
"""Maximum number of decimal digits of a fraction that the engine represents exactly."""
_LARGEST = 2**63


def _ten(power: int) -> int:
    """Return ten to the power of *power*, or 1 if that is negative."""
    return int(10 ** max(power, 0))


class _Binary:
    """A number with a mantissa of at most 64 bits: ``mantissa * 2**exponent``."""

    __slots__ = ("exponent", "mantissa")

    def __init__(self, mantissa: int, exponent: int) -> None:
        self.mantissa = mantissa
        self.exponent = exponent

    @property
    def ratio(self) -> tuple[int, int]:
        """Numerator and denominator."""
        if self.exponent >= 0:
            return self.mantissa << self.exponent, 1
        return self.mantissa, 1 << -self.exponent


def _rounded(numerator: int, denominator: int, bits: int = _BITS) -> _Binary:
    """Return the nearest number with that many *bits*; of two, the one that is even."""
    sign = -1 if (numerator < 0) != (denominator < 0) else 1
    top, bottom = abs(numerator), abs(denominator)
    if not top:
        return _Binary(0, 0)
    shift = bits - (top.bit_length() - bottom.bit_length())
    while True:
        whole, rest = divmod(top << shift, bottom) if shift >= 0 else divmod(top, bottom << -shift)
        length = whole.bit_length()
        if length <= bits:
            break
        shift -= 1
    if length < bits:
        shift += 1
        whole, rest = divmod(top << shift, bottom) if shift >= 0 else divmod(top, bottom << -shift)
    unit = bottom if shift >= 0 else bottom << -shift
    if 2 * rest > unit or (2 * rest == unit and whole & 1):
        whole += 1
    return _Binary(sign * whole, -shift)


def _operand(value: object) -> _Binary:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("not a number")
    if isinstance(value, int):
        return _rounded(value, 1)
    if NUMBERS.is_spelled_unusually(f"long {value!r}"):
        raise ValueError("a number with more digits than the engine keeps")
    digits, _, exponent = repr(value).partition("e")
    whole, _, fraction = digits.partition(".")
    power = int(exponent or 0) - len(fraction)
    number = int(whole + fraction)
    if abs(power) > 400:
        raise ValueError("not a finite number")
    return _rounded(number * _ten(power), _ten(-power))


def rounded_ratio(numerator: int, denominator: int) -> tuple[int, int]:
    """Return numerator and denominator of the nearest number of 64 bits."""
    return _rounded(numerator, denominator).ratio


def number_of(numerator: int, denominator: int) -> int | float:
    """Return the number that the engine uses for OPA's result, a number of 64 bits."""
    found = _rounded(numerator, denominator)
    top, bottom = found.ratio
    if top % bottom == 0:
        whole = top // bottom
        if abs(whole) >= _LARGEST:
            raise ValueError("a number of more than 63 bits")
        return whole
    text = _shortest(abs(found.mantissa), found.exponent)
    value = float(text) * (-1 if top < 0 else 1)
    if not 1e-4 <= abs(value) < 1e6:
        # In a list, OPA writes this number with an exponent.
        NUMBERS.note(value)
    return value


def _shortest(mantissa: int, exponent: int) -> str:
    """Return the shortest decimal number that identifies a number of 64 bits."""
    shift = _BITS - mantissa.bit_length()
    mantissa, exponent = mantissa << shift, exponent - shift
    # The exact bounds of all numbers that are rounded to this one, as fractions of 2 * scale.
    scale = 1 << max(-exponent, 0)
    value = mantissa << max(exponent, 0)
    half = 1 << max(exponent, 0)
    below = half if mantissa != 1 << (_BITS - 1) else half // 2 if half > 1 else 0
    power = len(str(value // scale)) if value >= scale else -_leading_zeros(value, scale)
    for digits in range(1, _DIGITS + 1):
        places = digits - power
        candidate = _nearest(value, scale, places)
        distance = abs(_scaled(candidate, places, scale) - _scaled(value, None, scale, places))
        unit = _ten(places)
        room = (
            below
            if _scaled(candidate, places, scale) < _scaled(value, None, scale, places)
            else half
        )
        if 2 * distance < room * unit or (2 * distance == room * unit and not mantissa & 1):
            return f"{candidate}e{-places}"
    raise ValueError("a fraction with more digits than the engine supports")


def _leading_zeros(value: int, scale: int) -> int:
    zeros = 0
    while value * 10 ** (zeros + 1) < scale:
        zeros += 1
    return zeros


def _nearest(value: int, scale: int, places: int) -> int:
    """Return ``value / scale`` in units of ``10**-places``, rounded."""
    top = value * _ten(places)
    bottom = scale * _ten(-places)
    return (2 * top + bottom) // (2 * bottom)


def _scaled(number: int, places: int | None, scale: int, by: int = 0) -> int:
    """Return a decimal number (*places* given) or a binary one in the same units."""
    if places is None:
        return number * _ten(by)
    return number * scale * _ten(-places)


def plus(one: object, other: object) -> int | float:
    """Return the sum of two numbers."""
    (a, b), (c, d) = _operand(one).ratio, _operand(other).ratio
    return number_of(a * d + c * b, b * d)


def minus(one: Any, other: Any) -> Any:
    """Return the difference of two numbers or two sets."""
    if isinstance(one, set) and isinstance(other, set):
        require_complete(one)
        require_complete(other)
        return one - other
    (a, b), (c, d) = _operand(one).ratio, _operand(other).ratio
    return number_of(a * d - c * b, b * d)


def times(one: object, other: object) -> int | float:
    """Return the product of two numbers."""
    (a, b), (c, d) = _operand(one).ratio, _operand(other).ratio
    return number_of(a * c, b * d)


def divide(one: object, other: object) -> int | float:
    """Return the quotient of two numbers."""
    (a, b), (c, d) = _operand(one).ratio, _operand(other).ratio
    if not c:
        raise ValueError("division by zero")
    return number_of(a * d, b * c)


def remainder(one: object, other: object) -> int:
    """Return the remainder of two whole numbers, with the sign of the first."""
    if not isinstance(one, int) or not isinstance(other, int) or bool in {type(one), type(other)}:
        raise ValueError("not a whole number")
    if NUMBERS.is_spelled_unusually(one) or NUMBERS.is_spelled_unusually(other):
        raise ValueError("a number that was written as a fraction")
    if not other:
        raise ValueError("modulo by zero")
    if max(abs(one), abs(other)) >= _LARGEST:
        raise ValueError("a number of more than 63 bits")
    found = abs(one) % abs(other)
    return -found if one < 0 else found


def sum_(values: Any) -> int | float:
    """Return the sum of the numbers in a list or set, added in order."""
    total = _Binary(0, 0)
    for value in _ordered(values):
        (a, b), (c, d) = total.ratio, _operand(value).ratio
        total = _rounded(a * d + c * b, b * d)
    return number_of(*total.ratio)


def product(values: Any) -> int | float:
    """Return the product of the numbers in a list or set, multiplied in order, with 53 bits as in
    OPA.
    """
    factors = _ordered(values)
    whole = all(isinstance(value, int) for value in factors)
    total = _Binary(1, 0)
    for value in factors:
        (a, b), (c, d) = total.ratio, _operand(value).ratio
        total = _rounded(a * c, b * d, _BITS if whole else 53)
        if abs(total.ratio[0]) >= (_LARGEST if whole else 2**53) * total.ratio[1]:
            raise ValueError("a large number")
    top, bottom = total.ratio
    if top % bottom == 0:
        return top // bottom
    found = top / bottom
    if not 1e-4 <= abs(found) < 1e6:
        NUMBERS.note(found)
    return found


def _ordered(values: Any) -> list[Any]:
    if not isinstance(values, list | set):
        raise ValueError("not an array or set")
    if any(isinstance(value, bool) or not isinstance(value, int | float) for value in values):
        raise ValueError("not a number")
    return sorted(values) if isinstance(values, set) else values


SUBSTITUTES: dict[str, tuple[int, Callable[..., Any]]] = {
    "guardrail.divide": (2, divide),
    "guardrail.minus": (2, minus),
    "guardrail.plus": (2, plus),
    "guardrail.remainder": (2, remainder),
    "guardrail.times": (2, times),
    "product": (1, product),
    "sum": (1, sum_),
}
"""Number of arguments and replacement of each function, by name."""
