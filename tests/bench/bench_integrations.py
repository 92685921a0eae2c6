"""Calls through an adapter, 1, 8 and 64 at the same time: the ratio to the same calls without a
guard, plus as many governed calls of a bare function.

    python -m tests.bench.bench_integrations [--rounds N]

The three are measured in turn, on one guard with a real ledger and a real policy, so that a busy
machine hits all of them. What is over 1 is the adapter's own work. The CPU time is that of this
process, in all of its threads.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from langchain_core.tools import tool
from openai.types.chat import ChatCompletion

from guardrail import Guard
from guardrail.bench.workload import SMALL_POLICY
from guardrail.integrations.langchain import govern
from guardrail.integrations.openai import ToolBox
from tests.support.benchmarks import QUICK, UNLIMITED, judge

ROUNDS = 3 if QUICK else 60
PARALLEL = (1, 8, 64)
AIM = 1.15

Work = Callable[[], Awaitable[Any]]


async def order(order: int, item: str, note: str, count: int = 1, gift: bool = False) -> str:
    """Order an item."""
    return f"ordered {count} of {item}"


ARGS: dict[str, Any] = {
    "order": 48213,
    "item": "garden chair, green",
    "note": "leave it at the back door, the bell is broken and the dog is friendly but loud",
    "count": 2,
    "gift": False,
}


def bare(guard: Guard, many: int) -> Work:
    """Return governed calls of a bare function."""
    guard.tool(order, name="bare")

    async def run() -> None:
        await asyncio.gather(*(guard.acall("bare", ARGS, order) for _ in range(many)))

    return run


def langchain(guard: Guard | None, many: int) -> Work:
    """Return calls of ``ainvoke``, with tool calls as an agent makes them."""
    original = tool(order)
    made = original if guard is None else govern(original, guard)
    calls = [
        {"type": "tool_call", "name": "order", "args": ARGS, "id": f"call-{place}"}
        for place in range(many)
    ]

    async def run() -> None:
        await asyncio.gather(*(made.ainvoke(call) for call in calls))

    return run


def toolbox(guard: Guard | None, many: int) -> Work:
    """Return ``arun`` of one completion, or what a program without a guard does with it."""
    text = json.dumps(ARGS)
    calls = [
        {
            "id": f"call_{place}",
            "type": "function",
            "function": {"name": "order", "arguments": text},
        }
        for place in range(many)
    ]
    completion = ChatCompletion.model_validate(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": "gpt-5",
            "choices": [
                {
                    "index": 0,
                    "finish_reason": "tool_calls",
                    "message": {"role": "assistant", "content": None, "tool_calls": calls},
                }
            ],
        }
    )

    async def one(call: Any) -> dict[str, Any]:
        content = await order(**json.loads(call.function.arguments))
        return {"role": "tool", "tool_call_id": call.id, "content": content}

    async def ungoverned() -> None:
        await asyncio.gather(*map(one, completion.choices[0].message.tool_calls or ()))

    if guard is None:
        return ungoverned
    box = ToolBox(guard)
    box.tool(order)

    async def run() -> None:
        assert len(await box.arun(completion)) == many

    return run


ADAPTERS: dict[str, Callable[[Guard | None, int], Work]] = {
    "LangChain ainvoke": langchain,
    "ToolBox arun": toolbox,
}


async def seconds(work: Work) -> tuple[float, float]:
    """Return how long *work* takes, and the CPU time that this process uses meanwhile."""
    began, used = time.perf_counter(), time.process_time()
    await work()
    return time.perf_counter() - began, time.process_time() - used


async def measure(root: Path, name: str, many: int, rounds: int) -> dict[str, float]:
    """Return the medians of an adapter with *many* parallel calls, and of the ratios."""
    (root / "policies").mkdir(parents=True)
    (root / "policies" / "main.rego").write_text(SMALL_POLICY)
    adapter = ADAPTERS[name]
    with Guard.open(
        UNLIMITED, policies=root / "policies", ledger=root / "audit" / "ledger.db"
    ) as guard:
        works = {
            "adapter": adapter(guard, many),
            "plain": adapter(None, many),
            "bare": bare(guard, many),
        }
        with guard.session(principal="alice@example.com", agent="bench"):
            found: dict[str, list[tuple[float, float]]] = {each: [] for each in works}
            for turn in range(rounds + 3):
                for each, work in works.items():
                    took = await seconds(work)
                    if turn >= 3:
                        found[each].append(took)
    middle = statistics.median
    ratio, cpu = (
        middle(
            took[of] / (plain[of] + governed[of])
            for took, plain, governed in zip(*found.values(), strict=True)
        )
        for of in (0, 1)
    )
    figures = {each: middle(wall for wall, _ in values) for each, values in found.items()}
    return {**figures, "ratio": ratio, "cpu": cpu}


def main() -> None:
    """Print the figures."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=ROUNDS)
    chosen = options.parse_args()
    folder = os.environ.get("GUARDRAIL_BENCH_DIR", ".")
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        for name in ADAPTERS:
            for many in PARALLEL:
                root = Path(temporary) / f"{name}-{many}"
                found = asyncio.run(measure(root, name, many, chosen.rounds))
                print(
                    f"  {name}, {many} parallel: {found['adapter'] * 1e3:.2f} ms; without a guard"
                    f" {found['plain'] * 1e3:.2f} ms, governed bare {found['bare'] * 1e3:.2f} ms"
                )
                print("  " + judge(f"{name}, {many} / the two", found["ratio"], most=AIM))
                print("  " + judge(f"{name}, {many} / the two, CPU time", found["cpu"], most=AIM))


if __name__ == "__main__":
    main()
