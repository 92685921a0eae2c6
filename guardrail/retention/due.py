"""Runs all due retention work once, in order, for the timer and for a guard's background runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from guardrail.errors import RetentionError
from guardrail.ledger.maintenance.prune import PruneResult
from guardrail.retention.actions import ArchivedSegment, ClosedSegment, RetentionManager
from guardrail.retention.segments import Manifest

__all__ = ["NO_FAILURE", "RunResult", "carry_out"]

NO_FAILURE = frozenset({"retention.held", "retention.for_ever"})
"""Codes of ``RetentionError`` that mean that records are kept on purpose."""


@dataclass(frozen=True, slots=True)
class RunResult:
    """The result of one run."""

    closed: ClosedSegment
    archived: tuple[ArchivedSegment, ...] = ()
    pruned: PruneResult | None = None
    expired: tuple[tuple[Path, Manifest], ...] = ()
    problems: tuple[RetentionError, ...] = ()
    """Reasons why work that was due was not done, in the order of the attempts."""

    @property
    def failures(self) -> tuple[RetentionError, ...]:
        """The problems that a person must solve."""
        return tuple(each for each in self.problems if each.code not in NO_FAILURE)


def carry_out(manager: RetentionManager, *, why: str | None) -> RunResult:
    """Close, copy, archive, prune and expire everything that is due; each action is recorded when
    this returns.

    Each failure becomes a problem in the result. Raises ``LedgerError`` if the ledger can't be read
    or written, and ``RetentionError`` if the copy of a segment can't be made; no other work is
    attempted in that case.
    """
    sealed = manager.close_segment(why=why, fresh=manager.is_segment_due())
    put: list[ArchivedSegment] = []
    pruned: PruneResult | None = None
    expired: list[tuple[Path, Manifest]] = []
    problems: list[RetentionError] = []
    try:
        put = manager.archive(why=why)
    except RetentionError as error:
        if error.code != "retention.no_archive":
            problems.append(error)
    try:
        pruned = manager.prune(why=why)
        expired = manager.expire(why=why)
    except RetentionError as error:
        problems.append(error)
    return RunResult(sealed, tuple(put), pruned, tuple(expired), tuple(problems))
