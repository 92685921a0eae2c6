"""The session that the current code runs in, and what the guard keeps for it."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, replace
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
    from guardrail.keys import Commitment, TenantKeys


__all__ = ["SessionScope", "SessionState", "current", "make_state"]


_MAX_TEXTS = 512


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
    commitment: Commitment
    """What every commitment of this session starts with."""
    ids: _Ids
    seen: int
    """``memory.added`` when what is kept here was made."""
    texts: dict[str, str]
    """Short texts that come with every call (names, rules, messages), as recorded."""
    exposed: str | None = None
    """Set where an identity turned out to hold a known secret: the name of its class."""

    def refresh(self) -> None:
        """Redact what is kept from call to call anew where values have become known since.

        An attribute was recorded in clear as long as nothing was known about it; from then on it is not.
        """
        seen = self.memory.added
        if seen != self.seen:
            self.recorded, delegation = _recorded(
                self.session, self.raw, self.ids, self.redactor, self.memory
            )
            self.fields = replace(self.fields, delegation=delegation)
            self.exposed = self.redactor.gate_identity(self.identities, self.memory)
            self.texts = {}
            self.seen = seen

    def text(self, text: str) -> str:
        """Return *text* as it may be recorded."""
        found = self.texts.get(text)
        if found is None or self.memory.added != self.seen:
            found = self.redactor.text(text, self.memory)
            if len(self.texts) < _MAX_TEXTS and self.memory.added == self.seen:
                self.texts[text] = found
        return found


@dataclass(frozen=True, slots=True)
class _Ids:
    """The ids of a session as they are recorded."""

    principal: str
    principal_form: str
    agent: str
    session: str


def make_state(
    session: Session, *, log: str, keys: TenantKeys, redactor: Redactor, principal_form: str
) -> SessionState:
    """Return the state of a new session. Raises ``RedactionError`` where its attributes can't be recorded."""
    memory = Memory()
    ids = _ids(session, redactor, keys, principal_form)
    raw = session_input(
        session,
        principal_id=session.principal.id,
        agent_id=session.agent.id,
        attributes=_attributes(session),
        delegation=session.delegation,
    )
    recorded, delegation = _recorded(session, raw, ids, redactor, memory)
    return SessionState(
        session=session,
        memory=memory,
        raw=raw,
        recorded=recorded,
        fields=fields.call_fields(
            log,
            session,
            principal_id=ids.principal,
            principal_form=ids.principal_form,
            agent_id=ids.agent,
            delegation=delegation,
            session_id=ids.session,
        ),
        bare=fields.call_fields(
            log,
            session,
            principal_id=_token(keys, "principal", session.principal.id),
            principal_form="token",
            agent_id=_token(keys, "agent", session.agent.id),
            delegation=(),
            session_id=keys.token("session", session.id),
        ),
        keys=keys,
        redactor=redactor,
        identities=(ids.principal, ids.agent, ids.session, session.tenant),
        commitment=keys.commitment(
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
        ids=ids,
        seen=memory.added,
        texts={},
    )


def _attributes(session: Session) -> dict[str, Json]:
    return {**session.attributes, **session.principal.attributes}


def _recorded(
    session: Session, raw: SessionInput, ids: _Ids, redactor: Redactor, memory: Memory
) -> tuple[SessionInput, list[Any]]:
    told: dict[str, Any] = {
        "attributes": _attributes(session),
        "delegation": [dict(step) for step in session.delegation],
    }
    view = redactor.value(told, memory)
    if view.truncated:
        raise RedactionError(
            "session attributes are too large to be recorded", code="redaction.size"
        )
    shown: Any = view.value
    named = (session.principal.id, session.agent.id, session.id)
    if not view.changed and named == (ids.principal, ids.agent, ids.session):
        return raw, shown["delegation"]
    recorded = session_input(
        session,
        principal_id=ids.principal,
        agent_id=ids.agent,
        attributes=shown["attributes"],
        delegation=shown["delegation"],
    )
    recorded.session["id"] = ids.session
    return recorded, shown["delegation"]


def _ids(session: Session, redactor: Redactor, keys: TenantKeys, principal_form: str) -> _Ids:
    principal = session.principal.id
    form = "clear"
    if principal and (principal_form == "token" or redactor.identity(principal) != principal):
        principal, form = keys.token("principal", principal), "token"
    return _Ids(
        principal=principal,
        principal_form=form,
        agent=_safe_id(session.agent.id, redactor, keys, "agent"),
        session=_safe_id(session.id, redactor, keys, "session"),
    )


def _safe_id(value: str, redactor: Redactor, keys: TenantKeys, cls: str) -> str:
    return value if not value or redactor.identity(value) == value else keys.token(cls, value)


def _token(keys: TenantKeys, cls: str, value: str) -> str:
    return keys.token(cls, value) if value else ""


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
