"""Converts the tools of a ToolBox to the formats that requests to OpenAI use."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from guardrail.integrations.model_calls import Registered
from guardrail.model_apis.calls import CallKind

__all__ = ["FORMS"]


def _responses_form(entry: Registered, schema: dict[str, Any]) -> dict[str, Any]:
    named = {"name": entry.tool.name, "description": entry.tool.description}
    if entry.kind is CallKind.CUSTOM:
        shape = {} if entry.format is None else {"format": copy.deepcopy(dict(entry.format))}
        return {"type": "custom", **named, **shape}
    return {"type": "function", **named, "parameters": schema, "strict": entry.strict}


def _chat_form(entry: Registered, schema: dict[str, Any]) -> dict[str, Any]:
    made = _responses_form(entry, schema)
    kind = made.pop("type")
    if made.get("format", {}).get("type") == "grammar":
        grammar = {key: made["format"][key] for key in ("syntax", "definition")}
        made["format"] = {"type": "grammar", "grammar": grammar}
    return {"type": kind, kind: made}


def _function_form(entry: Registered, schema: dict[str, Any]) -> dict[str, Any] | None:
    if entry.kind is CallKind.CUSTOM:
        return None
    return {
        "name": entry.tool.name,
        "description": entry.tool.description,
        "parameters": schema,
    }


FORMS: dict[str, Callable[[Registered, dict[str, Any]], dict[str, Any] | None]] = {
    "responses": _responses_form,
    "chat": _chat_form,
    "functions": _function_form,
}
