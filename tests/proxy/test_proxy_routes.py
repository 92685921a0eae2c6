"""The proxy serves listed routes only, and says in the API's own format why it refuses others."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import httpx2
import pytest

from guardrail.proxy.errors import ProxyError
from guardrail.proxy.limits import ProxyLimits
from guardrail.proxy.routes import find_route
from tests.support.adapters import Bench
from tests.support.model_server import ModelServer, Turn
from tests.support.proxies import proxied, serving
from tests.support.waiting import PATIENCE


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/realtime"),
        ("GET", "/v1/responses"),
        ("GET", "/v1/responses/resp_1"),
        ("GET", "/v1/responses/resp_1/input_items"),
        ("POST", "/v1/responses/resp_1/cancel"),
        ("POST", "/v1/responses/compact"),
        ("GET", "/v1/chat/completions"),
        ("GET", "/v1/chat/completions/id/messages"),
        ("POST", "/v1/chat/completions/"),
        ("POST", "/v1/Chat/completions"),
        ("POST", "/chat/completions"),
        ("POST", "/v1/batches"),
        ("POST", "/v1/assistants"),
        ("POST", "/v1/threads/t/runs"),
        ("POST", "/v1/messages/batches"),
        ("GET", "/v1/conversations/c/items"),
        ("POST", "/v1/brand_new"),
        ("POST", "/v1"),
        ("POST", "/"),
        ("CONNECT", "/v1/models"),
        ("GET", "/v1/models/../chat/completions"),
        ("GET", "/v1/models/%2e%2e/chat/completions"),
        ("GET", "/v1/models/..%2fchat%2fcompletions"),
        ("GET", "/v1/models/%252e%252e/chat/completions"),
        ("GET", "/v1/models/..\\chat"),
        ("GET", "/v1/models/%5c..%5cchat"),
        ("GET", "/v1//models"),
        ("GET", "//evil.example/v1/models"),
        ("GET", "http://evil.example/v1/models"),
        ("GET", "/v1/models/a%00b"),
        ("GET", "/v1/models/a%0d%0ab"),
        ("GET", "/v1/models/a?b"),
        ("GET", "/v1/models/é"),
        ("POST", "/v1/models/gemini:generateContent"),
        ("POST", "/v1/projects/p/locations/l/publishers/anthropic/models/m:rawPredict"),
        ("POST", "/v1/projects/p/locations/l/endpoints/openapi/chat/completions"),
        ("POST", "/v1/files/..;/chat/completions"),
        ("POST", "/v1/files/..%3b/chat/completions"),
    ],
)
def test_a_route_that_is_not_listed_is_refused(method: str, path: str) -> None:
    with pytest.raises(ProxyError) as refused:
        find_route(method, path)
    assert refused.value.status == 404


@pytest.mark.parametrize(
    ("method", "path", "forwarded"),
    [
        ("GET", "/v1/models", "/models"),
        ("GET", "/v1/models/meta%2FLlama-3:free", "/models/meta%2FLlama-3:free"),
        ("DELETE", "/v1/responses/resp_1", "/responses/resp_1"),
        ("POST", "/v1/embeddings", "/embeddings"),
        ("POST", "/v1/responses/input_tokens", "/responses/input_tokens"),
    ],
)
def test_a_route_without_calls_is_passed_on(method: str, path: str, forwarded: str) -> None:
    route = find_route(method, path)
    assert (route.path, route.api) == (forwarded, None)


def test_an_encoded_path_of_a_governed_route_is_governed() -> None:
    """The upstream gets the path that was decided about."""
    route = find_route("POST", "/v1/%63hat/completions")
    assert (route.path, str(route.api)) == ("/chat/completions", "chat")


@pytest.mark.parametrize(
    ("path", "headers", "kind"),
    [
        ("/v1/realtime", {}, "invalid_request_error"),
        ("/v1/messages/batches", {}, "not_found_error"),
        ("/v1/other", {"anthropic-version": "2023-06-01"}, "not_found_error"),
    ],
)
def test_a_refusal_has_the_format_of_the_api(
    bench: Bench, path: str, headers: dict[str, str], kind: str
) -> None:
    with ModelServer([]) as upstream, proxied(bench.guard, upstream.openai) as proxy:
        answer = httpx2.post(f"{proxy.url}{path}", headers=headers, json={})
    assert answer.status_code == 404
    error = answer.json()["error"]
    assert error["type"] == kind
    assert "can carry tool calls" in error["message"]
    assert not upstream.requests


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/"), ("POST", "/v1/v1/messages"), ("POST", "/messages")]
)
def test_a_wrong_base_url_is_answered_with_the_right_ones(method: str, path: str) -> None:
    with pytest.raises(ProxyError, match="not served") as refused:
        find_route(method, path)
    said = "base URL with /v1 for OpenAI's clients, without /v1 for Anthropic's clients"
    assert (refused.value.status, refused.value.hint) == (404, said)


def test_a_passed_route_streams_both_ways(bench: Bench) -> None:
    """The bytes and the status are the upstream's own."""
    body = b"\x00\xff" * 300_000
    with (
        serving_echo() as echo,
        proxied(bench.guard, f"{echo.url}/v1") as proxy,
    ):
        answer = httpx2.post(f"{proxy.url}/v1/files?purpose=x", content=body)
        pieces = httpx2.post(f"{proxy.url}/v1/files", content=iter([body, b"end"]))
    assert answer.status_code == 201
    assert answer.headers["x-path"] == "/v1/files?purpose=x"
    assert answer.content == body
    assert pieces.content == body + b"end"


def serving_echo() -> Any:
    """Serve an upstream that answers with what it gets."""

    async def echo(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            return
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message["body"], message["more_body"]
        path = scope["raw_path"] + b"?" * bool(scope["query_string"]) + scope["query_string"]
        await send({"type": "http.response.start", "status": 201, "headers": [(b"x-path", path)]})
        await send({"type": "http.response.body", "body": body})

    return serving(echo)


@pytest.mark.parametrize(
    "body",
    [
        b'{"prompt": "x", "plugins": [{"id": "web"}]}',
        b'{"prompt": "x", "tools": [1]}',
        b'{"prompt": "x", "model": "m:online"}',
        b'{"prompt": "x", "prompt": "y"}',
        b"[]",
        b"",
    ],
)
def test_a_completion_without_messages_runs_no_tool_of_the_provider(
    bench: Bench, body: bytes
) -> None:
    with serving_echo() as echo, proxied(bench.guard, f"{echo.url}/v1") as proxy:
        url = f"{proxy.url}/v1/completions"
        refused = httpx2.post(url, content=body)
        good = b'{"prompt": "x", "stop": ["y"], "top_k": 5}'
        passed = httpx2.post(url, content=good)
    assert refused.status_code == 400
    assert refused.json()["error"]["code"] in {
        "model_request.field",
        "model_request.hosted_tool",
        "proxy.request",
    }
    assert (passed.status_code, passed.content) == (201, good)


def test_a_passed_request_that_is_too_large_is_refused(bench: Bench) -> None:
    with (
        serving_echo() as echo,
        proxied(bench.guard, f"{echo.url}/v1", limits=ProxyLimits(passed=1000)) as proxy,
    ):
        answer = httpx2.post(f"{proxy.url}/v1/files", content=b"x" * 1001)
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "proxy.request_size"


def test_an_upgrade_to_a_websocket_is_refused(bench: Bench) -> None:
    upgrade = {
        "connection": "upgrade",
        "upgrade": "websocket",
        "sec-websocket-key": "AAAAAAAAAAAAAAAAAAAAAA==",
        "sec-websocket-version": "13",
    }
    with ModelServer([Turn("Sun.")]) as upstream, proxied(bench.guard, upstream.openai) as proxy:
        answer = httpx2.get(f"{proxy.url}/v1/responses", headers=upgrade)
    assert answer.status_code == 404
    assert not upstream.requests


@pytest.mark.parametrize("body", [None, b"{}"])
def test_a_client_that_leaves_a_passed_answer_stops_the_upstream(
    bench: Bench, body: bytes | None
) -> None:
    """It reads no further from an upstream that never ends."""
    left = threading.Event()

    async def endless(scope: Any, receive: Any, send: Any) -> None:
        async def watch() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            left.set()

        watching = asyncio.create_task(watch())
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while not left.is_set():
            await send({"type": "http.response.body", "body": b"x" * 100, "more_body": True})
            await asyncio.sleep(0.01)
        await watching

    with serving(endless) as upstream, proxied(bench.guard, f"{upstream.url}/v1") as proxy:
        method = "GET" if body is None else "POST"
        url = f"{proxy.url}/v1/files/f/content"
        with httpx2.stream(method, url, content=body, timeout=PATIENCE) as answer:
            next(answer.iter_bytes())
        assert left.wait(PATIENCE)
