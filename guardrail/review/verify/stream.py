"""Reads a ledger for verification: every row once, in constant memory, and then the rest of the
database.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from guardrail.core.log.audit import Audit
from guardrail.core.log.chain import Difference
from guardrail.core.log.merkle import Edge
from guardrail.core.log.places import BLOCK
from guardrail.core.log.record import parse
from guardrail.core.log.recovered import TYPE as RECOVERED
from guardrail.core.log.recovered import Recovered
from guardrail.errors import RecordError
from guardrail.ledger.heads import HeadRow
from guardrail.ledger.locators import CallStepRow, LocatorWalk
from guardrail.ledger.reader import LedgerReader
from guardrail.ledger.rows import EpochRow, OpenCall
from guardrail.ledger.storage import RecordRow, Storage
from guardrail.ledger.tiles import TileWalk
from guardrail.ledger.tree import TILE, edge_at, node_reader
from guardrail.review.verify.report import Progress
from guardrail.review.verify.sessions import Sessions
from guardrail.review.verify.uses import Uses

__all__ = [
    "CHUNK",
    "Tables",
    "read_tables",
    "recovered_before",
    "stored_edge",
    "stream",
]

CHUNK = 512


@dataclass(slots=True)
class Tables:
    """The rest of the database, read in one transaction with the last records."""

    head: HeadRow | None = None
    open_calls: list[OpenCall] = field(default_factory=list)
    epochs: list[EpochRow] = field(default_factory=list)
    pruned: int = 0
    """Records below this number, except line 0, may be missing because they were pruned. 0 if
    nothing was pruned.
    """
    owners: dict[str, tuple[str, str | None, int | None]] = field(default_factory=dict)
    """Process, host and pid of each open call, from its decision, by call id. None if the decision
    does not state them.
    """
    uses: Uses | None = field(default_factory=Uses)
    """Compares uses of approvals with their requirements. None if a part of a log is read, because
    its ``steps`` are compared later.
    """
    sessions: Sessions = field(default_factory=Sessions)
    """Compares session owners if a part of a log is read. Unused if ``uses`` is set, which compares
    them too.
    """
    locators: LocatorWalk | None = None
    """Compares the rows of calls and places with the lines."""
    missed: tuple[int | None, str] | None = None
    """The first record that a query misses, and the table that lacks its row. None in place of the
    record if the table has rows that no line requires.
    """
    typed: int = 0
    """The records below this number, from the first one that was read, have leaves and lines of the
    types that the schema requires.
    """
    block: int = -1
    """The block (``core.log.places``) of the last record."""
    steps: list[tuple[int, str]] = field(default_factory=list)
    """Number and line of each request for approval, answer, use and start, if they are not compared
    here.
    """


def read_tables(reader: LedgerReader, tables: Tables) -> None:
    """Read everything except the records into *tables*. Raises ``LedgerError``."""
    storage = reader.storage
    tables.head = storage.head()
    tables.open_calls = storage.open_calls()
    tables.epochs = storage.epochs()
    tables.pruned = storage.pruned_before() or 0


def recovered_before(reader: LedgerReader, seq: int) -> list[Recovered]:
    """Return the recoveries before record *seq*, for a run that does not read the records before
    it. Raises ``LedgerError``.

    A recovery that can't be decoded counts as one that took over every earlier record, none of them
    covered by a head.
    """
    found = []
    for at, line in reader.every(RECOVERED):
        if at < seq:
            try:
                found.append(Recovered.of(at, parse(line)))
            except RecordError:
                found.append(Recovered.of(at, {"detail": {"doubt": 0}}))
    return found


def stored_edge(reader: LedgerReader, size: int) -> Edge | None:
    """Return the tree of the first *size* records from the stored tiles, or None if the tiles cover
    fewer records.
    """
    try:
        return edge_at(size, node_reader(reader.storage))
    except ValueError:
        return None


def stream(
    reader: LedgerReader,
    audit: Audit,
    tiles: TileWalk,
    *,
    start: int,
    stop: int | None,
    tables: Tables,
    total: int,
    progress: Progress | None = None,
) -> str:
    """Pass the rows, beginning with *start*, to *audit* and *tiles*, and after the last row read
    *tables* in the same transaction.

    Return the fault in the stored tree after the last record, or an empty string. If *stop* is
    given, reading ends before that row, and the tables are not read. Raises ``LedgerError``.
    """
    chain = audit.chain
    at = start
    while stop is None or at < stop:
        limit = CHUNK if stop is None else min(CHUNK, stop - at)
        with reader.storage.snapshot() as now:
            rows = _read_rows(now, at, limit, tables)
            last = len(rows) < CHUNK and stop is None
            if last:
                read_tables(reader, tables)
            if stop is not None:
                rows = [row for row in rows if row[0] < stop]
            for group in _by_tile(rows):
                _take_group(group, audit, tiles, tables)
                if chain.has_fault:
                    return ""
            _look_up(tables)
            grown = tiles.end(chain.next_seq, audit.pruned, limit=1) if last else ()
            if last and tables.locators is not None and tables.missed is None:
                surplus = tables.locators.surplus()
                tables.missed = (None, surplus) if surplus else None
        if progress is not None:
            progress(chain.next_seq, max(total, chain.next_seq))
        if last or not rows:
            return grown[0].text if grown else ""
        at = max(rows[-1][0] + 1, audit.pruned)
    return ""


def _read_rows(storage: Storage, at: int, limit: int, tables: Tables) -> Sequence[RecordRow]:
    """Return at most *limit* records from *at*, and note if all are of the right type."""
    rows = storage.typed_records(at, limit)
    if len(rows) < limit or rows[-1][0] != at + limit - 1:
        return storage.records(at, limit)  # one is missing, or of another type
    if tables.typed == at:
        tables.typed = at + limit
    return rows


def _by_tile(rows: Sequence[RecordRow]) -> Iterator[Sequence[RecordRow]]:
    """Split *rows* where the tiles of the tree begin, and after record 0, because the records after
    it may have been pruned.
    """
    at = 0
    while at < len(rows):
        seq = rows[at][0]
        end = at + (TILE - seq % TILE if seq else 1)
        yield rows[at:end]
        at = end


def _take_group(rows: Sequence[RecordRow], audit: Audit, tiles: TileWalk, tables: Tables) -> None:
    """Pass *rows*, all of one tile, to everything that examines records, up to the first fault."""
    chain, pruned = audit.chain, audit.pruned
    if pruned:
        among = [at for at, row in enumerate(rows) if 0 < row[0] < pruned]
        if among:
            _take_rows(rows[: among[0]], audit, tables)
            chain.reject(rows[among[0]][0], Difference.PRUNED, "it is among the pruned records")
            return
    _take_rows(rows, audit, tables)
    # For a pruned log, the tree of line 0 and of the deleted records was loaded earlier.
    if chain.has_fault or (rows[0][0] == 0 and audit.pruned):
        return
    wrong = tiles.take_leaves(chain.next_seq, [row[1] for row in rows], audit.made)
    if wrong:
        chain.reject(rows[-1][0], Difference.TILE, wrong[0].text)


def _take_rows(rows: Sequence[RecordRow], audit: Audit, tables: Tables) -> None:
    locators, uses = tables.locators, tables.uses
    assert locators is not None
    sessions = tables.sessions if uses is None else uses.sessions
    recent = sessions.recent
    block = rows[0][0] // BLOCK if rows else -1
    if block != tables.block:  # the first record of each session in each block has a place
        tables.block = block
        recent.clear()
    begun: dict[str, dict[str, Any]] = {}
    steps: list[CallStepRow] = []
    taken = audit.take_rows(rows)
    for seq, record, line in taken:
        try:
            # Most records are ordinary outcomes and decisions, which need only this.
            if record["type"] == "call.outcome":
                call, decision_seq = record["call"], record["decision_seq"]
                if begun.pop(call, None) is None:
                    tables.owners.pop(call, None)
                if "approval" not in record and decision_seq >= 0:
                    steps.append((seq, call, decision_seq))
                    continue
            else:
                decision, principal = record["decision"], record["principal"]
                agent, issuer = record["agent"]["id"], principal.get("issuer")
                owner = (record["tenant"], principal["id"], agent, issuer)
                if (
                    recent.get(record["session"]) == owner
                    and record.get("approval") is None
                    and record["type"] == "call.decision"
                    and decision["effect"] != "require_approval"
                    and decision["cause"] != "identity"
                ):
                    steps.append((seq, record["call"], None))
                    begun[record["call"]] = record
                    continue
        except (LookupError, TypeError, AttributeError):
            pass
        _remember(tables, seq, record, audit.pruned)
        fault = _fault(tables, record, line)
        if fault is not None:
            taken.close()
            audit.chain.reject(seq, *fault)
            return
        if uses is None and Uses.concerns(record):
            tables.steps.append((seq, line.decode("utf-8")))
    locators.take_steps(steps, audit.pruned)
    for record in begun.values():
        _remember_owner(tables, record)


def _fault(tables: Tables, record: dict[str, Any], line: bytes) -> tuple[Difference, str] | None:
    """Describe how *record* conflicts with an earlier record, or return None."""
    if tables.uses is not None:
        return tables.uses.fault(record, line)
    wrong = tables.sessions.take(record)
    return (Difference.SESSION, wrong) if wrong else None


def _look_up(tables: Tables) -> None:
    """Remember the first record that a query misses."""
    if tables.locators is not None and tables.missed is None:
        tables.missed = next(iter(tables.locators.missed()), None)


def _remember(tables: Tables, seq: int, record: dict[str, Any], pruned: int) -> None:
    """Remember the owner of a call that *record* opens, and the rows that *record* requires."""
    if tables.locators is not None:
        tables.locators.take(seq, record, pruned)
    if record["type"] == "call.decision":
        _remember_owner(tables, record)
    elif record["type"] == "call.outcome":
        tables.owners.pop(record["call"], None)


def _remember_owner(tables: Tables, record: dict[str, Any]) -> None:
    """Remember the owner of the call if the decision *record* allows it."""
    if record["decision"]["effect"] == "allow":
        origin = record.get("origin")
        said = origin if isinstance(origin, dict) else {}
        process, host, pid = said.get("process"), said.get("host"), said.get("pid")
        if isinstance(process, str):
            named = host if isinstance(host, str) else None
            tables.owners[record["call"]] = (process, named, pid if type(pid) is int else None)
