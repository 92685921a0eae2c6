"""Removes refused tool calls from a Messages API stream. Performs no I/O.

Text and thoughts are passed on at once. Only the end of a message shows whether the message was
truncated, so the first call and all later blocks are held until the end. Each allowed call is
passed on with its complete input in one event, so that two readers can't assemble it in different
ways.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from guardrail.core.schema.json_arguments import JsonArguments
from guardrail.model_apis.anthropic.blocks import (
    call_of_block,
    check_no_calls,
    decided_block,
    kind_of_block,
    refusal_block,
)
from guardrail.model_apis.anthropic.messages import ending
from guardrail.model_apis.asking import (
    Asked,
    Deciding,
    ItemKind,
    ModelAnswerError,
    check_nested,
    object_of,
    told,
)
from guardrail.model_apis.calls import AskedCall
from guardrail.model_apis.sse import compact

__all__ = ["MessageStream"]

_LARGEST = 32 * 1024 * 1024
"""Maximum number of characters held for one message, including a fixed surcharge for each event."""
_PER_EVENT = 200
_START = "content_block_start"
_DELTA = "content_block_delta"
_STOP = "content_block_stop"
_INPUT = "input_json_delta"
_NESTED = frozenset({"content_block", "delta", "error", "message", "usage"})
"""Fields of an event whose nested fields are either governed or free of calls."""

Event = Mapping[str, Any]


@dataclass
class _HeldBlock:
    """A block that is held until the end of the message."""

    first: Event
    kind: ItemKind
    index: int
    """The position of the block in the message."""
    pieces: list[str] = field(default_factory=list)
    """The text of a call's input."""
    events: list[Event] = field(default_factory=list)
    """The events between the first and the last event of a block that is not a call."""
    ended: bool = False

    @property
    def block(self) -> Mapping[str, Any]:
        return object_of(self.first["content_block"], "content block")

    @property
    def text(self) -> str:
        """The complete input of a call, as JSON."""
        text = "".join(self.pieces)
        return text if text.strip() else compact(self.block.get("input") or {})

    def call(self, stop_reason: object) -> AskedCall:
        """Return the call in this block."""
        given, text = self.block.get("input"), "".join(self.pieces)
        if text:
            if given:
                raise _malformed("the input of a call appears twice")
            given = JsonArguments(text)
        elif given is None:
            given = {}
        if not self.ended:
            stop_reason = None
        return call_of_block(self.block, self.kind, given, stop_reason)


class MessageStream:
    """The events of one streamed message."""

    def __init__(self) -> None:
        self._model: Any = None
        self._id: Any = None
        self._indexes: dict[int, int] = {}
        """The positions of the blocks, keyed by the provider's index."""
        self._passing: dict[int, ItemKind] = {}
        """The kinds of the blocks that are passed on at once and have not ended, keyed by the
        provider's index.
        """
        self._held: dict[int, _HeldBlock] = {}
        self._size = 0
        self._reason: Any = None
        self._allowed = self._refused = False
        self._failed = False
        self.ended = False
        """True after the last event."""

    @property
    def broken(self) -> bool:
        """True if the message is not complete. If the stream ends now, it was truncated."""
        return not self.ended and not self._failed

    def dropped(self) -> Asked:
        """Return the calls that had begun but were not decided. Each of them is refused, because
        its remaining parts will not arrive.
        """
        calls = [
            held.call(None)
            for held in self._held.values()
            if held.kind in {ItemKind.CALL, ItemKind.UNKNOWN}
        ]
        return Asked(calls, self._model, self._id)

    def feed(self, event: Event) -> Deciding[list[Event]]:
        """Return the events to pass on instead of *event*. An unchanged event is the same
        object.
        """
        if self.ended or self._failed:
            return []
        kind = event.get("type")
        if kind == "error" or (kind is None and event.get("error")):
            self._failed = True
            self._held.clear()
            return [event if kind else {"type": "error", "error": event["error"]}]
        check_nested(event, _NESTED)
        if kind == "message_start":
            self._begin(object_of(event.get("message"), "message"))
            return [event]
        if kind == _START:
            return (yield from self._start(event))
        if kind in (_DELTA, _STOP):
            return self._more(event, ended=kind == _STOP)
        if kind == "message_delta":
            return (yield from self._delta(event))
        if kind == "message_stop":
            made = yield from self._settle()
            self.ended = True
            return [*made, event]
        if not isinstance(kind, str) or "content_block" in event or "delta" in event:
            raise _malformed("an event has an unknown type")
        check_no_calls(event)
        return [event]

    def _begin(self, message: Mapping[str, Any]) -> None:
        if self._id is not None or self._indexes:
            raise _malformed("its stream contains a second message")
        if message.get("content"):
            raise _malformed("its stream contains a complete message")
        check_no_calls(message)
        self._model, self._id = message.get("model"), message.get("id")

    def _start(self, event: Event) -> Deciding[list[Event]]:
        block = object_of(event.get("content_block"), "content block")
        index = event.get("index")
        if type(index) is not int or index in self._indexes:
            raise _malformed("a content block does not have a unique index")
        if self._reason is not None:
            raise _malformed("a content block follows the end of the message")
        kind = kind_of_block(block)
        place = self._indexes[index] = len(self._indexes)
        if kind in {ItemKind.CALL, ItemKind.UNKNOWN} or self._held:
            self._held[index] = _HeldBlock(event, kind, place)
            self._count(len(compact(event)))
            return []
        self._passing[index] = kind
        if kind is ItemKind.HOSTED:
            yield Asked([call_of_block(block, kind, None, None)], self._model, self._id)
        return [_placed(event, place)]

    def _more(self, event: Event, *, ended: bool) -> list[Event]:
        """Return the events to pass on for an event that continues or ends a block."""
        index: Any = event.get("index")
        delta = None if ended else object_of(event.get("delta"), "delta")
        if type(index) is int and index in self._passing:
            if delta is not None:
                _check_delta(delta, self._passing[index])
            else:
                del self._passing[index]
            return [_placed(event, self._indexes[index])]
        held = self._held.get(index) if type(index) is int else None
        if held is None or held.ended:
            raise _malformed("an event does not belong to an open content block")
        if delta is None:
            held.ended = True
        elif held.kind is ItemKind.CALL:
            piece = delta.get("partial_json")
            if delta.get("type") != _INPUT or not isinstance(piece, str):
                raise _malformed("the input of a call is not JSON")
            held.pieces.append(piece)
            self._count(len(piece))
        elif held.kind is not ItemKind.UNKNOWN:
            _check_delta(delta, held.kind)
            held.events.append(event)
            self._count(sum(len(each) for each in delta.values() if isinstance(each, str)))
        return []

    def _count(self, size: int) -> None:
        self._size += size + _PER_EVENT
        if self._size > _LARGEST:
            raise ModelAnswerError(
                "the model's response is too large: guardrail can't hold its calls"
            )

    def _delta(self, event: Event) -> Deciding[list[Event]]:
        """Return the events to pass on for an event that may contain the stop reason."""
        delta = object_of(event.get("delta"), "delta")
        check_no_calls(delta)
        reason = delta.get("stop_reason")
        if reason is None:
            return [event]
        if self._reason is not None and self._reason != reason:
            raise _malformed("it has two stop reasons")
        self._reason = reason
        made = yield from self._settle()
        changed = ending(reason, allowed=self._allowed) if self._refused else reason
        if changed != reason:
            event = {**event, "delta": {**delta, "stop_reason": changed}}
        return [*made, event]

    def _settle(self) -> Deciding[list[Event]]:
        """Decide the held calls, and return the events of all held blocks. Each refused call is
        replaced with a refusal.
        """
        waiting, self._held = list(self._held.values()), {}
        calls = {
            held.index: held.call(self._reason)
            for held in waiting
            if held.kind is not ItemKind.PLAIN
        }
        rulings: dict[int, str | None] = {}
        if calls:
            asked = yield Asked(list(calls.values()), self._model, self._id)
            rulings = dict(zip(calls, asked, strict=True))
        made: list[Event] = []
        for held in waiting:
            ruling = rulings.get(held.index)
            if held.kind in {ItemKind.PLAIN, ItemKind.HOSTED}:
                made += _events(held)
            elif ruling is None:
                self._allowed = True
                made += _events(held)
            else:
                self._refused = True
                made += _text_events(told(calls[held.index], ruling), held.index)
        return made


def _malformed(what: str) -> ModelAnswerError:
    return ModelAnswerError(f"the model's response is malformed: {what}")


def _check_delta(delta: Mapping[str, Any], kind: ItemKind) -> None:
    """Raise ``ModelAnswerError`` if *delta* contains the input of a call, but its block is not a
    call.
    """
    if kind is ItemKind.PLAIN and ("partial_json" in delta or delta.get("type") == _INPUT):
        raise _malformed("the input of a call is in a different block")


def _placed(event: Event, index: int) -> Event:
    return event if event["index"] == index else {**event, "index": index}


def _events(held: _HeldBlock) -> Iterator[Event]:
    """Yield the events that make up a held block."""
    if held.kind is ItemKind.CALL:
        # Some clients read the input only from the first event, others only from the later events.
        block = {**decided_block(held.block, held.kind), "input": {}}
        yield {"type": _START, "index": held.index, "content_block": block}
        delta = {"type": _INPUT, "partial_json": held.text}
        yield {"type": _DELTA, "index": held.index, "delta": delta}
    else:
        yield _placed(held.first, held.index)
    for event in held.events:
        yield _placed(event, held.index)
    if held.ended:
        yield {"type": _STOP, "index": held.index}


def _text_events(text: str, index: int) -> Iterator[Event]:
    """Yield the events that make up a refusal."""
    block = refusal_block(text)
    yield {"type": _START, "index": index, "content_block": {**block, "text": ""}}
    delta = {"type": "text_delta", "text": text}
    yield {"type": _DELTA, "index": index, "delta": delta}
    yield {"type": _STOP, "index": index}
