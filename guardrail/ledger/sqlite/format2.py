"""The tables and indexes of format 2, and the migration of a log from that format.

The lines, their hashes, the head and the tiles stay as they are. The migration proves nothing: if a
line differs from a stored value, ``verify`` reports this afterwards. The migration is one SQLite
transaction, so a process that is killed halfway leaves the log in either the old or the new format.
"""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from pathlib import Path

from guardrail.errors import LedgerOpenError
from guardrail.ledger.sqlite.constraints import schema_fault
from guardrail.ledger.sqlite.database import (
    APPLICATION_ID,
    FORMAT,
    UPGRADABLE,
    check_format,
    connect_file,
    refuse_unsafe,
    schema_error,
)
from guardrail.ledger.sqlite.limits import MAX_VALUE
from guardrail.ledger.sqlite.located import fill, lines_of
from guardrail.ledger.sqlite.tables import SCHEMA

__all__ = ["OLD_VERIFY", "SCHEMA_2", "migrate"]

OLD_VERIFY = "run guardrail verify with the version of guardrail that wrote this ledger"
"""Hint for a fault in a log of format 2, which ``verify`` of this version can't read."""

_COLUMNS: dict[str, tuple[str, ...]] = {
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

_ADMIN = (
    "type IN ('admin.start', 'admin.key_rotated', 'admin.heartbeat', 'admin.sealed', "
    "'admin.archived', 'admin.pruned', 'admin.hold', 'admin.recovered')"
)
_GENERATED = ",\n".join(
    f"  {name} {'INTEGER' if name == 'ordinal' else 'TEXT'} "
    f"GENERATED ALWAYS AS (json_extract(line, '$.{'.'.join(path)}')) VIRTUAL"
    for name, path in _COLUMNS.items()
)


_CHANGED: dict[str, str] = {
    "record": f"""CREATE TABLE record (
  seq INTEGER PRIMARY KEY CHECK (seq >= 0),
  leaf BLOB NOT NULL CHECK (length(leaf) = 32),
  line TEXT NOT NULL,
{_GENERATED}
) STRICT""",
    "record_call": """CREATE UNIQUE INDEX record_call ON record (call, type)
WHERE type IN ('call.decision', 'call.outcome')""",
    "record_claim": """CREATE INDEX record_claim ON record (call, type)
WHERE type IN ('call.claim', 'call.rejected')""",
    "record_session": """CREATE INDEX record_session ON record (session)
WHERE type IN ('call.decision', 'call.rejected')""",
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
    "record_admin": f"CREATE INDEX record_admin ON record (type)\nWHERE {_ADMIN}",
}
"""The objects of format 2 that the current format lacks, or defines differently."""

SCHEMA_2: dict[str, str] = {
    **{name: sql for name, sql in SCHEMA.items() if name not in ("call", "place", "records")},
    **_CHANGED,
}
"""Every object of a log of format 2, by name."""


def migrate(db: Path) -> bool:
    """Migrate the log *db* from format 2; durable when this returns. Return False if it already has
    the current format.

    Call it under the file lock, while no other process has the log open. Raises ``LedgerOpenError``
    if the file is not a log, has an unknown format, or has objects that no log of its format has;
    ``sqlite3.Error`` and ``OSError`` if the disk fails. If it raises an exception, the log keeps
    its format.
    """
    refuse_unsafe(db)
    connection = connect_file(db)
    try:
        # A line of any length would otherwise be loaded.
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_VALUE)
        connection.execute("PRAGMA synchronous = FULL")
        # Pages of dropped indexes name calls and sessions, which might be pruned later.
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute("BEGIN IMMEDIATE")
        if not _check(connection):
            return False
        _change(connection)
        connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        if connection.in_transaction:
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
        connection.close()
    return True


def _check(connection: sqlite3.Connection) -> bool:
    """Return False if the log already has the current format. Raises ``LedgerOpenError`` unless it
    is exactly a log of format 2.
    """
    try:
        check_format(connection)
        return False
    except LedgerOpenError as error:
        if error.code != "ledger.older_format":
            raise
        if _number(connection, "user_version") != UPGRADABLE:
            raise
    assert _number(connection, "application_id") == APPLICATION_ID
    fault = schema_fault(lambda sql: connection.execute(sql).fetchall(), SCHEMA_2)
    if fault:
        # No other command of this version reads format 2.
        raise LedgerOpenError(
            schema_error(fault).message,
            code="ledger.schema",
            hint=OLD_VERIFY,
        )
    return True


def _number(connection: sqlite3.Connection, pragma: str) -> int:
    number: int = connection.execute(f"PRAGMA {pragma}").fetchone()[0]
    return number


def _change(connection: sqlite3.Connection) -> None:
    execute = connection.execute
    for name, sql in _CHANGED.items():
        if sql.startswith(("CREATE INDEX", "CREATE UNIQUE INDEX")):
            execute(f"DROP INDEX {name}")
    # The generated columns were never stored, so the rows of this table stay as they are.
    execute("PRAGMA writable_schema = ON")
    execute(
        "UPDATE sqlite_schema SET sql = ? WHERE type = 'table' AND name = 'record'",
        (SCHEMA["record"],),
    )
    execute("PRAGMA writable_schema = OFF")
    for name in ("call", "place", "records"):
        execute(SCHEMA[name])
    fill(execute, lines_of(execute))
    # The open calls are copied, not recomputed from the lines, so verify still detects it if
    # someone changed this table.
    execute(
        "INSERT INTO call (open, call, decision, process, host, pid) "
        "SELECT 1, call, seq, process, host, pid FROM open_call"
    )
    execute("DROP TABLE open_call")
    execute(f"PRAGMA user_version = {FORMAT}")
