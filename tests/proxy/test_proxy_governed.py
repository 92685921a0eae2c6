"""Official clients work unchanged through the proxy, and get decided calls only."""

from __future__ import annotations

import openai
import pytest

from tests.support.adapters import Bench
from tests.support.model_server import ModelServer, Turn
from tests.support.openai_clients import CHAT, RESPONSES, TEXT, WAYS, Way, asking
from tests.support.proxies import proxied


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_a_client_gets_the_allowed_calls_and_the_refusals_of_others(bench: Bench, way: Way) -> None:
    """Every call has a durable decision before the client sees it."""
    with (
        ModelServer([asking("Bern", "Atlantis", "Basel")]) as upstream,
        proxied(bench.guard, upstream.openai) as proxy,
    ):
        seen = way.seen(proxy.openai(asynchronous=way.asynchronous))
    assert [name for name, *_ in seen.calls] == ["call_Bern", "call_Basel"]
    assert len(seen.refusals) == 1
    assert "no_such_place" in seen.refusals[0]
    assert seen.text == TEXT
    effects = [each["decision"]["effect"] for each in bench.decisions]
    assert effects == ["allow", "deny", "allow"]
    assert {each["enforcement"] for each in bench.decisions} == {"release"}
    assert {each["origin"]["adapter"] for each in bench.decisions} == {"proxy"}


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_an_answer_without_calls_is_the_upstreams_own(bench: Bench, way: Way) -> None:
    with (
        ModelServer([Turn(TEXT)]) as upstream,
        proxied(bench.guard, upstream.openai) as proxy,
    ):
        seen = way.seen(proxy.openai(asynchronous=way.asynchronous))
    assert seen.text == TEXT
    assert not seen.calls
    assert not seen.refusals
    assert not bench.recorded


def test_the_upstream_gets_the_callers_key_and_none_of_the_proxys_own_headers(bench: Bench) -> None:
    with (
        ModelServer([Turn("Sun.")]) as upstream,
        proxied(bench.guard, upstream.openai) as proxy,
    ):
        proxy.session("s1").chat.completions.create(**CHAT)
    (request,) = upstream.requests
    headers = {name.lower(): value for name, value in request.headers.items()}
    assert headers["authorization"] == "Bearer key-of-alice"
    assert headers["accept-encoding"] == "identity"
    assert headers["host"] == upstream.url.removeprefix("http://")
    assert not [name for name in headers if name.startswith("x-guardrail")]
    assert "key-of-alice" not in bench.text


def test_a_record_names_the_model_the_response_and_the_client(bench: Bench) -> None:
    with (
        ModelServer([asking("Bern")]) as upstream,
        proxied(bench.guard, upstream.openai) as proxy,
    ):
        answer = proxy.openai().responses.create(**RESPONSES)
    (decision,) = bench.decisions
    context = decision["input"]["context"]
    assert context["model"]["name"] == answer.model
    assert context["model"]["response"] == answer.id
    framework = context["origin"]["framework"]
    assert (framework["name"], framework["assurance"]) == ("OpenAI/Python", "asserted")
    assert framework["version"] == openai.__version__
