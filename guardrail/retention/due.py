"""Everything that is due, in its order, once: for the timer, and for what a guard has done alongside its calls."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from guardrail.errors import RetentionError
from guardrail.ledger.maintenance.prune import Pruned
from guardrail.retention.actions import ArchivedSegment, RetentionManager, Sealed
from guardrail.retention.segments import Manifest

__all__ = ["NO_FAILURE", "Done", "carry_out"]

NO_FAILURE = frozenset({"retention.held", "retention.for_ever"})
"""Codes of ``RetentionError`` for what is kept because somebody wants it kept."""


@dataclass(frozen=True, slots=True)
class Done:
    """What was done."""

    sealed: Sealed
    put: tuple[ArchivedSegment, ...] = ()
    pruned: Pruned | None = None
    expired: tuple[tuple[Path, Manifest], ...] = ()
    problems: tuple[RetentionError, ...] = ()
    """Why something that was due was left, in the order in which it was tried."""

    @property
    def failures(self) -> tuple[RetentionError, ...]:
        """The problems that somebody has to see to."""
        return tuple(each for each in self.problems if each.code not in NO_FAILURE)


def carry_out(manager: RetentionManager, *, why: str | None) -> Done:
    """Seal, copy, archive, prune and expire what is due; each act is on the record when this returns.

    What can't be done is a problem in what is returned. Raises ``LedgerError`` if the ledger can't be read or written, and
    ``RetentionError`` if the copy of a segment can't be made: nothing else is tried then.
    """
    sealed = manager.seal(why=why, fresh=manager.seal_due())
    put: list[ArchivedSegment] = []
    pruned: Pruned | None = None
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
    return Done(sealed, tuple(put), pruned, tuple(expired), tuple(problems))
