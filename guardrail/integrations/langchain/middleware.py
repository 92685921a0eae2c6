"""Govern every tool of a LangChain agent, also those that other middleware adds.

::

    from guardrail.integrations.langchain import GuardMiddleware

    agent = create_agent(
        model, tools=[search, send_email], middleware=[..., GuardMiddleware(guard)]
    )
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

try:
    from langchain.agents.middleware import AgentMiddleware
except ImportError as missing:
    raise ImportError(
        "GuardMiddleware needs LangChain's agents: pip install 'guardrail-ledger[langchain]'"
        " langchain"
    ) from missing

from guardrail.integrations.langchain.binding import Approvals
from guardrail.integrations.langchain.provider import ProviderTools, reject_invalid_calls
from guardrail.integrations.langchain.swapping import Swapping

if TYPE_CHECKING:
    from langchain.agents.middleware import ModelRequest
    from langgraph.prebuilt.tool_node import ToolCallRequest

    from guardrail.guard import Guard

__all__ = ["GuardMiddleware"]

try:
    from langgraph.types import TracePolicy, omit_payload
except ImportError:  # an older LangGraph traces the middleware like every other one
    _NO_PAYLOAD = None
else:
    _NO_PAYLOAD = TracePolicy(process_inputs=omit_payload, process_outputs=omit_payload)


class GuardMiddleware(AgentMiddleware[Any, Any, Any]):
    """Governs all tools of an agent: no body of a tool runs without a durable, well-formed
    ``allow``.

    Each call gets a governed copy of its tool, so retries are decided one by one, and the policy
    sees the arguments that the body gets. It must be the last middleware in the list, since one
    that comes later could run a tool of its own: ``MiddlewareOrderWarning`` says so at the first
    call.

    Calls of a tool that does not exist, and calls whose arguments are not JSON, are recorded as
    ``call.rejected``; the framework answers them. A tool that runs at the model's provider (one
    given as a mapping) can't be governed: its name is recorded before the model is asked.
    """

    trace_policy = _NO_PAYLOAD
    """The span of the middleware itself holds no arguments and no results. Other spans do."""
    check_order = True
    """Whether a middleware that comes later is reported."""

    def __init__(
        self, guard: Guard, *, strict: bool = False, approvals: Approvals | str = Approvals.ERROR
    ) -> None:
        """With *strict*, tools of the provider raise ``UsageError`` before the model is asked, and
        so does another middleware inside this one, before a tool runs. *approvals* has the meaning
        that it has in ``govern``.
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
        """Ask the model, unless *strict* refuses one of its provider's tools."""
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
            await asyncio.to_thread(self._provider.record, found)
        response = await handler(request)
        await asyncio.to_thread(reject_invalid_calls, self._guard, response)
        return response
