"""Removes refused tool calls from chat completions, streamed or not. Performs no I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from guardrail.model_apis.asking import (
    Asked,
    Deciding,
    ModelAnswerError,
    check_nested,
    looks_like_call,
    names_in,
    object_of,
    told,
)
from guardrail.model_apis.calls import (
    AskedCall,
    CallKind,
    Refusal,
    arguments_of,
    decided_fields,
    text_or_none,
)

__all__ = [
    "LEGACY",
    "NESTED",
    "TOOLS",
    "calls_of",
    "check_content",
    "check_fields",
    "decided_message",
    "governed_choice",
    "rewrite_completion",
]

TOOLS = "tool_calls"
LEGACY = "function_call"

NESTED = frozenset({"choices", "error", "usage"})
"""Fields of a completion or a chunk whose nested fields are either governed or free of calls."""
_ENDED = frozenset({"stop", TOOLS, LEGACY})
"""Finish reasons that mean that a choice and its calls are complete."""
_KINDS = ("function", "custom")
_CALL = frozenset({"id", "type", *_KINDS})
_FIELDS = {"function": frozenset({"name", "arguments"}), "custom": frozenset({"name", "input"})}


def rewrite_completion(completion: Mapping[str, Any]) -> Deciding[Mapping[str, Any]]:
    """Return *completion* without its refused calls. If no call is refused, this is the same
    object.
    """
    check_fields(completion, frozenset())
    check_nested(completion, NESTED)
    choices = completion.get("choices")
    if choices is None:
        return completion
    made: list[Mapping[str, Any]] = []
    for choice in _objects(choices, "choices"):
        check_fields(choice, frozenset())
        if choice.get("delta"):
            raise ModelAnswerError(
                "the model's response is malformed: it contains part of a stream"
            )
        message = choice.get("message")
        if message is None:
            made.append(choice)
            continue
        came = object_of(message, "message")
        check_fields(came, frozenset({TOOLS, LEGACY}))
        check_content(came)
        message = decided_message(came)
        reason = choice.get("finish_reason")
        calls = calls_of(message, reason)
        rulings: list[str | None] = []
        if calls:
            rulings = yield Asked(calls, completion.get("model"), completion.get("id"))
        if not any(rulings):
            made.append(choice if message is came else {**choice, "message": message})
            continue
        changed, ending = governed_choice(message, reason, calls, rulings)
        made.append({**choice, "message": changed, "finish_reason": ending})
    if all(new is old for new, old in zip(made, choices, strict=True)):
        return completion
    return {**completion, "choices": made}


def check_fields(found: Mapping[str, Any], known: frozenset[str]) -> None:
    """Raise ``ModelAnswerError`` if a field that is not in *known* may contain calls."""
    for name in names_in(found).like_calls:
        if name not in known and found[name]:
            raise ModelAnswerError(
                "the model's response contains calls in a field that guardrail does not know"
            )


def check_content(message: Mapping[str, Any]) -> None:
    """Raise ``ModelAnswerError`` if the content of *message*, or of one of its parts, is a list
    that contains a call. Some providers translate calls from other APIs in this way.
    """
    content = message.get("content")
    if content is None or isinstance(content, str):
        return
    for part in content if isinstance(content, list) else [content]:
        names = [str(part.get("type")), *part] if isinstance(part, dict) else []
        if any("tool" in name.lower() or looks_like_call(name) for name in names):
            raise ModelAnswerError("the model's response contains calls in its content")


def decided_message(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return *message* with each call reduced, as in ``decided_fields``, to the fields that
    guardrail has checked and fields that clients don't read. If nothing changes, return
    *message* itself.
    """
    made = dict(message)
    if message.get(TOOLS):
        made[TOOLS] = [_decided_call(each) for each in _objects(message[TOOLS], TOOLS)]
    if message.get(LEGACY) is not None:
        made[LEGACY] = decided_fields(object_of(message[LEGACY], LEGACY), _FIELDS["function"])
    return message if made == message else made


def _decided_call(call: Mapping[str, Any]) -> Mapping[str, Any]:
    made = dict(decided_fields(call, _CALL))
    for name, known in _FIELDS.items():
        if isinstance(made.get(name), dict):
            made[name] = decided_fields(made[name], known)
    return made


def calls_of(message: Mapping[str, Any], reason: object) -> list[AskedCall]:
    """Return the calls in a complete *message*. The legacy call comes last."""
    refusal = None
    if not (isinstance(reason, str) and reason in _ENDED):
        refusal = Refusal.incomplete("finish_reason", reason)
    given = message.get(TOOLS)
    found = [_call(each, refusal) for each in _objects(given, TOOLS)] if given else []
    legacy = message.get(LEGACY)
    if legacy is not None:
        legacy = object_of(legacy, LEGACY)
        arguments = arguments_of(legacy.get("arguments"))
        found.append(
            AskedCall(legacy.get("name"), arguments, None, None, refusal=refusal, has_id=False)
        )
    return found


def _call(call: Mapping[str, Any], refusal: Refusal | None) -> AskedCall:
    kind = call.get("type", "function")
    name, given = None, None
    if kind == "custom":
        inner = object_of(call.get("custom"), "custom call")
        name, given = inner.get("name"), inner.get("input")
    elif kind == "function":
        inner = object_of(call.get("function"), "function call")
        name, given = inner.get("name"), arguments_of(inner.get("arguments"))
    if kind not in _KINDS or any(call.get(other) for other in _KINDS if other != kind):
        refusal = Refusal("unknown_kind", "guardrail does not know this type of tool")
    return AskedCall(
        name,
        given,
        text_or_none(call.get("id")),
        None,
        CallKind.CUSTOM if kind == "custom" else CallKind.FUNCTION,
        refusal=refusal,
    )


def governed_choice(
    message: Mapping[str, Any],
    reason: object,
    calls: Sequence[AskedCall],
    rulings: Sequence[str | None],
) -> tuple[dict[str, Any], object]:
    """Return *message* without its refused calls, and its finish reason. The texts of the refusals
    are added to the field ``refusal``. If nothing else is left, they are also added to the content,
    because a program may read only the content.
    """
    changed = dict(message)
    given = message.get(TOOLS) or []
    kept = [call for call, ruling in zip(given, rulings, strict=False) if ruling is None]
    if kept:
        changed[TOOLS] = kept
    else:
        changed.pop(TOOLS, None)
    if message.get(LEGACY) is not None and rulings[-1] is not None:
        del changed[LEGACY]
    refusals = [
        told(call, ruling)
        for call, ruling in zip(calls, rulings, strict=True)
        if ruling is not None
    ]
    text = "\n".join(refusals)
    changed["refusal"] = "\n".join([message["refusal"], text]) if message.get("refusal") else text
    if kept or changed.get(LEGACY) is not None:
        return changed, reason
    if not message.get("content"):
        changed["content"] = text
    return changed, "stop" if reason in (TOOLS, LEGACY) else reason


def _objects(value: object, name: str) -> list[Mapping[str, Any]]:
    if not isinstance(value, list):
        raise ModelAnswerError(f"the model's response is malformed: its {name} is not a list")
    return [object_of(each, name) for each in value]
