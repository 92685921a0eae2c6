"""Gathers the data of one verification, and converts the data to findings for ``judge``."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from guardrail.core.log.audit import Audit
from guardrail.core.log.chain import Difference, Report
from guardrail.core.log.record import MALFORMED, decode
from guardrail.core.words import agree, counted
from guardrail.errors import LedgerError, RecordError
from guardrail.ledger.files import leases_path
from guardrail.ledger.lease import Leases, ProcessState
from guardrail.ledger.reader import LedgerReader
from guardrail.ledger.rows import OpenCall, PageFault
from guardrail.ledger.seal import Seal
from guardrail.ledger.tiles import TileWalk
from guardrail.review.verify.judge import VerifyFindings
from guardrail.review.verify.stream import Tables, stored_edge
from guardrail.review.verify.tables import Problem
from guardrail.review.verify.uses import Uses

__all__ = ["VerifyRun", "found", "silences_in"]


@dataclass(slots=True)
class VerifyRun:
    """Data gathered by one verification."""

    audit: Audit
    tables: Tables = field(default_factory=Tables)
    seal: Seal | None = None
    since: int = 0
    same_schema: bool = True
    heartbeats: list[tuple[int, str, int]] = field(default_factory=list)
    """Sequence number, timestamp and interval in seconds of each heartbeat."""
    pages: tuple[PageFault | None] | None = None
    """The storage's finding about its own pages and indexes, or None if the storage has not been
    asked yet.
    """
    problem: Problem = None
    """Faults outside the lines."""
    watch: tuple[int, ...] = ()
    """Sizes of the given heads."""
    tiles: TileWalk | None = None
    kept: Mapping[int, bytes] = field(default_factory=dict)
    """Roots of watched sizes among pruned records, by size."""


def found(db: Path, run: VerifyRun, report: Report, reader: LedgerReader | None) -> VerifyFindings:
    """Return the findings of *run* in the form that ``judge`` expects.

    *reader* is None if the ledger can't be read.
    """
    if report.first_bad is None and run.problem is not None:
        seq, differs, detail = run.problem
        records = report.records
        if differs in (Difference.PRUNED, Difference.ROWS, Difference.SCHEMA) and not records:
            records = 0
        report = replace(report, first_bad=seq, differs=differs, detail=detail, records=records)

    def root_of(size: int) -> bytes | None:
        """Return the root computed in this run from the lines or, for pruned records, from hashes
        covered by a signed record.
        """
        kept = run.kept.get(size)
        return kept if kept is not None else run.audit.roots.get(size)

    def believed(size: int) -> bytes | None:
        """Return the root from the stored hashes of records that were skipped."""
        if reader is None or not run.same_schema or size > run.since:
            return None
        edge = stored_edge(reader, size)
        return edge.root() if edge is not None else None

    def time_of(seq: int) -> str:
        try:
            line = reader.record(seq) if reader is not None else None
            return str(decode(line).get("ts", "")) if line is not None else ""
        except RecordError:
            return ""
        except LedgerError:
            if report.differs is None:
                raise  # the unreadable record is a separate finding
            return ""  # the finding is reported without a time

    dead, live = _open_calls(db, run)
    silences, notices = silences_in(run.heartbeats)
    return VerifyFindings(
        audit=run.audit,
        report=report,
        root_of=root_of,
        believed=believed,
        time_of=time_of,
        stored=run.tables.head.note if run.tables.head is not None else "",
        seal=run.seal,
        since=run.since,
        dead=tuple(dead),
        live=live,
        heartbeats=len(run.heartbeats),
        silences=silences,
        notices=notices,
        uses=run.tables.uses or Uses(),
        leaf_of=lambda seq: _leaf(reader, seq),
    )


def _leaf(reader: LedgerReader | None, seq: int) -> str:
    leaf = reader.storage.leaf(seq) if reader is not None else None
    return leaf.hex() if leaf is not None else ""


def silences_in(beats: list[tuple[int, str, int]]) -> tuple[int, tuple[str, ...]]:
    """Count the gaps between heartbeats that are longer than two intervals, and report the
    longest.
    """
    gaps: list[tuple[float, int, int]] = []
    for (one, began, interval), (two, ended, _) in itertools.pairwise(beats):
        try:
            gap = (datetime.fromisoformat(ended) - datetime.fromisoformat(began)).total_seconds()
        except MALFORMED:  # a time may lack its zone
            continue
        if gap > 2 * interval + 1:
            gaps.append((gap, one, two))
    if not gaps:
        return 0, ()
    longest, one, two = max(gaps)
    words = (
        f"Between heartbeats there {agree(len(gaps), 'was')} {counted(len(gaps), 'gap')}, the "
        f"longest of {longest:.0f} s between records {one} and {two}: no writer was running, or "
        "someone stopped it. The log can't show which."
    )
    return len(gaps), (words,)


def _open_calls(db: Path, run: VerifyRun) -> tuple[list[OpenCall], int]:
    leases = Leases(leases_path(db))
    dead, live = [], 0
    for call in run.tables.open_calls:
        # The line is used, because an attacker who writes only the table must not be able to make a
        # dead process look alive.
        process, host, pid = run.tables.owners.get(call.call, (call.process, None, None))
        try:
            state = leases.process_state(
                process, call.host if host is None else host, call.pid if pid is None else pid
            )
        except OSError:
            state = ProcessState.UNKNOWN
        if state is ProcessState.DEAD:
            dead.append(call)
        else:
            live += 1
    return dead, live
