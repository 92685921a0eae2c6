"""Validates the identity data that the program passes: principal, agent and session.

This version verifies no signatures: every identity is ``asserted``, or ``absent`` if the program
passed none.
"""

from __future__ import annotations

import unicodedata
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from threading import Lock
from typing import Any, Generic, TypeVar

from guardrail.config import Settings
from guardrail.core.types import Agent, Assurance, Principal, Session
from guardrail.errors import ConfigError, IdentityError

__all__ = [
    "SOMEONE_ELSES",
    "SessionTable",
    "agent",
    "check_id",
    "check_identity",
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


def check_identity(settings: Settings) -> None:
    """Raise ``ConfigError`` for an identity rule that can't be enforced."""
    if settings.identity.require == "verified":
        raise ConfigError(
            'identity.require = "verified": this version can\'t verify identities, so every '
            "call would be denied",
            code="config.identity",
            hint='set require = "asserted"',
        )


def check_id(value: object, what: str) -> str:
    """Return *value* if it is a valid id: a non-empty printable str of at most 512 characters.

    Raises ``IdentityError``, which does not quote *value*.
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


def _check_assurance(assurance: object, id_: object, what: str) -> None:
    # Checked by type, because a str that equals an enumeration member would fail every later
    # comparison by identity.
    if type(assurance) is not Assurance or assurance is Assurance.VERIFIED:
        raise IdentityError(
            f"{what}: a program can use only Assurance.ASSERTED or ABSENT, because only "
            "guardrail verifies identities",
            code="identity.assurance",
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
        _check_assurance(value.assurance, value.id, "principal")
        _check_texts("principal", type=value.type, issuer=value.issuer, method=value.method)
        return value
    return Principal(id=check_id(value, "principal"))


def agent(value: Agent | str | None) -> Agent:
    """Return the program's agent. See ``principal``."""
    if value is None:
        return Agent(id="", assurance=Assurance.ABSENT, method="none")
    if isinstance(value, Agent):
        _check_assurance(value.assurance, value.id, "agent")
        _check_texts("agent", version=value.version, framework=value.framework, method=value.method)
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
        key = session_key(session)
        with self._lock:
            found = self._states.get(session.id)
            if found is not None:
                if found[0] != key:
                    raise _taken_error()
                self._states.move_to_end(session.id)
                return found[1]
        owner = recorded_owner(session.id)
        if owner is not None and owner != key[:-1]:
            raise _taken_error()
        state = make(session)
        with self._lock:
            found = self._states.setdefault(session.id, (key, state))
            if found[0] != key:
                raise _taken_error()
            while len(self._states) > self._limit:
                self._states.popitem(last=False)
            return found[1]


def _taken_error() -> IdentityError:
    return IdentityError(
        "this session id belongs to another tenant, principal or agent",
        code=SOMEONE_ELSES,
        hint="omit the id to get a new one",
    )
