"""Limits the operations and the resources available to a connection to a log, because an attacker
might have created the file.

A database file is also a program: its views and triggers run in the process that opens it, its
values can have any size, and its pages can make a query run forever. guardrail needs no such
features, so they are not allowed.
"""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path

__all__ = ["MAX_VALUE", "Budget", "harden"]

MAX_VALUE = 1 << 20
"""Maximum size of a value or a row in bytes. The largest value in a log is a record of 65,535
bytes.
"""

_OWN_TRIGGERS = frozenset({"record_no_update", "record_no_delete"})
_READS = frozenset(
    {
        sqlite3.SQLITE_SELECT,
        sqlite3.SQLITE_READ,
        sqlite3.SQLITE_FUNCTION,
        sqlite3.SQLITE_RECURSIVE,
        sqlite3.SQLITE_TRANSACTION,
        sqlite3.SQLITE_SAVEPOINT,
        sqlite3.SQLITE_PRAGMA,
    }
)
_WRITES = _READS | {sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE, sqlite3.SQLITE_DELETE}
_CONFIG: tuple[tuple[str, bool | None], ...] = (
    ("DEFENSIVE", True),
    ("ENABLE_VIEW", False),
    ("ENABLE_TRIGGER", None),
)
"""Options of a connection. None means that the option is enabled only for writers, which need
guardrail's own triggers.
"""
_OWN_QUERIES = frozenset({"ended"})
"""Names of the common table expressions in guardrail's own statements. SQLite reports them in the
same way as views.
"""


def _only_reads(
    action: int, _one: str | None, _two: str | None, _db: str | None, source: str | None
) -> int:
    if action in _READS and source is None:
        return sqlite3.SQLITE_OK
    return sqlite3.SQLITE_DENY


def _reads_and_appends(
    action: int, _one: str | None, _two: str | None, _db: str | None, source: str | None
) -> int:
    if action in _WRITES and (source is None or source in _OWN_TRIGGERS | _OWN_QUERIES):
        return sqlite3.SQLITE_OK
    return sqlite3.SQLITE_DENY


def harden(connection: sqlite3.Connection, *, writes: bool) -> None:
    """Restrict *connection* to guardrail's own statements, and to values no larger than those in a
    log.

    Call it before the first query. Foreign code in the file (views, other triggers, functions with
    side effects) is rejected when a statement is compiled; a value larger than ``MAX_VALUE`` is not
    loaded (``SQLITE_TOOBIG``).
    """
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_VALUE)
    connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    connection.setlimit(sqlite3.SQLITE_LIMIT_TRIGGER_DEPTH, 1)
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    # Python's standard library sets these options from version 3.12 on. The authorizer below
    # rejects the same features, and more.
    for name, on in _CONFIG:
        option = getattr(sqlite3, f"SQLITE_DBCONFIG_{name}", None)
        if option is not None:
            connection.setconfig(option, on if on is not None else writes)  # type: ignore[attr-defined,unused-ignore]
    # SQLite calls this when it compiles a statement, not when it runs one, so prepared statements
    # incur no extra cost.
    connection.set_authorizer(_reads_and_appends if writes else _only_reads)


class Budget:
    """Aborts a query that takes more processor time than any honest log of its size needs.

    Time spent waiting for a disk does not count. This protects against files that make a query run
    forever.
    """

    _BASE = 5.0
    _BYTES_PER_SECOND = 2 << 20
    """A tenth of the measured speed of the slowest query, which lists the sessions."""
    _STEPS = 100_000
    """Number of SQLite virtual-machine instructions between two checks of the clock: a few
    milliseconds of work.
    """

    def __init__(self, connection: sqlite3.Connection, db: Path) -> None:
        """Limit the queries of *connection*, which is connected to *db*."""
        try:
            blocks = os.stat(db).st_blocks * 512
        except OSError:
            blocks = 0
        self._seconds = self._BASE + blocks / self._BYTES_PER_SECOND
        self._until = 0.0
        connection.set_progress_handler(self._over, self._STEPS)

    def begin(self) -> None:
        """Start measuring the next query, in the thread that runs it."""
        self._until = time.thread_time() + self._seconds

    def _over(self) -> int:
        return time.thread_time() > self._until
