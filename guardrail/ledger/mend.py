"""Mending what stands beside the lines: tables that can be made anew from them. Call it under the file lock.

What is written over is kept first, in a file beside the log: it may be all that tells what somebody did.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from guardrail.durable import sync_directory
from guardrail.ledger.examine import Cache
from guardrail.ledger.heads import Execute
from guardrail.ledger.sqlite import connect_reader

__all__ = ["keep_rows", "rebuild"]

_COLUMNS = {
    "head": ("id", "size", "leaf", "edge", "note", "mac"),
    "tile": ("level", "number", "hashes"),
    "open_call": ("call", "seq", "process", "host", "pid"),
    "epoch": ("public", "seq", "process", "host", "pid"),
}


def keep_rows(db: Path, copy: Path, caches: Sequence[Cache], *, head: bool) -> Path:
    """Write the rows that are to be replaced into the new file *copy*, durably, and return it.

    Raises ``sqlite3.Error`` and ``OSError``.
    """
    connection = connect_reader(db)
    try:
        tables: dict[str, list[dict[str, Any]]] = {}
        if head:
            tables["head"] = _rows(connection, "head", None)
        for cache in caches:
            tables[cache.table] = _rows(connection, cache.table, cache)
    finally:
        connection.close()
    descriptor = os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as out:
        json.dump(tables, out, indent=1)
        out.write("\n")
        out.flush()
        os.fsync(out.fileno())
    sync_directory(db.parent)
    return copy


def _rows(connection: sqlite3.Connection, table: str, cache: Cache | None) -> list[dict[str, Any]]:
    names = _COLUMNS[table]
    query = f"SELECT {', '.join(names)} FROM {table}"  # noqa: S608 - names of ours
    if table == "tile" and cache is not None:
        found = [
            row
            for level, number, _ in cache.right
            for row in connection.execute(
                f"{query} WHERE level = ? AND number = ?", (level, number)
            )
        ]
    else:
        found = list(connection.execute(query))
    return [dict(zip(names, map(_shown, row), strict=True)) for row in found]


def _shown(value: object) -> object:
    return value.hex() if isinstance(value, bytes) else value


def rebuild(execute: Execute, caches: Sequence[Cache]) -> None:
    """Make the tables of *caches* what the lines say, inside the transaction of *execute*. Raises ``sqlite3.Error``."""
    for cache in caches:
        if cache.table != "tile":
            execute(f"DELETE FROM {cache.table}")  # noqa: S608 - one of ours
        for row in cache.right:
            if cache.table == "tile" and row[-1] is None:
                execute("DELETE FROM tile WHERE level = ? AND number = ?", row[:-1])
                continue
            names = _COLUMNS[cache.table]
            marks = ", ".join("?" * len(names))
            execute(f"REPLACE INTO {cache.table} ({', '.join(names)}) VALUES ({marks})", row)  # noqa: S608
