"""Parses server-sent events from chunks of bytes, and serializes such events. Performs no I/O."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from guardrail.core import json_text
from guardrail.core.words import counted
from guardrail.model_apis.asking import ModelAnswerError, object_of

__all__ = [
    "DONE",
    "MOST_LINES",
    "SentEvent",
    "SseReader",
    "check_values",
    "compact",
    "read_object",
    "read_request",
    "write_event",
]

DONE = "[DONE]"
_LONGEST = 64 * 1024 * 1024
"""Maximum size of one event, in bytes."""
MOST_LINES = 5_000_000
"""Maximum number of lines in a stream, apart from empty ones that follow each other: a line of two
bytes takes as much time as a long one.
"""


class SentEvent(NamedTuple):
    """One event or comment."""

    data: str
    name: str | None = None
    comment: str | None = None

    @property
    def last(self) -> bool:
        """Return True if this is the event after which OpenAI clients stop reading."""
        return self.data.startswith(DONE)


class SseReader:
    """Reads events from bytes that arrive in pieces of any size."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0
        self._started = False
        self._name: str | None = None
        self._data: list[str] = []
        self._size = 0
        self._lines = 0

    def feed(self, piece: bytes) -> Iterator[SentEvent]:
        """Yield the events completed by *piece*."""
        self._buffer += piece
        self._size += len(piece)
        if self._size > _LONGEST:
            raise ModelAnswerError("the model's response is too large: an event does not end")
        self._skip_empty_lines()
        while (line := self._line()) is not None:
            self._lines += 1
            if self._lines > MOST_LINES:
                raise ModelAnswerError("the model's response is too large: it has too many lines")
            event = self._read(line)
            if not line:
                self._skip_empty_lines()
            if event is not None:
                yield event

    def _skip_empty_lines(self) -> None:
        """Remove the empty lines between two events, all at once."""
        if not self._data and self._name is None and self._buffer.startswith((b"\n", b"\r")):
            del self._buffer[: len(self._buffer) - len(self._buffer.lstrip(b"\r\n"))]
            self._searched, self._started, self._size = 0, True, len(self._buffer)

    def _line(self) -> bytes | None:
        """Return the next line, which ends with CR, LF or CRLF, or None if it is not complete."""
        buffer = self._buffer
        end = buffer.find(b"\n", self._searched)
        first = buffer.find(b"\r", self._searched, len(buffer) if end < 0 else end)
        if first >= 0:
            end = first
        elif end < 0:
            self._searched = len(buffer)
            return None
        after = end + 1
        if buffer[end] == 13:
            if after == len(buffer):
                self._searched = end  # an LF may follow
                return None
            after += buffer[after] == 10
        line = bytes(buffer[:end])
        del buffer[:after]
        self._searched = 0
        return line

    def _read(self, line: bytes) -> SentEvent | None:
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError:
            raise ModelAnswerError("the model's response is malformed: it is not UTF-8") from None
        if not self._started:
            self._started, text = True, text.removeprefix("\ufeff")
        if not text:
            data, name = "\n".join(self._data), self._name
            empty = not self._data
            self._data, self._name, self._size = [], None, len(self._buffer)
            return None if empty else SentEvent(data, name)
        if text.startswith(":"):
            return SentEvent("", comment=text[1:])
        field, _, value = text.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            self._data.append(value)
        elif field == "event":
            self._name = value
        return None

    def rest(self) -> Iterator[SentEvent]:
        """Yield the last event, if the stream ended without a blank line after it."""
        yield from self.feed(b"\n\n" if self._buffer else b"\n")


def write_event(data: str, name: str | None = None) -> bytes:
    """Return an event, serialized as bytes."""
    head = f"event: {name}\n" if name else ""
    lines = "".join(f"data: {line}\n" for line in data.split("\n"))
    return f"{head}{lines}\n".encode()


def compact(value: Mapping[str, Any]) -> str:
    """Return *value* as ASCII JSON, which can also represent lone surrogates. Raises
    ``ModelAnswerError`` for an infinite number (``1e999``), which JSON can't express.
    """
    try:
        return json.dumps(value, separators=(",", ":"), allow_nan=False)
    except ValueError:
        failure = ModelAnswerError("the model's response is malformed: a number in it is too large")
    raise failure


def check_values(text: str) -> None:
    """Raise ``ModelAnswerError`` if the JSON in *text* has so many values that parsing it could
    exhaust memory.
    """
    if json_text.has_many_values(text):
        raise ModelAnswerError(
            "the model's response is too large: it has more than "
            f"{counted(json_text.MOST_VALUES, 'value')}"
        )


def read_object(text: str | bytes) -> Mapping[str, Any]:
    """Return the JSON object in *text*. Raises ``ModelAnswerError`` if *text* is not JSON that all
    parsers interpret in the same way, if it has too many values, or if an object has a field such
    as ``__proto__``. JavaScript clients copy the fields of a response, and would find calls that
    guardrail does not see.
    """
    try:
        found = text.decode("utf-8") if isinstance(text, bytes) else text
        check_values(found)
        value = json_text.read(found, copied=True)
    except ValueError:
        failure = ModelAnswerError(
            "the model's response is malformed: it is not JSON that all parsers interpret in the "
            "same way"
        )
    else:
        return object_of(value, "JSON", outermost=True)
    raise failure


def read_request(text: bytes) -> Mapping[str, Any]:
    """Return the JSON object in the request *text*, or an empty object if *text* is anything
    else.
    """
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
