"""Govern LangChain tools: the guard decides, records and settles every execution of a tool's
body.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from guardrail.integrations.langchain.adapter import RefusedToolWarning, ReportedError, govern
from guardrail.integrations.langchain.toolnode import tool_call_wrappers
from guardrail.integrations.langchain.tracing import TracingWarning

if TYPE_CHECKING:
    from guardrail.integrations.langchain.adapter import LedgerStop
    from guardrail.integrations.langchain.checking import check_governed
    from guardrail.integrations.langchain.middleware import GuardMiddleware
    from guardrail.integrations.langchain.swapping import MiddlewareOrderWarning

__all__ = [
    "GuardMiddleware",
    "LedgerStop",
    "MiddlewareOrderWarning",
    "RefusedToolWarning",
    "ReportedError",
    "TracingWarning",
    "check_governed",
    "govern",
    "tool_call_wrappers",
]

_LAZY = {
    "GuardMiddleware": "middleware",
    "LedgerStop": "adapter",
    "MiddlewareOrderWarning": "swapping",
    "check_governed": "checking",
}
"""Names that need LangGraph or LangChain's agents, with the modules that define them."""


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
