"""Opens SQLite databases. Every error that a damaged file causes is an ``sqlite3.Error``."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Any

__all__ = ["SQLiteConnection"]


class SQLiteConnection(sqlite3.Connection):
    """A connection that raises ``sqlite3.DatabaseError`` (``SQLITE_CORRUPT``) if SQLite's message
    about an error is not UTF-8. Pass it as ``factory`` to ``sqlite3.connect``.

    Python decodes the message, and raises ``UnicodeDecodeError`` in place of SQLite's error if that
    fails. The SQL of this package is ASCII, so such a message quotes a damaged schema.
    """

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        """Run one statement."""
        try:
            return sqlite3.Connection.execute(self, sql, parameters)
        except UnicodeDecodeError:
            raise _damaged() from None

    def executemany(self, sql: str, parameters: Iterable[Any], /) -> sqlite3.Cursor:
        """Run one statement for each of *parameters*."""
        try:
            return sqlite3.Connection.executemany(self, sql, parameters)
        except UnicodeDecodeError:
            raise _damaged() from None

    def executescript(self, sql_script: str, /) -> sqlite3.Cursor:
        """Run several statements."""
        try:
            return sqlite3.Connection.executescript(self, sql_script)
        except UnicodeDecodeError:
            raise _damaged() from None


def _damaged() -> sqlite3.DatabaseError:
    error = sqlite3.DatabaseError("the schema of the database is damaged")
    error.sqlite_errorcode, error.sqlite_errorname = sqlite3.SQLITE_CORRUPT, "SQLITE_CORRUPT"
    return error
