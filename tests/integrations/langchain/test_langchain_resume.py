"""A graph that is resumed, replayed or retried runs no call again that has succeeded."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import Command, RetryPolicy, interrupt

from guardrail import Guard
from guardrail.integrations.langchain import GuardMiddleware, govern, tool_call_wrappers
from guardrail.testing import MemoryLedger, StaticPolicy, allow, memory_guard
from tests.support.guards import guarded
from tests.support.langchain import RUNS, Scripted
from tests.support.waiting import until

REFUSED = "denied: this call has already succeeded, so it does not run again"


@tool
def pay(amount: int) -> str:
    """Pay."""
    RUNS.append(amount)
    return f"paid {amount}"


@tool
def confirm(amount: int) -> str:
    """Ask a person."""
    answer = interrupt(f"pay {amount}?")
    RUNS.append(answer)
    return str(answer)


@pytest.fixture
def bench() -> tuple[Guard, MemoryLedger]:
    return memory_guard(StaticPolicy(allow()))


def asked(*calls: tuple[str, int]) -> AIMessage:
    """Return a message that makes *calls*, with the same ids each time."""
    made = [
        {"name": name, "args": {"amount": amount}, "id": f"c-{number}", "type": "tool_call"}
        for number, (name, amount) in enumerate(calls)
    ]
    return AIMessage("", tool_calls=made)


def node(guard: Guard, how: str) -> ToolNode:
    """Return a node whose tools are governed by wrappers, or one by one."""
    if how == "wrapped":
        return ToolNode([pay, confirm], **tool_call_wrappers(guard))  # type: ignore[arg-type]
    return ToolNode(govern([pay, confirm], guard))


def graph(tools: ToolNode, saver: Any, **options: Any) -> Any:
    builder = StateGraph(MessagesState)
    builder.add_node("tools", tools, **options)
    builder.add_edge(START, "tools")
    return builder.compile(checkpointer=saver)


def thread(name: str = "t-1", **more: Any) -> Any:
    return {"configurable": {"thread_id": name, **more}}


def answers(result: dict[str, Any]) -> dict[str, str]:
    return {
        message.tool_call_id: message.text
        for message in result["messages"]
        if isinstance(message, ToolMessage)
    }


def wait_for_payment(ledger: MemoryLedger) -> None:
    """Wait for the outcome of ``pay``. An asynchronous node that pauses or fails does not wait for
    its other calls.
    """
    until(lambda: any(record["status"] == "ok" for record in ledger.of("call.outcome")))


async def invoke(app: Any, given: Any, config: Any, awaited: bool) -> dict[str, Any]:
    found: dict[str, Any] = (
        await app.ainvoke(given, config) if awaited else app.invoke(given, config)
    )
    return found


both = pytest.mark.parametrize("awaited", [False, True])
ways = pytest.mark.parametrize("how", ["wrapped", "governed"])


@pytest.mark.call_path(
    "LangGraph",
    "a finished call that a resumed graph repeats",
    result="refused",
    note="denied, cause `duplicate`",
)
@both
@ways
async def test_a_resumed_node_runs_a_finished_sibling_once(
    bench: tuple[Guard, MemoryLedger], how: str, awaited: bool
) -> None:
    """LangGraph makes both calls again; the finished one is refused, and the model reads why."""
    guard, ledger = bench
    app = graph(node(guard, how), InMemorySaver())
    calls = {"messages": [asked(("pay", 5), ("confirm", 5))]}
    await invoke(app, calls, thread(), awaited)
    await asyncio.to_thread(wait_for_payment, ledger)
    assert RUNS == [5]
    result = await invoke(app, Command(resume="yes"), thread(), awaited)
    assert RUNS == [5, "yes"]
    assert answers(result) == {"c-0": REFUSED, "c-1": "yes"}
    assert sorted(record["status"] for record in ledger.of("call.outcome")) == [
        "interrupted",
        "ok",
        "ok",
    ]
    denied = [
        record["decision"]["cause"]
        for record in ledger.of("call.decision")
        if record["decision"]["effect"] == "deny"
    ]
    assert denied == ["duplicate"]


@both
async def test_a_node_resumed_twice_runs_each_call_once(
    bench: tuple[Guard, MemoryLedger], awaited: bool
) -> None:
    """Two calls that wait for a person, one after the other."""
    app = graph(node(bench[0], "wrapped"), InMemorySaver())
    calls = {"messages": [asked(("pay", 5), ("confirm", 1), ("confirm", 2))]}
    result = await invoke(app, calls, thread(), awaited)
    await asyncio.to_thread(wait_for_payment, bench[1])
    for answer in ("yes", "no", "maybe"):
        pending = result.get("__interrupt__")
        if not pending:
            break
        result = await invoke(app, Command(resume={pending[0].id: answer}), thread(), awaited)
    assert RUNS.count(5) == 1
    assert answers(result)["c-0"] == REFUSED


@ways
def test_a_restart_between_pause_and_resume_forgets_nothing(tmp_path: Path, how: str) -> None:
    """The next process has the ledger and the checkpoint, and nothing else."""
    saver = InMemorySaver()
    config = thread(guardrail_principal="alice")
    with guarded(tmp_path) as guard:
        app = graph(node(guard, how), saver)
        app.invoke({"messages": [asked(("pay", 5), ("confirm", 5))]}, config)
    with guarded(tmp_path) as guard:
        app = graph(node(guard, how), saver)
        result = app.invoke(Command(resume="yes"), config)
    assert RUNS == [5, "yes"]
    assert answers(result) == {"c-0": REFUSED, "c-1": "yes"}


def test_two_sessions_of_one_thread_share_its_calls(bench: tuple[Guard, MemoryLedger]) -> None:
    """A program that opens a session for each request names another one when it resumes."""
    guard, ledger = bench
    app = graph(node(guard, "wrapped"), InMemorySaver())
    with guard.session("alice"):
        app.invoke({"messages": [asked(("pay", 5), ("confirm", 5))]}, thread())
    with guard.session("alice"):
        app.invoke(Command(resume="yes"), thread())
    assert RUNS == [5, "yes"]
    assert {record["origin"]["thread"] for record in ledger.of("call.decision")} == {"t-1"}


def test_a_call_of_another_thread_or_another_run_is_no_repetition(
    bench: tuple[Guard, MemoryLedger],
) -> None:
    """Models repeat ids, and a new question in the same thread is new."""
    app = graph(node(bench[0], "wrapped"), InMemorySaver())
    calls = {"messages": [asked(("pay", 5))]}
    for name in ("t-1", "t-2", "t-1"):
        assert answers(app.invoke(calls, thread(name)))["c-0"] == "paid 5"
    assert RUNS == [5, 5, 5]


def test_a_graph_that_goes_on_after_a_resume_makes_new_calls(
    bench: tuple[Guard, MemoryLedger],
) -> None:
    """Only what LangGraph may repeat is looked up: the calls after it are the model's own."""
    guard, _ = bench
    model = Scripted(
        responses=[asked(("confirm", 5)), asked(("pay", 5)), asked(("pay", 6)), AIMessage("done")]
    )
    agent = create_agent(
        model,
        tools=[pay, confirm],
        middleware=[GuardMiddleware(guard)],
        checkpointer=InMemorySaver(),
    )
    looked: list[object] = []
    ledger = bench[1]
    before = ledger.repeat

    def repeat(names: Any) -> Any:
        looked.append(names)
        return before(names)

    ledger.repeat = repeat  # type: ignore[method-assign]
    agent.invoke({"messages": [HumanMessage("pay")]}, thread())
    assert looked == []
    agent.invoke(Command(resume="yes"), thread())
    assert len(looked) == 1
    assert RUNS == ["yes", 5, 6]


@pytest.mark.call_path(
    "LangGraph",
    "a finished call that a replay from a checkpoint repeats",
    result="refused",
    note="denied, cause `duplicate`",
)
def test_a_run_replayed_from_a_checkpoint_runs_no_call_again(
    bench: tuple[Guard, MemoryLedger],
) -> None:
    """Time travel asks for the same calls, by the same ids."""
    guard, _ = bench
    agent = create_agent(
        Scripted(responses=[asked(("pay", 5)), AIMessage("done")]),
        tools=[pay],
        middleware=[GuardMiddleware(guard)],
        checkpointer=InMemorySaver(),
    )
    agent.invoke({"messages": [HumanMessage("pay")]}, thread())
    earlier = next(state for state in agent.get_state_history(thread()) if state.next == ("tools",))
    result = agent.invoke(None, earlier.config)
    assert RUNS == [5]
    assert answers(result)["c-0"] == REFUSED


@pytest.mark.call_path(
    "LangGraph",
    "a finished call that a node's `RetryPolicy` repeats",
    result="refused",
    note="denied, cause `duplicate`",
)
@both
async def test_a_node_that_is_retried_runs_a_finished_sibling_once(
    bench: tuple[Guard, MemoryLedger], awaited: bool
) -> None:
    """LangGraph's own retry makes every call of the node again; the failed one is decided again."""
    guard, ledger = bench

    @tool
    def flaky(amount: int) -> str:
        """Fail once."""
        RUNS.append("flaky")
        if RUNS.count("flaky") == 1:
            wait_for_payment(ledger)
            raise ConnectionError("again")
        return "done"

    tools = ToolNode(
        [pay, flaky],
        handle_tool_errors=False,
        **tool_call_wrappers(guard),  # type: ignore[arg-type]
    )
    retry = RetryPolicy(max_attempts=3, initial_interval=0.01, jitter=False)
    app = graph(tools, None, retry_policy=retry)
    calls = {"messages": [asked(("pay", 5), ("flaky", 1))]}
    result = await invoke(app, calls, thread(), awaited)
    assert (RUNS.count(5), RUNS.count("flaky")) == (1, 2)
    assert answers(result) == {"c-0": REFUSED, "c-1": "done"}


def test_a_failed_call_of_a_resumed_node_runs_again(bench: tuple[Guard, MemoryLedger]) -> None:
    """It may have been the reason for the resume."""

    @tool
    def fails_once(amount: int) -> str:
        """Fail once."""
        RUNS.append(amount)
        if len(RUNS) == 1:
            raise ValueError("no")
        return "done"

    tools = ToolNode(govern([fails_once], bench[0]), handle_tool_errors=False)
    app = graph(tools, InMemorySaver())
    with pytest.raises(ValueError, match="no"):
        app.invoke({"messages": [asked(("fails_once", 5))]}, thread())
    assert answers(app.invoke(None, thread())) == {"c-0": "done"}
    assert RUNS == [5, 5]


def test_a_thread_that_is_a_secret_is_not_recorded(bench: tuple[Guard, MemoryLedger]) -> None:
    """The program names the thread, and a value in it may turn out to be sensitive."""
    guard, ledger = bench

    @tool
    def login(password: str) -> str:
        """Log in."""
        RUNS.append(password)
        return "in"

    secret = "hunter2-X9kQz81LmPa"
    app = graph(ToolNode(govern([login], guard)), None)
    call = {"name": "login", "args": {"password": secret}, "id": "c-1", "type": "tool_call"}
    app.invoke({"messages": [AIMessage("", tool_calls=[call])]}, thread(secret))
    assert [secret] == RUNS
    assert secret.encode() not in b"\n".join(ledger.lines)
