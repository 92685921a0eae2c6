"""Reads the tool calls in a chat completion, and creates the messages that answer them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from openai.types.chat import ChatCompletion

from guardrail.errors import UsageError
from guardrail.integrations.model_calls import listed
from guardrail.model_apis.calls import (
    AskedCall,
    CallKind,
    Refusal,
    ToolAnswer,
    arguments_of,
    text_or_none,
)
from guardrail.tools.results import result_text

__all__ = ["read_chat"]

_ENDED = frozenset({"stop", "tool_calls", "function_call"})
"""Finish reasons that mean that a choice and its calls are complete."""


def read_chat(completion: ChatCompletion, choice: int | None) -> list[AskedCall]:
    """Return the calls in *completion*. Raises ``UsageError`` if there are several choices and
    *choice* does not select one of them.
    """
    choices = listed(completion.choices, "choices")
    if choice is None and len(choices) > 1:
        raise UsageError(
            (
                f"the completion has {len(choices)} choices, but a conversation continues "
                "with one of them"
            ),
            code="usage.choice",
            hint="run(completion, choice=0)",
        )
    if choice is not None:
        choices = [each for each in choices if getattr(each, "index", None) == choice]
        if not choices:
            raise UsageError(f"the completion has no choice {choice}", code="usage.choice")
    if not choices:
        return []
    chosen = choices[0]
    refusal = None
    reason = getattr(chosen, "finish_reason", None)
    if not (isinstance(reason, str) and reason in _ENDED):
        refusal = Refusal.incomplete("finish_reason", reason)
    return list(_calls(getattr(chosen, "message", None), refusal))


def _calls(message: Any, refusal: Refusal | None) -> Iterator[AskedCall]:
    for call in listed(getattr(message, "tool_calls", None), "tool_calls"):
        kind = getattr(call, "type", None)
        name, given = None, None
        if kind == "custom":
            inner = getattr(call, "custom", None)
            name, given = getattr(inner, "name", None), getattr(inner, "input", None)
        elif kind == "function":
            inner = getattr(call, "function", None)
            name = getattr(inner, "name", None)
            given = arguments_of(getattr(inner, "arguments", None))
        else:
            refusal = refusal or Refusal("unknown_kind", f"a tool can't have the type {kind}")
        yield AskedCall(
            name,
            given,
            text_or_none(getattr(call, "id", None)),
            _tool_message(getattr(call, "id", None)),
            CallKind.CUSTOM if kind == "custom" else CallKind.FUNCTION,
            refusal=refusal,
        )
    legacy = getattr(message, "function_call", None)
    if legacy is not None:
        name = getattr(legacy, "name", None)
        yield AskedCall(
            name,
            arguments_of(getattr(legacy, "arguments", None)),
            None,
            _function_message(name),
            refusal=refusal,
            has_id=False,
        )


def _tool_message(call_id: object) -> Callable[[ToolAnswer], dict[str, Any]]:
    def message(answer: ToolAnswer) -> dict[str, Any]:
        return {"role": "tool", "tool_call_id": call_id, "content": answer.content}

    return message


def _function_message(name: object) -> Callable[[ToolAnswer], dict[str, Any]]:
    def message(answer: ToolAnswer) -> dict[str, Any]:
        # The legacy message can contain only text.
        return {"role": "function", "name": name, "content": result_text(answer.content)}

    return message
