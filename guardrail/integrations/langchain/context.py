"""Finds the context of a call in its LangChain run: the framework, the trace, and the model's
message that requested the call.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping
from importlib import metadata
from typing import Any

from langchain_core.messages import AIMessage

from guardrail.core.call_context import CallContext
from guardrail.integrations.langchain.runs import messages_of_run, runtime_of_run
from guardrail.integrations.traces import current_trace

__all__ = ["context_of_call"]

_NEWEST = 256
"""Number of messages to search. The message that requested the call is among the newest
messages.
"""
_OWN_IDS = ("run-", "lc_", "lc-")
"""Prefixes of the message ids that LangChain generates if the model does not provide an id."""


def context_of_call(configurable: Mapping[str, Any], call_id: str | None) -> CallContext:
    """Return the context of the call with the id *call_id* in the run with this configuration."""
    in_graph = runtime_of_run(configurable) is not None
    name, version = _framework("langgraph" if in_graph else "langchain-core")
    message = _asking(configurable, call_id) if in_graph and call_id is not None else None
    told = {} if message is None else message.response_metadata
    return CallContext(
        model=told.get("model_name") or told.get("model"),
        response=None if message is None else told.get("id") or _given_id(message),
        trace=current_trace(),
        framework=name,
        framework_version=version,
    )


def _asking(configurable: Mapping[str, Any], call_id: str) -> AIMessage | None:
    """Return the newest message that requests the call, or None if the graph's state does not
    contain such a message.
    """
    for message in itertools.islice(reversed(messages_of_run(configurable)), _NEWEST):
        if isinstance(message, AIMessage) and any(
            call.get("id") == call_id for call in message.tool_calls
        ):
            return message
    return None


def _given_id(message: AIMessage) -> str | None:
    known = message.id
    return None if known is None or known.startswith(_OWN_IDS) else known


@functools.cache
def _framework(name: str) -> tuple[str, str | None]:
    try:
        return name, metadata.version(name)
    except metadata.PackageNotFoundError:
        return name, None
