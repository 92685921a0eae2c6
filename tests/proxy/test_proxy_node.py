"""Clients written for Node work unchanged through the proxy, and get decided calls only. Programs
that run the tools themselves run those that were allowed.
"""

from __future__ import annotations

import pytest

from tests.support.adapters import Bench
from tests.support.model_server import Call, ModelServer, Turn
from tests.support.node import RUNNERS, base_url, node
from tests.support.proxies import proxied
from tests.support.wire import Wire

pytestmark = pytest.mark.slow

CALLS = [Call("weather", {"city": city}, f"call_{city}") for city in ("Bern", "Atlantis", "Zürich")]
HOSTILE = Wire(newline="\r\n", comments=True, piece=1, gzip=True)
SEEN = [
    *(("openai", way) for way in ("chat", "chat-chunks", "chat-stream")),
    *(("openai", way) for way in ("responses", "responses-events", "responses-stream")),
    *(("anthropic", way) for way in ("messages", "messages-events", "messages-stream")),
]


@pytest.mark.parametrize("wire", [Wire(), HOSTILE], ids=["as it is", "hostile"])
@pytest.mark.parametrize(("client", "way"), SEEN, ids=str)
def test_a_client_gets_the_allowed_calls_and_the_refusals_of_others(
    bench: Bench, client: str, way: str, wire: Wire
) -> None:
    with (
        ModelServer([Turn("Grüezi.", CALLS, wire=wire)]) as upstream,
        proxied(bench.guard, upstream.openai) as proxy,
    ):
        seen = node(client, base_url(proxy.url, client), way)
    assert [each[0] for each in seen["calls"]] == ["call_Bern", "call_Zürich"]
    assert "Grüezi." in seen["text"]
    assert "no_such_place" in str(seen.get("refusals") or seen["text"])
    effects = [each["decision"]["effect"] for each in bench.decisions]
    assert effects == ["allow", "deny", "allow"]


@pytest.mark.parametrize(("client", "way"), RUNNERS, ids=str)
def test_a_program_runs_the_allowed_tools_and_its_results_are_outcomes(
    bench: Bench, client: str, way: str
) -> None:
    """A later request has the results: they are the client's claims."""
    with (
        ModelServer([Turn(calls=CALLS), Turn("Sun.")]) as upstream,
        proxied(bench.guard, upstream.openai) as proxy,
    ):
        seen = node(client, base_url(proxy.url, client), way)
        assert seen["ran"] == ["Bern", "Zürich"]
        assert seen["text"].endswith("Sun.")
        assert len(upstream.requests) == 2
    assert [each["status"] for each in bench.outcomes] == ["returned", "returned"]


@pytest.mark.parametrize(
    ("client", "way"), [SEEN[0], SEEN[1], SEEN[4], SEEN[7], *RUNNERS[2:4]], ids=str
)
def test_a_refusal_of_the_proxy_is_an_error_of_the_client(
    bench: Bench, client: str, way: str
) -> None:
    """Also in the middle of a stream, and it is not tried again."""
    wire = Wire(body=b"<html>", content_type="text/html")
    with (
        ModelServer([Turn(wire=wire)], repeat=True) as upstream,
        proxied(bench.guard, upstream.openai) as proxy,
    ):
        seen = node(client, base_url(proxy.url, client), way, retries=1)
    assert seen["error"]["status"] == 502
    assert len(upstream.requests) <= 2


@pytest.mark.parametrize(("client", "way"), [SEEN[1], SEEN[2], SEEN[4], SEEN[5], SEEN[8]], ids=str)
def test_a_stream_that_breaks_off_is_an_error_of_the_client(
    bench: Bench, client: str, way: str
) -> None:
    """Without the proxy, some take it as complete."""
    with (
        ModelServer([Turn("Let me see.", CALLS, wire=Wire(cut=900))]) as upstream,
        proxied(bench.guard, upstream.openai) as proxy,
    ):
        seen = node(client, base_url(proxy.url, client), way)
    assert seen["error"]["message"]


def test_a_route_without_calls_passes(bench: Bench) -> None:
    with ModelServer([]) as upstream, proxied(bench.guard, upstream.openai) as proxy:
        assert node("openai", f"{proxy.url}/v1", "models") == {"models": ["scripted-1"]}
