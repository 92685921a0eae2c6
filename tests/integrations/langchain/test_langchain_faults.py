"""If the ledger fails, a task is cancelled or the process is killed while many calls of one graph
are in flight, no body runs without its record, and each allowed call has one outcome.
"""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import ToolRetryMiddleware
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import tool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode

from guardrail import LedgerError
from guardrail.integrations.langchain import GuardMiddleware, LedgerStop, tool_call_wrappers
from guardrail.testing import StaticPolicy, allow, memory_guard
from tests.support.guards import guarded, records, whole
from tests.support.langchain import RUNS, Scripted
from tests.support.paths import PROGRAMS

MANY = 50


def asks(name: str) -> AIMessage:
    calls = [
        {"name": name, "args": {"number": number}, "id": f"c-{number}", "type": "tool_call"}
        for number in range(MANY)
    ]
    return AIMessage("", tool_calls=calls)


def agent(guard: Any, made: Any, *more: Any) -> Any:
    return create_agent(
        Scripted(responses=[asks(made.name), AIMessage("done")]),
        tools=[made],
        middleware=[*more, GuardMiddleware(guard)],
    )


def node(guard: Any, made: Any) -> Any:
    builder = StateGraph(MessagesState)
    tools = ToolNode([made], handle_tool_errors=True, **tool_call_wrappers(guard))  # type: ignore[arg-type]
    builder.add_node("tools", tools)
    builder.add_edge(START, "tools")
    return builder.compile()


QUESTION: Any = {"messages": [HumanMessage("?")]}


@pytest.mark.parametrize("awaited", [False, True])
@pytest.mark.parametrize("where", ["agent", "node", "retried"])
@pytest.mark.parametrize("after", [1, 20, 60])
async def test_a_ledger_that_fails_while_fifty_calls_are_in_flight(
    where: str, awaited: bool, after: int
) -> None:
    """The program gets the LedgerError; no body without a decision, and none after the failure."""
    guard, ledger = memory_guard(StaticPolicy(allow()))
    written = iter(range(10_000))
    lock = threading.Lock()

    def fail(draft: Any) -> LedgerError | None:
        with lock:
            number = next(written)
        return None if number < after else LedgerError("full", code="ledger.full")

    @tool
    def work(number: int) -> str:
        """Work."""
        RUNS.append(number)
        return "done"

    ledger.fail = fail
    if where == "node":
        app, given = node(guard, work), {"messages": [asks("work")]}
    else:
        more = [ToolRetryMiddleware(max_retries=2, initial_delay=0)] if where == "retried" else []
        app, given = agent(guard, work, *more), QUESTION
    with pytest.raises(LedgerStop):
        await app.ainvoke(given) if awaited else app.invoke(given)
    decided = [
        record["input"]["action"]["properties"]["args"]["number"]
        for record in ledger.of("call.decision")
    ]
    assert sorted(RUNS) == sorted(set(RUNS))
    assert set(RUNS) <= set(decided)
    assert len(ledger.of("call.outcome")) <= len(RUNS)


async def test_a_cancelled_run_leaves_an_outcome_for_each_call_that_ran(tmp_path: Path) -> None:
    """The task of the graph is cancelled while all of its calls wait."""
    started: list[int] = []
    all_started = asyncio.Event()

    @tool
    async def wait(number: int) -> str:
        """Wait for ever."""
        started.append(number)
        if len(started) == MANY:
            all_started.set()
        await asyncio.Event().wait()
        return "done"

    with guarded(tmp_path) as guard:
        task = asyncio.ensure_future(agent(guard, wait).ainvoke(QUESTION))
        await all_started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        for _ in range(600):
            if len(records(tmp_path / "audit.db", "call.outcome")) == MANY:
                break
            await asyncio.sleep(0.1)
    found = records(tmp_path / "audit.db", "call.outcome")
    assert [record["status"] for record in found] == ["cancelled"] * MANY
    assert len(records(tmp_path / "audit.db", "call.decision")) == len(started) == MANY
    whole(tmp_path / "audit.db")


@pytest.mark.slow
def test_a_killed_process_leaves_one_outcome_for_each_call(tmp_path: Path) -> None:
    """Every body that had started has a decision; the next process closes those that were open."""
    program = PROGRAMS / "killed_agent.py"
    done = subprocess.run(
        [sys.executable, str(program), str(tmp_path), str(MANY)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    started = {json.loads(line) for line in (tmp_path / "started").read_text().splitlines()}
    db = tmp_path / "audit.db"
    decided = {
        record["input"]["action"]["properties"]["args"]["number"]
        for record in records(db, "call.decision")
    }
    assert started
    assert started <= decided
    with guarded(tmp_path):
        pass
    outcomes = records(db, "call.outcome")
    assert len(outcomes) == len(records(db, "call.decision"))
    assert {record["status"] for record in outcomes} <= {"ok", "unknown"}
    whole(db)
