"""Determines the owner of a session: reads the owner from the ledger when the session is entered,
and claims the session with its first record.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

from guardrail.call.journal import Journal
from guardrail.core.claims import BEHIND, Claim, Owner
from guardrail.core.types import Session
from guardrail.errors import LedgerError
from guardrail.identity.principal import SessionTable, session_key
from guardrail.identity.session import SessionState
from guardrail.keys.tenant_keys import TenantKeys
from guardrail.system.waiting import Steps, Wait, in_background

__all__ = ["OwnershipCheck", "resolve_conflict"]


class OwnershipCheck:
    """Looks up the owner of a session that is being entered, and holds the claim of ownership until
    the ledger confirms it.
    """

    def __init__(
        self, session: Session, *, journal: Journal, keys: TenantKeys, named: bool
    ) -> None:
        """If *named* is True, the program chose the session's id, so another caller may have used
        it before.
        """
        id_ = session.id
        owner = session_key(session)[:-1]
        self._session = session
        self._journal = journal
        self._claim = Claim((id_, keys.token("session", id_)), owner, named, keys.token)
        self.open_claim: Claim | None = self._claim
        """The claim that this caller's first record makes. None once the ledger confirms the
        owner.
        """

    def enter(
        self,
        table: SessionTable[SessionState],
        make: Callable[[Session, Claim | None], SessionState],
    ) -> SessionState:
        """Return the state of the session in *table*, created by *make* if the session is new.

        Raises ``IdentityError`` if the session belongs to a different caller, and ``LedgerError``.
        """
        return table.enter(
            self._session,
            lambda session: make(session, self.open_claim),
            lambda _: self.owner(),
        )

    def owner(self) -> Owner | None:
        """Return the recorded owner of the session, or None if it has no record. If the owner is
        this caller, the ids are returned in clear text. Raises ``LedgerError``.
        """
        if not self._claim.named:
            return None
        found = recorded_owner(self._journal, self._claim)
        if found is None or not self._claim.allows(found):
            return found
        self.open_claim = None
        return self._claim.owner


def recorded_owner(journal: Journal, claim: Claim) -> Owner | None:
    """Return the owner in the session's first record in the ledger, or None if the session has no
    record. Raises ``LedgerError``.
    """
    return journal.session_owner(*claim.names)


def resolve_conflict(journal: Journal, state: SessionState, error: LedgerError) -> Steps[bool]:
    """Determine why the session's first record was rejected. Return True to try again."""
    if error.code == "ledger.session_taken":
        state.belongs_to_other = True
    elif error.code == BEHIND and state.claim is not None:
        look = functools.partial(recorded_owner, journal, state.claim)
        yield Wait(in_background(look), journal.deadline)
    else:
        return False
    return True
