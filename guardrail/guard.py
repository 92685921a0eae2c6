"""The guard: the public class that decides, records and runs calls.

The nine steps of a call are in ``guardrail.call.steps``. ``guardrail.call.drivers`` runs them, in a
thread or on an event loop.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar

from guardrail.approvals.views import terms_of, utc_now
from guardrail.call.admission import Admission
from guardrail.call.anchor_lag import Unanchored
from guardrail.call.approval import ApprovalSteps
from guardrail.call.bodies import check_body
from guardrail.call.caller import Callers, SessionStates
from guardrail.call.decision_record import Recorder
from guardrail.call.drivers import drive, drive_async
from guardrail.call.entering import SessionEntry
from guardrail.call.journal import Journal
from guardrail.call.listings import Listings
from guardrail.call.options import CallOptions
from guardrail.call.scope import SessionScope, bound
from guardrail.call.steps import CallSteps
from guardrail.call.throttle import Throttle
from guardrail.config import Settings
from guardrail.config.redaction_rules import redaction_rules
from guardrail.core.call_context import CallContext
from guardrail.core.schema.compiled import UnknownArguments
from guardrail.core.schema.json_arguments import JsonArguments
from guardrail.core.types import Agent, Json, Principal
from guardrail.identity.tokens import TokenVerifier
from guardrail.tools.declarations import ToolDeclarations
from guardrail.tools.tool import Tool
from guardrail.wiring.current_policies import CurrentPolicies
from guardrail.wiring.reload import ReloadWatch, record_refused

if TYPE_CHECKING:
    from guardrail.anchors.schedule import AnchorWatch
    from guardrail.keys.log_key import Keys
    from guardrail.policy.engine import Engine

__all__ = ["Guard"]

P = ParamSpec("P")
R = TypeVar("R")

_GUARDS = itertools.count()


class Guard(ToolDeclarations):
    """Controls the calls that agents make to tools: no body runs without a durable, well-formed
    ``allow``.

    Thread-safe, and usable from any number of threads and event loops at once. Open one per process
    with ``Guard.open``.
    """

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
    ) -> None:
        """Use ``open`` instead.

        *tokens* verifies the tokens of sessions. *clock* returns the time used to judge approvals.
        ``close`` first calls the functions of *alongside*, which stop background work on the
        ledger, and then closes the ledger.
        """
        self._alongside = alongside
        self._policies = CurrentPolicies(settings, engine, policy_data, journal.admin)
        self._journal = journal
        self.record_admin = journal.admin
        """Writes an ``admin.*`` record, for components that govern calls through this guard."""
        super().__init__(UnknownArguments(settings.tools.unknown_arguments))
        self._key = next(_GUARDS)
        rules = redaction_rules(settings.redaction)
        make_state = SessionStates(settings, journal.log, keys, rules)
        self._callers = Callers(self._key, settings, make_state)
        self._entry = SessionEntry(self._callers, journal, keys, make_state, tokens)
        self._recorder = Recorder(
            profile=rules.profile,
            raw_input=settings.policy.input == "raw",
            identity=lambda: self._policies.engine.identity,
            soon=journal.released.soon,
        )
        terms = terms_of(settings.approvals)
        self._throttle = Throttle(journal, settings.limits.calls_per_minute)
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
            callers=self._callers,
            policies=self._policies,
            recorder=self._recorder,
            journal=journal,
        )
        self._anchors = anchors
        self.approvals = journal.approval_service(keys.tenant, terms, rules, clock)
        """Accepts people's answers to approval requests, for programs with their own interface."""
        self._watch: ReloadWatch | None = None

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
        from guardrail.wiring.opening import open_guard, settings_from

        with naming_its_source():
            settings = settings_from(config, policies=policies, ledger=ledger, keys=keys)
            return open_guard(cls, settings, policy_data)

    def close(self) -> None:
        """Record the stop, close the ledger, anchor its last head and stop the workers. Idempotent.

        Calls in progress fail. Waits a few seconds for anchors that do not answer.
        """
        with contextlib.ExitStack() as steps:  # every callback runs, even if Ctrl-C interrupts one
            steps.callback(self._policies.close)
            if self._anchors is not None:
                steps.callback(self._anchors.close)
            for end in (self._journal.stop, self._throttle.close, *reversed(self._alongside)):
                steps.callback(end)
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
    ) -> SessionScope:
        """Return a session for the calls made inside its ``with`` or ``async with`` block.

        If *id* is None, this is a new session. *token* is an access token or a JWT-SVID, which
        guardrail verifies (docs/identity.md): it states the principal, the delegation and, if its
        issuer's settings say so, the tenant. Raises ``IdentityError`` if the token is refused, or
        if the id is malformed or belongs to another caller, and ``RedactionError`` if the
        attributes can't be recorded.
        """
        wanted = self._entry.describe(
            principal,
            agent,
            token=token,
            tenant=tenant,
            id_=id,
            delegation=delegation,
            attributes=attributes,
            trace=trace,
        )
        return self._entry.enter(wanted)

    def bind(
        self, session: SessionScope | None = None
    ) -> Callable[[Callable[P, R]], Callable[P, R]]:
        """Return a decorator that makes a function run in *session* (default: the current session).

        Use it for code that does not inherit the context or that outlives the ``with`` block:
        ``Thread(target=guard.bind(session)(work))``, or callbacks and executor jobs. Raises
        ``UsageError`` if there is no session, or if it belongs to another guard.
        """
        return functools.partial(bound, self._callers.bind(session))

    # -- calls -------------------------------------------------------------------------------------

    def call(
        self,
        tool: str | Tool,
        args: Mapping[str, Any] | JsonArguments,
        run: Callable[..., R],
        *,
        server: str | None = None,
        extra: Mapping[str, Any] | None = None,
        adapter: str = "python",
        call_id: str | None = None,
        interrupts: tuple[type[BaseException], ...] = (),
        approval: str | None = None,
        wait_for_approval: float | None = None,
        replayed: bool = False,
        session: SessionScope | None = None,
        context: CallContext | None = None,
    ) -> R:
        """Decide and record a call, run ``run(**args)``, record the outcome, and return the result.

        *run* gets the validated snapshot of *args* (never the caller's objects) and the arguments
        in *extra*, which the policy does not see and which are not recorded. *extra* is rejected if
        it contains a name that the model can see or supply. *args* can also be the JSON text that
        the model wrote (``JsonArguments``). *interrupts* are the exceptions that a framework raises
        to pause a body.

        *approval* is the id of an approval for exactly this call (``ApprovalRequired.approval``).
        *wait_for_approval* is the number of seconds to wait for an approval. Set *replayed* if a
        framework may be repeating this call: if the call with this *call_id* has already succeeded
        or is still running, it is denied (cause ``duplicate``), and if an approval request for it
        is open, no second request is recorded. *session* is a session returned by
        ``guard.session``: the call is made in that session, not in the current one. *context*
        contains the facts that a framework asserts about the call: the model, its response, and a
        trace.

        Raises ``Denied`` or ``ApprovalRequired`` (recorded, not run), ``LedgerError`` (not recorded
        and not run; or run, but with the outcome not yet recorded and the result withheld),
        ``UsageError`` (nothing happened), ``ToolTimeoutError`` (the tool's timeout ended the call),
        and any exception of the body.
        """
        options = CallOptions(
            extra,
            adapter,
            call_id,
            interrupts,
            approval,
            wait_for_approval,
            replayed,
            session,
            context,
        )
        found = self.find_tool(tool, server)
        check_body(found, run, extra, awaited=False)
        result: R = drive(self.calls.steps(found, args, options, run)).release()
        return result

    async def acall(
        self,
        tool: str | Tool,
        args: Mapping[str, Any] | JsonArguments,
        run: Callable[..., Awaitable[R]] | Callable[..., R],
        *,
        server: str | None = None,
        extra: Mapping[str, Any] | None = None,
        adapter: str = "python",
        call_id: str | None = None,
        interrupts: tuple[type[BaseException], ...] = (),
        approval: str | None = None,
        wait_for_approval: float | None = None,
        replayed: bool = False,
        session: SessionScope | None = None,
        context: CallContext | None = None,
    ) -> R:
        """Async version of ``call``.

        If *run* is not a coroutine function, it runs in a thread, and cancellation waits until it
        ends. The outcome is recorded even if the task is cancelled; ``CancelledError`` is then
        raised.
        """
        options = CallOptions(
            extra,
            adapter,
            call_id,
            interrupts,
            approval,
            wait_for_approval,
            replayed,
            session,
            context,
        )
        found = self.find_tool(tool, server)
        check_body(found, run, extra, awaited=True)
        result: R = (await drive_async(self.calls.steps(found, args, options, run))).release()
        return result

    def admit(
        self,
        tool: str | Tool,
        args: Mapping[str, Any] | JsonArguments,
        *,
        server: str | None = None,
        adapter: str = "python",
        call_id: str | None = None,
        approval: str | None = None,
        wait_for_approval: float | None = None,
        session: SessionScope | None = None,
        context: CallContext | None = None,
    ) -> Admission:
        """Decide and record a call whose body the program runs itself. ``admission.settle`` records
        how the body ended.

        Raises the same exceptions as ``call``. The record contains ``enforcement: release``.
        """
        options = CallOptions(
            None, adapter, call_id, (), approval, wait_for_approval, False, session, context
        )
        steps = self.calls.steps(self.find_tool(tool, server), args, options)
        return Admission(self._journal, drive(steps))

    async def aadmit(
        self,
        tool: str | Tool,
        args: Mapping[str, Any] | JsonArguments,
        *,
        server: str | None = None,
        adapter: str = "python",
        call_id: str | None = None,
        approval: str | None = None,
        wait_for_approval: float | None = None,
        session: SessionScope | None = None,
        context: CallContext | None = None,
    ) -> Admission:
        """Async version of ``admit``."""
        options = CallOptions(
            None, adapter, call_id, (), approval, wait_for_approval, False, session, context
        )
        steps = self.calls.steps(self.find_tool(tool, server), args, options)
        return Admission(self._journal, await drive_async(steps))

    def reject(
        self,
        tool: str | Tool,
        reason: str,
        *,
        server: str | None = None,
        adapter: str = "python",
        call_id: str | None = None,
        session: SessionScope | None = None,
        context: CallContext | None = None,
    ) -> int:
        """Record a call that a framework rejected before its body ran; return the record's sequence
        number.

        *reason* is a stable code, not a message. Above the limit of calls per minute, the call is
        only counted, and the returned number is that of the ``admin.quota_reached`` record.
        """
        options = CallOptions(None, adapter, call_id, session=session, context=context)
        return drive(self.calls.rejection(self.find_tool(tool, server), reason, options))

    async def areject(
        self,
        tool: str | Tool,
        reason: str,
        *,
        server: str | None = None,
        adapter: str = "python",
        call_id: str | None = None,
        session: SessionScope | None = None,
        context: CallContext | None = None,
    ) -> int:
        """Async version of ``reject``.

        The call is recorded even if the task is cancelled in the meantime; ``CancelledError`` is
        then raised.
        """
        options = CallOptions(None, adapter, call_id, session=session, context=context)
        return await drive_async(
            self.calls.rejection(self.find_tool(tool, server), reason, options)
        )

    # -- listings ----------------------------------------------------------------------------------

    def listed(
        self,
        tools: Iterable[str | Tool],
        *,
        session: SessionScope | None = None,
        adapter: str = "python",
    ) -> list[Tool]:
        """Return the *tools* that may be offered to a model: those that the policy does not hide.

        This is not a decision: it grants nothing, nothing is recorded, and a call of a listed tool
        is decided like any other. If the policy does not answer, the tool is hidden, and
        ``admin.listing_failed`` records why. Answers are cached for up to a minute, as long as
        policy, tool and subject stay the same. Raises ``UsageError``.
        """
        return drive(self._listings.steps(list(map(self.find_tool, tools)), session, adapter))

    async def alisted(
        self,
        tools: Iterable[str | Tool],
        *,
        session: SessionScope | None = None,
        adapter: str = "python",
    ) -> list[Tool]:
        """Async version of ``listed``."""
        found = [self.find_tool(tool) for tool in tools]
        return await drive_async(self._listings.steps(found, session, adapter))
