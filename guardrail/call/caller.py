"""Determines the caller of each call from the session passed with it or the current session, and
checks that the settings permit the call.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from guardrail.call import scope
from guardrail.call.scope import SessionScope
from guardrail.config import Settings
from guardrail.config.redaction_rules import redaction_limits
from guardrail.core.claims import TAKEN, Claim
from guardrail.core.redaction.redactor import Redactor
from guardrail.core.redaction.rules import Rules
from guardrail.core.types import Assurance, Session
from guardrail.errors import UsageError
from guardrail.identity.principal import check_identity
from guardrail.identity.session import AwakeSessions, SessionState, make_session
from guardrail.identity.tokens import BUSY, EXPIRED, KEY_GONE, KEYS, REVOKED, UNANSWERED
from guardrail.system import cpu_meter

if TYPE_CHECKING:
    from guardrail.keys.log_key import Keys

__all__ = ["ABSENT", "Caller", "Callers", "SessionStates", "identity_hint"]

ABSENT = "absent"
"""Detail of cause ``identity``: there is no session, or the session has no principal."""
UNVERIFIED = "unverified"
"""Detail of cause ``identity``: the settings require a verified principal."""

_HINTS = {
    ABSENT: (
        "no principal: this call is outside `with guard.session(principal=...)`, or it "
        "is in a new thread, a sync dependency that yields, a background task or a "
        "streaming response, where the session is lost; pass session= or use "
        "guard.bind(session)"
    ),
    scope.ENDED: (
        "the `with guard.session(...)` block that this task or thread was started in has ended; "
        "pass session= or use guard.bind(session)"
    ),
    scope.SUSPENDED: (
        "a generator entered this session through a function, and this call is not made by that "
        "generator; pass session= or use guard.bind(session)"
    ),
    TAKEN: (
        "an earlier call with this session id was made by a different tenant, principal or agent; "
        "omit the id to get a new one"
    ),
    UNVERIFIED: (
        'the principal is only asserted, and [identity] require is "verified"; open the session '
        "with guard.session(token=...)"
    ),
    EXPIRED: "the token of this session has expired; open another session with a new token",
    KEY_GONE: (
        "the issuer no longer publishes the key of this session's token; open another session "
        "with a new token"
    ),
    REVOKED: "the issuer of this session's token has revoked it; open another session with a new "
    "token",
    UNANSWERED: "the issuer's introspection endpoint gives no valid answer about this session's "
    "token; check that it is running",
    BUSY: "the issuer's introspection endpoint was being asked about too many tokens; check that "
    "it answers quickly",
    KEYS: "the keys of the token's issuer are too old, because they can't be read; run guardrail "
    "doctor",
    scope.CLOSED: "session.close() was called; open another session with guard.session(...)",
}


@dataclass(frozen=True, slots=True)
class Caller:
    """The caller of a call: an identity and its state."""

    state: SessionState
    refusal: Callable[[], str]
    """Returns the reason that this identity can't make calls now (a detail of cause ``identity``),
    or an empty string if it can make calls.
    """


class Callers:
    """Determines the caller of each call of one guard. Thread-safe."""

    def __init__(
        self, guard: int, settings: Settings, make_state: Callable[[Session], SessionState]
    ) -> None:
        """*guard* is the guard's key; *make_state* creates the state of a session. Raises
        ``ConfigError``.
        """
        check_identity(settings)
        self.guard = guard
        """The guard's key."""
        self.default_tenant = settings.identity.tenant
        """The tenant of sessions without one."""
        self.verifies_tokens = bool(settings.identity.issuers)
        """True if the settings name issuers, so that sessions can be opened with a token."""
        self.requires_verified = settings.identity.require == "verified"
        """True if calls of principals that are only asserted are denied."""
        self._require = settings.identity.require
        self._make_state = make_state

    def find(self, session: SessionScope | None) -> Caller:
        """Return the caller: *session* if it is not None, otherwise the current session, otherwise
        an anonymous caller.

        Each anonymous call gets a new caller, so values learned from one call are not used in the
        next. Raises ``UsageError`` if *session* is not a session, or belongs to another guard.
        """
        if session is not None:
            return self._caller(self.require_own(session), session.refusal)
        entry = scope.current(self.guard)
        if entry is not None:
            return self._caller(entry.scope, entry.refusal)
        state = self._make_state(make_session(default_tenant=self.default_tenant))
        return Caller(state, lambda: "" if self._require == "any" else ABSENT)

    def tenant(self, session: SessionScope | None) -> str:
        """Return the tenant of *session* if it is not None, otherwise of the current session,
        otherwise of anonymous callers. Raises ``UsageError`` as ``find`` does.
        """
        if session is not None:
            return self.require_own(session).session.tenant
        entry = scope.current(self.guard)
        return self.default_tenant if entry is None else entry.scope.session.tenant

    def bind(self, session: SessionScope | None) -> SessionScope:
        """Return the session to bind a function to: *session* if it is not None, otherwise the
        current session. Raises ``UsageError`` if there is none.
        """
        if session is not None:
            return self.require_own(session)
        entry = scope.current(self.guard)
        if entry is None or entry.refusal():
            raise UsageError(
                "bind: there is no current session",
                code="usage.session",
                hint="pass a session: guard.bind(guard.session(principal=...))",
            )
        return entry.scope

    def current(self) -> SessionScope | None:
        """Return the session in which the current code can make calls, or None."""
        entry = scope.current(self.guard)
        return None if entry is None or entry.refusal() else entry.scope

    def require_own(self, session: SessionScope) -> SessionScope:
        """Return *session* if this guard created it. Raises ``UsageError`` otherwise."""
        if not isinstance(session, SessionScope):
            raise UsageError(
                "session must be the return value of guard.session(...), not "
                f"{type(session).__name__}",
                code="usage.session",
            )
        if session.guard != self.guard:
            raise UsageError(
                "this session belongs to another guard",
                code="usage.session_guard",
                hint="open the session with guard.session(...) on the guard that makes the call",
            )
        return session

    def _caller(self, scope: SessionScope, refusal: Callable[[], str]) -> Caller:
        state, token_refusal = scope.state, scope.token_refusal
        lacking = self._lacking(state.session.principal.assurance)
        if token_refusal is not None:
            return Caller(state, lambda: refusal() or token_refusal() or lacking)
        if lacking:
            return Caller(state, lambda: refusal() or lacking)
        return Caller(state, refusal)

    def _lacking(self, assurance: Assurance) -> str:
        """Return the reason that the settings do not permit calls of a principal with this
        *assurance*, or an empty string.
        """
        if self._require == "any" or assurance is Assurance.VERIFIED:
            return ""
        if assurance is Assurance.ABSENT:
            return ABSENT
        return UNVERIFIED if self.requires_verified else ""


def identity_hint(detail: str, more: str) -> str:
    """Return the hint for developers after a denial with cause ``identity``. *more* is the command
    that explains the denial.
    """
    about = _HINTS.get(detail)
    return more if about is None else f"{about} (docs/web-apps.md); {more}"


class SessionStates:
    """Creates the states of a guard's sessions. Thread-safe."""

    def __init__(self, settings: Settings, log: str, keys: Keys, rules: Rules) -> None:
        self._settings = settings
        self._rules = rules
        self._log = log
        self._keys = keys
        self._awake = AwakeSessions()
        self._redactors: dict[str, tuple[str, Redactor]] = {}
        """The redactor of each tenant, with the name of its key. The tenant's sessions share it,
        because it keeps only values that are not sensitive.
        """

    def __call__(self, session: Session, claim: Claim | None = None) -> SessionState:
        """Return a new state for *session*. *claim* is the claim of ownership that its first record
        makes, or None. Raises ``RedactionError``.
        """
        tenant = self._keys.tenant(session.tenant)
        found = self._redactors.get(session.tenant)
        if found is None or found[0] != tenant.kid:
            redactor = Redactor(
                token=tenant.value_token,
                mark=tenant.mark,
                limits=redaction_limits(self._settings.policy),
                meter=cpu_meter.current,
                rules=self._rules,
            )
            found = self._redactors[session.tenant] = tenant.kid, redactor
        return SessionState(
            session,
            log=self._log,
            keys=tenant,
            redactor=found[1],
            principal_form=self._settings.identity.principal_form,
            claim=claim,
            awake=self._awake,
            responders=self._keys.tenant(self._settings.identity.tenant),
        )
