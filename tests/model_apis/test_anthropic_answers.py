"""The bytes of messages, whole and streamed, in every shape that a provider can send."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.core.schema.json_arguments import JsonArguments
from guardrail.errors import ArgumentsError
from guardrail.model_apis.answers import AnswerStream, govern_body
from guardrail.model_apis.api import Api
from guardrail.model_apis.asking import Asked, ModelAnswerError
from guardrail.model_apis.calls import AskedCall
from guardrail.model_apis.claims import claims_in
from guardrail.model_apis.deciding import drive_deciding
from tests.support.replayed import anthropic_client

ASKED: Any = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Sun?"}]}
USAGE = {"input_tokens": 11, "output_tokens": 7}


class Judge:
    """Refuses calls of ``bad``, those that must be refused, and arguments that do not parse."""

    def __init__(self) -> None:
        self.calls: list[AskedCall] = []

    def __call__(self, asked: Asked) -> list[str | None]:
        assert (asked.model, asked.response) == ("m", "msg_1")
        self.calls += asked.calls
        return [self._ruling(call) for call in asked.calls]

    @staticmethod
    def _ruling(call: AskedCall) -> str | None:
        if call.refusal is not None:
            return call.refusal.text
        if isinstance(call.arguments, JsonArguments):
            try:
                call.arguments.parse()
            except ArgumentsError as error:
                return error.detail
        return "no" if call.name == "bad" else None


def sse(*events: Any) -> bytes:
    return "".join(
        f"event: {each.get('type')}\ndata: {json.dumps(each)}\n\n" for each in events
    ).encode()


def run(stream: bytes | Iterable[bytes], judge: Callable[[Asked], Any] | None = None) -> bytes:
    """Return what the program gets. A stream that breaks off raises ``EOFError``."""
    answer, out = AnswerStream(Api.MESSAGES), b""
    for piece in [*([stream] if isinstance(stream, bytes) else stream), None]:
        for event in answer.read(piece):
            out += drive_deciding(answer.govern(event), judge or Judge())
    if answer.broken:
        raise EOFError
    return out


def documents(data: bytes) -> list[Any]:
    lines = data.decode().split("\n")
    return [json.loads(line[6:]) for line in lines if line.startswith("data: ")]


def begin(**more: Any) -> Any:
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": []}
    return {"type": "message_start", "message": {**message, "usage": USAGE, **more}}


def start(index: Any, block: Any) -> Any:
    return {"type": "content_block_start", "index": index, "content_block": block}


def delta(index: Any, **inner: Any) -> Any:
    return {"type": "content_block_delta", "index": index, "delta": inner}


def stop(index: Any) -> Any:
    return {"type": "content_block_stop", "index": index}


def ends(reason: str | None = "tool_use") -> list[Any]:
    end = {"stop_reason": reason, "stop_sequence": None}
    return [{"type": "message_delta", "delta": end, "usage": USAGE}, {"type": "message_stop"}]


def use(name: str = "good", **more: Any) -> Any:
    return {"type": "tool_use", "id": f"toolu_{name}", "name": name, "input": {}, **more}


def call(index: int, name: str = "good", text: str = '{"a": 1}', **more: Any) -> list[Any]:
    pieces = [text[at : at + 3] for at in range(0, len(text), 3)]
    deltas = [delta(index, type="input_json_delta", partial_json=each) for each in ["", *pieces]]
    return [start(index, use(name, **more)), *deltas, stop(index)]


def text(index: int, said: str = "Grüezi.") -> list[Any]:
    pieces = [delta(index, type="text_delta", text=each) for each in said]
    return [start(index, {"type": "text", "text": ""}), *pieces, stop(index)]


def thought(index: int) -> list[Any]:
    return [
        start(index, {"type": "thinking", "thinking": "", "signature": ""}),
        delta(index, type="thinking_delta", thinking="hm"),
        delta(index, type="signature_delta", signature="c2ln"),
        stop(index),
    ]


STREAM = sse(
    begin(), *thought(0), {"type": "ping"}, *text(1), *call(2), *call(3, "bad"), *call(4), *ends()
)


@given(st.lists(st.integers(0, len(STREAM)), max_size=8), st.sampled_from([b"\n", b"\r\n", b"\r"]))
def test_a_stream_is_the_same_in_pieces_of_any_size(cuts: list[int], end: bytes) -> None:
    """With each kind of line end."""
    places = sorted({0, *cuts, len(STREAM)})
    pieces = [STREAM[one:two].replace(b"\n", end) for one, two in itertools.pairwise(places)]
    assert run(pieces) == run(STREAM)


def test_text_and_thoughts_pass_before_the_stream_ends() -> None:
    """And calls do not."""
    answer = AnswerStream(Api.MESSAGES)
    out = b""
    for event in answer.read(sse(begin(), *thought(0), *text(1), *call(2))):
        out += drive_deciding(answer.govern(event), Judge())
    assert out == sse(begin(), *thought(0), *text(1))


def test_an_answer_without_refusals_has_each_call_in_one_piece() -> None:
    """Nothing else changes."""
    made = documents(run(sse(begin(), *text(0), *call(1), *ends())))
    given_text = '{"a": 1}'
    assert made == [
        begin(),
        *text(0),
        start(1, use()),
        delta(1, type="input_json_delta", partial_json=given_text),
        stop(1),
        *ends(),
    ]


def test_a_refused_call_is_a_text_in_its_place() -> None:
    """The usage stays, and so do the other calls."""
    made = documents(run(STREAM))
    blocks = [each["content_block"] for each in made if each["type"] == "content_block_start"]
    assert [each["type"] for each in blocks] == ["thinking", "text", "tool_use", "text", "tool_use"]
    told = [each["delta"] for each in made if each.get("index") == 3 and "delta" in each]
    assert told == [{"type": "text_delta", "text": "bad: no"}]
    assert made[-2:] == ends()


def test_a_message_without_calls_left_ends_its_turn() -> None:
    """A program would look for a call otherwise."""
    made = documents(run(sse(begin(), *call(0, "bad"), *ends())))
    assert made[-2]["delta"]["stop_reason"] == "end_turn"
    assert made[-2]["usage"] == USAGE
    made = documents(run(sse(begin(), *call(0, "bad"), *ends("max_tokens"))))
    assert made[-2]["delta"]["stop_reason"] == "max_tokens"


def test_the_calls_of_a_message_that_was_cut_off_are_refused() -> None:
    """Even if their input is complete: the message may not be."""
    judge = Judge()
    made = run(sse(begin(), *call(0), *ends("max_tokens")), judge)
    assert b"tool_use" not in made
    assert b"good: the response was truncated (stop_reason: max_tokens)" in made
    assert judge.calls[0].refusal is not None
    assert judge.calls[0].refusal.reason == "incomplete"
    half = [each for each in call(0) if each["type"] != "content_block_stop"]
    for ended in (sse(begin(), *half, *ends()), sse(begin(), *call(0), ends()[-1])):
        assert b"tool_use" not in run(ended).replace(b'"stop_reason":"tool_use"', b"")


def test_blocks_after_a_call_wait_so_that_they_keep_their_order() -> None:
    """Clients append each block that starts."""
    search = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}
    stream = sse(
        begin(),
        *call(0, "bad"),
        *text(1),
        start(2, search),
        delta(2, type="input_json_delta", partial_json='{"query": "sun"}'),
        stop(2),
        *ends(),
    )
    judge = Judge()
    made = documents(run(stream, judge))
    starts = [each for each in made if each["type"] == "content_block_start"]
    assert [each["index"] for each in starts] == [0, 1, 2]
    assert starts[2]["content_block"] == search
    assert made[-2]["delta"]["stop_reason"] == "end_turn"
    assert [(each.name, each.server) for each in judge.calls] == [
        ("bad", None),
        ("web_search", "anthropic"),
    ]


def test_interleaved_blocks_are_put_in_order() -> None:
    """A text that began before a call passes at once."""
    stream = sse(
        begin(),
        start(0, {"type": "text", "text": ""}),
        start(1, use()),
        delta(0, type="text_delta", text="Sun"),
        start(2, use("bad")),
        delta(2, type="input_json_delta", partial_json="{}"),
        delta(1, type="input_json_delta", partial_json='{"a"'),
        delta(1, type="input_json_delta", partial_json=": 1}"),
        stop(2),
        stop(0),
        stop(1),
        *ends(),
    )
    message = final(run(stream))
    assert [block.type for block in message.content] == ["text", "tool_use", "text"]
    assert message.content[0].text == "Sun"
    assert message.content[1].input == {"a": 1}


def test_indexes_have_no_gap() -> None:
    """The official client takes an index for a place in its list."""
    made = documents(run(sse(begin(), *text(3), *call(7), *ends())))
    assert [each["index"] for each in made if "content_block" in each] == [0, 1]
    assert final(run(sse(begin(), *text(3), *call(7), *ends()))).content[1].input == {"a": 1}


def test_tools_that_the_provider_runs_pass_with_their_events() -> None:
    """They are asked about once, for the record."""
    stream = sse(
        begin(),
        start(0, {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}),
        delta(0, type="input_json_delta", partial_json='{"query": "sun"}'),
        stop(0),
        start(1, {"type": "web_search_tool_result", "tool_use_id": "s", "content": []}),
        stop(1),
        start(2, {"type": "mcp_tool_use", "id": "m", "name": "f", "server_name": "x", "input": {}}),
        stop(2),
        start(3, {"type": "mcp_tool_result", "tool_use_id": "m", "content": []}),
        stop(3),
        *ends("end_turn"),
    )
    judge = Judge()
    assert run(stream, judge) == stream
    assert [(each.server, each.refusal and each.refusal.reason) for each in judge.calls] == [
        ("anthropic", "provider_tool"),
        ("x", "provider_tool"),
    ]


@pytest.mark.parametrize("kind", ["agent_use", "function_call", "approval_request", "custom"])
def test_an_unknown_kind_of_call_is_refused(kind: str) -> None:
    """Whatever it holds."""
    block = {"type": kind, "id": "u1", "input": {"a": 1}}
    deltas = [delta(0, type="some_delta", more="x")]
    judge = Judge()
    made = run(sse(begin(), start(0, block), *deltas, stop(0), *ends()), judge)
    assert kind.encode() not in made.replace(kind.encode() + b": guardrail does not know", b"")
    assert [each.refusal and each.refusal.reason for each in judge.calls] == ["unknown_kind"]
    message = whole(body(block))
    assert message["content"][0]["type"] == "text"


def test_blocks_that_are_no_calls_pass() -> None:
    """Also those that the official client does not know yet."""
    stream = sse(begin(), start(0, {"type": "poem", "lines": []}), stop(0), *ends("end_turn"))
    assert run(stream) == stream


def test_tools_of_a_set_are_named_with_it() -> None:
    """A program can have a tool of the same name."""
    judge = Judge()
    run(sse(begin(), *call(0, "key", toolset_name="browser"), *ends()), judge)
    assert judge.calls[0].name == "browser.key"


def test_a_call_may_have_its_input_in_its_first_event() -> None:
    """Servers that do not stream the input send it there."""
    judge = Judge()
    empty = {"type": "tool_use", "id": "t", "name": "good"}
    for block in (use(input={"a": 1}), empty):
        events = [begin(), start(0, block), stop(0), *ends()]
        whole = json.dumps(block.get("input", {}), separators=(",", ":"))
        later = delta(0, type="input_json_delta", partial_json=whole)
        first = start(0, {**block, "input": {}})
        assert documents(run(sse(*events), judge)) == [begin(), first, later, stop(0), *ends()]
    assert [each.arguments for each in judge.calls] == [{"a": 1}, {}]


@pytest.mark.parametrize(
    ("given_text", "detail"),
    [
        ('{"a": 1', b"not_json"),
        ('{"a": 1, "a": 2}', b"duplicate_key"),
        ("{} {}", b"trailing"),
        ("[1]", b"not_object"),
    ],
)
def test_input_that_two_clients_could_read_differently_is_denied(
    given_text: str, detail: bytes
) -> None:
    """The official client takes all of it."""
    made = run(sse(begin(), *call(0, "good", given_text), *ends()))
    assert b"tool_use" not in made
    assert b"good: " + detail in made


def test_an_error_in_a_stream_is_passed_on_and_calls_are_not() -> None:
    """The official client raises it."""
    failed = {"type": "error", "error": {"type": "overloaded_error", "message": "no more"}}
    assert run(sse(begin(), *call(0), failed, *ends())) == sse(begin(), failed)


def test_nothing_is_read_after_the_last_event() -> None:
    """A client may read on."""
    stream = sse(begin(), *text(0), *ends("end_turn"))
    assert run(stream + sse(begin(), *call(0), *ends())) == stream


def test_a_delta_without_a_reason_to_stop_passes() -> None:
    """The reason comes later."""
    first, second, last = *ends(None)[:1], *ends()
    made = documents(run(sse(begin(), *call(0), first, second, last)))
    assert [each["type"] for each in made][1:3] == ["message_delta", "content_block_start"]


MALFORMED = {
    "no JSON": b"data: {\n\n",
    "a key twice": b'data: {"type": "ping", "type": "ping"}\n\n',
    "no type": sse({"index": 0}),
    "no message": sse({"type": "message_start"}),
    "a whole message": sse(begin(content=[use()])),
    "another field of the message": sse(begin(tool_calls=[{}])),
    "two messages": sse(begin(), begin()),
    "no block": sse(begin(), start(0, None)),
    "no type of a block": sse(begin(), start(0, {"text": ""})),
    "no index": sse(begin(), start(None, use())),
    "index that is no number": sse(begin(), start("0", use())),
    "index true": sse(begin(), start(True, use())),
    "an index twice": sse(begin(), *call(0), *call(0)),
    "a delta of no block": sse(begin(), delta(0, type="text_delta", text="x")),
    "a delta after the end of its block": sse(
        begin(), *call(0), delta(0, type="input_json_delta", partial_json="x")
    ),
    "no delta": sse(begin(), start(0, use()), {"type": "content_block_delta", "index": 0}),
    "text in a call": sse(begin(), start(0, use()), delta(0, type="text_delta", text="x")),
    "input that is no text": sse(
        begin(), start(0, use()), delta(0, type="input_json_delta", partial_json={})
    ),
    "input in a text": sse(
        begin(), *text(0)[:1], delta(0, type="input_json_delta", partial_json="{}")
    ),
    "input in a later text": sse(
        begin(),
        *call(0),
        *text(1)[:1],
        delta(1, type="input_json_delta", partial_json="{}"),
    ),
    "input in two places": sse(begin(), *call(0, input={"b": 1}), *ends()),
    "a block after the end": sse(begin(), *ends()[:1], *call(0)),
    "two reasons": sse(begin(), *ends()[:1], *ends("max_tokens")),
    "calls in the end": sse(
        begin(), {"type": "message_delta", "delta": {"stop_reason": "x", "tool_use": [{}]}}
    ),
    "an unknown event with a block": sse(begin(), {"type": "block", "content_block": use()}),
    "an unknown event with calls": sse(begin(), {"type": "more", "tool_use": use()}),
}


@pytest.mark.parametrize("stream", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_stream_is_an_error(stream: bytes) -> None:
    """The official clients would take most of them, each in its own way."""
    with pytest.raises(ModelAnswerError) as raised:
        run(stream)
    assert raised.value.code == "model_answer"


def test_an_unknown_event_without_a_call_passes() -> None:
    """A client ignores it."""
    stream = sse(begin(), {"type": "progress", "percent": 5}, *ends("end_turn"))
    assert run(stream) == stream


def test_a_stream_without_its_last_event_has_broken_off() -> None:
    """Its calls are dropped."""
    events = [begin(), *text(0), *call(1), *ends()]
    for length in range(len(events)):
        with pytest.raises(EOFError):
            run(sse(*events[:length]))


def test_calls_that_never_end_are_an_error() -> None:
    """Memory is bounded."""
    large = delta(0, type="input_json_delta", partial_json="x" * 2**20)
    with pytest.raises(ModelAnswerError, match="too large"):
        run(sse(begin(), start(0, use()), *[large] * 40))
    tiny = delta(0, type="input_json_delta", partial_json="")
    with pytest.raises(ModelAnswerError, match="too large"):
        run([sse(begin(), start(0, use())), *[sse(tiny) * 1_000] * 200])


def body(*blocks: Any, reason: str | None = "tool_use", **more: Any) -> bytes:
    message = begin()["message"] | {"content": list(blocks), "stop_reason": reason, **more}
    return json.dumps(message).encode()


def govern(given_body: bytes, judge: Callable[[Asked], Any] | None = None) -> bytes:
    return drive_deciding(govern_body(Api.MESSAGES, given_body), judge or Judge())


def whole(given_body: bytes, judge: Callable[[Asked], Any] | None = None) -> Any:
    return json.loads(govern(given_body, judge))


SAID = {"type": "text", "text": "Sun."}


def test_a_whole_message_without_refusals_is_the_same_bytes() -> None:
    """Also with tools that the provider has run."""
    ran = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}
    for given_body in (
        body(SAID, use()),
        body(SAID),
        body(),
        body(ran, SAID, reason="end_turn"),
        b'{"type":"error","error":{}}',
    ):
        assert govern(given_body) is given_body


def test_refused_calls_of_a_whole_message_are_texts() -> None:
    """In their places."""
    message = whole(body(use("bad"), SAID, use()))
    assert [each["type"] for each in message["content"]] == ["text", "text", "tool_use"]
    assert message["content"][0] == {"type": "text", "text": "bad: no"}
    assert (message["stop_reason"], message["usage"]) == ("tool_use", USAGE)
    assert whole(body(use("bad")))["stop_reason"] == "end_turn"
    for reason in ("max_tokens", None, "refusal", "model_context_window_exceeded"):
        message = whole(body(use(), reason=reason))
        assert message["content"][0]["text"].startswith("good: the response was truncated")
        assert message["stop_reason"] == reason


def test_a_key_twice_in_the_input_of_a_whole_message_denies_this_call_alone() -> None:
    """The other calls are decided as ever."""
    once = body(use(input={"a": "A", "b": [{"c": 1.5, "d": None}]}), use("other"))
    twice = once.replace(b'"d": null', b'"d": null, "d": "\\u00e9"')
    judge = Judge()
    message = whole(twice, judge)
    assert message["content"][0] == {"type": "text", "text": "good: duplicate_key"}
    assert message["content"][1]["name"] == "other"
    assert judge.calls[0].arguments.text == '{"a":"A","b":[{"c":1.5,"d":null,"d":"\\u00e9"}]}'


MALFORMED_BODIES = [
    b"",
    b"[]",
    b"{",
    b"\xff",
    b'{"content": [], "content": []}',
    body(use()).replace(b'"input": {}', b'"input": {"a": 1, "a": NaN}'),
    body(use(), {"type": "text", "text": "x"}).replace(b'"x"', b'{"a": 1, "a": 1}'),
    body(content="Sun."),
    body(None),
    body({}),
    body({"type": 1}),
    body(tool_calls=[{}]),
    body(tool_use=[{}]),
    b'{"content": [{"type": "tool_use", "input": {"a": 1, "a": %s1%s}}]}'
    % (b"[" * 100_000, b"]" * 100_000),
]


@pytest.mark.parametrize("given_body", MALFORMED_BODIES, ids=lambda each: repr(each[:60]))
def test_a_malformed_message_is_an_error(given_body: bytes) -> None:
    """The official client takes whatever the provider sends."""
    with pytest.raises(ModelAnswerError):
        govern(given_body)


def final(stream: bytes) -> Any:
    """Return the message that the official client makes of a stream."""
    with anthropic_client([stream]).messages.stream(**ASKED) as events:
        return events.get_final_message()


def test_the_official_client_reads_refusals() -> None:
    """Whole, and streamed in each of its ways."""
    made = run(STREAM)
    message = final(made)
    kinds = ["thinking", "text", "tool_use", "text", "tool_use"]
    assert [block.type for block in message.content] == kinds
    assert message.content[3].text == "bad: no"
    assert (message.content[0].signature, message.stop_reason) == ("c2ln", "tool_use")
    client: Any = anthropic_client([made])
    assert len(list(client.messages.create(**ASKED, stream=True))) == len(documents(made)) - 1
    with client.beta.messages.stream(**ASKED) as events:
        assert [block.type for block in events.get_final_message().content] == kinds
    answer = govern(body(use("bad"), SAID))
    message = anthropic_client([answer], "application/json").messages.create(**ASKED)
    assert [block.type for block in message.content] == ["text", "text"]


def test_results_in_a_request_are_claims_about_calls() -> None:
    """By the ids of the calls, and as often as they are told."""
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "sun"}
    messages = [
        {"role": "user", "content": "Sun?"},
        {"role": "assistant", "content": [use(), result]},
        {"role": "user", "content": [result, {**result, "content": [SAID]}, "x", SAID]},
        {"role": "user", "content": [{**result, "tool_use_id": 1}]},
    ]
    claims = claims_in(Api.MESSAGES, {"messages": messages})
    assert claims == [("toolu_1", "sun", 1, False), ("toolu_1", [SAID], 2, False)]
    assert claims_in(Api.MESSAGES, {"messages": "x"}) == []
