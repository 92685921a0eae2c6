"""Every way to call a LangChain tool: one decision and one outcome per execution of the body, same
result as before.
"""

from __future__ import annotations

import copy
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from langchain_core.messages import ToolMessage
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langchain_core.tools import BaseTool, StructuredTool, Tool, tool
from pydantic import BaseModel, Field

from guardrail.integrations.langchain import govern
from tests.support.langchain import RUNS


def answer(city: str, days: int) -> str:
    RUNS.append(city)
    return f"{city}: {days} days of sun"


@tool
def sync_function(city: str, days: int = 3) -> str:
    """Tell the weather."""
    return answer(city, days)


@tool
async def async_function(city: str, days: int = 3) -> str:
    """Tell the weather."""
    return answer(city, days)


def both() -> StructuredTool:
    def weather(city: str, days: int = 3) -> str:
        """Tell the weather."""
        return answer(city, days)

    async def aweather(city: str, days: int = 3) -> str:
        return answer(city, days)

    return StructuredTool.from_function(func=weather, coroutine=aweather)


def json_schema() -> StructuredTool:
    return StructuredTool(
        name="json_schema",
        description="Tell the weather.",
        args_schema={
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer", "default": 3}},
            "required": ["city"],
        },
        func=lambda city, days=3: answer(city, days),
    )


def single_input() -> Tool:
    return Tool(
        name="single_input", description="Tell the weather.", func=lambda city: answer(city, 3)
    )


class Question(BaseModel):
    city: str
    days: int = Field(3, ge=1)


class SyncClass(BaseTool):
    name: str = "sync_class"
    description: str = "Tell the weather."
    args_schema: Any = Question
    calls: int = 0

    def _run(self, city: str, days: int = 3) -> str:
        self.calls += 1
        return answer(city, days)


class PlainClass(BaseTool):
    """Without a schema of its own: LangChain makes one from ``_run``."""

    name: str = "plain_class"
    description: str = "Tell the weather."

    def _run(self, city: str, days: int = 3, run_manager: Any = None) -> str:
        return answer(city, days)


class BothClass(SyncClass):
    name: str = "both_class"

    async def _arun(self, city: str, days: int = 3) -> str:
        self.calls += 1
        return answer(city, days)


class NestedClass(SyncClass):
    """Its ``_arun`` goes through its own ``_run``: still one execution."""

    name: str = "nested_class"

    async def _arun(self, city: str, days: int = 3) -> str:
        return self._run(city, days)


class StructuredClass(StructuredTool):
    """State of its own beside a function."""

    calls: int = 0

    def _run(
        self, *args: Any, config: RunnableConfig, run_manager: Any = None, **kwargs: Any
    ) -> Any:
        self.calls += 1
        return super()._run(*args, config=config, run_manager=run_manager, **kwargs)


def structured_class() -> StructuredTool:
    def weather(city: str, days: int = 3) -> str:
        """Tell the weather."""
        return answer(city, days)

    return StructuredClass.from_function(func=weather, name="structured_class")


SYNC: dict[str, Callable[[], BaseTool]] = {
    "function": lambda: sync_function,
    "both": both,
    "json_schema": json_schema,
    "single_input": single_input,
    "sync_class": SyncClass,
    "plain_class": PlainClass,
    "both_class": BothClass,
    "nested_class": NestedClass,
    "structured_class": structured_class,
}
ASYNC = {**SYNC, "async_function": lambda: async_function}


def arguments(made: BaseTool) -> dict[str, Any]:
    return {"tool_input" if made.name == "single_input" else "city": "Bern"}


def message(made: BaseTool) -> dict[str, Any]:
    return {"type": "tool_call", "id": "call-1", "name": made.name, "args": arguments(made)}


SYNC_PATHS: dict[str, Callable[[BaseTool], Any]] = {
    "invoke": lambda made: made.invoke(arguments(made)),
    "invoke with a string": lambda made: made.invoke("Bern"),
    "invoke with a tool call": lambda made: made.invoke(message(made)).content,
    "run": lambda made: made.run(arguments(made)),
    "batch": lambda made: made.batch([arguments(made)])[0],
    "stream": lambda made: next(iter(made.stream(arguments(made)))),
    "pipe": lambda made: (made | RunnableLambda(lambda text: text)).invoke(arguments(made)),
    "with_retry": lambda made: made.with_retry(stop_after_attempt=2).invoke(arguments(made)),
    "deepcopy": lambda made: copy.deepcopy(made).invoke(arguments(made)),
    "copy": lambda made: copy.copy(made).invoke(arguments(made)),
    "model_copy": lambda made: made.model_copy().invoke(arguments(made)),
}

ASYNC_PATHS: dict[str, Callable[[BaseTool], Awaitable[Any]]] = {
    "ainvoke": lambda made: made.ainvoke(arguments(made)),
    "arun": lambda made: made.arun(arguments(made)),
}


def check_one(bench: Any, made: BaseTool, result: Any) -> None:
    assert result == "Bern: 3 days of sun"
    assert RUNS == ["Bern"]
    assert len(bench.decisions) == len(bench.outcomes) == 1
    decision, outcome = bench.decisions[0], bench.outcomes[0]
    assert decision["decision"]["effect"] == "allow"
    assert (outcome["call"], outcome["decision_seq"]) == (decision["call"], decision["seq"])
    assert outcome["status"] == "ok"
    assert decision["tool"]["name"] == made.name
    assert decision["tool"]["declared"] is True
    assert decision["origin"]["adapter"] == "langchain"


# LangChain itself refuses these two: a string for a JSON Schema, arun of a Tool without a
# coroutine.
SYNC_PAIRS = [
    (kind, path)
    for kind in SYNC
    for path in SYNC_PATHS
    if (kind, path) != ("json_schema", "invoke with a string")
]
ASYNC_PAIRS = [
    (kind, path)
    for kind in ASYNC
    for path in ASYNC_PATHS
    if (kind, path) != ("single_input", "arun")
]


@pytest.mark.call_path(
    "LangChain",
    "`invoke`",
    "`run`",
    "`batch`",
    "`stream`",
    "a pipe",
    "`with_retry`",
    "copies",
    result="governed",
)
@pytest.mark.parametrize(("kind", "path"), SYNC_PAIRS)
def test_a_synchronous_path_gives_one_decision_and_one_outcome(
    bench: Any, kind: str, path: str
) -> None:
    """Whatever the tool is made of, and however it is called."""
    original = SYNC[kind]()
    made = govern(original, bench.guard)
    result = SYNC_PATHS[path](made)
    check_one(bench, made, result)
    RUNS.clear()
    assert SYNC_PATHS[path](original) == result


@pytest.mark.call_path("LangChain", "`ainvoke`", "`arun`", result="governed")
@pytest.mark.parametrize(("kind", "path"), ASYNC_PAIRS)
async def test_an_asynchronous_path_gives_one_decision_and_one_outcome(
    bench: Any, kind: str, path: str
) -> None:
    """Also where the tool is synchronous and runs in a thread."""
    made = govern(ASYNC[kind](), bench.guard)
    check_one(bench, made, await ASYNC_PATHS[path](made))


@pytest.mark.call_path("LangChain", "`abatch`", result="governed")
@pytest.mark.parametrize("kind", ASYNC)
async def test_many_items_give_one_decision_and_one_outcome_each(bench: Any, kind: str) -> None:
    """abatch runs concurrently, and no record is shared or lost."""
    made = govern(ASYNC[kind](), bench.guard)
    results = await made.abatch([arguments(made)] * 12)
    assert results == ["Bern: 3 days of sun"] * 12
    assert len(RUNS) == len(bench.decisions) == len(bench.outcomes) == 12
    assert len({record["call"] for record in bench.decisions}) == 12


@pytest.mark.call_path("LangChain", "`astream`", "`astream_events`", result="governed")
async def test_the_async_streams_are_governed(bench: Any) -> None:
    """astream and astream_events end in the same place."""
    made = govern(async_function, bench.guard)
    assert [item async for item in made.astream({"city": "Bern"})] == ["Bern: 3 days of sun"]
    async for _ in made.astream_events({"city": "Bern"}, version="v2"):
        pass
    assert len(RUNS) == len(bench.decisions) == len(bench.outcomes) == 2


def test_a_batch_in_threads_gives_one_decision_and_one_outcome_each(bench: Any) -> None:
    """Thirty-two calls on the framework's own thread pool, a denied one among them."""
    made = govern(sync_function, bench.guard)
    calls = [{"city": "Atlantis" if index == 7 else "Bern"} for index in range(32)]
    results = made.batch(calls, {"max_concurrency": 8}, return_exceptions=True)
    assert [type(item).__name__ for item in results].count("Denied") == 1
    assert len(RUNS) == 31
    assert (len(bench.decisions), len(bench.outcomes)) == (32, 31)


@pytest.mark.call_path("LangChain", "`tool.func`", result="governed")
def test_the_functions_of_a_governed_tool_are_governed(bench: Any) -> None:
    """func, called by whoever takes it out of the tool, is decided and recorded too."""
    made = govern(both(), bench.guard)
    assert made.func is not None
    assert made.func("Bern", days=2) == "Bern: 2 days of sun"
    assert bench.asked == [{"city": "Bern", "days": 2}]
    assert len(RUNS) == len(bench.decisions) == len(bench.outcomes) == 1


@pytest.mark.call_path("LangChain", "`tool.coroutine`", result="governed")
async def test_the_coroutine_of_a_governed_tool_is_governed(bench: Any) -> None:
    """As func."""
    made = govern(both(), bench.guard)
    assert made.coroutine is not None
    assert await made.coroutine("Bern") == "Bern: 3 days of sun"
    assert bench.asked == [{"city": "Bern", "days": 3}]
    assert len(RUNS) == len(bench.decisions) == len(bench.outcomes) == 1


@pytest.mark.call_path("LangChain", "`_run` of a tool class", result="governed")
def test_run_of_a_governed_class_is_governed(bench: Any) -> None:
    """_run, called from outside, is decided and recorded too."""
    made = govern(SyncClass(), bench.guard)
    assert made._run("Bern", days=2) == "Bern: 2 days of sun"
    assert len(RUNS) == len(bench.decisions) == len(bench.outcomes) == 1


@pytest.mark.parametrize("kind", ["sync_class", "both_class", "nested_class", "structured_class"])
def test_a_body_sees_and_changes_the_state_of_the_governed_tool(bench: Any, kind: str) -> None:
    """What a body writes to itself is read from the governed tool, not lost in a hidden copy."""
    made: Any = govern(SYNC[kind](), bench.guard)
    made.invoke({"city": "Bern"})
    made.invoke({"city": "Bern"})
    assert made.calls == 2


def test_the_call_id_of_the_framework_is_recorded(bench: Any) -> None:
    """origin.call_id links a record to the message that asked for it; a call without one has
    none.
    """
    made = govern(sync_function, bench.guard)
    result = made.invoke(message(made))
    assert isinstance(result, ToolMessage)
    assert result.tool_call_id == "call-1"
    made.invoke({"city": "Bern"})
    assert [record["origin"]["call_id"] for record in bench.decisions] == ["call-1", None]
    assert [record["origin"]["call_id"] for record in bench.outcomes] == ["call-1", None]


@pytest.mark.call_path("LangChain", "a tool that calls a tool", result="governed")
def test_a_tool_that_calls_a_governed_tool_is_its_parent(bench: Any) -> None:
    """The inner call has no call id of its own, and names the outer one as its parent."""
    inner = govern(sync_function, bench.guard)

    @tool
    def plan(city: str) -> str:
        """Plan a trip."""
        RUNS.append("plan")
        return str(inner.invoke({"city": city}))

    outer = govern(plan, bench.guard)
    outer.invoke({"type": "tool_call", "id": "call-7", "name": "plan", "args": {"city": "Bern"}})
    first, second = bench.decisions
    assert second["parent"] == first["call"]
    assert RUNS == ["plan", "Bern"]
    assert [record["call"] for record in bench.outcomes] == [second["call"], first["call"]]
    assert (first["origin"]["call_id"], second["origin"]["call_id"]) == ("call-7", None)


def test_a_function_called_inside_a_body_has_no_call_id_of_the_framework(bench: Any) -> None:
    """The id belongs to the call that the framework made, and to no other."""
    inner = govern(sync_function, bench.guard)

    @tool
    def plan(city: str) -> str:
        """Plan a trip."""
        assert inner.func is not None
        return str(inner.func(city))

    govern(plan, bench.guard).invoke(
        {"type": "tool_call", "id": "call-7", "name": "plan", "args": {"city": "Bern"}}
    )
    assert [record["origin"]["call_id"] for record in bench.decisions] == ["call-7", None]


def test_the_session_of_the_caller_is_that_of_the_call(bench: Any) -> None:
    """Also in the framework's own threads."""
    made = govern(sync_function, bench.guard)
    with bench.guard.session(principal="mia@example.com", agent="planner") as scope:
        made.batch([{"city": "Bern"}] * 4)
    assert {record["session"] for record in bench.decisions} == {scope.id}
    assert {record["principal"]["id"] for record in bench.decisions} == {"mia@example.com"}


def test_defaults_are_filled_in_and_recorded(bench: Any) -> None:
    """The policy sees every argument that the body will get."""
    govern(sync_function, bench.guard).invoke({"city": "Bern"})
    assert bench.asked == [{"city": "Bern", "days": 3}]


@pytest.mark.call_path(
    "LangChain",
    "a generator function",
    result="refused",
    note="its body would run after the outcome",
)
def test_a_generator_body_is_refused_and_recorded_as_an_error(bench: Any) -> None:
    """Its work would happen after the outcome."""

    @tool
    def stream(city: str) -> Any:
        """Stream the weather."""
        yield city

    made = govern(stream, bench.guard)
    with pytest.raises(Exception, match="generator"):
        made.invoke({"city": "Bern"})
    assert [record["status"] for record in bench.outcomes] == ["error"]
