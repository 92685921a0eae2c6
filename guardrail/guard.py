"""The guard: the public class that decides, records and runs calls.

This module opens and closes guards and opens sessions. The calls themselves are in
``guardrail.call.guarded_calls``.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar

from guardrail.approvals.views import terms_of, utc_now
from guardrail.call.anchor_lag import Unanchored
from guardrail.call.approval import ApprovalSteps
from guardrail.call.caller import Callers, SessionStates
from guardrail.call.decision_record import Recorder
from guardrail.call.entering import SessionEntry
from guardrail.call.guarded_calls import GuardedCalls
from guardrail.call.journal import Journal
from guardrail.call.listings import Listings
from guardrail.call.scope import SessionScope, bound
from guardrail.call.steps import CallSteps
from guardrail.call.throttle import Throttle
from guardrail.config import Settings
from guardrail.config.redaction_rules import redaction_rules
from guardrail.core.schema.compiled import UnknownArguments
from guardrail.core.types import Agent, Json, Principal
from guardrail.identity.principal import SessionTable
from guardrail.identity.session import SessionState
from guardrail.identity.token_text import SecretText
from guardrail.identity.tokens import TokenVerifier
from guardrail.ledger.reader import LedgerReader
from guardrail.wiring.current_policies import CurrentPolicies
from guardrail.wiring.recorded_settings import keyed_profile
from guardrail.wiring.reload import ReloadWatch, record_refused
from guardrail.wiring.tenants import TenantGuards

if TYPE_CHECKING:
    from guardrail.anchors.schedule import AnchorWatch
    from guardrail.keys.log_key import Keys
    from guardrail.policy.engine import Engine

__all__ = ["Guard"]

P = ParamSpec("P")
R = TypeVar("R")

_GUARDS = itertools.count()


class Guard(GuardedCalls):
    """Controls the calls that agents make to tools: no body runs without a durable, well-formed
    ``allow``.

    Thread-safe, and usable from any number of threads and event loops at once. Open one per process
    with ``Guard.open``.
    """

    _watch: ReloadWatch | None = None
    _base: Guard | None
    _key: int

    def __init__(
        self,
        *,
        settings: Settings,
        engine: Engine,
        journal: Journal,
        keys: Keys,
        policy_data: Mapping[str, Json] | None = None,
        anchors: AnchorWatch | None = None,
        alongside: Sequence[Callable[[], None]] = (),
        clock: Callable[[], datetime] = utc_now,
        tokens: TokenVerifier | None = None,
        base: Guard | None = None,
    ) -> None:
        """Use ``open`` instead.

        *tokens* verifies the tokens of sessions. *clock* returns the time used to judge approvals.
        ``close`` first calls the functions of *alongside*, which stop background work on the
        ledger, and then closes the ledger. *base* is the guard that opened this one for a tenant:
        they have the same tools, and accept each other's sessions.
        """
        self._alongside = alongside
        self._policies = CurrentPolicies(settings, engine, policy_data, journal.admin, keys=keys)
        self._journal = journal
        self.record_admin = journal.admin
        """Writes an ``admin.*`` record, for components that govern calls through this guard."""
        unknown = UnknownArguments(settings.tools.unknown_arguments)
        super().__init__(unknown, None if base is None else base._tools)
        self._base, self._key = base, next(_GUARDS) if base is None else base._key
        open_one = functools.partial(type(self)._open, base=self, policy_data=policy_data)
        self._tenants: TenantGuards[Guard] = TenantGuards(settings, self, open_one)
        # A tenant's sessions outlast its guard, which closes while the tenant is idle.
        self._tables: dict[str, SessionTable[SessionState]] = {} if base is None else base._tables
        sessions = self._tables.setdefault(settings.identity.tenant, SessionTable())
        rules = redaction_rules(settings.redaction)
        make = SessionStates(settings, journal.log, keys, rules)
        self._callers = Callers(self._key, settings, make)
        self._entry = SessionEntry(
            self._callers, journal=journal, keys=keys, make=make, tokens=tokens, sessions=sessions
        )
        self._recorder = self._new_recorder(keyed_profile(rules, keys))
        self._throttle = Throttle.of(journal, settings.limits)
        terms = terms_of(settings.approvals)
        self.calls = CallSteps(
            callers=self._callers,
            policies=self._policies,
            journal=journal,
            recorder=self._recorder,
            approvals=ApprovalSteps(journal, self._recorder, terms, clock),
            anchors=anchors if anchors is not None else Unanchored(),
            throttle=self._throttle,
        )
        """The steps of a call, for integrations that run them."""
        self._listings = Listings(
            callers=self._callers, policies=self._policies, recorder=self._recorder, journal=journal
        )
        self._anchors = anchors
        self.approvals = journal.approval_service(keys.tenant, terms, rules, clock)
        """Accepts people's answers to approval requests, for programs with their own interface."""

    def _new_recorder(self, profile: str) -> Recorder:
        return Recorder(
            profile=profile,
            raw_input=self._policies.settings.policy.input == "raw",
            identity=lambda: self._policies.engine.identity,
            soon=self._journal.released.soon,
        )

    # -- life --------------------------------------------------------------------------------------

    @classmethod
    def open(
        cls,
        config: str | os.PathLike[str] | Settings | None = None,
        *,
        policies: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None = None,
        ledger: str | os.PathLike[str] | None = None,
        keys: str | os.PathLike[str] | None = None,
        policy_data: Mapping[str, Json] | None = None,
    ) -> Guard:
        """Open the ledger, load the policy and start its workers; return a guard ready for calls.

        *config* is the path of a guardrail.toml; the keyword arguments override its settings. If
        neither the ledger nor the keys exist, both are created. Raises ``ConfigError``,
        ``KeysError``, ``LedgerOpenError`` (if only one of the two exists, or if there are traces of
        an earlier log), and ``PolicyLoadError`` (with every finding).
        """
        from guardrail.config.source import naming_its_source
        from guardrail.wiring.opening import settings_from

        with naming_its_source():
            settings = settings_from(config, policies=policies, ledger=ledger, keys=keys)
            return cls._open(settings, policy_data=policy_data)

    @classmethod
    def _open(
        cls,
        settings: Settings,
        *,
        policy_data: Mapping[str, Json] | None,
        base: Guard | None = None,
    ) -> Guard:
        from guardrail.wiring.opening import open_guard

        # A token is verified before its tenant is known, so the keys are read once for all tenants.
        tokens = None if base is None else base._entry.tokens
        return open_guard(functools.partial(cls, base=base), settings, policy_data, tokens)

    def close(self) -> None:
        """Record the stop, close the ledger, anchor its last head and stop the workers. Idempotent.

        Calls in progress fail. Waits a few seconds for anchors that do not answer.
        """
        with contextlib.ExitStack() as steps:  # every callback runs, even if Ctrl-C interrupts one
            steps.callback(self._policies.close)
            if self._anchors is not None:
                steps.callback(self._anchors.close)
            first = self._journal.stop, self._throttle.close, self._entry.close
            for end in (*first, *reversed(self._alongside)):
                steps.callback(end)
            steps.callback(self._tenants.close)
            if self._watch is not None:
                steps.callback(self._watch.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def reload(self) -> str:
        """Read the settings file and the policies again; return the digest of the new policies.

        The next call uses them. Only the engine's settings can change: ``[opa]``, and all of
        ``[policy]`` except ``input``. The ``admin.policy_loaded`` record is durable before the
        first decision under the new policies. The record lists the settings that changed, and those
        that differ in the file but require a restart. Raises ``ConfigError`` or ``PolicyLoadError``
        if the new settings or policies are rejected, and ``LedgerError`` if the record can't be
        written; the guard then continues with the old policies.
        """
        return self._policies.reload()

    def watch(self) -> None:
        """Watch for reload requests from other processes (``guardrail policy reload``).
        ``Guard.open`` does this. Idempotent.
        """
        if self._watch is not None:
            return
        self._watch = ReloadWatch(
            self._policies.settings.ledger.path,
            self.reload,
            lambda error: record_refused(
                self._journal.admin, error, self._policies.engine.identity
            ),
        )
        self._watch.start()

    # -- sessions ----------------------------------------------------------------------------------

    def session(
        self,
        principal: Principal | str | None = None,
        agent: Agent | str | None = None,
        *,
        tenant: str | None = None,
        id: str | None = None,  # noqa: A002 - the public name of a session id
        delegation: Sequence[Mapping[str, Any]] = (),
        attributes: Mapping[str, Json] | None = None,
        trace: str | None = None,
        token: str | None = None,
        agent_token: str | None = None,
    ) -> SessionScope:
        """Return a session for the calls made inside its ``with`` or ``async with`` block.

        If *id* is None, this is a new session. *token* is an access token or a JWT-SVID, which
        guardrail verifies (docs/identity.md): it states the principal, the delegation and, if its
        issuer's settings say so, the tenant. *agent_token* is the agent's own token: it states the
        agent, and possibly the tenant. If the settings have tables for tenants, the guard of the
        session's tenant decides and records its calls, and is opened here if it is not open.

        Raises ``IdentityError`` if a token is refused, if there is no such tenant, or if the id
        is malformed or belongs to another caller, and ``RedactionError`` if the attributes can't be
        recorded.
        """
        secret = None if token is None else SecretText(token)
        own = None if agent_token is None else SecretText(agent_token)
        del token, agent_token  # a traceback may show this frame
        wanted = self._entry.describe(
            principal,
            agent,
            token=secret,
            agent_token=own,
            tenant=tenant,
            id_=id,
            delegation=delegation,
            attributes=attributes,
            trace=trace,
        )
        return self.of_tenant(wanted.session.tenant)._entry.enter(wanted)

    async def asession(
        self,
        principal: Principal | str | None = None,
        agent: Agent | str | None = None,
        *,
        tenant: str | None = None,
        id: str | None = None,  # noqa: A002 - the public name of a session id
        delegation: Sequence[Mapping[str, Any]] = (),
        attributes: Mapping[str, Json] | None = None,
        trace: str | None = None,
        token: str | None = None,
        agent_token: str | None = None,
    ) -> SessionScope:
        """Async version of ``session``, which does not hold up other tasks: a thread opens the
        guard of the session's tenant, if it is not open, and only this task waits for the keys of
        the token's issuer, if they are being read.
        """
        secret = None if token is None else SecretText(token)
        own = None if agent_token is None else SecretText(agent_token)
        del token, agent_token  # a traceback may show this frame
        for each in (secret, own):
            if each is not None:
                await self._entry.averify(each)  # from here on, it is verified without waiting
        wanted = self._entry.describe(
            principal,
            agent,
            token=secret,
            agent_token=own,
            tenant=tenant,
            id_=id,
            delegation=delegation,
            attributes=attributes,
            trace=trace,
        )
        guard = await self._tenants.aget(wanted.session.tenant)
        return guard._entry.enter(wanted)

    def another_session(self, session: SessionScope) -> SessionScope:
        """Return a new session of the caller of *session*: it has the same tenant, identities and
        tokens, but its own id.

        The tokens are not verified here but by each call, so this never waits for an issuer. Raises
        ``UsageError`` if *session* belongs to another guard, and the exceptions of ``of_tenant``.
        """
        self._callers.require_own(session)
        return self.of_session(session)._entry.another(session)

    def bind(
        self, session: SessionScope | None = None
    ) -> Callable[[Callable[P, R]], Callable[P, R]]:
        """Return a decorator that makes a function run in *session* (default: the current session).

        Use it for code that does not inherit the context or that outlives the ``with`` block:
        ``Thread(target=guard.bind(session)(work))``, or callbacks and executor jobs. Raises
        ``UsageError`` if there is no session, or if it belongs to another guard.
        """
        return functools.partial(bound, self._callers.bind(session))

    def of_tenant(self, tenant: str) -> Guard:
        """Return the guard that decides and records the calls of *tenant*, and open it if it is not
        open yet. If the settings have no tables for tenants, this is the guard itself.

        Its ``approvals`` and ``reload`` are those of the tenant. Ask for it each time: it closes
        while the tenant is idle, and with this guard.
        Raises ``IdentityError`` if there is no such tenant or it is disabled, and the exceptions of
        ``open``.
        """
        return self._tenants.get(tenant)

    async def aof_tenant(self, tenant: str) -> Guard:
        """Async version of ``of_tenant``: a thread opens the guard."""
        return await self._tenants.aget(tenant)

    def of_session(self, session: SessionScope | None = None) -> Guard:
        """Return the guard of the tenant of *session*, or of the current session.

        Raises ``UsageError`` if *session* belongs to another guard, and the exceptions of
        ``of_tenant``.
        """
        if self._tenants.several:
            return self._tenants.get(self._callers.tenant(session))
        if self._base is not None:  # which gave this guard the sessions of all its tenants
            tenant = self._callers.tenant(session)
            if tenant != self._callers.default_tenant:
                return self._base.of_tenant(tenant)
        return self

    @property
    def closes_when_idle(self) -> bool:
        """True if this is the guard of one of several tenants, which closes while it is idle."""
        return self._base is not None

    def is_idle(self) -> bool:
        """Return True if no call of this process is in progress in this guard's ledger. Raises
        ``LedgerError``.
        """
        if self.running or self._journal.unsent or self._journal.ledger.owed:
            return False
        with LedgerReader.open(self._policies.settings.ledger.path, rows=False) as reader:
            own = self._journal.process
            return all(call.process != own for call in reader.storage.open_calls())
