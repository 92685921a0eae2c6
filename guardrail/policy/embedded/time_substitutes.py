"""Replacements for the built-in functions that read, write and calculate times. They return OPA's
results.

Times are nanoseconds since 1970, in UTC: other zones depend on tables that differ between machines.
Like ``substitutes``, this module is loaded by the worker and does not import guardrail. A function
raises ``ValueError`` if OPA raises an error, or if OPA's result is not certain.
"""

from __future__ import annotations

from number_substitutes import whole_number  # type: ignore[import-not-found]  # in its own folder
from rego_values import require_text  # type: ignore[import-not-found]  # found in its own folder
from time_layouts import (  # type: ignore[import-not-found]  # found in its own folder
    DAY,
    Moment,
    days_before,
    formatted,
    moment_at,
    nanoseconds,
    parsed,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["SUBSTITUTES"]

_LATEST = 2**62
"""Nanoseconds from 1970 to 2116."""
_FARTHEST = 1_000_000
"""Maximum number of years, months or days that are added to a time."""
_UNITS = {
    "ns": 1,
    "us": 10**3,
    "\u00b5s": 10**3,
    "\u03bcs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}


def _require_near(value: int) -> int:
    if abs(value) >= _LATEST:
        raise ValueError("a time too far away")
    return value


def _moment(value: object) -> tuple[Moment, str]:
    """Return a time and a layout. *value* is a number, or a list with a number, a zone and a
    layout.
    """
    parts = value if isinstance(value, list) else [value]
    if not parts or isinstance(parts[0], bool) or not isinstance(parts[0], int):
        raise ValueError("not a time")
    if not -(2**63) <= parts[0] < 2**63:
        raise ValueError("a time too far away")
    texts = [require_text(part) for part in parts[1:3]]
    if texts and texts[0] not in {"", "UTC"}:
        raise ValueError("another zone")
    return moment_at(parts[0]), texts[1] if len(texts) > 1 else ""


def clock(value: object) -> list[int]:
    """Return hour, minute and second."""
    at = _moment(value)[0]
    return [at.hour, at.minute, at.second]


def date(value: object) -> list[int]:
    """Return year, month and day."""
    at = _moment(value)[0]
    return [at.year, at.month, at.day]


def weekday(value: object) -> str:
    """Return the name of the day of the week."""
    return str(formatted(_moment(value)[0], "Monday"))


def format_time(value: object) -> str:
    """Return a time in its layout (default: RFC 3339 with a fraction)."""
    at, layout = _moment(value)
    return str(formatted(at, layout or "RFC3339Nano"))


def parse_time(layout: object, text: object) -> int:
    """Return the time in *text*, which has the form of *layout*."""
    return _require_near(parsed(require_text(layout), require_text(text)))


def add_date(value: object, years: object, months: object, days: object) -> int:
    """Return a time with years, months and days added. A day beyond the end of its month counts
    from the next one.
    """
    at = _moment(value)[0]
    added = [whole_number(number) for number in (years, months, days)]
    if max(map(abs, added)) > _FARTHEST:
        raise ValueError("a time too far away")
    month = at.month - 1 + added[1]
    year = at.year + added[0] + month // 12
    start = days_before(year, month % 12 + 1)
    return _require_near((start + at.day - 1 + added[2]) * DAY + at.rest)


def difference(one: object, other: object) -> list[int]:
    """Return years, months, days, hours, minutes and seconds between two times."""
    first, second = sorted((_moment(one)[0], _moment(other)[0]), key=nanoseconds)
    parts = [
        second.year - first.year,
        second.month - first.month,
        second.day - first.day,
        second.hour - first.hour,
        second.minute - first.minute,
        second.second - first.second,
    ]
    month = days_before(first.year + first.month // 12, first.month % 12 + 1)
    sizes = (0, 12, month - days_before(first.year, first.month), 24, 60, 60)
    for place in range(5, 0, -1):
        if parts[place] < 0:
            parts[place] += sizes[place]
            parts[place - 1] -= 1
    return parts


def parse_duration(text: object) -> int:
    """Return the number of nanoseconds in a text such as ``1h30m``."""
    import re

    written = require_text(text)
    bare = written[1:] if written[:1] in {"+", "-"} else written
    if bare == "0":
        return 0
    part = "([0-9]*)(?:\\.([0-9]*))?(ns|us|\u00b5s|\u03bcs|ms|s|m|h)"
    if not bare or len(bare) > 100 or not re.fullmatch(f"(?:{part})+", bare):
        raise ValueError("not a duration")
    total = 0
    for whole, fraction, unit in re.findall(part, bare):
        if not whole + fraction or len(fraction) > 18 or len(whole) > 19:
            raise ValueError("not a duration")
        total += int(whole or 0) * _UNITS[unit]
        # Go uses floats for the fraction.
        total += int(float(int(fraction or 0)) * (float(_UNITS[unit]) / float(10 ** len(fraction))))
    return _require_near(-total if written[0] == "-" else total)


def parse_rfc3339_ns(text: str) -> int:
    """Return the time in *text*.

    Stricter than OPA: month, day, hour, minute and second must have two digits each, and a fraction
    of a second must consist of a point and at most nine digits.
    """
    return _require_near(parsed("RFC3339", require_text(text)))


SUBSTITUTES: dict[str, tuple[int, Callable[..., Any]]] = {
    "time.add_date": (4, add_date),
    "time.clock": (1, clock),
    "time.date": (1, date),
    "time.diff": (2, difference),
    "time.format": (1, format_time),
    "time.parse_duration_ns": (1, parse_duration),
    "time.parse_ns": (2, parse_time),
    "time.parse_rfc3339_ns": (1, parse_rfc3339_ns),
    "time.weekday": (1, weekday),
}
"""Number of arguments and replacement of each function, by name."""
