"""A program with a governed client runs as many bodies as there are decisions that allow it."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest

from guardrail.integrations.openai.client import govern_client
from tests.support.adapters import Bench
from tests.support.model_server import Call, ModelServer, Turn
from tests.support.openai_clients import CHAT, WAYS, Seen, Way, asking, client_for


def results(way: Way, seen: Seen, bodies: list[str]) -> dict[str, Any]:
    """Run the calls that the program got, and return the request that tells their results."""
    told: list[Any] = list(CHAT["messages"])
    for name, tool, text in seen.calls:
        bodies.append(text)
        if not way.chat:
            told.append({"type": "function_call_output", "call_id": name, "output": "sun"})
        elif name is None:
            told.append({"role": "function", "name": tool, "content": "sun"})
        else:
            told.append({"role": "tool", "tool_call_id": name, "content": "sun"})
    return {"messages" if way.chat else "input": told}


def converse(bench: Bench, way: Way, turn: Turn) -> list[str]:
    """Ask, run what the program gets, and tell the results. Return the bodies that ran."""
    bodies: list[str] = []
    with ModelServer([turn, Turn('{"city": "Bern"}')]) as server:
        client = govern_client(client_for(server, asynchronous=way.asynchronous), bench.guard)
        more = results(way, way.seen(client), bodies)
        if way.asynchronous:  # the first connection is closed with its event loop
            way.seen(client.with_options(http_client=openai.DefaultAsyncHttpxClient()), **more)
        else:
            way.seen(client, **more)
            client.close()
    return bodies


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_each_body_has_one_decision_and_one_outcome(bench: Bench, way: Way) -> None:
    """Whichever method the program uses; denied calls and those to approve have no body."""
    bodies = converse(bench, way, asking("Bern", "Atlantis", "Utopia", "Basel"))
    assert [json.loads(text)["city"] for text in bodies] == ["Bern", "Basel"]
    allowed = [each["call"] for each in bench.decisions if each["decision"]["effect"] == "allow"]
    assert (len(bench.decisions), len(allowed)) == (4, 2)
    assert [each["call"] for each in bench.outcomes] == allowed
    assert {each["status"] for each in bench.outcomes} == {"returned"}


@pytest.mark.call_path(
    "OpenAI, govern_client", "custom tools, legacy `function_call`", result="governed"
)
@pytest.mark.parametrize("kind", ["custom", "legacy"])
@pytest.mark.parametrize("name", ["chat", "chat-chunks"])
def test_each_custom_or_legacy_call_has_one_decision_and_one_outcome(
    bench: Bench, kind: str, name: str
) -> None:
    """A legacy call's result has the function's name in place of an id."""
    way = next(way for way in WAYS if way.name == name)
    call = Call("weather", {"city": "Bern"}, kind=kind)
    bodies = converse(bench, way, Turn(calls=[call]))
    assert bodies == ['{"city": "Bern"}']
    assert [each["call"] for each in bench.outcomes] == [each["call"] for each in bench.decisions]
    assert len(bench.outcomes) == 1
