"""Many governed calls at once, per second, as a multiple of raw syncs per second: python -m
tests.bench.bench_concurrent [SPELLS]

Spells of calls by 64 threads, by 64 tasks of one event loop, and of raw syncs (8 KiB into a
preallocated ring) alternate, so that a busy disk or machine hits all of them; the ratios are
medians over the spells. Each call has other values, as real calls have.
"""

from __future__ import annotations

import asyncio
import os
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from guardrail import Guard
from guardrail.bench.disk import RawSyncs
from guardrail.bench.workload import CALLERS, CASES, Case, fresh, schema_of
from tests.support.benchmarks import QUICK, UNLIMITED, beside, judge, ratio

SPELL = 1.0


def body(**_: Any) -> None:
    """Do nothing, as the tool of a call of which only the cost of governance is of interest."""


async def abody(**_: Any) -> None:
    """As ``body``, awaited."""


class Load:
    """One guard, and ways to call through it."""

    def __init__(self, guard: Guard, given: Iterator[dict[str, Any]]) -> None:
        self._guard = guard
        self._given = given
        self.latencies: list[float] = []
        """Seconds of each call, of all spells."""

    def by_threads(self) -> float:
        """Return the calls per second of ``CALLERS`` threads."""
        until = time.perf_counter() + SPELL
        mine: list[list[float]] = [[] for _ in range(CALLERS)]

        def work(number: int) -> None:
            with self._guard.session(principal="alice@example.com", agent=f"bench-{number}"):
                for args in self._given:
                    if (began := time.perf_counter()) >= until:
                        break
                    self._guard.call("order", args, body)
                    mine[number].append(time.perf_counter() - began)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(CALLERS)]
        began = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return self._rate(mine, time.perf_counter() - began)

    def by_tasks(self) -> float:
        """Return the calls per second of ``CALLERS`` tasks."""
        return asyncio.run(self._tasks())

    async def _tasks(self) -> float:
        until = time.perf_counter() + SPELL
        mine: list[list[float]] = [[] for _ in range(CALLERS)]

        async def work(number: int) -> None:
            with self._guard.session(principal="alice@example.com", agent=f"bench-{number}"):
                for args in self._given:
                    if (began := time.perf_counter()) >= until:
                        break
                    await self._guard.acall("order", args, abody)
                    mine[number].append(time.perf_counter() - began)

        began = time.perf_counter()
        await asyncio.gather(*(work(number) for number in range(CALLERS)))
        return self._rate(mine, time.perf_counter() - began)

    def _rate(self, mine: list[list[float]], seconds: float) -> float:
        every = [value for values in mine for value in values]
        self.latencies += every
        return len(every) / seconds


def processor(work: Callable[[], float], spent: list[float]) -> Callable[[], float]:
    """Return *work*, which also notes the processor time of this process per call."""

    def run() -> float:
        before = resource.getrusage(resource.RUSAGE_SELF)
        began = time.perf_counter()
        rate = work()
        after = resource.getrusage(resource.RUSAGE_SELF)
        used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        spent.append(used / (rate * (time.perf_counter() - began)))
        return rate

    return run


def measure(case: Case, spells: int, folder: Path) -> None:
    """Print the figures of one kind of call."""
    (folder / "policies").mkdir()
    (folder / "policies" / "main.rego").write_text(case.policy)
    raw = RawSyncs(folder / "raw")
    with Guard.open(UNLIMITED, policies=folder / "policies", ledger=folder / "audit.db") as guard:
        guard.declare("order", schema=schema_of(case.make(0)))
        given = fresh(case.make)
        loads = {"asyncio": Load(guard, given), "threads": Load(guard, given)}
        spent: dict[str, list[float]] = {"asyncio": [], "threads": []}
        work = {
            "asyncio": processor(loads["asyncio"].by_tasks, spent["asyncio"]),
            "threads": processor(loads["threads"].by_threads, spent["threads"]),
        }
        for run in work.values():
            run()  # warm
        rates = beside(raw, work, spells)
    print(f"\n{case.name}")
    for how, least in (("asyncio", 0.3), ("threads", 0.22)):
        waits = sorted(loads[how].latencies)
        calls = sorted(rates[how])[spells // 2]
        limit = sorted(rates[f"raw {how}"])[spells // 2]
        print(
            f"  {how}: {calls:6.0f} calls/s, raw syncs {limit:6.0f}/s, p50"
            f" {waits[len(waits) // 2] * 1e3:5.1f} ms, p99"
            f" {waits[len(waits) * 99 // 100] * 1e3:5.1f} ms, CPU of this process"
            f" {sorted(spent[how])[len(spent[how]) // 2] * 1e6:4.0f} us per call"
        )
        value = ratio(rates[how], rates[f"raw {how}"])
        print("  " + judge(f"{CALLERS} governed calls, {how} / raw syncs", value, least=least))


def main() -> None:
    """Print the figures."""
    spells = int(sys.argv[1]) if len(sys.argv) > 1 else (1 if QUICK else 5)
    for case in CASES:
        with tempfile.TemporaryDirectory(dir=os.environ.get("GUARDRAIL_BENCH_DIR", ".")) as folder:
            measure(case, spells, Path(folder))


if __name__ == "__main__":
    main()
