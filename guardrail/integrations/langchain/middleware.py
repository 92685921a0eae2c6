"""Govern every tool of a LangChain agent, including tools that other middleware adds.

::

from guardrail.integrations.langchain import GuardMiddleware

    agent = create_agent(
        model, tools=[search, send_email], middleware=[..., GuardMiddleware(guard)]
    )
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

try:
    from langchain.agents.middleware import AgentMiddleware
except ImportError as missing:
    raise ImportError(
        "GuardMiddleware needs LangChain's agents: install guardrail with the 'langchain' extra"
        " (README.md), and the package langchain"
    ) from missing

from guardrail.integrations.langchain.binding import Approvals
from guardrail.integrations.langchain.provider import (
    ProviderTools,
    areject_invalid_calls,
    reject_invalid_calls,
)
from guardrail.integrations.langchain.swapping import Swapping

if TYPE_CHECKING:
    from langchain.agents.middleware import ModelRequest
    from langgraph.prebuilt.tool_node import ToolCallRequest

    from guardrail.guard import Guard

__all__ = ["GuardMiddleware"]

try:
    from langgraph.types import TracePolicy, omit_payload
except ImportError:  # An older LangGraph traces this middleware like any other.
    _NO_PAYLOAD = None
else:
    _NO_PAYLOAD = TracePolicy(process_inputs=omit_payload, process_outputs=omit_payload)


class GuardMiddleware(AgentMiddleware[Any, Any, Any]):
    """Governs all tools of an agent: a tool's body runs only after a durable, well-formed
    ``allow``.

    Each call gets a governed copy of its tool, so each retry is decided separately, and the policy
    sees the same arguments as the body. Put this middleware last in the list, because a later
    middleware could run its own tools. If another middleware comes later, the first call emits
    ``MiddlewareOrderWarning``.

    Calls of a tool that does not exist, and calls whose arguments are not JSON, are recorded as
    ``call.rejected``; the framework answers them. A tool that the model's provider runs (passed as
    a mapping) can't be governed: its name is recorded before the model is called.
    """

    trace_policy = _NO_PAYLOAD
    """The middleware's own trace span does not contain arguments or results. Other spans do."""
    check_order = True
    """True if a middleware that comes later is reported."""

    def __init__(
        self, guard: Guard, *, strict: bool = False, approvals: Approvals | str = Approvals.ERROR
    ) -> None:
        """If *strict* is True, ``UsageError`` is raised for provider tools before the model is
        called, and for a middleware that comes later before a tool runs. *approvals* has the same
        meaning as in ``govern``.
        """
        super().__init__()
        self.tools = []
        self._guard = guard
        self.swapping = Swapping(
            guard, strict=strict, approvals=approvals, check_order=self.check_order
        )
        self._provider = ProviderTools(guard, strict=strict)

    def wrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Any]
    ) -> Any:
        """Run the call with a governed tool."""
        return self.swapping.call(request, handler)

    async def awrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[Any]]
    ) -> Any:
        """Async version of ``wrap_tool_call``."""
        return await self.swapping.acall(request, handler)

    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Any]
    ) -> Any:
        """Call the model. If *strict* is set and the request has provider tools, raise
        ``UsageError`` instead.
        """
        found = self._provider.named(request)
        if found:
            self._provider.record(found)
        response = handler(request)
        reject_invalid_calls(self._guard, response)
        return response

    async def awrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Awaitable[Any]]
    ) -> Any:
        """Async version of ``wrap_model_call``."""
        found = self._provider.named(request)
        if found:
            await self._provider.arecord(found)
        response = await handler(request)
        await areject_invalid_calls(self._guard, response)
        return response
