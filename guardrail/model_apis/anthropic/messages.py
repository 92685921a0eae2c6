"""Removes refused tool calls from complete messages in the Messages API. Performs no I/O."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from guardrail.core.json_text import hides_fields
from guardrail.core.schema.json_arguments import JsonArguments
from guardrail.model_apis.anthropic.blocks import (
    call_of_block,
    check_no_calls,
    decided_block,
    kind_of_block,
    refusal_block,
)
from guardrail.model_apis.asking import (
    Asked,
    Deciding,
    ItemKind,
    ModelAnswerError,
    object_of,
    told,
)
from guardrail.model_apis.sse import check_values, read_object

__all__ = ["ending", "read_message", "rewrite_message"]

_CALL = "tool_use"


def rewrite_message(message: Mapping[str, Any]) -> Deciding[Mapping[str, Any]]:
    """Return *message* without its refused calls. If no call is refused, this is the same
    object.
    """
    check_no_calls(message)
    content = message.get("content")
    if content is None:
        return message
    if not isinstance(content, list):
        raise ModelAnswerError("the model's response is malformed: its content is not a list")
    blocks = [object_of(block, "content block") for block in content]
    reason = message.get("stop_reason")
    found = [(at, block, kind_of_block(block)) for at, block in enumerate(blocks)]
    found = [each for each in found if each[2] is not ItemKind.PLAIN]
    if not found:
        return message
    calls = [call_of_block(block, kind, block.get("input"), reason) for _, block, kind in found]
    rulings = yield Asked(calls, message.get("model"), message.get("id"))
    made = list(blocks)
    allowed = refused = False
    for (at, block, kind), call, ruling in zip(found, calls, rulings, strict=True):
        if kind is ItemKind.HOSTED:
            continue
        if ruling is None:
            allowed = True
            made[at] = decided_block(block, kind)
        else:
            refused = True
            made[at] = refusal_block(told(call, ruling))
    if not refused:
        same = all(new is old for new, old in zip(made, content, strict=True))
        return message if same else {**message, "content": made}
    return {**message, "content": made, "stop_reason": ending(reason, allowed=allowed)}


def ending(reason: object, *, allowed: bool) -> object:
    """Return the stop reason for a message from which a call was removed. *allowed* is True if at
    least one call is left.
    """
    return "end_turn" if reason == _CALL and not allowed else reason


class _Repeated(list[tuple[str, Any]]):
    """The key-value pairs of an object that repeats a key."""


def read_message(body: bytes) -> Mapping[str, Any]:
    """Return the JSON object in *body*. The input of a call that repeats a key is converted to
    text, so the guard denies only this call. Raises ``ModelAnswerError``.
    """
    try:
        return read_object(body)
    except ModelAnswerError as error:
        failure = error
    try:
        text = body.decode("utf-8")
        check_values(text)
        message = json.loads(text, object_pairs_hook=_pairs, parse_constant=_constant)
        content = message.get("content") if isinstance(message, dict) else None
        for block in content if isinstance(content, list) else []:
            if isinstance(block, dict) and block.get("type") == _CALL:
                given = block.get("input")
                if _repeats(given):
                    block["input"] = JsonArguments(_serialized(given))
        if isinstance(message, dict) and not _repeats(message):
            return object_of(message, "JSON", outermost=True)
    except (ValueError, RecursionError):
        pass
    raise failure


def _pairs(pairs: list[tuple[str, Any]]) -> Any:
    found = dict(pairs)
    if hides_fields(found):
        raise ValueError
    return found if len(found) == len(pairs) else _Repeated(pairs)


def _constant(_name: str) -> Any:
    raise ValueError


def _repeats(value: Any) -> bool:
    """Return True if any object in *value* repeats a key."""
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, _Repeated):
            return True
        if isinstance(each, dict):
            waiting.extend(each.values())
        elif isinstance(each, list):
            waiting.extend(each)
    return False


def _serialized(value: Any) -> str:
    if isinstance(value, _Repeated | dict):
        pairs = value.items() if isinstance(value, dict) else value
        return "{" + ",".join(f"{json.dumps(key)}:{_serialized(each)}" for key, each in pairs) + "}"
    if isinstance(value, list):
        return "[" + ",".join(_serialized(each) for each in value) + "]"
    return json.dumps(value)
