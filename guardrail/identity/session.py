"""A guard's state for one session. It is computed once and shared by all calls of the session."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

from guardrail.core.claims import Claim
from guardrail.core.log import fields
from guardrail.core.log.fields import CallFields
from guardrail.core.log.record import dumps
from guardrail.core.policy_input import SessionInput, session_input
from guardrail.core.redaction.redactor import Redactor
from guardrail.core.redaction.session_memory import BLANK, Memory
from guardrail.core.schema.snapshot import copy_json
from guardrail.core.types import Agent, Json, Principal, Session
from guardrail.errors import ArgumentsError, RecordError, RedactionError
from guardrail.identity import principal as identity
from guardrail.system.ids import new_ulid

if TYPE_CHECKING:
    from guardrail.keys.tenant_keys import Commitment, TenantKeys


__all__ = ["SessionState", "make_session", "make_state"]


_MAX_TEXTS = 512
_RANDOM = ":-:"
"""Text that occurs in every random mark. The rest of a mark differs each time."""


@dataclass(slots=True, eq=False)
class SessionState:
    """One session of one guard. It is computed once and shared by all calls of the session."""

    session: Session
    memory: Memory
    """Values known to be sensitive in this session of this process."""
    raw: SessionInput
    """The view of the session for a policy that sees raw input."""
    recorded: SessionInput
    """The recorded view. It is the same object if nothing had to be removed."""
    fields: CallFields
    bare: CallFields
    """The common fields, with every id replaced by a token."""
    keys: TenantKeys
    redactor: Redactor
    commitment: Commitment
    """Common prefix of every commitment in this session."""
    principal_form: str
    """Form of principals in records, from the settings: ``clear`` or ``token``."""
    seen: int
    """Value of ``memory.added`` when this state was computed."""
    texts: dict[str, str]
    """Recorded forms of short texts of calls, such as messages and names of undeclared tools."""
    claim: Claim | None = None
    """The claim for the session's next record, or None once one of this caller's records is
    durable.
    """
    belongs_to_other: bool = False
    """True if the log already had a call of this session by another caller. No further call is made
    in the session.
    """
    supplied_texts: dict[str, str] = field(default_factory=dict)
    """Recorded forms of short texts from the program or the policy."""
    _facts: SessionInput | None = None

    def refresh(self) -> None:
        """Redact the attributes again if the session has learned of more sensitive values.

        An attribute is recorded in clear text until a part of it is known to be sensitive, and is
        redacted from then on. Ids, roles and delegation never change: a page that a tool read can't
        remove the actor from the record.
        """
        seen = self.memory.added
        if seen != self.seen:
            shown = _shown(self.session, self.redactor, self.keys)
            ids = _ids(self.session, self.redactor, self.keys, self.principal_form)
            self.recorded, delegation = _recorded(shown, self.raw, ids, self.redactor, self.memory)
            self.fields = _fields(self.fields.log, shown, ids, delegation)
            self.texts = {}
            self.seen = seen

    def facts(self) -> SessionInput:
        """Return the session for a policy that decides on recorded data. Values known to the
        session are not removed from it.
        """
        found = self._facts
        if found is None:
            shown = _shown(self.session, self.redactor, self.keys)
            ids = _ids(self.session, self.redactor, self.keys, self.principal_form)
            found, _ = _recorded(shown, self.raw, ids, self.redactor, BLANK)
            self._facts = found
        return found

    def supplied(self, text: str) -> str:
        """Return text from the program or the policy as it may be recorded. Detectors examine it,
        but values known to the session are not removed from it.
        """
        found = self.supplied_texts.get(text)
        if found is None:
            found = self.redactor.text(text, BLANK)
            if len(self.supplied_texts) < _MAX_TEXTS:
                self.supplied_texts[text] = found
        return found

    def origin(self, where: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a call's origin as it may be recorded, given the values known to be sensitive
        now.
        """
        changed = {
            name: self.foreign_id(where[name])
            for name in ("call_id", "thread")
            if where.get(name) is not None and self.memory.knows(where[name]) is not None
        }
        return {**where, **changed} if changed else where

    def foreign_id(self, id_: str) -> str:
        """Return an id that a framework chose as it may be recorded. The form is the same each
        time, so that a repeated call is recognised.
        """
        shown = self.redactor.text(id_, self.memory)
        return shown if shown == id_ or _RANDOM not in shown else self.keys.token("call", id_)

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
    """The ids of a session in their recorded form."""

    principal: str
    principal_form: str
    agent: str
    session: str


def make_state(
    session: Session,
    *,
    log: str,
    keys: TenantKeys,
    redactor: Redactor,
    principal_form: str,
    claim: Claim | None = None,
) -> SessionState:
    """Return the state of a new session. Raises ``RedactionError`` if its attributes can't be
    recorded.

    *claim* is the caller's claim to the session, or None if the ledger already shows the owner.
    """
    memory = Memory()
    session = _copied(session)
    ids = _ids(session, redactor, keys, principal_form)
    raw = session_input(
        session,
        principal_id=session.principal.id,
        agent_id=session.agent.id,
        attributes=_attributes(session),
        delegation=session.delegation,
    )
    shown = _shown(session, redactor, keys)
    recorded, delegation = _recorded(shown, raw, ids, redactor, memory)
    return SessionState(
        session=session,
        memory=memory,
        raw=raw,
        recorded=recorded,
        fields=_fields(log, shown, ids, delegation),
        bare=_bare(log, shown, keys),
        keys=keys,
        redactor=redactor,
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
        principal_form=principal_form,
        seen=memory.added,
        texts={},
        claim=claim,
    )


def _copied(session: Session) -> Session:
    """Return *session* with a private copy of all its JSON, so that the policy's view and the
    record stay the same.
    """
    principal = session.principal
    supplied_texts = {
        "attributes": dict(session.attributes),
        "principal": dict(principal.attributes),
        "delegation": [dict(step) for step in session.delegation],
        "roles": list(principal.roles),
    }
    try:
        own: Any = copy_json(supplied_texts)
        dumps(own)  # this refuses lone surrogates
    except (ArgumentsError, RecordError) as error:
        raise RedactionError(
            f"the session's description can't be recorded: {error.message}",
            code="redaction.session",
        ) from None
    return replace(
        session,
        attributes=own["attributes"],
        delegation=tuple(own["delegation"]),
        principal=replace(principal, attributes=own["principal"], roles=tuple(own["roles"])),
    )


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


def _recorded(
    shown: Session, raw: SessionInput, ids: _Ids, redactor: Redactor, memory: Memory
) -> tuple[SessionInput, list[Any]]:
    supplied_texts: dict[str, Any] = {
        "delegation": [dict(step) for step in shown.delegation],
        "roles": list(shown.principal.roles),
    }
    view = redactor.value(supplied_texts, BLANK)
    attributes = redactor.value(_attributes(shown), memory)
    if view.truncated or attributes.truncated:
        raise RedactionError(
            "session attributes are too large to be recorded", code="redaction.size"
        )
    safe: Any = view.value
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


def make_session(
    *,
    principal: Principal | str | None = None,
    agent: Agent | str | None = None,
    tenant: str,
    id_: str | None = None,
    delegation: Sequence[Mapping[str, Any]] = (),
    attributes: Mapping[str, Json] | None = None,
    trace: str | None = None,
) -> Session:
    """Validate the program's description of a session, and return the session. Raises
    ``IdentityError``.
    """
    return Session(
        id=new_ulid() if id_ is None else identity.check_id(id_, "session id"),
        tenant=identity.check_id(tenant, "tenant"),
        principal=identity.principal(principal),
        agent=identity.agent(agent),
        delegation=identity.delegation(delegation),
        attributes=dict(attributes or {}),
        trace=None if trace is None else identity.check_id(trace, "trace"),
    )
