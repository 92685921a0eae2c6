"""Govern the tools of a hand-built LangGraph ``ToolNode``.

::

    from guardrail.integrations.langchain import tool_call_wrappers

    node = ToolNode([search, send_email], **tool_call_wrappers(guard))
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypedDict

from guardrail.errors import UsageError
from guardrail.integrations.langchain.binding import Approvals

if TYPE_CHECKING:
    from guardrail.guard import Guard

__all__ = ["ToolCallWrappers", "tool_call_wrappers"]


class ToolCallWrappers(TypedDict):
    """The two arguments of ``ToolNode`` that govern its calls."""

    wrap_tool_call: Callable[[Any, Callable[[Any], Any]], Any]
    """Governs calls of ``invoke`` and ``stream``."""
    awrap_tool_call: Callable[[Any, Callable[[Any], Awaitable[Any]]], Awaitable[Any]]
    """Governs calls of ``ainvoke`` and ``astream``."""


def tool_call_wrappers(
    guard: Guard, *, strict: bool = False, approvals: Approvals | str = Approvals.ERROR
) -> ToolCallWrappers:
    """Return the arguments of ``ToolNode`` that govern all its tools: a body runs only after a
    durable, well-formed ``allow``.

    Calls of tools that the node does not have are recorded as ``call.rejected``; the framework
    answers them. *approvals* has the same meaning as in ``govern``. If another wrapper runs inside
    these wrappers, ``MiddlewareOrderWarning`` is emitted, or raised if *strict* is True. Raises
    ``UsageError`` if LangGraph is not installed.
    """
    try:
        from guardrail.integrations.langchain.swapping import Swapping
    except ImportError as missing:
        raise UsageError(
            "tool_call_wrappers needs LangGraph",
            code="usage.langgraph",
            hint="pip install langgraph",
        ) from missing
    swapping = Swapping(guard, strict=strict, approvals=approvals)
    return {"wrap_tool_call": swapping.call, "awrap_tool_call": swapping.acall}
