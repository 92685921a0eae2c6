"""Opening a ledger to verify it where nothing can be written beside it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from guardrail.errors import LedgerOpenError
from guardrail.ledger.reader import LedgerReader

__all__ = ["readable"]


@contextmanager
def readable(db: Path) -> Iterator[LedgerReader]:
    """Open *db* read-only; where its folder can't be written, which SQLite needs for shared memory, a copy of it."""
    if os.access(db.parent, os.W_OK):
        with LedgerReader.open(db, strict=False) as reader:
            yield reader
        return
    # Nobody on this mount can write here, so the files hold still. (Never done beside a writer of this process: closing
    # the copied file would drop its locks.)
    wal = db.with_name(db.name + "-wal")
    if not wal.exists() or wal.stat().st_size == 0:
        with LedgerReader(db, immutable=True, strict=False) as reader:
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
        with LedgerReader.open(copy, strict=False) as reader:
            yield reader
