"""One execution of a LangChain tool's body: the judged arguments, the injected ones, and how it
ends.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, NoReturn, cast

from langchain_core.messages import ToolMessage
from langchain_core.tools import BaseTool

from guardrail.approvals.rules import RejectionReason
from guardrail.call.bodies import CallGenerator
from guardrail.call.drivers import drive, drive_async
from guardrail.call.options import CallOptions
from guardrail.call.stages import Settled
from guardrail.core.decision import denied, public_message
from guardrail.core.types import Cause
from guardrail.errors import ApprovalRequired, Denied, LedgerError
from guardrail.integrations.langchain.approvals import ask, can_pause
from guardrail.integrations.langchain.binding import Approvals, Binding, binding_of
from guardrail.integrations.langchain.sessions import session_of_run

__all__ = [
    "INVOCATION",
    "Invocation",
    "LangGraph",
    "ReportedError",
    "aexecute",
    "execute",
    "langgraph",
    "refusal_message",
    "reject",
]

ADAPTER = "langchain"
"""``origin.adapter`` in records."""


class ReportedError(Exception):
    """A tool returned a ``ToolMessage`` with status ``error``; recorded as the tool's error. Never
    leaves a governed tool.
    """

    def __init__(self, result: object, text: str) -> None:
        super().__init__(text)
        self.result = result


@dataclass(slots=True)
class Invocation:
    """One ``run`` or ``arun`` before it reaches the body."""

    call_id: str | None
    config: Mapping[str, Any] | None = None
    """Tool call id of the run, if it has one."""
    rejected: str | None = None
    """Stable code of the framework's reason for refusing the arguments."""


INVOCATION: ContextVar[Invocation | None] = ContextVar("guardrail_langchain", default=None)


def execute(
    binding: Binding,
    call: Callable[..., Any],
    beside: frozenset[str],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    given, assemble = _split(binding, beside, args, kwargs)

    def body(**arguments: Any) -> Any:
        positional, named = assemble(arguments)
        return _checked(call(*positional, **named))

    return _released(drive(_steps(binding, given, body)))


async def aexecute(
    binding: Binding,
    call: Callable[..., Awaitable[Any]],
    beside: frozenset[str],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    given, assemble = _split(binding, beside, args, kwargs)

    async def body(**arguments: Any) -> Any:
        positional, named = assemble(arguments)
        return _checked(await call(*positional, **named))

    return _released(await drive_async(_steps(binding, given, body)))


def _steps(binding: Binding, given: dict[str, Any], body: Callable[..., Any]) -> CallGenerator[Any]:
    """Make a call of the guard; if a person must approve it and the graph can pause, pause it."""
    options = _options(binding)
    turned_down: RejectionReason | None = None
    while True:
        try:
            return (yield from binding.guard.calls.steps(binding.tool, given, options, body))
        except ApprovalRequired as required:
            if not options.replayed:
                raise
            options = options._replace(approval=required.approval)
            turned_down = yield from ask(binding.guard.approvals, required.approval)
        except Denied as denial:
            raise _reworded(denial, turned_down) from None
        except LedgerError as error:
            _stop(error)


def _released(settled: Settled) -> Any:
    """Return the tool's result, or raise the exception of its body."""
    try:
        return settled.release()
    except ReportedError as report:
        return report.result
    except LedgerError as error:
        _stop(error)


_UNANSWERED = frozenset({"denied.approval.pending", "denied.approval.approvers_missing"})


def _reworded(denial: Denied, turned_down: RejectionReason | None) -> Denied:
    """Return *denial* with a message that says why an answer did not make its approval count."""
    if turned_down is None or denial.code not in _UNANSWERED:
        return denial
    words = public_message(denied(Cause.APPROVAL, turned_down))
    return Denied(words, seq=denial.seq, cause=denial.code.removeprefix("denied."))


def _options(binding: Binding) -> CallOptions:
    return CallOptions(
        adapter=ADAPTER,
        call_id=_take_call_id(),
        interrupts=langgraph().pauses,
        replayed=binding.options.approvals is Approvals.INTERRUPT and can_pause(),
        session=session_of_run(),
    )


def _take_call_id() -> str | None:
    """Return the id of this run's tool call, and forget it, because calls made by the body have
    their own ids.
    """
    invocation = INVOCATION.get()
    if invocation is None:
        return None
    INVOCATION.set(None)
    return invocation.call_id


def _split(
    binding: Binding, beside: frozenset[str], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[dict[str, Any], Callable[[Mapping[str, Any]], tuple[list[Any], dict[str, Any]]]]:
    """Separate the model's arguments from the injected ones. Return the former, and a function that
    assembles the body's arguments.

    Only names that are known to be injected bypass the policy. Any other unknown name comes from
    the model and is judged.
    """
    named = dict(kwargs)
    order = []
    for index, value in enumerate(args):
        name = binding.positional[index] if index < len(binding.positional) else f"arg{index}"
        if name in named:
            raise TypeError(f"{binding.name}: multiple values for the argument {name}")
        named[name] = value
        order.append(name)
    outside = binding.injected | beside
    # A value that is the default object itself is left to the declared model, which fills it in
    # unchecked, as LangChain did.
    missing = object()
    given = {
        name: value
        for name, value in named.items()
        if name not in outside and value is not binding.defaults.get(name, missing)
    }
    extra = {name: value for name, value in named.items() if name in outside}

    def assemble(arguments: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        merged = {
            name: value
            for name, value in {**arguments, **extra}.items()
            if name in named or name not in binding.variadic
        }
        return [merged.pop(name) for name in order], merged

    return given, assemble


def _checked(result: Any) -> Any:
    """Return *result*, or raise ``ReportedError`` if it says that the tool failed."""
    text = _reported(result)
    if text is not None:
        raise ReportedError(result, text)
    return result


def _reported(result: Any) -> str | None:
    if isinstance(result, str):
        return None
    if isinstance(result, ToolMessage):
        return str(result.text) if result.status == "error" else None
    if isinstance(result, list | tuple):
        # A list of messages and commands, or (content, artifact).
        return next((text for text in map(_message_error, result) if text is not None), None)
    return _message_error(result)


def _message_error(item: Any) -> str | None:
    if isinstance(item, ToolMessage):
        return str(item.text) if item.status == "error" else None
    if type(item).__name__ == "Command" and isinstance(getattr(item, "update", None), Mapping):
        messages = item.update.get("messages", ())
        if isinstance(messages, list | tuple):
            for message in messages:
                if isinstance(message, ToolMessage) and message.status == "error":
                    return str(message.text)
    return None


def refusal_message(
    tool: BaseTool, refusal: Denied | ApprovalRequired, call_id: str
) -> ToolMessage:
    text = str(refusal)
    if isinstance(refusal, ApprovalRequired):
        text = f"not run: a person must approve this call first: {text}"
    return ToolMessage(
        text,
        name=tool.name,
        tool_call_id=call_id,
        status="error",
        artifact={"guardrail": {"seq": refusal.seq}},
    )


def reject(tool: BaseTool, invocation: Invocation) -> None:
    assert invocation.rejected is not None
    binding = binding_of(tool)
    try:
        binding.guard.reject(
            binding.tool,
            invocation.rejected,
            adapter=ADAPTER,
            call_id=invocation.call_id,
            session=session_of_run(invocation.config),
        )
    except LedgerError as error:
        _stop(error)


# -- LangGraph, if it is installed --------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LangGraph:
    stop: type[LedgerError]
    """The class that a ``LedgerError`` is raised as."""
    pauses: tuple[type[BaseException], ...]
    """Exceptions that LangGraph raises to interrupt a body that did not fail."""


@functools.cache
def langgraph() -> LangGraph:
    try:
        from langgraph import errors
    except ImportError:
        return LangGraph(_stop_class(), ())
    names = ("GraphInterrupt", "GraphDrained", "ParentCommand")
    pauses = tuple(getattr(errors, name) for name in names if hasattr(errors, name))
    return LangGraph(_stop_class(errors.GraphBubbleUp), pauses)


def _stop_class(*bases: type[BaseException]) -> type[LedgerError]:
    about = (
        "A ``LedgerError`` that LangGraph never turns into a message for the model: it reaches the"
        " program."
    )
    # Defined under the module in which its name is resolved, so that it can be pickled.
    space = {"__module__": "guardrail.integrations.langchain", "__doc__": about}
    return cast("type[LedgerError]", type("LedgerStop", (LedgerError, *bases), space))


def _stop(error: LedgerError) -> NoReturn:
    stop = langgraph().stop
    if isinstance(error, stop):
        raise error
    raise stop(error.message, code=error.code, hint=error.hint) from error
