"""A call that the body of another makes names it as its parent, wherever it is made."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypedDict

import pytest

from guardrail.guard import Guard
from guardrail.testing import MemoryLedger, StaticPolicy, allow, memory_guard


def in_pool(work: Callable[[], Any]) -> None:
    """Run *work* in an executor, with a copy of the context."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(contextvars.copy_context().run, work).result()


def in_langchain(work: Callable[[], Any]) -> None:
    """Run *work* in the executor of LangChain's runnables."""
    config = pytest.importorskip("langchain_core.runnables.config")
    with config.ContextThreadPoolExecutor(1) as pool:
        pool.submit(work).result()


def in_langgraph(work: Callable[[], Any]) -> None:
    """Run *work* in a node of a graph, next to another node."""
    graphs = pytest.importorskip("langgraph.graph")

    class State(TypedDict, total=False):
        """What the two nodes write."""

        one: int
        two: int

    graph = graphs.StateGraph(State)
    graph.add_node("one", lambda _: {"one": work()})
    graph.add_node("two", lambda _: {"two": 1})
    for node in ("one", "two"):
        graph.add_edge(graphs.START, node)
    graph.compile().invoke({})


async def awaited(guard: Guard) -> None:
    """Make a call in a coroutine."""
    await guard.acall("inner", {}, lambda: None)


def family(ledger: MemoryLedger) -> dict[str, Any]:
    """Return the parent's tool of each call, by its own tool, if both records agree."""
    names = {record["call"]: record["tool"]["name"] for record in ledger.of("call.decision")}
    for outcome in ledger.of("call.outcome"):
        decision = ledger.records[outcome["decision_seq"]]
        assert outcome["parent"] == decision["parent"]
    return {
        record["tool"]["name"]: names.get(record["parent"]) for record in ledger.of("call.decision")
    }


FAMILY = {"outer": None, "inner": "outer", "later": None}


@pytest.mark.parametrize("elsewhere", [in_pool, in_langchain, in_langgraph])
def test_threads_with_a_copy_of_the_context_know_the_parent(
    elsewhere: Callable[[Callable[[], Any]], None],
) -> None:
    """And after the body there is none."""
    guard, ledger = memory_guard(StaticPolicy(allow()))
    guard.call("outer", {}, lambda: elsewhere(lambda: guard.call("inner", {}, lambda: 1)))
    guard.call("later", {}, lambda: None)
    assert family(ledger) == FAMILY


async def test_threads_that_asyncio_starts_know_the_parent() -> None:
    """With to_thread, or an executor and a copy of the context."""
    for start in (
        asyncio.to_thread,
        lambda work: asyncio.get_running_loop().run_in_executor(
            None, contextvars.copy_context().run, work
        ),
    ):
        guard, ledger = memory_guard(StaticPolicy(allow()))

        async def body(guard: Guard = guard, start: Any = start) -> None:
            await start(lambda: guard.call("inner", {}, lambda: None))

        await guard.acall("outer", {}, body)
        await guard.acall("later", {}, lambda: None)
        assert family(ledger) == FAMILY


async def test_tasks_and_threads_of_a_body_know_the_parent() -> None:
    """A body that is a plain function runs in a thread, which may start a loop of its own."""
    guard, ledger = memory_guard(StaticPolicy(allow()))

    async def tasks() -> None:
        await asyncio.gather(asyncio.create_task(awaited(guard)))

    await guard.acall("outer", {}, tasks)
    await guard.acall("later", {}, lambda: None)
    assert family(ledger) == FAMILY
    guard, ledger = memory_guard(StaticPolicy(allow()))
    await guard.acall("outer", {}, lambda: asyncio.run(awaited(guard)))
    await guard.acall("later", {}, lambda: None)
    assert family(ledger) == FAMILY


async def test_calls_side_by_side_are_no_parents_of_each_other() -> None:
    """Each task has its own body."""
    guard, ledger = memory_guard(StaticPolicy(allow()))
    both = asyncio.Event()

    async def outer(first: bool) -> None:
        if first:
            await both.wait()
        else:
            both.set()
        await guard.acall("inner", {}, lambda: None)

    await asyncio.gather(
        guard.acall("outer", {"first": True}, outer),
        guard.acall("outer", {"first": False}, outer),
    )
    decisions = ledger.of("call.decision")
    outers = {record["call"] for record in decisions if record["tool"]["name"] == "outer"}
    inners = [record["parent"] for record in decisions if record["tool"]["name"] == "inner"]
    assert set(inners) == outers
    assert len(inners) == 2
