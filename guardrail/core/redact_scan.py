"""Many texts scanned as one: what detectors find and what a session knows, dealt back to each text.

Whoever has a view made hands in a callable that is told of the work before it is done, in characters about. It raises where
that is more than one view may cost.
"""

from __future__ import annotations

from collections.abc import Callable

from guardrail.core.detectors import scan
from guardrail.core.entities import holds_entity
from guardrail.core.hits import JOINT, Hit, merge_hits
from guardrail.core.marks import needs_normalising, normalised
from guardrail.core.memory import Memory

__all__ = ["AT_ONCE", "Spend", "deal", "deal_known", "detect", "join", "scan_all", "unmetered"]

Spend = Callable[[int], None]
"""Told of so many characters of work that are to be done. Raises ``RedactionError`` where they are too many."""
AT_ONCE = 4_096
"""Characters that are scanned without asking in between."""


def unmetered(_: int) -> None:
    """Let everything be done."""


def scan_all(texts: list[str], memory: Memory, spend: Spend = unmetered) -> list[list[Hit]]:
    """Return the hits of each text, as if each were scanned alone. Positions are those in the normalised text."""
    out: list[list[Hit]] = [[] for _ in texts]
    texts, joined = join(texts)
    if len(joined) <= AT_ONCE:
        spend(len(joined))
        found = scan(joined)
        if found:
            deal(found, texts, out)
    else:
        detect(scan, texts, out, spend)
    if len(memory):
        deal_known(texts, joined, memory, out, spend)
    return out


def detect(
    detector: Callable[[str], list[Hit]],
    texts: list[str],
    out: list[list[Hit]],
    spend: Spend,
) -> None:
    """Add what *detector* finds in each of *texts*, as ``join`` returned them, to its list in *out*.

    Much text is scanned part by part: between two parts *spend* may let other threads run, or put an end to it.
    """
    first = 0
    while first < len(texts):
        last, size = first + 1, len(texts[first])
        while last < len(texts) and size + len(texts[last]) < AT_ONCE:
            size += len(texts[last]) + 1
            last += 1
        spend(size + last - first)
        found = detector(JOINT.join(texts[first:last]))
        if found:
            spend(_PER_HIT * len(found))
            deal(found, texts[first:last], out[first:last])
        first = last


_PER_HIT = 64


def join(texts: list[str]) -> tuple[list[str], str]:
    joined = JOINT.join(texts)
    if not joined.isascii() or "\x01" in joined or joined.count(JOINT) >= len(texts) > 0:
        texts = [normalised(text) if needs_normalising(text) else text for text in texts]
        joined = JOINT.join(texts)
    return texts, joined


def deal(found: list[Hit], texts: list[str], out: list[list[Hit]]) -> None:
    index, start = 0, 0
    end = len(texts[0])
    for hit in found:
        while hit.start >= end:
            start = end + 1
            index += 1
            end = start + len(texts[index])
        out[index].append(Hit(hit.start - start, min(hit.end, end) - start, hit.cls, hit.rule))


def deal_known(
    texts: list[str],
    joined: str,
    memory: Memory,
    out: list[list[Hit]],
    spend: Spend = unmetered,
) -> None:
    """Add to *out* what the session knows in each of *texts*, but for what was found there already."""
    spend(len(joined))
    known = memory.find(joined, spend)
    if not known:
        return
    spend(_PER_HIT * len(known))
    if "%" in joined or "\\" in joined or holds_entity(joined):
        # A value behind escapes makes the whole text go, and the whole must be one text.
        new = [
            [Hit(hit.start, hit.end, hit.cls, "known") for hit in memory.find(text, spend)]
            for text in texts
        ]
    else:
        new = [[] for _ in texts]
        deal([Hit(hit.start, hit.end, hit.cls, "known") for hit in known], texts, new)
    for index, hits in enumerate(new):
        if hits:
            # What a detector or a mark just made known is found again here: that is no second rule.
            before = out[index]
            fresh = _not_within(hits, before)
            if fresh:
                before[:] = merge_hits([*before, *fresh])


def _not_within(hits: list[Hit], others: list[Hit]) -> list[Hit]:
    """Return those of *hits* that lie in none of *others*; both in order, never overlapping: one pass over both."""
    fresh: list[Hit] = []
    at = 0
    for hit in hits:
        while at < len(others) and others[at].end <= hit.start:
            at += 1
        if at == len(others) or not (others[at].start <= hit.start and hit.end <= others[at].end):
            fresh.append(hit)
    return fresh
