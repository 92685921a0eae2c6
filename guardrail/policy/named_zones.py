"""Finds the time zones that policies name, so that the guard can pass their offsets with each call
(``guardrail.lib.time``).
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from guardrail.errors import Finding
from guardrail.policy.library_calls import (
    SourceToken,
    literal,
    may_use_zones,
    source_tokens,
    time_calls,
)
from guardrail.system.zones import is_zone, known_zones

__all__ = [
    "TIME_ZONES",
    "named_zones",
    "nearest_zone",
    "unknown_in_data",
    "unknown_in_text",
    "unknown_zones",
]

TIME_ZONES = "[policy] time_zones"
"""The setting with zones that no policy names, because they come from the call."""
_WITH_ZONE = frozenset(
    ["clock", "date", "local_ns", "offset", "weekday", "within_hours", "working_hours"]
)
"""Functions of the library whose first argument is a zone."""
_AREA = (
    "Africa|America|Antarctica|Arctic|Asia|Atlantic|Australia|Brazil|Canada|Chile|Etc|Europe|"
    "Indian|Mexico|Pacific|US"
)
_ZONE = re.compile(rf"(?:{_AREA})/[A-Za-z0-9_+/-]{{1,60}}|UTC|GMT", re.ASCII)
_IN_DATA = re.compile(rf'"({_ZONE.pattern})"', re.ASCII)
_SHORT = re.compile(r"[A-Z]{2,5}", re.ASCII)
"""Abbreviations, which do not identify a zone."""
_MAX_NAMES = 1000
"""More names than there are time zones."""


def named_zones(texts: Sequence[str], data: str) -> tuple[str, ...]:
    """Return the strings in modules and in *data* (JSON) that look like names of time zones, or
    nothing if no module uses ``guardrail.lib.time`` or ``input.context.zones``.

    A name does not have to exist, so the result is the same on every machine. A name of one word,
    such as ``Japan``, counts only as an argument of the library's functions.
    """
    using = [text for text in texts if may_use_zones(text)]
    if not using:
        return ()
    found = set(_IN_DATA.findall(data))
    for text in using:
        written = list(source_tokens(text))
        found |= {name for _, name in _strings(written)}
        found |= {name for _, name in _arguments(written)}
    if len(found) > _MAX_NAMES:
        found = {name for name in found if is_zone(name)}
    return tuple(sorted(found))


def unknown_zones(name: str, text: str) -> Iterator[Finding]:
    """Yield a finding for each zone that does not exist in a call of the library. *name* is the
    file of the module *text*.
    """
    if not may_use_zones(text):
        return
    for token, zone in _arguments(list(source_tokens(text))):
        if not is_zone(zone):
            yield Finding(name, token.line, "time-zone", *nearest_zone(zone))


def unknown_in_text(text: str) -> Iterator[tuple[int, str]]:
    """Yield the line and the value of each string in a module that looks like a zone, such as
    ``Europe/Bonn``, but is none.
    """
    for token, zone in _strings(list(source_tokens(text))):
        if not is_zone(zone):
            yield token.line, zone


def unknown_in_data(data: str) -> Iterator[tuple[str, str]]:
    """Yield the path and the value of each string in *data* (JSON) that looks like a zone but is
    none. Keys of objects count, too.
    """
    suspects = {name for name in _IN_DATA.findall(data) if not is_zone(name)}
    if suspects:
        yield from _find(json.loads(data), "data", suspects)


def nearest_zone(name: str) -> tuple[str, str]:
    """Return a message that *name* is no time zone, and a hint with the most similar name."""
    known = known_zones()
    if not known:
        return (
            "this machine has no time zone data",
            "install the operating system's package with zone data, or the Python package tzdata",
        )
    message = f"{name[:80]!a} is not the name of a time zone"
    # Abbreviations resemble each other, but EST is not CEST.
    places = {zone.rpartition("/")[2].lower(): zone for zone in sorted(known) if "/" in zone}
    words = name[:80].strip().replace(" ", "_")
    last = difflib.get_close_matches(words.rpartition("/")[2].lower(), places, 1, 0.8)
    close = difflib.get_close_matches(words, sorted(places.values()), 1, 0.75)
    found = close[0] if close else places[last[0]] if last else ""
    if found:
        return message, f'did you mean "{found}"?'
    hint = 'write a name of the IANA time zone database, such as "Europe/Berlin"'
    return message, f"{hint}; {name} is none" if _SHORT.fullmatch(name) else hint


def _find(value: Any, path: str, names: Collection[str]) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        if value in names:
            yield path, value
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _find(item, f"{path}[{index}]", names)
    elif isinstance(value, dict):
        for key, item in value.items():
            if key in names:
                yield path, key
            yield from _find(item, f"{path}.{key}", names)


def _strings(written: Sequence[SourceToken]) -> Iterator[tuple[SourceToken, str]]:
    """Yield the strings that look like zones."""
    for token in written:
        value = literal([token])
        if value is not None and _ZONE.fullmatch(value):
            yield token, value


def _arguments(written: Sequence[SourceToken]) -> Iterator[tuple[SourceToken, str]]:
    """Yield the literal zones in calls of the library."""
    for call in time_calls(written):
        zone = literal(call.arguments[0]) if call.arguments else None
        if zone is not None and call.function in _WITH_ZONE:
            yield call.arguments[0][0], zone
