"""Every way that a response reaches a ToolBox: one decision and one outcome for each run of a
body.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from guardrail import Denied
from guardrail.integrations.anthropic import ToolBox as AnthropicBox
from guardrail.integrations.openai import ToolBox
from tests.support.adapters import Bench
from tests.support.model_server import Call, ModelServer, Turn
from tests.support.toolboxes import APIS, CHAT, MESSAGES, RESPONSES, Api, asking, run_either

runs: list[str] = []


@pytest.fixture(autouse=True)
def _no_runs() -> None:
    """Each test counts its own runs."""
    runs.clear()


def weather(city: str) -> str:
    """Tell the weather."""
    runs.append(city)
    return f"sun in {city}"


TURN = asking("Bern", "Atlantis")


def legacy(city: str) -> Turn:
    return Turn(calls=[Call("weather", {"city": city}, kind="legacy")])


CUSTOM = Turn(calls=[Call("weather", city, kind="custom") for city in ("Bern", "Atlantis")])


def parsed(api: Api) -> Any:
    with ModelServer([TURN]) as server, api.client(server) as client:
        return api.resource(client).parse(**api.request)


def beta(streamed: bool) -> Any:
    with ModelServer([TURN]) as server, MESSAGES.client(server) as client:
        if not streamed:
            return client.beta.messages.create(**MESSAGES.request)
        with client.beta.messages.stream(**MESSAGES.request) as stream:
            return stream.get_final_message()


def of_api(api: Api) -> dict[str, Callable[[], list[Any]]]:
    """Return the ways that an API gives a response."""
    return {
        f"{api.name} create": lambda: [api.ask(TURN)],
        f"{api.name} stream": lambda: [api.ask(TURN, streamed=True)],
        f"{api.name} async create": lambda: [asyncio.run(api.aask(TURN))],
        f"{api.name} async stream": lambda: [asyncio.run(api.aask(TURN, streamed=True))],
    }


OPENAI: dict[str, Callable[[], list[Any]]] = {
    **of_api(CHAT),
    **of_api(RESPONSES),
    "chat parse": lambda: [parsed(CHAT)],
    "responses parse": lambda: [parsed(RESPONSES)],
    "legacy": lambda: [CHAT.ask(legacy(city)) for city in ("Bern", "Atlantis")],
}
ANTHROPIC: dict[str, Callable[[], list[Any]]] = {
    **of_api(MESSAGES),
    "beta create": lambda: [beta(streamed=False)],
    "beta stream": lambda: [beta(streamed=True)],
}


def check_records(bench: Bench) -> None:
    """An allowed and a denied call: one body, two decisions, one outcome."""
    assert runs == ["Bern"]
    allowed = {each["call"]: each["decision"]["effect"] for each in bench.decisions}
    assert sorted(allowed.values()) == ["allow", "deny"]
    (outcome,) = bench.outcomes
    assert (allowed[outcome["call"]], outcome["status"]) == ("allow", "ok")


@pytest.mark.call_path(
    "OpenAI, ToolBox",
    "`chat.completions` and `responses`: `create`, `stream`, `parse`, sync and async clients",
    "legacy `function_call`",
    result="governed",
)
@pytest.mark.parametrize("path", OPENAI)
def test_a_response_of_openai_is_governed(bench: Bench, path: str, how: str) -> None:
    box = ToolBox(bench.guard)
    box.tool(weather)
    for response in OPENAI[path]():
        assert run_either(box, response, how)
    check_records(bench)


@pytest.mark.call_path("OpenAI, ToolBox", "custom tools", result="governed")
@pytest.mark.parametrize("of", [CHAT, RESPONSES], ids=lambda api: api.name)
def test_a_custom_tool_is_governed(bench: Bench, of: Api, how: str) -> None:
    box = ToolBox(bench.guard)
    box.custom(weather)
    assert len(of.told(run_either(box, of.ask(CUSTOM), how))) == 2
    check_records(bench)


@pytest.mark.call_path(
    "Anthropic, ToolBox",
    "`messages` and `beta.messages`: `create`, `stream`, sync and async clients",
    result="governed",
)
@pytest.mark.parametrize("path", ANTHROPIC)
def test_a_response_of_anthropic_is_governed(bench: Bench, path: str, how: str) -> None:
    box = AnthropicBox(bench.guard)
    box.tool(weather)
    for response in ANTHROPIC[path]():
        assert run_either(box, response, how)
    check_records(bench)


@pytest.mark.call_path("OpenAI, ToolBox", "the function that `box.tool` returns", result="governed")
@pytest.mark.call_path(
    "Anthropic, ToolBox", "the function that `box.tool` returns", result="governed"
)
@pytest.mark.parametrize("of", APIS, ids=lambda api: api.name)
def test_the_function_that_the_program_keeps_is_governed(bench: Bench, of: Api) -> None:
    governed = of.box(bench.guard).tool(weather)
    assert governed("Bern") == "sun in Bern"
    with pytest.raises(Denied):
        governed(city="Atlantis")
    check_records(bench)


@pytest.mark.call_path(
    "OpenAI, ToolBox",
    "calls in a response that the program does not pass to `run`",
    result="not governed",
    note="the program's own code; `govern_client` decides every call that the client returns",
)
def test_a_response_that_run_does_not_get_is_not_governed(bench: Bench) -> None:
    ToolBox(bench.guard).tool(weather)
    (call, *_) = CHAT.ask(TURN).choices[0].message.tool_calls
    assert weather("Bern") == "sun in Bern"
    assert (call.function.name, runs, bench.decisions) == ("weather", ["Bern"], [])
