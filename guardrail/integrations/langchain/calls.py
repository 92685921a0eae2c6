"""Governed bodies of LangChain tools, and the execution of a body: the arguments that the policy
judges, the injected arguments, and the end of the call.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Any

from langchain_core.tools import BaseTool

from guardrail.approvals.rules import RejectionReason
from guardrail.call.bodies import CallGenerator
from guardrail.call.drivers import drive, drive_async
from guardrail.call.options import CallOptions
from guardrail.call.scope import SessionScope
from guardrail.call.stages import Settled
from guardrail.core.decision import denied, public_message
from guardrail.core.types import Cause
from guardrail.errors import ApprovalRequired, Denied, LedgerError
from guardrail.integrations.langchain.approvals import ask
from guardrail.integrations.langchain.binding import Approvals, Binding, binding_of
from guardrail.integrations.langchain.context import context_of_call
from guardrail.integrations.langchain.injection import config_names
from guardrail.integrations.langchain.rejections import ADAPTER, take_call_id
from guardrail.integrations.langchain.results import ReportedError, checked
from guardrail.integrations.langchain.runs import (
    can_pause,
    configurable_of_run,
    is_repeated,
    thread_of_run,
)
from guardrail.integrations.langchain.sessions import asession_of_run, session_of_run
from guardrail.integrations.langchain.splitting import split
from guardrail.integrations.langchain.stops import langgraph, stop
from guardrail.integrations.langchain.tracing import warn_of_tracing
from guardrail.integrations.signatures import dress, parameters

__all__ = ["aexecute", "execute", "governed_coroutine_method", "governed_method"]


def governed_method(
    base: type[BaseTool], ungoverned: Callable[[BaseTool], BaseTool]
) -> Callable[..., Any]:
    """Return a method that has the signature of *base*'s ``_run`` and runs it through the guard.
    *ungoverned* returns the tool that ``_run`` receives as ``self``.
    """

    # self is positional-only, because a tool's argument may have the name self.
    def _run(self: BaseTool, /, *args: Any, **kwargs: Any) -> Any:
        body = functools.partial(base._run, ungoverned(self))
        return execute(binding_of(self), body, beside, args, kwargs)

    beside = _config_and_run_manager(base._run)
    return dress(_run, base._run)


def governed_coroutine_method(
    base: type[BaseTool], ungoverned: Callable[[BaseTool], BaseTool]
) -> Callable[..., Any]:
    """Like ``governed_method``, but for ``_arun``."""

    async def _arun(self: BaseTool, /, *args: Any, **kwargs: Any) -> Any:
        body = functools.partial(base._arun, ungoverned(self))
        return await aexecute(binding_of(self), body, beside, args, kwargs)

    beside = _config_and_run_manager(base._arun)
    return dress(_arun, base._arun)


def _config_and_run_manager(run: Callable[..., Any]) -> frozenset[str]:
    return frozenset(config_names(run) | {"run_manager"} & set(parameters(run)))


def execute(
    binding: Binding,
    call: Callable[..., Any],
    beside: frozenset[str],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    given, assemble = split(binding, beside, args, kwargs)

    def body(**arguments: Any) -> Any:
        positional, named = assemble(arguments)
        return checked(call(*positional, **named))

    try:
        session = session_of_run(binding.guard)
    except LedgerError as error:
        stop(error)
    return _released(drive(_steps(binding, given, body, session)))


async def aexecute(
    binding: Binding,
    call: Callable[..., Awaitable[Any]],
    beside: frozenset[str],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    given, assemble = split(binding, beside, args, kwargs)

    async def body(**arguments: Any) -> Any:
        positional, named = assemble(arguments)
        return checked(await call(*positional, **named))

    try:
        session = await asession_of_run(binding.guard)
    except LedgerError as error:
        stop(error)
    return _released(await drive_async(_steps(binding, given, body, session)))


def _steps(
    binding: Binding,
    given: dict[str, Any],
    body: Callable[..., Any],
    session: SessionScope | None,
) -> CallGenerator[Any]:
    """Run the steps of a call. If the call needs approval and the graph can pause, pause the
    graph.
    """
    warn_of_tracing(binding.guard)
    guard = binding.guard
    options = _options(session)
    pausing = binding.options.approvals is Approvals.INTERRUPT and can_pause()
    turned_down: RejectionReason | None = None
    while True:
        try:
            return (yield from guard.call_steps(binding.tool, given, options, body))
        except ApprovalRequired as required:
            if not pausing:
                raise
            options = options._replace(approval=required.approval)
            turned_down = yield from ask(guard.of_session(session).approvals, required.approval)
        except Denied as denial:
            raise _reworded(denial, turned_down) from None
        except LedgerError as error:
            stop(error)


def _released(settled: Settled) -> Any:
    """Return the tool's result, or raise the exception that its body raised."""
    try:
        return settled.release()
    except ReportedError as report:
        return report.result
    except LedgerError as error:
        stop(error)


_UNANSWERED = frozenset({"denied.approval.pending", "denied.approval.approvers_missing"})


def _reworded(denial: Denied, turned_down: RejectionReason | None) -> Denied:
    """Return *denial*. If the answer to its request was rejected, the message says why."""
    if turned_down is None or denial.code not in _UNANSWERED:
        return denial
    words = public_message(denied(Cause.APPROVAL, turned_down))
    cause = denial.code.removeprefix("denied.")
    return Denied(words, seq=denial.seq, cause=cause, hint=denial.hint)


def _options(session: SessionScope | None) -> CallOptions:
    configurable, call_id = configurable_of_run(), take_call_id()
    return CallOptions(
        adapter=ADAPTER,
        call_id=call_id,
        interrupts=langgraph().pauses,
        replayed=is_repeated(),
        session=session,
        context=context_of_call(configurable, call_id),
        thread=thread_of_run(configurable),
    )
