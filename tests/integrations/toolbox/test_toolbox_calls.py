"""A ToolBox decides, records and runs the calls of a response, and answers them in their order."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from datetime import date
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr

from guardrail import UsageError
from guardrail.call.admission import Admission
from tests.support.adapters import Bench
from tests.support.model_server import MODEL, Call, Turn
from tests.support.toolboxes import Api, asking, conversation, run_either, weather


class Order(BaseModel):
    number: int
    due: date
    token: SecretStr


@dataclass
class Point:
    x: float
    y: float


@pytest.mark.parametrize("streamed", [False, True], ids=["plain", "streamed"])
def test_each_call_is_decided_recorded_and_answered(
    bench: Bench, api: Api, how: str, streamed: bool
) -> None:
    """Allowed, denied, to be approved and failed calls of one response; each has its own result."""
    runs: list[str] = []
    box = api.box(bench.guard)

    @box.tool
    def weather(city: str) -> str:
        """Tell the weather."""
        runs.append(city)
        if city == "Babel":
            raise ValueError("no such tower")
        return f"sun in {city}"

    turn = asking("Bern", "Atlantis", "Utopia", "Babel", "Ouagadougou")
    told = api.told(run_either(box, api.ask(turn, streamed=streamed), how))
    assert [each.id for each in told] == ["id0", "id1", "id2", "id3", "id4"]
    assert [each.text for each in told] == [
        "sun in Bern",
        "denied by policy: no_such_place",
        "not run: a person must approve this call first: far_away",
        "failed: ValueError: no such tower",
        "sun in Ouagadougou",
    ]
    if api.adapter == "anthropic":
        assert [each.failed for each in told] == [False, True, True, True, False]
    assert sorted(runs) == ["Babel", "Bern", "Ouagadougou"]
    effects = {each["origin"]["call_id"]: each["decision"]["effect"] for each in bench.decisions}
    assert effects == {
        "id0": "allow",
        "id1": "deny",
        "id2": "require_approval",
        "id3": "allow",
        "id4": "allow",
    }
    statuses = {each["origin"]["call_id"]: each["status"] for each in bench.outcomes}
    assert statuses == {"id0": "ok", "id3": "error", "id4": "ok"}


def test_the_async_client_gives_the_same(bench: Bench, api: Api) -> None:
    """Streamed and not, in one event loop with the calls."""

    async def both() -> list[Any]:
        box = api.box(bench.guard)

        @box.tool
        async def weather(city: str) -> str:
            """Tell the weather."""
            await asyncio.sleep(0)
            return f"sun in {city}"

        found = []
        for streamed in (False, True):
            response = await api.aask(asking("Bern", "Atlantis"), streamed=streamed)
            found.append(api.texts(await box.arun(response)))
        return found

    texts = ["sun in Bern", "denied by policy: no_such_place"]
    assert asyncio.run(both()) == [texts, texts]


def test_records_say_which_model_asked_in_which_response(bench: Bench, api: Api, how: str) -> None:
    """And which client brought the call, in which version; none of it is verified."""
    import anthropic
    import openai

    box = api.box(bench.guard)
    box.tool(weather)
    turn = Turn(calls=[Call("weather", {"city": "Bern"})], id="made_by_a_model")
    run_either(box, api.ask(turn), how)
    (decision,) = bench.decisions
    model = {"name": MODEL, "response": "made_by_a_model", "assurance": "asserted"}
    assert decision["input"]["context"]["model"] == model
    version = {"openai": openai.__version__, "anthropic": anthropic.__version__}[api.adapter]
    framework = {"name": api.adapter, "version": version, "assurance": "asserted"}
    assert decision["input"]["context"]["origin"] == {
        "adapter": api.adapter,
        "framework": framework,
    }
    assert decision["origin"]["adapter"] == api.adapter


RESULTS: list[tuple[Any, str]] = [
    ("plain: {}é", "plain: {}é"),
    ("", ""),
    (None, "null"),
    (True, "true"),
    ({"a": [1, 2.5, None]}, '{"a":[1,2.5,null]}'),
    (["é", 3], '["é",3]'),
    (Point(1.0, float("inf")), '{"x":1.0,"y":"Infinity"}'),
    (
        Order(number=7, due=date(2026, 1, 2), token=SecretStr("s")),
        '{"number":7,"due":"2026-01-02","token":"**********"}',
    ),
    (b"\xff\x00", '"_wA="'),
    ("lone \ud800 surrogate", "lone ? surrogate"),
]


@pytest.mark.parametrize(("result", "text"), RESULTS, ids=[text for _, text in RESULTS])
def test_results_are_text_as_it_is_and_everything_else_as_json(
    bench: Bench, api: Api, result: Any, text: str
) -> None:
    """What a loop by hand would send."""
    box = api.box(bench.guard)
    box.tool(lambda: result, name="made")
    response = api.ask(Turn(calls=[Call("made", {})]))
    assert api.texts(box.run(response)) == [text]


def test_a_result_without_a_json_form_is_told_as_such(bench: Bench, api: Api) -> None:
    """The body ran, and the record says so; the model is not told the object's address."""
    box = api.box(bench.guard)
    box.tool(lambda: [object()], name="made")
    (told,) = api.told(box.run(api.ask(Turn(calls=[Call("made", {})]))))
    assert told.text == "made ran, but a result of type list can't be converted to JSON"
    assert told.failed in (None, True)
    assert [each["status"] for each in bench.outcomes] == ["ok"]


def test_several_calls_run_at_the_same_time(bench: Bench, api: Api) -> None:
    """Each body waits until all of them have begun: one after the other, they never would."""
    barrier = threading.Barrier(4, timeout=60)

    def meet(city: str) -> str:
        barrier.wait()
        return city

    box = api.box(bench.guard)
    box.tool(meet)
    response = api.ask(asking("a", "b", "c", "d", name="meet"))
    assert api.texts(box.run(response)) == ["a", "b", "c", "d"]
    assert api.texts(asyncio.run(box.arun(response))) == ["a", "b", "c", "d"]


def test_coroutine_functions_run_as_tasks_at_the_same_time(bench: Bench, api: Api) -> None:
    """In the order of the calls, whichever ends first."""

    async def main() -> list[Any]:
        begun: list[str] = []
        all_here = asyncio.Event()
        box = api.box(bench.guard)

        @box.tool
        async def meet(city: str) -> str:
            begun.append(city)
            if len(begun) == 40:
                all_here.set()
            await all_here.wait()
            return city

        return api.texts(await box.arun(api.ask(asking(*map(str, range(40)), name="meet"))))

    assert asyncio.run(main()) == list(map(str, range(40)))


def test_coroutine_functions_need_arun(bench: Bench, api: Api) -> None:
    """Said before anything is decided."""
    box = api.box(bench.guard)

    @box.tool
    async def later(city: str) -> str:
        return city

    box.tool(weather)
    response = api.ask(Turn(calls=[Call("weather", {"city": "x"}), Call("later", {"city": "x"})]))
    with pytest.raises(UsageError, match="later is a coroutine function") as caught:
        box.run(response)
    assert caught.value.hint == "use arun"
    assert bench.recorded == []


def test_the_session_of_the_caller_reaches_each_body(bench: Bench, api: Api, how: str) -> None:
    """In threads as well, with the call as the parent of calls that a body makes."""
    box = api.box(bench.guard)

    @box.tool
    def plan(city: str) -> str:
        bench.guard.call("book", {"city": city}, run=lambda city: None)
        return Admission.current_call() or ""

    response = api.ask(asking("Bern", "Basel", name="plan"))
    with bench.guard.session(principal="alice@example.com", agent="bot"):
        calls = api.texts(run_either(box, response, how))
    named = {each["call"]: each for each in bench.decisions}
    assert {each["principal"]["id"] for each in bench.decisions} == {"alice@example.com"}
    parents = [each["parent"] for each in named.values() if each["tool"]["name"] == "book"]
    assert sorted(parents) == sorted(calls)

    other = bench.guard.session(principal="bob@example.com", agent="bot")
    box.tool(weather)
    given = {"session": other}
    if how == "run":
        box.run(api.ask(asking("Rome", "Pisa")), **given)
    else:
        asyncio.run(box.arun(api.ask(asking("Rome", "Pisa")), **given))
    assert [each["principal"]["id"] for each in bench.decisions[-2:]] == ["bob@example.com"] * 2


def test_the_body_runs_what_was_decided(bench: Bench, api: Api, how: str) -> None:
    """Defaults are decided, recorded and passed on, and types are those of the signature."""
    got: list[Any] = []
    box = api.box(bench.guard)

    @box.tool
    def book(on: date, nights: int = 2) -> None:
        got.append((on, nights))

    run_either(box, api.ask(Turn(calls=[Call("book", {"on": "2026-01-02"})])), how)
    assert got == [(date(2026, 1, 2), 2)]
    assert bench.asked == [{"on": "2026-01-02", "nights": 2}]


def test_a_response_without_calls_has_nothing_to_append(bench: Bench, api: Api, how: str) -> None:
    """Text, and a refusal of the model."""
    box = api.box(bench.guard)
    box.tool(weather)
    assert run_either(box, api.ask(Turn("Sun.")), how) == []
    if api.adapter == "openai":
        assert run_either(box, api.ask(Turn(refusal="No.")), how) == []
    else:
        assert run_either(box, api.ask(Turn("No.", finish="refusal")), how) == []
    assert bench.recorded == []


def test_a_conversation_goes_on_with_what_run_returned(bench: Bench, api: Api) -> None:
    """The provider gets each result, next to the call that it belongs to."""
    box = api.box(bench.guard)
    box.tool(weather)
    request = dict(api.request)
    field = "input" if api.name == "responses" else "messages"
    turns: list[Any] = [{"role": "user", "content": "Sun?"}]
    script = [asking("Bern", "Atlantis"), asking("Rome"), Turn("Sun everywhere.")]
    with conversation(api, script) as (resource, server):
        for _ in range(3):
            tools = box.tools("chat") if api.name == "chat" else box.tools()
            response = resource.create(**{**request, field: turns, "tools": tools})
            if api.name == "responses":
                turns += response.output
            elif api.name == "chat":
                turns.append(response.choices[0].message)
            else:
                turns.append({"role": "assistant", "content": response.content})
            turns += box.run(response)
    last = str(server.bodies[-1][field])
    for text in ("sun in Bern", "denied by policy: no_such_place", "sun in Rome"):
        assert text in last
    assert len(bench.outcomes) == 2
