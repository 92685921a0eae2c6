"""Opens sessions: determines the caller's identity, and enters the session in its name."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from guardrail.call.caller import Callers
from guardrail.call.journal import Journal
from guardrail.call.owners import OwnershipCheck
from guardrail.call.refused_tokens import RefusedTokens
from guardrail.call.scope import SessionScope
from guardrail.core.claims import Claim
from guardrail.core.hidden import hidden
from guardrail.core.types import Agent, Json, Principal, Session
from guardrail.errors import IdentityError
from guardrail.identity.principal import SessionTable
from guardrail.identity.session import SessionState, make_session
from guardrail.identity.token_text import SecretText
from guardrail.identity.tokens import FETCH_WAIT_S, TokenVerifier, VerifiedToken
from guardrail.system.ids import new_ulid

if TYPE_CHECKING:
    from guardrail.keys.log_key import Keys

__all__ = ["SessionDescription", "SessionEntry"]


@hidden
@dataclass(frozen=True, slots=True)
class SessionDescription:
    """A session that a program wants to enter."""

    session: Session
    named: bool
    """True if the program chose the session's id."""
    tokens: Sequence[VerifiedToken]
    """The tokens that state the caller and the agent."""


class SessionEntry:
    """Opens the sessions of one guard. Thread-safe."""

    def __init__(
        self,
        callers: Callers,
        *,
        journal: Journal,
        keys: Keys,
        make: Callable[[Session, Claim | None], SessionState],
        tokens: TokenVerifier | None,
        sessions: SessionTable[SessionState],
    ) -> None:
        """*make* makes the state of a session. *tokens* verifies tokens, if the settings name an
        issuer. *sessions* are the sessions that are known already.
        """
        self._callers = callers
        self._journal = journal
        self._keys = keys
        self._make_state = make
        self.tokens = tokens
        """Verifies tokens, or None if the settings name no issuer."""
        self._sessions = sessions
        self._refused = RefusedTokens(journal.admin)
        if tokens is not None and tokens.note_refused is None:
            tokens.note_refused = self._refused.note

    def close(self) -> None:
        """Record the tokens that were refused since the last record. Idempotent."""
        self._refused.close()

    def describe(
        self,
        principal: Principal | str | None,
        agent: Agent | str | None,
        *,
        token: SecretText | None,
        agent_token: SecretText | None,
        tenant: str | None,
        id_: str | None,
        delegation: Sequence[Mapping[str, Any]],
        attributes: Mapping[str, Json] | None,
        trace: str | None,
    ) -> SessionDescription:
        """Return a session with the identities of the caller and the agent, which the tokens state
        if there are any. Raises ``IdentityError``.
        """
        held = None if token is None else self.verify(token)
        own = None if agent_token is None else self.verify(agent_token)
        made = make_session(
            principal=principal,
            agent=agent,
            tenant=tenant,
            default_tenant=self._callers.default_tenant,
            id_=id_,
            delegation=delegation,
            attributes=attributes,
            trace=trace,
            verified=None if held is None else held.identity,
            workload=None if own is None else own.identity,
        )
        return SessionDescription(made, id_ is not None, [each for each in (held, own) if each])

    def verify(self, token: SecretText) -> VerifiedToken:
        """Return the verified *token*. Raises ``IdentityError``.

        Waits for the keys of its issuer if the token's key is unknown, but never on an event loop.
        """
        return self._verifier().verify(token, wait=0.0 if _on_event_loop() else FETCH_WAIT_S)

    async def averify(self, token: SecretText) -> VerifiedToken:
        """Async version of ``verify``: the task waits for the keys of the token's issuer."""
        return await self._verifier().averify(token)

    def _verifier(self) -> TokenVerifier:
        if self.tokens is None:
            raise IdentityError(
                "guardrail can verify no token, because the settings name no issuer",
                code="identity.token.issuer",
                hint='add a table [identity.issuers."ISSUER"] (docs/identity.md)',
            )
        return self.tokens

    def enter(self, wanted: SessionDescription) -> SessionScope:
        """Return the session *wanted*. Raises ``IdentityError`` if it belongs to another caller,
        ``LedgerError``, and ``RedactionError`` if it can't be recorded.
        """
        return self._entered(wanted.session, wanted.named, _refusal(wanted.tokens))

    def another(self, session: SessionScope) -> SessionScope:
        """Return a new session with the identities and the tokens of *session*. Raises
        ``LedgerError``, and ``RedactionError`` if it can't be recorded.
        """
        made = replace(session.session, id=new_ulid())
        return self._entered(made, False, session.token_refusal)

    def _entered(
        self, made: Session, named: bool, refusal: Callable[[], str] | None
    ) -> SessionScope:
        keys = self._keys.tenant(made.tenant)
        ownership = OwnershipCheck(made, journal=self._journal, keys=keys, named=named)
        state = ownership.enter(self._sessions, self._make_state)
        if not state.has_identity(made):
            # The newer token may state other roles, or the program another version of the agent.
            # Earlier entries keep those of their own.
            state = state.renewed(made)
            self._sessions.replace(made, state)
        return SessionScope(self._callers.guard, state, refusal)


@dataclass(frozen=True, slots=True)
class _Either:
    """Says why one of two tokens can't be used now."""

    first: VerifiedToken
    second: VerifiedToken

    def __call__(self) -> str:
        return self.first.refusal() or self.second.refusal()


def _refusal(tokens: Sequence[VerifiedToken]) -> Callable[[], str] | None:
    """Return the function that says why one of *tokens* can't be used now; None without tokens."""
    if len(tokens) < 2:
        return tokens[0].refusal if tokens else None
    return _Either(*tokens)


def _on_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
