"""The session that the current code runs in, and what the guard keeps for it."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from guardrail.core import fields
from guardrail.core.fields import CallFields
from guardrail.core.memory import Memory
from guardrail.core.policy_input import SessionInput, session_input
from guardrail.core.redact import Redactor
from guardrail.core.types import Json, Session
from guardrail.errors import RedactionError

if TYPE_CHECKING:
    from guardrail.keys import TenantKeys

__all__ = ["SessionScope", "SessionState", "current", "make_state"]


@dataclass(slots=True, eq=False)
class SessionState:
    """One session of one guard: computed once, used by each of its calls."""

    session: Session
    memory: Memory
    """Values known to be sensitive in this session of this process."""
    raw: SessionInput
    """For the policy."""
    recorded: SessionInput
    """For the record; the same object where nothing had to be removed."""
    fields: CallFields
    bare: CallFields
    """The common fields with every id as a token."""
    keys: TenantKeys
    redactor: Redactor
    identities: tuple[str, ...]
    """Ids as recorded: checked for class ``secret`` before each write."""
    commitment: tuple[bytes, ...]
    """What every commitment of this session starts with."""


def make_state(
    session: Session, *, log: str, keys: TenantKeys, redactor: Redactor, principal_form: str
) -> SessionState:
    """Return the state of a new session. Raises ``RedactionError`` where its attributes can't be recorded."""
    memory = Memory()
    identity = redactor.identity
    principal_id = session.principal.id
    form = "clear"
    if principal_id and (principal_form == "token" or identity(principal_id) != principal_id):
        principal_id, form = keys.token("principal", principal_id), "token"
    agent_id = _safe_id(session.agent.id, redactor, keys, "agent")
    session_id = _safe_id(session.id, redactor, keys, "session")
    attributes: dict[str, Json] = {**session.attributes, **session.principal.attributes}
    delegation = list(session.delegation)
    view = redactor.value({"attributes": attributes, "delegation": delegation}, memory)
    if view.truncated:
        raise RedactionError(
            "session attributes are too large to be recorded", code="redaction.size"
        )
    recorded: Any = view.value
    raw = session_input(
        session,
        principal_id=session.principal.id,
        agent_id=session.agent.id,
        attributes=attributes,
        delegation=delegation,
    )
    unchanged = (principal_id, agent_id, session_id) == (
        session.principal.id,
        session.agent.id,
        session.id,
    )
    if unchanged and not view.changed:
        kept = raw
    else:
        kept = session_input(
            session,
            principal_id=principal_id,
            agent_id=agent_id,
            attributes=recorded["attributes"],
            delegation=recorded["delegation"],
        )
        kept.session["id"] = session_id
    tokens = {
        "principal_id": keys.token("principal", session.principal.id)
        if session.principal.id
        else "",
        "agent_id": keys.token("agent", session.agent.id) if session.agent.id else "",
        "session_id": keys.token("session", session.id),
    }
    return SessionState(
        session=session,
        memory=memory,
        raw=raw,
        recorded=kept,
        fields=fields.call_fields(
            log,
            session,
            principal_id=principal_id,
            principal_form=form,
            agent_id=agent_id,
            delegation=recorded["delegation"],
            session_id=session_id,
        ),
        bare=fields.call_fields(log, session, principal_form="token", delegation=(), **tokens),
        keys=keys,
        redactor=redactor,
        identities=(principal_id, agent_id, session_id, session.tenant),
        commitment=tuple(
            part.encode("utf-8")
            for part in (
                "guardrail/commitment/1",
                log,
                session.tenant,
                session.id,
                session.principal.id,
                session.agent.id,
            )
        ),
    )


def _safe_id(value: str, redactor: Redactor, keys: TenantKeys, cls: str) -> str:
    return value if not value or redactor.identity(value) == value else keys.token(cls, value)


# One stack for all guards: entering pushes, leaving pops, and since the value is immutable each thread and task has
# its own. The guard is named by its key, so that two guards in one program do not see each other's sessions.
_STACK: ContextVar[tuple[tuple[int, SessionState], ...]] = ContextVar(
    "guardrail_sessions", default=()
)


def current(guard: int) -> SessionState | None:
    """Return the innermost session that was entered in this context for *guard*, or None."""
    for key, state in reversed(_STACK.get()):
        if key == guard:
            return state
    return None


class SessionScope:
    """A session as a context manager, sync and async.

    Entering makes it the current one for this thread or task (and what they start with a copy of their context). The
    object can be handed to other threads, which enter it themselves; it can be entered any number of times.
    """

    __slots__ = ("_guard", "_state")

    def __init__(self, guard: int, state: SessionState) -> None:
        self._guard = guard
        self._state = state

    @property
    def id(self) -> str:
        """The session id: the host's, or a new ULID."""
        return self._state.session.id

    @property
    def session(self) -> Session:
        """Who and where."""
        return self._state.session

    @property
    def state(self) -> SessionState:
        """For the guard."""
        return self._state

    @property
    def attributes(self) -> Mapping[str, Json]:
        """What the host told about the session."""
        return self._state.session.attributes

    def __enter__(self) -> Self:
        _STACK.set((*_STACK.get(), (self._guard, self._state)))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        stack = list(_STACK.get())
        for index in range(len(stack) - 1, -1, -1):
            if stack[index][0] == self._guard and stack[index][1] is self._state:
                del stack[index]
                break
        _STACK.set(tuple(stack))

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.__exit__(kind, error, trace)
