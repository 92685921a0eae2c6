"""Verifies a ledger, and reports what is proved, the limits of the proof, and the first bad record.

Reads only, in constant memory, both from a live ledger and from a copy in a read-only folder.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from guardrail.core.log.audit import Audit, Pruned
from guardrail.core.log.chain import Difference, Head, Report
from guardrail.core.log.record import MALFORMED, decode
from guardrail.errors import LedgerError, RecordError
from guardrail.keys.log_key import verify_signature
from guardrail.ledger.locators import LocatorWalk, missing_place
from guardrail.ledger.reader import LedgerReader
from guardrail.ledger.seal import Seal
from guardrail.ledger.tiles import TileWalk
from guardrail.review.verify.judge import judge
from guardrail.review.verify.oversized import OVERSIZED, find_oversized
from guardrail.review.verify.parts import stream_in_parts
from guardrail.review.verify.reading import readable
from guardrail.review.verify.report import (
    OutsideHead,
    Progress,
    VerifyReport,
    VerifyState,
    not_readable,
    not_there,
)
from guardrail.review.verify.run import VerifyRun, found
from guardrail.review.verify.stream import (
    read_tables,
    recovered_before,
    stored_edge,
    stream,
)
from guardrail.review.verify.tables import Problem, compare_tables, missed_record
from guardrail.review.verify.uses import Uses

__all__ = ["verify_ledger"]

_ANEW = 3
"""Maximum number of times that a ledger is reread because records were pruned meanwhile. The limit
ends the verification even if the mark of pruned records keeps changing.
"""
_FOREIGN = ("ledger.schema", OVERSIZED, "ledger.endless")
"""States that neither a writer nor a disk fault can cause: someone constructed the file."""
_NUMBERED = ("record", "call", "place", "epoch")
"""Tables in which each row names a record."""
_TORN = ("ledger.damaged", "ledger.not_a_ledger", "ledger.query")


def verify_ledger(
    path: Path,
    *,
    key: str | None = None,
    heads: Sequence[OutsideHead] = (),
    since: int = 0,
    jobs: int = 1,
    progress: Progress | None = None,
) -> VerifyReport:
    """Recompute everything that follows from the lines, and compare the results with the stored
    values and with *heads*.

    Problems in the ledger become states in the report; they never raise an exception. *key* is the
    log's public key in hex, obtained outside the log; *heads* are external heads, or heads that
    this machine remembers. If *since* is given, only records from that number on are read, and the
    tree before them is taken from its stored leaves. *jobs* is the number of processes that read a
    large ledger.
    """
    db = Path(os.path.realpath(path))
    for _ in range(_ANEW):
        pruned = _pruned_before(db)
        report = _verify_once(db, key=key, heads=heads, since=since, jobs=jobs, progress=progress)
        # Records that were pruned with proof just before they were read are not missing.
        if report.exit_code != 1 or _pruned_before(db) == pruned:
            break
    return report


def _pruned_before(db: Path) -> int | None:
    """Return the number below which records are marked as pruned, or None if the mark can't be read
    or the ledger's folder is read-only.
    """
    if not os.access(db.parent, os.W_OK):
        return None
    try:
        with LedgerReader.open(db) as reader:
            return reader.storage.pruned_before()
    except LedgerError:
        return None


def _verify_once(
    db: Path,
    *,
    key: str | None,
    heads: Sequence[OutsideHead],
    since: int,
    jobs: int,
    progress: Progress | None,
) -> VerifyReport:
    if not db.exists():
        return not_there(heads)
    watch = tuple({each.head.size for each in heads if each.head is not None})
    audit = Audit(verify_signature, watch=watch)
    run = VerifyRun(audit, seal=Seal.read(db), since=since, watch=watch)
    try:
        with readable(db) as reader:
            try:
                _read(reader, run, jobs=jobs, progress=progress)
                report = run.audit.chain.report()
                if report.first_bad is None and run.problem is None:
                    _compare_rest(reader, run, report)
                return _report(db, reader, run, key, heads)
            except LedgerError as error:
                if not _is_explained(reader, run, error):
                    raise
            return _report(db, reader, run, key, heads)
    except LedgerError as error:
        report = run.audit.chain.report()
        if report.first_bad is not None or run.problem is not None:
            return judge(found(db, run, report, None), key, heads)
        if error.code in _FOREIGN:
            return VerifyReport(
                VerifyState.TAMPERED, 1, error.message, log=report.log, differs=Difference.SCHEMA
            )
        return not_readable(heads, report, error.message, torn=error.code in _TORN)


def _is_explained(reader: LedgerReader, run: VerifyRun, error: LedgerError) -> bool:
    """Look for the value that caused *error*. Return True if a value explains the error. Raises
    ``LedgerError``.

    A value whose type differs from the column's, or that is too long, can't even be fetched.
    """
    oversized = error.code == OVERSIZED
    if oversized and run.audit.chain.report().first_bad is not None:
        return True
    run.problem = (find_oversized(reader) or run.problem) if oversized else None
    run.problem = run.problem or _compare_values(reader, "record")
    return run.problem is not None


def _read(reader: LedgerReader, run: VerifyRun, *, jobs: int, progress: Progress | None) -> None:
    """Pass every row to the audit, and then read the rest of the database."""
    fault = reader.storage.schema_fault()
    run.same_schema = not fault
    if fault:
        run.problem = (
            None,
            Difference.SCHEMA,
            f"the tables, indexes or triggers differ from guardrail's: {fault}",
        )
    tables = run.tables
    if run.same_schema:
        surplus = reader.storage.surplus_fault()
        run.problem = (None, Difference.ROWS, surplus) if surplus else None
        run.problem = run.problem or _compare_values(
            reader, "call", "place", "epoch", "tile", "head", "pruned"
        )
        if run.problem is not None:
            return
        read_tables(reader, tables)
        _begin(reader, run)
        if run.problem is not None:
            return
    total = reader.size()
    if not run.same_schema:
        # Only the lines are examined, because the other tables can't be trusted.
        for seq, leaf, line in reader.lines():
            if run.audit.take(seq, leaf, line) is None:
                return
        return
    tables.uses = Uses(missing=max(run.since, run.audit.pruned))
    tables.locators = LocatorWalk(reader.storage, partial=run.since)
    start = run.since
    tiles = run.tiles if run.tiles is not None else TileWalk(reader.storage)
    if jobs > 1 and not run.since and not run.audit.pruned:
        start = stream_in_parts(
            reader,
            run.audit,
            tiles,
            tables,
            jobs=jobs,
            total=total,
            progress=progress,
            alongside=lambda: _check_storage_concurrently(reader, run),
        )
    problem = stream(
        reader,
        run.audit,
        tiles,
        start=start,
        stop=None,
        tables=tables,
        total=total,
        progress=progress,
    )
    if problem:
        run.problem = (None, Difference.TILE, problem)
    for seq, line in reader.admin("admin.heartbeat"):
        _remember_heartbeat(run, seq, line)


def _begin(reader: LedgerReader, run: VerifyRun) -> None:
    """Prepare *run* to start after the pruned records, and at *since*."""
    before = run.tables.pruned
    pruned = reader.pruned(before) if before else None
    if before and pruned is None:
        run.problem = (
            1,
            Difference.PRUNED,
            "records are marked as pruned, but no record proves it",
        )
        return
    if pruned is not None and not _begin_pruned(reader, run, pruned):
        return
    run.audit = Audit(verify_signature, pruned=pruned, watch=run.watch)
    if run.since:
        run.since = min(max(run.since, before), reader.size())
        _begin_since(reader, run)


def _begin_pruned(reader: LedgerReader, run: VerifyRun, pruned: Pruned) -> bool:
    """Build the tree of the pruned records from their stored hashes. Return True if it matches the
    record of the pruning.
    """
    run.tiles = TileWalk(reader.storage)
    kept = run.tiles.kept(pruned, run.watch)
    run.kept = kept.roots
    if kept.problem:
        run.problem = (1, Difference.PRUNED, kept.problem)
    elif kept.wrong:
        run.problem = (1, Difference.TILE, kept.wrong[0].text)
    return run.problem is None


def _begin_since(reader: LedgerReader, run: VerifyRun) -> None:
    missed = missing_place(reader.storage, stop=run.since)
    if missed is not None:
        run.problem = missed_record(missed, "place")
        return
    start, tiles = run.since, TileWalk(reader.storage)
    edge, genesis = stored_edge(reader, start), reader.record(0)
    leaf = reader.storage.leaf(start - 1)
    try:
        tiles.resume(start)
    except ValueError:
        edge = None
    if edge is None or genesis is None or leaf is None:
        run.since = 0
        return
    opening = Audit(verify_signature)
    if opening.take(0, None, genesis) is None:
        run.since = 0
        return
    log = opening.chain.report().log
    after = Head(log, start, leaf)
    run.audit = Audit(verify_signature, after=after, edge=edge, watch=run.watch)
    run.tiles = tiles
    run.audit.begin(log, opening.public)
    assert run.audit.keys is not None
    for seq, line in reader.admin("admin.key_rotated"):
        if seq < start:
            try:
                run.audit.keys.take(seq, decode(line))
            except RecordError:
                # This run does not read the record, so the certificate's signature is checked
                # instead.
                continue
    run.audit.recovered += recovered_before(reader, start)


def _remember_heartbeat(run: VerifyRun, seq: int, line: bytes) -> None:
    try:
        record = decode(line)
        interval, ts = record["detail"]["interval_s"], record["ts"]
        if isinstance(interval, int | float) and isinstance(ts, str):
            run.heartbeats.append((seq, ts, int(interval)))
    except (*MALFORMED, RecordError):
        return


# -- everything but the lines -------------------------------------------------------------------


def _compare_rest(reader: LedgerReader, run: VerifyRun, report: Report) -> None:
    """Compare the tables, the head and the indexes with the lines. Record the first difference."""
    if not report.records:
        run.problem = (
            None,
            Difference.HEAD,
            "wiped: the ledger contains no record, not even line 0",
        )
        return
    run.problem = compare_tables(run.tables, run.audit, report, since=run.since)
    if run.problem is None:
        typed = run.tables.typed
        run.problem = _compare_values(reader, "record", start=typed) or _compare_places(reader)
    if run.problem is not None:
        return
    if run.since:
        reader.storage.bytes_from(0)  # this finds a line that is too long, wherever it is
    (fault,) = run.pages if run.pages is not None else (reader.storage.page_fault(),)
    if fault is None:
        return
    if fault.in_index:
        run.problem = (None, Difference.INDEX, "an index makes queries miss records")
        return
    raise LedgerError(
        "the ledger can't be read: its pages contradict each other", code="ledger.damaged"
    )


def _check_storage_concurrently(reader: LedgerReader, run: VerifyRun) -> None:
    """Query the storage on a separate connection while other processes read records. Failed queries
    are repeated later.
    """
    with suppress(LedgerError), LedgerReader.open(reader.path) as own:
        run.pages = (own.storage.page_fault(),)


def _compare_values(reader: LedgerReader, *tables: str, start: int = 0) -> Problem:
    """Check the schema's constraints with queries, because SQLite does not test them on a
    connection that can't write.
    """
    found = reader.storage.value_fault(*tables, start=start)
    if found is None:
        return None
    table, number = found
    seq = number if table in _NUMBERED and isinstance(number, int) and number >= 0 else None
    return (seq, Difference.ROWS, f"table {table} holds values that the schema forbids")


def _compare_places(reader: LedgerReader) -> Problem:
    fault = reader.storage.row_fault()
    return (None, Difference.ROWS, fault) if fault else None


# -- the answer ------------------------------------------------------------------------------------


def _report(
    db: Path, reader: LedgerReader, run: VerifyRun, key: str | None, heads: Sequence[OutsideHead]
) -> VerifyReport:
    report = run.audit.chain.report()
    return judge(found(db, run, report, reader), key, heads)
