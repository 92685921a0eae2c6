"""Scans a text for secrets and personal data, regardless of where the text is in a record.

``scan`` takes ASCII or normalised text (``marks.normalised``). Several texts may be joined with
``JOINT`` and scanned at once: no hit crosses a joint, and each text gives the same hits as if it
were scanned alone. The work is linear in the length of the text: each pattern is anchored at a
literal that was found first, and every repetition is bounded or possessive.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from guardrail.core.redaction.detectors.address_book import address_book
from guardrail.core.redaction.detectors.code import fallbacks
from guardrail.core.redaction.detectors.columns import columns
from guardrail.core.redaction.detectors.fields import fields
from guardrail.core.redaction.detectors.forms import forms
from guardrail.core.redaction.detectors.labelled import labelled
from guardrail.core.redaction.detectors.markup import markup
from guardrail.core.redaction.detectors.messages import messages
from guardrail.core.redaction.detectors.named import assignments, keywords, looks_secret, urls
from guardrail.core.redaction.detectors.names import names
from guardrail.core.redaction.detectors.names_east import names_east
from guardrail.core.redaction.detectors.network import addresses
from guardrail.core.redaction.detectors.personal import emails, numbers
from guardrail.core.redaction.detectors.shape import long_words, looks_random, pem
from guardrail.core.redaction.detectors.streets import streets
from guardrail.core.redaction.entities import hits_behind_entities, holds_entity
from guardrail.core.redaction.limits import unmetered
from guardrail.core.redaction.marks import FILLER, MARK_PREFIX, mask_marks
from guardrail.core.redaction.spans import JOINT, Hit, merge_hits

__all__ = ["JOINT", "Hit", "looks_random", "looks_secret", "scan", "scan_secrets"]


def scan(text: str, spend: Callable[[int], None] = unmetered) -> list[Hit]:
    """Return the parts of *text* to remove, in order, without overlaps.

    Before each detector starts, and for each hit, *spend* is called with the amount of work,
    roughly in characters. It can raise an exception to stop the scan.
    """
    hits = _found(text, _ALL, spend)
    return merge_hits(hits) if hits else hits


def scan_secrets(text: str, spend: Callable[[int], None] = unmetered) -> list[Hit]:
    """Return only the hits of ``scan`` whose class is ``secret``."""
    hits = _found(text, _SECRETS, spend)
    return merge_hits([hit for hit in hits if hit.cls == "secret"]) if hits else hits


def _found(
    text: str,
    detectors: tuple[Callable[[str], Iterable[Hit]], ...],
    spend: Callable[[int], None],
) -> list[Hit]:
    if len(text) < 4:
        return []
    if MARK_PREFIX in text:
        text = mask_marks(text)
    hits = _hits(text, detectors, spend)
    # A value that was replaced before stays under its name, which still says what it was.
    return [hit for hit in hits if not _is_replaced(text, hit)] if FILLER in text else hits


def _is_replaced(text: str, hit: Hit) -> bool:
    return not text[hit.start : hit.end].strip(_AROUND)


_AROUND = FILLER + " \t\"'"


def _hits(
    text: str,
    detectors: tuple[Callable[[str], Iterable[Hit]], ...],
    spend: Callable[[int], None],
) -> list[Hit]:
    entities = "&" in text and holds_entity(text)
    hits: list[Hit] = []
    if len(text) <= _SHORT:
        spend(len(text))
        for detector in detectors:
            hits += detector(text)
        if entities:
            hits += hits_behind_entities(text, detectors)
        return hits
    share = len(text) // len(detectors)
    owed = 0
    for detector in detectors:
        owed += share
        if owed >= _SHORT:
            spend(owed)
            owed = 0
        for hit in detector(text):
            owed += _PER_HIT
            if owed >= _SHORT:
                spend(owed)
                owed = 0
            hits.append(hit)
    spend(owed)
    if entities:
        spend(len(text))
        for hit in hits_behind_entities(text, detectors):
            spend(_PER_HIT)
            hits.append(hit)
    return hits


_PER_HIT = 32
_SHORT = 512
"""Texts of up to this many characters are scanned in one step, without a report to *spend* in
between.
"""


# These are rarely needed, so they run only if their signs occur in the text.


def _markup(text: str) -> Iterable[Hit]:
    return markup(text) if "<" in text else ()


def _fallbacks(text: str) -> Iterable[Hit]:
    return fallbacks(text) if "'" in text or '"' in text or "`" in text or "$" in text else ()


_SECRETS: tuple[Callable[[str], Iterable[Hit]], ...] = (
    long_words,
    pem,
    assignments,
    keywords,
    urls,
    _markup,
    _fallbacks,
)
_ALL = (
    *_SECRETS,
    emails,
    numbers,
    labelled,
    addresses,
    names,
    address_book,
    columns,
    streets,
    forms,
    messages,
    fields,
    names_east,
)
