"""Records the calls in a LangChain run that do not reach a body."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from guardrail.errors import LedgerError
from guardrail.integrations.langchain.binding import Binding
from guardrail.integrations.langchain.context import context_of_call
from guardrail.integrations.langchain.runs import configurable_of_run
from guardrail.integrations.langchain.sessions import asession_of_run, session_of_run
from guardrail.integrations.langchain.stops import stop
from guardrail.model_apis.denials import recorded_tool
from guardrail.tools.tool import Tool

if TYPE_CHECKING:
    from guardrail.guard import Guard

__all__ = [
    "ADAPTER",
    "INVOCATION",
    "Invocation",
    "arecord_rejected",
    "arecord_rejection",
    "record_rejected",
    "record_rejection",
    "take_call_id",
]

ADAPTER = "langchain"
"""``origin.adapter`` in records."""


@dataclass(slots=True)
class Invocation:
    """One call of ``run`` or ``arun`` that has not yet reached the body."""

    call_id: str | None
    """The id of the run's tool call, if it has one."""
    config: Mapping[str, Any] | None = None
    rejected: str | None = None
    """Stable code for the reason why the framework rejected the arguments."""


INVOCATION: ContextVar[Invocation | None] = ContextVar("guardrail_langchain", default=None)


def take_call_id() -> str | None:
    """Return the id of this run's tool call, and clear the stored id, because calls made by the
    body have their own ids.
    """
    invocation = INVOCATION.get()
    if invocation is None:
        return None
    INVOCATION.set(None)
    return invocation.call_id


def record_rejected(binding: Binding, invocation: Invocation) -> None:
    """Record that the framework rejected the arguments of *invocation*, if it did. Raises
    ``LedgerStop``.
    """
    reason = invocation.rejected
    if reason is not None:
        record_rejection(binding.guard, binding.tool, reason, invocation.call_id, invocation.config)


async def arecord_rejected(binding: Binding, invocation: Invocation) -> None:
    """Async version of ``record_rejected``."""
    reason = invocation.rejected
    if reason is not None:
        await arecord_rejection(
            binding.guard, binding.tool, reason, invocation.call_id, invocation.config
        )


def record_rejection(
    guard: Guard,
    tool: Tool | object,
    reason: str,
    call_id: str | None,
    config: Mapping[str, Any] | None = None,
) -> None:
    """Record a call that does not reach a body, in the run's session. *tool* may be a name that the
    model invented. Raises ``LedgerStop``.
    """
    try:
        session = session_of_run(guard, config)
        guard.reject(_tool_of(tool), reason, session=session, **_options(call_id, config))
    except LedgerError as error:
        stop(error)


async def arecord_rejection(
    guard: Guard,
    tool: Tool | object,
    reason: str,
    call_id: str | None,
    config: Mapping[str, Any] | None = None,
) -> None:
    """Async version of ``record_rejection``."""
    try:
        session = await asession_of_run(guard, config)
        await guard.areject(_tool_of(tool), reason, session=session, **_options(call_id, config))
    except LedgerError as error:
        stop(error)


def _tool_of(tool: Tool | object) -> Tool:
    return tool if isinstance(tool, Tool) else recorded_tool(tool)


def _options(call_id: object, config: Mapping[str, Any] | None) -> dict[str, Any]:
    id_ = call_id if isinstance(call_id, str) else None
    context = context_of_call(configurable_of_run(config), id_)
    return {"adapter": ADAPTER, "call_id": id_, "context": context}
