"""Takes a consistent, single-file snapshot of a log's database while writers are active."""

from __future__ import annotations

import contextlib
from pathlib import Path

from guardrail.ledger.sqlite.database import connect_file
from guardrail.ledger.sqlite.read_only import connect_anywhere

__all__ = ["copy_database"]


def copy_database(db: Path, target: Path) -> None:
    """Copy the current state of *db* into the empty file *target*. The copy is not synced.

    Raises ``LedgerOpenError``, ``sqlite3.Error`` and ``OSError``.
    """
    with contextlib.ExitStack() as undo:
        source, standing = connect_anywhere(db)
        if standing is not None:
            undo.callback(standing.close)
        undo.callback(source.close)
        copy = connect_file(target)
        undo.callback(copy.close)
        # The copy is made in one step: otherwise, each commit of a writer would restart it.
        source.backup(copy)
        # The copy is a single file, which can be read even if its folder is read-only.
        copy.execute("PRAGMA journal_mode = DELETE")
        if standing is not None:
            standing.check()
