"""The protocol between code that rewrites a model's answer and code that decides its tool calls.

The rewriting code is a generator: it yields the calls to decide, and gets a ruling for each. So it
does no input or output, and serves clients, streams and proxies, in a thread or on an event loop.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping
from enum import StrEnum
from typing import Any, NamedTuple, TypeVar

from guardrail.errors import GuardrailError
from guardrail.model_apis.calls import AskedCall

__all__ = [
    "Asked",
    "Deciding",
    "ItemKind",
    "ModelAnswerError",
    "looks_like_call",
    "object_of",
    "told",
]

R = TypeVar("R")


class ItemKind(StrEnum):
    """Who runs a part of an answer."""

    PLAIN = "plain"
    """Nobody: it is no call."""
    HOSTED = "hosted"
    """The provider has run it: nobody decided it."""
    CALL = "call"
    """The program."""
    UNKNOWN = "unknown"
    """It looks like a call, but guardrail does not know its type."""


class Asked(NamedTuple):
    """Calls that must be decided before the program gets them."""

    calls: list[AskedCall]
    model: Any
    """Name of the model, as its answer gives it."""
    response: Any
    """Id of the answer."""


Deciding = Generator[Asked, list[str | None], R]
"""Yields calls, and is sent for each of them the text of its refusal, or None if it is allowed."""


class ModelAnswerError(GuardrailError):
    """A model's answer can't be governed: it is malformed, or broken off. The program gets no call
    of it that was not decided.
    """

    default_code = "model_answer"


_CALL = re.compile(r"(?:^|_)calls?(?:$|_)")


def looks_like_call(name: str) -> bool:
    """Return True if the name of a field or of a type says that it holds a call."""
    return "call" in name and _CALL.search(name) is not None


def object_of(value: object, name: str) -> Mapping[str, Any]:
    """Return *value*, the object that an answer has as *name*. Raises ``ModelAnswerError``."""
    if not isinstance(value, dict):
        raise ModelAnswerError(f"the model's answer is malformed: its {name} is no object")
    return value


def told(call: AskedCall, refusal: str) -> str:
    """Return the text of a refusal for a place that does not say which call it is about."""
    name = call.name if isinstance(call.name, str) and call.name.isprintable() else "a tool call"
    return f"{name[:256]}: {refusal}"
