"""Records the calls of a LangChain run that reach no body."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from guardrail.errors import LedgerError
from guardrail.integrations.langchain.context import context_of_call
from guardrail.integrations.langchain.runs import configurable_of_run
from guardrail.integrations.langchain.sessions import session_of_run
from guardrail.integrations.langchain.stops import stop
from guardrail.model_apis.denials import recorded_tool
from guardrail.tools.tool import Tool

if TYPE_CHECKING:
    from guardrail.guard import Guard

__all__ = ["ADAPTER", "record_rejection"]

ADAPTER = "langchain"
"""``origin.adapter`` in records."""


def record_rejection(
    guard: Guard,
    tool: Tool | object,
    reason: str,
    call_id: str | None,
    config: Mapping[str, Any] | None = None,
) -> None:
    """Record a call that reaches no body, in the session of the run. *tool* may be a name that a
    model made up. Raises ``LedgerStop``.
    """
    try:
        session = session_of_run(guard, config)
        call_id = call_id if isinstance(call_id, str) else None
        context = context_of_call(configurable_of_run(config), call_id)
        named = tool if isinstance(tool, Tool) else recorded_tool(tool)
        guard.reject(
            named, reason, adapter=ADAPTER, call_id=call_id, session=session, context=context
        )
    except LedgerError as error:
        stop(error)
