"""What in a text looks like a secret or like personal data, whatever its place.

``scan`` takes ASCII or normalised text (``marks.normalised``). Several texts may be joined with ``JOINT`` and scanned at
once: no hit reaches over it, and each text gives the hits that it gives alone. Work is linear in the length of the text:
patterns are anchored on a literal that was found first, and every repetition is bounded or possessive by construction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from guardrail.core.detectors_code import fallbacks
from guardrail.core.detectors_markup import markup
from guardrail.core.detectors_named import assignments, keywords, secretive, urls
from guardrail.core.detectors_personal import emails, numbers
from guardrail.core.detectors_shape import long_words, looks_random, pem
from guardrail.core.entities import behind_entities, holds_entity
from guardrail.core.hits import JOINT, Hit, merge_hits
from guardrail.core.marks import MARK_PREFIX, mask_marks

__all__ = ["JOINT", "Hit", "looks_random", "scan", "scan_secrets", "secretive"]


def scan(text: str) -> list[Hit]:
    """Return what is to be removed from *text*, in order, never overlapping."""
    if len(text) < 4:
        return []
    if MARK_PREFIX in text:
        text = mask_marks(text)
    hits = _secrets(text)
    for detector in _PERSONAL:
        hits += detector(text)
    if "&" in text and holds_entity(text):
        hits += behind_entities(text, (_secrets, *_PERSONAL))
    return merge_hits(hits) if hits else hits


def scan_secrets(text: str) -> list[Hit]:
    """Return what ``scan`` does, but of class ``secret`` only."""
    if len(text) < 4:
        return []
    if MARK_PREFIX in text:
        text = mask_marks(text)
    hits = _secrets(text)
    if "&" in text and holds_entity(text):
        hits += behind_entities(text, (_secrets,))
    return merge_hits([hit for hit in hits if hit.cls == "secret"]) if hits else hits


def _secrets(text: str) -> list[Hit]:
    """Return what the detectors of secrets find; those that are rarely needed are asked only if their signs stand in *text*."""
    hits: list[Hit] = []
    for detector in _SECRETS:
        hits += detector(text)
    if "<" in text:
        hits += markup(text)
    if "'" in text or '"' in text or "`" in text or "$" in text:
        hits += fallbacks(text)
    return hits


_SECRETS: tuple[Callable[[str], Iterable[Hit]], ...] = (
    long_words,
    pem,
    assignments,
    keywords,
    urls,
)
_PERSONAL: tuple[Callable[[str], Iterable[Hit]], ...] = (emails, numbers)
