"""Reading a ledger for verification: every row once, in constant memory, and what else the database holds beside them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from guardrail.core.audit import Audit, Pruned
from guardrail.core.chain import Difference
from guardrail.core.merkle import HASH_BYTES, Edge
from guardrail.ledger.heads import TILE, HeadRow, edge_at, node_reader, read_head
from guardrail.ledger.reader import LedgerReader
from guardrail.review.verify.report import Progress

__all__ = [
    "CHUNK",
    "Tables",
    "read_tables",
    "stored_edge",
    "stream",
    "verify_pruned",
]

CHUNK = 512
_LEVEL = 8
_ROWS = (
    f"SELECT seq, leaf, CAST(line AS BLOB) FROM record WHERE seq >= ? ORDER BY seq LIMIT {CHUNK}"  # noqa: S608
)


@dataclass(slots=True)
class Tables:
    """What the database holds beside the records, read in one transaction with the last of them."""

    head: HeadRow | None = None
    open_calls: list[tuple[Any, ...]] = field(default_factory=list)
    epochs: list[tuple[str, int]] = field(default_factory=list)
    """(public key, number of the record that certifies it)."""
    pruned: int = 0
    """Records below it, line 0 excepted, may be deleted; 0 where none may."""
    processes: dict[str, object] = field(default_factory=dict)
    """Call id -> ``origin.process`` of its decision, for open calls."""


def read_tables(reader: LedgerReader, tables: Tables) -> None:
    """Read everything but the records into *tables*. Raises ``LedgerError``."""
    tables.head = read_head(reader.execute)
    tables.open_calls = reader.query(
        "SELECT call, seq, process, host, pid FROM open_call ORDER BY seq"
    )
    tables.epochs = [(row[0], row[1]) for row in reader.query("SELECT public, seq FROM epoch")]
    before = reader.query("SELECT before FROM pruned")
    tables.pruned = before[0][0] if before and isinstance(before[0][0], int) else 0


def stored_edge(reader: LedgerReader, size: int) -> Edge | None:
    """Return the tree of the first *size* records from the stored tiles, or None where they do not reach so far."""
    try:
        return edge_at(size, node_reader(reader.execute))
    except ValueError:
        return None


class _Tiles:
    """Compares the stored tree with the one that the records make, tile by tile."""

    def __init__(self, reader: LedgerReader) -> None:
        self._reader = reader
        self._leaves: list[bytes] = []

    def take(self, audit: Audit) -> str:
        """Note the record that *audit* took last; return what differs, or an empty string. Raises ``LedgerError``."""
        self._leaves.append(audit.chain.leaf)
        size = audit.chain.next_seq
        if size % TILE:
            return ""
        leaves, self._leaves = b"".join(self._leaves), []
        kept = self._row(0, size // TILE - 1)
        if len(kept) != TILE * HASH_BYTES or not kept.endswith(leaves):
            return f"the stored leaves of records {size - TILE} to {size - 1} are not theirs"
        level = 1
        while len(audit.made) > level * _LEVEL:
            number, at = divmod((size >> level * _LEVEL) - 1, TILE)
            root = audit.made[level * _LEVEL]
            if self._row(level, number)[at * HASH_BYTES : (at + 1) * HASH_BYTES] != root:
                return f"the stored tree over the records before {size} is not theirs"
            level += 1
        return ""

    def _row(self, level: int, number: int) -> bytes:
        rows = self._reader.query(
            "SELECT hashes FROM tile WHERE level = ? AND number = ?", level, number
        )
        return rows[0][0] if rows and isinstance(rows[0][0], bytes) else b""


def stream(
    reader: LedgerReader,
    audit: Audit,
    *,
    start: int,
    stop: int | None,
    tables: Tables,
    total: int,
    progress: Progress | None = None,
) -> None:
    """Feed the rows from *start* to *audit*; behind the last one read *tables* in the same transaction.

    With *stop* it ends before that row, and reads no tables. Raises ``LedgerError``.
    """
    chain, tiles = audit.chain, _Tiles(reader)
    at = start
    while True:
        with reader.snapshot():
            rows = reader.query(_ROWS, at)
            last = len(rows) < CHUNK and stop is None
            if last:
                read_tables(reader, tables)
            for seq, leaf, line in rows:
                if stop is not None and seq >= stop:
                    return
                if 0 < seq < audit.pruned:
                    continue  # not deleted yet: what follows was proved without it
                record = audit.take(seq, leaf, line)
                if record is None:
                    return
                _note_process(tables, record)
                problem = tiles.take(audit)
                if problem:
                    chain.reject(seq, Difference.TILE, problem)
                    return
        if progress is not None:
            progress(chain.next_seq, max(total, chain.next_seq))
        if last or not rows:
            return
        at = max(rows[-1][0] + 1, audit.pruned)


def _note_process(tables: Tables, record: dict[str, Any]) -> None:
    type_ = record["type"]
    if type_ == "call.decision":
        if record["decision"]["effect"] == "allow":
            origin = record.get("origin")
            process = origin.get("process") if isinstance(origin, dict) else None
            tables.processes[record["call"]] = process
    elif type_ == "call.outcome":
        tables.processes.pop(record["call"], None)


def verify_pruned(reader: LedgerReader, pruned: Pruned) -> str:
    """Compare the leaves that were kept of pruned records with what the record about it says. Raises ``LedgerError``."""
    edge = stored_edge(reader, pruned.before)
    if edge is None:
        return "the leaves of pruned records are missing"
    if edge.roots != pruned.edge:
        return "the leaves of pruned records are not those that they had"
    return ""
