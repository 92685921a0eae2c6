"""Reads the suspensions in force, and refuses decisions that do not obey them.

The head names the newest record of a suspension, and its MAC authenticates that number. The record
leads to all others by their hashes (``core.log.suspensions``). No row, table or cache is trusted.

A guard looks up the suspensions in memory before it decides a call. Another process may have
written a suspension since then, so each decision is compared again in the transaction that appends
it, with the state that the head then names. In most transactions, this compares one number.
"""

from __future__ import annotations

from collections.abc import Sequence

from guardrail.core.log.merkle import Edge
from guardrail.core.log.record import Draft, decode, leaf_hash
from guardrail.core.log.suspensions import (
    NO_SUSPENSION,
    SuspensionChange,
    Suspensions,
    change_of,
)
from guardrail.errors import LedgerError, RecordError
from guardrail.ledger.files import utc_timestamp
from guardrail.ledger.steps import unproved
from guardrail.ledger.storage import SUSPENSIONS_CHANGED, Tail, TreeRows
from guardrail.ledger.tree import check_included, node_reader

__all__ = ["SuspensionState", "needed_from", "read_suspensions"]


def read_suspensions(
    rows: TreeRows, edge: Edge, newest: int, known: Suspensions | None = None
) -> Suspensions:
    """Return the suspensions in force in the log with the tree *edge*, in which *newest* is the
    number that the head names. *known* is an earlier state of the same log.

    Raises ``LedgerError`` (``ledger.unproved``) if a record is missing or is not the one that was
    signed. Call it inside a snapshot or a transaction.
    """
    if newest == NO_SUSPENSION:
        return Suspensions()
    if known is not None and known.version == newest:
        return known
    last = _newest_change(rows, edge, newest)
    floor = _floor(last)
    if known is None or known.version == NO_SUSPENSION or known.version < floor:
        known = Suspensions(unknown=floor)
    changes = [last]
    while True:
        previous = changes[-1].previous
        if previous is None or previous[0] < floor or previous[0] <= known.version:
            break
        seq, leaf = previous
        line = rows.line(seq)
        if line is None or leaf_hash(line).hex() != leaf:
            raise unproved(f"record {seq}, which suspends or resumes calls, was changed")
        changes.append(_change(seq, line))
    try:
        found = known.after(reversed(changes))
        found.leaf = leaf_hash(rows.line(newest) or b"").hex()
        return found
    except RecordError as error:
        raise unproved(f"the suspensions up to record {newest} can't be read: {error}") from None


def needed_from(rows: TreeRows, edge: Edge, newest: int) -> int | None:
    """Return the number of the oldest record of a suspension that is still in force, or None.
    *newest* is the number that the head names.

    Raises ``LedgerError``.
    """
    return None if newest == NO_SUSPENSION else _floor(_newest_change(rows, edge, newest))


def _newest_change(rows: TreeRows, edge: Edge, newest: int) -> SuspensionChange:
    line = rows.line(newest)
    check_included(edge, node_reader(rows), newest, line)
    assert line is not None
    return _change(newest, line)


def _floor(last: SuspensionChange) -> int:
    return last.seq if last.first is None else last.first


def _change(seq: int, line: bytes) -> SuspensionChange:
    try:
        change = change_of(decode(line))
    except RecordError as error:
        raise unproved(f"record {seq}: {error}") from None
    if change.seq != seq:
        raise unproved(f"record {seq} has another number")
    return change


class SuspensionState:
    """The suspensions of one log, as one process knows them.

    ``current`` can be read in any thread. The other methods are for the commit thread.
    """

    def __init__(self) -> None:
        self.current = Suspensions()
        """The suspensions that were in force in the last transaction of this process."""

    def update(self, rows: TreeRows, tail: Tail) -> None:
        """Read the suspensions at *tail*, the end of the log when a transaction began. Raises
        ``LedgerError``.
        """
        if tail.suspended != self.current.version:
            self.current = read_suspensions(rows, tail.committed, tail.suspended, self.current)

    def refused_drafts(
        self, rows: TreeRows, drafts: Sequence[Draft], tail: Tail
    ) -> dict[int, LedgerError]:
        """Return an error for each draft of a decision that does not obey the suspensions in force,
        keyed by the draft's position. The call must be decided again.

        Raises ``LedgerError`` (``ledger.unproved``), and any error from *rows*.
        """
        self.update(rows, tail)
        current, now = self.current, ""
        refused: dict[int, LedgerError] = {}
        changing = False
        for place, draft in enumerate(drafts):
            changing = changing or draft.link is not None
            if draft.obeys is None:
                continue
            found = None
            if len(current):
                now = now or utc_timestamp()
                found = current.find(draft.obeys.names, now)
            seq = NO_SUSPENSION if found is None else found.seq
            if changing or seq != draft.obeys.seq:
                refused[place] = LedgerError(
                    "the suspensions in force have changed", code=SUSPENSIONS_CHANGED
                )
        return refused
