"""Each call that a governed client releases has one decision, and one outcome: what the program's
next request says about it.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from guardrail.integrations.openai.client import govern_client
from tests.support.adapters import Bench
from tests.support.model_server import ModelServer, Turn
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

runs: list[str] = []


@pytest.fixture(autouse=True)
def _no_runs() -> None:
    """Each test counts its own runs."""
    runs.clear()


def weather(city: str) -> str:
    runs.append(city)
    return f"sun in {city}"


def next_request(seen: Seen, *, chat: bool) -> dict[str, Any]:
    """Run what was released, and return what the program's next request says about it."""
    done = [(id_, name, text, weather(**json.loads(text))) for id_, name, text in seen.calls]
    if not chat:
        outputs = [
            {"type": "function_call_output", "call_id": id_, "output": result}
            for id_, _, _, result in done
        ]
        return {"input": outputs}
    calls = [
        {"id": id_, "type": "function", "function": {"name": name, "arguments": text}}
        for id_, name, text, _ in done
    ]
    results = [
        {"role": "tool", "tool_call_id": id_, "content": result} for id_, _, _, result in done
    ]
    asked = {"role": "assistant", "content": None, "tool_calls": calls}
    return {"messages": [*CHAT["messages"], asked, *results]}


def check_records(bench: Bench) -> None:
    """Two calls were allowed and run, one was denied."""
    assert runs == ["Bern", "Basel"]
    effects = {each["call"]: each["decision"]["effect"] for each in bench.decisions}
    assert sorted(effects.values()) == ["allow", "allow", "deny"]
    assert {each["enforcement"] for each in bench.decisions} == {"release"}
    allowed = [call for call, effect in effects.items() if effect == "allow"]
    assert sorted(each["call"] for each in bench.outcomes) == sorted(allowed)
    assert {each["status"] for each in bench.outcomes} == {"returned"}


SYNC = [way for way in WAYS if not way.asynchronous]


@pytest.mark.call_path(
    "OpenAI, govern_client",
    "`chat.completions` and `responses`: `create`, streams, `stream`, `parse`, raw and streaming"
    " responses, `copy`, `with_options`, `post`",
    result="governed",
    note="`enforcement: release`: the program runs the body; its next request reports the outcome",
)
@pytest.mark.parametrize("way", SYNC, ids=lambda way: way.name)
def test_a_released_call_has_one_decision_and_one_outcome(bench: Bench, way: Way) -> None:
    turns = [asking("Bern", "Atlantis", "Basel"), Turn(TEXT)]
    with governed(bench.guard, *turns, way=way) as client:
        seen = way.seen(client)
        assert bench.outcomes == []
        way.seen(client, **next_request(seen, chat=way.chat))
    check_records(bench)


@pytest.mark.call_path("OpenAI, govern_client", "`AsyncOpenAI`", result="governed")
@pytest.mark.parametrize("chat", [True, False], ids=["chat", "responses"])
async def test_a_call_of_an_async_client_has_one_decision_and_one_outcome(
    bench: Bench, chat: bool
) -> None:
    turns = [asking("Bern", "Atlantis", "Basel"), Turn(TEXT)]
    with ModelServer(turns) as server:
        async with client_for(server, asynchronous=True) as plain:
            client = govern_client(plain, bench.guard)
            if chat:
                seen = of_chat(await client.chat.completions.create(**CHAT))
                more = next_request(seen, chat=True)
                await client.chat.completions.create(**{**CHAT, **more})
            else:
                seen = of_response(await client.responses.create(**RESPONSES))
                more = next_request(seen, chat=False)
                await client.responses.create(**{**RESPONSES, **more})
    check_records(bench)
