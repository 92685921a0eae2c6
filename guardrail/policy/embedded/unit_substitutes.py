"""Replacements for the built-in functions that read amounts with units. They return OPA's results.

Like ``substitutes``, this module is loaded by the worker and does not import guardrail. A function
raises ``ValueError`` if OPA raises an error, or if OPA's result is not certain.
"""

from __future__ import annotations

from exact_arithmetic import (  # type: ignore[import-not-found]  # found in its own folder
    number_of,
    rounded_ratio,
)
from number_substitutes import NUMBERS  # type: ignore[import-not-found]  # found in its own folder
from rego_values import require_text  # type: ignore[import-not-found]  # found in its own folder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["SUBSTITUTES"]

_UNITS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5, "e": 6}
_LONGEST = 40
"""Maximum number of characters of a number."""
_POWER = 30
"""Maximum exponent of a number."""
_THOUSANDTH = (0.001).as_integer_ratio()
"""OPA multiplies by the float 0.001, which is slightly more than a thousandth."""


def _amount(text: str) -> tuple[int, int, str]:
    """Return numerator, denominator and unit of a text such as ``1.5Gi``."""
    import re

    found = re.fullmatch(
        r"([+-]?)([0-9]*)(?:\.([0-9]*))?(?:[eE]([+-]?[0-9]+))?([A-Za-z]*)", text.replace('"', "")
    )
    if found is None or not (found[2] or found[3]) or found.end(4) > _LONGEST:
        raise ValueError("not an amount")
    if len((found[4] or "").lstrip("+-")) > 6:
        raise ValueError("not an amount")
    power = int(found[4] or 0) - len(found[3] or "")
    if abs(power) > _POWER:
        raise ValueError("a large exponent")
    top = int(found[2] + (found[3] or "")) * int(10 ** max(power, 0))
    return -top if found[1] == "-" else top, int(10 ** max(-power, 0)), found[5]


def _unit(unit: str) -> int:
    """Return the factor of a unit such as ``k`` or ``ki``, in small letters."""
    power = _UNITS.get(unit[:1])
    if power is None or unit[1:] not in {"", "i"}:
        raise ValueError("not a unit")
    return int((1024 if unit[1:] else 1000) ** power)


def _require_64_bits(value: int) -> int:
    if not -(2**63) <= value < 2**64:
        raise ValueError("a number of more than 64 bits")
    return value


def parse_units(text: object) -> int | float:
    """Return the number in a text such as ``500m`` or ``2Ki``."""
    top, bottom, unit = _amount(require_text(text))
    if unit == "m":
        top, bottom = top * _THOUSANDTH[0], bottom * _THOUSANDTH[1]
    else:
        top *= _unit(unit.lower())
    if top % bottom == 0:
        return _require_64_bits(top // bottom)
    # OPA writes ten decimal places, and rounds halves away from zero.
    places = (2 * abs(top) * 10**10 + bottom) // (2 * bottom) * (-1 if top < 0 else 1)
    found: int | float = number_of(places, 10**10)
    NUMBERS.note(found)
    if places == 0 and top < 0:
        raise ValueError("another form of number")
    if isinstance(found, float) and len(str(abs(places)).strip("0")) > 15:
        raise ValueError("a number with more digits than the engine supports")
    return found


def parse_bytes(text: object) -> int:
    """Return the number of bytes in a text such as ``512MiB``."""
    top, bottom, unit = _amount(require_text(text))
    unit = unit.lower()
    if unit == "b":
        raise ValueError("not a unit")
    factor = _unit(unit.removesuffix("b"))
    # OPA calculates with 64 bits.
    top, bottom = rounded_ratio(top, bottom)
    top, bottom = rounded_ratio(top * factor, bottom)
    whole = _require_64_bits(abs(top) // bottom)
    return -whole if top < 0 else whole


SUBSTITUTES: dict[str, tuple[int, Callable[..., Any]]] = {
    "units.parse": (1, parse_units),
    "units.parse_bytes": (1, parse_bytes),
}
"""Number of arguments and replacement of each function, by name."""
