"""Follows the records of a log, and refuses decisions that were made on an outdated state.

Each process computes the states (``core.session_state``) from the lines, and hashes every line into
the tree of a head with a valid MAC. No stored row is trusted, so a changed, missing or older record
is found before a decision uses the state.

A call reads the states before the policy decides it. Another call may be recorded before this
decision, so its draft names the versions that it read, and the transaction that appends it compares
them with the states at the end of the log.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

from guardrail.core.log.merkle import Edge
from guardrail.core.log.record import Draft
from guardrail.core.session_state import CallStates
from guardrail.core.state_reads import AGENT, ReadState, ReadStates, StateKey, StateText
from guardrail.core.types import Receipt
from guardrail.errors import LedgerError
from guardrail.ledger.kept_states import read_states, take_line
from guardrail.ledger.names import SHORT, LogPosition
from guardrail.ledger.steps import hash_lines
from guardrail.ledger.storage import Tail, TreeRows
from guardrail.system.forking import reset_in_children

__all__ = ["OUTDATED", "STATE_BEHIND", "STATE_CHANGED", "FollowedStates"]

STATE_CHANGED = "ledger.state_changed"
"""Error code for a decision that read a state that has changed since. Nothing was written."""
STATE_BEHIND = "ledger.state_behind"
"""Error code for a decision whose states must be read again first, because other processes have
written many records. Nothing was written.
"""

OUTDATED = frozenset({STATE_CHANGED, STATE_BEHIND})
"""Error codes of decisions that must be made again."""

_TYPES = frozenset({"call.decision", "call.outcome"})


class FollowedStates:
    """The states of one log, as one process knows them. Thread-safe, and usable in a forked child.

    Nothing is read, and nothing costs time, until ``read_up_to`` is called for the first time.
    """

    def __init__(self) -> None:
        self._states = CallStates()
        self._edge: Edge | None = None
        """The tree of the lines that the states follow from, or None before the first read."""
        self._lock = threading.Lock()
        """Held briefly; the commit thread needs it."""
        self._turn = threading.Lock()
        """Held while many lines are read."""
        reset_in_children(self)

    def reset(self) -> None:
        """Forget everything."""
        self._lock, self._turn = threading.Lock(), threading.Lock()
        self._states, self._edge = CallStates(), None

    # -- for calls ---------------------------------------------------------------------------------

    @property
    def is_followed(self) -> bool:
        """True if the states were read once, so that new records are followed."""
        return self._edge is not None

    def read(
        self, subjects: Mapping[str, Sequence[StateKey]], *, recent: bool
    ) -> tuple[dict[str, StateText], tuple[ReadState, ...], bool]:
        """Return the state of each subject, by the name of its section, and the versions to compare
        when the decision is recorded. *subjects* holds the names of each subject in the records.
        If *recent* is False, the states lack the recent calls. The last value is True if a state is
        no longer in memory, so that the call must be denied.
        """
        with self._lock:
            states = self._states
            return (
                {name: states.text(k, recent=recent) for name, k in subjects.items()},
                tuple(ReadState(tuple(keys), states.version(keys)) for keys in subjects.values()),
                any(map(states.is_displaced, subjects.values())),
            )

    def read_up_to(self, rows: TreeRows, place: LogPosition) -> None:
        """Read the lines up to *place*. Raises ``LedgerError`` if they do not match the signed
        head.
        """
        with self._turn:
            edge = self._edge
            if edge is not None and edge.size >= place.size:
                return
            if edge is None or edge.size < place.begin:
                made, grown = read_states(rows, place)
                with self._lock:
                    self._states, self._edge = made, grown
                return
            lines: list[bytes] = []
            grown = hash_lines(rows, edge.copy(), place.size, place.tree, lines.append)
            with self._lock:
                if self._edge is not edge:
                    return  # the commit thread has read them meanwhile
                self._advance(grown, lines)

    # -- by the commit thread ----------------------------------------------------------------------

    def catch_up(self, rows: TreeRows, edge: Edge) -> bool:
        """Read the lines up to *edge*, the committed end of the log. Return False if that would
        take too long. Raises ``LedgerError``.
        """
        with self._lock:
            known = self._edge
            if known is None or edge.size - known.size > SHORT:
                return False
            if known.size == edge.size and known.roots == edge.roots:
                return True
            lines: list[bytes] = []
            grown = hash_lines(rows, known.copy(), edge.size, edge.encode(), lines.append)
            self._advance(grown, lines)
            return True

    def follow_own(
        self,
        rows: TreeRows,
        drafts: Sequence[Draft],
        answers: Sequence[Receipt | LedgerError],
        tail: Tail,
    ) -> None:
        """Advance to *tail* after this process has committed the records of *drafts*, of which
        *answers* holds the receipts, in order. Their lines need not be read again. Raises
        ``LedgerError``, and any error from *rows*.
        """
        written = [
            (draft.change, answer)
            for draft, answer in zip(drafts, answers, strict=True)
            if isinstance(answer, Receipt) and draft.type in _TYPES
        ]
        with self._lock:
            known = self._edge
            if (
                known is not None
                and known.size == tail.committed.size
                and known.roots == tail.committed.roots
                and all(change is not None for change, _ in written)
            ):
                for change, receipt in written:
                    assert change is not None
                    self._states.apply(change, receipt.seq, receipt.ts)
                self._edge = tail.edge
                return
        self.catch_up(rows, tail.edge)

    def refused_drafts(
        self, rows: TreeRows, drafts: Sequence[Draft], tail: Tail, refused: Mapping[int, object]
    ) -> dict[int, LedgerError]:
        """Return an error for each draft of a decision that was made on an outdated state, keyed by
        the draft's position. Drafts at a position in *refused* are not written. The call must be
        decided again.

        Raises ``LedgerError`` (``ledger.unproved``), and any error from *rows*.
        """
        if all(draft.reads is None for draft in drafts):
            return {}
        behind = not self.catch_up(rows, tail.committed)
        changed: dict[StateKey, bool] = {}
        """The states that earlier drafts change; True if one of these admits or ends a call."""
        unread = False
        """True if an earlier draft admits a call that read no state, before a reload."""
        found: dict[int, LedgerError] = {}
        for place, draft in enumerate(drafts):
            if place in refused:
                continue
            reads = draft.reads
            if reads is None:
                for key in self._ended_by(draft):
                    changed[key] = True
                unread = unread or draft.opens
                continue
            problem = None
            if reads.compared:
                problem = _behind() if behind else self._problem(reads, changed, draft.opens)
                problem = _changed() if unread else problem
            if problem is not None:
                found[place] = problem
                continue
            for key in reads.changes:
                changed[key] = changed.get(key, False) or draft.opens
        return found

    def _ended_by(self, draft: Draft) -> Sequence[StateKey]:
        if draft.type != "call.outcome" or draft.call is None:
            return ()
        with self._lock:
            return self._states.keys_of(draft.call)

    def _problem(
        self, reads: ReadStates, changed: Mapping[StateKey, bool], opens: bool
    ) -> LedgerError | None:
        for each in reads.compared:
            # A denial is not compared with other denials: if it was right before them, it still is.
            # Neither are the denials of an agent's other principals, which could go on forever.
            exactly = opens and each.keys[0][0] != AGENT
            if any(key in changed and (exactly or changed[key]) for key in each.keys):
                return _changed()
            with self._lock:
                now = self._states.version(each.keys)
            if each.version != now if exactly else each.version.admitted != now.admitted:
                return _changed()
        return None

    def _advance(self, edge: Edge, lines: Sequence[bytes]) -> None:
        for line in lines:
            take_line(self._states, line)
        self._edge = edge


def _changed() -> LedgerError:
    return LedgerError("the state that the policy read has changed", code=STATE_CHANGED)


def _behind() -> LedgerError:
    return LedgerError("the states must be read again", code=STATE_BEHIND)
