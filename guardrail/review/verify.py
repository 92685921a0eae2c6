"""Verify a ledger or an export: what is proved, what is not, and the first record that is not as it must be.

Reads only, in constant memory, from a live ledger as well as from a copy in a folder that can't be written.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from guardrail.core.chain import Chain, Difference, Head, Report
from guardrail.core.record import MAX_LINE
from guardrail.errors import GuardrailError, LedgerError, LedgerOpenError
from guardrail.ledger.files import Seal, leases_path
from guardrail.ledger.lease import Leases, Life
from guardrail.ledger.reader import LedgerReader
from guardrail.ledger.sqlite import COLUMNS, SCHEMA
from guardrail.ledger.store import OpenCall

__all__ = [
    "HeadError",
    "Progress",
    "VerifyReport",
    "VerifyState",
    "load_head",
    "verify_export",
    "verify_ledger",
]

Progress = Callable[[int, int], None]
"""Called with (records verified, records there were at the start), every few hundred records."""

_CHUNK = 512

_TORN = ("ledger.damaged", "ledger.not_a_ledger", "ledger.query")

_NO_HEAD = (
    "NOT ANCHORED: no head from outside this file was given. Cutting the tail, bringing back an older copy, or "
    "rewriting the log with new hashes would not show."
)
_UNSIGNED = (
    "Heads are not signed in this version: a head proves no more than the place it was kept in."
)


class VerifyState(StrEnum):
    """What verifying came to."""

    ANCHORED = "anchored"
    """Intact, and it contains the given head."""
    NOT_ANCHORED = "not_anchored"
    """Intact as far as a chain alone can show."""
    OPEN_CALLS = "open_calls"
    """Intact and anchored, but calls of dead processes are open: a writer closes them when it opens the ledger."""
    TAMPERED = "tampered"
    """Something is not as it must be: ``first_bad`` and ``differs`` say what."""
    MISSING = "missing"
    """There is no ledger at this path."""
    DAMAGED = "damaged"
    """The file is torn or can't be decoded."""
    UNREADABLE = "unreadable"
    """It can't be opened or read: permission, I/O error, newer format."""


class HeadError(GuardrailError):
    """The given head can't be used."""

    default_code = "verify.head"


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """The answer of ``verify``."""

    state: VerifyState
    exit_code: int
    """0 intact and covered; 1 tampered; 3 could not find out; 5 intact with a reservation (design section 9)."""
    detail: str = ""
    """What is wrong, in words; holds nothing that a record holds."""
    first_bad: int | None = None
    """Sequence number of the first record that is not as it must be, where it is about one record."""
    differs: Difference | None = None
    log: str = ""
    records: int = 0
    """Records found good, from the start."""
    last_seq: int = -1
    leaf: str = ""
    """Leaf of ``last_seq``, hex: with ``log`` and ``records`` the head of what was verified."""
    anchored_to: int | None = None
    """Last sequence number that the given head covers."""
    dead_calls: tuple[OpenCall, ...] = ()
    """Open calls of dead processes."""
    live_calls: int = 0
    """Open calls of processes that live, or may live."""
    notices: tuple[str, ...] = ()
    """Worth knowing, and no reason for a reservation."""
    not_proved: tuple[str, ...] = ()
    """What this run did not show."""


@dataclass(slots=True)
class _Run:
    """What one verification of a database gathers."""

    head: Head | None
    chain: Chain = field(default_factory=Chain)
    at_head: bytes | None = None
    """Leaf of the last record that the head covers."""
    at_seal: bytes | None = None
    seal: Seal | None = None
    open_rows: list[tuple[Any, ...]] = field(default_factory=list)
    processes: dict[str, object] = field(default_factory=dict)
    """Call id -> ``origin.process`` of its decision, for open calls."""
    unopened: str = ""


def load_head(path: Path) -> Head:
    """Return the head in a JSON file ``{"log", "size", "leaf"}``. Raises ``HeadError``."""
    try:
        data = json.loads(path.read_bytes())
        log, size, leaf = data["log"], data["size"], bytes.fromhex(data["leaf"])
    except OSError as error:
        raise HeadError(f"the head can't be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise HeadError(
            "the head file is not a head",
            hint='a head is {"log": "...", "size": 12, "leaf": "64 hex characters"}',
        ) from None
    if (
        not isinstance(log, str)
        or not isinstance(size, int)
        or isinstance(size, bool)
        or size < 0
        or len(leaf) != 32
    ):
        raise HeadError("the head file is not a head")
    return Head(log, size, leaf)


def verify_ledger(
    path: Path, *, head: Head | None = None, progress: Progress | None = None
) -> VerifyReport:
    """Recompute the chain, the generated columns, the indexes and the table of open calls from the lines.

    Never raises for what it finds: every finding is a state. *head* is one that was kept elsewhere.
    """
    db = Path(os.path.realpath(path))
    covered = head is not None and head.size > 0
    if not db.exists():
        return VerifyReport(
            VerifyState.MISSING, 1 if covered else 3, "there is no ledger at this path"
        )
    run = _Run(head, seal=Seal.read(db))
    try:
        with _readable(db) as reader:
            schema = reader.objects()
            _stream(reader, run, columns=schema == SCHEMA, progress=progress)
            report = run.chain.report()
            if report.first_bad is None:
                report = _compare_rest(reader, run, report, same_schema=schema == SCHEMA)
    except LedgerError as error:
        report = run.chain.report()
        if report.first_bad is None:
            torn = error.code in _TORN
            state = VerifyState.DAMAGED if torn else VerifyState.UNREADABLE
            return _base(report, state, 1 if covered and torn else 3, error.message)
    return _judge(db, run, report)


def _base(report: Report, state: VerifyState, exit_code: int, detail: str) -> VerifyReport:
    return VerifyReport(
        state,
        exit_code,
        detail,
        first_bad=report.first_bad,
        differs=report.differs,
        log=report.log,
        records=report.records,
        last_seq=report.last_seq,
        leaf=report.leaf.hex() if report.records else "",
    )


def _judge(db: Path, run: _Run, report: Report) -> VerifyReport:
    problem = _against_heads(run, report)
    if report.first_bad is None and report.differs is None and problem:
        report = replace(report, differs=Difference.HEAD, detail=problem)
    notices = _notices(run, report)
    if report.first_bad is not None or report.differs is not None:
        return replace(_base(report, VerifyState.TAMPERED, 1, report.detail), notices=notices)
    dead, live = _open_calls(db, run)
    head = run.head
    not_proved = [] if head is not None else [_NO_HEAD]
    if head is not None:
        not_proved.append(_UNSIGNED)
        if head.size < report.records:
            not_proved.append(
                f"Records {head.size} to {report.last_seq} came after the head: nothing covers them."
            )
    state, code = VerifyState.ANCHORED, 0
    if head is None or head.size == 0:
        state, code = VerifyState.NOT_ANCHORED, 5
    elif dead:
        state, code = VerifyState.OPEN_CALLS, 5
    return replace(
        _base(report, state, code, ""),
        anchored_to=head.size - 1 if head is not None and head.size else None,
        dead_calls=tuple(dead),
        live_calls=live,
        notices=notices,
        not_proved=tuple(not_proved),
    )


def _against_heads(run: _Run, report: Report) -> str:
    """Say how the log fails to contain the given head, or what its own seal says was acknowledged."""
    head = run.head
    if head is not None and head.size > 0:
        if report.log != head.log:
            return "this is another log than the one that the head belongs to"
        if report.records < head.size:
            return f"the log ends at record {report.last_seq}, but the head covers record {head.size - 1}: cut or rolled back"
        if run.at_head != head.leaf:
            return f"record {head.size - 1} is not the one that the head names: forked or rewritten"
    seal = run.seal
    if (
        seal is not None
        and seal.last_seq >= 0
        and run.at_seal is not None
        and run.at_seal.hex() != seal.last_leaf
    ):
        return f"record {seal.last_seq} is not the one that was acknowledged before the ledger was sealed"
    if seal is not None and seal.last_seq > report.last_seq:
        return f"records up to {seal.last_seq} were acknowledged before the ledger was sealed; it ends at {report.last_seq}"
    return ""


def _notices(run: _Run, report: Report) -> tuple[str, ...]:
    notices = []
    if run.seal is not None:
        notices.append("The ledger is sealed: nothing is written to it before `guardrail recover`.")
    if report.backwards:
        notices.append(
            f"Time went back {report.backwards} times, first at record {report.first_backwards}."
        )
    return tuple(notices)


def _open_calls(db: Path, run: _Run) -> tuple[list[OpenCall], int]:
    leases = Leases(leases_path(db))
    dead, live = [], 0
    for row in run.open_rows:
        call = OpenCall(*row)
        try:
            life = leases.life(call.process, call.host, call.pid)
        except OSError:
            life = Life.UNTOLD
        if life is Life.DEAD:
            dead.append(call)
        else:
            live += 1
    return dead, live


# -- reading ------------------------------------------------------------------------------------------------------------


@contextmanager
def _readable(db: Path) -> Iterator[LedgerReader]:
    """Open *db* read-only; where its folder can't be written, which SQLite needs for shared memory, a copy of it."""
    if os.access(db.parent, os.W_OK):
        with LedgerReader.open(db) as reader:
            yield reader
        return
    # Nobody on this mount can write here, so the files hold still. (Never done beside a writer of this process: closing
    # the copied file would drop its locks.)
    wal = db.with_name(db.name + "-wal")
    if not wal.exists() or wal.stat().st_size == 0:
        with LedgerReader(db, immutable=True) as reader:
            yield reader
        return
    with tempfile.TemporaryDirectory(prefix="guardrail-verify-") as folder:
        copy = Path(folder) / "copy.db"
        try:
            shutil.copyfile(db, copy)
            shutil.copyfile(wal, copy.with_name("copy.db-wal"))
        except OSError as error:
            raise LedgerOpenError(
                f"the ledger can't be copied: {error.strerror}", code="ledger.unreadable"
            ) from None
        with LedgerReader.open(copy) as reader:
            yield reader


def _stream(reader: LedgerReader, run: _Run, *, columns: bool, progress: Progress | None) -> None:
    """Feed every row to the chain, and with the last ones, in one transaction, read the table of open calls."""
    total = reader.size()
    chain = run.chain
    names = list(COLUMNS) if columns else []
    plain = f"SELECT seq, leaf, CAST(line AS BLOB) FROM record WHERE seq >= ? ORDER BY seq LIMIT {_CHUNK}"  # noqa: S608
    shown = plain.replace(" FROM", "".join(f", {name}" for name in names) + " FROM")
    last = -1
    while True:
        with reader.snapshot():
            try:
                rows = reader.query(shown, last + 1)
            except LedgerError as error:
                if error.code != "ledger.query":
                    raise
                # A line that is not JSON to SQLite: which one is for the chain to say.
                rows, names = reader.query(plain, last + 1), []
            if len(rows) < _CHUNK and columns:
                run.open_rows = reader.query(
                    "SELECT call, seq, process, host, pid FROM open_call ORDER BY seq"
                )
        for row in rows:
            last = row[0]
            record = chain.take(row[0], row[1], row[2])
            if record is None:
                return
            _note(run, row[0], row[1], record)
            wrong = _wrong_column(names, row[3:], record)
            if wrong:
                chain.reject(
                    row[0], Difference.COLUMN, f"column {wrong} does not show what the line says"
                )
                return
        if columns and not names:
            chain.reject(
                chain.next_seq - 1,
                Difference.COLUMN,
                "near here a line is not JSON to SQLite's functions",
            )
            return
        if progress is not None:
            progress(chain.next_seq, max(total, chain.next_seq))
        if len(rows) < _CHUNK:
            return


def _note(run: _Run, seq: int, leaf: bytes, record: dict[str, Any]) -> None:
    if run.head is not None and seq == run.head.size - 1:
        run.at_head = leaf
    if run.seal is not None and seq == run.seal.last_seq:
        run.at_seal = leaf
    type_ = record["type"]
    if type_ == "call.decision":
        decision, origin = record.get("decision"), record.get("origin")
        if isinstance(decision, dict) and decision.get("effect") == "allow":
            run.processes[str(record.get("call"))] = (
                origin.get("process") if isinstance(origin, dict) else None
            )
    elif type_ == "call.outcome":
        run.processes.pop(str(record.get("call")), None)


def _wrong_column(names: list[str], values: tuple[Any, ...], record: dict[str, Any]) -> str:
    for name, value in zip(names, values, strict=True):
        expected: Any = record
        for step in COLUMNS[name]:
            expected = expected.get(step) if isinstance(expected, dict) else None
        if expected == value:
            continue
        # SQLite before 3.45 ends a string at a NUL character.
        if (
            isinstance(expected, str)
            and isinstance(value, str)
            and expected.partition("\0")[0] == value
        ):
            continue
        return name
    return ""


def _compare_rest(reader: LedgerReader, run: _Run, report: Report, *, same_schema: bool) -> Report:
    """Compare what is not the lines: schema, table of open calls, indexes."""
    if not same_schema:
        return replace(
            report,
            differs=Difference.SCHEMA,
            detail="the tables, indexes or triggers are not the ones that guardrail makes",
        )
    stored = {row[0]: (row[1], row[2]) for row in run.open_rows}
    for call, seq in report.open_calls.items():
        process, row = run.processes.get(call), stored.pop(call, None)
        if row is None or row[0] != seq or process not in (None, row[1]):
            return replace(
                report,
                first_bad=seq,
                differs=Difference.OPEN_CALLS,
                detail="the call is open by its lines, but the table of open calls does not say so",
            )
    if stored:
        seq = min(row[0] for row in stored.values())
        return replace(
            report,
            first_bad=seq,
            differs=Difference.OPEN_CALLS,
            detail="the table of open calls names a call that is not open",
        )
    answer = [str(row[0]) for row in reader.query("PRAGMA integrity_check(1)")]
    if answer == ["ok"]:
        return report
    if " index " in answer[0]:
        return replace(
            report, differs=Difference.INDEX, detail="an index leads queries past records"
        )
    raise LedgerError(
        "the ledger can't be read: its pages contradict each other", code="ledger.damaged"
    )


# -- exports ------------------------------------------------------------------------------------------------------------


def verify_export(
    path: Path, *, head: Head | None = None, progress: Progress | None = None
) -> VerifyReport:
    """Verify a JSON Lines export. An export stores no hashes: an edited line shows in the link of the one after it.

    Never raises for what it finds.
    """
    covered = head is not None and head.size > 0
    run = _Run(head)
    chain = run.chain
    torn = False
    try:
        total = path.stat().st_size
        with path.open("rb") as lines:
            seq = 0
            while line := lines.readline(MAX_LINE + 2):
                torn = not line.endswith(b"\n") and len(line) <= MAX_LINE
                if torn or chain.take(seq, None, line.removesuffix(b"\n")) is None:
                    break
                if head is not None and seq == head.size - 1:
                    run.at_head = chain.report().leaf
                seq += 1
                if progress is not None and seq % _CHUNK == 0:
                    progress(lines.tell(), total)
    except FileNotFoundError:
        return VerifyReport(
            VerifyState.MISSING, 1 if covered else 3, "there is no file at this path"
        )
    except OSError as error:
        return VerifyReport(VerifyState.UNREADABLE, 3, f"the file can't be read: {error.strerror}")
    report = chain.report()
    if report.first_bad is None and (torn or not report.records):
        detail = (
            "the last line has no end: the file is torn" if torn else "the file holds no record"
        )
        return _base(report, VerifyState.DAMAGED, 1 if covered else 3, detail)
    return _judge(path, run, report)
