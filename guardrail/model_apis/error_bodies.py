"""Finds answers in the bodies of error responses: some clients read them although the status says
that the request failed. Performs no I/O.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from guardrail.model_apis.asking import ModelAnswerError, looks_like_call

__all__ = ["check_error_body"]

_PARTS_OF_ANSWER = frozenset(
    {
        "choices",
        "content",
        "content_block",
        "delta",
        "item",
        "message",
        "output",
        "response",
        "tool_use",
    }
)
"""Names of fields with which an answer, or an event of a stream, contains calls."""


def check_error_body(body: bytes) -> None:
    """Raise ``ModelAnswerError`` if *body*, from a response with an error status, could be read as
    an answer with calls: as JSON in any encoding that clients detect, or as a stream of events.
    """
    for value in _documents(body):
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, _Pairs) and any(_is_answer(*pair) for pair in each.pairs):
                raise ModelAnswerError(
                    "the upstream's error contains an answer", code="model_answer.error_body"
                )


class _Pairs:
    """A JSON object with all its fields, even those that have the same name."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        self.pairs = pairs


def _documents(body: bytes) -> Iterator[Any]:
    try:
        yield json.loads(body, object_pairs_hook=_Pairs)
    except RecursionError:
        raise ModelAnswerError(
            "the upstream's error is too deep", code="model_answer.error_body"
        ) from None
    except ValueError:
        text = body.decode("utf-8", "replace")
    else:
        return
    data: list[str] = []
    for line in [*text.splitlines(), ""]:
        name, _, value = line.partition(":")
        if name.strip("\ufeff") == "data":
            data.append(value)
        elif not line and data:
            yield from _documents("\n".join(data).encode("utf-8", "replace"))
            data = []
        elif line.lstrip().startswith(("{", "[")):
            yield from _documents(line.encode("utf-8", "replace"))  # one object in each line


def _is_answer(name: str, value: object) -> bool:
    folded = name.casefold()
    if folded in _PARTS_OF_ANSWER:
        # In an error, they are texts: {"message": "not found"}.
        return isinstance(value, _Pairs | list) and value != []
    return looks_like_call(name) and bool(value)
