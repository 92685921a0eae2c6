"""Whatever fails, the program gets no call without a record, and it gets the error."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import openai
import pytest

from guardrail import LedgerError
from guardrail.errors import LedgerPoisonedError
from guardrail.integrations.openai.client import govern_client
from guardrail.model_apis.asking import ModelAnswerError
from guardrail.testing import StaticPolicy, memory_guard
from tests.support.adapters import Bench, judge
from tests.support.guards import guarded, whole
from tests.support.model_server import Call, ModelServer, Turn
from tests.support.openai_clients import (
    CHAT,
    RESPONSES,
    WAYS,
    Way,
    asking,
    client_for,
    governed,
)


def fail_after(bench: Bench, decisions: int) -> None:
    """Make the ledger refuse every decision after that number of them."""

    def fail(draft: Any) -> LedgerError | None:
        if draft.type == "call.decision" and len(bench.decisions) >= decisions:
            return LedgerPoisonedError("the disk is full")
        return None

    bench.ledger.fail = fail


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_a_ledger_error_reaches_the_program_as_it_is(bench: Bench, way: Way) -> None:
    """No retry decides again, and a call that was admitted before is cancelled: nobody got it."""
    fail_after(bench, 1)
    turns = [asking("Bern", "Basel")] * 3
    with governed(bench.guard, *turns, way=way) as client:
        asked = client if way.asynchronous else client.with_options(max_retries=2)
        with pytest.raises(LedgerError) as raised:
            way.seen(asked)
    assert raised.value.code == "ledger.poisoned"
    assert [each["origin"]["call_id"] for each in bench.decisions] == ["call_Bern"]
    # A streamed response's first call is released before the second one comes.
    released = way.name in {"responses-events", "responses-stream", "aresponses-events"} or (
        way.name == "aresponses-stream"
    )
    assert [each["status"] for each in bench.outcomes] == ([] if released else ["cancelled"])


def test_a_ledger_error_about_an_outcome_reaches_the_program(bench: Bench) -> None:
    """Before the request is sent."""
    with ModelServer([asking("Bern"), Turn("Bye.")]) as server, client_for(server) as plain:
        client = govern_client(plain.with_options(max_retries=2), bench.guard)
        client.chat.completions.create(**CHAT)
        told = {"role": "tool", "tool_call_id": "call_Bern", "content": "sun"}
        bench.ledger.fail = lambda _: LedgerPoisonedError("the disk is full")
        with pytest.raises(LedgerError):
            client.chat.completions.create(**{**CHAT, "messages": [told]})
        assert len(server.requests) == 1


def test_a_retry_of_the_client_decides_once(bench: Bench) -> None:
    """An answer that is an error holds no call."""
    with ModelServer([Turn(status=503), asking("Bern")]) as server, client_for(server) as plain:
        client = govern_client(plain.with_options(max_retries=1), bench.guard)
        assert client.chat.completions.create(**CHAT).choices[0].message.tool_calls
        assert len(server.requests) == 2
    assert len(bench.decisions) == 1


STREAMS = [way for way in WAYS if way.name.endswith(("chunks", "events", "stream"))]


@pytest.mark.call_path(
    "OpenAI, govern_client",
    "a stream that breaks off",
    result="refused",
    note="the program gets an exception, and no call",
)
@pytest.mark.parametrize("way", STREAMS, ids=lambda way: way.name)
@pytest.mark.parametrize("cut", [1, 5, 8, 12])
def test_a_stream_that_breaks_off_is_an_error(bench: Bench, way: Way, cut: int) -> None:
    """The official client takes it as complete. The calls that were held are dropped."""
    city = {"city": "Bern and the surrounding mountains and valleys, day by day"}
    turn = Turn("Let me see.", [Call("weather", city), Call("weather", city)], cut=cut)
    with (
        governed(bench.guard, turn, way=way) as client,
        pytest.raises((openai.APIConnectionError, ModelAnswerError)),
    ):
        way.seen(client)
    assert bench.recorded == []


@pytest.mark.parametrize("api", ["chat", "responses"])
def test_a_stream_that_is_closed_half_way_decides_no_more(bench: Bench, api: str) -> None:
    """The program has what it has read."""
    with ModelServer([asking("Bern", "Basel")]) as server, client_for(server) as plain:
        client = govern_client(plain, bench.guard)
        create: Any = client.chat.completions.create if api == "chat" else client.responses.create
        with create(**(CHAT if api == "chat" else RESPONSES), stream=True) as stream:
            next(stream)
    assert bench.recorded == []


async def test_a_task_that_is_cancelled_while_calls_are_decided_gets_none(bench: Bench) -> None:
    """The call that was admitted is recorded as cancelled."""
    loop = asyncio.get_running_loop()
    task: asyncio.Task[Any]

    def slow(asked: Any) -> Any:
        if asked["action"]["properties"]["args"] == {"city": "Basel"}:
            loop.call_soon_threadsafe(task.cancel)
        return judge(asked)

    guard, ledger = memory_guard(StaticPolicy(slow, delay=0.2))
    with ModelServer([asking("Bern", "Basel")]) as server:
        async with client_for(server, asynchronous=True) as plain:
            client = govern_client(plain, guard)
            task = asyncio.create_task(client.chat.completions.create(**CHAT))
            with pytest.raises(asyncio.CancelledError):
                await task
    calls = [each for each in ledger.records if each["type"].startswith("call.")]
    allowed = [each["call"] for each in calls if each["type"] == "call.decision"]
    ended = [each for each in calls if each["type"] == "call.outcome"]
    assert sorted(allowed) == sorted(each["call"] for each in ended)
    assert {each["status"] for each in ended} == {"cancelled"}


def test_the_ledger_is_whole_after_many_answers_at_once(tmp_path: Path) -> None:
    """On disk, with results for half of the calls."""
    cities = [f"city {number}" for number in range(8)]
    with guarded(tmp_path, StaticPolicy(judge)) as guard:

        async def converse(client: Any) -> None:
            first = await client.chat.completions.create(**CHAT)
            calls = first.choices[0].message.tool_calls
            told = [
                {"role": "tool", "tool_call_id": call.id, "content": "sun"} for call in calls[:4]
            ]
            await client.chat.completions.create(**{**CHAT, "messages": told})

        async def main(server: ModelServer) -> None:
            async with client_for(server, asynchronous=True) as plain:
                client = govern_client(plain, guard)
                await asyncio.gather(*(converse(client) for _ in range(6)))

        def answer(body: dict[str, Any]) -> Turn:
            if body["messages"][0]["role"] == "tool":
                return Turn("Bye.")
            return Turn(calls=[Call("weather", {"city": city}) for city in cities])

        with ModelServer([answer], repeat=True) as server:
            asyncio.run(main(server))
    found = whole(tmp_path / "audit.db", still_open=24)
    decisions = [each for each in found if each["type"] == "call.decision"]
    assert len(decisions) == 48
