"""Prunes inside the database: deletes records, keeps their hashes, and overwrites their text."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from guardrail.errors import LedgerError
from guardrail.ledger.sqlite.limits import MAX_VALUE
from guardrail.ledger.sqlite.located import block_end, forget_pruned, mend_block
from guardrail.ledger.sqlite.tree import Execute

__all__ = ["delete_records", "overwrite_deleted", "overwrite_wal", "pruned_before"]


def pruned_before(execute: Execute) -> int:
    """Return the number below which records were pruned, except line 0, or 1 if none were."""
    row = execute("SELECT before FROM pruned WHERE id = 0").fetchone()
    return row[0] if row is not None else 1


def delete_records(execute: Execute, before: int, keep_leaves: Callable[[int], None]) -> int:
    """Delete the records from 1 to *before* - 1 inside the transaction, and return their number.

    *keep_leaves* stores their leaf hashes. Raises ``LedgerError`` if one of their calls is open, if
    a key that they certify is still in use, or if they were already pruned; ``ValueError`` if a
    leaf hash is missing; and ``sqlite3.Error``.
    """
    if pruned_before(execute) >= before:
        raise LedgerError("these records have already been pruned", code="ledger.pruned")
    for query in (
        "SELECT 1 FROM call WHERE open = 1 AND decision < ? LIMIT 1",
        "SELECT 1 FROM epoch WHERE seq < ? LIMIT 1",
    ):
        if execute(query, (before,)).fetchone() is not None:
            raise LedgerError(
                "a call among these records is open, or a key that they certify still signs",
                code="ledger.needed",
            )
    keep_leaves(before)
    execute("REPLACE INTO pruned (id, before) VALUES (0, ?)", (before,))
    lines = "SELECT seq, CAST(line AS BLOB) FROM record WHERE seq >= ? AND seq < ? ORDER BY seq"
    # The rows are read first, because deleting some might disturb a running query.
    forget_pruned(execute, execute(lines, (1, before)).fetchall(), before)
    gone = execute("DELETE FROM record WHERE seq > 0 AND seq < ?", (before,)).rowcount
    mend_block(execute, execute(lines, (before, block_end(before))).fetchall())
    return gone


def overwrite_deleted(execute: Execute) -> None:
    """Overwrite the text of rows that this connection deletes from now on. Raises
    ``sqlite3.Error``.
    """
    execute("PRAGMA secure_delete = ON")


def overwrite_wal(connection: sqlite3.Connection, size: int) -> bool:
    """Overwrite the ``-wal``, *size* bytes long, with zeros. Return True if no older content is
    left in it.

    The files do not shrink, because other writers would treat them as truncated. Raises
    ``sqlite3.Error``.
    """
    if not size:
        return True
    execute = connection.execute
    before = _restart(execute)
    if before is None:
        return False
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, max(MAX_VALUE, size + 1024))
    execute("BEGIN IMMEDIATE")
    # Pages that a transaction fills and frees again are still written, as zeros.
    execute("INSERT INTO tile VALUES (-1, 0, zeroblob(?))", (size,))
    execute("DELETE FROM tile WHERE level = -1")
    execute("COMMIT")
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_VALUE)
    after = _restart(execute)
    return after is not None and size <= 32 + after * 4120 and after < before + size // 4120


def _restart(execute: Execute) -> int | None:
    """Copy the ``-wal`` into the database, so that the next commit writes to the beginning of the
    ``-wal``.

    Return the number of frames in the ``-wal``, or None if a reader prevents this.
    """
    busy, frames, copied = execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
    return None if busy or frames != copied else int(frames)
