"""Classifies the output items of the Responses API, and creates the message that replaces a refused
call. Performs no I/O.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from guardrail.model_apis.asking import ItemKind, ModelAnswerError, looks_like_call
from guardrail.model_apis.calls import (
    AskedCall,
    CallKind,
    Refusal,
    arguments_of,
    decided_fields,
    text_or_none,
)

__all__ = [
    "APPROVAL",
    "HOSTED",
    "TEXTS",
    "ItemKind",
    "answered",
    "call_of",
    "decided_item",
    "is_refusal",
    "key_of",
    "kind_of",
    "refusal_item",
]

TEXTS = {
    "function_call": ("arguments", "response.function_call_arguments"),
    "custom_tool_call": ("input", "response.custom_tool_call_input"),
}
"""For each type of call: the field that contains the text, and the prefix of its event types."""
APPROVAL = "mcp_approval_request"
_MCP = "mcp_call"
_PROGRAMS = {
    "apply_patch_call": "apply_patch",
    "computer_call": "computer",
    "local_shell_call": "local_shell",
    "shell_call": "shell",
}
"""The names of tools that the API defines and the program runs, keyed by the type of their
calls.
"""
HOSTED = frozenset(
    {
        "code_interpreter_call",
        "file_search_call",
        "image_generation_call",
        _MCP,
        "program",
        "web_search_call",
    }
)
"""Types of items for tools that the provider has run."""
_PLAIN = frozenset(
    {
        "additional_tools",
        "compaction",
        "mcp_approval_response",
        "mcp_list_tools",
        "message",
        "reasoning",
    }
)
_SEARCH = "tool_search_call"
_PARTS_OF_CALL = frozenset({"call_id", "arguments", "action", "command", "operation"})
_REFUSED = "msg_guardrail_"
"""Prefix of the ids of messages that replace refused calls."""
_ABOUT = frozenset({"id", "call_id", "type", "status", "caller", "created_by"})
"""Fields of a call that are not part of its arguments."""
_KNOWN = _ABOUT | {"agent", "async", "name", "namespace", "server_label"}
"""Fields of a call whose arguments are in one field."""


def kind_of(
    item: Mapping[str, Any], outputs: Collection[str] = (), *, hosts_shell: bool
) -> ItemKind:
    """Return the kind of *item*. *outputs* contains the call ids that ``answered`` returns.
    *hosts_shell* is True if the request lets the provider run shells, which can't be seen in the
    response.
    """
    kind = item.get("type")
    if not isinstance(kind, str):
        raise ModelAnswerError("the model's response is malformed: an output item has no type")
    if kind in TEXTS or kind == APPROVAL:
        return ItemKind.CALL
    if kind in HOSTED:
        return ItemKind.HOSTED
    if kind in _PROGRAMS:
        return ItemKind.HOSTED if hosts_shell and _ran(item, outputs) else ItemKind.CALL
    if kind == _SEARCH:
        # This is the only type of search call that a program may run.
        return ItemKind.PLAIN if item.get("execution") == "server" else ItemKind.UNKNOWN
    if kind in _PLAIN:
        return ItemKind.PLAIN
    if "name" in item and "input" in item:
        return ItemKind.UNKNOWN
    if kind.endswith("_output"):
        return ItemKind.PLAIN
    if looks_like_call(kind) or kind.endswith("_request") or not _PARTS_OF_CALL.isdisjoint(item):
        return ItemKind.UNKNOWN
    return ItemKind.PLAIN


def decided_item(item: Mapping[str, Any], kind: ItemKind) -> Mapping[str, Any]:
    """Return *item*. If the item is a call that the program runs, only the fields that are decided
    are kept. If nothing changes, this is the same object.
    """
    if kind is not ItemKind.CALL or item["type"] in _PROGRAMS:  # all fields are arguments
        return item
    field, _ = TEXTS.get(item["type"], ("arguments", ""))
    return decided_fields(item, _KNOWN | {field})


def _ran(item: Mapping[str, Any], outputs: Collection[str]) -> bool:
    """Return True if the provider has run *item*. Among the calls that a program could run, a
    provider runs only shell calls.
    """
    if item.get("type") != "shell_call":
        return False
    environment = item.get("environment")
    if isinstance(environment, dict) and environment.get("type") == "container_reference":
        return True
    return item.get("call_id") in outputs


def answered(output: Iterable[Mapping[str, Any]]) -> set[str]:
    """Return the ids of the calls in *output* whose outputs are also in *output*."""
    return {
        item["call_id"]
        for item in output
        if str(item.get("type", "")).endswith("_output") and isinstance(item.get("call_id"), str)
    }


def key_of(item: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return the type and the ids that identify *item*."""
    return str(item.get("type")), str(item.get("call_id") or ""), str(item.get("id") or "")


def call_of(item: Mapping[str, Any], kind: ItemKind, status: object = "completed") -> AskedCall:
    """Return the call in *item*, from a response with *status*. The call is refused if it is
    incomplete, has an unknown type or has already run.
    """
    type_ = item["type"]
    name, server = item.get("name"), None
    if isinstance(item.get("namespace"), str):
        name = f"{item['namespace']}.{name}"
    given: object = {key: value for key, value in item.items() if key not in _ABOUT}
    refusal = None
    if type_ in TEXTS or type_ == APPROVAL:
        given = item.get(TEXTS[type_][0] if type_ in TEXTS else "arguments")
        given = given if type_ == "custom_tool_call" else arguments_of(given)
    else:
        name = _PROGRAMS.get(type_, name if isinstance(name, str) else type_)
    label = item.get("server_label")
    if kind is ItemKind.CALL and type_ != APPROVAL:
        # The program runs the call, so a label must not attribute it to a server.
        if label is not None:
            refusal = Refusal("unknown_kind", "a call of this type has no server_label")
    elif "server_label" in item or kind is ItemKind.HOSTED:
        server = label or "openai"
    for field in (status, item.get("status")):
        if field not in ("completed", None):  # the status can be any value
            refusal = refusal or Refusal.incomplete("status", field)
    if kind is ItemKind.HOSTED:
        refusal = Refusal("provider_tool", "the provider has run it")
    elif kind is ItemKind.UNKNOWN:
        refusal = Refusal("unknown_kind", "guardrail does not know this type of call")
    return AskedCall(
        name,
        given,
        _id_of(item, kind),
        None,
        CallKind.CUSTOM if type_ == "custom_tool_call" else CallKind.FUNCTION,
        server=server,
        refusal=refusal,
        approvable=type_ == APPROVAL,
        approval=text_or_none(item.get("approval_request_id")) if type_ == _MCP else None,
        space=item.get("namespace"),
        member=item.get("name"),
    )


def _id_of(item: Mapping[str, Any], kind: ItemKind) -> str | None:
    """Return the id that a call's output refers to. If this type of call has no output, return any
    of its ids.
    """
    name = text_or_none(item.get("call_id"))
    own = text_or_none(item.get("id"))
    if item["type"] == APPROVAL:
        return own
    return name if kind is ItemKind.CALL else name or own


def is_refusal(item: Mapping[str, Any]) -> bool:
    """Return True if *item* is a message that replaces a refused call."""
    return str(item.get("id")).startswith(_REFUSED)


def refusal_item(item: Mapping[str, Any], text: str) -> dict[str, Any]:
    """Return the message that replaces a refused call. The message's id depends only on the
    call.
    """
    digest = hashlib.sha256("\n".join(key_of(item)).encode("utf-8", "replace")).hexdigest()
    return {
        "id": f"{_REFUSED}{digest[:40]}",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [{"type": "refusal", "refusal": text}],
    }
