"""Decodes HTML and XML entities, and maps each character to its original position."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from html import unescape

from guardrail.core.redaction.marks import needs_normalising, normalised
from guardrail.core.redaction.spans import Hit

__all__ = ["decode_entities", "hits_behind_entities", "holds_entity"]

_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,30});")
_ROUNDS = 2


def holds_entity(text: str) -> bool:
    """Return True if *text* contains an entity."""
    return "&" in text and ";" in text and _ENTITY.search(text) is not None


def decode_entities(text: str) -> str:
    """Return *text* with its entities decoded once."""
    return _ENTITY.sub(_plain, text)


def _plain(match: re.Match[str]) -> str:
    plain = unescape(match.group())
    return normalised(plain) if needs_normalising(plain) else plain


def hits_behind_entities(
    text: str, detectors: Iterable[Callable[[str], Iterable[Hit]]]
) -> Iterator[Hit]:
    """Decode the entities in *text* once and twice, and yield the hits of *detectors* with their
    positions in *text*.
    """
    places = list(range(len(text) + 1))
    for _ in range(_ROUNDS):
        parts: list[str] = []
        moved: list[int] = []
        end = 0
        for match in _ENTITY.finditer(text):
            plain = _plain(match)
            parts += [text[end : match.start()], plain]
            moved += places[end : match.start()]
            moved += [places[match.start()]] * len(plain)
            end = match.end()
        if not end:
            return
        text = "".join([*parts, text[end:]])
        places = moved + places[end:]
        for detector in detectors:
            for hit in detector(text):
                # The hit extends to the start of the next character, so that the whole entity is
                # removed.
                yield Hit(places[hit.start], places[hit.end], hit.cls, hit.rule)
