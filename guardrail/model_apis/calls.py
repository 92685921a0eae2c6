"""The tool calls that a model asks for, in the words of no API."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from guardrail.core.schema.json_arguments import JsonArguments

__all__ = [
    "AskedCall",
    "CallKind",
    "Refusal",
    "ToolAnswer",
    "arguments_of",
    "id_refusal",
    "text_or_none",
]

_LONGEST = 64
"""Characters of a field of the provider that a model reads."""


class CallKind(StrEnum):
    """How a model gives the arguments of a tool."""

    FUNCTION = "function"
    """As an object."""
    CUSTOM = "custom"
    """As free text."""


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


def text_or_none(value: object) -> str | None:
    """Return *value* if it is text and not empty: a client does not check what a provider sent."""
    return value if isinstance(value, str) and value else None


def arguments_of(given: object) -> object:
    """Return the arguments of a function call for the guard, which parses them strictly."""
    return JsonArguments(given) if isinstance(given, str) else given


def id_refusal(call: AskedCall, seen: Collection[str]) -> Refusal | None:
    """Return why the id of *call* is refused, or None. *seen* are the ids of earlier calls."""
    if call.has_id and not call.id:
        return Refusal("missing_id", "the call has no id")
    if call.id in seen:
        return Refusal("repeated_id", "another call has the same id")
    return None
