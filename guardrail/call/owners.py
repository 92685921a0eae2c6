"""Whose a session is: what the ledger says when it is entered, and the claim that its first call there makes."""

from __future__ import annotations

from guardrail.call.journal import Journal
from guardrail.core.claims import Claim, Owner
from guardrail.core.types import Session
from guardrail.identity.principal import session_key
from guardrail.keys.tenant_keys import TenantKeys

__all__ = ["Entering"]


class Entering:
    """One entering of a session, from the look at its owner to the claim that is left to make."""

    def __init__(
        self, session: Session, *, journal: Journal, keys: TenantKeys, named: bool
    ) -> None:
        """*named*: the host named the session, so that others may have been in it."""
        id_ = session.id
        owner = session_key(session)[:-1]
        self._journal = journal
        self._claim = Claim((id_, keys.token("session", id_)), owner, named, keys.token)
        self.left: Claim | None = self._claim
        """What the first record of this caller has to be compared with; None once the ledger has shown whose it is."""

    def owner(self) -> Owner | None:
        """Return whose session of this id is in the ledger; the caller in clear, where it is the caller's. Raises ``LedgerError``."""
        if not self._claim.named:
            return None
        found = find(self._journal, self._claim)
        if found is None or not self._claim.allows(found):
            return found
        self.left = None
        return self._claim.owner


def find(journal: Journal, claim: Claim) -> Owner | None:
    """Return whose session it is by its first record in the ledger, None where it has none. Raises ``LedgerError``."""
    return journal.session_owner(*claim.names)
