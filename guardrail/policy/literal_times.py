"""Checks the zones, hours and days that policies write in calls of ``guardrail.lib.time``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from guardrail.errors import Finding
from guardrail.policy.library_calls import (
    SourceToken,
    TimeCall,
    literal,
    may_use_zones,
    source_tokens,
    time_calls,
)
from guardrail.policy.named_zones import unknown_zones

__all__ = ["malformed_arguments"]

_HOURS = {"within_hours": (1, 2), "working_hours": (2, 3)}
"""Functions with two times of day, and the indexes of these arguments."""
_DAYS = {"working_hours": 1}
_TIME = re.compile(r"(?:[01][0-9]|2[0-3]):[0-5][0-9]|24:00", re.ASCII)
_SIMILAR = re.compile(
    r"\s*([0-9]{1,2})(?:[:.h]?([0-9]{2}))?(?::[0-9]{2})?\s*(?:([ap])\.?m\.?|h)?\s*",
    re.ASCII | re.IGNORECASE,
)
_WEEK = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_TIME_HINT = 'write two digits each for hours and minutes, from "00:00" to "24:00"'
_DAYS_HINT = 'write a list of names from "Monday" to "Sunday", or data.guardrail.lib.time.workdays'
_EQUAL_HINT = 'write "00:00" and "24:00" for the whole day'


def malformed_arguments(name: str, text: str) -> Iterator[Finding]:
    """Yield a finding for each literal zone, time of day or day of the week for which a function of
    the library always fails. *name* is the file of the module *text*.

    A rule may call the function only for some tools, so a sample call does not show the fault.
    """
    if not may_use_zones(text):
        return
    yield from unknown_zones(name, text)
    for call in time_calls(list(source_tokens(text))):
        for line, message, hint in (*_hours(call), *_days(call)):
            yield Finding(name, line, "local-time", message, hint)


def _hours(call: TimeCall) -> Iterator[tuple[int, str, str]]:
    places = _HOURS.get(call.function, ())
    if not places or len(call.arguments) <= max(places):
        return
    begin, end = (call.arguments[place] for place in places)
    for argument in (begin, end):
        value = literal(argument)
        number = "".join(token.written for token in argument)
        if value is None and not (number.isascii() and number.isdecimal()):
            continue
        if value is None or not _TIME.fullmatch(value):
            shown = number if value is None else f"{value[:80]!a}"
            message = f"{shown} is not a time of day of the form HH:MM"
            yield argument[0].line, message, _time_hint(number if value is None else value)
    if literal(begin) is not None and literal(begin) == literal(end):
        yield end[0].line, "the hours begin and end at the same time", _EQUAL_HINT


def _time_hint(value: str) -> str:
    found = _SIMILAR.fullmatch(value[:80])
    if found is None:
        return _TIME_HINT
    hour = int(found[1])
    if found[3]:
        hour = hour % 12 + (12 if found[3].lower() == "p" else 0)
    meant = f"{hour:02}:{found[2] or '00'}"
    return f'did you mean "{meant}"?' if _TIME.fullmatch(meant) else _TIME_HINT


def _days(call: TimeCall) -> Iterator[tuple[int, str, str]]:
    place = _DAYS.get(call.function)
    if place is None or len(call.arguments) <= place:
        return
    days = call.arguments[place]
    value = literal(days)
    if value is not None:
        yield days[0].line, f"{value[:80]!a} is not a list or set of days", _DAYS_HINT
    for token in _items(days):
        day = literal([token])
        if day is not None and day not in _WEEK:
            hint = next((known for known in _WEEK if known[:3] == day[:3].capitalize()), "")
            message = f"{day[:80]!a} is not a day from Monday to Sunday"
            yield token.line, message, f'did you mean "{hint}"?' if hint else _DAYS_HINT


def _items(days: Sequence[SourceToken]) -> Sequence[SourceToken]:
    """Return the tokens of a list or set of literals, or nothing for another expression."""
    if not days or (days[0].written, days[-1].written) not in {("[", "]"), ("{", "}")}:
        return ()
    inside = days[1:-1]
    plain = all(token.written[:1] in {'"', "`", ","} for token in inside)
    return inside if plain else ()
