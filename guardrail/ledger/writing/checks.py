"""Compares drafts with the facts in the log that they depend on, in the transaction that appends
them: the owners of sessions, the suspensions in force, and the states of sessions.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from guardrail.core.log.record import Draft
from guardrail.core.types import Receipt
from guardrail.errors import LedgerError
from guardrail.ledger import claims, effects
from guardrail.ledger.names import SessionNames
from guardrail.ledger.session_states import FollowedStates
from guardrail.ledger.size_limit import SizeLimit
from guardrail.ledger.sqlite.database import SQLiteError
from guardrail.ledger.storage import AppendingStorage, Tail
from guardrail.ledger.suspensions import SuspensionState

__all__ = ["DraftChecks"]


class DraftChecks:
    """The facts of one log, as one writer knows them, and the checks that use them."""

    def __init__(self, size_limit: int) -> None:
        """*size_limit* is the largest size of the ledger in bytes, or 0."""
        self.names = SessionNames()
        """The sessions of the log that this process has found."""
        self.suspensions = SuspensionState()
        self.effects = effects.EffectKeys()
        self.size_limit = SizeLimit(size_limit)
        self.states = FollowedStates()
        """The states of sessions, if the policies read them."""

    def refused_drafts(
        self, store: AppendingStorage, drafts: Sequence[Draft], tail: Tail
    ) -> dict[int, LedgerError]:
        """Return the error for each draft that must not be written, keyed by the draft's position.
        Raises ``LedgerError`` and ``SQLiteError``.
        """
        refused = claims.refused_drafts(store, drafts, tail, self.names)
        refused |= self.suspensions.refused_drafts(store, drafts, tail)
        refused |= self.size_limit.refused_drafts(store, drafts)
        refused |= effects.refused_drafts(store, drafts, tail.committed, self.effects)
        refused |= self.states.refused_drafts(store, drafts, tail, refused)
        return refused

    def follow(
        self,
        store: AppendingStorage,
        drafts: Sequence[Draft],
        answers: Sequence[Receipt | LedgerError],
        tail: Tail,
    ) -> None:
        """Advance the states of sessions to *tail*, which is committed, so that the next call reads
        them up to date. *answers* holds the receipts of *drafts*.
        """
        if self.states.is_followed:
            # If this fails, the next decision that has read a state finds out why.
            with contextlib.suppress(LedgerError, SQLiteError):
                self.states.follow_own(store, drafts, answers, tail)
