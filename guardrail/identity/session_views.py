"""The forms of a session's identity: for the policy, for records, and for bare records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from guardrail.core.hidden import hidden
from guardrail.core.log import fields
from guardrail.core.log.fields import CallFields
from guardrail.core.log.suspensions import CallNames
from guardrail.core.policy_input import SessionInput, session_input
from guardrail.core.redaction.limits import UNCUT
from guardrail.core.redaction.redactor import Redactor
from guardrail.core.redaction.session_memory import BLANK, Memory
from guardrail.core.state_reads import StateKey
from guardrail.core.types import Json, Session
from guardrail.errors import RedactionError

if TYPE_CHECKING:
    from guardrail.keys.tenant_keys import Commitment, TenantKeys

__all__ = ["SessionViews", "forms_of"]


@dataclass(frozen=True, slots=True)
class _Ids:
    """The ids of a session in their recorded form."""

    principal: str
    principal_form: str
    agent: str
    session: str


@hidden
class SessionViews:
    """Session data that is derived from the session's identity and can be computed again."""

    __slots__ = (
        "_actors",
        "_last",
        "_names",
        "_recorded_ids",
        "_shown",
        "bare",
        "commitment",
        "facts",
        "fields",
        "raw",
        "subjects",
        "supplied_texts",
        "texts",
    )

    def __init__(
        self, session: Session, *, log: str, keys: TenantKeys, redactor: Redactor, form: str
    ) -> None:
        """*form* is the form of principals in records, from the settings. Raises ``RedactionError``
        if the attributes of *session* can't be recorded.
        """
        self.raw = session_input(
            session,
            principal_id=session.principal.id,
            agent_id=session.agent.id,
            attributes=_attributes(session),
            delegation=session.delegation,
        )
        self._shown = shown = _shown(session, redactor, keys)
        self._recorded_ids = ids = _ids(session, redactor, keys, form)
        self._actors = _actors(session, keys) if form == "token" else None
        self.facts, delegation = _recorded(
            shown, self.raw, ids, redactor, BLANK, actors=self._actors
        )
        """The recorded form before any value became known to be sensitive; the same object as
        ``raw`` if nothing had to be removed.
        """
        self._last = 0, self.facts
        """The value of ``memory.added``, and the recorded form computed then. Both are replaced
        together, so a slow thread can't pass off an old form as a new one.
        """
        self.fields = _fields(log, shown, ids, delegation)
        self.bare: CallFields | None = None
        self.commitment: Commitment | None = None
        self.subjects: Mapping[str, tuple[StateKey, ...]] | None = None
        self.texts: dict[str, tuple[str, int]] = {}
        self.supplied_texts: dict[str, str] = {}
        self._names: CallNames | None = None
        """The names of the session's last call."""

    def names(self, session: Session, makers: Sequence[TenantKeys], tool: str) -> CallNames:
        """Return the names of a call of *tool* that a suspension can match, each as given and as a
        token of each of *makers*.
        """
        found = self._names
        if found is None or found.tools[0] != tool:
            between = (str(step.get("sub", "")) for step in session.delegation)
            principals = (session.principal.id, *between)
            found = self._names = CallNames(
                forms_of(makers, "principal", *principals),
                forms_of(makers, "agent", session.agent.id),
                forms_of(makers, "tool", tool),
            )
        return found

    def make_bare(self, log: str, keys: TenantKeys) -> CallFields:
        """Return the common fields, with every id replaced by a token."""
        if self.bare is None:
            self.bare = _bare(log, self._shown, keys)
        return self.bare

    def recorded(self, redactor: Redactor, memory: Memory) -> SessionInput:
        """Return the recorded form, without the values that *memory* knew when this was called; the
        same object as ``raw`` if nothing had to be removed. Raises ``RedactionError``.
        """
        added, (seen, found) = memory.added, self._last
        if seen != added:
            if _attributes(self._shown):  # nothing else depends on the known values
                found, _ = _recorded(
                    self._shown,
                    self.raw,
                    self._recorded_ids,
                    redactor,
                    memory,
                    actors=self._actors,
                )
            self._last = added, found
        return found


def forms_of(makers: Sequence[TenantKeys], cls: str, *ids: str) -> tuple[str, ...]:
    """Return *ids* in each form in which a suspension can contain them: as given, and as a token of
    each of *makers*.
    """
    return (*ids, *(_token(keys, cls, each) for keys in makers for each in ids))


def _attributes(session: Session) -> dict[str, Json]:
    return {**session.attributes, **session.principal.attributes}


def _shown(session: Session, redactor: Redactor, keys: TenantKeys) -> Session:
    """Return *session* with secrets removed from the program's values other than ids, attributes
    and delegation.

    Returns the same object if nothing had to be removed.
    """

    def clean(text: str, cls: str) -> str:
        return text if redactor.gate_identity((text,)) is None else keys.token(cls, text)

    def maybe(text: str | None, cls: str) -> str | None:
        return None if text is None else clean(text, cls)

    principal, agent = session.principal, session.agent
    supplied_texts = (
        principal.type,
        principal.issuer,
        principal.method,
        agent.version,
        agent.framework,
        agent.issuer,
        agent.instance,
    )
    texts = [
        text for text in (*supplied_texts, agent.method, session.tenant, session.trace) if text
    ]
    if redactor.gate_identity(texts) is None:
        return session
    return replace(
        session,
        tenant=clean(session.tenant, "tenant"),
        trace=maybe(session.trace, "trace"),
        principal=replace(
            principal,
            type=clean(principal.type, "type"),
            issuer=maybe(principal.issuer, "issuer"),
            method=clean(principal.method, "method"),
        ),
        agent=replace(
            agent,
            version=maybe(agent.version, "version"),
            framework=maybe(agent.framework, "framework"),
            issuer=maybe(agent.issuer, "issuer"),
            instance=maybe(agent.instance, "instance"),
            method=clean(agent.method, "method"),
        ),
    )


def _fields(log: str, shown: Session, ids: _Ids, delegation: list[Any]) -> CallFields:
    return fields.call_fields(
        log,
        shown,
        principal_id=ids.principal,
        principal_form=ids.principal_form,
        agent_id=ids.agent,
        delegation=delegation,
        session_id=ids.session,
    )


def _bare(log: str, shown: Session, keys: TenantKeys) -> CallFields:
    return fields.call_fields(
        log,
        shown,
        principal_id=_token(keys, "principal", shown.principal.id),
        principal_form="token",
        agent_id=_token(keys, "agent", shown.agent.id),
        delegation=(),
        session_id=keys.token("session", shown.id),
    )


def _actors(session: Session, keys: TenantKeys) -> list[str]:
    """Return the tokens of the ids in the delegation."""
    return [_token(keys, "principal", str(step.get("sub", ""))) for step in session.delegation]


def _recorded(
    shown: Session,
    raw: SessionInput,
    ids: _Ids,
    redactor: Redactor,
    memory: Memory,
    *,
    actors: list[str] | None,
) -> tuple[SessionInput, list[Any]]:
    """*actors* are the tokens that replace the ids in the delegation, or None to keep the ids."""
    supplied_texts: dict[str, Any] = {
        "delegation": [dict(step) for step in shown.delegation],
        "roles": list(shown.principal.roles),
    }
    view = redactor.value(supplied_texts, BLANK, limits=UNCUT)
    attributes = redactor.value(_attributes(shown), memory, limits=UNCUT)
    if view.truncated or attributes.truncated:
        raise RedactionError(
            "session attributes are too large to be recorded", code="redaction.size"
        )
    safe: Any = view.value
    if actors is not None:
        safe["delegation"] = [
            {**step, "sub": actor} for step, actor in zip(safe["delegation"], actors, strict=True)
        ]
    recorded = session_input(
        replace(shown, principal=replace(shown.principal, roles=tuple(safe["roles"]))),
        principal_id=ids.principal,
        agent_id=ids.agent,
        attributes=cast("dict[str, Json]", attributes.value),
        delegation=safe["delegation"],
    )
    recorded.session["id"] = ids.session
    return raw if recorded == raw else recorded, safe["delegation"]


def _ids(session: Session, redactor: Redactor, keys: TenantKeys, principal_form: str) -> _Ids:
    def holds_secret(text: str) -> bool:
        return redactor.gate_identity((text,)) is not None

    principal, agent = session.principal.id, session.agent.id
    form = "clear"
    if principal and (principal_form == "token" or holds_secret(principal)):
        principal, form = keys.token("principal", principal), "token"
    return _Ids(
        principal=principal,
        principal_form=form,
        agent=keys.token("agent", agent) if holds_secret(agent) else agent,
        session=keys.token("session", session.id) if holds_secret(session.id) else session.id,
    )


def _token(keys: TenantKeys, cls: str, value: str) -> str:
    return keys.token(cls, value) if value else ""
