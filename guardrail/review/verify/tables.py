"""Compares a ledger's other data (the tables of open calls and keys, and the signed head) with its
lines.
"""

from __future__ import annotations

from guardrail.core.log.audit import Audit
from guardrail.core.log.chain import Difference, Report
from guardrail.core.log.checkpoint import Checkpoint, SignedNote
from guardrail.core.words import counted
from guardrail.errors import NoteError
from guardrail.review.verify.stream import Tables

__all__ = ["Problem", "compare_tables", "missed_record"]

Problem = tuple[int | None, Difference, str] | None
"""A fault: the number of a record (or None), the kind of difference, and a description. None if
there is no fault.
"""


def compare_tables(tables: Tables, audit: Audit, report: Report, *, since: int) -> Problem:
    """Return the first difference between *tables* and the lines."""
    return (
        _open_calls(tables, report, since)
        or _epochs(tables, audit)
        or _head(tables, audit, report)
        or _suspensions(tables, since)
        or _missed(tables)
    )


def _suspensions(tables: Tables, since: int) -> Problem:
    """Compare the newest record of a suspension with the one that the head names."""
    assert tables.head is not None
    assert tables.uses is not None
    right, named = tables.uses.suspensions.version, tables.head.suspended
    if named == right or (not tables.uses.changes and named < since):
        return None
    return (
        None,
        Difference.SUSPENSION,
        "the row of the stored head does not name the suspensions in force",
    )


def _missed(tables: Tables) -> Problem:
    if tables.missed is None:
        return None
    seq, table = tables.missed
    if seq is None:
        return (None, Difference.INDEX, f"table {table} has a row that no record requires")
    return missed_record(seq, table)


def missed_record(seq: int, table: str) -> tuple[int, Difference, str]:
    """Return the fault that the rows of *table* do not lead to record *seq*."""
    return (seq, Difference.INDEX, f"table {table} makes queries miss the record")


def _open_calls(tables: Tables, report: Report, since: int) -> Problem:
    stored = {row.call: (row.seq, row.process) for row in tables.open_calls}
    for call, seq in report.open_calls.items():
        owner, row = tables.owners.get(call), stored.pop(call, None)
        if row is None or row[0] != seq or (owner is not None and owner[0] != row[1]):
            return (
                seq,
                Difference.OPEN_CALLS,
                "the call is open by its lines, but is missing from the table of open calls",
            )
    left = [row[0] for row in stored.values() if row[0] >= since or row[0] < 0]
    if left:
        return (
            min(left) if min(left) >= 0 else None,
            Difference.OPEN_CALLS,
            "the table of open calls names a call that is not open",
        )
    return None


def _epochs(tables: Tables, audit: Audit) -> Problem:
    keys = audit.keys
    assert keys is not None
    lines = {
        (public, reach.certified) for public, reach in keys.epochs.items() if reach.ended is None
    }
    differ = lines ^ {(row.public, row.seq) for row in tables.epochs}
    if not differ:
        return None
    return (
        min(seq for _, seq in differ),
        Difference.EPOCHS,
        "the table of epoch keys does not match the records",
    )


def _head(tables: Tables, audit: Audit, report: Report) -> Problem:
    row = tables.head
    if row is None:
        return (None, Difference.HEAD, "the ledger has no signed head")
    try:
        note = SignedNote.parse(row.note)
        head = Checkpoint.parse(note.text)
    except NoteError:
        return (None, Difference.HEAD, "the stored head is malformed")
    if head.origin != report.log:
        return (None, Difference.HEAD, "the stored head belongs to another log")
    if head.size < report.records:
        return (
            head.size,
            Difference.HEAD,
            (
                f"the signed head covers {counted(head.size, 'record')}: someone without a key "
                "appended the records after it"
            ),
        )
    if head.size > report.records:
        return (
            None,
            Difference.HEAD,
            (
                f"the ledger ends at record {report.last_seq}, but its signed head covers record"
                f" {head.size - 1}"
            ),
        )
    if head.root != audit.edge.root():
        return (None, Difference.HEAD, "the records do not match the stored head")
    if audit.keys is None or audit.keys.signer_of(note, head.size) is None:
        return (
            None,
            Difference.HEAD,
            "the stored head has no valid signature by a key of this log",
        )
    if (row.size, row.leaf, row.edge) != (head.size, report.leaf, audit.edge.encode()):
        return (None, Difference.HEAD, "the row of the stored head does not match the head")
    return None
