"""Restores refused calls in requests to the Responses API.

A provider that stores the conversation expects an output for each call, and rejects the next
request if an output is missing. It also does not know the message that replaced a refused call.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from guardrail.model_apis.calls import text_or_none
from guardrail.model_apis.open_calls import Owner
from guardrail.model_apis.openai.response_items import APPROVAL, TEXTS, is_refusal, refusal_item

__all__ = ["RefusedItems", "conversation_of", "places_of"]

_MOST = 1_024
"""Maximum number of stored refused calls."""
_LARGEST = 64 * 1024 * 1024
"""Maximum total number of characters of the stored refused calls, as ASCII JSON. The model
determines their size.
"""


@dataclass(frozen=True, slots=True)
class _Refused:
    item: Mapping[str, Any]
    output: dict[str, Any] | None
    """The output that answers the call, or None if guardrail can't create an output of this
    type.
    """
    places: frozenset[str]
    """The ids of the response and of the conversation that contain the call."""
    size: int
    """Number of characters in the JSON and the ids."""


def places_of(body: Mapping[str, Any]) -> list[str]:
    """Return the ids of the response and of the conversation that a request continues."""
    given = (body.get("previous_response_id"), conversation_of(body))
    return [each for each in given if isinstance(each, str)]


def conversation_of(body: Mapping[str, Any]) -> str | None:
    """Return the id of the conversation that a request continues, or None if there is none."""
    found = body.get("conversation")
    if isinstance(found, dict):
        found = found.get("id")
    return found if isinstance(found, str) else None


class RefusedItems:
    """The refused calls of a governed client. Thread-safe and bounded."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._items: OrderedDict[tuple[Owner, str], _Refused] = OrderedDict()
        self._size = 0

    def add(
        self, owner: Owner, item: Mapping[str, Any], refusal: str, places: frozenset[str]
    ) -> None:
        """Store a refused *item*. The oldest items are forgotten if there are too many items or
        their total size is too large.
        """
        name = refusal_item(item, refusal)["id"]
        size = len(json.dumps([item, name, refusal, *places]))
        with self._lock:
            earlier = self._items.pop((owner, name), None)
            self._size += size - (0 if earlier is None else earlier.size)
            self._items[owner, name] = _Refused(item, _output_of(item, refusal), places, size)
            while len(self._items) > _MOST or self._size > _LARGEST:
                _, oldest = self._items.popitem(last=False)
                self._size -= oldest.size

    def restored(self, owner: Owner, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the request *body*, in which refused calls and their outputs replace the messages
        that had replaced the calls. If nothing changes, this is the same object.
        """
        with self._lock:
            mine = {name: each for (whose, name), each in self._items.items() if whose == owner}
        given = body.get("input")
        items = given if isinstance(given, list) else []
        places = places_of(body)
        told = {
            item[name]
            for item in items
            if isinstance(item, dict)
            for name in ("call_id", "approval_request_id")
            if isinstance(item.get(name), str)
        }
        before = [
            each.output
            for each in mine.values()
            if each.output is not None
            and not each.places.isdisjoint(places)
            and _id_of(each.item) not in told
        ]
        made = [*before, *_replaced(items, mine)]
        if isinstance(given, str) and before:
            made.append({"role": "user", "content": given})
        elif not isinstance(given, list) and given is not None:
            return body
        return body if made == items else {**body, "input": made}


def _replaced(items: list[Any], mine: Mapping[str, _Refused]) -> Iterator[Any]:
    for item in items:
        found = mine.get(str(item.get("id"))) if isinstance(item, dict) else None
        if found is None and isinstance(item, dict) and is_refusal(item):
            # The message is from an earlier process, and the provider does not know this id.
            yield {name: value for name, value in item.items() if name != "id"}
        elif found is None or found.output is None:
            yield item
        else:
            yield dict(found.item)
            yield found.output


def _id_of(item: Mapping[str, Any]) -> str | None:
    """Return the id by which an output names the call in *item*."""
    return text_or_none(item.get("id" if item["type"] == APPROVAL else "call_id"))


def _output_of(item: Mapping[str, Any], refusal: str) -> dict[str, Any] | None:
    kind = item["type"]
    if kind in TEXTS:
        output = {"type": f"{kind}_output", "call_id": item.get("call_id"), "output": refusal}
        caller = item.get("caller")
        return output if caller is None else {**output, "caller": caller}
    if kind == APPROVAL:
        return {
            "type": "mcp_approval_response",
            "approval_request_id": item.get("id"),
            "approve": False,
            "reason": refusal,
        }
    return None
