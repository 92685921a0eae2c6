"""The tool calls of one response of a model, in the words of no API, and the functions that they
are for.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

from guardrail.errors import UsageError
from guardrail.tools.tool import Tool

if TYPE_CHECKING:
    from guardrail.core.call_context import CallContext

__all__ = [
    "AskedCall",
    "CallBatch",
    "CallKind",
    "ContentParts",
    "Refusal",
    "Registered",
    "ToolAnswer",
    "id_refusal",
    "listed",
    "matched",
    "text_or_none",
]

_LONGEST = 64
"""Characters of a field of the provider that a model reads."""
_SHOWN = 20
"""Names of tools that a model reads if it called one that does not exist."""


class CallKind(StrEnum):
    """How a model gives the arguments of a tool."""

    FUNCTION = "function"
    """As an object."""
    CUSTOM = "custom"
    """As free text."""


class ContentParts(list[Any]):
    """A result that consists of parts in the form that the API defines (text, images, files). They
    go to the model unchanged.
    """


class ToolAnswer(NamedTuple):
    """What a model reads about its call."""

    content: str | list[Any]
    failed: bool
    """The call was refused, or its body failed."""


class Refusal(NamedTuple):
    """Why a call is refused before it is decided."""

    reason: str
    """The stable code in the record."""
    text: str
    """The words for the model, which follow the tool's name."""

    @classmethod
    def incomplete(cls, field: str, value: object) -> Refusal:
        """Return the refusal of a call in an answer that was cut off, as *field* says: even
        arguments that parse may be half of what the model meant.
        """
        shown = str(value)[:_LONGEST]
        return cls("incomplete", f"the answer was cut off ({field}: {shown})")


class Registered(NamedTuple):
    """A function of a ToolBox."""

    tool: Tool
    body: Callable[..., Any]
    kind: CallKind
    strict: bool
    format: Mapping[str, Any] | None
    """The input format of a custom tool, as the Responses API has it."""


@dataclass(frozen=True, slots=True)
class AskedCall:
    """A call that a model asks for, in the words of no API."""

    name: object
    """As the model or the provider wrote it: it can be any value."""
    arguments: Any
    id: str | None
    answer: Callable[[ToolAnswer], Any] | None
    """Makes the message or item that the model reads; None if nothing is answered."""
    kind: CallKind = CallKind.FUNCTION
    server: str | None = None
    refusal: Refusal | None = None
    has_id: bool = True
    """False if calls of this kind have no id."""


@dataclass(frozen=True, slots=True)
class CallBatch:
    """The calls of one response."""

    calls: Sequence[AskedCall]
    context: CallContext
    problem: UsageError | None = None
    """Why the program must not go on with this response: ``calls`` are recorded, none is run."""
    compose: Callable[[list[Any]], list[Any]] = field(default=list)
    """Makes the messages to append from the answers."""


def text_or_none(value: object) -> str | None:
    """Return *value* if it is text and not empty: a client does not check what a provider sent."""
    return value if isinstance(value, str) and value else None


def listed(value: object, name: str) -> list[Any]:
    """Return the list *value* of a response's field *name*; none is an empty one. Raises
    ``UsageError`` if it is anything else.
    """
    if value is None:
        return []
    if isinstance(value, list):
        return value
    raise UsageError(
        f"the response is malformed: its {name} is no list but a {type(value).__name__}",
        code="usage.response",
    )


def matched(
    calls: Iterable[AskedCall], entries: Mapping[str, Registered]
) -> Iterator[tuple[AskedCall, Registered | None]]:
    """Yield each call with the function that it is for, or with the reason for which it is
    refused.
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


def id_refusal(call: AskedCall, seen: Collection[str]) -> Refusal | None:
    """Return why the id of *call* is refused, or None. *seen* are the ids of earlier calls."""
    if call.has_id and not call.id:
        return Refusal("missing_id", "the call has no id")
    if call.id in seen:
        return Refusal("repeated_id", "another call has the same id")
    return None
