"""Governed tools inside create_agent and LangGraph: denials are read and worked around, interrupts
are no failures.
"""

from __future__ import annotations

from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command, interrupt

from guardrail.integrations.langchain import govern
from tests.support.langchain import RUNS, Scripted, weather


def say(*cities: str, name: str = "weather") -> AIMessage:
    calls = [
        {"name": name, "args": {"city": city}, "id": f"call-{city}", "type": "tool_call"}
        for city in cities
    ]
    return AIMessage("", tool_calls=calls)


def tool_messages(result: dict[str, Any]) -> list[ToolMessage]:
    return [message for message in result["messages"] if isinstance(message, ToolMessage)]


async def test_an_agent_reads_a_denial_and_goes_on(bench: Any) -> None:
    """The refused call is answered with the reason, the next one runs; sync and async alike."""
    for run in ("invoke", "ainvoke"):
        model = Scripted(responses=[say("Atlantis"), say("Bern"), AIMessage("sun")])
        agent = create_agent(model, tools=govern([weather], bench.guard))
        question = {"messages": [("user", "weather?")]}
        result = agent.invoke(question) if run == "invoke" else await agent.ainvoke(question)
        first, second = tool_messages(result)
        assert (first.status, first.content) == ("error", "denied by policy: no_such_place")
        assert (second.status, second.content) == ("success", "sun in Bern")
        assert result["messages"][-1].content == "sun"
    assert (len(bench.decisions), len(bench.outcomes)) == (4, 2)


@pytest.mark.call_path("LangGraph", "`create_agent` with governed tools", result="governed")
def test_parallel_calls_are_decided_one_by_one(bench: Any) -> None:
    """One message with three calls, one of them denied: two run, in the caller's session."""
    model = Scripted(responses=[say("Bern", "Atlantis", "Basel"), AIMessage("done")])
    agent = create_agent(model, tools=govern([weather], bench.guard))
    with bench.guard.session(principal="mia@example.com", agent="planner") as scope:
        result = agent.invoke({"messages": [("user", "weather?")]})
    assert [message.status for message in tool_messages(result)] == ["success", "error", "success"]
    assert {record["session"] for record in bench.decisions} == {scope.id}
    assert {record["origin"]["call_id"] for record in bench.decisions} == {
        "call-Bern",
        "call-Atlantis",
        "call-Basel",
    }
    assert sorted(RUNS) == ["Basel", "Bern"]
    assert len(bench.outcomes) == 2


def test_bad_arguments_in_an_agent_are_recorded_and_answered(bench: Any) -> None:
    """The agent is told by the framework; the ledger has a call.rejected and no decision."""
    bad = AIMessage(
        "", tool_calls=[{"name": "weather", "args": {}, "id": "call-1", "type": "tool_call"}]
    )
    agent = create_agent(
        Scripted(responses=[bad, AIMessage("done")]), tools=govern([weather], bench.guard)
    )
    result = agent.invoke({"messages": [("user", "weather?")]})
    assert tool_messages(result)[0].status == "error"
    assert [record["reason"] for record in bench.rejected] == ["arguments"]
    assert bench.decisions == []


@pytest.mark.call_path(
    "LangGraph",
    "an unknown tool, without `GuardMiddleware` or `tool_call_wrappers`",
    result="not governed",
    note="no body runs, and no governed tool is called, so there is no record",
)
def test_an_unknown_tool_leaves_no_record_without_the_middleware(bench: Any) -> None:
    """A limit, stated: no governed tool is reached. GuardMiddleware records it."""
    agent = create_agent(
        Scripted(responses=[say("Bern", name="climate"), AIMessage("done")]),
        tools=govern([weather], bench.guard),
    )
    result = agent.invoke({"messages": [("user", "weather?")]})
    assert tool_messages(result)[0].status == "error"
    assert (bench.decisions, bench.rejected) == ([], [])


@pytest.mark.call_path("LangGraph", "`interrupt` in a body, and its resume", result="governed")
def test_an_interrupt_is_recorded_as_interrupted_and_a_resume_as_a_new_call(bench: Any) -> None:
    """The framework pauses the body and runs it again from its start: two executions, two pairs of
    records.
    """

    @tool
    def book(city: str) -> str:
        """Book a trip after asking."""
        RUNS.append(city)
        return f"{city}: {interrupt({'question': 'really?'})}"

    agent = create_agent(
        Scripted(responses=[say("Bern", name="book"), AIMessage("done")]),
        tools=govern([book], bench.guard),
        checkpointer=InMemorySaver(),
    )
    config: Any = {"configurable": {"thread_id": "1"}}
    agent.invoke({"messages": [("user", "book")]}, config)
    assert [record["status"] for record in bench.outcomes] == ["interrupted"]
    result = agent.invoke(Command(resume="yes"), config)
    assert tool_messages(result)[0].content == "Bern: yes"
    assert [record["status"] for record in bench.outcomes] == ["interrupted", "ok"]
    assert len(RUNS) == len({record["call"] for record in bench.decisions}) == 2
    assert {record["origin"]["call_id"] for record in bench.decisions} == {"call-Bern"}


@pytest.mark.call_path("LangGraph", "a task that is cancelled", result="governed")
async def test_a_cancelled_call_is_recorded_as_cancelled(bench: Any) -> None:
    """The outcome is written although the task is gone."""
    import asyncio

    started = asyncio.Event()

    @tool
    async def wait(city: str) -> str:
        """Wait for ever."""
        RUNS.append(city)
        started.set()
        await asyncio.Event().wait()
        return city

    task = asyncio.ensure_future(govern(wait, bench.guard).ainvoke({"city": "Bern"}))
    await started.wait()
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        pass
    assert len(RUNS) == len(bench.decisions) == 1
    assert [record["status"] for record in bench.outcomes] == ["cancelled"]


def test_a_tool_that_hands_over_to_the_parent_graph_did_not_fail(bench: Any) -> None:
    """Command(graph=PARENT), returned by the body, is its result."""

    @tool
    def handover(city: str) -> Command:
        """Hand over to another agent."""
        return Command(graph=Command.PARENT, goto="other", update={"messages": []})

    result = govern(handover, bench.guard).invoke(
        {"type": "tool_call", "id": "1", "name": "handover", "args": {"city": "Bern"}}
    )
    assert isinstance(result, Command)
    assert [record["status"] for record in bench.outcomes] == ["ok"]
