"""Finds calls in the bodies of error responses, which some clients read although the status says
that the request failed. Performs no I/O.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from guardrail.core.json_text import hides_fields
from guardrail.model_apis.asking import ModelAnswerError, looks_like_call

__all__ = ["check_error_body"]

_PARTS_OF_ANSWER = frozenset(
    {
        "choices",
        "content",
        "content_block",
        "delta",
        "item",
        "output",
        "response",
        "tool_use",
    }
)
"""Names of the fields that contain calls in a response or in an event of a stream."""
_MESSAGE = "message"
"""Name of a field that contains calls in a normal response, and can contain anything in an
error.
"""
_MOST = 10_000
"""Maximum number of events and JSON lines in an error."""
_LINE = re.compile(r"\r\n|[\r\n]")
_INHERITED = frozenset({"__proto__", "constructor"})
"""Names of the only fields for which ``hides_fields`` can return True."""


def check_error_body(body: bytes) -> None:
    """Raise ``ModelAnswerError`` if a client could interpret *body*, from a response with an error
    status, as a response with calls: as JSON in any encoding that clients detect, or as a stream of
    events. Runs in linear time.
    """
    for value in _documents(body):
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, _Pairs) and any(_is_answer(*pair) for pair in each.pairs):
                raise _error("contains an answer")


class _Pairs:
    """A JSON object with all its fields, including fields with the same name. Raises
    ``ModelAnswerError`` for a field such as ``__proto__``, which can add fields to a copy of the
    object.
    """

    __slots__ = ("pairs",)

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        self.pairs = pairs
        if any(hides_fields({name: _fields(each)}) for name, each in pairs if name in _INHERITED):
            raise _error("contains an answer")


def _fields(value: object) -> object:
    return dict(value.pairs) if isinstance(value, _Pairs) else value


_DECODER = json.JSONDecoder(object_pairs_hook=_Pairs)


def _error(why: str) -> ModelAnswerError:
    return ModelAnswerError(f"the upstream's error {why}", code="model_answer.error_body")


def _documents(body: bytes) -> Iterator[Any]:
    """Yield the JSON values that clients could find in *body*. Each part of *body* is parsed only a
    few times.
    """
    found = list(_values(body))
    if found:
        yield from found
        return
    text = body.decode("utf-8", "replace")
    lines = _LINE.split(text)
    left = _MOST
    # Some clients also treat characters that JSON allows in strings as line breaks.
    for way in [lines] if len(lines) >= len(text.splitlines()) else [lines, text.splitlines()]:
        for each in _events_and_lines(way):
            if not left:
                raise _error("has too many parts")
            left -= 1
            yield from _values(each)


def _events_and_lines(lines: list[str]) -> Iterator[str]:
    """Yield each event of a stream, and each JSON line, even inside an event, because some clients
    do not join the lines of an event.
    """
    data: list[str] = []
    for line in [*lines, ""]:
        name, _, value = line.partition(":")
        is_data = name.strip("\ufeff") == "data"
        if is_data:
            data.append(value)
        elif not line and data:
            if len(data) > 1 or not _is_json_line(data[0]):
                yield "\n".join(data)
            data = []
        single = value if is_data else line
        if _is_json_line(single):
            yield single


def _is_json_line(line: str) -> bool:
    return line.lstrip(" \t\ufeff")[:1] in {"{", "["}


def _values(text: str | bytes) -> Iterator[Any]:
    """Yield the JSON value of *text*, or nothing if *text* is not JSON."""
    try:
        if isinstance(text, bytes):
            text = text.decode(json.detect_encoding(text), "surrogatepass")
        yield _DECODER.decode(text.lstrip("\ufeff"))
    except RecursionError:
        failure = _error("is nested too deeply")
    except ValueError:
        return
    else:
        return
    raise failure


def _is_answer(name: str, value: object) -> bool:
    """Return True if the field *name* in an error could be a field with calls. In real errors, the
    values of such fields are strings and numbers: ``{"message": "not found", "call_id": "c1"}``.
    """
    if not isinstance(value, _Pairs | list) or value == []:
        return False
    folded = name.casefold()
    if folded == _MESSAGE:
        # Servers put the details of an error in this field: {"message": {"detail": []}}.
        return any(
            isinstance(each, _Pairs) and any(_is_part_of_message(field) for field, _ in each.pairs)
            for each in (value if isinstance(value, list) else [value])
        )
    return folded in _PARTS_OF_ANSWER or looks_like_call(name)


def _is_part_of_message(name: str) -> bool:
    return name.casefold() == "content" or looks_like_call(name)
