"""Removes refused tool calls from Responses API responses. Performs no I/O."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from guardrail.model_apis.asking import Asked, Deciding, ModelAnswerError, object_of, told
from guardrail.model_apis.openai.response_items import (
    ItemKind,
    answered,
    call_of,
    decided_item,
    key_of,
    kind_of,
    refusal_item,
)

__all__ = ["OnPlaces", "OnRefused", "ResponseItems", "no_places", "nothing"]

Item = Mapping[str, Any]
OnRefused = Callable[[Item, str, frozenset[str]], None]
"""Called with a refused item, the text of its refusal, and the ids of its response and
conversation.
"""


OnPlaces = Callable[[frozenset[str]], None]
"""Called with the ids of a response and of its conversation."""


def no_places(_places: frozenset[str]) -> None:
    """Ignore the ids of a response."""


def nothing(_item: Item, _text: str, _places: frozenset[str]) -> None:
    """Ignore a refused item."""


def _compared(item: Item) -> str:
    """Return the canonical JSON of *item*, without its status and null fields. JSON is compared
    because 1 == True in Python, but a tool can distinguish them.
    """
    given = {name: value for name, value in item.items() if name != "status" and value is not None}
    return json.dumps(given, sort_keys=True)


@dataclass
class ResponseItems:
    """The output items of one response. Each item is decided once."""

    refused: OnRefused = nothing
    placed: OnPlaces = no_places
    hosts_shell: bool = False
    """True if the request lets the provider run shells."""
    model: Any = None
    response: Any = None
    status: Any = "completed"
    conversation: Any = None
    _decided: dict[tuple[str, str, str], tuple[Item, Item]] = field(default_factory=dict)
    """Pairs of (item as received, item as passed on)."""

    def about(self, response: Mapping[str, Any]) -> None:
        """Store the model and the ids in *response*."""
        self.model, self.response = response.get("model"), response.get("id")
        conversation = response.get("conversation")
        if isinstance(conversation, dict):
            self.conversation = conversation.get("id")
        self.placed(self._places)

    @property
    def _places(self) -> frozenset[str]:
        places = (self.response, self.conversation)
        return frozenset(each for each in places if isinstance(each, str))

    def rewrite(self, response: Mapping[str, Any]) -> Deciding[Mapping[str, Any]]:
        """Return the complete *response* without its refused calls. If no call is refused, this is
        the same object.
        """
        self.about(response)
        self.status = response.get("status", "completed")
        output = response.get("output")
        if output is None:
            return response
        if not isinstance(output, list):
            raise ModelAnswerError("the model's response is malformed: its output is not a list")
        items = [object_of(item, "output item") for item in output]
        outputs = answered(items)
        waiting = []
        for index, came in enumerate(items):
            kind = kind_of(came, outputs, hosts_shell=self.hosts_shell)
            item = items[index] = decided_item(came, kind)
            if kind is not ItemKind.PLAIN and not self.known(item):
                waiting.append((index, item, kind))
        made = [self._passed(item) for item in items]
        calls = [call_of(item, kind, self.status) for _, item, kind in waiting]
        if calls:
            rulings = yield Asked(calls, self.model, self.response)
            for (index, item, kind), call, ruling in zip(waiting, calls, rulings, strict=True):
                made[index] = self.ruled(item, kind, None if ruling is None else told(call, ruling))
        if all(new is old for new, old in zip(made, output, strict=True)):
            return response
        return {**response, "output": made}

    def decide(self, item: Item, kind: ItemKind) -> Deciding[Item]:
        """Decide *item*, and return the item to pass on: the same object if it is allowed."""
        call = call_of(item, kind, self.status)
        (ruling,) = yield Asked([call], self.model, self.response)
        return self.ruled(item, kind, None if ruling is None else told(call, ruling))

    def known(self, item: Item) -> bool:
        """Return True if an equal item has been decided. Its status may differ."""
        found = self._decided.get(key_of(item))
        return found is not None and _compared(found[0]) == _compared(item)

    def _passed(self, item: Item) -> Item:
        """Return the item to pass on instead of *item*. An undecided item is passed on
        unchanged.
        """
        if not self.known(item):
            return item
        came, passed = self._decided[key_of(item)]
        return item if passed is came else passed

    def ruled(self, item: Item, kind: ItemKind, refusal: str | None) -> Item:
        """Store the ruling on *item*, and return the item to pass on."""
        made = item
        if refusal is not None and kind is not ItemKind.HOSTED:
            made = refusal_item(item, refusal)
            self.refused(item, refusal, self._places)
        self._decided.setdefault(key_of(item), (item, made))
        return made
