"""A connection that reads a log while writers run, and can't write to it.

Rows are fetched in short transactions, so that a reader never prevents the ``-wal`` from being
reset, unless ``snapshot`` requests one consistent view. Each transaction first checks that the file
still contains a log and nothing else, because anyone who can write the file can replace a table
with a view, or add rows with impossible record numbers.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, TypeVar

from guardrail.errors import LedgerError, LedgerOpenError
from guardrail.ledger.files import missing_ledger
from guardrail.ledger.places import not_a_file, unexaminable
from guardrail.ledger.sqlite import handles
from guardrail.ledger.sqlite.constraints import (
    place_fault,
    record_fault,
    row_fault,
    schema_fault,
    surplus_fault,
    to_mend,
    value_fault,
)
from guardrail.ledger.sqlite.database import (
    data_version,
    open_error,
    permission_error,
    read_error,
    schema_error,
    schema_version,
)
from guardrail.ledger.sqlite.handles import SharedLock
from guardrail.ledger.sqlite.limits import Budget
from guardrail.ledger.sqlite.read_only import UnsharedFiles, connect_anywhere

__all__ = ["ReadConnection"]

T = TypeVar("T")


class _Rows:
    """The part of a cursor that fetches rows."""

    def __init__(self, rows: list[tuple[Any, ...]]) -> None:
        self._rows = rows

    def fetchone(self) -> tuple[Any, ...] | None:
        return self._rows[0] if self._rows else None

    def fetchall(self) -> list[tuple[Any, ...]]:
        return self._rows


class ReadConnection:
    """Queries one log. Any thread may use it; one query runs at a time."""

    def __init__(self, db: Path, *, strict: bool = True, rows: bool = True) -> None:
        """Use ``open`` instead."""
        self.db = db
        self._strict = strict
        self._rows = strict and rows
        self._budget: Budget | None = None
        self._examined: tuple[int, int] | None = None
        """SQLite's change numbers of the content and the schema at the last successful check."""
        self._mutex = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._standing: UnsharedFiles | None = None
        """The files of the log, if they are read without shared memory."""
        self._views = 0
        self._pid = os.getpid()

    @classmethod
    def open(cls, path: Path, *, strict: bool = True, rows: bool = True) -> Self:
        """Open the log at *path*.

        Raises ``LedgerOpenError`` if the log is missing, unreadable, of a newer format, or not a
        ledger.

        Code ``ledger.schema`` means that the file has tables, views, indexes or triggers that do
        not belong to a log; ``ledger.rows`` means that it has rows with impossible record numbers.
        Callers that report or repair damage pass False for *strict*: only the table of records must
        then be correct. Callers that prove each row they use (``ledger.proved``) pass False for
        *rows*, so that a harmless row does not block calls.
        """
        db = Path(os.path.realpath(path))
        if not _regular(db):
            raise missing_ledger()
        reader = cls(db, strict=strict, rows=rows)
        try:
            reader.ask("SELECT count(*) FROM record WHERE seq = 0")
        except LedgerOpenError:
            reader.close()
            raise
        except LedgerError as error:
            reader.close()
            raise LedgerOpenError(error.message, code=error.code, hint=error.hint) from None
        handles.register(reader, weakly=True)
        return reader

    def close(self) -> None:
        """Close the connection. Idempotent; the next use opens it again."""
        with self._mutex:
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.close()
                self._leave()
                SharedLock.disconnected(self.db)

    def _leave(self) -> None:
        standing, self._standing = self._standing, None
        if standing is not None:
            standing.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __del__(self) -> None:
        if self._connection is not None and self._pid == os.getpid():
            self._connection.close()
            self._leave()
            SharedLock.disconnected(self.db)

    # -- queries
    # ----------------------------------------------------------------------------------------------

    def objects(self) -> dict[str, str]:
        """Return the SQL of every table, index, trigger and view in the file, keyed by name."""
        return dict(self.ask("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL"))

    def schema_fault(self) -> str:
        """Return a description of a wrong or foreign table, index, trigger or view, or an empty
        string if there is none.
        """
        return schema_fault(self.ask)

    def row_fault(self) -> str:
        """Return a description of the rows with impossible record numbers, or an empty string if
        there are none.
        """
        with self.snapshot():
            return row_fault(self.ask)

    def place_fault(self) -> str:
        """Return a description of a row before record 0, or an empty string if there is none."""
        return place_fault(self.ask)

    def surplus_fault(self) -> str:
        """Return a description of a table with more rows than the log's records can account for, or
        an empty string if there is none.
        """
        with self.snapshot():
            return surplus_fault(self.ask)

    def value_fault(self, *tables: str, start: int = 0) -> tuple[str, object] | None:
        """Return the table and the number of a row with a value that the schema forbids, or None.
        Checks only *tables*, or every table if none are given, and no record before *start*.
        """
        return value_fault(self.ask, tables, start)

    def to_mend(self) -> tuple[list[tuple[str, str]], list[str]] | None:
        """Return (type, name) of the foreign objects in the file, and the names of guardrail's
        missing objects.

        Return None if a table of the log itself is wrong.
        """
        return to_mend(self.ask)

    def ask(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Return the rows of a reading statement. Raises ``LedgerError``.

        Only for this package. All other code uses the named reads in ``ledger.storage``.
        """

        def ask(connection: sqlite3.Connection) -> list[tuple[Any, ...]]:
            if connection.in_transaction:
                return connection.execute(sql, values).fetchall()
            # The check of the schema and the query see the same file, regardless of concurrent
            # writes.
            connection.execute("BEGIN")
            try:
                self._examine(connection)
                return connection.execute(sql, values).fetchall()
            finally:
                if connection.in_transaction:
                    with contextlib.suppress(sqlite3.Error):
                        connection.execute("ROLLBACK")

        return self._with(ask)

    def _execute(self, sql: str, values: Sequence[object] = ()) -> Any:
        """Run SQL like a connection's ``execute``, but fetch all rows. Used for reads that are also
        available on a writer's connection.
        """
        return _Rows(self.ask(sql, *values))

    # -- one consistent view
    # ----------------------------------------------------------------------------------------

    @contextmanager
    def snapshot(self) -> Iterator[Self]:
        """Read from a single snapshot of the log inside the block. Do not keep the block open for
        long.
        """
        with self._mutex:
            outermost = self._views == 0
            if outermost:
                self._with(lambda connection: connection.execute("BEGIN"))
            self._views += 1
            try:
                if outermost:
                    self._with(self._examine)  # a transaction begins with its first read
                yield self
            finally:
                self._views -= 1
                if outermost and self._connection is not None:
                    try:
                        self._with(lambda connection: connection.execute("COMMIT"))
                    except LedgerError:
                        # nothing was written; the next query opens a new connection
                        self.close()

    def _examine(self, connection: sqlite3.Connection) -> None:
        """Check, inside a transaction, that its snapshot contains a log and nothing else. Skipped
        if nothing has changed since the last check.

        Raises ``LedgerError``, ``sqlite3.Error``.
        """
        content = data_version(connection)
        known = self._examined
        if known is not None and known[0] == content:
            return
        version = schema_version(connection)

        def ask(query: str) -> list[tuple[Any, ...]]:
            return connection.execute(query).fetchall()

        if known is None or known[1] != version:
            fault = schema_fault(ask) if self._strict else record_fault(ask)
            if fault:
                raise schema_error(fault)
        if self._rows:
            fault = row_fault(ask)
            if fault:
                raise LedgerError(
                    f"the ledger was changed by someone without its keys: {fault}",
                    code="ledger.rows",
                    hint="guardrail verify",
                )
        self._examined = (content, version)

    def _with(self, ask: Callable[[sqlite3.Connection], T]) -> T:
        with self._mutex:
            try:
                connection = self._connected()
                assert self._budget is not None
                self._budget.begin()
                answer = ask(connection)
                if self._standing is not None:
                    self._standing.check()
                return answer
            except (sqlite3.Error, OSError) as error:
                raise read_error(error, self.db) from error

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            if handles.tainted(self.db):
                raise LedgerError(
                    "a connection was in use when this process was forked", code="ledger.forked"
                )
            try:
                self._connection, self._standing = connect_anywhere(self.db)
            except (sqlite3.Error, OSError) as error:
                raise open_error(error, self.db, write=False) from error
            self._budget, self._examined = Budget(self._connection, self.db), None
            self._pid = os.getpid()
            SharedLock.connected(self.db)
        return self._connection

    # -- other handles and forks (guardrail.ledger.sqlite.handles)
    # ---------------------------------------------------------

    def retire(self) -> None:
        """Close the connection unless it is in use; the next query opens it again."""
        if self._mutex.acquire(timeout=0.1):
            try:
                if not self._views:
                    self.close()
            finally:
                self._mutex.release()

    def before_fork(self) -> None:
        """Close the connection, because a forked child must not inherit one."""
        self.retire()

    def after_fork_in_parent(self) -> None:
        """Do nothing: the next query opens the connection again."""

    def after_fork_in_child(self) -> None:
        """Reset this connection. If it was in use when the process was forked, this process must
        not open the log again.
        """
        self._mutex = threading.RLock()
        self._views = 0
        if self._connection is not None:
            handles.keep_alive(self._connection)
            self._connection = self._standing = None  # the parent removes the copy
            handles.taint(self.db)


def _regular(db: Path) -> bool:
    """Return True if there is a file at *db*.

    Raises ``LedgerOpenError`` if it is not a regular file, such as a FIFO.
    """
    try:
        found = os.stat(db)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        missing = permission_error(error, db, write=False)
        raise missing or unexaminable(db, error) from None
    if not stat.S_ISREG(found.st_mode):
        raise not_a_file(db)
    return True
