"""What the guard can't decide, because no governed tool is asked; docs/integrations.md says so."""

from __future__ import annotations

from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware
from langchain.agents.structured_output import ToolStrategy
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.runnables import RunnableLambda
from langgraph.graph import START, MessagesState, StateGraph
from pydantic import BaseModel

from guardrail import LedgerError
from guardrail.integrations.langchain import GuardMiddleware, govern
from tests.support.langchain import RUNS, Scripted, weather

QUESTION = {"messages": [HumanMessage("weather?")]}


def own_code(state: Any, *_: Any) -> dict[str, Any]:
    RUNS.append("own code")
    return {}


class Hooked(AgentMiddleware[Any, Any, Any]):
    """Runs code of the program before each request to the model."""

    def before_model(self, state: Any, runtime: Any) -> Any:
        return own_code(state)


@pytest.mark.call_path(
    "LangGraph",
    "code in other hooks of a middleware (`before_model`, ...)",
    result="not governed",
    note="the program's own code; wrap the functions that it calls with `guard.tool`",
)
def test_the_code_of_a_hook_is_not_governed(bench: Any) -> None:
    agent = create_agent(
        Scripted(responses=[AIMessage("done")]),
        tools=[weather],
        middleware=[Hooked(), GuardMiddleware(bench.guard, strict=True)],
    )
    agent.invoke(QUESTION)
    assert (RUNS, bench.decisions) == (["own code"], [])


@pytest.mark.call_path(
    "LangGraph",
    "your own nodes",
    result="not governed",
    note="the program's own code; wrap the functions that it calls with `guard.tool`",
)
def test_a_node_of_a_program_is_not_governed(bench: Any) -> None:
    builder = StateGraph(MessagesState)
    builder.add_node("own", own_code)
    builder.add_edge(START, "own")
    builder.compile().invoke(QUESTION)
    assert (RUNS, bench.decisions) == (["own code"], [])


class Answer(BaseModel):
    """The answer."""

    text: str


@pytest.mark.call_path(
    "LangGraph",
    "structured output (`ToolStrategy`)",
    result="not governed",
    note="there is no body: the framework parses the call",
)
def test_structured_output_has_no_body(bench: Any) -> None:
    call = {"name": "Answer", "args": {"text": "sun"}, "id": "1", "type": "tool_call"}
    agent = create_agent(
        Scripted(responses=[AIMessage("", tool_calls=[call])]),
        tools=[weather],
        response_format=ToolStrategy(Answer),
        middleware=[GuardMiddleware(bench.guard, strict=True)],
    )
    assert agent.invoke(QUESTION)["structured_response"] == Answer(text="sun")
    assert (RUNS, bench.decisions, bench.rejected) == ([], [], [])


@pytest.mark.call_path(
    "LangChain",
    "`with_fallbacks`",
    result="governed",
    note="it catches every exception, `LedgerError` too: no body runs, but the program continues",
)
def test_fallbacks_are_governed_and_hide_a_ledger_error(bench: Any) -> None:
    """A limit, stated: the framework calls the fallback for any exception."""
    fallback = RunnableLambda(lambda _: "no idea")
    made = govern(weather, bench.guard).with_fallbacks([fallback])
    assert made.invoke({"city": "Bern"}) == "sun in Bern"
    assert len(RUNS) == len(bench.decisions) == len(bench.outcomes) == 1
    bench.ledger.fail = lambda _: LedgerError("full", code="ledger.full")
    assert made.invoke({"city": "Bern"}) == "no idea"
    assert len(RUNS) == 1
