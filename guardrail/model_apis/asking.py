"""The protocol between code that rewrites a model's response and code that decides its tool calls.

The rewriting code is a generator, which yields the calls to decide and receives a ruling on each
call. It performs no I/O, so clients, streams and proxies can use it, in threads and in event loops.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping
from enum import StrEnum
from typing import Any, NamedTuple, TypeVar

from guardrail.errors import GuardrailError
from guardrail.model_apis.calls import AskedCall

__all__ = [
    "SEEN",
    "Asked",
    "Deciding",
    "ItemKind",
    "ModelAnswerError",
    "check_nested",
    "looks_like_call",
    "names_in",
    "object_of",
    "place_of",
    "told",
]

R = TypeVar("R")


class ItemKind(StrEnum):
    """The kind of an item in a response: whether the item is a call, and who runs that call."""

    PLAIN = "plain"
    """Not a call."""
    HOSTED = "hosted"
    """A call that the provider has already run, without a decision."""
    CALL = "call"
    """A call that the program runs."""
    UNKNOWN = "unknown"
    """An item that looks like a call but whose type guardrail does not know."""


class Asked(NamedTuple):
    """Calls that must be decided before the program receives them."""

    calls: list[AskedCall]
    model: Any
    """The name of the model, from its response."""
    response: Any
    """The id of the response."""


Deciding = Generator[Asked, list[str | None], R]
"""A generator that yields calls. For each call, it receives the text of the refusal, or None if the
call is allowed.
"""


class ModelAnswerError(GuardrailError):
    """A model's response can't be governed because it is malformed or incomplete. The program does
    not receive its undecided calls.
    """

    default_code = "model_answer"


_CALL = re.compile(r"(?i:(?:^|_)calls?(?:$|_))|[a-z0-9]Calls?(?:$|_|[A-Z])")


def looks_like_call(name: str) -> bool:
    """Return True if *name*, the name of a field or a type, suggests a call. The comparison ignores
    case, as some clients do.
    """
    return "call" in name.lower() and _CALL.search(name) is not None


_HOLDS_CALLS = frozenset({"choices", "content_block", "delta", "item", "output", "tool_use"})
"""Names of the fields that contain calls in a response or in an event of a stream."""


def check_nested(found: Mapping[str, Any], known: frozenset[str]) -> None:
    """Raise ``ModelAnswerError`` if a field of *found* that is not in *known* contains, at any
    depth, a field that can contain calls. Some clients look for a chunk inside a chunk.
    """
    for name, value in found.items():
        if value and isinstance(value, dict | list) and name not in known and _holds_calls(value):
            raise ModelAnswerError(
                "the model's response contains a nested response in a field that guardrail does "
                "not know"
            )


def _holds_calls(value: object) -> bool:
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, list):
            waiting += each
        elif isinstance(each, dict):
            for name, inner in each.items():
                if inner and isinstance(inner, dict | list):
                    if name.casefold() in _HOLDS_CALLS or looks_like_call(name):
                        return True
                    waiting.append(inner)
    return False


_READ = frozenset(
    {
        "arguments",
        "call_id",
        "choices",
        "content",
        "content_block",
        "custom",
        "delta",
        "finish_reason",
        "function",
        "id",
        "index",
        "input",
        "item",
        "message",
        "name",
        "namespace",
        "output",
        "output_index",
        "partial_json",
        "response",
        "server_label",
        "status",
        "stop_reason",
        "type",
    }
)
"""Names of the fields from which clients assemble a call."""


class FieldNames(NamedTuple):
    """Properties of an object that follow from the names of its fields alone."""

    like_calls: tuple[str, ...]
    """The names for which ``looks_like_call`` is True."""
    misleading: bool
    """True if a name differs from the name of a field of a call only in case."""
    private: bool
    """True if a name starts with an underscore, as do the fields in which clients store their own
    state.
    """


SEEN: dict[tuple[str, ...], FieldNames] = {}
"""A cache, keyed by the names of an object's fields. The events of a stream use only a few sets of
names.
"""
_MOST_SEEN = 1_024
_LONGEST_SEEN = 512
"""Maximum number of characters in the names of one object that are cached."""


def names_in(found: Mapping[str, Any]) -> FieldNames:
    """Return the properties that follow from the names of the fields in *found*."""
    names = tuple(found)
    known = SEEN.get(names)
    if known is None:
        folded = [name.casefold() for name in names]
        known = FieldNames(
            tuple(filter(looks_like_call, names)),
            any(way in _READ and way != name for way, name in zip(folded, names, strict=True)),
            any(name.startswith("_") for name in names),
        )
        # The upstream chooses the names, so their number and their size are limited.
        if len(SEEN) < _MOST_SEEN and sum(map(len, names)) <= _LONGEST_SEEN:
            SEEN[names] = known
    return known


def object_of(value: object, name: str, *, outermost: bool = False) -> Mapping[str, Any]:
    """Return *value*, the content of the field *name* in a response, if it is an object. Raises
    ``ModelAnswerError`` if it is not an object, or if some clients could misread one of its fields
    and find a call that guardrail does not see. This is the case for a name that differs from a
    known name only in case, because some clients ignore case, and for a name that starts with an
    underscore, because a client could mistake the field for its own state. Such underscores are
    allowed in the *outermost* object.
    """
    if not isinstance(value, dict):
        raise ModelAnswerError(f"the model's response is malformed: its {name} is not an object")
    if names_in(value).misleading:
        raise ModelAnswerError(
            f"the model's response is malformed: its {name} has a field name with unusual "
            "capitalization"
        )
    if names_in(value).private and not outermost:
        raise ModelAnswerError(
            f"the model's response is malformed: its {name} has a field whose name starts with an"
            " underscore"
        )
    return value


def place_of(found: Mapping[str, Any], field: str) -> int | None:
    """Return the number in *field*, or None if the field is missing. Raises ``ModelAnswerError``
    for any other value.
    """
    value = found.get(field)
    if value is None or (type(value) is int and value >= 0):
        return value
    raise ModelAnswerError(
        f"the model's response is malformed: its {field} is not a non-negative integer"
    )


def told(call: AskedCall, refusal: str) -> str:
    """Return the text of a refusal, preceded by the name of the tool."""
    name = call.name if isinstance(call.name, str) and call.name.isprintable() else "a tool call"
    return f"{name[:256]}: {refusal}"
