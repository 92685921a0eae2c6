"""The SQLite side of a log: its tables, how it is created, and how connections are opened. Holds no lock itself."""

from __future__ import annotations

import glob
import os
import sqlite3
from pathlib import Path
from typing import Any

from guardrail.core.merkle import Edge
from guardrail.core.record import decode, leaf_hash
from guardrail.durable import sync_directory
from guardrail.errors import LedgerError, LedgerOpenError
from guardrail.ledger.heads import HeadRow, Signing, sign_head, write_head

__all__ = [
    "ADMIN",
    "APPLICATION_ID",
    "COLUMNS",
    "FORMAT",
    "SCHEMA",
    "check_format",
    "connect",
    "connect_reader",
    "create",
    "damaged",
    "open_error",
    "quoted",
    "read_error",
    "reason",
]

APPLICATION_ID = 0x6772_6C31
"""``grl1``"""
FORMAT = 2
"""``user_version``. A higher one is refused: this version would not maintain what it does not know. 1 had no signed heads."""

COLUMNS: dict[str, tuple[str, ...]] = {
    "type": ("type",),
    "ts": ("ts",),
    "call": ("call",),
    "session": ("session",),
    "tenant": ("tenant",),
    "principal": ("principal", "id"),
    "agent": ("agent", "id"),
    "tool": ("tool", "name"),
    "effect": ("decision", "effect"),
    "cause": ("decision", "cause"),
    "status": ("status",),
    "approval": ("approval", "id"),
    "ordinal": ("approval", "ordinal"),
}
"""Generated columns, and the path into the line that each of them shows."""

ADMIN = (
    "type IN ('admin.start', 'admin.key_rotated', 'admin.heartbeat', 'admin.sealed', 'admin.archived', "
    "'admin.pruned', 'admin.hold')"
)
"""What index ``record_admin`` is over; a query that is to use it says this beside the type that it wants."""

_INTEGERS = ("ordinal",)

_GENERATED = ",\n".join(
    f"  {name} {'INTEGER' if name in _INTEGERS else 'TEXT'} GENERATED ALWAYS AS (json_extract(line, '$.{'.'.join(path)}')) VIRTUAL"
    for name, path in COLUMNS.items()
)

SCHEMA: dict[str, str] = {
    "record": f"""CREATE TABLE record (
  seq INTEGER PRIMARY KEY CHECK (seq >= 0),
  leaf BLOB NOT NULL CHECK (length(leaf) = 32),
  line TEXT NOT NULL,
{_GENERATED}
) STRICT""",
    # An index on a generated column costs an append 10 us or more: only what reviewers look up, and what must be unique.
    "record_call": """CREATE UNIQUE INDEX record_call ON record (call, type)
WHERE type IN ('call.decision', 'call.outcome')""",
    "record_claim": """CREATE INDEX record_claim ON record (call, type)
WHERE type IN ('call.claim', 'call.rejected')""",
    "record_session": """CREATE INDEX record_session ON record (session)
WHERE type IN ('call.decision', 'call.rejected')""",
    # Each step of an approval is taken once: of two that were judged by the same state, one is refused.
    "record_approval": """CREATE UNIQUE INDEX record_approval ON record (approval, ordinal)
WHERE ordinal IS NOT NULL""",
    "record_use": """CREATE UNIQUE INDEX record_use ON record (approval)
WHERE ordinal IS NOT NULL AND type = 'call.decision'""",
    "record_request": """CREATE INDEX record_request ON record (session)
WHERE type = 'call.decision' AND effect = 'require_approval'""",
    "open_call": """CREATE TABLE open_call (
  call TEXT PRIMARY KEY,
  seq INTEGER NOT NULL,
  process TEXT NOT NULL,
  host TEXT NOT NULL,
  pid INTEGER NOT NULL
) STRICT, WITHOUT ROWID""",
    # What operation needs to find again without reading the whole log.
    "record_admin": f"CREATE INDEX record_admin ON record (type)\nWHERE {ADMIN}",
    "head": """CREATE TABLE head (
  id INTEGER PRIMARY KEY CHECK (id = 0),
  size INTEGER NOT NULL,
  leaf BLOB NOT NULL,
  edge BLOB NOT NULL,
  note TEXT NOT NULL,
  mac BLOB NOT NULL
) STRICT""",
    "tile": """CREATE TABLE tile (
  level INTEGER NOT NULL,
  number INTEGER NOT NULL,
  hashes BLOB NOT NULL,
  PRIMARY KEY (level, number)
) STRICT""",
    "epoch": """CREATE TABLE epoch (
  public TEXT PRIMARY KEY,
  seq INTEGER NOT NULL,
  process TEXT NOT NULL,
  host TEXT NOT NULL,
  pid INTEGER NOT NULL
) STRICT, WITHOUT ROWID""",
    # Records below this number may be deleted, line 0 excepted: guardrail prune says so first, in a record.
    "pruned": """CREATE TABLE pruned (
  id INTEGER PRIMARY KEY CHECK (id = 0),
  before INTEGER NOT NULL
) STRICT""",
    # Against accidents, not against attacks: whoever can write the file can drop a trigger.
    "record_no_update": """CREATE TRIGGER record_no_update BEFORE UPDATE ON record
BEGIN SELECT RAISE(ABORT, 'records are never changed'); END""",
    "record_no_delete": """CREATE TRIGGER record_no_delete BEFORE DELETE ON record
WHEN old.seq = 0 OR old.seq >= coalesce((SELECT before FROM pruned), 0)
BEGIN SELECT RAISE(ABORT, 'records are deleted only by guardrail prune'); END""",
}
"""Every object of the database, by name, exactly as ``sqlite_schema`` holds it: ``verify`` compares the texts."""

_BUSY_SECONDS = 1.0
# Pages of 4 KiB: fewer make commits slower, more make the slowest ones slower still (docs/adr/0003).
_CHECKPOINT_PAGES = 1000


def quoted(db: Path) -> str:
    """Return *db* as the path of an SQLite URI."""
    return str(db).replace("%", "%25").replace("?", "%3f").replace("#", "%23")


def reason(error: BaseException) -> str:
    """Return why SQLite or the system refused, without any value of a caller."""
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorname", None) or type(error).__name__
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return type(error).__name__


def _first_head(genesis_line: bytes, signing: Signing) -> HeadRow:
    # No epoch key can be certified before there is a record: the first head is the log key's own.
    log, leaf = str(decode(genesis_line)["log"]), leaf_hash(genesis_line)
    edge = Edge()
    edge.append(leaf)
    return sign_head(log, leaf, edge, signing.log_key(log), signing)


def create(db: Path, genesis_line: bytes, signing: Signing) -> None:
    """Put a new log with its line 0 at *db*; it is complete and durable, name included, when this returns.

    Call it under the file lock. Raises ``LedgerOpenError`` with code ``ledger.exists`` where something is there,
    ``KeysError`` where its head can't be signed, and ``OSError`` or ``sqlite3.Error`` where the disk refuses; then nothing is
    left at *db*.
    """
    from sqlite_utils import Database

    head = _first_head(genesis_line, signing)
    for left in db.parent.glob(f"{glob.escape(db.name)}-new-*"):
        left.unlink(
            missing_ok=True
        )  # of a process that died here: nobody else creates under the lock
    fresh = db.with_name(f"{db.name}-new-{os.getpid()}")
    try:
        os.close(os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        connection = sqlite3.connect(
            f"file:{quoted(fresh)}?mode=rw", uri=True, isolation_level=None
        )
        try:
            # Code that happens to be installed as a plugin has no business in a log.
            database = Database(connection, execute_plugins=False)
            for pragma in ("page_size = 4096", "journal_mode = WAL", "synchronous = FULL"):
                connection.execute(f"PRAGMA {pragma}")
            connection.execute("BEGIN IMMEDIATE")
            for statement in SCHEMA.values():
                database.execute(statement)
            connection.execute(
                "INSERT INTO record (seq, leaf, line) VALUES (0, ?, ?)",
                (head.leaf, genesis_line.decode("utf-8")),
            )
            write_head(connection.execute, head)
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
            os.link(fresh, db)  # unlike a rename, refuses to replace
        except FileExistsError:
            raise LedgerOpenError("there is a ledger already", code="ledger.exists") from None
    finally:
        for suffix in ("", "-wal", "-shm", "-journal"):
            fresh.with_name(fresh.name + suffix).unlink(missing_ok=True)
    sync_directory(db.parent)


def connect(db: Path) -> sqlite3.Connection:
    """Open *db* for appending. Call it under the file lock, in the thread that will use it.

    Raises ``LedgerOpenError`` for what is no log of this format, ``sqlite3.Error`` where SQLite or the disk refuses.
    """
    _refuse_empty(db)
    connection = sqlite3.connect(
        f"file:{quoted(db)}?mode=rw", uri=True, isolation_level=None, timeout=_BUSY_SECONDS
    )
    try:
        check_format(connection)
        _check_schema(connection)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA mmap_size = 0")
        connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
        mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        if mode != "wal":
            raise LedgerOpenError(
                f"SQLite keeps journal mode {mode}, not WAL", code="ledger.journal_mode"
            )
        connection.execute("SELECT count(*) FROM open_call").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


def connect_reader(db: Path, *, immutable: bool = False) -> sqlite3.Connection:
    """Open *db* so that nothing can be written through the connection. Raises as ``connect`` does."""
    _refuse_empty(db)
    mode = "immutable=1" if immutable else "mode=ro"
    connection = sqlite3.connect(
        f"file:{quoted(db)}?{mode}",
        uri=True,
        isolation_level=None,
        timeout=_BUSY_SECONDS,
        check_same_thread=False,
    )
    try:
        connection.execute("PRAGMA query_only = ON")
        check_format(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _refuse_empty(db: Path) -> None:
    # Beside an empty database SQLite takes a ``-wal`` for stale and deletes it, readers do so too: it may be all that is
    # left of the log.
    if os.stat(db).st_size == 0:
        raise LedgerOpenError(
            "the ledger's database file is empty", code="ledger.damaged", hint="guardrail recover"
        )


def check_format(connection: sqlite3.Connection) -> None:
    """Raise ``LedgerOpenError`` unless the connected file is a log of a format that this version knows."""
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
            f"the ledger has format {version}; this version of guardrail knows {FORMAT}",
            code="ledger.newer_format",
            hint="pip install --upgrade guardrail-ledger",
        )
    if version < 1:
        raise LedgerOpenError("the ledger has no format number", code="ledger.not_a_ledger")
    if version < FORMAT:
        raise LedgerOpenError(
            f"the ledger has format {version}, which was never released and had no signed heads",
            code="ledger.older_format",
            hint="keep it, and begin a new one: guardrail init elsewhere, or [ledger] path",
        )


def _check_schema(connection: sqlite3.Connection) -> None:
    """Raise ``LedgerOpenError`` unless all that guardrail made is there, unchanged: uniqueness depends on an index."""
    there = dict(connection.execute("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL"))
    if any(there.get(name) != sql for name, sql in SCHEMA.items()):
        raise LedgerOpenError(
            "the ledger's tables, indexes or triggers were changed",
            code="ledger.schema",
            hint="guardrail verify",
        )


def damaged(error: BaseException) -> bool:
    """Tell whether *error* of SQLite says that the file is torn, or is no database."""
    return reason(error).startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_IOERR_SHORT_READ"))


def open_error(error: sqlite3.Error | OSError) -> LedgerError:
    """Return what an error of SQLite or the system at open means to a caller."""
    if isinstance(error, FileNotFoundError):
        return LedgerOpenError(
            "there is no ledger at this path", code="ledger.missing", hint="guardrail init"
        )
    torn = damaged(error)
    return LedgerOpenError(
        f"the ledger can't be opened: {reason(error)}",
        code="ledger.damaged" if torn else "ledger.unreadable",
        hint="guardrail recover" if torn else "guardrail doctor",
    )


def read_error(error: sqlite3.Error | OSError) -> LedgerError:
    """Return what an error of SQLite or the system at reading means to a caller.

    ``ledger.query``: SQLite could not evaluate the query on what the records hold.
    """
    code = "ledger.damaged" if damaged(error) else "ledger.unreadable"
    if reason(error) == "SQLITE_ERROR":
        code = "ledger.query"
    return LedgerError(
        f"the ledger can't be read: {reason(error)}", code=code, hint="guardrail verify"
    )
