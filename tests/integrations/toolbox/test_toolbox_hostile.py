"""Clients do not check what a provider sends: whatever a field holds, a ToolBox answers, or says
that the response is malformed, and no body runs undecided.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

import pytest
from anthropic.types import Message
from openai.types.chat import ChatCompletion
from openai.types.responses import Response

from guardrail import UsageError
from tests.support.adapters import Bench, make_bench
from tests.support.model_server import SPEAKERS, Call, Turn
from tests.support.toolboxes import CHAT, MESSAGES, RESPONSES, Api, run_either

CALLS = [
    Call("weather", {"city": "Bern"}, id="a"),
    Call("weather", {"city": "Atlantis"}, id="b"),
    Call("shell", "ls", id="c", kind="custom"),
]
HOSTED = [
    {"type": "mcp_call", "id": "m", "name": "t", "server_label": "b", "arguments": "{}"},
    {"type": "mcp_approval_request", "id": "n", "name": "t", "server_label": "b"},
    {"type": "shell_call_output", "call_id": "z", "output": []},
    {"type": "server_tool_use", "id": "s", "name": "w", "input": {}},
]
TURNS = {
    "chat": (CHAT, Turn("Hm.", CALLS)),
    "legacy": (CHAT, Turn(calls=[Call("weather", {"city": "Bern"}, kind="legacy")])),
    "responses": (RESPONSES, Turn("Hm.", CALLS, items=HOSTED[:3])),
    "messages": (MESSAGES, Turn("Hm.", CALLS[:2], items=HOSTED[3:])),
}
ODD: list[Any] = [
    None,
    [],
    {},
    "",
    "x",
    7,
    -1.5,
    True,
    [None],
    [[]],
    {"a": 1},
    {"type": "function"},
    "\ud800",
    "\0\0",
    "x" * 2000,
]


def test_texts_for_the_model_can_be_sent(bench: Bench, api: Api) -> None:
    """Whatever a model or a body wrote: no request can carry lone surrogates."""
    box = api.box(bench.guard)

    @box.tool
    def weather(city: str) -> str:
        raise ValueError("no \ud800")

    turn = Turn(calls=[Call("weather", {"city": "Bern"}, id="a"), Call("\ud800", {}, id="b")])
    failed, unknown = api.texts(box.run(api.ask(turn)))
    assert failed == "failed: ValueError: no ?"
    assert unknown.startswith("not run: ?: there is no such tool")


TYPES = {"chat": ChatCompletion, "responses": Response, "messages": Message}
PATHS = {"chat": "chat/completions", "responses": "responses", "messages": "messages"}


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of each part of a document."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, part in pairs:
        yield (*at, key)
        if isinstance(part, dict | list):
            yield from places(part, (*at, key))


def mutated(document: Any, rng: random.Random) -> Any:
    """Return a copy with odd or missing values in one to three places."""
    made = copy.deepcopy(document)
    for _ in range(rng.choice([1, 1, 2, 3])):
        *outer, last = rng.choice(list(places(made)))
        holder = made
        for key in outer:
            holder = holder[key]
        if isinstance(holder, dict) and rng.random() < 0.2:
            del holder[last]
        else:
            holder[last] = copy.deepcopy(rng.choice(ODD))
    return made


def build(api: Api, document: Any) -> Any:
    """Return what the official client makes of a document: nothing is validated."""
    if api.adapter == "openai":
        from openai._models import construct_type
    else:
        from anthropic._models import construct_type  # type: ignore[assignment]
    return construct_type(type_=TYPES[api.name], value=document)


@pytest.mark.parametrize(("api", "turn"), TURNS.values(), ids=TURNS)
@pytest.mark.parametrize("seed", range(4))
def test_odd_values_in_a_response_lead_to_answers_or_a_usage_error(
    api: Api, turn: Turn, seed: int
) -> None:
    """The answers can be sent, and as many bodies run as calls were allowed."""
    rng = random.Random(seed)
    document = SPEAKERS[f"/v1/{PATHS[api.name]}"].answer(turn, {})
    bench = make_bench()
    box = api.box(bench.guard)
    runs: list[str] = []

    @box.tool
    def weather(city: str) -> str:
        runs.append(city)
        return city

    if api.adapter == "openai":

        @box.custom
        def shell(command: str) -> str:
            runs.append(command)
            return command

    answered, codes = 0, set[str]()
    for _ in range(150):
        response = build(api, mutated(document, rng))
        if not isinstance(response, TYPES[api.name]):
            continue
        try:
            json.dumps(run_either(box, response, "run"))
            answered += 1
        except UsageError as error:
            codes.add(error.code)
    assert answered > 50
    assert codes <= {"usage.response", "usage.item"}
    allowed = [each for each in bench.decisions if each["decision"]["effect"] == "allow"]
    assert len(runs) == len(allowed) == len(bench.outcomes)
    assert "Atlantis" not in runs
