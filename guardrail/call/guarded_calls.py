"""The methods of a guard that decide, record and run calls, and list tools.

The nine steps of a call are in ``guardrail.call.steps``. ``guardrail.call.drivers`` runs them, in a
thread or on an event loop.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeVar

from guardrail.call.admission import Admission
from guardrail.call.bodies import CallGenerator, check_body
from guardrail.call.drivers import drive, drive_async
from guardrail.call.journal import Journal
from guardrail.call.listings import Listings
from guardrail.call.options import CallOptions
from guardrail.call.scope import SessionScope
from guardrail.call.steps import CallSteps
from guardrail.core.call_context import CallContext
from guardrail.core.schema.compiled import UnknownArguments
from guardrail.core.schema.json_arguments import JsonArguments
from guardrail.tools.declarations import ToolDeclarations
from guardrail.tools.tool import Tool, ToolRegistry

__all__ = ["GuardedCalls"]

R = TypeVar("R")


class GuardedCalls(ToolDeclarations):
    """The part of a guard that makes calls and lists tools."""

    calls: CallSteps
    """The steps of a call, for integrations that run them."""
    _journal: Journal
    _listings: Listings

    def __init__(self, unknown: UnknownArguments, tools: ToolRegistry | None = None) -> None:
        """See ``ToolDeclarations``."""
        super().__init__(unknown, tools)
        self.running: set[object] = set()
        """One object for each call in progress, if the guard closes when it is idle."""

    @property
    @abstractmethod
    def closes_when_idle(self) -> bool:
        """True if this is the guard of one of several tenants, which closes while it is idle."""

    @abstractmethod
    def of_session(self, session: SessionScope | None = None) -> GuardedCalls:
        """Return the guard of the tenant of *session*, or of the current session. For integrations
        that run the steps of a call. Raises ``UsageError`` if *session* belongs to another guard.
        """

    def call_steps(
        self,
        tool: Tool,
        args: Mapping[str, Any] | JsonArguments,
        options: CallOptions,
        run: Callable[..., Any] | None = None,
    ) -> CallGenerator[Any]:
        """Return the steps of a call, for integrations that run them; see ``CallSteps.steps``.

        The call is decided and recorded by the guard of its session's tenant.
        """
        return self.of_session(options.session)._own_steps(tool, args, options, run)

    def _own_steps(
        self,
        tool: Tool,
        args: Mapping[str, Any] | JsonArguments,
        options: CallOptions,
        run: Callable[..., Any] | None = None,
    ) -> CallGenerator[Any]:
        """Return the steps of a call in a session of this guard."""
        steps = self.calls.steps(tool, args, options, run)
        return self._in_progress(steps) if self.closes_when_idle else steps

    def _in_progress(self, steps: CallGenerator[R]) -> CallGenerator[R]:
        """Run *steps*, and keep this guard open meanwhile."""
        mark = object()
        self.running.add(mark)
        try:
            return (yield from steps)
        finally:
            self.running.discard(mark)

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
        result: R = drive(self.call_steps(found, args, options, run)).release()
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
        result: R = (await drive_async(self.call_steps(found, args, options, run))).release()
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
        guard = self.of_session(session)
        steps = guard._own_steps(self.find_tool(tool, server), args, options)
        return Admission(guard._journal, drive(steps))

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
        guard = self.of_session(session)
        steps = guard._own_steps(self.find_tool(tool, server), args, options)
        return Admission(guard._journal, await drive_async(steps))

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
        calls = self.of_session(session).calls
        return drive(calls.rejection(self.find_tool(tool, server), reason, options))

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
        calls = self.of_session(session).calls
        return await drive_async(calls.rejection(self.find_tool(tool, server), reason, options))

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
        listings = self.of_session(session)._listings
        return drive(listings.steps(list(map(self.find_tool, tools)), session, adapter))

    async def alisted(
        self,
        tools: Iterable[str | Tool],
        *,
        session: SessionScope | None = None,
        adapter: str = "python",
    ) -> list[Tool]:
        """Async version of ``listed``."""
        found = [self.find_tool(tool) for tool in tools]
        listings = self.of_session(session)._listings
        return await drive_async(listings.steps(found, session, adapter))
