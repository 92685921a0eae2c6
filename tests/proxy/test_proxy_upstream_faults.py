"""Whatever the upstream or the network does to an answer, the client gets what was decided, or an
error that it can read, and the next request works.
"""

from __future__ import annotations

import dataclasses
import gzip
from typing import Any

import httpx2
import openai
import pytest

from guardrail.proxy.limits import ProxyLimits
from tests.support.adapters import Bench
from tests.support.model_server import Call, ModelServer, Turn
from tests.support.openai_clients import CHAT, RESPONSES, WAYS, Way, client_for
from tests.support.proxies import proxied
from tests.support.wire import Wire, bomb, piled

CALLS = [
    Call("weather", {"city": "Bern"}, "call_1"),
    Call("weather", {"city": "Zürich an der Limmat"}, "call_2"),
]
ANSWER = Turn("Grüezi aus Zürich: 東京.", CALLS)
GOOD = {
    "gzip": Wire(gzip=True),
    "crlf": Wire(newline="\r\n"),
    "cr": Wire(newline="\r"),
    "comments": Wire(comments=True),
    "split characters": Wire(piece=1),
    "split characters, gzip, crlf, comments": Wire(
        newline="\r\n", comments=True, piece=1, gzip=True
    ),
    "slow drip": Wire(piece=97, pause=0.002),
}
KINDS = [
    way
    for way in WAYS
    if way.name
    in {
        "chat",
        "chat-chunks",
        "chat-stream",
        "achat-chunks",
        "responses",
        "responses-events",
        "responses-stream",
        "aresponses-events",
    }
]
APIS = {
    "chat": "/v1/chat/completions",
    "responses": "/v1/responses",
    "messages": "/v1/messages",
}
LAST = {"chat": "[DONE]", "responses": "response.completed", "messages": "message_stop"}


def wired(wire: Wire, turn: Turn = ANSWER, **more: Any) -> Turn:
    return dataclasses.replace(turn, wire=wire, **more)


def seen_by(way: Way, client: Any) -> Any:
    """Return what a program sees with *client*, which is closed then."""
    if way.asynchronous:
        return way.seen(client)
    with client:
        return way.seen(client)


@pytest.mark.parametrize("wire", GOOD.values(), ids=GOOD)
@pytest.mark.parametrize("way", KINDS, ids=lambda way: way.name)
def test_an_answer_is_the_same_as_without_the_proxy(bench: Bench, way: Way, wire: Wire) -> None:
    """Compressed although identity was asked for, with other line ends, in pieces of one byte."""
    with (
        ModelServer([wired(wire)], repeat=True) as upstream,
        proxied(bench.guard, upstream.openai) as proxy,
    ):
        direct = seen_by(way, client_for(upstream, asynchronous=way.asynchronous))
        seen = seen_by(way, proxy.openai(asynchronous=way.asynchronous))
    assert seen == direct
    assert [each["decision"]["effect"] for each in bench.decisions] == ["allow", "allow"]


def asked(api: str, *, stream: bool) -> dict[str, Any]:
    given = {"chat": CHAT, "responses": RESPONSES, "messages": {**CHAT, "max_tokens": 100}}[api]
    return {**given, "stream": stream}


def posted(url: str, api: str, *, stream: bool) -> httpx2.Response:
    """Return what a client gets, byte for byte, if it does not break off."""
    return httpx2.post(f"{url}{APIS[api]}", json=asked(api, stream=stream), timeout=60)


def test_the_chunk_with_the_usage_passes(bench: Bench) -> None:
    with (
        ModelServer([ANSWER]) as upstream,
        proxied(bench.guard, upstream.openai) as proxy,
        proxy.openai() as client,
    ):
        stream = client.chat.completions.create(
            **CHAT, stream=True, stream_options={"include_usage": True}
        )
        chunks = list(stream)
    assert chunks[-1].choices == []
    assert chunks[-1].usage.total_tokens == 18


def handed_over(text: str) -> set[str]:
    """Return the ids of the calls in what a client got."""
    return {each.id for each in CALLS if each.id is not None and each.id in text}


def admitted(bench: Bench) -> set[str]:
    return {
        each["origin"]["call_id"]
        for each in bench.decisions
        if each["decision"]["effect"] == "allow"
    }


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("part", [0.02, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.97])
def test_a_stream_that_is_cut_gives_no_undecided_call(bench: Bench, api: str, part: float) -> None:
    """The official client would take it as complete, so an error ends it."""
    with ModelServer([ANSWER], repeat=True) as upstream:
        size = len(posted(upstream.url, api, stream=True).content)
    cut = wired(Wire(cut=int(size * part)))
    with (
        ModelServer([cut, ANSWER]) as upstream,
        proxied(bench.guard, upstream.openai) as proxy,
    ):
        answer = posted(proxy.url, api, stream=True)
        assert '"error"' in answer.text
        assert LAST[api] not in answer.text
        assert handed_over(answer.text) <= admitted(bench)
        cancelled = {each["call"] for each in bench.outcomes if each["status"] == "cancelled"}
        lost = admitted(bench) - handed_over(answer.text)
        assert len(cancelled) == len(lost)
        again = posted(proxy.url, api, stream=True)
        assert handed_over(again.text) == {"call_1", "call_2"}


@pytest.mark.parametrize("api", APIS)
def test_a_connection_that_breaks_after_the_last_event_is_no_fault(bench: Bench, api: str) -> None:
    """Clients read no further."""
    with ModelServer([ANSWER], repeat=True) as upstream:
        size = len(posted(upstream.url, api, stream=True).content)
    with (
        ModelServer([wired(Wire(cut=size + 1000))]) as upstream,
        proxied(bench.guard, upstream.openai) as proxy,
    ):
        answer = posted(proxy.url, api, stream=True)
        assert '"error":{' not in answer.text
        assert handed_over(answer.text) == {"call_1", "call_2"}


@pytest.mark.parametrize("api", APIS)
def test_an_answer_that_is_cut_and_no_stream_is_an_error(bench: Bench, api: str) -> None:
    with (
        ModelServer([wired(Wire(cut=300)), ANSWER]) as upstream,
        proxied(bench.guard, upstream.openai) as proxy,
    ):
        answer = posted(proxy.url, api, stream=False)
        assert (answer.status_code, handed_over(answer.text)) == (502, set())
        assert "proxy.upstream" in answer.text
        assert posted(proxy.url, api, stream=False).status_code == 200


HTML = Wire(body=b"<html><h1>Sign in</h1></html>", content_type="text/html")
BAD = {
    "html": HTML,
    "plain text": Wire(content_type="text/plain"),
    "no content type": Wire(content_type=""),
    "redirect": Wire(status=302, headers={"location": "http://127.0.0.1:9/v1/responses"}, body=b""),
    "redirect with a body": Wire(status=307, headers={"location": "/v1/x"}),
    "no json": Wire(body=b"{"),
    "a list": Wire(body=b"[]"),
    "nothing": Wire(body=b""),
    "duplicate keys": Wire(body=b'{"choices": [], "choices": [], "output": [], "output": []}'),
    "deep": Wire(body=piled(100_000)),
    "no utf-8": Wire(body=b'{"choices": "\xff"}'),
    "not compressed": Wire(headers={"content-encoding": "gzip"}, body=b"{}"),
    "unknown compression": Wire(headers={"content-encoding": "zz"}, body=b"{}"),
    "compressed twice": Wire(
        headers={"content-encoding": "gzip, gzip"}, body=gzip.compress(gzip.compress(b"{}"))
    ),
    "bomb": bomb(64_000_000),
}


@pytest.mark.parametrize("wire", BAD.values(), ids=BAD)
@pytest.mark.parametrize("api", APIS)
def test_what_is_no_answer_of_the_api_is_an_error_that_clients_read(
    bench: Bench, api: str, wire: Wire
) -> None:
    """No redirect is followed, and nothing of the upstream's answer is passed on."""
    with (
        ModelServer([wired(wire), ANSWER]) as upstream,
        proxied(bench.guard, upstream.openai, limits=ProxyLimits(answer=32_000_000)) as proxy,
    ):
        failed = posted(proxy.url, api, stream=False)
        assert (failed.status_code, len(upstream.requests)) == (502, 1)
        error = failed.json()["error"]
        assert set(error) == (
            {"type", "message"} if api == "messages" else {"message", "type", "param", "code"}
        )
        assert "Sign in" not in failed.text
        assert [each["type"] for each in bench.recorded] == ["call.rejected"]
        assert posted(proxy.url, api, stream=False).status_code == 200
    assert len(bench.decisions) == 2


@pytest.mark.parametrize("status", [400, 401, 403, 429, 500, 503, 529])
def test_an_error_of_the_upstream_is_the_clients(bench: Bench, status: int) -> None:
    """With its headers, which tell the client when to try again."""
    wire = Wire(headers={"retry-after": "0", "x-request-id": "req_1", "x-ratelimit-remaining": "3"})
    with (
        ModelServer([Turn("slow down", status=status, wire=wire), ANSWER]) as upstream,
        proxied(bench.guard, upstream.openai) as proxy,
        proxy.openai() as client,
    ):
        with pytest.raises(openai.APIStatusError, match="slow down") as raised:
            client.chat.completions.create(**CHAT)
        assert raised.value.status_code == status
        headers = raised.value.response.headers
        assert (headers["retry-after"], headers["x-ratelimit-remaining"]) == ("0", "3")
        assert raised.value.request_id == "req_1"
        assert client.chat.completions.create(**CHAT).choices


def test_a_client_that_tries_again_decides_once(bench: Bench) -> None:
    wire = Wire(headers={"retry-after": "0"})
    with (
        ModelServer([Turn("slow down", status=429, wire=wire), ANSWER]) as upstream,
        proxied(bench.guard, upstream.openai) as proxy,
        proxy.openai(max_retries=2) as client,
    ):
        answer = client.chat.completions.create(**CHAT)
        assert len(answer.choices[0].message.tool_calls) == 2
        assert len(upstream.requests) == 2
    assert len(bench.decisions) == 2


ENDLESS = {
    "comments": b": keep-alive\n\n",
    "half an event": b"data: {",
    "events": b'data: {"object":"chat.completion.chunk","choices":[]}\n\n',
    "one line": b"x" * 4096,
}


@pytest.mark.parametrize("endless", ENDLESS.values(), ids=ENDLESS)
def test_a_stream_that_never_ends_is_ended(bench: Bench, endless: bytes) -> None:
    """After a time, or a size: both have limits."""
    wire = Wire(endless=endless, pause=0.01)
    limits = ProxyLimits(answer_s=2, answer=4_000_000)
    with (
        ModelServer([Turn(events=[], wire=wire), ANSWER]) as upstream,
        proxied(bench.guard, upstream.openai, limits=limits) as proxy,
        proxy.openai() as client,
    ):
        with (
            client.chat.completions.create(**CHAT, stream=True) as stream,
            pytest.raises(openai.APIError),
        ):
            list(stream)
        assert upstream.left.acquire(timeout=60), "the connection to the upstream is still open"
        assert client.chat.completions.create(**CHAT).choices
    assert len(bench.decisions) == 2


@pytest.mark.parametrize("api", APIS)
def test_a_client_that_goes_away_ends_the_upstreams_answer(bench: Bench, api: str) -> None:
    wire = Wire(endless=b": keep-alive\n\n", pause=0.01)
    with (
        ModelServer([Turn("Sun.", wire=wire, cut=3)]) as upstream,
        proxied(bench.guard, upstream.openai) as proxy,
    ):
        url = f"{proxy.url}{APIS[api]}"
        with httpx2.stream("POST", url, json=asked(api, stream=True), timeout=60) as answer:
            next(answer.iter_bytes())
        assert upstream.left.acquire(timeout=60), "the connection to the upstream is still open"


def test_an_upstream_that_is_not_there_is_an_error(bench: Bench) -> None:
    with (
        proxied(bench.guard, "http://127.0.0.1:9/v1") as proxy,
        proxy.openai() as client,
        pytest.raises(openai.APIStatusError) as raised,
    ):
        client.chat.completions.create(**CHAT)
    assert raised.value.status_code == 502
