"""Stores the logs that a witness serves, and the newest cosigned head of each log.

The check against the stored head and the update are one transaction, and a cosignature is sent only
after the transaction is durable. A crash therefore never leads to cosignatures on two roots for the
same size, or on a smaller tree after a larger one. Never restore the database from a backup: a
witness that has forgotten heads does more harm than a missing witness.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Self

from guardrail.core.log.checkpoint import Algorithm, Checkpoint, NoteKey, SignedNote
from guardrail.core.log.merkle import EMPTY_ROOT, verify_consistency
from guardrail.errors import ConfigError, GuardrailError, LedgerOpenError, NoteError, os_reason
from guardrail.system.disk import is_full, no_room
from guardrail.system.durable import sync_directory
from guardrail.system.sqlite import SQLiteConnection

__all__ = ["WitnessRuling", "WitnessStore", "WitnessVerdict", "WitnessedLog"]

_APPLICATION_ID = 0x67727731  # "grw1"
_MAX_EVIDENCE = 100
"""Maximum number of rejected heads stored for one log. Each has a valid signature, so a few are
sufficient proof.
"""
_BUSY_S = 10.0

_TABLES = """
CREATE TABLE me(id INTEGER PRIMARY KEY CHECK (id = 0), key TEXT NOT NULL) STRICT;
CREATE TABLE log(origin TEXT PRIMARY KEY, key TEXT NOT NULL) STRICT;
CREATE TABLE head(
    origin TEXT PRIMARY KEY REFERENCES log(origin),
    size INTEGER NOT NULL, root BLOB NOT NULL, note TEXT NOT NULL
) STRICT;
CREATE TABLE refused(
    id INTEGER PRIMARY KEY, origin TEXT NOT NULL, time INTEGER NOT NULL, why TEXT NOT NULL,
    old INTEGER NOT NULL, note TEXT NOT NULL
) STRICT;
"""


class WitnessRuling(StrEnum):
    """A witness's decision about a head with a valid signature."""

    COSIGNED = "cosigned"
    WRONG_OLD_SIZE = "wrong_old_size"
    """The witness's head has a different size than the request states."""
    FORK = "fork"
    """The witness's head has the same size but a different root."""
    BAD_PROOF = "bad_proof"
    """The proof does not lead from the witness's root to the new root."""


@dataclass(frozen=True, slots=True)
class WitnessVerdict:
    """A witness's complete response about one head."""

    ruling: WitnessRuling
    size: int
    """Size of the witness's current head."""
    note: SignedNote | None = None
    """The head with the cosignature, durably stored, or None if it was not cosigned."""


@dataclass(frozen=True, slots=True)
class WitnessedLog:
    """A log that the witness serves."""

    key: NoteKey
    size: int | None
    """Size of the newest cosigned head, or None if no head was cosigned."""
    refused: int
    """Number of heads with a valid signature that did not extend the stored head. Each of them
    proves that someone forked or truncated this log.
    """


class WitnessStore:
    """The database of one witness. Thread-safe, and several processes may open it."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Use ``create`` or ``open`` instead."""
        self._connection = connection
        self._mutex = threading.Lock()

    @classmethod
    def create(cls, path: Path, key: NoteKey) -> WitnessStore:
        """Create the database of the witness with *key*; durable when this returns.

        Raises ``ConfigError`` if it already exists.
        """
        if os.path.lexists(path):
            raise ConfigError(
                f"{path}: the file already exists; nothing was changed",
                code="witness.exists",
                hint="guardrail witness serve --db FILE --key FOLDER, or choose a different --db",
            )
        # The database is created under a temporary name, and linked when it is complete, because an
        # incomplete database would look like a witness that has not cosigned any head.
        temporary = path.with_name(f"{path.name}.{os.getpid()}-new")
        try:
            descriptor = os.open(
                temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600
            )
            os.close(descriptor)
            made = _connect(temporary)
            with contextlib.closing(made):
                made.executescript(f"BEGIN; {_TABLES} PRAGMA application_id = {_APPLICATION_ID};")
                made.execute("INSERT INTO me(id, key) VALUES (0, ?)", (str(key),))
                made.execute("COMMIT")
            os.link(temporary, path)
            os.unlink(temporary)
            sync_directory(path.parent)
        except (OSError, sqlite3.Error) as error:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            why = os_reason(error) if isinstance(error, OSError) else type(error).__name__
            if is_full(error, path):
                why = no_room(path)
            raise ConfigError(
                f"{path}: can't create a database there ({why})", code="witness.create"
            ) from None
        return cls.open(path, key)

    @classmethod
    def open(cls, path: Path, key: NoteKey | None = None) -> WitnessStore:
        """Open the database. *key* must be the key for which it was created.

        Raises ``LedgerOpenError`` or ``ConfigError``.
        """
        if not path.exists():
            raise LedgerOpenError(
                f"{path}: this database does not exist; a witness without its database would "
                "cosign any head",
                code="witness.missing",
                hint="guardrail witness init --db FILE --key FOLDER --name NAME",
            )
        not_one = LedgerOpenError(
            f"{path}: not a witness database, or damaged",
            code="witness.database",
            hint="use the file that guardrail witness init created",
        )
        try:
            connection = _connect(path)
        except sqlite3.Error:
            raise not_one from None
        try:
            found = connection.execute("PRAGMA application_id").fetchone()[0]
            row = connection.execute("SELECT key FROM me").fetchone()
        except sqlite3.Error:
            found = row = None
        if found != _APPLICATION_ID or row is None:
            connection.close()
            raise not_one
        if key is not None and row[0] != str(key):
            connection.close()
            raise ConfigError(
                f"{path}: this database does not belong to the witness with this key",
                code="witness.other_key",
                hint="use the --db and --key that were created together",
            )
        return cls(connection)

    def close(self) -> None:
        """Close the database. Idempotent."""
        with self._mutex:
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- logs
    # ----------------------------------------------------------------------------------------------

    def add(self, key: NoteKey) -> bool:
        """Serve the log *key* from now on. Return False if it was already served.

        Raises ``ConfigError`` if the log is registered with a different key: a witness never
        changes a log's key.
        """
        if key.algorithm is not Algorithm.ED25519:
            raise ConfigError(
                "this is not a log's key: its type is not 0x01",
                code="witness.key",
                hint="use the key that guardrail keys prints",
            )
        with self._transaction():
            row = self._connection.execute(
                "SELECT key FROM log WHERE origin = ?", (key.name,)
            ).fetchone()
            if row is not None and row[0] != str(key):
                raise ConfigError(
                    "this log is registered with a different key",
                    code="witness.other_key",
                    hint="a log with a new key is a new log: give it a new name",
                )
            if row is None:
                self._connection.execute(
                    "INSERT INTO log(origin, key) VALUES (?, ?)", (key.name, str(key))
                )
            return row is None

    def key_of(self, origin: str) -> NoteKey | None:
        """Return the key of the log *origin*, or None if it is not served."""
        with self._read_transaction():
            row = self._connection.execute(
                "SELECT key FROM log WHERE origin = ?", (origin,)
            ).fetchone()
        return None if row is None else NoteKey.parse(row[0])

    def latest(self, origin: str) -> SignedNote | None:
        """Return the newest head of *origin* with its cosignature, or None."""
        with self._read_transaction():
            row = self._connection.execute(
                "SELECT note FROM head WHERE origin = ?", (origin,)
            ).fetchone()
        return None if row is None else SignedNote.parse(row[0])

    def logs(self) -> list[WitnessedLog]:
        """Return every log that this witness serves, sorted by name."""
        with self._read_transaction():
            rows = self._connection.execute(
                "SELECT log.key, head.size,"
                " (SELECT count(*) FROM refused WHERE refused.origin = log.origin)"
                " FROM log LEFT JOIN head USING (origin) ORDER BY log.origin"
            ).fetchall()
        return [WitnessedLog(NoteKey.parse(key), size, refused) for key, size, refused in rows]

    def evidence(self, origin: str) -> list[SignedNote]:
        """Return the rejected heads of *origin* that have valid signatures, oldest first."""
        with self._read_transaction():
            rows = self._connection.execute(
                "SELECT note FROM refused WHERE origin = ? ORDER BY id", (origin,)
            ).fetchall()
        return [SignedNote.parse(row[0]) for row in rows]

    def refused_since(self, origin: str, time: int) -> int:
        """Return the number of heads of *origin* with valid signatures that were rejected at *time*
        (seconds since 1970) or later. If the limit on stored heads has been reached, return the
        number of all stored heads, because the times of later rejections are unknown.
        """
        with self._read_transaction():
            query = "SELECT count(*), coalesce(sum(time >= ?), 0) FROM refused WHERE origin = ?"
            kept, since = self._connection.execute(query, (time, origin)).fetchone()
        return int(kept if kept >= _MAX_EVIDENCE else since)

    # -- the one decision
    # ---------------------------------------------------------------------------------------------

    def judge(
        self,
        old: int,
        proof: Sequence[bytes],
        note: SignedNote,
        now: int,
        cosign: Callable[[str, int], SignedNote],
    ) -> WitnessVerdict:
        """Check *note*, a head of a served log with a valid signature, against the stored head, and
        store it.

        *cosign* returns a text cosigned at *now*. The result is durable. Raises ``GuardrailError``
        if the database can't be read or written; no head was cosigned in that case.
        """
        head = Checkpoint.parse(note.text)
        with self._transaction():
            row = self._connection.execute(
                "SELECT size, root FROM head WHERE origin = ?", (head.origin,)
            ).fetchone()
            # Before its first head, a witness has the empty tree, and every tree extends that.
            size, root = (0, EMPTY_ROOT) if row is None else row
            ruling = _ruling(Checkpoint(head.origin, size, root), head, old, proof)
            if ruling is not WitnessRuling.COSIGNED:
                if ruling is not WitnessRuling.WRONG_OLD_SIZE:
                    self._keep_evidence(head.origin, now, ruling, old, note)
                return WitnessVerdict(ruling, size)
            cosigned = cosign(note.text, now)
            kept = note.with_signatures(cosigned.signatures)
            self._connection.execute(
                "INSERT INTO head(origin, size, root, note) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (origin) DO UPDATE"
                " SET size = excluded.size, root = excluded.root, note = excluded.note",
                (head.origin, head.size, head.root, str(kept)),
            )
        # The transaction is durable, so the cosignature may be sent now.
        return WitnessVerdict(WitnessRuling.COSIGNED, head.size, cosigned)

    def _keep_evidence(
        self, origin: str, now: int, ruling: WitnessRuling, old: int, note: SignedNote
    ) -> None:
        self._connection.execute(
            "INSERT INTO refused(origin, time, why, old, note) SELECT ?, ?, ?, ?, ?"
            " WHERE (SELECT count(*) FROM refused WHERE origin = ?) < ?"
            " AND NOT EXISTS (SELECT 1 FROM refused WHERE origin = ? AND note = ?)",
            (origin, now, ruling.value, old, str(note), origin, _MAX_EVIDENCE, origin, str(note)),
        )

    @contextlib.contextmanager
    def _transaction(self) -> Generator[None]:
        with self._read_transaction():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                # A failed commit may still be durable. The database may therefore be ahead of the
                # responses, but never behind.
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def _read_transaction(self) -> Generator[None]:
        with self._mutex:
            try:
                yield
            except sqlite3.Error as error:
                raise GuardrailError(
                    f"the witness's database can't be read or written ({type(error).__name__})",
                    code="witness.database",
                    hint="check the disk that contains the database",
                ) from None
            except NoteError:
                raise GuardrailError(
                    "the witness's database is damaged", code="witness.database"
                ) from None


def _ruling(held: Checkpoint, head: Checkpoint, old: int, proof: Sequence[bytes]) -> WitnessRuling:
    if old != held.size:
        return WitnessRuling.WRONG_OLD_SIZE
    if head.size == held.size and head.root != held.root:
        return WitnessRuling.FORK
    good = verify_consistency(held.size, held.root, head.size, head.root, proof)
    return WitnessRuling.COSIGNED if good else WitnessRuling.BAD_PROOF


def _connect(path: Path) -> sqlite3.Connection:
    # A rollback journal is used, and its removal is synced as well (EXTRA), because several
    # processes can commit, and SQLite before 3.51.3 can then lose pages of a WAL. Commits are rare
    # here, so the cost does not matter.
    connection = sqlite3.connect(
        path,
        timeout=_BUSY_S,
        isolation_level=None,
        check_same_thread=False,
        factory=SQLiteConnection,
    )
    try:
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("PRAGMA synchronous = EXTRA")
        connection.execute("PRAGMA foreign_keys = ON")
    except BaseException:
        connection.close()
        raise
    return connection
