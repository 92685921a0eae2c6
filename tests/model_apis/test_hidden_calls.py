"""Answers of a hostile upstream that hide a call where some clients find it and a decision does
not. None of them hands over a call.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest

from guardrail.model_apis import asking
from guardrail.model_apis.answers import AnswerStream, govern_body
from guardrail.model_apis.api import Api
from guardrail.model_apis.asking import ModelAnswerError
from guardrail.model_apis.deciding import drive_deciding
from guardrail.model_apis.error_bodies import check_error_body
from guardrail.model_apis.openai.history import RefusedItems
from guardrail.model_apis.requests import choices_of

TOOL = "delete_order"
CALL = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": TOOL, "arguments": "{}"}
DONE = {"type": "response.output_item.done", "output_index": 0, "item": CALL}
SPOKEN = {"type": "message", "id": "m", "role": "assistant", "content": []}
ADDED = {"type": "response.output_item.added", "output_index": 0, "item": SPOKEN}
TOOL_CALLS = [{"index": 0, "id": "c", "type": "function", "function": {"name": TOOL}}]
CHUNK = {
    "choices": [
        {"index": 0, "delta": {"content": "x", "tool_calls": TOOL_CALLS}, "finish_reason": None}
    ]
}
STOP = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
SHELL = {"type": "local_shell_call", "call_id": "c1", "action": {"command": [TOOL]}}
OUTPUT = {"type": "local_shell_call_output", "call_id": "c1", "output": ""}


def sse(*events: Any, name: str = "") -> bytes:
    head = f"event: {name}\n" if name else ""
    return "".join(f"{head}data: {json.dumps(each)}\n\n" for each in events).encode()


def streamed(api: Api, data: bytes) -> bytes:
    """Return the bytes for the program if every call is refused."""
    answer = AnswerStream(api)
    refuse = lambda found: ["no"] * len(found.calls)
    return b"".join(drive_deciding(answer.govern(each), refuse) for each in answer.read(data))


def whole(api: Api, body: Any) -> bytes:
    steps = govern_body(api, json.dumps(body).encode())
    return drive_deciding(steps, lambda found: ["no"] * len(found.calls))


@pytest.mark.parametrize("api", [Api.CHAT, Api.RESPONSES])
def test_a_type_can_not_end_the_line_that_names_the_event(api: Api) -> None:
    """The event is changed, so its name is written from its type."""
    hidden = json.dumps(DONE if api is Api.RESPONSES else CHUNK).replace("_call", "\\u005fcall")
    kind = f"x\ndata: {hidden}\n\n:"
    first = [{"type": "x", "sequence_number": 0}] if api is Api.RESPONSES else []
    event = {"type": kind, "sequence_number": 9, **(CHUNK if api is Api.CHAT else {})}
    with pytest.raises(ModelAnswerError, match="invalid name"):
        streamed(api, sse(*first, name="x") + sse(event, name="x") + sse(STOP, name="x"))


@pytest.mark.parametrize("kind", ["response.output_item.done", "response.function_call.done"])
def test_an_event_with_a_response_contains_no_call(kind: str) -> None:
    with pytest.raises(ModelAnswerError, match="a response and a call"):
        streamed(Api.RESPONSES, sse({**DONE, "type": kind, "response": {"id": "r"}}))


@pytest.mark.parametrize("kind", ["function_call_arguments", "custom_tool_call_input"])
@pytest.mark.parametrize("end", ["delta", "done"])
@pytest.mark.parametrize(
    "item", [SPOKEN, {"type": "mcp_call", "id": "m"}, CALL], ids=["message", "hosted", "decided"]
)
def test_the_text_of_a_call_belongs_to_no_other_item(kind: str, end: str, item: Any) -> None:
    text = {"type": f"response.{kind}.{end}", "output_index": 0, "name": TOOL, "arguments": "{}"}
    before = [{**ADDED, "item": item}, {**DONE, "item": item}]
    with pytest.raises(ModelAnswerError, match="not belong to a known item"):
        streamed(Api.RESPONSES, sse(*before, text))


@pytest.mark.parametrize("kind", ["local_shell_call", "computer_call", "apply_patch_call"])
def test_a_program_s_call_is_decided_even_if_the_answer_says_that_it_ran(kind: str) -> None:
    item = {**SHELL, "type": kind}
    for about in ([item, OUTPUT], [{**item, "environment": {"type": "container_reference"}}]):
        made = json.loads(whole(Api.RESPONSES, {"id": "r", "status": "completed", "output": about}))
        assert made["output"][0]["type"] == "message"
    event = {**DONE, "item": {**item, "environment": {"type": "container_reference"}}}
    assert f'"{kind}"'.encode() not in streamed(Api.RESPONSES, sse(event))


@pytest.mark.parametrize("end", ["\u2028", "\x0b", "\x85"])
def test_a_comment_with_another_end_of_line_is_emptied(end: str) -> None:
    data = f": x{end}data: {json.dumps(CHUNK)}{end}{end}\n"
    assert streamed(Api.CHAT, data.encode()) == b":\n\n"


def test_an_event_is_passed_on_in_one_line() -> None:
    data = 'data: {"choices":[],"usage":\ndata: ' + json.dumps(CHUNK) + "\ndata: }\n\n"
    assert streamed(Api.CHAT, data.encode()).count(b"\ndata:") == 0


def test_nothing_follows_the_end_of_a_stream_in_the_same_event() -> None:
    data = sse(STOP) + f"data: [DONE]\ndata: {json.dumps(CHUNK)}\n\n".encode()
    assert streamed(Api.CHAT, data) == sse(STOP) + b"data: [DONE]\n\n"


def test_an_event_is_named_by_the_type_that_was_decided_about() -> None:
    made = streamed(
        Api.MESSAGES, sse({"type": "extra", "message": {"content": []}}, name="message_start")
    )
    assert made.startswith(b"event: extra\n")
    made = streamed(Api.RESPONSES, sse({"type": "response.x"}, name="response.call.done"))
    assert made.startswith(b"event: response.x\n")


@pytest.mark.parametrize("field", ["Tool_Calls", "toolCalls", "TOOL_CALLS", "functionCall"])
def test_a_field_of_calls_is_known_in_any_case(field: str) -> None:
    message = {"role": "assistant", field: TOOL_CALLS}
    with pytest.raises(ModelAnswerError, match="a field that guardrail does not know"):
        whole(Api.CHAT, {"choices": [{"message": message, "finish_reason": "stop"}]})


@pytest.mark.parametrize(
    "answer", [{"choices": [], "tool_calls": TOOL_CALLS}, CHUNK], ids=["outside", "part"]
)
def test_a_whole_completion_has_calls_only_in_its_messages(answer: Any) -> None:
    with pytest.raises(ModelAnswerError):
        whole(Api.CHAT, answer)


def test_several_calls_without_an_end_are_refused_when_the_response_ends() -> None:
    items = [{**CALL, "id": f"f{at}", "call_id": f"c{at}", "arguments": ""} for at in range(4)]
    begun = [{**ADDED, "output_index": at, "item": item} for at, item in enumerate(items)]
    end = {"id": "r", "status": "incomplete", "output": items}
    made = streamed(
        Api.RESPONSES, sse(*begun, {"type": "response.incomplete", "response": end})
    ).decode()
    assert made.count("response.refusal.done") == len(items)
    assert "function_call" not in made


def test_the_provider_learns_that_its_request_for_approval_was_refused() -> None:
    given = {"role": "user", "content": "go on"}
    owner, asked = ("", "alice", ""), {"type": "mcp_approval_request", "id": "m1", "name": TOOL}
    kept = RefusedItems()
    kept.add(owner, asked, "no", frozenset({"r"}))
    sent = kept.restored(owner, {"previous_response_id": "r", "input": [given]})
    answers = [each for each in sent["input"] if each.get("type") == "mcp_approval_response"]
    assert [each["approve"] for each in answers] == [False]


PARTS = [
    {"type": "tool_use", "id": "t", "name": TOOL, "input": {}},
    {"type": "function_call", "name": TOOL},
    {"toolUse": {"name": TOOL}},
    {"type": "text", "text": "x", "tool_calls": TOOL_CALLS},
]


@pytest.mark.parametrize("part", PARTS, ids=["tool_use", "function_call", "toolUse", "text"])
def test_the_content_of_a_chat_message_contains_no_call(part: Any) -> None:
    for content in ([{"type": "text", "text": "x"}, part], part):
        with pytest.raises(ModelAnswerError, match="calls in its content"):
            whole(Api.CHAT, {"choices": [{"message": {"content": content}}]})
        with pytest.raises(ModelAnswerError, match="calls in its content"):
            streamed(Api.CHAT, sse({"choices": [{"index": 0, "delta": {"content": content}}]}))


def test_the_content_of_a_chat_message_can_be_a_list() -> None:
    body = {"choices": [{"message": {"content": ["x", {"type": "text", "text": "x"}]}}]}
    assert json.loads(whole(Api.CHAT, body)) == body


def changed(value: Any, other: Any) -> Iterator[Any]:
    """Yield *value* with each of its parts replaced by *other*."""
    yield other
    for name, each in value.items() if isinstance(value, dict) else ():
        for made in changed(each, other):
            yield {**value, name: made}
    for at, each in enumerate(value) if isinstance(value, list) else ():
        for made in changed(each, other):
            yield [*value[:at], made, *value[at + 1 :]]


def with_more(value: Any, more: Any) -> Iterator[Any]:
    """Yield *value* with *more* in one of its objects, for each of its objects."""
    if isinstance(value, dict):
        yield {**value, **more}
    for name, each in value.items() if isinstance(value, dict) else ():
        for made in with_more(each, more):
            yield {**value, name: made}
    for at, each in enumerate(value) if isinstance(value, list) else ():
        for made in with_more(each, more):
            yield [*value[:at], made, *value[at + 1 :]]


def with_less(value: Any) -> Iterator[Any]:
    """Yield *value* without one of its fields or items, for each of them."""
    for name, each in value.items() if isinstance(value, dict) else ():
        yield {other: kept for other, kept in value.items() if other != name}
        for made in with_less(each):
            yield {**value, name: made}
    for at, each in enumerate(value) if isinstance(value, list) else ():
        yield [*value[:at], *value[at + 1 :]]
        for made in with_less(each):
            yield [*value[:at], made, *value[at + 1 :]]


COMPLETED = {"id": "r", "model": "m", "status": "completed", "output": [CALL, SHELL, OUTPUT]}
MESSAGE = {"role": "assistant", "content": "x", "tool_calls": TOOL_CALLS}
USED = {"type": "tool_use", "id": "t", "name": TOOL, "input": {}}
WHOLE = {
    Api.CHAT: {"id": "r", "choices": [{"message": MESSAGE, "finish_reason": "tool_calls"}]},
    Api.RESPONSES: COMPLETED,
    Api.MESSAGES: {
        "type": "message",
        "role": "assistant",
        "content": [USED],
        "stop_reason": "tool_use",
    },
}
STREAMED = {
    Api.CHAT: [CHUNK, STOP],
    Api.RESPONSES: [
        {**ADDED, "item": CALL},
        DONE,
        {"type": "response.completed", "response": COMPLETED},
    ],
    Api.MESSAGES: [
        {"type": "message_start", "message": {"role": "assistant", "content": []}},
        {"type": "content_block_start", "index": 0, "content_block": USED},
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "input_json_delta", "partial_json": "{}"},
        },
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}},
        {"type": "message_stop"},
    ],
}


@pytest.mark.parametrize("api", Api)
@pytest.mark.parametrize("other", [[], {}, [[]], 0, "", True, None], ids=repr)
def test_a_value_of_another_type_never_ends_in_an_internal_error(api: Api, other: Any) -> None:
    """The answer is governed, or it is malformed."""
    for body in changed(WHOLE[api], other):
        with contextlib.suppress(ModelAnswerError):
            whole(api, body)
    for events in changed(STREAMED[api], other):
        with contextlib.suppress(ModelAnswerError):
            streamed(api, sse(*(events if isinstance(events, list) else [events])))


def test_a_missing_field_never_ends_in_an_internal_error() -> None:
    """The answer is governed, or it is malformed."""
    for api in Api:
        for body in with_less(WHOLE[api]):
            with contextlib.suppress(ModelAnswerError):
                whole(api, body)
        for events in with_less([*STREAMED[api], *STREAMED[api]]):
            with contextlib.suppress(ModelAnswerError):
                streamed(api, sse(*events))


def test_a_chunk_without_a_delta_can_end_a_choice() -> None:
    chunk = {"choices": [{"index": 0, "finish_reason": "tool_calls"}]}
    assert b"refusal" in streamed(Api.CHAT, sse(CHUNK, chunk))


MESSAGE = {"role": "assistant", "content": None, "tool_calls": TOOL_CALLS}
USE = {"type": "tool_use", "id": "t", "name": TOOL, "input": {}}
ODD_ANSWERS: list[tuple[Api, Any]] = [
    (Api.CHAT, {"Choices": [{"message": MESSAGE, "finish_reason": "stop"}]}),
    (Api.CHAT, {"choices": [], "CHOICES": [{"message": MESSAGE}]}),
    (Api.CHAT, {"choices": [{"Message": MESSAGE, "finish_reason": "stop"}]}),
    (Api.CHAT, {"choices": [{"me\u017f\u017fage": MESSAGE, "finish_reason": "stop"}]}),
    (Api.RESPONSES, {"Output": [CALL], "status": "completed"}),
    (Api.RESPONSES, {"output": [{**SPOKEN, "Type": "function_call", "Name": TOOL}]}),
    (Api.MESSAGES, {"Content": [USE], "stop_reason": "tool_use"}),
    (Api.MESSAGES, {"content": [{"type": "text", "text": "x", "Type": "tool_use"}]}),
]
ODD_EVENTS: list[tuple[Api, Any]] = [
    (Api.CHAT, {"Choices": CHUNK["choices"]}),
    (Api.CHAT, {"choices": [{"index": 0, "Delta": {"tool_calls": TOOL_CALLS}}]}),
    (Api.RESPONSES, {"type": "response.created", "Type": DONE["type"], "Item": CALL}),
    (Api.RESPONSES, {**ADDED, "item": {**SPOKEN, "Type": "function_call"}}),
    (Api.RESPONSES, {"type": "response.completed", "response": {"Output": [CALL]}}),
    (Api.MESSAGES, {"type": "ping", "Type": "content_block_start", "Content_Block": USE}),
    (Api.MESSAGES, {"type": "message_start", "message": {"content": [], "Content": [USE]}}),
]


@pytest.mark.parametrize(("api", "body"), ODD_ANSWERS)
def test_a_field_in_capital_letters_hides_no_call(api: Api, body: Any) -> None:
    """Clients in Go take it for the field itself, because their decoder ignores the case."""
    with pytest.raises(ModelAnswerError, match="unusual capitalization"):
        whole(api, body)


@pytest.mark.parametrize(("api", "event"), ODD_EVENTS)
def test_a_field_in_capital_letters_hides_no_call_in_a_stream(api: Api, event: Any) -> None:
    with pytest.raises(ModelAnswerError, match="unusual capitalization"):
        streamed(api, sse(event))


def test_arguments_and_other_fields_may_have_capital_letters() -> None:
    use = {**USE, "input": {"Message": "x", "Choices": [1]}}
    body = {"content": [use], "stop_reason": "tool_use", "X_Provider": {"Type": "x"}}
    steps = govern_body(Api.MESSAGES, json.dumps(body).encode())
    assert json.loads(drive_deciding(steps, lambda found: [None] * len(found.calls))) == body


def test_names_that_an_upstream_makes_up_fill_no_memory() -> None:
    """However many there are, and however long they are, and calls in later ones are found."""
    for number in range(3_000):
        whole(Api.CHAT, {f"field{number}": 1, "choices": []})
    whole(Api.CHAT, {"x" * 100_000: 1, "choices": []})
    assert len(asking.SEEN) <= 1_024
    assert sum(len(name) for names in asking.SEEN for name in names) <= 1_024 * 512
    with pytest.raises(ModelAnswerError, match="unusual capitalization"):
        whole(Api.CHAT, {"later": 1, "Choices": []})
    with pytest.raises(ModelAnswerError, match="does not know"):
        whole(Api.CHAT, {"later": 1, "x_call": [1], "choices": []})


LOCAL = [
    CALL,
    {"type": "custom_tool_call", "id": "i", "call_id": "c", "name": TOOL, "input": "x"},
    {"type": "shell_call", "id": "i", "call_id": "c", "action": {"commands": ["ls"]}},
    {"type": "apply_patch_call", "id": "i", "call_id": "c", "operation": {"type": "delete_file"}},
]


def asked_for(item: Any) -> tuple[Any, Any]:
    """Return the calls that are decided for *item*, in a whole answer and in a stream."""
    body = {"id": "r", "status": "completed", "output": [item]}
    found: list[Any] = []
    refuse = lambda asked: found.extend(asked.calls) or ["no"] * len(asked.calls)
    made = drive_deciding(govern_body(Api.RESPONSES, json.dumps(body).encode()), refuse)
    answer = AnswerStream(Api.RESPONSES)
    for each in answer.read(sse({**DONE, "item": item})):
        made += drive_deciding(answer.govern(each), refuse)
    return found, made


@pytest.mark.parametrize("item", LOCAL, ids=lambda item: item["type"])
@pytest.mark.parametrize("label", ["bank", "", 1, ["bank"]], ids=repr)
def test_a_label_does_not_make_a_call_the_tool_of_a_server(item: Any, label: Any) -> None:
    """The program runs it by its name, whatever the label says."""
    calls, _ = asked_for({**item, "server_label": label})
    assert [call.refusal.reason for call in calls] == ["unknown_kind"] * 2
    assert [call.server for call in calls] == [None] * 2
    calls, _ = asked_for({**item, "server_label": None})
    assert [(call.refusal, call.server) for call in calls] == [(None, None)] * 2


def test_a_request_for_approval_keeps_its_server() -> None:
    item = {"type": "mcp_approval_request", "id": "m", "name": TOOL, "arguments": "{}"}
    calls, _ = asked_for({**item, "server_label": "bank"})
    assert [(call.refusal, call.server) for call in calls] == [(None, "bank")] * 2


@pytest.mark.parametrize(
    ("kind", "field"),
    [("tool_use", "input"), ("tool_use", "arguments"), ("action", "input"), ("x_output", "input")],
)
def test_an_unknown_item_with_a_name_and_input_is_a_call(kind: str, field: str) -> None:
    calls, made = asked_for({"type": kind, "id": "i", "name": TOOL, field: {"order": 1}})
    assert [call.refusal.reason for call in calls] == ["unknown_kind"] * 2
    assert f'"{kind}"'.encode() not in made


CHANGES = [
    ({"arguments": {"force": 1}}, {"arguments": {"force": True}}),
    ({"arguments": {"force": 1}}, {"arguments": {"force": 1.0}}),
    ({"namespace": "safe"}, {}),
    ({}, {"namespace": "other"}),
]


@pytest.mark.parametrize(("first", "second"), CHANGES)
def test_an_item_that_differs_in_the_whole_response_is_decided_again(
    first: Any, second: Any
) -> None:
    found: list[Any] = []
    allow = lambda asked: found.extend(asked.calls) or [None] * len(asked.calls)
    answer = AnswerStream(Api.RESPONSES)
    whole = {"id": "r", "status": "completed", "output": [{**CALL, **second}]}
    events = sse(
        {**DONE, "item": {**CALL, **first}}, {"type": "response.completed", "response": whole}
    )
    for each in answer.read(events):
        drive_deciding(answer.govern(each), allow)
    assert len(found) == 2


def test_an_equal_item_in_the_whole_response_is_decided_once() -> None:
    found: list[Any] = []
    allow = lambda asked: found.extend(asked.calls) or [None] * len(asked.calls)
    answer = AnswerStream(Api.RESPONSES)
    item = {**dict(reversed(CALL.items())), "status": "completed", "namespace": None}
    whole = {"id": "r", "status": "completed", "output": [item]}
    for each in answer.read(sse(DONE, {"type": "response.completed", "response": whole})):
        drive_deciding(answer.govern(each), allow)
    assert len(found) == 1


@pytest.mark.parametrize("execution", ["client", None, "Server", ["server"]], ids=repr)
def test_a_search_that_the_program_runs_is_refused(execution: Any) -> None:
    item = {"type": "tool_search_call", "id": "t", "call_id": "c", "arguments": {"goal": "x"}}
    for each in (item, {**item, "execution": execution}):
        calls, made = asked_for(each)
        assert [call.refusal.reason for call in calls] == ["unknown_kind"] * 2
        assert b'"tool_search_call"' not in made
    calls, made = asked_for({**item, "execution": "server"})
    assert calls == []
    assert made.count(b'"tool_search_call"') == 2


COMPLETION = json.dumps(WHOLE[Api.CHAT])
ERRORS = {
    "chat": COMPLETION.encode(),
    "response": json.dumps(WHOLE[Api.RESPONSES]).encode(),
    "message": json.dumps(WHOLE[Api.MESSAGES]).encode(),
    "with an error": json.dumps({"error": {"message": "x"}, **WHOLE[Api.CHAT]}).encode(),
    "list": json.dumps([{"error": 1}, WHOLE[Api.CHAT]]).encode(),
    "twice": b'{"choices": [1], "choices": []}',
    "unusual capitalization": json.dumps({"Choices": [1]}).encode(),
    "utf-16": COMPLETION.encode("utf-16"),
    "byte order mark": COMPLETION.encode("utf-8-sig"),
    "not finite": b'{"choices": [NaN, 1e999]}',
    "stream": sse(*STREAMED[Api.RESPONSES]),
    "chunks": sse(CHUNK).replace(b"\n", b"\r\n"),
    "last chunk": sse(CHUNK).rstrip(),
    "lines": b'{"error": 1}\n' + COMPLETION.encode(),
    "call": b'{"tool_calls": [1]}',
    "calls in another field": b'{"toolCalls": [1]}',
    "deep": b'{"a":' * 100_000,
    "calls of a message": b'{"message": {"role": "assistant", "Tool_calls": [{"id": "c"}]}}',
    "content of a message": b'{"message": {"content": [{"type": "tool_use"}]}}',
    "line of an event": b'data: {"id": 1}\ndata: ' + COMPLETION.encode() + b"\n\n",
    "separator in an event": sse({"a": "\u2028", **CHUNK}).replace(b"\\u2028", b"\xe2\x80\xa8"),
}


@pytest.mark.parametrize("body", ERRORS.values(), ids=ERRORS)
def test_the_body_of_an_error_contains_no_answer(body: bytes) -> None:
    with pytest.raises(ModelAnswerError, match="the upstream's error"):
        check_error_body(body)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>Bad gateway</html>",
        b'{"error": {"message": "x", "param": "tool_calls", "code": null}}',
        b'{"type": "error", "error": {"type": "overloaded_error", "message": "x"}}',
        b'{"object": "error", "message": "no tool_calls", "code": 400}',
        b'{"detail": [{"loc": ["body"], "input": {"tool_calls": [1], "choices": [1]}}]}',
        b'[{"error": {"code": 400, "message": "x", "details": []}}]',
        b'{"choices": [], "content": "x", "output": null}',
        b'event: error\ndata: {"type": "error", "error": {"message": "x"}}\n\n',
        b"\xff\xfe{",
        b'{"object": "error", "message": {"detail": [{"type": "x"}]}, "type": "invalid"}',
        b'{"message": ["a", {"property": "x"}], "statusCode": 400}',
        b'{"error": "x", "call_id": "c1", "calls": 5, "tool_calls_allowed": true}',
        b"data:" * 200_000,
    ],
)
def test_an_error_passes(body: bytes) -> None:
    check_error_body(body)


@pytest.mark.parametrize(
    "part", [b"data:", b"data: {\n\n", b'data: {"a":\n', b"{\n", b'{"a": []}\n', b"[1\x85"]
)
def test_the_work_for_an_error_grows_with_its_size(
    part: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An upstream chooses the error, so it could keep the proxy busy."""
    parsed: list[int] = []
    decode = json.JSONDecoder.decode

    def counting(self: json.JSONDecoder, text: str) -> Any:
        parsed.append(len(text))
        return decode(self, text)

    monkeypatch.setattr(json.JSONDecoder, "decode", counting)
    body = part * 20_000
    with contextlib.suppress(ModelAnswerError):  # too many parts
        check_error_body(body)
    assert sum(parsed) <= 4 * len(body)
    assert len(parsed) <= 10_001


EXTRA = {"parsed_arguments": {"force": True}, "json_buf": "{"}
KEPT = {"extra_content": {"signature": "x"}, "provider_specific_fields": {"y": 1}}
FUNCTION = {"name": TOOL, "arguments": "{}"}
CALLS: list[tuple[Api, dict[str, Any], tuple[str, ...]]] = [
    (Api.CHAT, {"id": "c", "type": "function", "function": FUNCTION}, ("function",)),
    (Api.CHAT, {"id": "c", "type": "custom", "custom": {"name": TOOL, "input": "x"}}, ("custom",)),
    (Api.RESPONSES, LOCAL[0], ()),
    (Api.RESPONSES, LOCAL[1], ()),
    (Api.RESPONSES, {**CALL, "type": "mcp_approval_request", "server_label": "s"}, ()),
    (Api.MESSAGES, {"type": "tool_use", "id": "t", "name": TOOL, "input": {}}, ()),
]


def answers_with(api: Api, call: Any) -> tuple[Any, list[Any]]:
    """Return an answer with *call*, and the events of the same answer."""
    if api is Api.CHAT:
        choice = {"index": 0, "finish_reason": "tool_calls"}
        delta = {**choice, "finish_reason": None, "delta": {"tool_calls": [{"index": 0, **call}]}}
        made = {"choices": [{**choice, "message": {"tool_calls": [call]}}]}
        return made, [{"choices": [delta]}, {"choices": [{**choice, "delta": {}}]}]
    if api is Api.RESPONSES:
        made = {"id": "r", "status": "completed", "output": [call]}
        last = {"type": "response.completed", "response": made}
        return made, [{**ADDED, "item": call}, {**DONE, "item": call}, last]
    first, start, *rest = STREAMED[api]
    return {**WHOLE[api], "content": [call]}, [first, {**start, "content_block": call}, *rest]


def allowed(api: Api, call: Any) -> tuple[bytes, bytes]:
    """Return what the program gets of an allowed call, in a whole answer and in a stream."""
    allow = lambda found: [None] * len(found.calls)
    body, events = answers_with(api, call)
    made = drive_deciding(govern_body(api, json.dumps(body).encode()), allow)
    answer = AnswerStream(api)
    parts = [drive_deciding(answer.govern(each), allow) for each in answer.read(sse(*events))]
    return made, b"".join(parts)


@pytest.mark.parametrize(("api", "call", "inner"), CALLS)
def test_an_allowed_call_has_only_the_fields_that_were_decided(
    api: Api, call: dict[str, Any], inner: tuple[str, ...]
) -> None:
    """Clients keep their own state in other fields, and take arguments from there."""
    inside = {name: {**call[name], **EXTRA, **KEPT} for name in inner}
    for made in allowed(api, {**call, **EXTRA, **KEPT, **inside}):
        assert not any(name.encode() in made for name in EXTRA)
        assert all(name.encode() in made for name in KEPT)
        assert f'"{TOOL}"'.encode() in made
    body, _ = answers_with(api, {**call, **KEPT})
    assert allowed(api, {**call, **KEPT})[0] == json.dumps(body).encode()


def test_the_legacy_call_has_only_the_fields_that_were_decided() -> None:
    choice = {"index": 0, "finish_reason": "function_call"}
    body = {"choices": [{**choice, "message": {"function_call": {**FUNCTION, **EXTRA}}}]}
    steps = govern_body(Api.CHAT, json.dumps(body).encode())
    made = json.loads(drive_deciding(steps, lambda _: [None]))
    assert made["choices"][0]["message"] == {"function_call": FUNCTION}


@pytest.mark.parametrize("api", Api)
def test_no_part_of_an_answer_has_the_state_of_a_client(api: Api) -> None:
    call = next(call for found, call, _ in CALLS if found is api)
    body, events = answers_with(api, {**call, "__json_buf": "{"})
    with pytest.raises(ModelAnswerError, match="underscore"):
        whole(api, body)
    with pytest.raises(ModelAnswerError, match="underscore"):
        streamed(api, sse(*events))
    body, events = answers_with(api, call)
    assert json.loads(whole(api, {**body, "__verbose": 1})) == json.loads(whole(api, body))
    assert b"__verbose" not in streamed(api, sse(*({**each, "__verbose": 1} for each in events)))


@pytest.mark.parametrize("blank", ["", " ", "\n\t"])
def test_blank_arguments_are_passed_on_as_an_empty_object(blank: str) -> None:
    """Clients read blank text in different ways."""
    function = {"id": "c", "type": "function", "function": {"name": TOOL, "arguments": blank}}
    for made in allowed(Api.CHAT, function):
        assert b'"arguments":"{}"' in made
    for made in allowed(Api.RESPONSES, {**CALL, "arguments": blank}):
        assert b'"arguments":"{}"' in made


@pytest.mark.parametrize("given", [{}, {"city": "Bern"}], ids=["empty", "city"])
@pytest.mark.parametrize("late", [False, True])
def test_the_input_of_a_call_is_in_one_place(given: Any, late: bool) -> None:
    """Some clients read the first event, some the others, and some both."""
    first, start, piece, *rest = STREAMED[Api.MESSAGES]
    use = {**USE, "input": {} if late else given}
    text = json.dumps(given, separators=(",", ":"))
    delta = {**piece, "delta": {"type": "input_json_delta", "partial_json": text}}
    begun = {**start, "content_block": use}
    answer = AnswerStream(Api.MESSAGES)
    came = sse(first, begun, *([delta] if late else []), *rest)
    parts = [drive_deciding(answer.govern(each), lambda _: [None]) for each in answer.read(came)]
    found = [
        json.loads(each.removeprefix(b"data: ")) for each in b"".join(parts).split(b"\n\n")[:-1]
    ]
    assert found == [first, {**begun, "content_block": USE}, delta, *rest]


@pytest.mark.parametrize("ended", [False, True])
@pytest.mark.parametrize("item", [SPOKEN, CALL], ids=["message", "call"])
def test_two_items_of_a_stream_never_have_the_same_place(item: Any, ended: bool) -> None:
    """Some clients join the texts of the calls at one place."""
    before = [{**ADDED, "item": item}, *([{**DONE, "item": item}] if ended else [])]
    other = {**CALL, "id": "fc_2", "call_id": "call_2"}
    with pytest.raises(ModelAnswerError, match="same index"):
        streamed(Api.RESPONSES, sse(*before, {**ADDED, "item": other}))
    with pytest.raises(ModelAnswerError, match="same index"):
        streamed(Api.RESPONSES, sse({**DONE, "item": item}, {**ADDED, "item": other}))


@pytest.mark.parametrize("index", [1, 7, -1])
def test_a_stream_has_only_the_choices_that_were_asked_for(index: int) -> None:
    """Some clients join the calls of all choices."""
    choice = {**CHUNK["choices"][0], "index": index}
    for chunk in ({"choices": [choice]}, {"choices": [*CHUNK["choices"], choice]}):
        with pytest.raises(ModelAnswerError, match=r"not requested|non-negative"):
            streamed(Api.CHAT, sse(chunk))
    answer = AnswerStream(Api.CHAT, choices=2)
    (event,) = answer.read(sse({"choices": [{**choice, "index": 1}]}))
    assert b'"index":1' in drive_deciding(answer.govern(event), lambda _: [])


def test_the_number_of_choices_is_that_of_the_request() -> None:
    assert [choices_of({"n": each}) for each in (None, 3, 0, -1, True, "2")] == [1, 3, 1, 1, 1, 1]


INHERITED = [{"__proto__": {"tool_calls": TOOL_CALLS}}, {"constructor": {"prototype": {}}}]


@pytest.mark.parametrize("hidden", INHERITED, ids=["proto", "constructor"])
@pytest.mark.parametrize("api", Api)
def test_no_copy_of_an_answer_has_other_fields(api: Api, hidden: Any) -> None:
    """Clients in JavaScript assign the fields of an answer to an object of their own."""
    for body in with_more(WHOLE[api], hidden):
        text = json.dumps(body)
        for each in (text, text.replace("_", "\\u005f"), text.replace("con", "\\u0063on")):
            with pytest.raises(ModelAnswerError, match="all parsers"):
                drive_deciding(govern_body(api, each.encode()), lambda _: [])
        with pytest.raises(ModelAnswerError, match="the upstream's error"):
            check_error_body(json.dumps({"error": body}).encode())
    for events in with_more(STREAMED[api], hidden):
        with pytest.raises(ModelAnswerError, match="all parsers"):
            streamed(api, sse(*events))
        with pytest.raises(ModelAnswerError, match="the upstream's error"):
            check_error_body(sse(*events))


def test_a_repeated_key_does_not_hide_fields_of_a_copy() -> None:
    body = json.dumps({**WHOLE[Api.MESSAGES], "more": INHERITED[0]})
    body = body.replace('"input": {}', '"input": {"a": 1, "a": 2}')
    with pytest.raises(ModelAnswerError, match="all parsers"):
        drive_deciding(govern_body(Api.MESSAGES, body.encode()), lambda _: ["no"])


def test_fields_named_like_parts_of_a_class_are_no_secret() -> None:
    """A tool can have such arguments, and responses repeat the schemas of the tools."""
    properties = {"constructor": {"type": "string"}, "prototype": {"type": "string"}}
    body = {"id": "r", "output": [], "tools": [{"parameters": {"properties": properties}}]}
    assert json.loads(whole(Api.RESPONSES, body)) == body
    check_error_body(json.dumps({"error": {"constructor": "x", "param": properties}}).encode())


@pytest.mark.parametrize("number", ["1e999", "-1e999", "NaN", "Infinity", "9" * 5_000])
@pytest.mark.parametrize("api", Api)
def test_a_number_that_parsers_read_differently_releases_nothing_odd(api: Api, number: str) -> None:
    """In an answer that must be changed."""
    text = json.dumps({**WHOLE[api], "more": 123_456}).replace("123456", number)
    with pytest.raises(ModelAnswerError):
        drive_deciding(govern_body(api, text.encode()), lambda found: ["no"] * len(found.calls))
