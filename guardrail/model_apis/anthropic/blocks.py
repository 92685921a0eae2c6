"""Classifies the content blocks of the Messages API, and creates the block that replaces a refused
call. Performs no I/O.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from guardrail.model_apis.asking import ItemKind, ModelAnswerError, looks_like_call
from guardrail.model_apis.calls import AskedCall, Refusal, decided_fields, text_or_none

__all__ = ["call_of_block", "check_no_calls", "decided_block", "kind_of_block", "refusal_block"]

_CALL = "tool_use"
_HOSTED = frozenset({"mcp_tool_use", "server_tool_use"})
"""Types of blocks for tools that the provider runs."""
_PLAIN = frozenset(
    {
        "compaction",
        "container_upload",
        "fallback",
        "mcp_tool_listing",
        "redacted_thinking",
        "text",
        "thinking",
    }
)
_PARTS_OF_CALL = frozenset({"arguments", "input", "name", "tool_name"})
_KNOWN = frozenset({"type", "id", "name", "input", "caller", "toolset_name"})
"""Fields of a call that the program runs."""
_ENDED = frozenset({"end_turn", "pause_turn", "stop_sequence", _CALL})
"""Stop reasons that mean that a message's calls are complete."""


def kind_of_block(block: Mapping[str, Any]) -> ItemKind:
    """Return the kind of *block*."""
    kind = block.get("type")
    if not isinstance(kind, str):
        raise ModelAnswerError("the model's response is malformed: a content block without a type")
    if kind == _CALL:
        return ItemKind.CALL
    if kind in _HOSTED:
        return ItemKind.HOSTED
    if kind in _PLAIN or kind.endswith("tool_result"):
        return ItemKind.PLAIN
    if _says_call(kind) or kind.endswith("_request") or not _PARTS_OF_CALL.isdisjoint(block):
        return ItemKind.UNKNOWN
    return ItemKind.PLAIN


def decided_block(block: Mapping[str, Any], kind: ItemKind) -> Mapping[str, Any]:
    """Return *block*. If the block is a call that the program runs, only the fields that are
    decided are kept. If nothing changes, this is the same object.
    """
    return decided_fields(block, _KNOWN) if kind is ItemKind.CALL else block


def _says_call(name: str) -> bool:
    return name.endswith("_use") or looks_like_call(name)


def check_no_calls(found: Mapping[str, Any]) -> None:
    """Raise ``ModelAnswerError`` if an unrecognized field might contain calls."""
    if any(value and _says_call(name) for name, value in found.items()):
        raise ModelAnswerError(
            "the model's response contains calls in a field that guardrail does not know"
        )


def call_of_block(
    block: Mapping[str, Any], kind: ItemKind, arguments: object, stop_reason: object
) -> AskedCall:
    """Return the call in *block*, from a message that ended with *stop_reason*. The call is refused
    if it is incomplete, has an unknown type or has already run.
    """
    name, server, refusal = block.get("name"), None, None
    if isinstance(block.get("toolset_name"), str):
        name = f"{block['toolset_name']}.{name}"
    if kind is ItemKind.HOSTED:
        server = block.get("server_name") or "anthropic"
        refusal = Refusal("provider_tool", "the provider has run it")
    elif kind is ItemKind.UNKNOWN:
        name = name if isinstance(name, str) else block["type"]
        refusal = Refusal("unknown_kind", "guardrail does not know this type of call")
    elif not (isinstance(stop_reason, str) and stop_reason in _ENDED):
        refusal = Refusal.incomplete("stop_reason", stop_reason)
    return AskedCall(
        name,
        arguments,
        text_or_none(block.get("id")),
        None,
        server=server,
        refusal=refusal,
        space=block.get("toolset_name"),
        member=block.get("name"),
    )


def refusal_block(text: str) -> dict[str, Any]:
    """Return the text block that replaces a refused call."""
    return {"type": "text", "text": text}
