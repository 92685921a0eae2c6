"""Outcomes of a governed client's calls are what later requests claim."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from guardrail.core.types import Status
from guardrail.integrations.openai.client import govern_client
from tests.support.adapters import Bench
from tests.support.model_server import Call, ModelServer, Turn
from tests.support.openai_clients import CHAT, RESPONSES, asking, client_for

USER = CHAT["messages"]


def chat_loop(client: Any, turns: int) -> list[Any]:
    """Answer each call, and resend the whole history, as programs do. Return the history."""
    messages: list[Any] = list(USER)
    for _ in range(turns):
        completion = client.chat.completions.create(**{**CHAT, "messages": messages})
        message = completion.choices[0].message
        messages.append(message.to_dict())
        for call in message.tool_calls or []:
            result = f"sun for {call.id}"
            messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
        if message.function_call is not None:
            name = message.function_call.name
            messages.append({"role": "function", "name": name, "content": "rain"})
    return messages


def test_the_next_request_tells_the_results_of_calls(bench: Bench) -> None:
    """Each call is closed once, although every request repeats the earlier results."""
    turns = [asking("Bern", "Atlantis", "Basel"), asking("Oslo"), Turn("Sun."), Turn("Bye.")]
    with ModelServer(turns) as server, client_for(server) as plain:
        client = govern_client(plain, bench.guard)
        history = chat_loop(client, 4)
    assert len(bench.decisions) == 4
    assert [each["status"] for each in bench.outcomes] == [Status.RETURNED] * 3
    closed = {each["call"] for each in bench.outcomes}
    allowed = {each["call"] for each in bench.decisions if each["decision"]["effect"] == "allow"}
    assert closed == allowed
    assert {each["result"]["type"] for each in bench.outcomes} == {"str"}
    answered = [each["tool_call_id"] for each in history if each["role"] == "tool"]
    assert answered == ["call_Bern", "call_Basel", "call_Oslo"]


def test_a_history_with_refusals_is_one_that_the_provider_takes(bench: Bench) -> None:
    """Each call in it has its result, and no message is empty."""
    turns = [asking("Bern", "Atlantis"), Turn(calls=[Call("weather", {"city": "Atlantis"})])]
    with ModelServer([*turns, Turn("Bye.")]) as server, client_for(server) as plain:
        chat_loop(govern_client(plain, bench.guard), 3)
        history = server.bodies[-1]["messages"]
    calls = [call["id"] for each in history for call in each.get("tool_calls", ())]
    assert calls == [each["tool_call_id"] for each in history if each["role"] == "tool"]
    assert all(each.get("content") or each.get("tool_calls") for each in history)


def test_results_of_legacy_calls_are_told_by_name(bench: Bench) -> None:
    """They have no id, so only results after the model's last message count."""
    legacy = [Turn(calls=[Call("weather", {"city": city}, kind="legacy")]) for city in "ABC"]
    with ModelServer([*legacy, Turn("Bye.")]) as server, client_for(server) as plain:
        chat_loop(govern_client(plain, bench.guard), 4)
    assert len(bench.decisions) == len(bench.outcomes) == 3
    assert len({each["call"] for each in bench.outcomes}) == 3


def test_a_repeated_id_closes_the_call_that_it_is_about(bench: Bench) -> None:
    """Some servers name their calls the same in every answer."""
    turns = [Turn(calls=[Call("weather", {"city": city}, "call_0")]) for city in ("Bern", "Oslo")]
    with ModelServer([*turns, Turn("Bye."), Turn("Bye.")]) as server, client_for(server) as plain:
        client = govern_client(plain, bench.guard)
        first = chat_loop(client, 1)
        asked = {**CHAT, "messages": [*first[:2], *first[2:]]}
        client.chat.completions.create(**asked)
        assert len(bench.outcomes) == 1
        client.chat.completions.create(**asked)  # nothing new for the second call
        assert len(bench.outcomes) == 1
        answer = {"role": "tool", "tool_call_id": "call_0", "content": "fog"}
        client.chat.completions.create(**{**CHAT, "messages": [*asked["messages"], answer]})
    assert [each["call"] for each in bench.outcomes] == [each["call"] for each in bench.decisions]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_output_items_tell_the_results_of_responses(bench: Bench, *, asynchronous: bool) -> None:
    """With ``previous_response_id``, a request holds new items only."""
    turns = [asking("Bern", "Basel"), Turn("Bye."), Turn("Bye.")]

    def outputs(response: Any) -> list[Any]:
        return [
            {"type": "function_call_output", "call_id": item.call_id, "output": "sun"}
            for item in response.output
            if item.type == "function_call"
        ]

    async def ask(server: ModelServer) -> None:
        async with client_for(server, asynchronous=True) as plain:
            client = govern_client(plain, bench.guard)
            first = await client.responses.create(**RESPONSES)
            more = {"input": outputs(first), "previous_response_id": first.id}
            await client.responses.create(**{**RESPONSES, **more})
            await client.responses.create(**{**RESPONSES, **more})

    with ModelServer(turns) as server:
        if asynchronous:
            asyncio.run(ask(server))
        else:
            with client_for(server) as plain:
                client = govern_client(plain, bench.guard)
                first = client.responses.create(**RESPONSES)
                more = {"input": outputs(first), "previous_response_id": first.id}
                client.responses.create(**{**RESPONSES, **more})
                client.responses.create(**{**RESPONSES, **more})
    assert [each["status"] for each in bench.outcomes] == ["returned", "returned"]


@pytest.mark.parametrize("kind", ["function", "custom"])
def test_a_provider_that_keeps_the_conversation_is_told_about_refused_calls(
    bench: Bench, kind: str
) -> None:
    """It waits for the output of every call, and refuses the next request without it."""
    call = Call("weather", {"city": "Atlantis"} if kind == "function" else "Atlantis", "c1", kind)
    turns = [Turn(calls=[call], id="resp_1"), *[Turn("Bye.")] * 3]
    with ModelServer(turns) as server, client_for(server) as plain:
        client = govern_client(plain, bench.guard)
        first = client.responses.create(**RESPONSES)
        told = {
            "type": f"{kind}_call_output" if kind == "function" else "custom_tool_call_output",
            "call_id": "c1",
            "output": "weather: denied by policy: no_such_place",
        }
        client.responses.create(**RESPONSES, previous_response_id="resp_1")
        assert server.bodies[-1]["input"] == [told, {"role": "user", "content": "Sun?"}]
        items = [item.to_dict() for item in first.output]
        question = {"role": "user", "content": "Sun?"}
        client.responses.create(**{**RESPONSES, "input": [question, *items]})
        sent = server.bodies[-1]["input"]
        assert [each.get("type") for each in sent] == [
            None,
            "function_call" if kind == "function" else "custom_tool_call",
            told["type"],
        ]
        assert (sent[1]["call_id"], sent[2]) == ("c1", told)
        client.responses.create(**RESPONSES, previous_response_id="resp_other")
        assert server.bodies[-1]["input"] == "Sun?"


def test_results_are_taken_from_the_caller_that_has_the_call(bench: Bench) -> None:
    """Another user's request can't close it."""
    with ModelServer([asking("Bern"), *[Turn("Bye.")] * 2]) as server, client_for(server) as plain:
        client = govern_client(plain, bench.guard)
        told = [*USER, {"role": "tool", "tool_call_id": "call_Bern", "content": "sun"}]
        with bench.guard.session("alice@example.com"):
            client.chat.completions.create(**CHAT)
        with bench.guard.session("bob@example.com"):
            client.chat.completions.create(**{**CHAT, "messages": told})
        assert bench.outcomes == []
        with bench.guard.session("alice@example.com"):
            client.chat.completions.create(**{**CHAT, "messages": told})
    (outcome,) = bench.outcomes
    assert outcome["principal"]["id"] == "alice@example.com"


def test_a_stream_is_decided_in_the_session_of_its_request(bench: Bench) -> None:
    """Although the program reads it later."""
    with ModelServer([asking("Bern")] * 2) as server, client_for(server) as plain:
        client = govern_client(plain, bench.guard)
        with bench.guard.session("alice@example.com"):
            stream = client.chat.completions.create(**CHAT, stream=True)
        with bench.guard.session("bob@example.com"):
            list(stream)
        given = govern_client(plain, bench.guard, session=bench.guard.session("carol@example.com"))
        given.chat.completions.create(**CHAT)
    principals = [each["principal"]["id"] for each in bench.decisions]
    assert principals == ["alice@example.com", "carol@example.com"]


@pytest.mark.call_path(
    "OpenAI, govern_client",
    "the body of a released call",
    result="not governed",
    note="the program runs it; its outcome is a claim, and `unknown` if there is none",
)
def test_a_call_that_is_not_answered_stays_open(bench: Bench) -> None:
    """It is closed as unknown when the process has ended, like every other."""
    with ModelServer([asking("Bern"), Turn("Bye.")]) as server, client_for(server) as plain:
        client = govern_client(plain, bench.guard)
        client.chat.completions.create(**CHAT)
        client.chat.completions.create(**CHAT)
    assert bench.outcomes == []


def test_an_answer_waits_for_an_approval(bench: Bench) -> None:
    """Up to ``wait_for_approval`` seconds; then the call is refused."""
    with ModelServer([asking("Utopia")]) as server, client_for(server) as plain:
        client = govern_client(plain, bench.guard, wait_for_approval=0.05)
        completion = client.chat.completions.create(**CHAT)
    assert completion.choices[0].message.tool_calls is None
    assert "approve" in completion.choices[0].message.refusal
