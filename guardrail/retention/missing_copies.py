"""Finds missing copies of segments. A copy can be re-created as long as the records of its segment
exist.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from guardrail.config import Settings
from guardrail.retention.facts import RetentionFacts
from guardrail.retention.segments import read_manifest, segments_path
from guardrail.retention.status import RetentionFinding, RetentionProblem

__all__ = ["missing_copies"]


def missing_copies(settings: Settings, facts: RetentionFacts) -> Iterator[RetentionFinding]:
    """Yield a finding for each location (the segments' folder, the archive) from which copies are
    missing.

    Every sealed segment must have a copy in the segments' folder, and one in the archive if a
    record says that it was archived.
    """
    closed = [each.number for each in facts.segments if each.last >= facts.first]
    lost = _missing_numbers(segments_path(settings), facts, closed)
    if lost:
        yield _finding("the copy", lost, "guardrail seal")
    if settings.retention.archive is not None:
        known = {each.segment for each in facts.archived}
        lost = _missing_numbers(
            settings.retention.archive, facts, [n for n in closed if n in known]
        )
        if lost:
            yield _finding("the archive's copy", lost, "guardrail archive")


def _missing_numbers(folder: Path, facts: RetentionFacts, numbers: list[int]) -> list[int]:
    return [each for each in numbers if read_manifest(folder, facts.genesis, each) is None]


def _finding(what: str, lost: list[int], fix: str) -> RetentionFinding:
    more = f", and those of {len(lost) - 1} more" if len(lost) > 1 else ""
    return RetentionFinding(
        RetentionProblem.COPY_GONE,
        f"{what} of segment {lost[0]} is gone or can't be read{more}",
        fix,
    )
