"""Answers that no provider would send: nothing undecided is handed over, what was refused is in the
ledger, and the next request works.
"""

from __future__ import annotations

import asyncio
import functools
import gzip
import json
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest

from guardrail.proxy.upstream import UpstreamReply
from tests.support.adapters import Bench
from tests.support.model_server import Call, ModelServer, Turn
from tests.support.openai_clients import CHAT, RESPONSES
from tests.support.proxies import proxied, serving

GOOD = Turn(calls=[Call("weather", {"city": "Bern"}, "call_good")])
BERN = '{"city": "Bern"}'


def chunk(*calls: Any, finish: str | None = None, **delta: Any) -> str:
    if calls:
        delta["tool_calls"] = list(calls)
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return f"data: {json.dumps({**head, 'choices': [choice]})}\n\n"


def part(index: Any, name: Any = "weather", id: Any = "call_1", **more: Any) -> dict[str, Any]:  # noqa: A002
    function = {"name": name, "arguments": BERN}
    return {"index": index, "id": id, "type": "function", "function": function, **more}


def chat(*calls: Any) -> list[str]:
    return [*(chunk(each) for each in calls), chunk(finish="tool_calls"), "data: [DONE]\n\n"]


def item(**fields: Any) -> dict[str, Any]:
    made = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "weather"}
    return {**made, "arguments": BERN, "status": "completed", **fields}


def responses(*items: tuple[int, dict[str, Any]], whole: Any = None) -> list[str]:
    """Return a stream with *items* at their places."""
    head = {"id": "resp_1", "object": "response", "created_at": 1, "model": "m", "output": []}
    made: list[dict[str, Any]] = [
        {"type": "response.created", "response": {**head, "status": "in_progress"}}
    ]
    made += [
        {"type": f"response.output_item.{kind}", "output_index": at, "item": each}
        for at, each in items
        for kind in ("added", "done")
    ]
    output = [each for _, each in items] if whole is None else whole
    end = {**head, "status": "completed", "output": output}
    made.append({"type": "response.completed", "response": end})
    return [
        f"event: {each['type']}\ndata: {json.dumps({**each, 'sequence_number': at})}\n\n"
        for at, each in enumerate(made)
    ]


NAMES = {
    "control characters": "weather\x1b[31m\n",
    "long": "x" * 10_000,
    "empty": "",
    "number": 7,
    "object": {"name": "weather"},
    "missing": None,
    "another script": "wеather",
}
CHATS = {
    "an index that skips": chat(part(0), part(7, id="call_2")),
    "a negative index": chat(part(-1)),
    "a huge index": chat(part(10**9)),
    "an index that is text": chat(part("0")),
    "no index": chat({key: value for key, value in part(0).items() if key != "index"}),
    "no id": chat(part(0, id=None)),
    "an id that is a number": chat(part(0, id=7)),
    "one id twice": chat(part(0), part(1)),
    "an unknown kind": chat(part(0, type="remote", remote={"name": "weather"})),
    "two kinds at once": chat(part(0, custom={"name": "weather", "input": BERN})),
    "a field of calls that nobody knows": [
        chunk(new_tool_calls=[part(0)]),
        chunk(finish="tool_calls"),
        "data: [DONE]\n\n",
    ],
    "a call after the end": [*chat(part(0))[:-1], chunk(part(1, id="call_2")), "data: [DONE]\n\n"],
    "calls that are no list": [chunk(tool_calls={"0": part(0)}), *chat()],
    "no finish": [chunk(part(0)), "data: [DONE]\n\n"],
    "cut off": [chunk(part(0)), chunk(finish="length"), "data: [DONE]\n\n"],
    "a choice that is none": ['data: {"choices": [7]}\n\n', *chat(part(0))],
    **{f"a name: {name}": chat(part(0, name=value)) for name, value in NAMES.items()},
}
ITEMS = {
    "an unknown call": responses((0, item(type="teleport_call"))),
    "an unknown item": responses((0, {"type": "thing", "id": "x"})),
    "an index that skips": responses((0, item()), (5, item(call_id="call_2", id="fc_2"))),
    "one id twice": responses((0, item()), (1, item(id="fc_2"))),
    "no call id": responses((0, item(call_id=None))),
    "another item at the end": responses((0, item()), whole=[item(call_id="call_2", id="fc_2")]),
    "a call only at the end": responses(whole=[item()]),
    "no type": responses((0, {"call_id": "call_1", "name": "weather", "arguments": BERN})),
    "half": responses((0, item(status="incomplete"))),
    **{f"a name: {name}": responses((0, item(name=value))) for name, value in NAMES.items()},
}


def asked(url: str, path: str, body: Any) -> httpx2.Response:
    return httpx2.post(f"{url}/v1/{path}", json={**body, "stream": True}, timeout=60)


def is_error(text: str) -> bool:
    """Return True if a stream tells an error: each API has its own form."""
    return '"error":{' in text or "event: error" in text


def check(bench: Bench, events: Iterable[str], path: str, body: Any) -> None:
    """Send an answer of *events* through a proxy, and judge what the client gets."""
    with (
        ModelServer([Turn(events=list(events)), GOOD]) as upstream,
        proxied(bench.guard, upstream.openai) as proxy,
    ):
        answer = asked(proxy.url, path, body)
        recorded = list(bench.recorded)
        allowed = {
            each["origin"]["call_id"]
            for each in bench.decisions
            if each["decision"]["effect"] == "allow"
        }
        cancelled = [each for each in bench.outcomes if each["status"] == "cancelled"]
        handed = {name for name in ("call_1", "call_2") if f'"{name}"' in answer.text}
        assert handed <= allowed, answer.text
        failed = is_error(answer.text)
        # Only an item that asks for nothing leaves no record.
        assert recorded or '"type":"thing"' in answer.text.replace(" ", "")
        if failed:
            assert len(cancelled) == len(allowed - handed)
        again = asked(proxy.url, path, body)
        assert '"call_good"' in again.text, again.text
        assert not is_error(again.text)


@pytest.mark.parametrize("events", CHATS.values(), ids=CHATS)
def test_chat_completions(bench: Bench, events: list[str]) -> None:
    check(bench, events, "chat/completions", CHAT)


@pytest.mark.parametrize("events", ITEMS.values(), ids=ITEMS)
def test_responses(bench: Bench, events: list[str]) -> None:
    check(bench, events, "responses", RESPONSES)


@pytest.mark.parametrize("status", [400, 429, 503])
@pytest.mark.parametrize("kind", [b"application/json", b"text/event-stream", b"text/plain"])
def test_an_error_that_contains_an_answer_is_not_passed_on(
    bench: Bench, status: int, kind: bytes
) -> None:
    """Some clients read it although the status says that there is none. Nobody has decided it."""
    message = {"role": "assistant", "tool_calls": [part(0)]}
    whole = json.dumps({"choices": [{"message": message, "finish_reason": "tool_calls"}]})
    text = "".join(chat(part(0))) if kind == b"text/event-stream" else whole

    async def upstream(_scope: Any, _receive: Any, send: Any) -> None:
        headers = [(b"content-type", kind)]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": text.encode()})

    with serving(upstream) as api, proxied(bench.guard, f"{api.url}/v1") as proxy:
        answer = httpx2.post(f"{proxy.url}/v1/chat/completions", json=CHAT)
    assert (answer.status_code, "call_1" in answer.text) == (502, False)
    assert answer.json()["error"]["code"] == "model_answer.error_body"
    assert [each["reason"] for each in bench.rejected] == ["model_answer.error_body"]


def test_a_request_that_is_no_json_is_told_from_one_that_can_be_read_in_two_ways(
    bench: Bench,
) -> None:
    with proxied(bench.guard, "http://127.0.0.1:9/v1") as proxy:
        told = [
            httpx2.post(f"{proxy.url}/v1/responses", content=body).json()["error"]["message"]
            for body in ('{"model": "m", "inp', '{"model": "m", "model": "n"}')
        ]
    assert told == [
        "the request is not valid JSON",
        "the request is not a JSON object that all parsers interpret in the same way",
    ]


def test_a_request_with_a_number_that_json_can_not_express_is_refused_if_it_changes(
    bench: Bench,
) -> None:
    """Infinity is not JSON."""
    tool = '{"type": "mcp", "server_label": "x", "n": 1e999}'
    body = f'{{"model": "m", "input": "x", "tools": [{tool}]}}'
    with ModelServer([GOOD]) as api, proxied(bench.guard, api.openai) as proxy:
        answer = httpx2.post(f"{proxy.url}/v1/responses", content=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "proxy.request")
    assert not api.requests


def test_an_answer_with_too_many_calls_leaves_one_record(bench: Bench) -> None:
    calls = [Call("weather", None, f"c{number}") for number in range(1_025)]
    with ModelServer([Turn(calls=calls)]) as api, proxied(bench.guard, api.openai) as proxy:
        answer = httpx2.post(f"{proxy.url}/v1/chat/completions", json=CHAT)
    assert (answer.status_code, "more than 1,024 calls" in answer.text) == (502, True)
    assert [each["reason"] for each in bench.recorded] == ["model_answer"]


def test_other_requests_are_served_while_a_small_answer_is_decompressed() -> None:
    turns = 0

    async def read() -> int:
        nonlocal turns
        stream = asyncio.StreamReader()
        stream.feed_data(gzip.compress(b"\n" * (20 * 65_536)))
        stream.feed_eof()
        headers = ((b"content-type", b"text/event-stream"), (b"content-encoding", b"gzip"))
        content = SimpleNamespace(readany=functools.partial(stream.read, 65_536))
        response: Any = SimpleNamespace(raw_headers=headers, status=200, content=content)
        reply = UpstreamReply(response, 1 << 30)
        other = asyncio.create_task(count())
        size = 0
        while piece := await reply.read():
            size += len(piece)
        other.cancel()
        return size

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    assert asyncio.run(read()) == 20 * 65_536
    assert turns >= 20
