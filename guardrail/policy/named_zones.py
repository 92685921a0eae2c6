"""Finds the time zones that policies name, so that the guard can pass their offsets with each call
(``guardrail.lib.time``).
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from guardrail.errors import Finding
from guardrail.system.zones import is_zone, known_zones

__all__ = ["TIME_ZONES", "named_zones", "nearest_zone", "unknown_zones"]

TIME_ZONES = "[policy] time_zones"
"""The setting with zones that no policy names, because they come from the call."""
_LIBRARY = ("data", "guardrail", "lib", "time")
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
_LIB, _TIME, _ZONES = (re.compile(rf"\b{word}\b") for word in ("lib", "time", "zones"))
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PIECE = re.compile(
    r'"(?:[^"\\\n]|\\.)*"?|`[^`]*`?|(?P<gap>\s+|\#[^\n]*)|[A-Za-z_][A-Za-z0-9_]*|.', re.DOTALL
)
"""Strings, whitespace and comments, words and other characters. (The package ``rego`` reads tokens,
too, but depends on this module.)
"""
_MAX_NAMES = 1000
"""More names than there are time zones."""


def named_zones(texts: Sequence[str], data: str) -> tuple[str, ...]:
    """Return the strings in modules and in *data* (JSON) that look like names of time zones, or
    nothing if no module uses ``guardrail.lib.time`` or ``input.context.zones``.

    A name does not have to exist, so the result is the same on every machine. A name of one word,
    such as ``Japan``, counts only as an argument of the library's functions.
    """
    using = [text for text in texts if _may_use(text)]
    if not using:
        return ()
    found = set(_IN_DATA.findall(data))
    for text in using:
        written = list(_tokens(text))
        found |= {name for token in written if _ZONE.fullmatch(name := _string(token) or "")}
        found |= {name for _, name in _arguments(written)}
    if len(found) > _MAX_NAMES:
        found = {name for name in found if is_zone(name)}
    return tuple(sorted(found))


def unknown_zones(name: str, text: str) -> Iterator[Finding]:
    """Yield a finding for each zone that does not exist in a call of the library. *name* is the
    file of the module *text*.
    """
    if not _may_use(text):
        return
    for token, zone in _arguments(list(_tokens(text))):
        if not is_zone(zone):
            line = text.count("\n", 0, token.start) + 1
            yield Finding(name, line, "time-zone", *nearest_zone(zone))


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
    hint = 'write a name of the IANA time zone database, such as "Europe/Berlin"; CEST is none'
    return message, hint


def _may_use(text: str) -> bool:
    library = _LIB.search(text) is not None and _TIME.search(text) is not None
    return library or _ZONES.search(text) is not None


@dataclass(frozen=True, slots=True)
class _Token:
    start: int
    written: str


def _tokens(text: str) -> Iterator[_Token]:
    for found in _PIECE.finditer(text):
        if found.lastgroup != "gap":
            yield _Token(found.start(), found[0])


def _string(token: _Token) -> str | None:
    """Return the value of a string, or None for another token."""
    if token.written[:1] == "`":
        return token.written[1:].removesuffix("`")
    if token.written[:1] != '"':
        return None
    try:
        value = json.loads(token.written)
    except ValueError:
        return None
    return value if isinstance(value, str) else None


def _arguments(written: Sequence[_Token]) -> Iterator[tuple[_Token, str]]:
    """Yield the literal zones in calls of the library."""
    imported = dict(_imports(written))
    for index, token in enumerate(written[:-1]):
        zone = _string(written[index + 1]) if token.written == "(" else None
        if zone is None:
            continue
        path = _path_before(written, index)
        path = (*imported.get(path[0], path[:1]), *path[1:]) if path else ()
        if path[:-1] == _LIBRARY and path[-1] in _WITH_ZONE:
            yield written[index + 1], zone


def _imports(written: Sequence[_Token]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the name and the path of each import of data."""
    for index, token in enumerate(written):
        if token.written != "import":
            continue
        end = index + 2
        while end + 1 < len(written) and written[end].written == ".":
            end += 2
        path = _path_before(written, end)
        if path[:1] == ("data",):
            renamed = end + 1 < len(written) and written[end].written == "as"
            yield (written[end + 1].written if renamed else path[-1]), path


def _path_before(written: Sequence[_Token], end: int) -> tuple[str, ...]:
    """Return the names of the reference that ends before the token with the index *end*."""
    path: list[str] = []
    at = end - 1
    while 0 <= at < len(written) and _WORD.fullmatch(written[at].written):
        path.append(written[at].written)
        if at < 1 or written[at - 1].written != ".":
            break
        at -= 2
    return tuple(reversed(path))
