"""Govern LangChain tools: the guard decides, records and settles every execution of a tool's
body.
"""

from __future__ import annotations

from typing import Any

from guardrail.integrations.langchain.adapter import RefusedToolWarning, ReportedError, govern

__all__ = ["LedgerStop", "RefusedToolWarning", "ReportedError", "govern"]


def __getattr__(name: str) -> Any:
    from guardrail.integrations.langchain import adapter

    if name in __all__:
        return getattr(adapter, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
