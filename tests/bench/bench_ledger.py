"""The ledger alone, as ratios to the disk's own sync in the same run: python tests/bench/bench_ledger.py [ROUNDS]

Raw syncs (8 KiB into a preallocated ring, as a write-ahead log after its first wrap) and appends alternate, so that a busy
disk hits both. A p99 is worth reading only where the raw p99 is below three times the raw p50.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "ledger"))

from ledgerkit import FAST, decision, make, outcome

from guardrail.core import chain
from guardrail.ledger.reader import LedgerReader
from guardrail.ledger.writer import LedgerWriter
from guardrail.review.verify import verify_ledger
from guardrail.ulid import new_ulid

BLOCK = b"x" * 8192
RING = 512
PAD = 1500
"""Makes a decision line of about 2.3 KB."""


class Raw:
    """The limit: what one sync of 8 KiB costs on this disk."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
        os.pwrite(self._descriptor, BLOCK * RING, 0)
        os.fsync(self._descriptor)
        self._place = 0

    def sync(self) -> float:
        began = time.perf_counter()
        os.pwrite(self._descriptor, BLOCK, self._place % RING * len(BLOCK))
        os.fdatasync(self._descriptor)
        self._place += 1
        return time.perf_counter() - began


def quantiles(seconds: list[float]) -> tuple[float, float]:
    """Return p50 and p99 in microseconds."""
    cuts = statistics.quantiles(seconds, n=100)
    return cuts[49] * 1e6, cuts[98] * 1e6


def single(writer: LedgerWriter, raw: Raw, rounds: int) -> None:
    syncs, decisions, outcomes, cpu = [], [], [], []
    for number in range(rounds + 100):
        sync = raw.sync()
        call = new_ulid()
        draft = decision(call, writer.process, pad=PAD)
        began, used = time.perf_counter(), time.thread_time()
        seq = writer.append(draft).seq
        spent, took = time.thread_time() - used, time.perf_counter() - began
        draft = outcome(call, seq, writer.process)
        began = time.perf_counter()
        writer.append(draft)
        ended = time.perf_counter() - began
        if number >= 100:
            syncs.append(sync)
            decisions.append(took)
            outcomes.append(ended)
            cpu.append(spent)
    p50, p99 = quantiles(syncs)
    print(f"raw fdatasync of 8 KiB       p50 {p50:6.0f} us   p99 {p99:6.0f} us")
    for name, times in (("append, decision of 2.3 KB", decisions), ("append, outcome", outcomes)):
        mine, slow = quantiles(times)
        tail = f"{slow / p99:5.2f}" if p99 < 3 * p50 else "not judged: the disk is busy"
        print(
            f"{name:28} p50 {mine:6.0f} us   p99 {slow:6.0f} us   x raw: p50 {mine / p50:5.2f}, p99 {tail}"
        )
    print(f"CPU in the caller            p50 {quantiles(cpu)[0]:6.0f} us")


def together(writer: LedgerWriter, raw: Raw, callers: int, calls: int) -> None:
    before = [raw.sync() for _ in range(300)]

    def work() -> None:
        for _ in range(calls):
            call = new_ulid()
            seq = writer.append(decision(call, writer.process, pad=PAD)).seq
            writer.append(outcome(call, seq, writer.process))

    threads = [threading.Thread(target=work) for _ in range(callers)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rate = callers * calls * 2 / (time.perf_counter() - began)
    limit = 1 / statistics.mean([*before, *(raw.sync() for _ in range(300))])
    print(
        f"{callers:3} callers: {rate:7.0f} appends/s, raw syncs/s {limit:6.0f}, ratio {rate / limit:5.2f}"
    )


def verifying(db: Path) -> None:
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
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 1500
    with tempfile.TemporaryDirectory(dir=os.environ.get("GUARDRAIL_BENCH_DIR", ".")) as folder:
        db = Path(folder) / "bench.db"
        with make(db, FAST) as writer:
            raw = Raw(Path(folder) / "raw")
            single(writer, raw, rounds)
            for callers in (8, 64):
                together(writer, raw, callers, rounds // callers)
        verifying(db)
        size = db.stat().st_size
        with LedgerReader.open(db) as reader:
            lines = sum(len(line) for _, _, line in reader.lines())
        print(f"bytes on disk per byte of line: {size / lines:.2f}")


if __name__ == "__main__":
    main()
