"""The bytes of answers, whole and streamed, in every shape that a provider can send."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.model_apis.answers import AnswerStream, govern_body
from guardrail.model_apis.api import Api
from guardrail.model_apis.asking import Asked, ModelAnswerError
from guardrail.model_apis.deciding import drive_deciding

Rule = Callable[[Any], str | None]


def allow(_call: Any) -> None:
    return None


def no_bad(call: Any) -> str | None:
    return "no" if call.name == "bad" else None


def judging(rule: Rule) -> Callable[[Asked], list[str | None]]:
    return lambda asked: [
        rule(call) if call.refusal is None else call.refusal.text for call in asked.calls
    ]


def run(api: Api, pieces: Iterable[bytes], rule: Rule = allow) -> bytes:
    """Return what the program gets of a stream that arrives in *pieces*. A stream that breaks off
    raises ``EOFError``.
    """
    answer, out = AnswerStream(api, choices=2), b""
    for piece in [*pieces, None]:
        for event in answer.read(piece):
            out += drive_deciding(answer.govern(event), judging(rule))
    if answer.broken:
        raise EOFError
    return out


def sse(*documents: Any, done: bool = False) -> bytes:
    made = "".join(f"data: {json.dumps(each)}\n\n" for each in documents)
    return (made + ("data: [DONE]\n\n" if done else "")).encode()


def documents(data: bytes) -> list[Any]:
    lines = [line[6:] for line in data.decode().split("\n") if line.startswith("data: ")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


def chunk(delta: Any = None, finish: str | None = None, index: int = 0, **more: Any) -> Any:
    choice = {"index": index, "delta": delta or {}, "finish_reason": finish}
    return {"id": "x", "model": "m", "choices": [choice], **more}


def call(index: Any, name: str | None = None, text: str = "", **more: Any) -> Any:
    function = {"arguments": text} | ({} if name is None else {"name": name})
    fields = {} if name is None else {"id": f"c{index}", "type": "function"}
    return {"tool_calls": [{"index": index, "function": function, **fields, **more}]}


CHAT = sse(
    chunk({"role": "assistant", "content": ""}),
    chunk({"content": "é"}),
    chunk(call(0, "good", "{")),
    chunk(call(1, "bad", "{}")),
    chunk(call(0, None, "}")),
    chunk(finish="tool_calls"),
    {"id": "x", "model": "m", "choices": [], "usage": {"total_tokens": 3}},
    done=True,
)


@given(st.lists(st.integers(0, len(CHAT)), max_size=8), st.sampled_from([b"\n", b"\r\n", b"\r"]))
def test_a_stream_is_the_same_in_pieces_of_any_size(cuts: list[int], end: bytes) -> None:
    """With each kind of line end."""
    places = sorted({0, *cuts, len(CHAT)})
    pieces = [CHAT[start:stop].replace(b"\n", end) for start, stop in itertools.pairwise(places)]
    assert run(Api.CHAT, pieces, no_bad) == run(Api.CHAT, [CHAT], no_bad)


def test_text_passes_before_the_stream_ends() -> None:
    """And calls do not."""
    answer = AnswerStream(Api.CHAT)
    first = sse(chunk({"content": "Sun"}))
    (event,) = answer.read(first)
    assert drive_deciding(answer.govern(event), judging(allow)) == first
    (event,) = answer.read(sse(chunk({"content": "ny", **call(0, "good")})))
    (passed,) = documents(drive_deciding(answer.govern(event), judging(allow)))
    assert passed["choices"][0]["delta"] == {"content": "ny"}


def test_calls_are_passed_on_whole_and_without_gaps() -> None:
    """In the order of their indexes."""
    made = documents(run(Api.CHAT, [CHAT], no_bad))
    deltas = [each["choices"][0]["delta"] for each in made if each["choices"]]
    good = {"id": "c0", "type": "function", "function": {"arguments": "{}", "name": "good"}}
    assert deltas[2:] == [{"tool_calls": [{**good, "index": 0}]}, {"refusal": "bad: no"}, {}]
    assert made[-1]["usage"] == {"total_tokens": 3}


def test_the_usage_of_a_chunk_with_calls_is_kept_once() -> None:
    """Some providers send it with the last choice."""
    stream = sse(chunk(call(0, "good", "{}"), "tool_calls", usage={"total_tokens": 3}), done=True)
    made = documents(run(Api.CHAT, [stream]))
    assert [each.get("usage") for each in made] == [None, {"total_tokens": 3}]


def test_comments_several_lines_of_data_and_fields_that_nobody_uses_are_read() -> None:
    """As the standard of server-sent events says."""
    text = json.dumps(chunk({"content": "x"}, "stop"), indent=1)
    lines = "".join(f"data:{line}\n" for line in text.split("\n"))
    stream = f"\ufeff: hello\nid: 1\nretry: 5\nother\nevent: e\n{lines}\n\n\n".encode()
    out = run(Api.CHAT, [stream])
    assert out.startswith(b": hello\n\ndata: ")
    assert json.loads(b"".join(line[6:] for line in out.splitlines() if line.startswith(b"data:")))


def test_a_last_event_without_an_empty_line_counts() -> None:
    """The official client takes it, too."""
    stream = sse(chunk({"content": "x"}, "stop")).rstrip()
    assert documents(run(Api.CHAT, [stream]))
    assert documents(run(Api.CHAT, [stream + b"\r"]))


BROKEN_CHAT = {
    "nothing": b"",
    "no end of the choice": sse(chunk(call(0, "good", "{}"))),
    "done before the end of the choice": sse(chunk(call(0, "good", "{}")), done=True),
    "one of two choices": sse(chunk(finish="stop"), chunk({"content": "x"}, index=1)),
}


@pytest.mark.parametrize("stream", BROKEN_CHAT.values(), ids=BROKEN_CHAT)
def test_a_stream_without_an_end_has_broken_off(stream: bytes) -> None:
    """Its calls are dropped."""
    with pytest.raises(EOFError):
        run(Api.CHAT, [stream])


MALFORMED_CHAT = {
    "no JSON": b"data: {\n\n",
    "no object": b"data: []\n\n",
    "a key twice": b'data: {"choices": [], "choices": [1]}\n\n',
    "no UTF-8": b"data: \xff\n\n",
    "choices": sse({"choices": "x"}),
    "choice": sse({"choices": [1]}),
    "delta": sse({"choices": [{"index": 0, "delta": [1]}]}),
    "calls": sse(chunk({"tool_calls": {"index": 0}})),
    "call": sse(chunk({"tool_calls": [1]})),
    "index": sse(chunk(call("0", "good"))),
    "no index": sse(chunk({"tool_calls": [{"function": {"name": "good"}}]})),
    "negative index": sse(chunk(call(-1, "good"))),
    "two ids": sse(chunk(call(0, "good")), chunk(call(0, "", "x", id="other"))),
    "legacy call": sse(chunk({"function_call": "x"})),
    "another field": sse(chunk({"mcp_calls": [{}]})),
    "another field of a choice": sse({"choices": [{"index": 0, "tool_calls": [{}]}]}),
    "a field of the chunk": sse({**chunk(), "tool_calls": [{}]}),
    "a message": sse({"choices": [{"index": 0, "message": {"tool_calls": [{}]}}]}),
    "a call after the end": sse(chunk(finish="stop"), chunk(call(0, "good"))),
    "a kind without its fields": sse(
        chunk({"tool_calls": [{"index": 0, "type": "custom"}]}), chunk(finish="tool_calls")
    ),
}


@pytest.mark.parametrize("stream", MALFORMED_CHAT.values(), ids=MALFORMED_CHAT)
def test_a_malformed_stream_is_an_error(stream: bytes) -> None:
    """The official client would take most of them, each in its own way."""
    with pytest.raises(ModelAnswerError) as raised:
        run(Api.CHAT, [stream])
    assert raised.value.code == "model_answer"


def test_a_stream_that_never_ends_an_event_is_an_error() -> None:
    """Memory is bounded."""
    with pytest.raises(ModelAnswerError, match="too large"):
        run(Api.CHAT, [b"data: " + b"x" * 2**20] * 80)
    large = chunk(call(0, "good", "x" * 2**20))
    with pytest.raises(ModelAnswerError, match="too large"):
        run(Api.CHAT, [sse(large)] * 40)


def test_a_long_text_in_many_pieces_is_put_together_once() -> None:
    """The time is that of its length, not of its square."""
    pieces = [chunk(call(0, "good")), *[chunk(call(0, None, "x" * 50))] * 20_000]
    began = time.process_time()
    made = documents(run(Api.CHAT, [sse(*pieces, chunk(finish="tool_calls"), done=True)]))
    assert time.process_time() - began < 60
    assert len(made[0]["choices"][0]["delta"]["tool_calls"][0]["function"]["arguments"]) == 10**6


def test_an_error_in_a_stream_is_passed_on_and_calls_are_not() -> None:
    """The official client raises it."""
    failed = {"error": {"message": "no more"}}
    stream = sse(chunk(call(0, "good", "{}")), failed, chunk(finish="tool_calls"))
    made = documents(run(Api.CHAT, [stream]))
    assert made[0] == failed
    assert "tool_calls" not in json.dumps(made)
    made = documents(run(Api.CHAT, [sse({**chunk(call(0, "good")), **failed})]))
    assert made == [failed]


def test_nothing_is_read_after_the_last_event() -> None:
    """The official client stops there; another one may not."""
    stream = sse(chunk(finish="stop"), done=True) + sse(chunk(call(0, "good")), done=True)
    assert run(Api.CHAT, [stream]) == sse(chunk(finish="stop"), done=True)


MALFORMED_BODIES = [
    (Api.CHAT, {"choices": "none"}),
    (Api.CHAT, {"choices": [None]}),
    (Api.CHAT, {"choices": [{"finish_reason": "stop", "message": []}]}),
    (Api.CHAT, {"choices": [{"message": {"tool_calls": "all"}}]}),
    (Api.CHAT, {"choices": [{"message": {"tool_calls": [None]}}]}),
    (Api.CHAT, {"choices": [{"message": {"mcp_calls": [{}]}}]}),
    (Api.CHAT, {"choices": [{"message": {"function_call": "f"}}]}),
    (Api.CHAT, {"choices": [{"tool_calls": [{}], "message": {}}]}),
    (Api.RESPONSES, {"output": {}}),
    (Api.RESPONSES, {"output": [None]}),
    (Api.RESPONSES, {"output": [{}]}),
    (Api.RESPONSES, {"output": [{"type": 1}]}),
]


@pytest.mark.parametrize(("api", "body"), MALFORMED_BODIES, ids=str)
def test_a_malformed_answer_is_an_error(api: Api, body: Any) -> None:
    """The official client takes whatever the provider sends."""
    with pytest.raises(ModelAnswerError):
        drive_deciding(govern_body(api, json.dumps(body).encode()), judging(allow))


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"choices": [], "choices": []}', b"\xff"])
def test_an_answer_that_is_no_json_object_is_an_error(body: bytes) -> None:
    """Or that parsers could read in different ways."""
    with pytest.raises(ModelAnswerError):
        drive_deciding(govern_body(Api.CHAT, body), judging(allow))


def item(name: str = "good", text: str = "{}", **more: Any) -> Any:
    made = {"type": "function_call", "id": f"fc_{name}", "call_id": f"c_{name}", "name": name}
    return {**made, "arguments": text, "status": "completed", **more}


def added(index: int, found: Any) -> Any:
    return {"type": "response.output_item.added", "output_index": index, "item": found}


def done(index: int, found: Any) -> Any:
    return {"type": "response.output_item.done", "output_index": index, "item": found}


def completed(*output: Any, kind: str = "completed") -> Any:
    response = {"id": "resp_1", "model": "m", "status": kind, "output": list(output)}
    return {"type": f"response.{kind}", "response": response}


TEXT = {"type": "message", "id": "m1", "role": "assistant", "content": [], "status": "completed"}


def numbered(*events: Any) -> bytes:
    return sse(*({**event, "sequence_number": at} for at, event in enumerate(events)))


def kinds(data: bytes) -> list[str]:
    return [each["type"].removeprefix("response.") for each in documents(data)]


def test_later_items_wait_for_a_call_so_that_the_items_keep_their_order() -> None:
    """Clients append each item that begins."""
    bad = item("bad")
    stream = numbered(
        added(0, item("bad", "")),
        added(1, TEXT),
        {"type": "response.output_text.delta", "output_index": 1, "delta": "x"},
        done(0, bad),
        done(1, TEXT),
        completed(bad, TEXT),
    )
    out = run(Api.RESPONSES, [stream], no_bad)
    assert kinds(out)[:7] == [
        "output_item.added",
        "content_part.added",
        "refusal.delta",
        "refusal.done",
        "content_part.done",
        "output_item.done",
        "output_item.added",
    ]
    found = documents(out)
    assert [each["sequence_number"] for each in found] == list(range(len(found)))
    assert [each.get("output_index") for each in found[:9]] == [0] * 6 + [1] * 3
    assert "call" not in json.dumps(found[-1])


def test_a_call_without_its_end_is_refused_at_the_end_of_the_response() -> None:
    """Such a response is incomplete; later items follow."""
    half = item("good", "", status="in_progress")
    stream = numbered(added(0, half), added(1, TEXT), completed(half, TEXT, kind="incomplete"))
    found = documents(run(Api.RESPONSES, [stream]))
    assert [each["type"] for each in found[-1]["response"]["output"]] == ["message", "message"]
    assert "function_call" not in json.dumps(found)


def test_a_call_that_only_the_end_has_is_decided_there() -> None:
    """No event announced it."""
    stream = numbered(completed(item("good"), item("bad")))
    (last,) = documents(run(Api.RESPONSES, [stream], no_bad))
    assert [each["type"] for each in last["response"]["output"]] == ["function_call", "message"]
    stream = numbered(done(0, item("bad")), completed(item("bad")))
    assert "function_call" not in json.dumps(documents(run(Api.RESPONSES, [stream], no_bad)))


def test_the_end_can_not_change_a_call_that_was_decided() -> None:
    """It is another call, with the id of the first."""
    seen: list[Any] = []

    def once(found: Any) -> str | None:
        seen.append(found.id)
        return "again" if seen.count(found.id) > 1 else None

    good = item("good")
    other = item("good", '{"all": true}')
    stream = numbered(added(0, good), done(0, good), completed(other))
    found = documents(run(Api.RESPONSES, [stream], once))
    assert [each["type"] for each in found[-1]["response"]["output"]] == ["message"]
    assert seen == ["c_good", "c_good"]


BROKEN_RESPONSES = {
    "nothing": b"",
    "no end": numbered(added(0, item()), done(0, item())),
    "an event without a type": sse({"output_index": 0}),
    "no item": sse(added(0, None)),
    "no response": sse({"type": "response.completed", "response": None}),
    "another item at its end": sse(
        added(0, item()), done(0, {**item(), "type": "custom_tool_call"})
    ),
    "a text that becomes a call": sse(added(0, TEXT), done(0, item())),
    "arguments of no item": sse(
        {"type": "response.function_call_arguments.delta", "output_index": 0, "delta": "{"}
    ),
    "an item in another event": sse({"type": "response.item.made", "item": item()}),
}


@pytest.mark.parametrize("stream", BROKEN_RESPONSES.values(), ids=BROKEN_RESPONSES)
def test_a_malformed_or_broken_stream_of_a_response_is_an_error(stream: bytes) -> None:
    """It never passes on a call that was not decided."""
    with pytest.raises((ModelAnswerError, EOFError)):
        run(Api.RESPONSES, [stream])


@pytest.mark.parametrize("failed", [{"type": "error", "message": "no"}, {"error": {"code": 1}}])
def test_an_error_ends_a_stream_of_a_response(failed: Any) -> None:
    """The program gets it, and none of the calls that were held."""
    out = run(Api.RESPONSES, [sse(added(0, item()), failed)])
    assert documents(out) == [failed]


def test_calls_that_the_provider_runs_pass_with_their_events() -> None:
    """They are asked about once, for the record."""
    search = {"type": "web_search_call", "id": "w1", "status": "completed"}
    shell = {
        "type": "shell_call",
        "call_id": "c1",
        "action": {},
        "environment": {"type": "container_reference", "container_id": "x"},
    }
    output = {"type": "shell_call_output", "call_id": "c1", "output": []}
    events = [
        added(0, search),
        {"type": "response.web_search_call.searching", "output_index": 0, "item_id": "w1"},
        done(0, search),
        added(1, shell),
        done(1, shell),
        completed(search, shell, output),
    ]
    asked: list[Any] = []
    answer = AnswerStream(Api.RESPONSES, hosts_shell=True)
    out = b""
    for event in answer.read(numbered(*events)):
        out += drive_deciding(
            answer.govern(event),
            lambda found: asked.extend(found.calls) or ["ran"] * len(found.calls),
        )
    assert out == numbered(*events)
    assert [each.refusal.reason for each in asked] == ["provider_tool"] * 2
