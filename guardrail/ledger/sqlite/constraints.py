"""Checks with queries that a log's objects and rows obey the rules in its schema.

SQLite compiles the schema that the *file* contains, and a connection that can't write does not even
read the CHECK constraints. A reader that relied on the schema would therefore trust the file's last
writer. These queries check every rule instead.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from typing import Any

from guardrail.core.log.checkpoint import Checkpoint, SignedNote
from guardrail.core.words import agree, counted, numbers
from guardrail.errors import NoteError
from guardrail.ledger.sqlite.tables import SCHEMA

__all__ = [
    "place_fault",
    "record_fault",
    "row_fault",
    "schema_fault",
    "surplus_fault",
    "to_mend",
    "value_fault",
]

Ask = Callable[[str], "list[tuple[Any, ...]]"]

_ANY = 1 << 62
"""More rows than a table can have."""

_Object = tuple[str, str, str, str | None]
"""Type, name, table and SQL of one row of ``sqlite_schema``."""


def _expected(schema: Mapping[str, str]) -> dict[str, _Object]:
    """Return every object of *schema*, by name, in the form in which SQLite stores its
    definition.
    """
    connection = sqlite3.connect(":memory:")
    try:
        for statement in schema.values():
            connection.execute(statement)
        rows = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema")
        return {row[1]: row for row in rows}
    finally:
        connection.close()


_EXPECTED: dict[str, _Object] = {}


def _objects() -> dict[str, _Object]:
    if not _EXPECTED:
        _EXPECTED.update(_expected(SCHEMA))
    return _EXPECTED


def schema_fault(ask: Ask, schema: Mapping[str, str] = SCHEMA) -> str:
    """Return a description of the difference between ``sqlite_schema`` and *schema*, that of a log,
    or an empty string if they are the same.

    Raises ``sqlite3.Error``.

    Foreign, changed and missing tables, indexes, triggers and views count as differences.
    """
    right = _objects() if schema is SCHEMA else _expected(schema)
    rows = ask(
        "SELECT type, name, tbl_name, sql, rootpage FROM sqlite_schema "  # noqa: S608 - a number
        f"ORDER BY rowid LIMIT {len(right) + 1}"
    )
    pages: set[object] = set()
    seen: set[str] = set()
    for *found, page in rows:
        name = found[1]
        mine = right.get(name) if isinstance(name, str) else None
        if mine is None or name in seen:
            return f"{_safe_name(found[0])} {_safe_name(name)} was not created by guardrail"
        if tuple(found) != mine:
            return f"{mine[0]} {name} was changed"
        has_pages = mine[0] in ("table", "index")
        if page in pages if has_pages else page != 0:
            return f"{mine[0]} {name} was changed"
        if has_pages:
            pages.add(page)
        seen.add(name)
    missing = sorted(right.keys() - seen)
    return f"{right[missing[0]][0]} {missing[0]} is missing" if missing else ""


def record_fault(ask: Ask) -> str:
    """Return the reason that the table of records can't be read at all, or an empty string if it
    can.

    Raises ``sqlite3.Error``. Used to salvage a log with a changed schema.
    """
    rows = ask(
        "SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE lower(name) = 'record' LIMIT 2"
    )
    return "" if rows == [_objects()["record"]] else "table record was not created by guardrail"


def to_mend(ask: Ask) -> tuple[list[tuple[str, str]], list[str]] | None:
    """Return (type, name) of the objects to drop, and the names of the objects to create, so that
    the schema is correct.

    Return None if one of the log's own tables is wrong, because the rows in that table can't then
    be trusted to be the log's. Raises ``sqlite3.Error``.
    """
    right = _objects()
    found: set[str] = set()
    foreign: list[tuple[str, str]] = []
    pages: list[object] = []
    for type_, name, table, sql, page in ask(
        "SELECT type, name, tbl_name, sql, rootpage FROM sqlite_schema LIMIT 100000"
    ):
        if page:
            pages.append(page)
        if (type_, name, table, sql) == right.get(name) and name not in found:
            found.add(name)
        elif type_ not in ("table", "index", "view", "trigger") or not isinstance(name, str):
            return None
        elif sql is not None:  # SQLite's automatic objects are dropped with their tables
            foreign.append((type_, name))
    missing = [name for name in right if name not in found]
    if len(pages) != len(set(pages)) or any(right[name][0] == "table" for name in missing):
        return None
    return foreign, missing


def _safe_name(value: object) -> str:
    """Return a name from the file in a form that is safe to show in messages."""
    return ascii(value)[:60].strip("'") if isinstance(value, str) else "object"


def place_fault(ask: Ask) -> str:
    """Return a description of a row before record 0, or an empty string if there is none. Raises
    ``sqlite3.Error``.
    """
    ((least,),) = ask("SELECT min(seq) FROM record")
    return f"a row is outside the log, as record {least}" if (least or 0) < 0 else ""


def surplus_fault(ask: Ask) -> str:
    """Return a description of a table with more rows than the log's records can account for, or an
    empty string if there is none.

    Raises ``sqlite3.Error``.
    """
    ((records,),) = ask("SELECT coalesce(max(seq), -1) + 1 FROM record")
    # A log without records is reported as such, regardless of the content of the other tables.
    located = 4 * records if records else _ANY
    for table, most in (
        ("call", located),
        ("place", located),
        ("epoch", records),
        ("tile", records // 128 + 16),
    ):
        query = f"SELECT count(*) FROM (SELECT 1 FROM {table} LIMIT {min(max(0, most), _ANY) + 1})"  # noqa: S608 - ours
        if ask(query)[0][0] > most:
            return f"table {table} holds more rows than {counted(records, 'record')} can produce"
    return ""


def row_fault(ask: Ask) -> str:
    """Return a description of the rows with impossible record numbers, or an empty string if there
    are none.

    Records are numbered from 0 to the end of the signed tree. The time needed does not depend on
    the length of the log. Raises ``sqlite3.Error``.
    """
    outside = place_fault(ask)
    if outside:
        return outside
    surplus = surplus_fault(ask)
    if surplus:
        return surplus
    ((most,),) = ask("SELECT max(seq) FROM record")
    heads = ask("SELECT id, size, note FROM head LIMIT 2")
    if len(heads) > 1 or (heads and heads[0][0] != 0):
        return "there is more than one signed head"
    pruned = ask("SELECT id, before FROM pruned LIMIT 2")
    if len(pruned) > 1 or any((row[0], type(row[1])) != (0, int) for row in pruned):
        return "the mark of pruned records is malformed"
    if heads and most is not None:
        covered = _covered_count(heads[0])
        if covered is not None and most >= covered:
            beyond = f"{numbers(covered, most)} {agree(most - covered + 1, 'is')}"
            return f"{beyond} not covered by the signed head"
    return ""


def _covered_count(head: tuple[Any, ...]) -> int | None:
    """Return the number of records that the signed head covers, or None if the head is malformed,
    which other checks report.
    """
    _, size, note = head
    try:
        signed = Checkpoint.parse(SignedNote.parse(note).text).size
    except (NoteError, TypeError, AttributeError):
        return None
    return min(signed, size) if type(size) is int else None


_VALUES = (
    (
        "record",
        "seq",
        ("typeof(leaf) <> 'blob' OR length(leaf) <> 32 OR typeof(line) <> 'text' "),
    ),
    (
        "call",
        "decision",
        (
            "typeof(open) <> 'integer' OR open NOT IN (0, 1) OR typeof(call) <> 'text' "
            "OR typeof(decision) <> 'integer' OR typeof(outcome) NOT IN ('integer', 'null') "
            "OR open = 1 AND (outcome IS NOT NULL OR typeof(process) <> 'text' "
            "OR typeof(host) <> 'text' OR typeof(pid) <> 'integer') "
            "OR open = 0 AND coalesce(process, host, pid) IS NOT NULL"
        ),
    ),
    (
        "place",
        "seq",
        (
            "typeof(kind) <> 'text' OR typeof(name) <> 'text' OR typeof(number) <> 'integer' "
            "OR typeof(seq) <> 'integer'"
        ),
    ),
    (
        "epoch",
        "seq",
        (
            "typeof(public) <> 'text' OR typeof(seq) <> 'integer' OR typeof(process) <> 'text' "
            "OR typeof(host) <> 'text' OR typeof(pid) <> 'integer'"
        ),
    ),
    (
        "tile",
        "number",
        (
            "typeof(level) <> 'integer' OR typeof(number) <> 'integer' OR typeof(hashes) <> 'blob' "
            "OR length(hashes) = 0 OR length(hashes) % 32 <> 0 OR length(hashes) > 8192"
        ),
    ),
    (
        "head",
        "size",
        (
            "typeof(size) <> 'integer' OR typeof(leaf) <> 'blob' OR typeof(edge) <> 'blob' "
            "OR typeof(note) <> 'text' OR typeof(mac) <> 'blob'"
        ),
    ),
    ("pruned", "before", "typeof(before) <> 'integer' OR before < 0"),
)


def value_fault(
    ask: Ask, tables: tuple[str, ...] = (), start: int = 0
) -> tuple[str, object] | None:
    """Return the table and the number of a row with values of a type or length that the schema
    forbids, or None if there is none.

    Checks every row of *tables*, or of all tables. Readers check the length of a line; ``PRAGMA
    integrity_check`` checks uniqueness by means of the indexes. Raises ``sqlite3.Error``.
    """
    for table, number, wrong in _VALUES:
        if tables and table not in tables:
            continue
        within = f"seq >= {start} AND " if table == "record" and start else ""
        rows = ask(f"SELECT {number} FROM {table} WHERE {within}({wrong}) LIMIT 1")  # noqa: S608 - constants
        if rows:
            return table, rows[0][0]
    return None
