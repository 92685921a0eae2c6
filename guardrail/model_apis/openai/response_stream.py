"""Removes refused tool calls from a Responses API stream. Performs no I/O.

Text is passed on at once. Each call is held until its last event, and then passed on with its
complete text in one event, so that two readers can't assemble it in different ways.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

from guardrail.model_apis.asking import (
    Asked,
    Deciding,
    ModelAnswerError,
    check_nested,
    object_of,
    place_of,
)
from guardrail.model_apis.openai.response_events import ResponseItems
from guardrail.model_apis.openai.response_items import (
    TEXTS,
    ItemKind,
    call_of,
    decided_item,
    kind_of,
)

__all__ = ["ResponseStream"]

_ADDED = "response.output_item.added"
_DONE = "response.output_item.done"
_LAST = frozenset({"response.completed", "response.incomplete", "response.failed"})
_TEXT_EVENTS = tuple(f"{kind}." for _, kind in TEXTS.values())
_SEARCH_EVENTS = "response.tool_search_call."
_MOST = 10_000
"""Maximum number of events held back for one call, and of ids in one response."""
_NESTED = frozenset({"annotation", "error", "item", "logprobs", "part", "response"})
"""Fields of an event whose nested fields are either governed or free of calls."""

_RUN_BY_PROGRAM = frozenset({ItemKind.CALL, ItemKind.UNKNOWN})

Event = Mapping[str, Any]


class ResponseStream:
    """The events of one streamed response."""

    def __init__(self, items: ResponseItems) -> None:
        self._items = items
        self._kinds: dict[Any, ItemKind] = {}
        """The kinds of the items that have begun or ended, keyed by output index."""
        self._held: tuple[Any, Event] | None = None
        """Output index and first event of the held call."""
        self._waiting: list[Event] = []
        """Events of later items. They are held until the held call ends, so that items stay in
        order.
        """
        self._freed: list[Event] = []
        """The events that waited for a call that has just been decided."""
        self._begun: set[int | None] = set()
        """The output indexes of the items that have begun or ended."""
        self._places: dict[str, int | None] = {}
        """The first output index that the events associate with each item id."""
        self.number: int | None = None
        """The sequence number of the next event, if the events are numbered."""
        self.broken = True
        """True until the last event. If the stream ends now, it was truncated."""

    def feed(self, event: Event) -> Deciding[list[Event]]:
        """Return the events to pass on instead of *event*, with consecutive sequence numbers."""
        if self.number is None and type(event.get("sequence_number")) is int:
            self.number = event["sequence_number"]
        if event.get("type") in (_ADDED, _DONE):
            index = place_of(event, "output_index")
            if event["type"] == _ADDED and index in self._begun:
                # Clients would join the two items.
                raise ModelAnswerError(
                    "the model's response is malformed: two output items have the same index"
                )
            self._begun.add(index)
        self._note_place(event)
        made = yield from self._governed(event)
        return [self._numbered(each) for each in made]

    def _note_place(self, event: Event) -> None:
        """Note the output index of the item in *event*. Raises ``ModelAnswerError`` for a call
        whose id has appeared with a different index. Some clients find the parts of a call by id,
        others by index, so they would join the parts of two calls.
        """
        item = event.get("item")
        own = item.get("id") if isinstance(item, dict) else None
        index = place_of(event, "output_index")
        for name in (own, event.get("item_id")):
            if isinstance(name, str) and self._places.setdefault(name, index) != index:
                moved = True
                break
        else:
            moved = own is not None and not isinstance(own, str)
        if len(self._places) > _MOST:
            raise ModelAnswerError("the model's response is too large: it has too many items")
        if moved and isinstance(item, dict) and self._kind(item) in _RUN_BY_PROGRAM:
            raise ModelAnswerError(
                "the model's response is malformed: the id of a call belongs to a different item"
            )

    def _numbered(self, event: Event) -> Event:
        if "sequence_number" not in event:
            return event
        if self.number is None:
            return {name: value for name, value in event.items() if name != "sequence_number"}
        number, self.number = self.number, self.number + 1
        same = event["sequence_number"] == number
        return event if same else {**event, "sequence_number": number}

    def _governed(self, event: Event) -> Deciding[list[Event]]:
        """Return the events to pass on instead of *event*, and of the events that waited for it."""
        made: list[Event] = []
        left = deque([event])
        while left:
            each = left.popleft()
            if (
                self._held is not None
                and each is not event
                and each.get("output_index") != self._held[0]
            ):
                self._waiting.append(each)  # it has waited for another call, and was checked
                continue
            made += yield from self._one(each)
            left.extendleft(reversed(self._freed))
            self._freed = []
        return made

    def _one(self, event: Event) -> Deciding[list[Event]]:
        kind = event.get("type")
        if not isinstance(kind, str):
            if event.get("error"):
                self.broken = False
                return [{"error": event["error"]}]
            raise ModelAnswerError("the model's response is malformed: an event has no type")
        if kind == "error":
            # the client delivers the event, so the program sees that the response failed
            self.broken = False
            return [event]
        check_nested(event, _NESTED)
        if "response" in event:
            return (yield from self._feed_response(event, kind))
        if self._held is not None:
            index, first = self._held
            if event.get("output_index") != index:
                if len(self._waiting) >= _MOST:
                    raise ModelAnswerError("the model's response is too large: a call does not end")
                self._waiting.append(event)
                return []
            if kind != _DONE:
                return []  # the last event contains the complete call
            self._held = None
            self._freed, self._waiting = self._waiting, []
            return (yield from self._decided(event, first))
        return (yield from self._feed_unheld(event, kind))

    def _feed_unheld(self, event: Event, kind: str) -> Deciding[list[Event]]:
        """Return the events to pass on instead of *event*, which does not belong to a held call."""
        index = event.get("output_index")
        if kind == _ADDED:
            found = self._kind(object_of(event.get("item"), "output item"))
            if found in _RUN_BY_PROGRAM:
                self._held = (index, event)
                return []
            self._kinds[index] = found
        elif kind == _DONE:
            item = object_of(event.get("item"), "output item")
            found = self._kind(item)
            if found in _RUN_BY_PROGRAM:
                if index in self._kinds:
                    raise ModelAnswerError("the model's response is malformed: an item has changed")
                return (yield from self._decided(event, event))
            if found is ItemKind.HOSTED:
                yield from self._items.decide(item, found)
            self._kinds.setdefault(index, found)
        elif "item" in event or ("_call" in kind and not self._may_report(kind, index)):
            raise ModelAnswerError(
                "the model's response is malformed: an event does not belong to a known item"
            )
        return [event]

    def _kind(self, item: Mapping[str, Any]) -> ItemKind:
        return kind_of(item, hosts_shell=self._items.hosts_shell)

    def _may_report(self, kind: str, index: Any) -> bool:
        """Return True if an event of the type *kind* reports an action of the provider. The text of
        a call is passed on only by ``_call_events``.
        """
        if kind.startswith(_TEXT_EVENTS):
            return False
        return self._kinds.get(index) is ItemKind.HOSTED or kind.startswith(_SEARCH_EVENTS)

    def _feed_response(self, event: Event, kind: str) -> Deciding[list[Event]]:
        """Return the events to pass on instead of *event*, which contains the response."""
        if "item" in event or "_call" in kind:
            raise ModelAnswerError(
                "the model's response is malformed: an event contains a response and a call"
            )
        response = object_of(event["response"], "response")
        self._items.about(response)
        if kind in _LAST:
            self.broken = False
            if self._held is not None:
                # The call never ends. Otherwise, its last event would have been decided.
                self._items.status = "incomplete"
                _, first = self._held
                self._held = None
                self._freed, self._waiting = [*self._waiting, event], []
                return (yield from self._decided({**first, "type": _DONE}, first))
        changed = yield from self._items.rewrite(response)
        self._items.status = "completed"
        return [event if changed is response else {**event, "response": changed}]

    def dropped(self) -> Asked:
        """Return the calls that had begun but were not decided. Each of them is refused, because
        its remaining parts will not arrive.
        """
        begun = [] if self._held is None else [self._held[1], *self._waiting]
        items = [object_of(each.get("item"), "item") for each in begun if each["type"] == _ADDED]
        kinds = [(item, self._kind(item)) for item in items]
        calls = [
            call_of(item, kind, "broken off") for item, kind in kinds if kind is not ItemKind.PLAIN
        ]
        return Asked(calls, self._items.model, self._items.response)

    def _decided(self, done: Event, added: Event) -> Deciding[list[Event]]:
        item = object_of(done.get("item"), "output item")
        began = object_of(added.get("item"), "output item")
        if began.get("type") != item.get("type"):
            raise ModelAnswerError("the model's response is malformed: an item has changed")
        kind = self._kind(item)
        item = decided_item(item, kind)
        passed = yield from self._items.decide(item, kind)
        self._kinds[done.get("output_index")] = kind
        status = began.get("status") if added is not done else "in_progress"
        events = _call_events(item, status) if passed is item else _message_events(passed)
        place = {"output_index": done.get("output_index"), "sequence_number": -1}
        return [{**event, **place} for event in events]


def _call_events(item: Mapping[str, Any], status: object) -> Iterator[dict[str, Any]]:
    """Yield the events that make up an allowed call, whose first status is *status*."""
    began = dict(item)
    if "status" in began:
        began["status"] = status
    if item["type"] in TEXTS:
        name, kind = TEXTS[item["type"]]
        text = item.get(name)
        yield {"type": _ADDED, "item": {**began, name: ""}}
        place = {"item_id": item.get("id")}
        if text:
            yield {"type": f"{kind}.delta", **place, "delta": text}
        done = {"type": f"{kind}.done", **place, name: text}
        yield done if name == "input" else {**done, "name": item.get("name")}
    else:
        yield {"type": _ADDED, "item": began}
    yield {"type": _DONE, "item": item}


def _message_events(message: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the events that make up a refusal."""
    (part,) = message["content"]
    place = {"item_id": message["id"], "content_index": 0}
    yield {"type": _ADDED, "item": {**message, "status": "in_progress", "content": []}}
    yield {"type": "response.content_part.added", **place, "part": {**part, "refusal": ""}}
    yield {"type": "response.refusal.delta", **place, "delta": part["refusal"]}
    yield {"type": "response.refusal.done", **place, "refusal": part["refusal"]}
    yield {"type": "response.content_part.done", **place, "part": part}
    yield {"type": _DONE, "item": message}
