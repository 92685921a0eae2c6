"""The session that a run's config or runtime context names is the one that its tools' calls belong
to.
"""

from __future__ import annotations

import contextvars
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
from guardrail.errors import IdentityError
from guardrail.integrations.langchain import govern, tool_call_wrappers
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


def run_of(**configurable: Any) -> dict[str, Any]:
    return {"configurable": configurable}


async def test_a_config_says_who_is_calling(bench: tuple[Guard, MemoryLedger, BaseTool]) -> None:
    """Principal and agent, asserted; the thread is the session, one for all of its calls."""
    _, ledger, weather = bench
    alice = run_of(guardrail_principal="alice", guardrail_agent="planner", thread_id="t-1")
    weather.invoke(call(), alice)
    await weather.ainvoke(call(), alice)
    found = ledger.of("call.decision")
    assert {record["principal"]["id"] for record in found} == {"alice"}
    assert {record["principal"]["assurance"] for record in found} == {"asserted"}
    assert {record["agent"]["id"] for record in found} == {"planner"}
    assert {record["session"] for record in found} == {"t-1"}


def test_the_session_id_of_a_config_comes_before_its_thread(
    bench: tuple[Guard, MemoryLedger, BaseTool],
) -> None:
    """And without either, each call has a session of its own."""
    _, ledger, weather = bench
    named = run_of(guardrail_principal="alice", guardrail_session_id="s-1", thread_id="t-1")
    weather.invoke(call(), named)
    weather.invoke(call(), run_of(guardrail_principal="alice"))
    weather.invoke(call(), run_of(guardrail_principal="alice"))
    found = [record["session"] for record in ledger.of("call.decision")]
    assert found[0] == "s-1"
    assert len(set(found)) == 3


def test_an_entered_session_comes_before_the_principal_of_a_config(
    bench: tuple[Guard, MemoryLedger, BaseTool],
) -> None:
    """A server may let its clients fill in a config, so the code around the run decides; and a
    session that has ended is not replaced either.
    """
    guard, ledger, weather = bench
    alice = run_of(guardrail_principal="alice", thread_id="t-1")
    with guard.session("bob"):
        context = contextvars.copy_context()
        weather.invoke(call(), alice)
    assert names(ledger) == ["bob"]
    assert context.run(weather.invoke, call(), alice).status == "error"
    assert ledger.of("call.decision")[-1]["decision"]["cause"] == "identity"


async def test_a_thread_of_somebody_else_is_refused(
    bench: tuple[Guard, MemoryLedger, BaseTool],
) -> None:
    """A session has one owner, and a thread is one session."""
    _, ledger, weather = bench
    weather.invoke(call(), run_of(guardrail_principal="alice", thread_id="t-1"))
    mallory = run_of(guardrail_principal="mallory", thread_id="t-1")
    with pytest.raises(IdentityError):
        weather.invoke(call(), mallory)
    with pytest.raises(IdentityError):
        await weather.ainvoke(call(), mallory)
    assert names(ledger) == ["alice"]


@pytest.mark.parametrize("who", [5, "", ["alice"], {"id": "alice"}])
def test_what_is_no_principal_is_refused(
    bench: tuple[Guard, MemoryLedger, BaseTool], who: object
) -> None:
    _, ledger, weather = bench
    with pytest.raises(IdentityError):
        weather.invoke(call(), run_of(guardrail_principal=who, thread_id="t-1"))
    assert names(ledger) == []


@pytest.mark.parametrize("awaited", [False, True])
async def test_a_graphs_runtime_context_says_who_is_calling(
    bench: tuple[Guard, MemoryLedger, BaseTool], awaited: bool
) -> None:
    """For governed tools, and for what a wrapper records."""
    guard, ledger, _ = bench
    builder = StateGraph(MessagesState, context_schema=dict)  # type: ignore[type-var]
    builder.add_node("tools", ToolNode([weather], **tool_call_wrappers(guard)))  # type: ignore[arg-type]
    builder.add_edge(START, "tools")
    graph = builder.compile()
    asked: Any = {
        "messages": [AIMessage("", tool_calls=[call(), {**call(), "name": "climate", "id": "2"}])]
    }
    context = {"guardrail_principal": "alice", "guardrail_session_id": "s-1"}
    config: Any = {"configurable": {"thread_id": "t-1"}}
    if awaited:
        await graph.ainvoke(asked, config, context=context)
    else:
        graph.invoke(asked, config, context=context)
    assert names(ledger) == ["alice", "alice"]
    found = [*ledger.of("call.decision"), *ledger.of("call.rejected")]
    assert {record["session"] for record in found} == {"s-1"}
