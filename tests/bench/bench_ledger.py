"""The ledger alone, as ratios to the disk's own sync in the same run: python -m
tests.bench.bench_ledger [ROUNDS]

Raw syncs (8 KiB into a preallocated ring, as a write-ahead log after its first wrap) and appends
alternate, one by one for one caller, in spells of half a second for many, so that a busy disk hits
both; ratios are medians over the spells. A p99 is worth reading only where the raw p99 is below
three times the raw p50. ``sync off`` is the same code over a connection that never syncs: what the
processor alone allows. It is a patch of this bench, the product has no such setting.
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from guardrail.bench.disk import RawSyncs
from guardrail.core.log import chain
from guardrail.ledger.reader import LedgerReader
from guardrail.ledger.sqlite import appending
from guardrail.ledger.writing.writer import LedgerWriter
from guardrail.review.verify import verify_ledger
from guardrail.system.ids import new_ulid
from guardrail.system.waiting import wait_async
from tests.support.benchmarks import QUICK, beside, judge, quantiles, ratio
from tests.support.ledgers import FAST, SIGNING, decision, make, outcome

CALLERS = 64
PROCESSES = 4
SPELL = 0.5
PAD = 1500
"""Makes a decision line of about 2.3 KB."""


def single(writer: LedgerWriter, raw: RawSyncs, rounds: int) -> None:
    """One caller: decision and outcome, each beside a raw sync."""
    syncs, decisions, outcomes, cpu = [], [], [], []
    for number in range(rounds + 100):
        sync = raw.sync()
        call = new_ulid()
        draft = decision(call, writer.process, pad=PAD)
        began, used = time.perf_counter(), time.thread_time()
        seq = writer.append(draft).seq
        spent, took = time.thread_time() - used, time.perf_counter() - began
        draft = outcome(call, seq, writer.process)
        second = raw.sync()
        began = time.perf_counter()
        writer.append(draft)
        ended = time.perf_counter() - began
        if number >= 100:
            syncs += [sync, second]
            decisions.append(took)
            outcomes.append(ended)
            cpu.append(spent)
    p50, p99 = quantiles(syncs)
    print(f"raw fdatasync of 8 KiB       p50 {p50:6.0f} us   p99 {p99:6.0f} us")
    for name, times in (("append, decision of 2.3 KB", decisions), ("append, outcome", outcomes)):
        mine, slow = quantiles(times)
        tail = f"{slow / p99:5.2f}" if p99 < 3 * p50 else "not judged: the disk is busy"
        print(
            f"{name:28} p50 {mine:6.0f} us   p99 {slow:6.0f} us   x raw: p50 {mine / p50:5.2f}, p99"
            f" {tail}"
        )
    print(f"CPU in the caller            p50 {quantiles(cpu)[0]:6.0f} us")
    middle = quantiles(decisions + outcomes)[0]
    print(judge("1 caller: durable appends / raw syncs, by the medians", p50 / middle, least=0.65))


def by_threads(writer: LedgerWriter, callers: int) -> float:
    """Return the appends per second of *callers* threads that make calls one after the other."""
    until = time.perf_counter() + SPELL
    counts = [0] * callers

    def work(number: int) -> None:
        while time.perf_counter() < until:
            call = new_ulid()
            seq = writer.append(decision(call, writer.process, pad=PAD)).seq
            writer.append(outcome(call, seq, writer.process))
            counts[number] += 2

    threads = [threading.Thread(target=work, args=(number,)) for number in range(callers)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - began)


def by_tasks(writer: LedgerWriter, callers: int) -> float:
    """As ``by_threads``, by tasks of one event loop."""

    async def spell() -> float:
        until = time.perf_counter() + SPELL
        count = 0

        async def work() -> None:
            nonlocal count
            while time.perf_counter() < until:
                call = new_ulid()
                future = writer.submit(decision(call, writer.process, pad=PAD))
                seq = (await wait_async(future, 10)).seq
                await wait_async(writer.submit(outcome(call, seq, writer.process)), 10)
                count += 2

        began = time.perf_counter()
        await asyncio.gather(*(work() for _ in range(callers)))
        return count / (time.perf_counter() - began)

    return asyncio.run(spell())


def unsynced(db: Path) -> LedgerWriter:
    """Make a log whose connection never syncs."""
    connect = appending.connect

    def fast(path: Path) -> tuple[sqlite3.Connection, int]:
        connection, version = connect(path)
        connection.execute("PRAGMA synchronous = OFF")
        return connection, version

    appending.connect = fast  # type: ignore[attr-defined]
    try:
        return make(db, FAST)
    finally:
        appending.connect = connect  # type: ignore[attr-defined]


def together(writer: LedgerWriter, raw: RawSyncs, folder: Path, rounds: int) -> None:
    """Many callers, who share commits."""
    with unsynced(folder / "unsynced.db") as free:
        work: dict[str, Callable[[], float]] = {
            "threads": lambda: by_threads(writer, CALLERS),
            "threads, sync off": lambda: by_threads(free, CALLERS),
            "asyncio": lambda: by_tasks(writer, CALLERS),
            "asyncio, sync off": lambda: by_tasks(free, CALLERS),
            "8 threads": lambda: by_threads(writer, 8),
        }
        rates = beside(raw, work, rounds)
    for name, values in rates.items():
        print(f"{name:28} {sorted(values)[len(values) // 2]:7.0f}/s")
    for name, least in (("threads", 2.5), ("asyncio", 3.0)):
        what = f"{CALLERS} callers, {name}"
        print(
            judge(
                f"{what}: appends / raw syncs",
                ratio(rates[name], rates[f"raw {name}"]),
                least=least,
            )
        )
        off = ratio(rates[name], rates[f"{name}, sync off"])
        print(judge(f"{what}: appends / the same with sync off", off, least=0.5))


CHILD = """
import json, sys, time
from pathlib import Path
from tests.bench.bench_ledger import child
child(Path(sys.argv[1]))
"""


def child(db: Path) -> None:
    """Serve a parent: each line on stdin is a spell of appends, each line on stdout what came of
    it.
    """
    with LedgerWriter.open(db, signing=SIGNING, settings=FAST) as writer:
        print(json.dumps({}), flush=True)
        for line in sys.stdin:
            until = time.perf_counter() + float(line)
            count, worst = 0, 0.0
            began = time.perf_counter()
            while time.perf_counter() < until:
                call = new_ulid()
                first = decision(call, writer.process, pad=PAD)
                start = time.perf_counter()
                seq = writer.append(first).seq
                middle = time.perf_counter()
                second = outcome(call, seq, writer.process)
                again = time.perf_counter()
                writer.append(second)
                worst = max(worst, middle - start, time.perf_counter() - again)
                count += 2
            spent = time.perf_counter() - began
            print(json.dumps({"count": count, "seconds": spent, "worst": worst}), flush=True)


def processes(db: Path, rounds: int) -> None:
    """One caller in each of several processes, against one alone, in turn."""
    started = [
        subprocess.Popen(
            [sys.executable, "-c", CHILD, str(db)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(PROCESSES)
    ]

    def answers(some: list[subprocess.Popen[str]]) -> list[dict[str, Any]]:
        return [json.loads(process.stdout.readline()) for process in some if process.stdout]

    def spell(some: list[subprocess.Popen[str]]) -> list[dict[str, Any]]:
        for process in some:
            assert process.stdin is not None
            process.stdin.write(f"{2 * SPELL}\n")
            process.stdin.flush()
        return answers(some)

    answers(started)
    spell(started)  # warm
    one, four, shares, worst = [], [], [0] * PROCESSES, 0.0
    for _ in range(rounds):
        alone = spell(started[:1])[0]
        one.append(alone["count"] / alone["seconds"])
        found = spell(started)
        four.append(sum(item["count"] / item["seconds"] for item in found))
        shares = [have + item["count"] for have, item in zip(shares, found, strict=True)]
        worst = max(worst, *(item["worst"] for item in found))
    for process in started:
        process.communicate()
    print(f"{PROCESSES} processes: {shares} appends")
    print(judge(f"{PROCESSES} processes / 1: appends", ratio(four, one), least=0.9))
    print(
        judge(
            f"{PROCESSES} processes: smallest share / largest", min(shares) / max(shares), least=0.8
        )
    )
    print(judge(f"{PROCESSES} processes: worst wait", worst * 1e3, most=250, unit=" ms"))


def verifying(db: Path) -> None:
    """Reading and checking what was written."""
    with LedgerReader.open(db) as reader:
        size = reader.size()
        began = time.perf_counter()
        for _ in reader.lines():
            pass
        scan = time.perf_counter() - began
        began = time.perf_counter()
        chain.verify(reader.lines())
        link = time.perf_counter() - began
    began = time.perf_counter()
    verify_ledger(db)
    whole = time.perf_counter() - began
    print(
        f"verify {size} records: scan {size / scan:.0f}/s, chain {size / link:.0f}/s, "
        f"with columns and indexes {size / whole:.0f}/s (x scan: {scan / whole:.2f})"
    )


def main() -> None:
    """Print the figures."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else (100 if QUICK else 1500)
    spells = 1 if QUICK else max(3, rounds // 300)
    with tempfile.TemporaryDirectory(dir=os.environ.get("GUARDRAIL_BENCH_DIR", ".")) as name:
        folder = Path(name)
        db = folder / "bench.db"
        raw = RawSyncs(folder / "raw")
        with make(db, FAST) as writer:
            single(writer, raw, rounds)
        with LedgerReader.open(db) as reader:
            lines = sum(len(line) for _, _, line in reader.lines())
        print(judge("bytes on disk / bytes of the lines", db.stat().st_size / lines, most=1.25))
        verifying(db)
        with make(folder / "many.db", FAST) as writer:
            together(writer, raw, folder, spells)
        make(folder / "four.db", FAST).close()
        processes(folder / "four.db", spells)


if __name__ == "__main__":
    main()
