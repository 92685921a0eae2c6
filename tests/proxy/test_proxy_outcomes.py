"""The result of a call is what a later request of the same caller, in the same session, claims."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.support.adapters import Bench
from tests.support.model_server import MODEL, Call, ModelServer, Turn
from tests.support.openai_clients import CHAT, RESPONSES, asking
from tests.support.proxies import proxied
from tests.support.waiting import until


def told(client: Any, call_id: str = "call_Bern", result: str = "sun") -> None:
    """Send a request that tells the result of a call."""
    tool = {"role": "tool", "tool_call_id": call_id, "content": result}
    client.chat.completions.create(model=MODEL, messages=[*CHAT["messages"], tool])


def test_the_next_request_tells_the_result_without_naming_a_session(bench: Bench) -> None:
    """The id of the call says which conversation goes on."""
    with (
        ModelServer([asking("Bern"), asking("Oslo"), Turn("Bye.")]) as upstream,
        proxied(bench.guard, upstream.openai) as proxy,
    ):
        client = proxy.openai()
        client.chat.completions.create(**CHAT)
        told(client, "call_Bern")
        told(client, "call_Oslo")
        assert [each["status"] for each in bench.outcomes] == ["returned", "returned"]
    assert len({each["session"] for each in bench.decisions}) == 1


@pytest.mark.parametrize(
    "other",
    [
        {"api_key": "key-of-bob"},
        {"default_headers": {"x-guardrail-session": "s2"}},
        {"api_key": "key-of-bob", "default_headers": {"x-guardrail-session": "s1"}},
        {"default_query": {"key": "bob"}, "default_headers": {"x-guardrail-session": "s1"}},
    ],
    ids=["another key", "another session", "another key in this session", "a key in the query"],
)
def test_a_claim_of_somebody_else_closes_nothing(bench: Bench, other: dict[str, Any]) -> None:
    with (
        ModelServer([asking("Bern"), Turn("Bye.")], repeat=True) as upstream,
        proxied(bench.guard, upstream.openai) as proxy,
    ):
        client = proxy.session("s1")
        client.chat.completions.create(**CHAT)
        told(proxy.openai(**other))
        assert not bench.outcomes
        told(client)
        assert [each["status"] for each in bench.outcomes] == ["returned"]
        told(client, result="another result")
    assert len(bench.outcomes) == 1
    assert not bench.ledger.of("call.claim")


def test_a_result_that_is_not_told_in_time_is_unknown_and_then_a_claim(bench: Bench) -> None:
    with (
        ModelServer([asking("Bern"), Turn("Bye.")], repeat=True) as upstream,
        proxied(bench.guard, upstream.openai, outcome_wait_s=1) as proxy,
    ):
        client = proxy.openai()
        client.chat.completions.create(**CHAT)
        until(lambda: bench.outcomes, "the end of the wait")
        assert [each["status"] for each in bench.outcomes] == ["unknown"]
        told(client)
        told(client, result="another result")
    (claim,) = bench.ledger.of("call.claim")
    assert (claim["status"], claim["call"]) == ("returned", bench.decisions[0]["call"])
    assert len(bench.outcomes) == 1


def test_a_proxy_that_stops_closes_its_calls(bench: Bench) -> None:
    with (
        ModelServer([asking("Bern", "Basel", "Oslo"), Turn("Bye.")]) as upstream,
        proxied(bench.guard, upstream.openai) as proxy,
    ):
        client = proxy.openai()
        client.chat.completions.create(**CHAT)
        told(client, "call_Oslo")
    statuses = {each["call"]: each["status"] for each in bench.outcomes}
    assert sorted(statuses.values()) == ["returned", "unknown", "unknown"]
    assert len(bench.outcomes) == 3


def test_a_call_whose_id_is_used_again_is_unknown(bench: Bench) -> None:
    """Some servers give every call the same id."""
    turns = [Turn(calls=[Call("weather", {"city": city}, "call_0")]) for city in ("Bern", "Oslo")]
    with (
        ModelServer([*turns, Turn("Bye.")]) as upstream,
        proxied(bench.guard, upstream.openai, outcome_wait_s=1) as proxy,
    ):
        client = proxy.session("s1")
        client.chat.completions.create(**CHAT)
        client.chat.completions.create(**CHAT)
        until(lambda: len(bench.outcomes) == 2, "the end of the wait")
    assert {each["status"] for each in bench.outcomes} == {"unknown"}


def test_an_id_that_two_conversations_use_says_nothing_about_either(bench: Bench) -> None:
    """The results of their calls stay unknown, unless the requests name their sessions."""
    turn = Turn(calls=[Call("weather", {"city": "Bern"}, "call_0")])
    with (
        ModelServer([turn, turn, Turn("Bye.")]) as upstream,
        proxied(bench.guard, upstream.openai) as proxy,
    ):
        client = proxy.openai()
        client.chat.completions.create(**CHAT)
        client.chat.completions.create(**CHAT)
        told(client, "call_0")
        assert not bench.outcomes
    assert len({each["session"] for each in bench.decisions}) == 2


@pytest.mark.parametrize(("failed", "status"), [(None, "returned"), (True, "error")])
def test_a_program_can_say_that_a_call_failed(bench: Bench, failed: Any, status: str) -> None:
    """The Messages API has a field for it."""
    result = {"type": "tool_result", "tool_use_id": "call_Bern", "content": "no sun"}
    result |= {} if failed is None else {"is_error": failed}
    turns = [
        {"role": "user", "content": "Sun?"},
        {"role": "user", "content": [result]},
    ]
    with (
        ModelServer([asking("Bern"), Turn("Bye.")]) as upstream,
        proxied(bench.guard, upstream.url) as proxy,
        proxy.anthropic() as client,
    ):
        asked: Any = {"model": MODEL, "max_tokens": 99}
        client.messages.create(**asked, messages=turns[:1])
        client.messages.create(**asked, messages=turns)
        assert [each["status"] for each in bench.outcomes] == [status]


def test_a_chain_of_responses_is_one_session(bench: Bench) -> None:
    """It has its own session for each caller."""
    turns = [
        replace(asking("Bern"), id="resp_1"),
        Turn("One.", id="resp_2"),
        asking("Oslo"),
        asking("Basel"),
        Turn("Bye."),
    ]
    with (
        ModelServer(turns, repeat=True) as upstream,
        proxied(bench.guard, upstream.openai) as proxy,
    ):
        client, other = proxy.openai(), proxy.openai(api_key="key-of-bob")
        client.responses.create(**RESPONSES)
        client.responses.create(**RESPONSES, previous_response_id="resp_1")
        last = client.responses.create(**RESPONSES, previous_response_id="resp_2")
        other.responses.create(**RESPONSES, previous_response_id="resp_2")
        output = {"type": "function_call_output", "call_id": "call_Bern", "output": "sun"}
        client.responses.create(model=MODEL, input=[output], previous_response_id=last.id)
        assert [each["status"] for each in bench.outcomes] == ["returned"]
    first, third, foreign = (each["session"] for each in bench.decisions)
    assert first == third != foreign


def test_the_provider_is_told_of_a_refused_call_in_its_stored_conversation(bench: Bench) -> None:
    """It waits for the result of every call that it has written."""
    turns = [asking("Atlantis"), Turn("Bye.")]
    with (
        ModelServer(turns) as upstream,
        proxied(bench.guard, upstream.openai) as proxy,
    ):
        client = proxy.openai()
        first = client.responses.create(**RESPONSES)
        client.responses.create(**RESPONSES, previous_response_id=first.id)
    (output, said) = upstream.bodies[1]["input"]
    assert output["type"] == "function_call_output"
    assert output["call_id"] == "call_Atlantis"
    assert "no_such_place" in output["output"]
    assert said == {"role": "user", "content": RESPONSES["input"]}


def test_the_provider_gets_no_ids_that_only_the_proxy_knows(bench: Bench) -> None:
    """A client may resend the answers that an earlier process of the proxy has changed."""
    with (
        ModelServer([asking("Atlantis"), Turn("Bye.")], repeat=True) as upstream,
        proxied(bench.guard, upstream.openai) as proxy,
    ):
        first = proxy.openai().responses.create(**RESPONSES)
        resent = [item.to_dict() for item in first.output]
        proxy.openai(api_key="key-of-bob").responses.create(model=MODEL, input=resent)
    assert "msg_guardrail" in str(resent)
    assert "msg_guardrail" not in str(upstream.bodies[1])
    assert "no_such_place" in str(upstream.bodies[1])


@pytest.mark.parametrize("name", ["", "a\x07b", "x" * 600])
def test_a_malformed_name_of_a_session_is_refused(bench: Bench, name: str) -> None:
    with (
        ModelServer([Turn("Sun.")]) as upstream,
        proxied(bench.guard, upstream.openai) as proxy,
        pytest.raises(Exception, match=r"session|header") as refused,
    ):
        proxy.session(name).chat.completions.create(**CHAT)
    if hasattr(refused.value, "status_code"):
        assert refused.value.status_code == 400
    assert not upstream.requests
