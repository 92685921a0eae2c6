"""A LedgerError reaches the program, whatever handles errors on the way, and no body runs while
nothing can be recorded.
"""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage
from langchain_core.tools import BaseTool, tool
from langgraph.errors import GraphBubbleUp
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode

from guardrail import Guard, LedgerError
from guardrail.config import Settings
from guardrail.integrations.langchain import LedgerStop, govern
from tests.support.langchain import RUNS, Scripted, WeatherClass, weather, weather_async


@pytest.fixture
def guard(tmp_path: Path) -> Iterator[Guard]:
    policies = tmp_path / "policies"
    policies.mkdir()
    (policies / "all.rego").write_text('package guardrail.policy\n\nallow contains "anything"\n')
    opened = Guard.open(
        Settings().override(
            policy={"path": policies},
            ledger={"path": tmp_path / "audit.db"},
            identity={"require": "any"},
        )
    )
    yield opened
    opened.close()


def break_ledger(folder: Path) -> None:
    """Take the database away from under the open guard."""
    (folder / "audit.db").unlink()


def tool_call(name: str) -> AIMessage:
    return AIMessage(
        "",
        tool_calls=[{"name": name, "args": {"city": "Bern"}, "id": "call-1", "type": "tool_call"}],
    )


def node(made: BaseTool, handler: Any) -> Any:
    builder = StateGraph(MessagesState)
    builder.add_node("tools", ToolNode([made], handle_tool_errors=handler))
    builder.add_edge(START, "tools")
    builder.add_edge("tools", END)
    return builder.compile()


@pytest.mark.parametrize("original", [weather, WeatherClass()], ids=["function", "class"])
def test_a_ledger_error_reaches_the_caller_of_a_tool(
    guard: Guard, tmp_path: Path, original: BaseTool
) -> None:
    """With plain arguments, with a tool call, in a batch, and with every handler of the tool on."""
    made = govern(
        original.model_copy(update={"handle_tool_error": True, "handle_validation_error": True}),
        guard,
    )
    break_ledger(tmp_path)
    call = {"type": "tool_call", "id": "1", "name": made.name, "args": {"city": "Bern"}}
    for attempt in (
        lambda: made.invoke({"city": "Bern"}),
        lambda: made.invoke(call),
        lambda: made.batch([call] * 3),
    ):
        with pytest.raises(LedgerError) as caught:
            attempt()
        assert isinstance(caught.value, LedgerStop)
        assert isinstance(caught.value, GraphBubbleUp)
        assert isinstance(caught.value.__cause__, LedgerError)
        assert caught.value.code.startswith("ledger")
    assert RUNS == []


async def test_a_ledger_error_reaches_an_awaiting_caller(guard: Guard, tmp_path: Path) -> None:
    """Coroutine tools, and synchronous ones in the framework's thread."""
    tools = govern([weather_async, weather, WeatherClass()], guard)
    break_ledger(tmp_path)
    for made in tools:
        with pytest.raises(LedgerStop):
            await made.ainvoke({"city": "Bern"})
        with pytest.raises(LedgerStop):
            await made.abatch([{"city": "Bern"}] * 2)
    assert RUNS == []


@pytest.mark.parametrize(
    "handler", [True, "failed", Exception, (Exception,), lambda error: f"failed: {error}"]
)
def test_no_error_handler_of_a_tool_node_swallows_a_ledger_error(
    guard: Guard, tmp_path: Path, handler: Any
) -> None:
    """handle_tool_errors=True and its kin make a message of every other exception."""
    graph = node(govern(weather, guard), handler)
    break_ledger(tmp_path)
    with pytest.raises(LedgerError):
        graph.invoke({"messages": [tool_call("weather")]})
    assert RUNS == []


@pytest.mark.parametrize("original", [weather, weather_async], ids=["sync", "async"])
async def test_a_ledger_error_ends_the_run_of_an_agent(
    guard: Guard, tmp_path: Path, original: BaseTool
) -> None:
    """create_agent does not go on to its next turn."""
    model = Scripted(responses=[tool_call(original.name), AIMessage("all is well")])
    agent = create_agent(model, tools=govern([original], guard))
    break_ledger(tmp_path)
    with pytest.raises(LedgerError):
        await agent.ainvoke({"messages": [("user", "weather?")]})
    assert RUNS == []


def test_a_rejection_that_can_t_be_recorded_is_a_ledger_error(guard: Guard, tmp_path: Path) -> None:
    """Also what never reaches a body is not to vanish while the ledger is gone."""
    made = govern(weather.model_copy(update={"handle_validation_error": True}), guard)
    break_ledger(tmp_path)
    with pytest.raises(LedgerStop):
        made.invoke({"city": {"not": "a city"}})


def test_a_result_whose_outcome_can_t_be_recorded_is_withheld(guard: Guard, tmp_path: Path) -> None:
    """The ledger goes away while the body runs: the agent gets the error, not the result."""

    @tool
    def unlink(city: str) -> str:
        """Take the ledger away."""
        RUNS.append(city)
        break_ledger(tmp_path)
        return "result"

    with pytest.raises(LedgerStop):
        govern(unlink, guard).invoke({"city": "Bern"})
    assert RUNS == ["Bern"]


def test_a_ledger_error_of_an_inner_call_ends_the_outer_one(guard: Guard, tmp_path: Path) -> None:
    """A tool whose body calls a governed tool hands the error on as it is."""
    inner = govern(weather, guard)

    @tool
    def plan(city: str) -> str:
        """Plan a trip."""
        break_ledger(tmp_path)
        return str(inner.invoke({"city": city}))

    with pytest.raises(LedgerStop):
        node(govern(plan, guard), True).invoke({"messages": [tool_call("plan")]})
    assert RUNS == []


def test_a_ledger_stop_survives_pickling() -> None:
    """It may cross a process, code and hint with it."""
    error = LedgerStop("gone", code="ledger.sealed", hint="guardrail recover")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is LedgerStop
    assert (str(again), again.code, again.hint) == ("gone", "ledger.sealed", "guardrail recover")


def test_the_adapter_works_without_langgraph() -> None:
    """A LedgerError is then a plain one, since nothing there would swallow it."""
    code = """
import sys
sys.modules["langgraph"] = None
sys.modules["langgraph.errors"] = None
from langchain_core.tools import tool
from guardrail import LedgerError
from guardrail.errors import LedgerPoisonedError
from guardrail.integrations.langchain import LedgerStop, govern
from guardrail.testing import StaticPolicy, allow, memory_guard

guard, ledger = memory_guard(StaticPolicy(allow()))

@tool
def weather(city: str) -> str:
    "Tell the weather."
    return city

made = govern(weather, guard)
print(made.invoke({"city": "Bern"}), LedgerStop.__mro__[1].__name__)
ledger.fail = lambda draft: LedgerPoisonedError("gone")
try:
    made.invoke({"city": "Bern"})
except LedgerError as error:
    print(type(error).__name__)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["Bern", "LedgerError", "LedgerStop"]
