"""Describes deleted records: their numbers, when they were deleted, and where the copy of their
segment is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from guardrail.config import Settings
from guardrail.core.log.record import leaf_hash
from guardrail.retention.segments import copies, segments_path
from guardrail.review.records import PrunedRange, RecordReader

__all__ = ["SegmentCopy", "copies_of", "document", "way_to_copy"]

_SHOWN = 3


@dataclass(frozen=True, slots=True)
class SegmentCopy:
    """The copy of a segment, as described by its manifest; not verified."""

    first: int
    last: int
    path: Path


def copies_of(records: RecordReader, settings: Settings) -> list[SegmentCopy]:
    """Return the copies of this log's segments in the folders from *settings*, one per segment,
    oldest records first.
    """
    zero = records.record(0)
    if zero is None:
        return []
    found: dict[int, SegmentCopy] = {}
    folders = [segments_path(settings), settings.retention.archive]
    for folder in [each for each in folders if each is not None]:
        for each in copies(folder, leaf_hash(zero).hex()):
            found.setdefault(each.first, SegmentCopy(each.first, each.last, folder / each.file))
    return [copy for _, copy in sorted(found.items())]


def way_to_copy(
    lost: PrunedRange, copies: list[SegmentCopy], seq: int | None = None, *, command: str = "show"
) -> str:
    """Return the *command* that reads record *seq* from a copy, or that lists the *lost* records.
    If no copy is found, return a different next step.
    """
    wanted = [each for each in copies if each.first <= (lost.last if seq is None else seq)]
    if seq is not None:
        wanted = [each for each in wanted if seq <= each.last]
    if not wanted:
        return (
            "no copy of their segment is in the folders set in [retention]: restore it from "
            f"your backups, then run guardrail {command} {'SEQ' if seq is None else seq} --segment "
            "FILE"
        )
    if seq is not None:
        return f"guardrail {command} {seq} --segment {wanted[0].path}"
    more = len(wanted) - _SHOWN
    paths = ", ".join(f"{each.path} (to {each.last})" for each in wanted[:_SHOWN])
    return f"guardrail sessions --segment FILE; the copies: {paths}" + (
        f", and {more} more" if more > 0 else ""
    )


def document(lost: PrunedRange | None, copies: list[SegmentCopy]) -> Mapping[str, Any] | None:
    """Return the pruned records as a document for ``--json``, or None if there are none."""
    if lost is None:
        return None
    return {
        "first": 1,
        "last": lost.last,
        "seq": lost.seq,
        "ts": lost.ts or None,
        "copies": [
            {"first": each.first, "last": each.last, "path": str(each.path)}
            for each in copies
            if each.first <= lost.last
        ],
    }
