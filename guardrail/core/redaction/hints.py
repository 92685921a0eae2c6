"""Judges values whose key only hints at a secret."""

from __future__ import annotations

from guardrail.core.redaction.detectors.scan import looks_secret
from guardrail.core.redaction.marks import (
    FILLER,
    MARK_PREFIX,
    mask_marks,
    needs_normalising,
    normalised,
)
from guardrail.core.redaction.spans import Hit

__all__ = ["is_secretive"]


def is_secretive(text: str, found: list[Hit]) -> bool:
    """Return True if *text* looks like a secret, either as a whole or without the parts in *found*.
    Used if the key only hints at a secret.
    """
    texts = [text]
    if found:
        plain = normalised(text) if needs_normalising(text) else text
        starts, ends = [0, *(hit.end for hit in found)], [*(hit.start for hit in found), len(plain)]
        texts.append("".join(plain[start:end] for start, end in zip(starts, ends, strict=True)))
    return any(" " not in part and looks_secret(_unmarked(part)) for part in texts)


def _unmarked(text: str) -> str:
    return mask_marks(text).replace(FILLER, "") if MARK_PREFIX in text else text
