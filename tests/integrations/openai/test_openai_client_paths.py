"""No method of an official client gives the program a tool call that was not decided."""

from __future__ import annotations

import json
from typing import Any

import httpx
import openai
import pytest

from guardrail.errors import UsageError
from guardrail.integrations.openai.client import govern_client
from tests.support.adapters import Bench
from tests.support.model_server import SPEAKERS, Call, ModelServer, Turn
from tests.support.openai_clients import (
    CHAT,
    RESPONSES,
    TEXT,
    WAYS,
    Seen,
    Way,
    asking,
    client_for,
    governed,
    of_chat,
    of_response,
)

BERN = ("call_Bern", "weather", '{"city": "Bern"}')
BASEL = ("call_Basel", "weather", '{"city": "Basel"}')


def kinds(bench: Bench) -> list[tuple[str, str]]:
    return [(each["decision"]["effect"], each["origin"]["call_id"]) for each in bench.decisions]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_only_allowed_calls_reach_the_program(bench: Bench, way: Way) -> None:
    """Whichever method it uses. The others arrive as refusals, and each has one decision."""
    with governed(bench.guard, asking("Bern", "Atlantis", "Utopia", "Basel"), way=way) as client:
        seen = way.seen(client)
    assert seen.calls == [BERN, BASEL]
    assert seen.text == TEXT
    assert seen.ending in {"tool_calls", "completed"}
    assert seen.refusals == [
        "weather: denied by policy: no_such_place",
        "weather: not run: a person must approve this call first: far_away",
    ]
    assert kinds(bench) == [
        ("allow", "call_Bern"),
        ("deny", "call_Atlantis"),
        ("require_approval", "call_Utopia"),
        ("allow", "call_Basel"),
    ]
    for record in bench.decisions:
        assert (record["enforcement"], record["origin"]["adapter"]) == ("release", "openai")
        context = record["input"]["context"]
        assert context["model"]["name"] == "scripted-1"
        assert context["model"]["response"].startswith(("chatcmpl_", "resp_"))
        assert context["origin"]["framework"]["name"] == "openai"
        assert context["origin"]["framework"]["version"] == openai.__version__
    assert bench.outcomes == []


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_an_answer_whose_calls_are_all_refused_is_a_refusal(bench: Bench, way: Way) -> None:
    """A program that goes on until there are no calls ends."""
    turn = Turn(calls=[Call("weather", {"city": "Atlantis"})])
    with governed(bench.guard, turn, way=way) as client:
        seen = way.seen(client)
    assert seen.calls == []
    assert seen.refusals == ["weather: denied by policy: no_such_place"]
    assert seen.ending == ("stop" if way.chat else "completed")
    if way.chat:
        assert seen.text == seen.refusals[0]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_an_answer_without_refused_calls_is_unchanged(bench: Bench, way: Way) -> None:
    """As it is without a guard."""
    turns = [asking("Bern", "Basel"), Turn(TEXT), Turn(refusal="No.")]

    def ask(*, is_governed: bool) -> Seen:
        client = client_for(server, asynchronous=way.asynchronous)
        asked = govern_client(client, bench.guard) if is_governed else client
        seen = way.seen(asked)
        if not way.asynchronous:
            client.close()
        return seen

    with ModelServer([*turns, *turns]) as server:
        given = [ask(is_governed=True) for _ in turns]
        assert given == [ask(is_governed=False) for _ in turns]
    assert len(bench.decisions) == 2


def test_an_answer_without_refused_calls_keeps_its_bytes(bench: Bench) -> None:
    """Of the raw response, too."""
    with ModelServer([asking("Bern"), asking("Bern")]) as server:
        client = govern_client(client_for(server), bench.guard)
        raw = client.chat.completions.with_raw_response.create(**CHAT)
        assert json.loads(raw.text)["choices"][0]["message"]["tool_calls"][0]["id"] == "call_Bern"
        assert raw.headers["content-length"] == str(len(raw.content))
        assert raw.elapsed.total_seconds() > 0
        raw = client.responses.with_raw_response.create(**RESPONSES)
        assert json.loads(raw.text)["output"][1]["call_id"] == "call_Bern"
        client.close()


@pytest.mark.parametrize("streamed", [False, True])
def test_custom_and_legacy_calls_are_governed(bench: Bench, *, streamed: bool) -> None:
    """A custom call's text is its only argument; a legacy call has no id."""
    way = next(way for way in WAYS if way.name == ("chat-chunks" if streamed else "chat"))
    turns = [
        Turn(calls=[Call("shell", text, f"call_{text}", "custom") for text in ("ls", "Atlantis")]),
        Turn(calls=[Call("weather", {"city": "Bern"}, kind="legacy")]),
        Turn(calls=[Call("weather", {"city": "Atlantis"}, kind="legacy")]),
    ]
    with governed(bench.guard, *turns, way=way) as client:
        custom, allowed, denied = (way.seen(client) for _ in turns)
    assert custom.calls == [("call_ls", "shell", "ls")]
    assert custom.refusals == ["shell: denied by policy: no_such_place"]
    assert allowed == Seen([(None, "weather", '{"city": "Bern"}')], [], "", "function_call")
    assert (denied.calls, denied.ending) == ([], "stop")
    assert {"input": "ls"} in bench.asked
    assert {"input": "Atlantis"} in bench.asked


def test_custom_calls_of_responses_are_governed(bench: Bench) -> None:
    """Streamed or not."""
    calls = [Call("shell", text, f"call_{text}", "custom") for text in ("ls", "Atlantis")]
    for name in ("responses", "responses-events", "responses-stream"):
        way = next(way for way in WAYS if way.name == name)
        with governed(bench.guard, Turn(calls=calls), way=way) as client:
            seen = way.seen(client)
        assert seen.calls == [("call_ls", "shell", "ls")]
        assert seen.refusals == ["shell: denied by policy: no_such_place"]


@pytest.mark.parametrize("streamed", [False, True])
def test_each_choice_is_governed(bench: Bench, *, streamed: bool) -> None:
    """With n > 1, the chunks of several choices come in turns."""
    turn = Turn(choices=[asking("Bern", "Atlantis"), Turn("Sun."), asking("Atlantis", "Basel")])
    with ModelServer([turn]) as server, client_for(server) as plain:
        client = govern_client(plain, bench.guard)
        if streamed:
            with client.chat.completions.stream(**CHAT, n=3) as stream:
                completion = stream.get_final_completion()
        else:
            completion = client.chat.completions.create(**CHAT, n=3)
    first, second, third = completion.choices
    assert [call.id for call in first.message.tool_calls] == ["call_Bern"]
    assert (second.message.content, second.finish_reason) == ("Sun.", "stop")
    assert [call.id for call in third.message.tool_calls or []] in ([], ["call_Basel"])
    assert len(bench.recorded) == 4


def test_parsed_arguments_and_content_are_those_that_were_decided(bench: Bench) -> None:
    """A refused answer is not parsed."""
    tool = openai.pydantic_function_tool(WeatherArguments, name="weather")
    with ModelServer([asking("Bern", "Atlantis"), asking("Atlantis")]) as server:
        client = govern_client(client_for(server), bench.guard)
        message = client.chat.completions.parse(**CHAT, tools=[tool]).choices[0].message
        (call,) = message.tool_calls
        assert call.function.parsed_arguments == WeatherArguments(city="Bern")
        message = (
            client.chat.completions.parse(**CHAT, response_format=WeatherArguments, tools=[tool])
            .choices[0]
            .message
        )
        assert (message.parsed, message.tool_calls) == (None, None)
        client.close()


class WeatherArguments(openai.BaseModel):
    city: str


def test_a_client_of_the_older_http_library_is_governed(bench: Bench) -> None:
    """The official client takes one of httpx, too."""
    with ModelServer([asking("Bern", "Atlantis")], repeat=True) as server, httpx.Client() as http:
        client = govern_client(client_for(server, http_client=http), bench.guard)
        assert of_chat(client.chat.completions.create(**CHAT)).calls == [BERN]
        for way in WAYS:
            if way.name in {"chat-chunks", "responses-events", "chat-streaming"}:
                assert way.seen(client).calls == [BERN]


def test_a_copy_with_another_http_client_is_governed(bench: Bench) -> None:
    """The hook is above the HTTP client."""
    with ModelServer([asking("Bern", "Atlantis")], repeat=True) as server:
        client = govern_client(client_for(server), bench.guard)
        with openai.DefaultHttpxClient() as http:
            other = client.with_options(http_client=http)
            assert of_chat(other.chat.completions.create(**CHAT)).calls == [BERN]
            assert of_response(other.responses.create(**RESPONSES)).calls == [BERN]
        client.close()


def test_an_azure_client_is_governed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its routes name the deployment."""
    route = "/openai/deployments/scripted-1/chat/completions"
    monkeypatch.setitem(SPEAKERS, route, SPEAKERS["/v1/chat/completions"])
    with ModelServer([asking("Bern", "Atlantis")]) as server:
        azure = openai.AzureOpenAI(
            azure_endpoint=server.url, api_key="none", api_version="2026-01-01", max_retries=0
        )
        client = govern_client(azure, bench.guard)
        assert isinstance(client, openai.AzureOpenAI)
        assert of_chat(client.chat.completions.create(**CHAT)).calls == [BERN]
        assert server.requests[0].path == route
        with pytest.raises(UsageError, match="GET /batches"):
            client.batches.list()
        client.close()


def test_a_governed_client_is_of_the_class_that_it_was(bench: Bench) -> None:
    """And the original stays as it is."""
    with ModelServer([asking("Atlantis")] * 2) as server:
        plain = client_for(server)
        client = govern_client(plain, bench.guard)
        assert isinstance(client, openai.OpenAI)
        assert (client.base_url, client.max_retries) == (plain.base_url, plain.max_retries)
        assert govern_client(client, bench.guard) is client
        assert len(of_chat(plain.chat.completions.create(**CHAT)).calls) == 1
        assert of_chat(client.chat.completions.create(**CHAT)).calls == []
        with pytest.raises(UsageError) as raised:
            govern_client(client, bench.guard, wait_for_approval=1.0)
        assert raised.value.code == "usage.governed"
        client.close()


@pytest.mark.call_path(
    "OpenAI, govern_client",
    "a client from a different library",
    result="refused",
    note="`UsageError` when it is governed",
)
@pytest.mark.parametrize("other", [object(), openai, httpx.Client])
def test_another_client_is_refused(bench: Bench, other: Any) -> None:
    """The error says what it is."""
    with pytest.raises(UsageError) as raised:
        govern_client(other, bench.guard)
    assert raised.value.code == "usage.client"
    assert type(other).__name__ in str(raised.value)
