"""Migrates a log of an earlier format, in its file. No line, hash or signature changes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from guardrail.core.words import agree, counted
from guardrail.errors import LedgerError, LedgerOpenError
from guardrail.ledger.files import leases_path, lock_path, missing_ledger, resolve
from guardrail.ledger.lease import Leases, ProcessState
from guardrail.ledger.lock import FileLock
from guardrail.ledger.reader import LedgerReader
from guardrail.ledger.sqlite.database import FORMAT, SQLiteError, open_error, reason
from guardrail.ledger.sqlite.format2 import OLD_VERIFY, migrate
from guardrail.ledger.sqlite.handles import SharedLock
from guardrail.system.disk import WORK

__all__ = ["Upgrade", "upgrade"]

_SHARE = 4
"""The size of the log divided by the free space that an upgrade needs: SQLite first writes the new
tables to its ``-wal``, and overwrites the old indexes.
"""


@dataclass(frozen=True, slots=True)
class Upgrade:
    """The result of ``upgrade``."""

    path: Path
    changed: bool
    """False if the log already had the current format."""
    format: int
    log: str
    records: int
    """Number of records, including pruned ones."""


def upgrade(path: Path) -> Upgrade:
    """Migrate the log at *path* to the current format; durable when this returns. If this raises an
    exception, or if the process is killed, the log has either the old or the new format, and all of
    its records.

    Raises ``LedgerError``: ``ledger.in_use`` if a process has the log open, ``ledger.timeout`` if
    another process holds its lock, ``ledger.older_format`` or ``ledger.newer_format`` for a format
    that can't be migrated, ``ledger.schema`` if the file has objects that no log of its format has,
    ``ledger.oversized`` if it has a value that is longer than any that guardrail writes.
    """
    if not os.path.exists(path):
        raise missing_ledger()
    db = resolve(Path(path))
    lock = FileLock(lock_path(db), db)
    try:
        if not lock.try_acquire():
            raise LedgerError(
                "another process holds the ledger's lock",
                code="ledger.timeout",
                hint="guardrail doctor",
            )
        alive = _alive(db)
        if alive:
            raise LedgerError(
                f"{counted(len(alive), 'process')} {agree(len(alive), 'has')} this ledger open",
                code="ledger.in_use",
                hint="stop these processes first, because they use the old format",
            )
        changed = migrate(db)
    except (OSError, SQLiteError) as error:
        raise _failed(error, db) from error
    finally:
        lock.close()
    with LedgerReader.open(db) as reader:
        return Upgrade(db, changed, FORMAT, reader.log, reader.size())


def _failed(error: SQLiteError | OSError, db: Path) -> LedgerError:
    """Return the error for an upgrade that failed because of the disk or a damaged file."""
    with suppress(OSError):
        needed = WORK + os.stat(db).st_size // _SHARE
        if not isinstance(error, OSError) and reason(error) == "SQLITE_TOOBIG":
            return LedgerOpenError(
                "the ledger contains a value that is longer than any that guardrail writes",
                code="ledger.oversized",
                hint=OLD_VERIFY,
            )
        found = open_error(error, db, needed=needed)
        if found.code == "ledger.damaged":
            # No other command of this version reads format 2.
            return LedgerOpenError(
                found.message,
                code=found.code,
                hint="run guardrail recover with the version of guardrail that wrote this ledger",
            )
        return found
    return open_error(error, db)


def _alive(db: Path) -> Sequence[str]:
    """Return the processes that may have the log open for writing."""
    leases = Leases(leases_path(db))
    alive = [
        process
        for process in leases.processes()
        if leases.process_state(process) is not ProcessState.DEAD
    ]
    return alive or (["this process"] if SharedLock.held(db) else [])
