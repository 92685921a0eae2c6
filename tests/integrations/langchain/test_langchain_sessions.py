"""The session that a run's config or runtime context names is the one that its tools' calls belong
to.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import pytest
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import BaseTool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from pydantic import BaseModel

from guardrail import Denied, Guard, SessionScope, UsageError
from guardrail.config import Settings
from guardrail.integrations.langchain import govern
from guardrail.testing import MemoryLedger, StaticPolicy, allow, memory_guard
from tests.support.langchain import weather


@pytest.fixture
def bench() -> tuple[Guard, MemoryLedger, BaseTool]:
    guard, ledger = memory_guard(StaticPolicy(allow()), settings=Settings())

    return guard, ledger, govern(weather, guard)


def config(session: object) -> dict[str, Any]:
    return {"configurable": {"guardrail_session": session}}


def call(city: Any = "Rome") -> dict[str, Any]:
    return {"name": "weather", "args": {"city": city}, "id": "1", "type": "tool_call"}


def names(ledger: MemoryLedger) -> list[str]:
    found = [*ledger.of("call.decision"), *ledger.of("call.rejected")]
    return [record["principal"]["id"] for record in found]


async def test_a_config_names_the_session_on_every_way_in(
    bench: tuple[Guard, MemoryLedger, BaseTool],
) -> None:
    """Invoked, awaited, in a batch, in a chain; before the session that is current."""
    guard, ledger, weather = bench
    alice = guard.session("alice")
    with guard.session("bob"):
        weather.invoke({"city": "Rome"}, config(alice))
        weather.invoke(call(), config(alice))
        await weather.ainvoke(call(), config(alice))
        weather.batch([call(), call()], config(alice))
        (RunnableLambda(lambda _: call()) | weather).invoke(None, config(alice))
        RunnableLambda(lambda _: weather.invoke(call())).invoke(None, config(alice))
        assert names(ledger) == ["alice"] * 7
        weather.invoke(call())
        weather.invoke(call(), {"configurable": {"other": 1}})
    assert names(ledger)[7:] == ["bob", "bob"]


def test_arguments_that_the_framework_refuses_are_recorded_in_that_session(
    bench: tuple[Guard, MemoryLedger, BaseTool],
) -> None:
    guard, ledger, weather = bench
    with pytest.raises(ValueError, match="city"):
        weather.invoke({"city": {"no": "text"}}, config(guard.session("alice")))
    assert names(ledger) == ["alice"]
    assert len(ledger.of("call.rejected")) == 1


class Typed(BaseModel):
    guardrail_session: Any = None


@dataclass
class Plain:
    guardrail_session: SessionScope | None = None
    other: int = 0


@pytest.mark.parametrize("kind", [dict, Typed, Plain])
@pytest.mark.parametrize("awaited", [False, True])
async def test_a_graphs_runtime_context_names_the_session(
    bench: tuple[Guard, MemoryLedger, BaseTool], kind: Any, awaited: bool
) -> None:
    """Whatever the context is made of; for the tools that run in threads of the graph too."""
    guard, ledger, weather = bench
    builder = StateGraph(MessagesState, context_schema=kind)  # type: ignore[type-var]
    builder.add_node("tools", ToolNode([weather]))
    builder.add_edge(START, "tools")
    graph = builder.compile()
    calls: Any = {"messages": [AIMessage("", tool_calls=[call(), {**call("Oslo"), "id": "2"}])]}
    context = kind(guardrail_session=guard.session("alice"))
    done: list[Any] = []
    if awaited:
        done.append(await graph.ainvoke(calls, context=context))
    else:
        thread = threading.Thread(target=lambda: done.append(graph.invoke(calls, context=context)))
        thread.start()
        thread.join()
    assert names(ledger) == ["alice", "alice"]
    assert "sun in Oslo" in str(done)
    done = graph.invoke(calls, context=kind())["messages"]
    assert names(ledger)[2:] == ["", ""]
    assert {message.status for message in done[-2:]} == {"error"}


@pytest.mark.parametrize("session", ["alice", 5, {"principal": "alice"}, ""])
def test_what_is_no_session_is_refused(
    bench: tuple[Guard, MemoryLedger, BaseTool], session: object
) -> None:
    """A name in a config is not who calls."""
    _, ledger, weather = bench
    with pytest.raises(UsageError):
        weather.invoke(call(), config(session))
    assert names(ledger) == []


def test_the_session_of_another_guard_is_refused(
    bench: tuple[Guard, MemoryLedger, BaseTool],
) -> None:
    other, _ = memory_guard(StaticPolicy(allow()))
    with pytest.raises(UsageError, match="another guard"):
        bench[2].invoke(call(), config(other.session("alice")))


def test_a_model_cannot_name_the_session(bench: tuple[Guard, MemoryLedger, BaseTool]) -> None:
    """What it writes are arguments, and a call without a session is told so."""
    _, ledger, weather = bench
    asked = call()
    asked["args"] |= {"config": config("alice"), "guardrail_session": "alice"}
    message = weather.invoke(asked)
    assert (message.status, names(ledger)) == ("error", [""])
    assert message.content == "denied: the caller's identity could not be established"
    with pytest.raises(Denied):
        weather.invoke({"city": "Rome"})
