"""Reads the tool calls in a response from the Responses API, and creates the items that answer
them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, NamedTuple

from openai.types.responses import Response

from guardrail.integrations.model_calls import listed
from guardrail.model_apis.calls import (
    AskedCall,
    CallKind,
    Refusal,
    ToolAnswer,
    arguments_of,
    text_or_none,
)
from guardrail.model_apis.openai.response_items import HOSTED

__all__ = ["ResponseCalls", "read_response"]

_COMPLETE = ("completed", None)
"""Statuses that mean that a response or an item, including its calls, is complete."""


class ResponseCalls(NamedTuple):
    """The calls in a response, grouped by who runs them."""

    own: list[AskedCall]
    """Calls of this program's functions."""
    hosted: list[AskedCall]
    """Calls that the provider has run without a decision."""
    foreign: list[AskedCall]
    """Calls that this program should run but for which it has no function."""
    handled: list[AskedCall]
    """Calls like those in ``foreign``, but of types that the program handles itself."""


def read_response(response: Response, handled: Collection[str]) -> ResponseCalls:
    """Return the calls in *response*. *handled* contains the types of calls that the program runs
    itself.
    """
    refusal = None
    if response.status not in _COMPLETE:
        refusal = Refusal.incomplete("status", response.status)
    found = ResponseCalls([], [], [], [])
    output = listed(response.output, "output")
    answered = {
        text_or_none(getattr(item, "call_id", None))
        for item in output
        if str(getattr(item, "type", "")).endswith("_output")
    }
    for item in output:
        kind = str(getattr(item, "type", ""))
        if kind in {"function_call", "custom_tool_call"}:
            found.own.append(_own_call(item, kind, refusal))
        elif kind == "mcp_approval_request":
            found.own.append(_approval(item))
        elif kind in HOSTED or (_is_call(kind, item) and _has_ended(item, answered)):
            found.hosted.append(_recorded(item, kind, "provider_tool"))
        elif kind in handled:
            found.handled.append(_recorded(item, kind, "left_to_program"))
        elif _is_call(kind, item):
            found.foreign.append(_recorded(item, kind, "unknown_kind"))
    return found


def _is_call(kind: str, item: Any) -> bool:
    if kind.endswith(("_output", "_response")):
        return False
    return kind.endswith(("_call", "_request")) or hasattr(item, "call_id")


def _has_ended(item: Any, answered: set[Any]) -> bool:
    """Return True if the provider has run this call: its output is in the same response."""
    call_id = text_or_none(getattr(item, "call_id", None))
    return (call_id is not None and call_id in answered) or (
        getattr(item, "execution", None) == "server"
    )


def _own_call(item: Any, kind: str, refusal: Refusal | None) -> AskedCall:
    name = getattr(item, "name", None)
    if refusal is None and getattr(item, "status", None) not in _COMPLETE:
        refusal = Refusal.incomplete("status", item.status)
    namespace = getattr(item, "namespace", None)
    if namespace is not None:
        # Functions in different namespaces can have the same name.
        name = f"{namespace}.{name}"
    custom = kind == "custom_tool_call"
    given = getattr(item, "input" if custom else "arguments", None)
    return AskedCall(
        name,
        given if custom else arguments_of(given),
        text_or_none(getattr(item, "call_id", None)),
        _output(item, f"{kind}_output"),
        CallKind.CUSTOM if custom else CallKind.FUNCTION,
        refusal=refusal,
    )


def _output(item: Any, kind: str) -> Callable[[ToolAnswer], dict[str, Any]]:
    def made(answer: ToolAnswer) -> dict[str, Any]:
        output = {
            "type": kind,
            "call_id": getattr(item, "call_id", None),
            "output": answer.content,
        }
        caller = getattr(item, "caller", None)
        if caller is not None:
            # A program that runs at the provider made the call, and waits for the output.
            output["caller"] = caller.to_dict() if hasattr(caller, "to_dict") else caller
        return output

    return made


def _approval(item: Any) -> AskedCall:
    """Return the call in an MCP approval request: a call of an MCP server's tool that the provider
    would run. This program's functions are not called.
    """

    def made(answer: ToolAnswer) -> dict[str, Any]:
        return {
            "type": "mcp_approval_response",
            "approval_request_id": getattr(item, "id", None),
            "approve": False,
            "reason": answer.content,
        }

    text = "the provider would run it, but only this program's functions may run"
    return AskedCall(
        getattr(item, "name", None),
        None,
        text_or_none(getattr(item, "id", None)),
        made,
        server=getattr(item, "server_label", None),
        refusal=Refusal("provider_tool", text),
    )


def _recorded(item: Any, kind: str, reason: str) -> AskedCall:
    name = getattr(item, "name", None)
    return AskedCall(
        name if isinstance(name, str) else kind.removesuffix("_call"),
        None,
        text_or_none(getattr(item, "call_id", None)) or text_or_none(getattr(item, "id", None)),
        None,
        server=getattr(item, "server_label", None) or "openai",
        refusal=Refusal(reason, kind),
    )
