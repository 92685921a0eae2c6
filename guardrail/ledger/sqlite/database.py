"""Creates the SQLite database of a log, and opens connections to it. Does not acquire any locks."""

from __future__ import annotations

import glob
import os
import sqlite3
from pathlib import Path
from typing import Any

from guardrail.core.log.merkle import Edge
from guardrail.core.log.record import decode, leaf_hash
from guardrail.errors import LedgerError, LedgerOpenError, os_reason
from guardrail.ledger.files import missing_ledger
from guardrail.ledger.heads import HeadRow, Signing, head_signer, sign_head
from guardrail.ledger.sqlite.constraints import schema_fault
from guardrail.ledger.sqlite.limits import harden
from guardrail.ledger.sqlite.tables import SCHEMA
from guardrail.ledger.sqlite.tree import SQLiteTreeWriter
from guardrail.system.disk import WORK, is_full, make_room, no_room
from guardrail.system.durable import sync_directory
from guardrail.system.ownership import denial_of, find_denial, new_file
from guardrail.system.sqlite import SQLiteConnection

__all__ = [
    "APPLICATION_ID",
    "FORMAT",
    "SCHEMA",
    "UPGRADABLE",
    "SQLiteError",
    "check_format",
    "check_schema",
    "connect",
    "connect_file",
    "connect_reader",
    "create",
    "data_version",
    "full_error",
    "is_damaged",
    "open_error",
    "permission_error",
    "read_error",
    "reason",
    "schema_error",
    "schema_version",
]

APPLICATION_ID = 0x6772_6C31
"""``grl1``"""
FORMAT = 3
"""``user_version``. A higher number is refused, because this version of guardrail would not
maintain unknown objects. Version 1 had no signed heads. Version 2 had generated columns and indexes
on them; ``guardrail upgrade`` migrates it.
"""
UPGRADABLE = 2
"""The earlier format that ``guardrail upgrade`` migrates."""

SQLiteError = sqlite3.Error
"""The exception that SQLite raises. Writers convert it with ``open_error`` or ``reason``."""

_BUSY_SECONDS = 1.0
_MAY_BE_RIGHTS = ("SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_PERM", "SQLITE_IOERR")
# Pages of 4 KiB: smaller pages make commits slower, and larger pages make the slowest commits
# slower still (docs/adr/0003).
CHECKPOINT_PAGES = 1000


def connect_file(
    db: Path, mode: str = "mode=rw", *, timeout: float = 5.0, check_same_thread: bool = True
) -> sqlite3.Connection:
    """Connect to the existing file *db*, with *mode* as the query of its URI. *timeout* is the
    number of seconds to wait for a lock.

    Nothing is read yet: use ``connect`` and ``connect_reader`` for a log. Raises ``sqlite3.Error``.
    """
    path = str(db).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    return sqlite3.connect(
        f"file:{path}?{mode}",
        uri=True,
        isolation_level=None,
        timeout=timeout,
        check_same_thread=check_same_thread,
        factory=SQLiteConnection,
    )


def reason(error: BaseException) -> str:
    """Return the reason given by SQLite or the system, without any value passed by a caller."""
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorname", None) or type(error).__name__
    if isinstance(error, OSError):
        return os_reason(error)
    return type(error).__name__


_WORDS = {
    "SQLITE_CORRUPT": "its pages are damaged",
    "SQLITE_NOTADB": "it is not a database",
    "SQLITE_IOERR_SHORT_READ": "it ends in the middle of a page",
    "SQLITE_IOERR": "the system reports an I/O error",
    "SQLITE_CANTOPEN": "the system can't open one of its files",
    "SQLITE_READONLY": "it can't be written to",
    "SQLITE_BUSY": "another program has locked it",
    "SQLITE_NOMEM": "there is not enough memory",
}


def in_words(error: BaseException) -> str:
    """Return ``reason(error)`` for a person: an explanation in words, followed by SQLite's code."""
    if _is_undecodable(error):
        return "it contains text that is not UTF-8"
    code = reason(error)
    words = [_WORDS[start] for start in sorted(_WORDS, reverse=True) if code.startswith(start)]
    return f"{words[0]} ({code})" if words else code


def _first_head(genesis_line: bytes, signing: Signing) -> HeadRow:
    # No epoch key can be certified before there is a record, so the first head is signed by the log
    # key itself.
    log, leaf = str(decode(genesis_line)["log"]), leaf_hash(genesis_line)
    edge = Edge()
    edge.append(leaf)
    return sign_head(leaf, edge, head_signer(log, signing.log_key(log)), signing)


def create(db: Path, genesis_line: bytes, signing: Signing) -> None:
    """Create a new log with line 0 at *db*. When this returns, the log is complete and durable,
    including its name.

    Call it under the file lock. Raises ``LedgerOpenError`` (``ledger.exists``) if *db* exists,
    ``KeysError`` if its head can't be signed, and ``OSError`` or ``sqlite3.Error`` if the disk
    fails. In each of these cases, nothing is left at *db*.
    """
    head = _first_head(genesis_line, signing)
    for left in db.parent.glob(f"{glob.escape(db.name)}-new-*"):
        left.unlink(
            missing_ok=True
        )  # left by a process that died here, because only the holder of this lock creates the log
    fresh = db.with_name(f"{db.name}-new-{os.getpid()}")
    try:
        os.close(new_file(fresh, db, flags=os.O_RDWR))
        connection = connect_file(fresh)
        try:
            for pragma in ("page_size = 4096", "journal_mode = WAL", "synchronous = FULL"):
                connection.execute(f"PRAGMA {pragma}")
            connection.execute("BEGIN IMMEDIATE")
            for statement in SCHEMA.values():
                connection.execute(statement)
            connection.execute(
                "INSERT INTO record (seq, leaf, line) VALUES (0, ?, ?)",
                (head.leaf, genesis_line.decode("utf-8")),
            )
            SQLiteTreeWriter(connection.execute).write_head(head)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {FORMAT}")
            connection.execute("COMMIT")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            connection.close()
        descriptor = os.open(fresh, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        try:
            os.link(fresh, db)  # unlike rename, link never replaces an existing file
        except FileExistsError:
            raise LedgerOpenError("a ledger already exists", code="ledger.exists") from None
    finally:
        for suffix in ("", "-wal", "-shm", "-journal"):
            fresh.with_name(fresh.name + suffix).unlink(missing_ok=True)
    sync_directory(db.parent)


def connect(db: Path) -> tuple[sqlite3.Connection, int]:
    """Open *db* for appending; return the connection and the version of its schema.

    Call it under the file lock, in the thread that will use it.

    Raises ``LedgerOpenError`` if the file is not a log of this format, and ``sqlite3.Error`` if
    SQLite or the disk reports an error.
    """
    refuse_unsafe(db)
    connection = connect_file(db, timeout=_BUSY_SECONDS)
    try:
        harden(connection, writes=True)
        check_format(connection)
        version = check_schema(connection)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA mmap_size = 0")
        connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        if mode != "wal":
            raise LedgerOpenError(
                f"SQLite keeps journal mode {mode}, not WAL", code="ledger.journal_mode"
            )
        connection.execute("SELECT count(*) FROM call WHERE open = 1").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection, version


def connect_reader(db: Path, *, immutable: bool = False) -> sqlite3.Connection:
    """Open *db* for reading; nothing can be written through the connection.

    Raises the same errors as ``connect``.
    """
    refuse_unsafe(db)
    mode = "immutable=1" if immutable else "mode=ro"
    connection = connect_file(db, mode, timeout=_BUSY_SECONDS, check_same_thread=False)
    try:
        harden(connection, writes=False)
        connection.execute("PRAGMA query_only = ON")
        check_format(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def refuse_unsafe(db: Path) -> None:
    """Raise ``LedgerOpenError`` if there are files that would affect SQLite before they can be
    checked.
    """
    journal = db.with_name(db.name + "-journal")
    if os.path.lexists(journal):
        # A log is in WAL mode and leaves no rollback journal. SQLite would roll a planted one back
        # into the file, and would delete the file that it names as its super-journal: any file of
        # the user who opens the ledger.
        raise LedgerOpenError(
            f"{journal.name} is next to the ledger, but guardrail never leaves a rollback journal",
            code="ledger.journal",
            hint=f"move {journal} away, then run guardrail verify",
        )
    # SQLite takes a ``-wal`` next to an empty database for stale and deletes it, even in readers.
    # It might be all that is left of the log.
    if os.stat(db).st_size == 0:
        raise LedgerOpenError(
            "the ledger's database file is empty", code="ledger.damaged", hint="guardrail recover"
        )


def check_format(connection: sqlite3.Connection) -> None:
    """Raise ``LedgerOpenError`` unless the connected file is a log in a format that this version
    supports.
    """
    try:
        application: Any = connection.execute("PRAGMA application_id").fetchone()[0]
        version: Any = connection.execute("PRAGMA user_version").fetchone()[0]
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorname", "") == "SQLITE_NOTADB":
            raise LedgerOpenError(
                "this file is not a guardrail ledger", code="ledger.not_a_ledger"
            ) from None
        raise
    if application != APPLICATION_ID:
        raise LedgerOpenError("this file is not a guardrail ledger", code="ledger.not_a_ledger")
    if version > FORMAT:
        raise LedgerOpenError(
            f"the ledger has format {version}; this version of guardrail supports {FORMAT}",
            code="ledger.newer_format",
            hint="pip install --upgrade guardrail-ledger",
        )
    if version < 1:
        raise LedgerOpenError("the ledger has no format number", code="ledger.not_a_ledger")
    if version == UPGRADABLE:
        raise LedgerOpenError(
            f"the ledger has format {version}, and this version of guardrail writes {FORMAT}",
            code="ledger.older_format",
            hint="guardrail upgrade",
        )
    if version < FORMAT:
        raise LedgerOpenError(
            f"the ledger has format {version}, which was never released and had no signed heads",
            code="ledger.older_format",
            hint=(
                "keep it, and begin a new ledger: use guardrail init in another directory, or "
                "set [ledger] path"
            ),
        )


def check_schema(connection: sqlite3.Connection) -> int:
    """Raise ``LedgerOpenError`` unless the file has exactly the objects of a log; return the
    version of its schema.

    Foreign objects are rejected: a trigger could change the data that is written, and a view could
    change the data that is read. As long as the version stays the same, no write through SQLite has
    changed the schema.
    """

    def ask(sql: str) -> list[tuple[Any, ...]]:
        return connection.execute(sql).fetchall()

    version = schema_version(connection)
    fault = schema_fault(ask)
    if fault:
        raise schema_error(fault)
    return version


def schema_version(connection: sqlite3.Connection) -> int:
    """Return the number that SQLite changes together with the schema. Inside a transaction, it is
    the snapshot's number.
    """
    version: int = connection.execute("PRAGMA schema_version").fetchone()[0]
    return version


def data_version(connection: sqlite3.Connection) -> int:
    """Return the number that changes with each commit by another connection. Inside a transaction,
    it is the snapshot's number.
    """
    version: int = connection.execute("PRAGMA data_version").fetchone()[0]
    return version


def schema_error(fault: str) -> LedgerOpenError:
    """Return the error for a file with tables, indexes, views or triggers that do not belong to a
    log.
    """
    return LedgerOpenError(
        f"the ledger's tables, indexes or triggers were changed: {fault}",
        code="ledger.schema",
        hint="guardrail verify",
    )


def is_damaged(error: BaseException) -> bool:
    """Return True if *error*, raised by SQLite, means that the file is damaged or not a
    database.
    """
    codes = ("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_IOERR_SHORT_READ")
    return reason(error).startswith(codes) or _is_undecodable(error)


def _is_undecodable(error: BaseException) -> bool:
    """Return True if Python raised *error* because a text in the file is not UTF-8. SQLite does not
    check texts, so the error has no code of SQLite.
    """
    return (
        isinstance(error, sqlite3.OperationalError)
        and getattr(error, "sqlite_errorname", None) is None
        and "decode to UTF-8" in str(error)
    )


def permission_error(
    error: sqlite3.Error | OSError, db: Path, *, write: bool
) -> LedgerOpenError | None:
    """Return an error with the path of the file of *db* for which this process lacks a permission,
    or None if there is no such file. SQLite reports only that it can't open a file, but not which
    file or why.
    """
    if isinstance(error, OSError):
        found = denial_of(error, db, db)
    elif reason(error).startswith(_MAY_BE_RIGHTS):
        files = [db, Path(f"{db}-wal"), Path(f"{db}-shm")]
        found = find_denial(files, like=db, write=write)
    else:
        found = None
    if found is None:
        return None
    return LedgerOpenError(
        f"permission denied: {found.what}", code="ledger.permission", hint=found.hint
    )


def open_error(
    error: sqlite3.Error | OSError, db: Path, *, write: bool = True, needed: int = WORK
) -> LedgerError:
    """Convert an error from SQLite or the system, raised while opening *db* (for writing if *write*
    is True), into a ``LedgerOpenError``. *needed* is the number of bytes that must be free, in case
    the disk is full.
    """
    missing = permission_error(error, db, write=write)
    if missing is not None:
        return missing
    if is_full(error, db):
        return full_error(db, needed)
    if isinstance(error, FileNotFoundError):
        return missing_ledger()
    torn = is_damaged(error)
    return LedgerOpenError(
        f"{db} can't be opened: {in_words(error)}",
        code="ledger.damaged" if torn else "ledger.unreadable",
        hint="guardrail recover" if torn else "guardrail doctor",
    )


def full_error(db: Path, needed: int = WORK) -> LedgerOpenError:
    """Return the error for a ledger or an access log that can't be opened because its
    disk is full.
    """
    return LedgerOpenError(no_room(db, needed), code="ledger.reserve", hint=make_room(db))


def read_error(error: sqlite3.Error | OSError, db: Path) -> LedgerError:
    """Convert an error from SQLite or the system, raised during a read, into a ``LedgerError``.

    Code ``ledger.query`` means that SQLite could not evaluate the query for the content of the
    records.
    """
    missing = permission_error(error, db, write=False)
    if missing is not None:
        return missing
    why = reason(error)
    if why == "SQLITE_TOOBIG":
        return LedgerError(
            "the ledger contains a value that is longer than any that guardrail writes",
            code="ledger.oversized",
            hint="guardrail verify",
        )
    if why == "SQLITE_INTERRUPT":
        return LedgerError(
            "a query took longer than a valid ledger of this size needs, and was stopped",
            code="ledger.endless",
            hint="guardrail verify",
        )
    if is_full(error, db):
        return full_error(db)
    code = "ledger.damaged" if is_damaged(error) else "ledger.unreadable"
    if why == "SQLITE_ERROR":
        code = "ledger.query"
    return LedgerError(
        f"the ledger can't be read: {in_words(error)}", code=code, hint="guardrail verify"
    )
