"""Establish a session's owner: from the ledger when it is entered, and by the claim that its first
call makes.
"""

from __future__ import annotations

from collections.abc import Callable

from guardrail.call.journal import Journal
from guardrail.core.claims import Claim, Owner
from guardrail.core.types import Session
from guardrail.identity.principal import SessionTable, session_key
from guardrail.identity.session import SessionState
from guardrail.keys.tenant_keys import TenantKeys

__all__ = ["OwnershipCheck"]


class OwnershipCheck:
    """One entering of a session: looks up its owner, and holds the claim that remains to be
    made.
    """

    def __init__(
        self, session: Session, *, journal: Journal, keys: TenantKeys, named: bool
    ) -> None:
        """*named*: the host named the session, so others may have used it before."""
        id_ = session.id
        owner = session_key(session)[:-1]
        self._session = session
        self._journal = journal
        self._claim = Claim((id_, keys.token("session", id_)), owner, named, keys.token)
        self.open_claim: Claim | None = self._claim
        """The claim for this caller's first record; None once the ledger has shown the owner."""

    def enter(
        self,
        table: SessionTable[SessionState],
        make: Callable[[Session, Claim | None], SessionState],
    ) -> SessionState:
        """Return the state of the session in *table*, made by *make* if it is new.

        Raises ``IdentityError`` if the session belongs to someone else, and ``LedgerError``.
        """
        return table.enter(
            self._session,
            lambda session: make(session, self.open_claim),
            lambda _: self.owner(),
        )

    def owner(self) -> Owner | None:
        """Return the owner of the session with this id in the ledger, in clear if it is the caller.
        Raises ``LedgerError``.
        """
        if not self._claim.named:
            return None
        found = recorded_owner(self._journal, self._claim)
        if found is None or not self._claim.allows(found):
            return found
        self.open_claim = None
        return self._claim.owner


def recorded_owner(journal: Journal, claim: Claim) -> Owner | None:
    """Return the session's owner from its first record in the ledger, or None if it has none.
    Raises ``LedgerError``.
    """
    return journal.session_owner(*claim.names)
