"""Whatever way an agent is run, and whatever its tools get from the framework, each body that ran
under the middleware has one decision and one outcome.
"""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from langchain.agents import AgentState, create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware
from langchain.tools import InjectedState, InjectedToolCallId, ToolRuntime
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from guardrail.integrations.langchain import GuardMiddleware
from guardrail.testing import StaticPolicy, allow, ask, memory_guard
from tests.support.langchain import RUNS, Scripted, weather

CALL = {"name": "weather", "args": {"city": "Bern"}, "id": "c-1", "type": "tool_call"}
QUESTION: Any = {"messages": [HumanMessage("weather?")]}
THREAD: Any = {"configurable": {"thread_id": "t-1"}}


def agent(guard: Any, tools: Any = (weather,), call: Any = None, **options: Any) -> Any:
    model = Scripted(responses=[AIMessage("", tool_calls=[call or CALL]), AIMessage("done")])
    middleware = [*options.pop("before", ()), GuardMiddleware(guard, **options.pop("guarding", {}))]
    return create_agent(model, tools=list(tools), middleware=middleware, **options)


async def stream(made: Any) -> None:
    for _ in made.stream(QUESTION):
        pass


async def astream(made: Any) -> None:
    async for _ in made.astream(QUESTION, stream_mode="updates"):
        pass


async def events(made: Any) -> None:
    async for _ in made.astream_events(QUESTION, version="v2"):
        pass


async def batch(made: Any) -> None:
    made.batch([QUESTION])


async def abatch(made: Any) -> None:
    await made.abatch([QUESTION])


@pytest.mark.call_path(
    "LangGraph",
    "`stream`, `astream`, `astream_events`, `batch`, `abatch` of an agent",
    result="governed",
)
@pytest.mark.parametrize("run", [stream, astream, events, batch, abatch])
async def test_every_way_to_run_an_agent_is_governed(bench: Any, run: Any) -> None:
    await run(agent(bench.guard))
    assert len(RUNS) == len(bench.decisions) == len(bench.outcomes) == 1


class Typed(AgentState[Any]):
    """A state with something of its own."""

    user: str


@tool
def injected(
    city: str,
    state: Annotated[dict[str, Any], InjectedState],
    call_id: Annotated[str, InjectedToolCallId],
    runtime: ToolRuntime,
) -> Command[Any]:
    """Use everything that the framework injects."""
    RUNS.append((city, state["user"], call_id, runtime.tool_call_id))
    return Command(update={"messages": [ToolMessage("done", tool_call_id=call_id)]})


@pytest.mark.parametrize("awaited", [False, True])
async def test_injected_arguments_reach_the_body_and_not_the_policy(
    bench: Any, awaited: bool
) -> None:
    """Through the governed tool that the middleware puts in; forged ones are overwritten."""
    forged = {"city": "Bern", "state": {"user": "mallory"}, "call_id": "c-9"}
    call = {**CALL, "name": "injected", "args": forged}
    made = agent(bench.guard, [injected], call, state_schema=Typed)
    given = {**QUESTION, "user": "alice"}
    result = await made.ainvoke(given) if awaited else made.invoke(given)
    assert result["messages"][-2].text == "done"
    assert RUNS == [("Bern", "alice", "c-1", "c-1")]
    assert bench.asked == [{"city": "Bern"}]
    assert "mallory" not in bench.text


@pytest.mark.call_path(
    "LangGraph", "a call that `HumanInTheLoopMiddleware` lets a person edit", result="governed"
)
@pytest.mark.parametrize("mode", ["batched", "per_call"])
@pytest.mark.parametrize(
    ("decision", "runs", "cities"),
    [
        ({"type": "approve"}, ["Bern"], ["Bern"]),
        (
            {"type": "edit", "edited_action": {"name": "weather", "args": {"city": "Atlantis"}}},
            [],
            ["Atlantis"],
        ),
        ({"type": "reject", "message": "no"}, [], []),
    ],
)
def test_a_person_in_the_loop_changes_what_is_decided(
    bench: Any, mode: str, decision: dict[str, Any], runs: list[str], cities: list[str]
) -> None:
    """The policy sees the edited call, and nothing is on record before the person has answered."""
    person = HumanInTheLoopMiddleware(interrupt_on={"weather": True}, interrupt_mode=mode)  # type: ignore[arg-type]
    made = agent(bench.guard, before=[person], checkpointer=InMemorySaver())
    made.invoke(QUESTION, THREAD)
    assert bench.decisions == []
    answer = decision if mode == "per_call" else {"decisions": [decision]}
    made.invoke(Command(resume=answer), THREAD)
    assert runs == RUNS
    assert [asked["city"] for asked in bench.asked] == cities
    assert (len(bench.decisions), len(bench.outcomes)) == (len(cities), len(runs))


def test_a_call_that_a_person_must_approve_pauses_the_agent() -> None:
    """With ``approvals="interrupt"``; it runs once, when the person has said yes."""
    guard, ledger = memory_guard(StaticPolicy(ask("far_away")))
    made = agent(guard, guarding={"approvals": "interrupt"}, checkpointer=InMemorySaver())
    with guard.session("alice", id="s-1"):
        paused = made.invoke(QUESTION, THREAD)
        (question,) = paused["__interrupt__"]
        assert RUNS == []
        answer = question.value["answer"] | {"approved": False, "approver": "bob"}
        result = made.invoke(Command(resume=answer), THREAD)
    assert result["messages"][-2].text == "denied: a person refused this call"
    assert RUNS == []
    assert len(ledger.of("approval.refused")) == 1


@pytest.mark.call_path("LangGraph", "an agent that is the tool of another", result="governed")
def test_the_calls_of_an_agent_that_is_a_tool_name_their_parent() -> None:
    """Both agents have the middleware; the identity of the run holds for both."""
    guard, ledger = memory_guard(StaticPolicy(allow()))
    inner = agent(guard)

    @tool
    def delegate(city: str) -> str:
        """Ask another agent."""
        return str(inner.invoke(QUESTION)["messages"][-1].text)

    call = {**CALL, "name": "delegate", "id": "c-0"}
    config: Any = {"configurable": {"guardrail_principal": "alice", "thread_id": "t-1"}}
    agent(guard, [delegate], call).invoke(QUESTION, config)
    outer, nested = ledger.of("call.decision")
    assert (outer["tool"]["name"], nested["tool"]["name"]) == ("delegate", "weather")
    assert nested["parent"] == outer["call"]
    assert {record["principal"]["id"] for record in (outer, nested)} == {"alice"}
    assert {record["session"] for record in (outer, nested)} == {"t-1"}
    assert (RUNS, len(ledger.of("call.outcome"))) == (["Bern"], 2)
