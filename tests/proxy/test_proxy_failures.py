"""Whatever fails, no call is handed over without a record, and every call has one outcome."""

from __future__ import annotations

import json
import socket
import threading
import time
from dataclasses import replace
from typing import Any

import httpx2
import openai
import pytest

from guardrail.config import ProxySettings
from guardrail.errors import ConfigError, LedgerError
from guardrail.model_apis.answers import AnswerStream, read_answer
from guardrail.model_apis.api import Api
from guardrail.model_apis.asking import ModelAnswerError
from guardrail.proxy.app import Proxy
from guardrail.proxy.errors import Failure
from guardrail.proxy.limits import ProxyLimits
from guardrail.proxy.upstream import Upstream
from tests.support.adapters import Bench
from tests.support.model_server import Call, ModelServer, Turn
from tests.support.openai_clients import CHAT, RESPONSES, TEXT, asking
from tests.support.proxies import proxied, serving
from tests.support.waiting import PATIENCE
from tests.support.wire import Wire, bomb

STREAMS: Any = [
    pytest.param("chat/completions", CHAT, id="chat"),
    pytest.param("responses", RESPONSES, id="responses"),
]


def failing(bench: Bench, type_: str = "call.decision") -> None:
    """Let the ledger refuse records of one type."""
    bench.ledger.fail = lambda draft: (
        LedgerError("the disk is gone", code="ledger.io") if draft.type == type_ else None
    )


def post(proxy: Any, path: str = "chat/completions", body: Any = CHAT, **options: Any) -> Any:
    return httpx2.post(f"{proxy.url}/v1/{path}", json=body, timeout=60, **options)


@pytest.mark.parametrize(("path", "asked"), STREAMS)
def test_a_call_that_cannot_be_recorded_is_an_error_that_is_not_tried_again(
    bench: Bench, path: str, asked: Any
) -> None:
    failing(bench)
    with (
        ModelServer([asking("Bern")], repeat=True) as upstream,
        proxied(bench.guard, upstream.openai) as proxy,
    ):
        answer = post(proxy, path, asked)
        assert answer.status_code == 503
        assert answer.headers["x-should-retry"] == "false"
        assert answer.json()["error"]["code"] == "ledger.io"
        bench.ledger.fail = lambda _: None
        assert post(proxy, path, asked).status_code == 200
    assert "disk" not in answer.text


@pytest.mark.parametrize(("path", "asked"), STREAMS)
def test_a_stream_whose_call_cannot_be_recorded_ends_with_an_error(
    bench: Bench, path: str, asked: Any
) -> None:
    """The text before the call has passed; nothing says that the answer is complete."""
    failing(bench)
    with (
        ModelServer([asking("Bern")], repeat=True) as upstream,
        proxied(bench.guard, upstream.openai) as proxy,
    ):
        text = post(proxy, path, {**asked, "stream": True}).text
        client = proxy.openai()
        if path == "responses":
            events = list(client.responses.create(**asked, stream=True))
            assert events[-1].type == "error"
            assert events[-1].code == "ledger.io"
            assert [event.sequence_number for event in events] == list(range(len(events)))
        else:
            with pytest.raises(openai.APIError, match="can't be recorded"):
                list(client.chat.completions.create(**asked, stream=True))
    assert "Bern" in text
    assert "weather" not in text.replace("what", "")
    assert "[DONE]" not in text
    assert "response.completed" not in text


@pytest.mark.parametrize(
    ("wire", "status", "code"),
    [
        (Wire(body=b"<html>hello</html>", content_type="text/html"), 502, "upstream_type"),
        (Wire(body=b"{}", content_type="application/octet-stream"), 502, "upstream_type"),
        (Wire(body=b"{}", content_type="application/json; charset=utf-7"), 502, "upstream_type"),
        (Wire(body=b"{}", content_type='text/event-stream;charset="utf-16"'), 502, "upstream_type"),
        (Wire(status=302, headers={"location": "/elsewhere"}), 502, "upstream_redirect"),
        (Wire(body=b'{"choices": [{"mess'), 502, None),
        (Wire(body=b'{"choices": 1, "choices": []}'), 502, None),
        (Wire(cut=20), 502, "upstream_broken"),
        (bomb(20_000_000, start=b'{"id": "', end=b'"}'), 502, "upstream_size"),
        (Wire(body=b"{}", headers={"content-encoding": "br"}), 502, "upstream_encoding"),
        (Wire(body=b"no gzip", headers={"content-encoding": "gzip"}), 502, "upstream_encoding"),
        (Wire(endless=b" " * 65536), 502, "upstream_size"),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, str) else None,
)
def test_an_answer_that_is_none_is_an_error_of_the_api(
    bench: Bench, wire: Wire, status: int, code: str | None
) -> None:
    """No part of it is passed on as an answer, and the next request works."""
    limits = ProxyLimits(answer=10_000_000)
    with (
        ModelServer([Turn("Sun.", wire=wire), asking("Bern")]) as upstream,
        proxied(bench.guard, upstream.openai, limits=limits) as proxy,
    ):
        answer = post(proxy)
        assert answer.status_code == status
        error = answer.json()["error"]
        assert error["code"] == (f"proxy.{code}" if code else "model_answer")
        assert post(proxy).status_code == 200
    assert len(bench.decisions) == 1
    (record,) = bench.rejected
    assert record["reason"] == error["code"]


def test_an_error_of_the_upstream_is_passed_on_as_it_is(bench: Bench) -> None:
    wire = Wire(
        status=429,
        body=b'{"error": {"message": "slow down", "code": "rate"}}',
        headers={"retry-after": "17", "x-ratelimit-remaining-requests": "0", "alt-svc": "h3=x"},
    )
    with (
        ModelServer([Turn(wire=wire), Turn(status=500, text="down")]) as upstream,
        proxied(bench.guard, upstream.openai) as proxy,
    ):
        limited, failed = post(proxy), post(proxy)
    assert limited.status_code == 429
    assert limited.headers["retry-after"] == "17"
    assert limited.headers["x-ratelimit-remaining-requests"] == "0"
    assert "alt-svc" not in limited.headers
    assert limited.json()["error"]["code"] == "rate"
    assert failed.status_code == 500
    assert failed.json()["error"]["message"] == "down"


@pytest.mark.parametrize("stream", [False, True])
def test_a_compressed_answer_is_decompressed(bench: Bench, stream: bool) -> None:
    """Although none was asked for."""
    turn = Turn(TEXT, [Call("weather", {"city": "Bern"})], wire=Wire(gzip=True))
    with (
        ModelServer([turn]) as upstream,
        proxied(bench.guard, upstream.openai) as proxy,
    ):
        answer = post(proxy, body={**CHAT, "stream": stream})
    assert "content-encoding" not in answer.headers
    assert "Bern" in answer.text
    assert len(bench.decisions) == 1


def test_an_upstream_that_cannot_be_reached_is_an_error_that_can_be_tried_again(
    bench: Bench,
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    with proxied(bench.guard, f"http://127.0.0.1:{port}/v1") as proxy:
        answer = post(proxy)
    assert answer.status_code == 502
    error = answer.json()["error"]
    assert error["code"] == "proxy.upstream_unreachable"
    reason = "connection refused"
    assert error["message"] == f"the upstream 127.0.0.1:{port} can't be reached ({reason})"
    assert "x-should-retry" not in answer.headers


def test_an_upstream_whose_name_is_unknown_is_named_in_the_error(bench: Bench) -> None:
    with proxied(bench.guard, "https://models.invalid/v1") as proxy:
        answer = post(proxy)
    assert answer.status_code == 502
    said = answer.json()["error"]["message"]
    assert said == "the upstream models.invalid can't be reached (its name was not found)"


def test_an_upstream_with_a_certificate_of_nobody_gets_no_request(bench: Bench) -> None:
    with (
        ModelServer([Turn("Sun.")]) as upstream,
        proxied(bench.guard, upstream.openai.replace("http:", "https:")) as proxy,
    ):
        answer = post(proxy)
    assert answer.status_code == 502
    error = answer.json()["error"]
    assert error["code"] in {"proxy.upstream_tls", "proxy.upstream_broken"}
    assert upstream.url.removeprefix("http://") in error["message"]
    assert not upstream.requests


def test_the_proxies_that_the_environment_names_are_not_used(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They would get the keys of the callers."""
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with (
        ModelServer([Turn("Sun.")]) as upstream,
        proxied(bench.guard, upstream.openai) as proxy,
        httpx2.Client(trust_env=False) as client,
    ):
        answer = client.post(f"{proxy.url}/v1/chat/completions", json=CHAT)
    assert answer.status_code == 200


def test_an_upstream_that_sends_nothing_is_given_up(bench: Bench) -> None:
    """Long before it would answer, which it does only after the test."""
    told = threading.Event()

    def late(_: object) -> Turn:
        told.wait(PATIENCE)
        return Turn("Sun.")

    with (
        ModelServer([late]) as upstream,
        proxied(bench.guard, upstream.openai, upstream_idle_s=1) as proxy,
    ):
        answer = post(proxy)
        told.set()
    assert answer.status_code == 504
    assert answer.json()["error"]["code"] == "proxy.upstream_timeout"


@pytest.mark.parametrize(
    ("path", "asked", "cut"),
    [
        pytest.param("chat/completions", CHAT, 6, id="chat"),
        pytest.param("responses", RESPONSES, 12, id="responses"),
        pytest.param("messages", {**CHAT, "max_tokens": 100}, 10, id="messages"),
    ],
)
def test_calls_of_a_stream_that_breaks_off_are_dropped(
    bench: Bench, path: str, asked: Any, cut: int
) -> None:
    """They are recorded as calls that were never passed on: *cut* events hold some of their
    arguments.
    """
    with (
        ModelServer([replace(asking("Bern"), cut=cut)]) as up,
        proxied(bench.guard, up.openai) as proxy,
    ):
        text = post(proxy, path, {**asked, "stream": True}).text
        assert '"error"' in text
        assert "weather" not in text
        assert "[DONE]" not in text
    assert not bench.decisions
    (record,) = bench.rejected
    assert (record["tool"]["name"], record["reason"]) == ("weather", "incomplete")


def test_a_stream_that_never_ends_is_cut(bench: Bench) -> None:
    limits = ProxyLimits(answer=1_000_000)
    endless = Wire(endless=b": nothing\n\n" * 1000)
    with (
        ModelServer(
            [Turn("Sun.", wire=endless), Turn("Sun.", wire=Wire(pause=0.5, piece=9))]
        ) as up,
        proxied(bench.guard, up.openai, limits=limits) as proxy,
    ):
        large = post(proxy, "responses", {**RESPONSES, "stream": True})
    assert "proxy.upstream_size" in large.text
    with (
        ModelServer([Turn("Sun.", wire=Wire(pause=0.2, piece=9))]) as upstream,
        proxied(bench.guard, upstream.openai, limits=ProxyLimits(answer_s=1)) as proxy,
    ):
        slow = post(proxy, body={**CHAT, "stream": True})
    assert "proxy.answer_time" in slow.text


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"not json", "request"),
        (b"[1]", "request"),
        (b'{"stream": true, "stream": false}', "request"),
        (b'{"a": 1} {}', "request"),
        (b'{"a": NaN}', "request"),
        (b"\xff{}", "request"),
        (b"[" * 200_000, "request"),
        (b'{"a": "' + b"x" * 1_100_000 + b'"}', "request_size"),
    ],
)
def test_a_request_that_can_be_read_in_two_ways_is_refused(
    bench: Bench, content: bytes, code: str
) -> None:
    with (
        ModelServer([Turn("Sun.")]) as upstream,
        proxied(bench.guard, upstream.openai, max_body_mb=1) as proxy,
    ):
        answer = httpx2.post(f"{proxy.url}/v1/responses", content=content)
        assert answer.status_code in {400, 413}
        assert answer.json()["error"]["code"] == f"proxy.{code}"
        assert not upstream.requests
        assert post(proxy).status_code == 200


def test_a_compressed_request_is_refused(bench: Bench) -> None:
    """Its real size is not known before it is decompressed."""
    with ModelServer([Turn("Sun.")]) as upstream, proxied(bench.guard, upstream.openai) as proxy:
        headers = {"content-encoding": "gzip"}
        answer = httpx2.post(f"{proxy.url}/v1/responses", content=b"{}", headers=headers)
    assert answer.status_code == 415
    assert answer.json()["error"]["code"] == "listener.encoding"
    assert not upstream.requests


def test_a_megabyte_of_arguments_in_single_characters_takes_linear_time(bench: Bench) -> None:
    """Each character is an event of its own."""
    took = []
    for size in (20_000, 80_000):
        turn = Turn(calls=[Call("weather", {"city": "x" * size}, "call_1")], piece=1)
        with (
            ModelServer([turn]) as upstream,
            proxied(bench.guard, upstream.openai) as proxy,
        ):
            began = time.process_time()
            text = post(proxy, body={**CHAT, "stream": True}).text
            took.append(time.process_time() - began)
        assert text.count("tool_calls") >= 1
        assert "x" * size in text
    assert took[1] < 10 * took[0]


def test_a_client_that_goes_away_gets_no_call_and_stops_the_upstream(bench: Bench) -> None:
    """The calls of the rest of the answer are never decided."""
    turn = Turn("Sun. " * 200, [Call("weather", {"city": "Bern"})], wire=Wire(pause=0.02))
    with (
        ModelServer([turn]) as upstream,
        proxied(bench.guard, upstream.openai) as proxy,
    ):
        with httpx2.stream(
            "POST", f"{proxy.url}/v1/chat/completions", json={**CHAT, "stream": True}
        ) as answer:
            next(answer.iter_bytes())
        assert upstream.left.acquire(timeout=PATIENCE)
        assert not bench.recorded


@pytest.mark.parametrize(
    "url",
    [
        "http://api.example.com/v1",
        "ftp://127.0.0.1/",
        "https://key@api.example.com/v1",
        "https://api.example.com/v1?key=1",
        "https:///v1",
        "https://[::1",
        "https://host:99999/",
        "api.openai.com",
        "",
    ],
)
def test_an_upstream_that_would_get_keys_in_the_clear_is_refused(url: str) -> None:
    with pytest.raises(ConfigError) as refused:
        Upstream(url, idle_s=1, connect_s=1)
    assert refused.value.code == "config.upstream"


@pytest.mark.parametrize("api", list(Api))
def test_the_last_event_of_a_stream_that_fails_is_one_that_clients_parse(api: Api) -> None:
    event = Failure(502, "proxy.x", "it failed").event(api, 7).decode()
    document = json.loads(event.split("data: ")[1])
    assert "it failed" in json.dumps(document)
    assert event.endswith("\n\n")


def test_calls_of_an_answer_that_fails_later_are_cancelled(bench: Bench) -> None:
    """The first of two was admitted, and its client never got it."""
    failed: list[object] = []

    def fail(draft: Any) -> LedgerError | None:
        if draft.type == "call.decision":
            failed.append(draft)
        if draft.type == "call.decision" and len(failed) == 2:
            return LedgerError("gone", code="ledger.io")
        return None

    bench.ledger.fail = fail
    with (
        ModelServer([asking("Bern", "Basel")]) as upstream,
        proxied(bench.guard, upstream.openai) as proxy,
    ):
        answer = post(proxy)
    assert answer.status_code == 503
    assert [each["status"] for each in bench.outcomes] == ["cancelled"]
    assert bench.outcomes[0]["call"] == bench.decisions[0]["call"]


@pytest.mark.parametrize(
    "more",
    [
        {"previous_response_id": ["resp_1"]},
        {"conversation": {"id": {"a": 1}}},
        {"input": [{"call_id": {"a": 1}, "type": "function_call_output"}, 7, None]},
        {"input": [{"id": {"a": 1}, "type": 5}]},
        {"tools": [{"type": "function", "name": f"tool_{n}"} for n in range(10_000)]},
        {"input": "x" * 2_000_000},
    ],
    ids=["id", "conversation", "output", "item", "tools", "large"],
)
def test_an_odd_request_gets_an_answer_and_the_next_one_works(
    bench: Bench, more: dict[str, Any]
) -> None:
    with (
        ModelServer([asking("Atlantis"), Turn("Sun.")], repeat=True) as upstream,
        proxied(bench.guard, upstream.openai) as proxy,
    ):
        assert post(proxy, "responses", RESPONSES).status_code == 200
        assert post(proxy, "responses", {**RESPONSES, **more}).status_code in {200, 400}
        assert post(proxy, "responses", RESPONSES).status_code == 200


def test_an_error_in_the_proxy_has_the_format_of_the_api(bench: Bench) -> None:
    """It quotes nothing, and tells clients not to try again."""

    def broken(_: object) -> Any:
        raise KeyError("secret")

    with (
        ModelServer([Turn("Sun.")]) as upstream,
        serving(Proxy(bench.guard, upstream.openai, ProxySettings(), identify=broken)) as proxy,
    ):
        answer = post(proxy)
    assert answer.status_code == 500
    assert answer.headers["x-should-retry"] == "false"
    assert answer.json()["error"]["code"] == "proxy.bug"
    assert "secret" not in answer.text
    assert not upstream.requests


MANY = b"[" + b"[]," * 500_000 + b"0]"
"""More values than the proxy parses."""


@pytest.mark.parametrize("api", Api)
def test_json_with_too_many_values_is_not_parsed(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither as an answer nor as an event: 3 bytes of it take 70 of memory."""
    monkeypatch.setattr(json.JSONDecoder, "raw_decode", lambda *_: pytest.fail("parsed"))
    body = b'{"id": "r", "usage": ' + MANY + b"}"
    events = AnswerStream(api)
    for parse in (
        lambda: read_answer(api, body),
        lambda: [next(events.govern(each)) for each in events.read(b"data: " + body + b"\n\n")],
    ):
        with pytest.raises(ModelAnswerError, match="more than 1,000,000 values"):
            parse()


def test_large_answers_and_requests_are_refused(bench: Bench) -> None:
    """An answer that is not a stream is in memory as a whole, so its limit is lower."""
    limits = ProxyLimits(whole=100_000)
    large = Turn("Sun." * 30_000)
    with (
        ModelServer([large, large, asking("Bern")]) as upstream,
        proxied(bench.guard, upstream.openai, limits=limits) as proxy,
    ):
        refused = post(proxy)
        assert (refused.status_code, refused.json()["error"]["code"]) == (
            502,
            "proxy.upstream_size",
        )
        assert post(proxy, "chat/completions", {**CHAT, "stream": True}).status_code == 200
        request = json.dumps({**CHAT, "metadata": "@"}).replace('"@"', MANY.decode())
        refused = httpx2.post(f"{proxy.url}/v1/chat/completions", content=request.encode())
        assert (refused.status_code, refused.json()["error"]["code"]) == (413, "proxy.request_size")
        assert post(proxy).status_code == 200
