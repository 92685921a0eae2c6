"""The tool calls that a model requests, independent of the provider's API."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
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
    "decided_fields",
    "id_refusal",
    "text_or_none",
]

_LONGEST = 64
"""Maximum number of characters from a provider's field in a message to the model."""


class CallKind(StrEnum):
    """How a model passes the arguments of a tool."""

    FUNCTION = "function"
    """The arguments are an object."""
    CUSTOM = "custom"
    """The arguments are free text."""


class ToolAnswer(NamedTuple):
    """The result of one call, in the form that the model reads."""

    content: str | list[Any]
    failed: bool
    """True if the call was refused or its body failed."""


class Refusal(NamedTuple):
    """The reason why a call is refused before it is decided."""

    reason: str
    """The stable code in the record."""
    text: str
    """The text for the model, which follows the tool's name."""

    @classmethod
    def incomplete(cls, field: str, value: object) -> Refusal:
        """Return the refusal for a call in a response that was truncated, according to *field*.
        Even if the call's arguments can be parsed, they may be incomplete.
        """
        shown = str(value)[:_LONGEST]
        return cls("incomplete", f"the response was truncated ({field}: {shown})")


@dataclass(frozen=True, slots=True)
class AskedCall:
    """A call that a model requests, independent of the provider's API."""

    name: object
    """The name from the model or the provider. It can be any value."""
    arguments: Any
    id: str | None
    answer: Callable[[ToolAnswer], Any] | None
    """Creates the message or item that the model reads, or None if the call is not answered."""
    kind: CallKind = CallKind.FUNCTION
    server: str | None = None
    refusal: Refusal | None = None
    has_id: bool = True
    """False if calls of this kind have no id."""
    approvable: bool = False
    """True if the provider runs the call once the program has approved it."""
    approval: str | None = None
    """The id of the approved request for a call that the provider has run."""
    space: object = None
    """The namespace or tool set in the call, which can be any value. ``name`` begins with it."""
    member: object = None
    """The name of the tool within ``space``. Many programs look only at this name."""


def text_or_none(value: object) -> str | None:
    """Return *value* if it is a non-empty string, otherwise None. A client does not validate a
    provider's response.
    """
    return value if isinstance(value, str) and value else None


def arguments_of(given: object) -> object:
    """Return the arguments of a function call in the form that the guard accepts, which it parses
    strictly.
    """
    return JsonArguments(given) if isinstance(given, str) else given


_OPAQUE = frozenset({"extra_content", "provider_specific_fields", "signature", "thought_signature"})
"""Fields that providers add to calls and expect back with the results. Clients don't read them."""
_TEXT = "arguments"
_BLANK = " \t\n\r"


def decided_fields(call: Mapping[str, Any], known: Collection[str]) -> Mapping[str, Any]:
    """Return *call* with only its *known* fields and fields that clients don't read. Clients store
    their own state in other fields of a call, and take the call's arguments from there. Blank
    arguments are replaced with ``{}``, because clients interpret blank text differently. If nothing
    changes, return *call* itself.
    """
    made = {name: call[name] for name in call if name in known or name in _OPAQUE}
    text = made.get(_TEXT)
    if isinstance(text, str) and not text.strip(_BLANK):
        made[_TEXT] = "{}"
    return call if made == call else made


def id_refusal(call: AskedCall, seen: Collection[str]) -> Refusal | None:
    """Return the refusal for *call* if its id is missing or repeated, otherwise None. *seen*
    contains the ids of earlier calls.
    """
    if call.has_id and not call.id:
        return Refusal("missing_id", "the call has no id")
    if call.id in seen:
        return Refusal("repeated_id", "another call has the same id")
    return None
