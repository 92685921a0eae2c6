"""Validates the identity data that the program passes: principal, agent and session.

An identity that the program passes is ``asserted``, or ``absent`` if the program passed none. Only
``guardrail.identity.tokens`` makes verified identities.
"""

from __future__ import annotations

import unicodedata
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from threading import Lock
from typing import Any, Generic, TypeVar

from guardrail.config import Settings
from guardrail.core.redaction.marks import is_mark
from guardrail.core.types import Agent, Assurance, Principal, Session
from guardrail.errors import ConfigError, IdentityError

__all__ = [
    "MAX_CHARTER",
    "SOMEONE_ELSES",
    "SessionTable",
    "agent",
    "check_id",
    "check_identity",
    "check_name",
    "delegation",
    "principal",
    "session_key",
]

State = TypeVar("State")

SOMEONE_ELSES = "identity.session"
"""Error code if the session that a caller enters, or makes its first call in, belongs to a
different caller.
"""
_MAX_ID = 512
_MAX_SESSIONS = 10_000
MAX_CHARTER = 65_536
"""Maximum size of a charter in bytes. ``guardrail find`` accepts values of this size."""


def check_identity(settings: Settings) -> None:
    """Raise ``ConfigError`` for an identity rule that can't be enforced."""
    if settings.identity.require == "verified" and not settings.identity.issuers:
        raise ConfigError(
            'identity.require = "verified" without an issuer: guardrail can verify no token, so '
            "every call would be denied",
            code="config.identity",
            hint='add a table [identity.issuers."ISSUER"] (docs/identity.md), or set '
            'require = "asserted"',
        )


def check_id(value: object, what: str) -> str:
    """Return *value* if it is a valid id: a non-empty printable str of at most 512 characters.

    A mark of guardrail is no valid id: records contain it in place of another id. Raises
    ``IdentityError``, which does not quote *value*.
    """
    text = check_name(value, what)
    if is_mark(text):
        raise IdentityError(
            f"{what} is a token that guardrail makes for records, which takes the place of an id",
            code="identity.mark",
            hint="pass the id itself",
        )
    return text


def check_name(value: object, what: str) -> str:
    """Return *value* if it is a valid id, or a mark that a record contains in place of one. Raises
    ``IdentityError``, which does not quote *value*.
    """
    if not isinstance(value, str):
        raise IdentityError(
            f"{what} must be a str, not {type(value).__name__}", code="identity.type"
        )
    if not value or len(value) > _MAX_ID:
        raise IdentityError(
            f"{what} must have from 1 to {_MAX_ID} characters, not {len(value)}",
            code="identity.length",
        )
    if any(unicodedata.category(character)[0] == "C" for character in value):
        raise IdentityError(
            f"{what} contains a control, format or surrogate character", code="identity.characters"
        )
    return str(value)


def _check_texts(what: str, **texts: object) -> None:
    for name, text in texts.items():
        if text is not None:
            check_id(text, f"{what} {name}")


def _check_charter(value: object) -> None:
    if value is None:
        return
    if not isinstance(value, str):
        raise IdentityError(
            f"agent charter must be a str, not {type(value).__name__}", code="identity.type"
        )
    size = len(value.encode("utf-8", "surrogatepass"))
    if not value or size > MAX_CHARTER:
        raise IdentityError(
            f"agent charter must have from 1 to {MAX_CHARTER} bytes, not {size}",
            code="identity.length",
            hint="pass its digest: charter='sha256:' and 64 hex digits",
        )


def _check_assurance(value: Principal | Agent, what: str) -> None:
    assurance, id_ = value.assurance, value.id
    # Checked by type, because a str that equals an enumeration member would fail every later
    # comparison by identity.
    if type(assurance) is not Assurance or assurance is Assurance.VERIFIED:
        raise IdentityError(
            f"{what}: a program can pass only Assurance.ASSERTED or ABSENT, because only "
            "guardrail verifies identities",
            code="identity.assurance",
        )
    if value.authenticated_at is not None:
        raise IdentityError(
            f"{what}: only guardrail sets authenticated_at", code="identity.assurance"
        )
    if assurance is Assurance.ASSERTED:
        check_id(id_, what)
    elif id_ != "":
        raise IdentityError(
            f"{what}: an absent identity can't have an id", code="identity.assurance"
        )


def principal(value: Principal | str | None) -> Principal:
    """Return the program's principal. A bare id becomes an asserted user, and None becomes an
    absent one.
    """
    if value is None:
        return Principal(id="", assurance=Assurance.ABSENT, method="none")
    if isinstance(value, Principal):
        _check_assurance(value, "principal")
        _check_texts("principal", type=value.type, issuer=value.issuer, method=value.method)
        return value
    return Principal(id=check_id(value, "principal"))


def agent(value: Agent | str | None) -> Agent:
    """Return the program's agent. See ``principal``."""
    if value is None:
        return Agent(id="", assurance=Assurance.ABSENT, method="none")
    if isinstance(value, Agent):
        _check_assurance(value, "agent")
        _check_texts(
            "agent",
            version=value.version,
            framework=value.framework,
            method=value.method,
            issuer=value.issuer,
            instance=value.instance,
        )
        _check_charter(value.charter)
        return value
    return Agent(id=check_id(value, "agent"))


def delegation(value: Sequence[Mapping[str, Any]]) -> tuple[Mapping[str, Any], ...]:
    """Return a delegation chain, outermost first: at most 8 steps, each with a ``sub``."""
    if len(value) > 8:
        raise IdentityError("delegation must have at most 8 steps", code="identity.delegation")
    for step in value:
        check_id(step.get("sub"), "delegation sub")
    return tuple(dict(step) for step in value)


def session_key(session: Session) -> tuple[str, str, str, str, str]:
    """Return a session's key: (tenant, principal, agent, issuer of the principal, id). Every part
    is compared exactly.
    """
    principal = session.principal
    return (session.tenant, principal.id, session.agent.id, principal.issuer or "", session.id)


class SessionTable(Generic[State]):
    """The sessions that this guard knows, newest last, at most 10,000. Thread-safe."""

    def __init__(self, limit: int = _MAX_SESSIONS) -> None:
        self._limit = limit
        self._lock = Lock()
        self._states: OrderedDict[str, tuple[tuple[str, ...], State]] = OrderedDict()

    def enter(
        self,
        session: Session,
        make: Callable[[Session], State],
        recorded_owner: Callable[[str], tuple[str, str, str, str] | None],
    ) -> State:
        """Return the state of *session*. If the session is new, *make* creates the state.

        *recorded_owner* returns (tenant, principal, agent, issuer) of the session's first record in
        the ledger, or None. Raises ``IdentityError`` if the id belongs to a different tenant,
        principal or agent, here or in the ledger.
        """
        owner = session_key(session)[:-1]
        # A session of a verified caller is never continued by one who only asserts the same id,
        # nor one of an agent by an agent of another issuer.
        agent = session.agent
        key = (*owner, session.principal.assurance, agent.assurance, agent.issuer or "")
        with self._lock:
            found = self._states.get(session.id)
            if found is not None:
                if found[0] != key:
                    raise _taken_error()
                self._states.move_to_end(session.id)
                return found[1]
        recorded = recorded_owner(session.id)
        if recorded is not None and recorded != owner:
            raise _taken_error()
        state = make(session)
        with self._lock:
            found = self._states.setdefault(session.id, (key, state))
            if found[0] != key:
                raise _taken_error()
            while len(self._states) > self._limit:
                self._states.popitem(last=False)
            return found[1]

    def replace(self, session: Session, state: State) -> None:
        """Make *state* the state that later entries into *session* get, if it is still known."""
        with self._lock:
            found = self._states.get(session.id)
            if found is not None:
                self._states[session.id] = (found[0], state)


def _taken_error() -> IdentityError:
    return IdentityError(
        "this session id belongs to another tenant, principal or agent",
        code=SOMEONE_ELSES,
        hint="omit the id to get a new one",
    )
