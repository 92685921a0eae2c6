"""Many texts scanned as one: what detectors find and what a session knows, dealt back to each text."""

from __future__ import annotations

from guardrail.core.detectors import scan
from guardrail.core.hits import JOINT, Hit, merge_hits
from guardrail.core.marks import needs_normalising, normalised
from guardrail.core.memory import Memory

__all__ = ["deal", "deal_known", "join", "scan_all"]


def scan_all(texts: list[str], memory: Memory) -> list[list[Hit]]:
    """Return the hits of each text, as if each were scanned alone. Positions are those in the normalised text."""
    out: list[list[Hit]] = [[] for _ in texts]
    texts, joined = join(texts)
    found = scan(joined)
    if found:
        deal(found, texts, out)
    if len(memory):
        deal_known(texts, joined, memory, out)
    return out


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


def deal_known(texts: list[str], joined: str, memory: Memory, out: list[list[Hit]]) -> None:
    known = memory.find(joined)
    if not known:
        return
    if "%" in joined or "\\" in joined:
        # A value behind escapes makes the whole text go, and the whole must be one text.
        new = [
            [Hit(hit.start, hit.end, hit.cls, "known") for hit in memory.find(text)]
            for text in texts
        ]
    else:
        new = [[] for _ in texts]
        deal([Hit(hit.start, hit.end, hit.cls, "known") for hit in known], texts, new)
    for index, hits in enumerate(new):
        if hits:
            # What a detector or a mark just made known is found again here: that is no second rule.
            before = out[index]
            fresh = [
                hit
                for hit in hits
                if not any(old.start <= hit.start and hit.end <= old.end for old in before)
            ]
            if fresh:
                before[:] = merge_hits([*before, *fresh])
