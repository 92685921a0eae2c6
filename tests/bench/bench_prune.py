"""Governed calls while a guard's daily run prunes a large ledger, as ratios to the same calls
without it.

    python -m tests.bench.bench_prune [RECORDS [SECONDS]]

The records are old by the clock that the run is told. The run is the process that a guard starts
(`guardrail.retention.process`): it reads the whole ledger, compares the copies, and deletes a part
at a time. Calls are made one after the other before it, while it reads, while it deletes (for so
many seconds: then the run is ended, as a guard that is closed ends it), and after it; the ratios
are to the calls before and after together.
"""

from __future__ import annotations

import os
import sqlite3
import sys
import tempfile
import threading
import time
from pathlib import Path

from guardrail import Guard
from guardrail.bench.disk import RawSyncs
from guardrail.config import Settings
from guardrail.keys.log_key import Keys
from guardrail.ledger.reader import LedgerReader
from guardrail.retention.actions import retention_lock
from guardrail.retention.process import RetentionJob, RetentionWorker
from tests.bench.bench_verify import fill
from tests.support.benchmarks import QUICK, judge, quantiles

RECORDS = 5_000 if QUICK else 200_000
SECONDS = 1.0 if QUICK else 15.0
DAY_S = 86_400
P50_MOST, P99_MOST = 1.5, 3.0
"""Aims: somebody who calls a tool must not notice that records are pruned."""

POLICY = """package guardrail.policy
allow contains "declared" if input.resource.properties.declared == true
"""


def settings_in(root: Path) -> Settings:
    """Write a project whose log is anchored in a file, and return its settings."""
    (root / "policies").mkdir()
    (root / "policies" / "main.rego").write_text(POLICY)
    (root / "kept").mkdir()
    (root / "work").mkdir()
    return Settings().override(
        ledger={"path": root / "work" / "audit.db"},
        policy={"path": root / "policies"},
        anchors={"file": root / "kept" / "heads", "memory": False},
        retention={"auto": False},
        limits={"calls_per_minute": 0},
    )


def carried_out(settings: Settings, days: int) -> RetentionWorker:
    """Start what is due so many days from now, as a guard does; the caller waits for it."""
    lock = retention_lock(settings.ledger.path)
    assert lock.try_acquire()
    try:
        return RetentionWorker(
            RetentionJob(settings, time.time() + days * DAY_S),
            keep=lock.fileno(),
            folder=str(settings.ledger.path.parent),
        )
    finally:
        lock.close()  # the worker has a copy of the descriptor, and with it the lock


class Calls:
    """Calls of one program, one after the other."""

    def __init__(self, guard: Guard, raw: RawSyncs) -> None:
        self._guard, self._raw = guard, raw
        self.seconds: dict[str, list[float]] = {}
        self.raw: dict[str, list[float]] = {}

    def one(self, phase: str) -> None:
        """Make a call, and a raw sync beside it."""
        self.raw.setdefault(phase, []).append(self._raw.sync())
        began = time.perf_counter()
        self._guard.call("order", {"item": "garden chair", "count": 2}, lambda **_: None)
        self.seconds.setdefault(phase, []).append(time.perf_counter() - began)

    def spell(self, phase: str, seconds: float) -> None:
        """Make calls for so long."""
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            self.one(phase)


class Watch:
    """Tells, from a thread of its own, whether the run has begun to delete."""

    def __init__(self, db: Path) -> None:
        self.deletes = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, args=(db,), daemon=True)
        self._thread.start()

    def _look(self, db: Path) -> None:
        with LedgerReader.open(db) as reader:
            while not self._stop.wait(0.1):
                if reader.storage.pruned_before() is not None:
                    self.deletes.set()
                    return

    def close(self) -> None:
        """Stop looking."""
        self._stop.set()
        self._thread.join()


def ended(worker: RetentionWorker) -> None:
    """Make sure that the run did all of it."""
    outcome = worker.outcome()
    assert not outcome.code, outcome


def main() -> None:
    """Build, measure, print."""
    records = int(sys.argv[1]) if len(sys.argv) > 1 else RECORDS
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else SECONDS
    with tempfile.TemporaryDirectory(dir=os.environ.get("GUARDRAIL_BENCH_DIR", ".")) as folder:
        root = Path(folder).resolve()
        settings = settings_in(root)
        db = settings.ledger.path
        Guard.open(settings).close()
        with LedgerReader.open(db) as reader:
            records += (records - reader.size()) % 2  # no call stays open: it would be kept
        fill(db, records, Keys.load(settings.key_path).signing(actor={}, epochs=False))
        sealing = carried_out(settings, 40)
        sealing.wait(3600)
        ended(sealing)
        with Guard.open(settings) as guard:
            guard.declare("order", schema={"type": "object"})
            calls = Calls(guard, RawSyncs(root / "raw"))
            with guard.session(principal="alice@example.com", agent="bench"):
                measured(calls, settings, seconds)
        printed(calls, records, db)


def measured(calls: Calls, settings: Settings, seconds: float) -> None:
    """Make calls before, during and after the run."""
    calls.spell("warm", seconds / 5)
    calls.spell("without", seconds)
    watch = Watch(settings.ledger.path)
    began = time.perf_counter()
    worker = carried_out(settings, 900)
    until = float("inf")
    while time.perf_counter() < until and not worker.wait(0):
        deletes = watch.deletes.is_set()
        if deletes and until == float("inf"):
            until = time.perf_counter() + 2 * seconds
        calls.one("deletes" if deletes else "reads")
    print(f"{time.perf_counter() - began:.1f} s of the run beside calls")
    if worker.wait(0):
        ended(worker)
    else:
        worker.end()
    watch.close()
    calls.spell("without", seconds)


def printed(calls: Calls, records: int, db: Path) -> None:
    """Print the figures."""
    left = sqlite3.connect(f"file:{db}?mode=ro", uri=True)
    (count,) = left.execute(
        "SELECT count(*) FROM record WHERE seq > 0 AND seq < ?", (records,)
    ).fetchone()
    left.close()
    print(f"{records:,} records, of which {records - 1 - count:,} were pruned meanwhile")
    assert count < records - 1
    p50, p99 = quantiles(calls.seconds["without"])
    for phase in ("without", "reads", "deletes"):
        found = quantiles(calls.seconds[phase])
        raw = quantiles(calls.raw[phase])
        print(
            f"calls, {phase:8} {len(calls.seconds[phase]):6}   p50 {found[0]:7.0f} us   p99"
            f" {found[1]:7.0f} us   max {max(calls.seconds[phase]) * 1e3:6.0f} ms   raw sync p50"
            f" {raw[0]:5.0f} us   p99 {raw[1]:6.0f} us"
        )
    for phase in ("reads", "deletes"):
        found = quantiles(calls.seconds[phase])
        print(
            judge(f"p50 of a call while the run {phase} / without", found[0] / p50, most=P50_MOST)
        )
        print(
            judge(f"p99 of a call while the run {phase} / without", found[1] / p99, most=P99_MOST)
        )


if __name__ == "__main__":
    main()
