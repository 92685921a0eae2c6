"""The protocol between code that rewrites a model's response and code that decides its tool calls.

The rewriting code is a generator: it yields the calls to decide, and receives a ruling for each. It
performs no I/O, so it can be used by clients, streams and proxies, in threads and on event loops.
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
    """The kind of a part of an answer: whether the part is a call, and who runs that call."""

    PLAIN = "plain"
    """Not a call."""
    HOSTED = "hosted"
    """A call that the provider has already run, so nobody decided it."""
    CALL = "call"
    """A call that the program runs."""
    UNKNOWN = "unknown"
    """It looks like a call, but guardrail does not know its type."""


class Asked(NamedTuple):
    """Calls that must be decided before the program gets them."""

    calls: list[AskedCall]
    model: Any
    """The name of the model, as given in its answer."""
    response: Any
    """The id of the answer."""


Deciding = Generator[Asked, list[str | None], R]
"""A generator that yields calls. For each call, it receives the text of the refusal, or None if the
call is allowed.
"""


class ModelAnswerError(GuardrailError):
    """A model's response can't be governed because it is malformed or incomplete. The program does
    not get its undecided calls.
    """

    default_code = "model_answer"


_CALL = re.compile(r"(?i:(?:^|_)calls?(?:$|_))|[a-z0-9]Calls?(?:$|_|[A-Z])")


def looks_like_call(name: str) -> bool:
    """Return True if *name*, the name of a field or a type, suggests a call. The case of letters is
    ignored, as some clients do.
    """
    return "call" in name.lower() and _CALL.search(name) is not None


_HOLDS_CALLS = frozenset({"choices", "content_block", "delta", "item", "output", "tool_use"})
"""Names of fields that hold the calls of an answer, or of an event of a stream."""


def check_nested(found: Mapping[str, Any], known: frozenset[str]) -> None:
    """Raise ``ModelAnswerError`` if a field of *found* that is not in *known* contains a part of an
    answer, at any depth: some clients look for a chunk inside of a chunk.
    """
    for name, value in found.items():
        if value and isinstance(value, dict | list) and name not in known and _holds_calls(value):
            raise ModelAnswerError(
                "the model's answer contains a part of an answer in a field that guardrail does not"
                " know"
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
"""Names of fields from which clients assemble a call."""


class FieldNames(NamedTuple):
    """What the names of an object's fields say, apart from their values."""

    like_calls: tuple[str, ...]
    """The names for which ``looks_like_call`` is True."""
    misleading: bool
    """True if a name is that of a field of a call, apart from the case of its letters."""
    private: bool
    """True if a name starts with an underscore, like those in which clients keep their state."""


SEEN: dict[tuple[str, ...], FieldNames] = {}
"""The names of objects that were met before: the events of a stream have the same few."""
_MOST_SEEN = 1_024
_LONGEST_SEEN = 512
"""Maximum number of characters of the names of one object that are kept."""


def names_in(found: Mapping[str, Any]) -> FieldNames:
    """Return what the names of the fields of *found* say."""
    names = tuple(found)
    known = SEEN.get(names)
    if known is None:
        folded = [name.casefold() for name in names]
        known = FieldNames(
            tuple(filter(looks_like_call, names)),
            any(way in _READ and way != name for way, name in zip(folded, names, strict=True)),
            any(name.startswith("_") for name in names),
        )
        # An upstream chooses the names, so their number and their size are bounded.
        if len(SEEN) < _MOST_SEEN and sum(map(len, names)) <= _LONGEST_SEEN:
            SEEN[names] = known
    return known


def object_of(value: object, name: str, *, outermost: bool = False) -> Mapping[str, Any]:
    """Return *value*, the object in the field *name* of an answer. Raises ``ModelAnswerError`` if
    it is not an object, or has a field whose name some clients would mistake for another: they
    ignore the case of letters, and would find a call that guardrail does not see. The same applies
    to a name with an underscore in front, unless the object is the *outermost* one: a client would
    take the field for its own state.
    """
    if not isinstance(value, dict):
        raise ModelAnswerError(f"the model's answer is malformed: its {name} is not an object")
    if names_in(value).misleading:
        raise ModelAnswerError(
            f"the model's answer is malformed: its {name} has a field in unusual capital letters"
        )
    if names_in(value).private and not outermost:
        raise ModelAnswerError(
            f"the model's answer is malformed: its {name} has a field whose name starts with an"
            " underscore"
        )
    return value


def place_of(found: Mapping[str, Any], field: str) -> int | None:
    """Return the number in *field*, or None if it is missing. Raises ``ModelAnswerError`` for
    anything else.
    """
    value = found.get(field)
    if value is None or (type(value) is int and value >= 0):
        return value
    raise ModelAnswerError(
        f"the model's answer is malformed: its {field} is not a positive number or zero"
    )


def told(call: AskedCall, refusal: str) -> str:
    """Return the text of a refusal together with the name of its tool."""
    name = call.name if isinstance(call.name, str) and call.name.isprintable() else "a tool call"
    return f"{name[:256]}: {refusal}"
