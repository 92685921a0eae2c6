"""Parses the policy's pointers, and keeps the list of removed values within a size limit."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Mapping

from guardrail.core.redaction.key_names import stricter
from guardrail.core.redaction.limits import unmetered
from guardrail.errors import RedactionError

__all__ = [
    "bounded",
    "bounded_classes",
    "join_classes",
    "join_removals",
    "parse",
    "rename_pointers",
]

_MAX_POINTER = 1_024
_BAD_ESCAPE = re.compile(r"~(?![01])")
_INDEX = re.compile(r"[0-9]+\Z")


def parse(text: object) -> list[str]:
    """Return the segments of an RFC 6901 pointer. Raises ``RedactionError`` if it is malformed."""
    if (
        not isinstance(text, str)
        or (text and text[0] != "/")
        or len(text) > _MAX_POINTER
        or _BAD_ESCAPE.search(text)
    ):
        raise RedactionError(
            "a pointer in the policy's redact list is not an RFC 6901 pointer",
            code="redaction.pointer",
        )
    return [part.replace("~1", "/").replace("~0", "~") for part in text.split("/")[1:]]


def rename_pointers(
    entries: Mapping[str, list[str]],
    moves: Mapping[str, str],
    gone: Container[str],
    join: Callable[[list[str], list[str]], list[str]],
) -> dict[str, list[str]]:
    """Return *entries* with pointers that are valid after keys were renamed: *moves* maps an old
    pointer to its new last segment.

    The view no longer shows anything below a pointer in *gone*, so entries below it are joined with
    the entry at that pointer.
    """
    out: dict[str, list[str]] = {}
    for key, entry in entries.items():
        old, new = "", ""
        for part in key.split("/")[1:]:
            if old in gone:
                break
            old = f"{old}/{part}"
            new = f"{new}/{moves.get(old, part)}"
        known = out.get(new)
        out[new] = entry if known is None else join(known, entry)
    return out


def join_removals(one: list[str], other: list[str]) -> list[str]:
    """Return the stricter class from two entries about removed values, and the rules from both."""
    return [stricter(one[0], other[0]), *dict.fromkeys([*one[1:], *other[1:]])]


def join_classes(one: list[str], other: list[str]) -> list[str]:
    """Return the classes from both lists, in order and without duplicates."""
    return sorted({*one, *other})


def bounded(
    removed: Mapping[str, list[str]], limit: int, spend: Callable[[int], None] = unmetered
) -> tuple[dict[str, list[str]], bool]:
    """Return *removed*, shortened to about *limit* bytes: first, list indexes become ``*``, and
    then deep pointers are cut.
    """
    if len(removed) < 40 and sum(map(len, removed)) < limit // 4:
        return dict(removed), False
    current = {key: list(entry) for key, entry in removed.items()}
    for keep in (None, 4, 2, 1, 0):
        if _size(current) <= limit:
            return current, keep is not None
        current = _folded(removed, keep, spend)
    return (current, True) if _size(current) <= limit else ({"": ["many", "many"]}, True)


def bounded_classes(
    found: Mapping[str, list[str]], limit: int, spend: Callable[[int], None] = unmetered
) -> dict[str, list[str]]:
    """Return the classes, keyed by pointer, shortened to about *limit* bytes: first, list indexes
    become ``*``, and then deep pointers are cut.

    No class is lost; only the pointers become less precise.
    """
    if len(found) < 40 and sum(map(len, found)) < limit // 4:
        return dict(found)
    current = {key: list(entry) for key, entry in found.items()}
    for keep in (None, 4, 2, 1, 0):
        if _size(current) <= limit:
            return current
        current = {}
        for key, entry in found.items():
            spend(_PER_ENTRY)
            name = _wider(key, keep)
            current[name] = join_classes(current.get(name, []), entry)
    return (
        current
        if _size(current) <= limit
        else {"": sorted({cls for entry in found.values() for cls in entry})[:40]}
    )


def _wider(key: str, keep: int | None) -> str:
    parts = ["*" if _INDEX.match(part) else part for part in key.split("/")]
    if keep is not None and len(parts) > keep + 1:
        parts = [*parts[: keep + 1], "*"]
    return "/".join(parts)


def _size(entries: Mapping[str, list[str]]) -> int:
    # One character takes at most six bytes.
    return sum(
        (len(key) if key.isascii() else 6 * len(key)) + sum(map(len, entry)) + 4 * len(entry) + 8
        for key, entry in entries.items()
    )


_PER_ENTRY = 16


def _folded(
    entries: Mapping[str, list[str]], keep: int | None, spend: Callable[[int], None]
) -> dict[str, list[str]]:
    out: dict[str, list[str]] = {}
    for key, entry in entries.items():
        spend(_PER_ENTRY)
        name = _wider(key, keep)
        known = out.get(name)
        out[name] = list(entry) if known is None else join_removals(known, entry)
    return out
