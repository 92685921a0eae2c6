"""Reads a ledger in a location that can't be written to: a read-only volume, or evidence copied as
one file.

SQLite needs shared memory next to a file in WAL mode, even to read that file. If the shared memory
can't be created, because the folder is read-only or its disk is full, the file is read directly or,
if part of its content is still in the ``-wal``, from a private copy.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

from guardrail.errors import LedgerOpenError
from guardrail.ledger.sqlite.database import connect_reader, reason
from guardrail.ledger.sqlite.handles import SharedLock
from guardrail.system.disk import is_full, make_room, why_not_written

__all__ = ["UnsharedFiles", "connect_anywhere"]

_NO_SHARED_MEMORY = ("SQLITE_CANTOPEN", "SQLITE_READONLY")

_Files = tuple[tuple[int, int, int] | None, ...]


class UnsharedFiles:
    """The files of a log that is read without shared memory. Writes to these files during the read
    must be detected.
    """

    def __init__(self, db: Path, files: _Files, copy: Path | None) -> None:
        """Use ``connect_anywhere`` instead."""
        self._db = db
        self._files = files
        self._copy = copy

    def check(self) -> None:
        """Raise ``LedgerOpenError`` if the files have changed since they were opened."""
        if self._copy is None and _files(self._db) != self._files:
            raise _moved()

    def close(self) -> None:
        """Remove the copy, if there is one. Idempotent; the connection must be closed."""
        if self._copy is not None:
            import shutil

            shutil.rmtree(self._copy.parent, ignore_errors=True)


def connect_anywhere(db: Path) -> tuple[sqlite3.Connection, UnsharedFiles | None]:
    """Open *db* as ``connect_reader`` does, even if its folder is read-only.

    Raises ``LedgerOpenError``, ``sqlite3.Error`` and ``OSError``.
    """
    try:
        return connect_reader(db), None
    except sqlite3.OperationalError as error:
        full = is_full(error, db)
        if not full and not reason(error).startswith(_NO_SHARED_MEMORY):
            raise
        # Closing a descriptor of the file would drop the locks that a writer of this process holds.
        if SharedLock.held(db):
            raise
        if not full and os.access(db.parent, os.W_OK, effective_ids=True):
            raise
        if not os.access(db, os.R_OK, effective_ids=True):
            raise
    files = _files(db)
    if files[1] is None or files[1][1] == 0:
        standing = UnsharedFiles(db, files, None)
        connection = connect_reader(db, immutable=True)
    else:
        standing = UnsharedFiles(db, files, _copied(db, files))
        connection = _of_copy(standing)
    try:
        standing.check()
    except BaseException:
        connection.close()
        raise
    return connection, standing


def _of_copy(standing: UnsharedFiles) -> sqlite3.Connection:
    assert standing._copy is not None
    try:
        return connect_reader(standing._copy)
    except BaseException:
        standing.close()
        raise


def _copied(db: Path, files: _Files) -> Path:
    import shutil
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix="guardrail-read-"))
    copy = folder / "copy.db"
    try:
        shutil.copyfile(db, copy)
        shutil.copyfile(f"{db}-wal", f"{copy}-wal")
        if _files(db) != files:
            raise _moved()
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise LedgerOpenError(
            (
                "this user can't write to the ledger's folder, and the ledger can't be "
                f"copied: {why_not_written(error, copy, _size(files))}"
            ),
            code="ledger.unreadable",
            hint=f"{make_room(copy)}; or set TMPDIR to a folder on another disk",
        ) from None
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return copy


def _files(db: Path) -> _Files:
    """Return the inode, size and change time of the database and of its ``-wal``, or None for a
    missing file.
    """
    found: list[tuple[int, int, int] | None] = []
    for path in (f"{db}", f"{db}-wal"):
        entry = None
        with contextlib.suppress(FileNotFoundError):
            about = os.stat(path)
            entry = (about.st_ino, about.st_size, about.st_mtime_ns)
        found.append(entry)
    return tuple(found)


def _size(files: _Files) -> int:
    return sum(each[1] for each in files if each is not None)


def _moved() -> LedgerOpenError:
    return LedgerOpenError(
        (
            "another user is writing to this ledger; reading it now needs write access "
            "to the files next to it, which this user does not have"
        ),
        code="ledger.unreadable",
        hint=(
            "run the command as the ledger's owner, or read a copy that the owner makes "
            "with guardrail backup FILE"
        ),
    )
