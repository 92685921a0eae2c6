"""The parts of a text that must be removed, and how overlapping parts are merged."""

from __future__ import annotations

from typing import NamedTuple

from guardrail.core.redaction.key_names import stricter

__all__ = ["JOINT", "Hit", "before", "merge_hits"]

JOINT = "\x00"
"""Separates texts that are scanned together. No hit crosses it."""


class Hit(NamedTuple):
    """A part of a text that must be removed."""

    start: int
    end: int
    cls: str
    rule: str
    """Name of the detector, for example ``card``. The names are joined with ``+`` if several
    detectors match the same text.
    """


def before(text: str, at: int, most: int) -> str:
    """Return at most *most* characters before *at* in the same text. The result never crosses a
    joint.
    """
    piece = text[max(0, at - most) : at]
    return piece[piece.rfind(JOINT) + 1 :]


def merge_hits(hits: list[Hit]) -> list[Hit]:
    """Return *hits* in order. Overlapping hits are merged into one, with the strictest class and
    the rules of all of them.
    """
    if len(hits) < 2:
        return hits
    hits.sort(key=lambda hit: (hit.start, -hit.end))
    out = hits[:1]
    for hit in hits[1:]:
        last = out[-1]
        if hit.start < last.end:
            rule = last.rule if hit.rule in last.rule.split("+") else f"{last.rule}+{hit.rule}"
            out[-1] = Hit(last.start, max(last.end, hit.end), stricter(last.cls, hit.cls), rule)
        else:
            out.append(hit)
    return out
