"""Finds the results of tool calls in a request to a model. The results are claims by the program
that ran the tools. Performs no I/O.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from guardrail.core.types import Status
from guardrail.model_apis.api import Api

__all__ = ["ResultClaim", "claims_in", "is_legacy", "legacy_key"]


_LEGACY = "function\n"


_Results = Iterator[tuple[str, Any, bool]]
"""For each result: the key, the content, and True if the call failed."""


class ResultClaim(NamedTuple):
    """The result of one call, as the program reports it to the model."""

    key: str
    """The call's id, or the ``legacy_key`` of a legacy call's name."""
    content: Any
    occurrence: int
    """1 for the first result with this key in the request."""
    failed: bool = False
    """True if the program says that the call failed."""

    @property
    def status(self) -> Status:
        """The status to record. A result alone does not prove that the call succeeded."""
        return Status.ERROR if self.failed else Status.RETURNED


def legacy_key(name: object) -> str:
    """Return the key of a legacy call, which has no id."""
    return f"{_LEGACY}{name}"


def is_legacy(key: str) -> bool:
    """Return True if *key* was created by ``legacy_key``."""
    return key.startswith(_LEGACY)


def claims_in(api: Api, body: Mapping[str, Any]) -> list[ResultClaim]:
    """Return the results in the request *body*, oldest first. Most of them also appeared in earlier
    requests. Legacy calls have no ids, so only results of legacy calls after the model's last
    message are returned.
    """
    field, read = _READERS[api]
    history = body.get(field)
    if not isinstance(history, list):
        return []
    items = [item for item in history if isinstance(item, dict)]
    last = max((at for at, item in enumerate(items) if item.get("role") == "assistant"), default=-1)
    seen: Counter[str] = Counter()
    found = []
    for at, item in enumerate(items):
        for key, content, failed in read(item):
            if item.get("role") != "function" or at > last:
                seen[key] += 1
                found.append(ResultClaim(key, content, seen[key], failed))
    return found


def _of_message(message: Mapping[str, Any]) -> _Results:
    name = message.get("tool_call_id")
    if message.get("role") == "tool" and isinstance(name, str):
        yield name, message.get("content"), False
    elif message.get("role") == "function":
        yield legacy_key(message.get("name")), message.get("content"), False


def _of_item(item: Mapping[str, Any]) -> _Results:
    kind = str(item.get("type", ""))
    if kind.endswith("_output") and isinstance(item.get("call_id"), str):
        yield item["call_id"], item.get("output"), False
    elif kind == "mcp_approval_response" and isinstance(item.get("approval_request_id"), str):
        yield item["approval_request_id"], {"approve": item.get("approve")}, False


def _of_blocks(message: Mapping[str, Any]) -> _Results:
    content = message.get("content")
    if message.get("role") != "user" or not isinstance(content, list):
        return
    for block in content:
        if isinstance(block, dict) and block.get("type") == "tool_result":
            name = block.get("tool_use_id")
            if isinstance(name, str):
                yield name, block.get("content"), block.get("is_error") is True


_READERS: dict[Api, tuple[str, Callable[[Mapping[str, Any]], _Results]]] = {
    Api.CHAT: ("messages", _of_message),
    Api.RESPONSES: ("input", _of_item),
    Api.MESSAGES: ("messages", _of_blocks),
}
"""For each API: the request field that contains the history, and the function that reads one of its
items.
"""
