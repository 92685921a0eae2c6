"""Rebuilds tables from the lines. Call it under the file lock.

The rows to be overwritten are first saved to a file next to the log, because they might be the only
evidence of an attack.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from guardrail.ledger.rows import Cache
from guardrail.ledger.sqlite.database import connect_file, connect_reader, refuse_unsafe
from guardrail.ledger.sqlite.located import fill, lines_of
from guardrail.ledger.sqlite.tables import SCHEMA
from guardrail.ledger.sqlite.tree import Execute
from guardrail.system.durable import sync_directory
from guardrail.system.ownership import new_file

__all__ = ["keep_rows", "mend_schema", "rebuild", "remove_outside"]

_KEPT = 10_000
"""Maximum number of rows saved per table. More rows would add no evidence."""
_ORDER = ("trigger", "view", "index", "table")

_COLUMNS = {
    "head": ("id", "size", "leaf", "edge", "note", "mac"),
    "tile": ("level", "number", "hashes"),
    "call": ("open", "call", "decision", "outcome", "process", "host", "pid"),
    "place": ("kind", "name", "number", "seq"),
    "epoch": ("public", "seq", "process", "host", "pid"),
}


def keep_rows(db: Path, copy: Path, caches: Sequence[Cache], *, head: bool) -> Path:
    """Write the rows that will be replaced to the new file *copy*, durably. Return the path of the
    copy.

    Raises ``sqlite3.Error`` and ``OSError``.
    """
    connection = connect_reader(db)
    try:
        tables: dict[str, list[dict[str, Any]]] = {}
        if head:
            tables["head"] = _rows(connection, "head", None)
        for cache in caches:
            tables[cache.table] = _rows(connection, cache.table, cache)
        _keep_foreign(connection, tables)
    finally:
        connection.close()
    with os.fdopen(new_file(copy, db), "w", encoding="utf-8") as out:
        json.dump(tables, out, indent=1)
        out.write("\n")
        out.flush()
        os.fsync(out.fileno())
    sync_directory(db.parent)
    return copy


def _keep_foreign(connection: sqlite3.Connection, tables: dict[str, list[dict[str, Any]]]) -> None:
    """Save the rows before line 0, and the schema rows of foreign objects."""
    outside = connection.execute(
        "SELECT seq, leaf, line FROM record WHERE seq < 0 ORDER BY seq LIMIT ?", (_KEPT,)
    ).fetchall()
    if outside:
        names = ("seq", "leaf", "line")
        tables["record"] = [dict(zip(names, map(_shown, row), strict=True)) for row in outside]
    objects = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema").fetchall()
    columns = ("type", "name", "tbl_name", "sql")
    foreign = [
        dict(zip(columns, row, strict=True)) for row in objects if SCHEMA.get(row[1]) != row[3]
    ]
    if any(each["sql"] is not None for each in foreign):
        tables["sqlite_schema"] = foreign


def remove_outside(execute: Execute) -> int:
    """Delete the rows before line 0, inside the transaction of *execute*; return their number.

    Raises ``sqlite3.Error``.
    """
    return execute("DELETE FROM record WHERE seq < 0").rowcount


def mend_schema(db: Path, foreign: Sequence[tuple[str, str]], missing: Sequence[str]) -> None:
    """Drop the foreign objects in *db* and create guardrail's *missing* objects, durably.

    The code in the foreign objects does not run, because SQLite evaluates neither triggers nor
    views when it drops them. Call it only if SQLite does not find a fault in its pages: dropping a
    table that shares pages with another table would delete the shared pages too. Raises
    ``sqlite3.Error``.
    """
    refuse_unsafe(db)
    connection = connect_file(db)
    try:
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("BEGIN IMMEDIATE")
        # Dropping a table also drops its indexes and triggers.
        for type_, name in sorted(foreign, key=lambda each: _ORDER.index(each[0])):
            escaped = name.replace('"', '""')
            connection.execute(f'DROP {type_} IF EXISTS "{escaped}"')
        for name in missing:
            connection.execute(SCHEMA[name])
        connection.execute("COMMIT")
    finally:
        connection.close()


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
        found = connection.execute(f"{query} LIMIT {_KEPT}").fetchall()
    return [dict(zip(names, map(_shown, row), strict=True)) for row in found]


def _shown(value: object) -> object:
    return value.hex() if isinstance(value, bytes) else value


def rebuild(execute: Execute, caches: Sequence[Cache]) -> None:
    """Rewrite the tables of *caches* from the lines, inside the transaction of *execute*.

    Raises ``sqlite3.Error``.
    """
    for cache in caches:
        if cache.table in ("call", "place"):
            _refill(execute, cache)
            continue
        if cache.table != "tile":
            execute(f"DELETE FROM {cache.table}")  # noqa: S608 - one of ours
        for row in cache.right:
            if cache.table == "tile" and row[-1] is None:
                execute("DELETE FROM tile WHERE level = ? AND number = ?", row[:-1])
                continue
            names = _COLUMNS[cache.table]
            marks = ", ".join("?" * len(names))
            execute(f"REPLACE INTO {cache.table} ({', '.join(names)}) VALUES ({marks})", row)  # noqa: S608


def _refill(execute: Execute, cache: Cache) -> None:
    """Fill the table of calls, or that of places, from the lines."""
    owners = {row[0]: row[2:] for row in cache.right}
    execute(f"DELETE FROM {cache.table}")  # noqa: S608 - one of ours
    fill(execute, lines_of(execute), cache.table, owner=lambda call: owners[call])
