"""The work for an answer or a request grows with its size, whatever a hostile sender writes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from guardrail.model_apis import sse
from guardrail.model_apis.answers import AnswerStream
from guardrail.model_apis.api import Api
from guardrail.model_apis.asking import ItemKind, ModelAnswerError
from guardrail.model_apis.deciding import drive_deciding
from guardrail.model_apis.openai.history import RefusedItems
from guardrail.model_apis.openai.mcp_approvals import AdmittedApprovals
from guardrail.model_apis.openai.response_items import call_of
from guardrail.model_apis.requested_tools import ModelRequestError
from guardrail.model_apis.requests import hosts_shell

WHO = ("tenant", "alice", "agent")
SHELL = {"type": "shell", "environment": {"type": "container_auto"}}
OTHER = {"type": "function", "name": "f"}


def item(number: int) -> dict[str, Any]:
    return {"type": "function_call", "id": f"f{number}", "call_id": f"c{number}", "name": "find"}


def test_calls_that_end_in_the_reverse_order_are_decided() -> None:
    """A call that waits for another one must not wait inside of it."""
    count = 1_000
    events = [
        {"type": f"response.output_item.{kind}", "output_index": at, "item": item(at)}
        for kind, order in (("added", range(count)), ("done", range(count)[::-1]))
        for at in order
    ]
    answer = AnswerStream(Api.RESPONSES)
    asked = []

    def allow(found: Any) -> list[None]:
        asked.extend(each.id for each in found.calls)
        return [None] * len(found.calls)

    text = "".join(f"data: {json.dumps(each)}\n\n" for each in events)
    for event in answer.read(text.encode()):
        drive_deciding(answer.govern(event), allow)
    assert asked == [f"c{number}" for number in range(count)]


def test_empty_lines_and_comments_between_events_cost_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sse, "MOST_LINES", 10)
    answer = AnswerStream(Api.CHAT)
    assert not answer.read(b"\n" * 100_000)
    assert not answer.read(b"\r\n\r" * 100_000)
    (comment, event) = answer.read(b":a\n:b\n\ndata: {}\n\n")
    assert (comment.comment, event.data) == ("b", "{}")
    with pytest.raises(ModelAnswerError, match="too many lines"):
        answer.read(b"x\n" * 10)


def test_a_mark_of_the_byte_order_counts_only_at_the_beginning() -> None:
    assert not AnswerStream(Api.CHAT).read("\n\ufeffdata: {}\n\n".encode())
    assert AnswerStream(Api.CHAT).read("\ufeff\ndata: {}\n\n".encode())


class Counted(dict[str, Any]):
    """A part of a request that counts how often it is looked at."""

    looks = 0

    def get(self, *given: Any) -> Any:
        Counted.looks += 1
        return super().get(*given)

    def __eq__(self, other: object) -> bool:
        Counted.looks += 1
        return dict.__eq__(self, other)

    __hash__ = None  # type: ignore[assignment]


class CountedText(str):
    """A text that counts how often it is compared."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        Counted.looks += 1
        return str.__eq__(self, other)

    __hash__ = str.__hash__


def shells(count: int) -> None:
    offered = {"type": "mcp_list_tools", "tools": [SHELL] * count}
    assert not hosts_shell({"input": [offered], "tools": [Counted(OTHER)] * count})


def outputs(count: int) -> None:
    kept = RefusedItems()
    for number in range(count):
        refused = {**item(number), "call_id": CountedText(f"c{number}")}
        kept.add(WHO, refused, "no", frozenset({"r"}))
    told = [{"call_id": f"x{number}"} for number in range(count)]
    made = kept.restored(WHO, {"previous_response_id": "r", "input": told})
    assert len(made["input"]) == 2 * count


def approvals(count: int) -> None:
    known = AdmittedApprovals()
    asked = {"type": "mcp_approval_request", "id": "a", "name": "n", "server_label": "s"}
    answer = Counted(type="mcp_approval_response", approval_request_id="a", approve=True)
    call = call_of(asked, ItemKind.CALL)
    known.add(WHO, "s", None, call, "r")
    assert known.use(WHO, "s", {"input": [asked, answer]}) is None
    ran = {**asked, "type": "mcp_call", "id": "m", "approval_request_id": "a"}
    known.add(WHO, "s", None, call_of(ran, ItemKind.HOSTED), "r")
    # It repeats its history.
    assert known.use(WHO, "s", {"input": [asked, *[answer] * count, ran]}) is None


@pytest.mark.parametrize("work", [shells, outputs, approvals])
def test_the_work_for_a_request_grows_with_its_size(work: Callable[[int], None]) -> None:
    Counted.looks = 0
    work(500)
    assert Counted.looks < 20 * 500


def test_a_request_repeats_a_limited_number_of_calls() -> None:
    body = {"input": [{"name": "x", "id": f"i{number}"} for number in range(8_193)]}
    with pytest.raises(ModelRequestError, match="more than 8,192 MCP calls"):
        AdmittedApprovals().use(WHO, "s", body)
