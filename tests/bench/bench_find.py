"""What ``guardrail find`` costs on a ledger of a million records, as a ratio to a full read of its
tokens, and with a ledger a hundredth of that size for comparison.

    python -m tests.bench.bench_find [RECORDS]

The records are made without a guard: a call of a few hundred bytes with one token, every 20,000th
of them with the value that is looked for. The ledger and its index take about 2 KB per record in
TMPDIR, and are removed.
"""

from __future__ import annotations

import json
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from guardrail.core.log.record import dumps, leaf_hash
from guardrail.keys.log_key import Keys
from guardrail.ledger.reader import LedgerReader
from guardrail.ledger.writing.writer import LedgerWriter
from guardrail.review.index.file import IndexFile
from guardrail.review.index.records import IndexedRecords
from guardrail.review.lookup import ValueTokens, find_calls
from tests.support.benchmarks import QUICK, judge
from tests.support.records import LOG, decision, genesis

RECORDS = 2_000 if QUICK else 1_000_000
ROUNDS = 3 if QUICK else 15
VALUE = "bob@example.com"
EVERY = 20_000
MOST = 0.5
"""Aim: a find takes at most this share of the time that a read of all tokens takes. It does not
hold for the small ledgers of a quick run, for which opening the files is most of the work.
"""


def lines(keys: Keys, records: int) -> Iterator[tuple[int, bytes, str]]:
    """Yield the rows of so many records after the first one."""
    tenants = [keys.tenant(name) for name in ("default", "acme")]
    made = decision("send", {"to": "gr1:contact:x:y"}, session="S")
    made.pop("input", None)
    for seq in range(1, records + 1):
        tenant = tenants[seq % 2]
        who = VALUE if seq % EVERY == 0 else f"user{seq % 200_000}@example.com"
        token = tenant.value_token("contact", who)
        line = dumps({
            **made,
            "seq": seq,
            "call": f"{seq:026d}",
            "session": f"S-{seq // 20:06d}",
            "tenant": ("default", "acme")[seq % 2],
            "input": {"action": {"properties": {"args": {"to": token}}}},
        })  # fmt: skip
        yield seq, leaf_hash(line), line.decode()


def fill(db: Path, records: int) -> Keys:
    """Make a ledger of so many records. Only its first record is in the chain."""
    keys = Keys.create(db.with_suffix(".keys"))
    signing = keys.signing(actor={"id": "bench"}, epochs=False)
    LedgerWriter.create(db, log=LOG, genesis=genesis(keys.public), signing=signing).close()
    with sqlite3.connect(db, isolation_level=None) as raw:
        raw.execute("PRAGMA synchronous = OFF")
        raw.execute("BEGIN")
        raw.executemany(
            "INSERT INTO record (seq, leaf, line) VALUES (?, ?, ?)", lines(keys, records)
        )
        raw.execute("COMMIT")
    raw.close()
    return keys


def timed(work: object) -> float:
    """Return the milliseconds that *work* takes."""
    start = time.perf_counter()
    work()  # type: ignore[operator]
    return (time.perf_counter() - start) * 1e3


def measure(folder: Path, records: int) -> None:
    """Print the figures for a ledger of so many records."""
    db, file = folder / "audit.db", IndexFile(folder / "index", folder / "audit.db")
    keys = fill(db, records)
    built = timed(lambda: refresh(db, file))
    print(f"{f'index of {records:,} records built':58} {built / 1e3:8.1f} s")

    def find() -> None:
        with IndexedRecords(LedgerReader.open(db, rows=False), file) as reader:
            found = find_calls(reader, ValueTokens(VALUE, keys.secrets), before=None, limit=50)
        assert len(found.calls) == min(50, records // EVERY)

    def read_all() -> None:
        with sqlite3.connect(file.path) as index:
            index.execute("SELECT sum(length(token)) FROM token").fetchall()
        index.close()

    find()
    used = time.process_time()
    mine = [timed(find) for _ in range(ROUNDS)]
    used = (time.process_time() - used) * 1e3 / ROUNDS
    print(f"{'find, processor time, ms: mean':58} {used:8.1f}")
    whole = [timed(read_all) for _ in range(ROUNDS)]
    middle, least = statistics.median(mine), statistics.median(whole)
    print(f"{'find, ms: median, slowest':58} {middle:8.1f} {max(mine):8.1f}")
    name = f"find in {records:,} records ({middle:.0f} ms) / reading all tokens ({least:.0f} ms)"
    print(judge(name, middle / least, most=MOST))


def refresh(db: Path, file: IndexFile) -> None:
    """Bring the index up to date."""
    with IndexedRecords(LedgerReader.open(db, rows=False), file) as reader:
        reader.refresh()


def main(records: int) -> None:
    """Measure a ledger of so many records."""
    with tempfile.TemporaryDirectory() as root:
        measure(Path(root), records)
    print(json.dumps({"records": records, "every": EVERY}))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else RECORDS)
