"""Determines who owns a session: the first record states the owner, and later calls must have the
same owner.

Pure functions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from guardrail.core.hidden import hidden
from guardrail.core.types import Cause

__all__ = ["BEHIND", "TAKEN", "TYPES", "Claim", "Owner", "owner_of", "refuses", "session_of"]

Owner = tuple[str, str, str, str]
"""Recorded owner of a session: (tenant, principal id, agent id, issuer of the principal or "")."""

TYPES = ("call.decision", "call.rejected")
"""Types of records that claim a session for their caller if they are its first record."""
TAKEN = "session"
"""Detail of cause ``identity``: the log already contains a call by a different caller in this
session.

Such a denial does not claim the session.
"""
BEHIND = "ledger.session_behind"
"""Error code for the first call of a session whose owner must be looked up again. Nothing was
written.
"""

_KINDS = ("tenant", "principal", "agent", "issuer")


@hidden
@dataclass(frozen=True, slots=True)
class Claim:
    """Claims a session for its caller, in the caller's first record in that session."""

    names: tuple[str, ...]
    """Names that the session can have in the log: its id, and its id as a token."""
    owner: Owner
    """Identity of the caller, in clear text."""
    named: bool
    """True if the program chose the session's id, so other callers may use the same id."""
    token: Callable[[str, str], str]
    """Returns the token for a value of a given kind."""

    def allows(self, found: Owner) -> bool:
        """Return True if *found* is the same owner.

        All fields are compared exactly. A token of this claim's value counts as the value itself.
        """
        return all(
            there == mine or (mine != "" and there == self.token(kind, mine))
            for kind, there, mine in zip(_KINDS, found, self.owner, strict=True)
        )


def owner_of(record: Mapping[str, Any]) -> Owner | None:
    """Return the owner of the session according to *record*, or None if the record does not state
    an owner.
    """
    if session_of(record) is None:
        return None
    principal = record["principal"]
    issuer = principal.get("issuer")
    return (
        record["tenant"],
        principal["id"],
        record["agent"]["id"],
        "" if issuer is None else issuer,
    )


def session_of(record: Mapping[str, Any]) -> str | None:
    """Return the session that *record* claims for its caller if it is the session's first record,
    or None if it claims no session.
    """
    if record.get("type") not in TYPES:
        return None
    decision = record.get("decision")
    if isinstance(decision, Mapping) and refuses(decision.get("cause"), decision.get("detail")):
        return None
    session = record.get("session")
    return session if isinstance(session, str) else None


def refuses(cause: object, detail: object) -> bool:
    """Return True if a denial with *cause* and *detail* means that the session belongs to another
    caller.
    """
    return cause == Cause.IDENTITY and detail == TAKEN
