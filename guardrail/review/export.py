"""Exports records from the ledger, byte for byte as they were stored and hashed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

from guardrail.core.log.checkpoint import Checkpoint, SignedNote
from guardrail.core.log.record import leaf_hash
from guardrail.errors import LedgerError, NoteError
from guardrail.ledger.reader import LedgerReader
from guardrail.review.records import RecordReader

__all__ = ["ExportSummary", "export_lines", "head_to_export"]


@dataclass(frozen=True, slots=True)
class ExportSummary:
    """Summary of an export."""

    records: int
    bytes: int
    head: str
    """Leaf of the last line, in hex, or an empty string if there is none."""


def head_to_export(reader: LedgerReader) -> tuple[SignedNote, int]:
    """Return the ledger's signed head, unverified, and the number of records that it covers.

    Raises ``LedgerError`` if the head is missing or malformed, or does not cover exactly the
    existing records.
    """
    with reader.snapshot():
        row = reader.storage.head()
        size = reader.size()
    try:
        note = SignedNote.parse(row.note) if row is not None else None
        covers = Checkpoint.parse(note.text).size if note is not None else -1
    except NoteError:
        note, covers = None, -1
    if note is None or covers != size:
        raise LedgerError(
            "the ledger's signed head is missing, or does not cover exactly the existing records",
            code="ledger.head",
            hint="guardrail verify",
        )
    return note, size


def export_lines(
    records: RecordReader,
    out: BinaryIO,
    *,
    size: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ExportSummary:
    """Write the first *size* records, or all current ones, to *out*, each followed by a line feed.
    Uses constant memory.

    Because records are never changed, the export is consistent although writers are not blocked.
    """
    total = records.size() if size is None else size
    count = size = 0
    last = b""
    for seq, _, line in records.lines(0, total):
        out.write(line + b"\n")
        count, size, last = count + 1, size + len(line) + 1, line
        if progress is not None and seq % 256 == 0:
            progress(count, total)
    return ExportSummary(count, size, leaf_hash(last).hex() if count else "")
