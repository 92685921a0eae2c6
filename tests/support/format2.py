"""Makes a ledger of format 2 out of one of the current format: the tables that version 2 had."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from guardrail.ledger.sqlite.database import APPLICATION_ID
from guardrail.ledger.sqlite.format2 import SCHEMA_2

__all__ = ["as_format_2"]


def as_format_2(db: Path) -> None:
    """Replace the closed ledger *db* by one of format 2 with the same records."""
    old = db.with_name("format-2.db")
    with closing(sqlite3.connect(old, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("ATTACH ? AS now", (str(db),))
        connection.execute("BEGIN")
        for sql in SCHEMA_2.values():
            connection.execute(sql)
        connection.execute("INSERT INTO record (seq, leaf, line) SELECT * FROM now.record")
        connection.execute(
            "INSERT INTO open_call SELECT call, decision, process, host, pid FROM now.call "
            "WHERE open = 1"
        )
        for table in ("head", "tile", "epoch", "pruned"):
            connection.execute(f"INSERT INTO {table} SELECT * FROM now.{table}")
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("PRAGMA user_version = 2")
        connection.execute("COMMIT")
        connection.execute("DETACH now")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    os.chmod(old, 0o600)
    old.rename(db)
    for suffix in ("-wal", "-shm"):
        db.with_name(db.name + suffix).unlink(missing_ok=True)
