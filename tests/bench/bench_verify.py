"""Verifying a ledger of a million records, as ratios to a bare scan of its rows in the same run,
and proofs from it.

    python -m tests.bench.bench_verify [RECORDS [ROUNDS]]

The bare scan reads number, hash and line of every row and looks at none of them. Scan and
verification alternate, so that a busy machine hits both; ratios are medians. A proof is cold where
nothing of the tree was read before; the file's pages are in memory.

Beside 0.7 us for the scan of a row, a record of 800 bytes takes 0.7 us for its leaf, 2.3 us for
parsing the line and writing it again, which shows repeated keys, 0.4 us for the tree, 0.9 us for
its rows in other tables and for SQLite's check of its pages, and 2.5 us for the fields that a
record must have.
"""

from __future__ import annotations

import random
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from guardrail.core.log.checkpoint import Checkpoint, SignedNote
from guardrail.core.log.merkle import Edge, inclusion_proof
from guardrail.core.log.proof import Proof, check_proof
from guardrail.core.log.record import leaf_hash
from guardrail.keys.log_key import LogSigning, verify_signature
from guardrail.ledger.heads import head_signer, sign_head
from guardrail.ledger.reader import LedgerReader
from guardrail.ledger.sqlite import located
from guardrail.ledger.sqlite.tree import SQLiteTree, SQLiteTreeWriter
from guardrail.ledger.tree import TILE, node_reader
from guardrail.review.proofs import make_proof
from guardrail.review.verify import verify_ledger
from guardrail.system.ids import new_ulid
from tests.support.benchmarks import QUICK, judge
from tests.support.ledgers import KEYS, SIGNING, decision, make, outcome

RECORDS = 20_000 if QUICK else 1_000_000
ROUNDS = 1 if QUICK else 3
PROOFS = 30 if QUICK else 300
_CHUNK = 512


def build(db: Path, records: int) -> None:
    """Make a log of *records* records, all but the first in one transaction."""
    make(db).close()
    fill(db, records, SIGNING)


def fill(db: Path, records: int, signing: LogSigning) -> None:
    """Add calls to a log that is there, in one transaction, until it holds *records* records; the
    last one may be open.
    """
    connection = sqlite3.connect(db, isolation_level=None)
    connection.execute("PRAGMA synchronous = OFF")
    execute = connection.execute
    execute("BEGIN")
    head = SQLiteTree(execute).head()
    assert head is not None
    log = Checkpoint.parse(SignedNote.parse(head.note).text).origin
    leaf, edge = head.leaf, Edge.decode(head.size, head.edge)
    call, opens = "", True
    for start in range(head.size, records, 1000):
        rows: list[tuple[int, bytes, str]] = []
        tiles: list[tuple[int, list[bytes]]] = []
        for seq in range(start, min(start + 1000, records)):
            if opens:
                call = new_ulid()
                draft = decision(call, "p", pad=60, log=log)
            else:
                draft = outcome(call, seq - 1, "p", pad=150, log=log)
            opens = not opens
            line = draft.finish(
                seq=seq, prev=leaf.hex(), ts=f"2026-01-01T00:00:{seq % 60:02}.000000Z"
            )
            leaf = leaf_hash(line)
            rows.append((seq, leaf, line.decode()))
            grown = edge.append(leaf)
            if edge.size % TILE == 0:
                tiles.append((edge.size, grown))
        connection.executemany("INSERT INTO record (seq, leaf, line) VALUES (?, ?, ?)", rows)
        for size, grown in tiles:
            SQLiteTreeWriter(execute).store_tile(size, grown)
    for table in ("call", "place"):
        execute(f"DELETE FROM {table}")
    located.fill(execute, located.lines_of(execute), owner=lambda _: ("p", "h", 1))
    SQLiteTreeWriter(execute).write_head(
        sign_head(leaf, edge, head_signer(log, signing.log_key(log)), signing)
    )
    execute("COMMIT")
    execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def timed(work: Callable[[], object]) -> float:
    """Return the seconds that *work* takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def scan(db: Path) -> None:
    """Read every row."""
    connection = sqlite3.connect(f"file:{db}?mode=ro", uri=True)
    rows = connection.execute("SELECT seq, leaf, CAST(line AS BLOB) FROM record ORDER BY seq")
    while rows.fetchmany(_CHUNK):
        pass
    connection.close()


def indexes(db: Path) -> None:
    """Compare the indexes alone with the rows, as SQLite does it."""
    connection = sqlite3.connect(f"file:{db}?mode=ro", uri=True)
    assert connection.execute("PRAGMA integrity_check(1)").fetchone() == ("ok",)
    connection.close()


def verify(db: Path, jobs: int) -> None:
    """Verify everything."""
    report = verify_ledger(db, key=KEYS.public, jobs=jobs)
    assert report.exit_code == 5, report


def verifying(db: Path, records: int, rounds: int) -> None:
    """Print what verification costs beside the bare scan."""
    work: dict[str, Callable[[], None]] = {
        "bare scan of the rows": lambda: scan(db),
        "verify, one process": lambda: verify(db, 1),
        "verify, two processes": lambda: verify(db, 2),
        "of that: indexes, by SQLite": lambda: indexes(db),
    }
    seconds: dict[str, list[float]] = {name: [] for name in work}
    scan(db)
    for _ in range(rounds):
        for name, run in work.items():
            seconds[name].append(timed(run))
    for name, found in seconds.items():
        middle = statistics.median(found)
        print(f"{name:32} {middle:7.2f} s   {records / middle:9,.0f} records/s")
    bare, one, two, index = seconds.values()

    def ratio(over: list[float], under: list[float]) -> float:
        return statistics.median(a / b for a, b in zip(over, under, strict=True))

    print(judge("verify, one process / bare scan", ratio(bare, one), least=0.15))
    lines = [a - b for a, b in zip(one, index, strict=True)]
    print(judge("  the lines, the tree and the tables alone", ratio(bare, lines)))
    print(judge("verify, two processes / one", ratio(one, two), least=1.8))


def proving(db: Path, records: int) -> None:
    """Print what proofs cost, to make and to check."""
    rng = random.Random("proofs")
    cold, whole, check = [], [], []
    with LedgerReader.open(db) as reader:
        connection = sqlite3.connect(f"file:{db}?mode=ro", uri=True)
        row = reader.storage.head()
        assert row is not None
        note = SignedNote.parse(row.note)
        public = bytes.fromhex(KEYS.public)
        for _ in range(PROOFS):
            seq = rng.randrange(records)
            cold.append(
                timed(
                    lambda: inclusion_proof(
                        seq, records, node_reader(SQLiteTree(connection.execute))
                    )
                )
            )
            began = time.perf_counter()
            proof = make_proof(reader, seq, note)
            whole.append(time.perf_counter() - began)
            raw = proof.encode()
            began = time.perf_counter()
            checked = check_proof(Proof.parse(raw), public, verify_signature)
            check.append(time.perf_counter() - began)
            assert checked.verdict == "good"
        connection.close()
    size = f"{records:,}"
    print(judge(f"inclusion proof at {size} records, cold", _ms(cold), most=1.5, unit="ms"))
    print(judge("  with line, head and a check of the whole", _ms(whole), unit="ms"))
    print(judge("check of a proof file, offline", _ms(check), most=0.25, unit="ms"))


def _ms(seconds: list[float]) -> float:
    return statistics.median(seconds) * 1000


def main() -> None:
    """Build, measure, print."""
    records = int(sys.argv[1]) if len(sys.argv) > 1 else RECORDS
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else ROUNDS
    with tempfile.TemporaryDirectory() as folder:
        db = Path(folder) / "a.db"
        took = timed(lambda: build(db, records))
        per = db.stat().st_size / records
        print(f"{records:,} records, {per:,.0f} bytes each on disk, made in {took:.0f} s")
        verifying(db, records, rounds)
        proving(db, records)


if __name__ == "__main__":
    main()
