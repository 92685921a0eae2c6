"""The database of an index: its reads, and the transactions that add and remove rows."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, Self

from guardrail.review.index.build import (
    APPLICATION_ID,
    FORMAT,
    OBJECTS,
    create_temporary,
    create_whole,
)
from guardrail.review.index.rows import COLUMNS, LOCATORS, SEARCHED, IndexRow
from guardrail.system.sqlite import SQLiteConnection

__all__ = [
    "About",
    "Found",
    "IndexStore",
    "ReplacedIndexError",
    "StaleIndexError",
    "UnusableIndexError",
]

Found = tuple[int, tuple[object, ...]]
"""Number of a record, and its ``LOCATORS`` according to the index."""

PATIENCE = 10.0
"""Seconds to wait for another program that has locked the file."""
_MAX_VALUE = 1 << 26
_MEMORY_KB = 65_536
"""Memory of a temporary index. Beyond that, SQLite uses an unnamed file."""
_LAST = "\U0010ffff"
_DIGITS = 24
"""Length of the last part of a token."""
_MOST_KINDS = 10_000
_MOST = (1 << 63) - 1
_FOUND = f"SELECT {', '.join(LOCATORS)} FROM record"  # noqa: S608 - constants
# Without statistics, SQLite may prefer the index on the type. The unary + in "+type" rules that
# index out.
_SESSION = "session = ? AND tenant = ? AND principal = ? AND agent = ?"
_DAMAGE = ("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_FORMAT", "SQLITE_IOERR_SHORT_READ")
_WORDS = {
    "SQLITE_FULL": "there is no room for it",
    "SQLITE_READONLY": "it can't be written to",
    "SQLITE_CANTOPEN": "it can't be opened",
    "SQLITE_PERM": "it can't be opened",
    "SQLITE_BUSY": "another program has locked it",
    "SQLITE_IOERR": "the system reports an I/O error",
}


class ReplacedIndexError(Exception):
    """Another process has replaced the index file. The index must be opened again."""


class StaleIndexError(Exception):
    """The index must be rebuilt. The exception message gives the reason."""


class UnusableIndexError(Exception):
    """The index can't be used now, and must not be changed. The exception message gives the
    reason.
    """


@dataclass(frozen=True, slots=True)
class About:
    """The records from which an index was built."""

    ledger: str
    """Real path of the ledger."""
    log: str
    """Origin name of the log."""
    genesis: str
    """Leaf of line 0, hex, or an empty string if the ledger has no line 0."""
    first: int
    """Number of the first record after line 0."""
    next: int
    """Number of the first record that is not in the index."""
    leaf: str
    """Leaf of record ``next - 1``, hex."""
    records: int
    """Number of rows."""
    updated: str
    """Time of the last change, RFC 3339 UTC."""


class IndexStore:
    """One open index. Used by one thread. Raises ``StaleIndexError`` and ``UnusableIndexError``."""

    def __init__(self, connection: sqlite3.Connection, *, whole: bool) -> None:
        """Use ``open``, ``create`` or ``temporary`` instead."""
        self._connection = connection
        self.inode = 0
        """Inode number of the file when it was opened, or 0 for a temporary index."""
        self.whole = whole
        """False for a temporary index, which has only the columns that commands search."""
        names = tuple(COLUMNS if whole else LOCATORS)
        self._insert = _insertion("record", names)
        self._searched = [names.index(name) for name in SEARCHED] if whole else []

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open the index at *path*, which must exist."""
        try:
            inode = os.stat(path).st_ino
        except OSError:
            inode = -1  # another process is replacing it
        with _converted():
            uri = f"file:{_quoted(path)}?mode=rw"
            store = cls(_connect(uri, uri=True), whole=True)
            store.inode = inode
        try:
            with _converted():
                store._check()
        except BaseException:
            store.close()
            raise
        return store

    @classmethod
    def create(cls, path: Path) -> None:
        """Create an empty index in the empty file *path*."""
        with _converted():
            connection = _connect(str(path))
            try:
                create_whole(connection)
            finally:
                connection.close()

    @classmethod
    def temporary(cls) -> Self:
        """Return a new index that no other process can see and that disappears when closed."""
        with _converted():
            connection = _connect("")
            connection.execute(f"PRAGMA cache_size = -{_MEMORY_KB}")
            create_temporary(connection)
            return cls(connection, whole=False)

    def close(self) -> None:
        """Close the index. Idempotent."""
        self._connection.close()

    def _check(self) -> None:
        ask = self._connection.execute
        if ask("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
            raise StaleIndexError("it is not a guardrail index")
        version = ask("PRAGMA user_version").fetchone()[0]
        if version > FORMAT:
            raise UnusableIndexError(
                f"a later version of guardrail made it (format {version}; this version makes "
                f"{FORMAT})"
            )
        if version < FORMAT:
            raise StaleIndexError("an earlier version of guardrail made it")
        objects = ask("SELECT type, name FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%'")
        if frozenset(objects.fetchall()) != OBJECTS:
            raise StaleIndexError("its tables were changed")
        about = self.about()
        (count,) = ask("SELECT count(*) FROM record").fetchone()
        if count != (about.records if about is not None else 0):
            raise StaleIndexError("rows were added to it or removed from it")

    # -- reads -------------------------------------------------------------------------------------

    def about(self) -> About | None:
        """Return the records from which the index was built, or None if it is empty."""
        names = ", ".join(About.__slots__)
        rows = self._ask(f"SELECT {names} FROM about WHERE id = 0")  # noqa: S608 - constants
        if not rows:
            return None
        values: Any = rows[0]
        about = About(*values)
        if not all(isinstance(value, int) for value in (about.first, about.next, about.records)):
            raise StaleIndexError("its description was changed")
        return about

    def of_call(self, call: str) -> list[Found]:
        """Return the decision of *call*, its outcome, its claims and its rejection, in order."""
        where = (
            "call = ? AND +type IN ('call.decision', 'call.outcome', 'call.claim', 'call.rejected')"
        )
        return self._find(f"{where} ORDER BY seq", call)

    def of_session(self, session: str) -> list[Found]:
        """Return the decisions and rejections in the sessions with the id *session*, in order."""
        where = "session = ? AND +type IN ('call.decision', 'call.rejected')"
        return self._find(f"{where} ORDER BY seq", session)

    def in_session(self, *key: str) -> list[Found]:
        """Return every record of the session with this id, tenant, principal and agent."""
        where = f"{_SESSION} AND +type LIKE 'call.%' AND +type <> 'call.throttled'"
        return self._find(f"{where} ORDER BY seq", *key)

    def of_type(self, type_: str) -> list[Found]:
        """Return the records of *type_*, in order."""
        return self._find("type = ? ORDER BY seq", type_)

    def of_approval(self, approval: str) -> list[Found]:
        """Return the steps of *approval*, in order, without its request."""
        return self._find("approval = ? AND ordinal IS NOT NULL ORDER BY ordinal, seq", approval)

    def not_records(self) -> list[Found]:
        """Return the first line that is not a record, or nothing."""
        return self._find("type IS NULL ORDER BY seq LIMIT 1")

    def calls_from(self, prefix: str, limit: int) -> list[Found]:
        """Return the first record of at most *limit* calls whose id begins with *prefix*, in the
        order of the ids.
        """
        return self._find(
            "seq IN (SELECT min(seq) FROM record WHERE call >= ? AND call < ? AND +type IN "
            "('call.decision', 'call.outcome') GROUP BY call ORDER BY call LIMIT ?) ORDER BY call",
            prefix,
            prefix + _LAST,
            limit,
        )

    def sessions_from(self, prefix: str, limit: int) -> list[Found]:
        """Return the first record of at most *limit* session ids that begin with *prefix*, in the
        order of the ids.
        """
        return self._find(
            "seq IN (SELECT min(seq) FROM record WHERE session >= ? AND session < ? AND +type IN "
            "('call.decision', 'call.rejected') GROUP BY session ORDER BY session LIMIT ?) "
            "ORDER BY session",
            prefix,
            prefix + _LAST,
            limit,
        )

    def sessions(self, limit: int | None) -> list[tuple[str, str, str, str]]:
        """Return id, tenant, principal and agent of the last *limit* sessions, most recently
        started first.
        """
        query = (
            "SELECT session, tenant, principal, agent FROM session "
            "ORDER BY first_seq DESC, last_seq DESC LIMIT ?"
        )
        return [
            (str(row[0]), str(row[1]), str(row[2]), str(row[3]))
            for row in self._ask(query, -1 if limit is None else limit)
        ]

    def session_count(self) -> int:
        """Return the number of sessions."""
        return int(str(self._ask("SELECT count(*) FROM session")[0][0]))

    def tenants(self) -> list[str]:
        """Return the tenants of all sessions."""
        rows = self._ask("SELECT DISTINCT tenant FROM session")
        return [row[0] for row in rows if isinstance(row[0], str)]

    def token_kinds(self) -> list[str]:
        """Return the beginning of each token, up to its last colon: its class and its key."""
        kinds: list[str] = []
        after = ""
        # There are few kinds, so each query skips all other tokens of a kind.
        while len(kinds) < _MOST_KINDS:
            rows = self._ask(
                "SELECT token FROM token WHERE token > ? ORDER BY token LIMIT 1", after
            )
            if not rows:
                return kinds
            kind = str(rows[0][0])[:-_DIGITS]
            if not kind.endswith(":"):
                raise StaleIndexError("a token was changed")
            kinds.append(kind)
            after = kind + _LAST
        raise StaleIndexError("its tokens were changed")

    def count_tokens(self, tokens: Sequence[str]) -> int:
        """Return the number of records that contain one of *tokens*."""
        if len(tokens) == 1:
            rows = self._ask("SELECT count(*) FROM token WHERE token = ?", tokens[0])
            return int(str(rows[0][0]))
        return len(self._seqs(tokens))

    def of_tokens(self, tokens: Sequence[str], before: int, limit: int) -> list[Found]:
        """Return the last *limit* records with a number below *before* that contain one of
        *tokens*, latest first. If *limit* is negative, return all of them.
        """
        seqs = sorted((seq for seq in self._seqs(tokens, before, limit)), reverse=True)
        if limit >= 0:
            del seqs[limit:]
        return self.of_numbers(seqs)

    def of_numbers(self, seqs: Sequence[int]) -> list[Found]:
        """Return the records with these numbers, in this order."""
        found: list[Found] = []
        for seq in seqs:
            found += self._find("seq = ?", seq)
        return found

    def _seqs(self, tokens: Sequence[str], before: int = _MOST, limit: int = -1) -> set[int]:
        query = "SELECT seq FROM token WHERE token = ? AND seq < ? ORDER BY seq DESC LIMIT ?"
        seqs = (row[0] for token in tokens for row in self._ask(query, token, before, limit))
        return {seq for seq in seqs if isinstance(seq, int)}

    def _find(self, where: str, *values: object) -> list[Found]:
        rows = self._ask(f"{_FOUND} WHERE {where}", *values)
        found = []
        for row in rows:
            seq = row[0]
            if not isinstance(seq, int):
                raise StaleIndexError("a row was changed")
            found.append((seq, row))
        return found

    def _ask(self, query: str, *values: object) -> list[tuple[object, ...]]:
        with _converted():
            return self._connection.execute(query, values).fetchall()

    # -- changes -----------------------------------------------------------------------------------

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make all changes in the block, or none of them."""
        with _converted():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def add(self, rows: Sequence[IndexRow]) -> None:
        """Add *rows*, whose numbers are not in the index yet. Call this in a transaction."""
        run = self._connection.executemany
        run(self._insert, (row.values for row in rows))
        run(
            "INSERT INTO session VALUES (?, ?, ?, ?, ?, ?) "
            "ON CONFLICT DO UPDATE SET last_seq = excluded.last_seq",
            ((*row.values[4:8], row.values[0], row.values[0]) for row in rows if row.in_session),
        )
        if self.whole:
            run("INSERT INTO token VALUES (?, ?, ?)", _tokens(rows))
            run(
                _insertion("record_fts", ("rowid", *SEARCHED)),
                ((row.values[0], *(row.values[at] for at in self._searched)) for row in rows),
            )

    def remove_before(self, first: int) -> int:
        """Remove the rows of records 1 to *first* - 1, and return their number. Their content is
        overwritten. Call this in a transaction.
        """
        run = self._connection.execute
        if self.whole:
            names = ", ".join(SEARCHED)
            # The search index of an external content table needs the old values to delete them.
            run(
                f"INSERT INTO record_fts (record_fts, rowid, {names}) "  # noqa: S608 - constants
                f"SELECT 'delete', seq, {names} FROM record WHERE seq > 0 AND seq < ?",
                (first,),
            )
            run("DELETE FROM token WHERE seq > 0 AND seq < ?", (first,))
        removed = run("DELETE FROM record WHERE seq > 0 AND seq < ?", (first,)).rowcount
        run("DELETE FROM session WHERE last_seq < ?", (first,))
        run(
            "UPDATE session SET first_seq = coalesce((SELECT min(record.seq) FROM record WHERE "
            "record.session = session.session AND record.tenant = session.tenant AND "
            "record.principal = session.principal AND record.agent = session.agent), last_seq) "
            "WHERE first_seq < ?",
            (first,),
        )
        if self.whole and removed:
            # The words of deleted rows stay in the segments of the search index until the segments
            # are merged.
            run("INSERT INTO record_fts (record_fts) VALUES ('optimize')")
        return removed

    def describe(self, about: About) -> None:
        """Store the records from which the index was built. Call this in a transaction."""
        run = self._connection.execute
        run("DELETE FROM about")
        run(_insertion("about", ("id", *About.__slots__)), (0, *astuple(about)))


def _insertion(table: str, names: Sequence[str]) -> str:
    places = ", ".join("?" * len(names))
    return f"INSERT INTO {table} ({', '.join(names)}) VALUES ({places})"  # noqa: S608 - constants


def _tokens(rows: Iterable[IndexRow]) -> Iterator[tuple[object, ...]]:
    for row in rows:
        for token, class_ in row.tokens:
            yield token, class_, row.values[0]


def _connect(where: str, *, uri: bool = False) -> sqlite3.Connection:
    connection = sqlite3.connect(
        where, uri=uri, timeout=PATIENCE, isolation_level=None, factory=SQLiteConnection
    )
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MAX_VALUE)
    connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    for setting in ("trusted_schema = OFF", "cell_size_check = ON", "secure_delete = ON"):
        connection.execute(f"PRAGMA {setting}")
    connection.execute("PRAGMA synchronous = NORMAL")
    return connection


@contextmanager
def _converted() -> Iterator[None]:
    """Convert errors from SQLite."""
    try:
        yield
    except sqlite3.Error as error:
        name = str(getattr(error, "sqlite_errorname", None) or "")
        if name.startswith(_DAMAGE):
            raise StaleIndexError(f"it is damaged ({name})") from None
        words = next((words for code, words in _WORDS.items() if name.startswith(code)), "")
        if words:
            raise UnusableIndexError(f"{words} ({name})") from None
        raise StaleIndexError(f"it can't be used ({name or type(error).__name__})") from None


def _quoted(path: Path) -> str:
    return str(path).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
