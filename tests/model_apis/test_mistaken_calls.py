"""Answers from which a client would assemble another call than the one that is decided, or a call
that nobody decides. The fields are those in which an official client looks for calls.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from guardrail.core.call_context import CallContext
from guardrail.core.schema.json_arguments import JsonArguments
from guardrail.model_apis.answers import AnswerStream, govern_body, in_one_line
from guardrail.model_apis.api import Api
from guardrail.model_apis.asking import Asked, ModelAnswerError
from guardrail.model_apis.calls import AskedCall
from guardrail.model_apis.deciding import Decider, drive_deciding
from guardrail.model_apis.offered_tools import offered_tools
from guardrail.model_apis.open_calls import OpenCalls
from guardrail.testing import StaticPolicy, allow, deny, memory_guard

TOOL = "delete_order"
PART = {"index": 0, "id": "c1", "type": "function", "function": {"name": TOOL, "arguments": "{}"}}
CHUNK = {"choices": [{"index": 0, "delta": {"tool_calls": [PART]}, "finish_reason": None}]}
CALL = {"type": "function_call", "id": "f1", "call_id": "c1", "name": TOOL, "arguments": "{}"}
USE = {"type": "tool_use", "id": "t1", "name": TOOL, "input": {}}


def sse(*events: Any, name: str = "") -> bytes:
    head = f"event: {name}\n" if name else ""
    return "".join(f"{head}data: {json.dumps(each)}\n\n" for each in events).encode()


def streamed(api: Api, data: bytes) -> bytes:
    """Return the bytes for the program if every call is allowed."""
    answer = AnswerStream(api)
    accept = lambda found: [None] * len(found.calls)
    return b"".join(drive_deciding(answer.govern(each), accept) for each in answer.read(data))


def places(*items: tuple[int, dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {"type": f"response.output_item.{kind}", "output_index": at, "item": item}
        for at, item in items
        for kind in ("added", "done")
    ]


@pytest.mark.parametrize(
    ("api", "event"),
    [
        (Api.CHAT, {"choices": [], "chunk": CHUNK}),  # LangChain reads this field
        (Api.CHAT, {**CHUNK, "x": [{"y": {"Tool_Calls": [PART]}}]}),
        (Api.RESPONSES, {"type": "response.x", "chunk": {"item": CALL}}),
        (Api.MESSAGES, {"type": "x", "event": {"content_block": USE}}),
    ],
)
def test_no_part_of_an_answer_is_inside_of_an_unknown_field(api: Api, event: Any) -> None:
    with pytest.raises(ModelAnswerError, match="a nested response in a field"):
        streamed(api, sse(event))
    if api is Api.CHAT:
        with pytest.raises(ModelAnswerError, match="a nested response in a field"):
            drive_deciding(govern_body(api, json.dumps(event).encode()), lambda _: [])


def test_unknown_fields_may_have_lists_and_objects() -> None:
    more = {"citations": ["x"], "x": {"tool_calls": 3, "delta": [], "content": {"y": [1]}}}
    event = {"choices": [], **more}
    assert streamed(Api.CHAT, sse(event)) == sse(event)


TEXT = {"type": "response.output_text.delta", "item_id": "f2", "output_index": 0}
OTHER = {**CALL, "id": "f2", "call_id": "c2"}


@pytest.mark.parametrize(
    "events",
    [
        places((0, CALL), (1, {**OTHER, "id": "f1"})),
        places((0, {**CALL, "id": ""}), (1, {**OTHER, "id": ""})),
        [TEXT, *places((0, CALL), (1, OTHER))],
        places((0, {**CALL, "id": 7})),
    ],
    ids=["one id twice", "empty ids", "the id of a text", "a number"],
)
def test_the_id_of_a_call_belongs_to_one_place(events: list[Any]) -> None:
    """LangChain would give the arguments of the second call to the first."""
    with pytest.raises(ModelAnswerError, match="the id of a call belongs to a different item"):
        streamed(Api.RESPONSES, sse(*events))


def test_a_place_is_never_negative() -> None:
    with pytest.raises(ModelAnswerError, match="malformed"):
        streamed(Api.RESPONSES, sse(*places((-1, CALL))))


@pytest.mark.parametrize("api", Api)
def test_an_error_has_no_other_fields_and_no_other_name(api: Api) -> None:
    """Some clients take the type of an event from its name."""
    hidden = {"error": {"message": "x"}, "index": 0, "content_block": USE, **CHUNK, "item": CALL}
    typed = {"type": "error"} if api is Api.MESSAGES else {}
    expected = {**typed, "error": {"message": "x"}}
    out = streamed(api, sse(hidden, name="content_block_start"))
    head, _, data = out.partition(b"data: ")
    assert (head, json.loads(data)) == (b"event: error\n", expected)
    head, _, data = streamed(api, sse(hidden)).partition(b"data: ")
    assert (head, json.loads(data)) == (b"event: error\n" if typed else b"", expected)


def test_a_chunk_without_a_type_has_no_name() -> None:
    """OpenAI's clients wrap the data of an event that is named thread.*."""
    assert streamed(Api.CHAT, sse({"choices": []}, name="thread.x")) == sse({"choices": []})


@pytest.mark.parametrize("end", ["\x85", "\u2028", "\u2029"])
def test_no_line_ends_inside_of_a_text(end: str) -> None:
    """Some clients also end a line at these characters, and would read another event."""
    found = {"choices": [], "x": f"{end}data: {json.dumps(CHUNK)}{end}{end}"}
    text = json.dumps(found, ensure_ascii=False)
    for made in (
        streamed(Api.CHAT, f"data: {text}\n\n".encode()),
        in_one_line(text.encode(), found),
    ):
        assert json.loads(made.removeprefix(b"data: ")) == found
        assert len(made.decode().strip().splitlines()) == 1


class Judged:
    """Decides calls of a request that offers *tools*; only ``delete_order`` is denied."""

    def __init__(self, api: Api, *tools: Any) -> None:
        judge = lambda asked: deny("no") if asked["resource"]["id"] == TOOL else allow("rest")
        guard, self.ledger = memory_guard(StaticPolicy(judge))
        self.decider = Decider(
            guard,
            OpenCalls(),
            guard.session("alice"),
            0,
            adapter="proxy",
            context=CallContext(),
            offered=offered_tools(api, {"tools": list(tools)}),
        )

    def __call__(self, asked: Asked) -> list[str | None]:
        return self.decider.decide(asked)

    @property
    def reasons(self) -> list[str]:
        return [each["reason"] for each in self.ledger.of("call.rejected")]


SPACE = {"type": "namespace", "name": "crm", "tools": [{"type": "function", "name": "find"}]}
SET = {"type": "browser_toolset_20260801"}


@pytest.mark.parametrize("space", ["crm", "other", "", 7, ["crm"]])
def test_a_call_in_a_namespace_that_the_request_does_not_offer_is_refused(space: Any) -> None:
    """Most programs look only at the name: they would run a tool that the policy denies."""
    judged = Judged(Api.RESPONSES, SPACE, {"type": "function", "name": TOOL})
    body = {"id": "r", "status": "completed", "output": [{**CALL, "namespace": space}]}
    made = drive_deciding(govern_body(Api.RESPONSES, json.dumps(body).encode()), judged)
    assert b"function_call" not in made
    judged = Judged(Api.MESSAGES, {"name": TOOL})
    body = {"content": [{**USE, "toolset_name": space}], "stop_reason": "tool_use"}
    made = drive_deciding(govern_body(Api.MESSAGES, json.dumps(body).encode()), judged)
    assert (b"tool_use" in made, judged.reasons) == (False, ["unknown_namespace"])


def test_a_call_in_an_offered_namespace_is_decided() -> None:
    judged = Judged(Api.RESPONSES, SPACE)
    item = {**CALL, "namespace": "crm", "name": "find"}
    body = json.dumps({"id": "r", "status": "completed", "output": [item]}).encode()
    assert drive_deciding(govern_body(Api.RESPONSES, body), judged) == body
    judged = Judged(Api.MESSAGES, SET)
    block = {**USE, "toolset_name": "browser", "name": "click"}
    body = json.dumps({"content": [block], "stop_reason": "tool_use"}).encode()
    assert drive_deciding(govern_body(Api.MESSAGES, body), judged) == body


INNER = {"tool_uses": [{"recipient_name": f"functions.{TOOL}", "parameters": {}}]}


@pytest.mark.parametrize("name", ["parallel", "multi_tool_use.parallel"])
@pytest.mark.parametrize(
    "given",
    [INNER, JsonArguments(json.dumps(INNER).replace("_", "\\u005f"))],
    ids=["object", "text"],
)
def test_a_call_that_contains_other_calls_is_refused(name: str, given: Any) -> None:
    """Vercel's client and LiteLLM run the calls in it."""
    judged = Judged(Api.CHAT)
    (refusal,) = judged(Asked([AskedCall(name, given, "c1", None)], "m", "r"))
    assert refusal is not None
    assert judged.reasons == ["unknown_kind"]
    judged = Judged(Api.CHAT, {"type": "function", "function": {"name": name}})
    assert judged(Asked([AskedCall(name, given, "c1", None)], "m", "r")) == [None]
