"""A guard's state for one session, shared by all calls of the session."""

from __future__ import annotations

import contextlib
import os
import re
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from guardrail.core.claims import Claim
from guardrail.core.log.fields import CallFields
from guardrail.core.log.record import dumps
from guardrail.core.log.suspensions import CallNames
from guardrail.core.policy_input import SessionInput
from guardrail.core.redaction.marks import is_mark
from guardrail.core.redaction.redactor import Redactor, is_structured
from guardrail.core.redaction.session_memory import BLANK, LOCK, Memory
from guardrail.core.schema.snapshot import copy_json
from guardrail.core.state_changes import subject_names
from guardrail.core.state_reads import StateKey
from guardrail.core.types import Agent, Json, Principal, Session
from guardrail.errors import ArgumentsError, RecordError, RedactionError
from guardrail.identity.claims import VerifiedIdentity
from guardrail.identity.principal import check_id
from guardrail.identity.resolving import resolve_identity
from guardrail.identity.session_views import SessionViews, forms_of
from guardrail.system.ids import new_ulid

if TYPE_CHECKING:
    from guardrail.keys.tenant_keys import Commitment, TenantKeys


__all__ = ["MOST_AWAKE", "AwakeSessions", "SessionState", "make_session"]


_MAX_TEXTS = 512
_PLAIN_TEXT = 4_096
"""Maximum length of a text of which only the known values are searched for again."""
MOST_AWAKE = 512
"""Maximum number of a guard's sessions that are kept ready for a call."""
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_RANDOM = ":-:"
"""Text that occurs in every random mark. The rest of a mark differs each time."""


os.register_at_fork(before=LOCK.acquire, after_in_parent=LOCK.release, after_in_child=LOCK.release)


class SessionState:
    """One session of one guard. All data that its calls need is computed once, and again if the
    session has not been used for a long time.
    """

    __slots__ = (
        "_awake",
        "_kept",
        "_makers",
        "belongs_to_other",
        "claim",
        "keys",
        "log",
        "memory",
        "principal_form",
        "redactor",
        "session",
    )

    def __init__(
        self,
        session: Session,
        *,
        log: str,
        keys: TenantKeys,
        redactor: Redactor,
        principal_form: str,
        claim: Claim | None,
        awake: AwakeSessions,
        responders: TenantKeys | None = None,
    ) -> None:
        """Raises ``RedactionError`` if the attributes of *session* can't be recorded.

        *claim* is the caller's claim to the session, or None if the ledger already shows the owner.
        *principal_form* is the form of principals in records, from the settings: ``clear`` or
        ``token``. *responders* are the keys with which ``guardrail suspend`` makes tokens, if they
        are not *keys*.
        """
        self.session = _copied(session, keys)
        self.log = log
        self.keys = keys
        self.redactor = redactor
        self.principal_form = principal_form
        self.memory = Memory()
        """Values known to be sensitive in this session of this process."""
        self.claim = claim
        """The claim for the session's next record, or None once one of this caller's records is
        durable.
        """
        self.belongs_to_other = False
        """True if the log already contained a call by a different caller in this session. No
        further call is made in the session.
        """
        self._awake = awake
        # A suspension stops a principal in every tenant of the ledger, and names one token.
        self._makers = (keys,) if responders in (None, keys) else (keys, responders)
        self._kept: SessionViews | None = None
        self._views()

    def has_identity(self, session: Session) -> bool:
        """Return True if the principal, the agent and the delegation are those of *session*."""
        own = self.session
        return (own.principal, own.agent, own.delegation) == (
            session.principal,
            _without_charter(session.agent, self.keys),
            session.delegation,
        )

    def renewed(self, session: Session) -> SessionState:
        """Return the state of the same session for a caller with other details, such as the roles
        in a newer token. Both states share the values known to be sensitive.
        """
        made = SessionState(
            session,
            log=self.log,
            keys=self.keys,
            redactor=self.redactor,
            principal_form=self.principal_form,
            claim=self.claim,
            awake=self._awake,
            responders=self._makers[-1],
        )
        made.memory = self.memory
        made.belongs_to_other = self.belongs_to_other
        return made

    def _views(self) -> SessionViews:
        found = self._kept
        if found is None:
            found = self._kept = SessionViews(
                self.session,
                log=self.log,
                keys=self.keys,
                redactor=self.redactor,
                form=self.principal_form,
            )
            self._awake.add(self)
        return found

    def free_cache(self) -> None:
        """Free the memory used by data that can be computed again. Later calls give the same
        results.
        """
        self._kept = None
        self.memory.free_cache()

    @property
    def is_cache_empty(self) -> bool:
        """True if the next call must compute this session's data again."""
        return self._kept is None

    @property
    def raw(self) -> SessionInput:
        """The view of the session for a policy that sees raw input."""
        return self._views().raw

    @property
    def fields(self) -> CallFields:
        """The common fields of the session's records."""
        return self._views().fields

    @property
    def bare(self) -> CallFields:
        """The common fields, with every id replaced by a token."""
        return self._views().make_bare(self.log, self.keys)

    def names(self, tool: str) -> CallNames:
        """Return the names of a call of *tool* that a suspension can match. A suspension contains
        an id as given or as a token.
        """
        return self._views().names(self.session, self._makers, tool)

    def people(self, *ids: str) -> tuple[str, ...]:
        """Return *ids* of people, such as approvers, in each form in which a suspension can contain
        them.
        """
        return forms_of(self._makers, "principal", *ids)

    @property
    def subjects(self) -> Mapping[str, tuple[StateKey, ...]]:
        """The names that the session, the principal and the agent have in records: as recorded, as
        a token and as given, because the form of ids can change.
        """
        views = self._views()
        if views.subjects is None:
            given = self.session
            plain = {
                "session": given.id,
                "tenant": given.tenant,
                "principal": {"id": given.principal.id, "issuer": given.principal.issuer},
                "agent": {"id": given.agent.id},
            }
            shown, bare = (
                each.common("", call="", parent=None, where={}) for each in (self.fields, self.bare)
            )
            views.subjects = subject_names((shown, bare, plain))
        return views.subjects

    @property
    def commitment(self) -> Commitment:
        """Common prefix of every commitment in this session."""
        views = self._views()
        if views.commitment is None:
            session = self.session
            who = (session.tenant, session.id, session.principal.id, session.agent.id)
            parts = ("guardrail/commitment/1", self.log, *who)
            views.commitment = self.keys.commitment(part.encode("utf-8") for part in parts)
        return views.commitment

    @property
    def texts(self) -> dict[str, tuple[str, int]]:
        """Recorded forms of short texts in calls, such as messages and names of undeclared tools,
        each with the number of values that the session had learned of by then.
        """
        return self._views().texts

    @property
    def supplied_texts(self) -> dict[str, str]:
        """Recorded forms of short texts from the program or the policy."""
        return self._views().supplied_texts

    def recorded(self) -> SessionInput:
        """Return the recorded view, without the values known to be sensitive when this was called.
        It is the same object as ``raw`` if nothing had to be removed. Raises ``RedactionError``.

        An attribute is recorded in clear text until a part of it is known to be sensitive, and is
        redacted from then on. Ids, roles and delegation never change: a page that a tool read can't
        remove the actor from the record.
        """
        return self._views().recorded(self.redactor, self.memory)

    def facts(self) -> SessionInput:
        """Return the session for a policy that decides on recorded data. Values known to the
        session are not removed from it.
        """
        return self._views().facts

    def supplied(self, text: str) -> str:
        """Return the recorded form of a text from the program or the policy. Detectors examine the
        text, but values known to the session are not removed from it.
        """
        known = self._views().supplied_texts
        found = known.get(text)
        if found is None:
            found = self.redactor.text(text, BLANK)
            if len(known) < _MAX_TEXTS:
                known[text] = found
        return found

    def origin(self, where: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the recorded form of a call's origin, given the values known to be sensitive
        now.
        """
        changed = {
            name: self.foreign_id(where[name])
            for name in ("call_id", "thread")
            if where.get(name) is not None and self.memory.knows(where[name]) is not None
        }
        return {**where, **changed} if changed else where

    def foreign_id(self, id_: str) -> str:
        """Return the recorded form of an id that a framework chose. It is the same each time, so
        that a repeated call is recognised.
        """
        shown = self.redactor.text(id_, self.memory)
        return shown if shown == id_ or _RANDOM not in shown else self.keys.token("call", id_)

    def text(self, text: str) -> str:
        """Return the recorded form of *text*."""
        texts, added = self._views().texts, self.memory.added
        found, seen = texts.get(text, (None, 0))
        if found is None or (seen != added and not self._is_still_plain(text, found)):
            found = self.redactor.text(text, self.memory)
        elif seen == added:
            return found
        if text in texts or len(texts) < _MAX_TEXTS:
            texts[text] = found, added
        return found

    def _is_still_plain(self, text: str, found: str) -> bool:
        """Return True if *text*, which had the recorded form *found* before the session learned of
        more sensitive values, is recorded unchanged.
        """
        # The hits of detectors depend only on the text, so only known values are searched for.
        plain = found == text and len(text) <= _PLAIN_TEXT and not is_structured(text)
        return plain and self.memory.knows(text) is None


class AwakeSessions:
    """A guard's most recently used sessions. The cached data of all others is freed, because a
    guard knows many more sessions than it serves at one time. Thread-safe.
    """

    def __init__(self, most: int = MOST_AWAKE) -> None:
        self._most = most
        self._states: deque[SessionState] = deque()

    def add(self, state: SessionState) -> None:
        """Add *state*, which is now in use. If there are too many sessions, free the cached data of
        the oldest one.
        """
        self._states.append(state)
        while len(self._states) > self._most:
            with contextlib.suppress(IndexError):  # another thread removed it first
                self._states.popleft().free_cache()


def _without_charter(agent: Agent, keys: TenantKeys) -> Agent:
    """Return *agent* with a token in place of the text of its charter. A digest is kept."""
    charter = agent.charter
    if charter is None or _DIGEST.fullmatch(charter) or is_mark(charter):
        return agent
    # A final line break is ignored, as in ``guardrail find``.
    text = charter.removesuffix("\n").removesuffix("\r")
    return replace(agent, charter=keys.token("charter", text))


def _copied(session: Session, keys: TenantKeys) -> Session:
    """Return *session* with a private copy of all its JSON, so that the policy's view and the
    record stay the same, and without the text of the agent's charter.
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
        agent=_without_charter(session.agent, keys),
        principal=replace(principal, attributes=own["principal"], roles=tuple(own["roles"])),
    )


def make_session(
    *,
    principal: Principal | str | None = None,
    agent: Agent | str | None = None,
    tenant: str | None = None,
    default_tenant: str,
    id_: str | None = None,
    delegation: Sequence[Mapping[str, Any]] = (),
    attributes: Mapping[str, Json] | None = None,
    trace: str | None = None,
    verified: VerifiedIdentity | None = None,
    workload: VerifiedIdentity | None = None,
) -> Session:
    """Validate the program's description of a session, and return the session. *verified* is the
    identity in the caller's token, *workload* the one in the agent's own token; None without such a
    token. Raises ``IdentityError``.
    """
    who, actor, tenant, chain = resolve_identity(
        verified,
        workload,
        principal=principal,
        agent=agent,
        tenant=tenant,
        default_tenant=default_tenant,
        delegation=delegation,
    )
    return Session(
        id=new_ulid() if id_ is None else check_id(id_, "session id"),
        tenant=tenant,
        principal=who,
        agent=actor,
        delegation=chain,
        attributes=dict(attributes or {}),
        trace=None if trace is None else check_id(trace, "trace"),
    )
