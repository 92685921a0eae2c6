"""The calls in one model response, and the ToolBox functions that they call."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from guardrail.errors import UsageError
from guardrail.model_apis.calls import AskedCall, CallKind, Refusal, id_refusal
from guardrail.tools.tool import Tool

if TYPE_CHECKING:
    from guardrail.core.call_context import CallContext

__all__ = [
    "CallBatch",
    "ContentParts",
    "Registered",
    "listed",
    "matched",
]

_SHOWN = 20
"""Maximum number of tool names listed to a model that has called an unknown tool."""


class ContentParts(list[Any]):
    """A result that consists of parts (text, images, files) in the format of the provider's API.
    The parts are passed to the model unchanged.
    """


class Registered(NamedTuple):
    """A function that is registered in a ToolBox."""

    tool: Tool
    body: Callable[..., Any]
    kind: CallKind
    strict: bool
    format: Mapping[str, Any] | None
    """The input format of a custom tool, as the Responses API defines it."""


@dataclass(frozen=True, slots=True)
class CallBatch:
    """The calls in one response."""

    calls: Sequence[AskedCall]
    context: CallContext
    problem: UsageError | None = None
    """If set, the error that prevents the program from continuing with this response: ``calls`` are
    recorded but not run.
    """
    compose: Callable[[list[Any]], list[Any]] = field(default=list)
    """Creates the messages to append from the answers."""


def listed(value: object, name: str) -> list[Any]:
    """Return *value*, the content of the field *name* in a response, if it is a list, or an empty
    list if it is None. Otherwise, raises ``UsageError``.
    """
    if value is None:
        return []
    if isinstance(value, list):
        return value
    raise UsageError(
        f"the response is malformed: its {name} is not a list but a {type(value).__name__}",
        code="usage.response",
    )


def matched(
    calls: Iterable[AskedCall], entries: Mapping[str, Registered]
) -> Iterator[tuple[AskedCall, Registered | None]]:
    """Yield each call with the function that it calls. A refused call is yielded with its refusal,
    and without a function.
    """
    seen: set[str] = set()
    for call in calls:
        entry = entries.get(call.name) if isinstance(call.name, str) else None
        refusal = call.refusal or _refusal(call, entry, entries, seen)
        if call.id is not None:
            seen.add(call.id)
        if refusal is not None or entry is None:
            yield replace(call, refusal=refusal), None
        elif call.kind is CallKind.CUSTOM:
            (name,) = entry.tool.parameters.values()
            yield replace(call, arguments={name: call.arguments}), entry
        else:
            yield call, entry


def _refusal(
    call: AskedCall, entry: Registered | None, entries: Mapping[str, Registered], seen: set[str]
) -> Refusal | None:
    if entry is None:
        known = ", ".join(list(entries)[:_SHOWN]) or "none"
        return Refusal("unknown_tool", f"there is no such tool; the tools are: {known}")
    if entry.kind is not call.kind:
        return Refusal("wrong_kind", f"this is a {entry.kind} tool")
    return id_refusal(call, seen)
