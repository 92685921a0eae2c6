"""A writer's connection, and the statements of its transaction.

For use by one thread, under the file lock.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from guardrail.core.log.checkpoint import HeadSigner
from guardrail.core.log.merkle import Edge
from guardrail.core.log.record import Draft, decode, leaf_hash
from guardrail.core.log.suspensions import NO_SUSPENSION
from guardrail.core.types import Receipt
from guardrail.errors import (
    LedgerError,
    LedgerOpenError,
    LedgerPoisonedError,
    RecordError,
)
from guardrail.ledger.epochs import Rotation
from guardrail.ledger.files import utc_timestamp
from guardrail.ledger.heads import (
    HeadKey,
    HeadRow,
    Signing,
    head_problem,
    head_signer,
    sign_head,
)
from guardrail.ledger.lease import host_name, process_name
from guardrail.ledger.rows import EpochRow, OpenCall
from guardrail.ledger.sqlite import handles
from guardrail.ledger.sqlite.batch import Batch
from guardrail.ledger.sqlite.constraints import place_fault, row_fault
from guardrail.ledger.sqlite.database import check_schema, connect, data_version, schema_version
from guardrail.ledger.sqlite.handles import SharedLock
from guardrail.ledger.sqlite.located import LocatedRows, require_outcome, wrong_call
from guardrail.ledger.sqlite.pruning import pruned_before
from guardrail.ledger.sqlite.size import used_bytes
from guardrail.ledger.sqlite.tree import HEAD_COLUMNS, SQLiteTreeWriter, head_of
from guardrail.ledger.steps import Steps
from guardrail.ledger.storage import SUSPENSIONS_CHANGED, RecordRow, Tail
from guardrail.ledger.tree import TILE, kept_leaves

__all__ = ["Store"]

_TAIL = (
    f"SELECT record.seq, record.leaf, {HEAD_COLUMNS} FROM record "  # noqa: S608 - a constant
    "LEFT JOIN head ON head.id = 0 "
    "ORDER BY record.seq DESC LIMIT 1"
)
"""The last record and the head, in one statement."""


class Store(SQLiteTreeWriter):
    """A connection that appends records. Implements ``ledger.storage.AppendingStorage``. Only
    ``close(clean=True)`` checkpoints.
    """

    def __init__(self, db: Path, signing: Signing) -> None:
        """Connect to *db*. If this raises ``LedgerOpenError``, ``sqlite3.Error`` or ``OSError``, no
        connection stays open.
        """
        if handles.tainted(db):
            raise LedgerPoisonedError(
                "a connection was in use when this process was forked", code="ledger.forked"
            )
        self.db = db
        self.genesis: dict[str, Any] = {}
        """Line 0, decoded, or an empty dictionary if it does not exist."""
        self._signing = signing
        self._known: HeadRow | None = None
        """The head that this connection last wrote or authenticated."""
        self._signer_key: HeadKey | None = None
        self._signer: HeadSigner | None = None
        """Signs with the key that signed last."""
        self._connection, self._schema = connect(db)
        """The connection, and the version of the schema that was compared."""
        self._content: int | None = None
        """SQLite's change number of the content at the last transaction of this connection. Commits
        of other connections change it.
        """
        self._certified: str | None = None
        """The key that was found to be certified and not retired, valid until the content changes.
        """
        self._end: Tail | None = None
        """The end of the log as last committed here. Valid until the content changes."""
        self._signed: Tail | None = None
        """The end of the log that the current transaction has signed."""
        super().__init__(self._connection.execute)
        self._located = LocatedRows(self._connection.execute)
        SharedLock.connected(db)
        try:
            SharedLock.acquire(db)
        except OSError:
            self._connection.close()
            SharedLock.disconnected(db)
            raise
        try:
            line = self.line(0)
            if line is not None:
                self.genesis = decode(line)
        except RecordError:
            pass  # reported when the tail is verified
        except BaseException:
            self.close()
            raise

    @property
    def log(self) -> str:
        """The log's origin name, from line 0."""
        return str(self.genesis.get("log", ""))

    def close(self, *, clean: bool = False) -> None:
        """Close the connection. If *clean* is True, SQLite may clean up if no other connection is
        open in any process.
        """
        if clean:
            SharedLock.release(self.db)
        # An error while closing loses nothing, because every acknowledged record is synced.
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()
        if not clean:
            SharedLock.release(self.db)
        SharedLock.disconnected(self.db)

    def checkpoint(self, mode: str) -> bool:
        """Copy the ``-wal`` into the database. Return True if all of it was copied and synced.

        Raises ``sqlite3.Error``. With mode ``RESTART``, the next commit writes the ``-wal`` from
        its beginning.
        """
        busy, frames, copied = self._execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
        return not busy and frames == copied

    def begin(self) -> Tail:
        """Begin a write transaction; return the end of the log.

        Raises ``LedgerOpenError`` (``ledger.schema``) if the file has objects other than a log's
        tables, indexes and triggers, because a planted trigger would change the written data.
        Raises ``sqlite3.Error``.
        """
        self._execute("BEGIN IMMEDIATE")
        end, self._end, self._signed = self._end, None, None
        content = data_version(self._connection)
        if content == self._content:
            if end is not None:  # SQLite would read the same pages from its cache
                return end.begun_again()
            return self.tail()
        # Another process has written to the file. From now on, none can until this transaction
        # ends.
        if schema_version(self._connection) != self._schema:
            self._schema = check_schema(self._connection)
        self._content = content
        self._certified = None
        self._located.forget()
        return self.tail()

    def _ask(self, sql: str) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = self._execute(sql).fetchall()
        return rows

    def used_bytes(self) -> int:
        """Return the number of bytes of the database that are in use. Raises ``sqlite3.Error``."""
        return used_bytes(self._ask)

    def row_fault(self) -> str:
        """Return a description of the rows with impossible record numbers, or an empty string if
        there are none. Raises ``sqlite3.Error``.
        """
        return row_fault(self._ask)

    def tail(self) -> Tail:
        """Return the end of the log, from its head and its last record. Raises
        ``sqlite3.Error``.
        """
        row = self._execute(_TAIL).fetchone()
        if row is None:
            seq, leaf, head = -1, bytes(32), self.head()
        else:
            seq, leaf, head = row[0], row[1], head_of(row[2:])
        try:
            edge = Edge.decode(head.size, head.edge) if head is not None else Edge()
        except ValueError:
            return Tail(seq, leaf, Edge(), Edge(), "the head is malformed")
        fault = ""
        if head is None or head.size != seq + 1 or head.leaf != leaf:
            fault = f"the head does not cover record {seq}"
        elif head != self._known:
            fault = head_problem(head, self.log, self._signing)
            if not fault:
                self._known = head
        suspended = NO_SUSPENSION if head is None else head.suspended
        return Tail(seq, leaf, edge.copy(), edge, fault, suspended)

    def sign(self, tail: Tail, key: HeadKey) -> None:
        """Write the signed head for everything since ``begin``. This is the last step before
        ``commit``.

        Raises ``sqlite3.Error``, and ``KeysError`` if *key* belongs to a signer that does not sign.
        """
        if key is not self._signer_key:
            self._signer, self._signer_key = head_signer(self.log, key), key
        assert self._signer is not None
        head = sign_head(tail.leaf, tail.edge, self._signer, self._signing, tail.suspended)
        self.write_head(head)
        self._known = head
        self._signed = tail

    def commit(self) -> None:
        """Make all changes since ``begin`` durable.

        If this raises ``sqlite3.Error``, the commit may or may not be durable.
        """
        self._execute("COMMIT")
        self._end = self._signed

    def rollback(self) -> None:
        """Undo all changes since ``begin``, if that is still possible. Never raises."""
        self._known = None
        self._certified = None
        self._located.forget()
        if self._connection.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                self._execute("ROLLBACK")

    def add_all(self, drafts: Sequence[Draft], tail: Tail) -> list[Receipt | LedgerError]:
        """Call ``add`` for each of *drafts*, in order. Return a receipt or an error for each.

        Raises ``sqlite3.Error``.
        """
        if len(drafts) > 1 and all(draft.link is None for draft in drafts):
            receipts = self._add_together(drafts, tail)
            if receipts is not None:
                return receipts
        answers: list[Receipt | LedgerError] = []
        for draft in drafts:
            try:
                answers.append(self.add(draft, tail))
            except LedgerOpenError:
                raise  # this record is not the cause
            except LedgerError as refused:
                answers.append(refused)
        return answers

    def _add_together(
        self, drafts: Sequence[Draft], tail: Tail
    ) -> list[Receipt | LedgerError] | None:
        """Append all of *drafts* in a few statements, or none of them. If none were appended,
        return None; adding them one by one then shows which ones are refused.

        Each statement lets other threads run. With many callers, the commit thread would then wait
        for its next turn after each of them.
        """
        batch = Batch(tail.seq, tail.leaf, tail.edge)
        for draft in drafts:
            batch.take(draft)
        self._execute("SAVEPOINT batch")
        try:
            written = batch.write(self._execute, self._located, self.store_tile)
        except sqlite3.IntegrityError:
            written = False
        if not written:
            self._execute("ROLLBACK TO batch")
            self._located.forget()
        self._execute("RELEASE batch")
        if not written:
            return None
        tail.seq, tail.leaf, tail.edge = batch.seq, batch.leaf, batch.edge
        return batch.receipts

    def unproved_since(self, draft: Draft, tail: Tail) -> str:
        """Return a description of the problem with the records added since *draft*, a step of an
        approval, was judged, or an empty string if there is none.

        Without this check, *draft* could be written although a step was hidden from the index.
        Raises ``sqlite3.Error``.
        """
        if draft.judged is None or draft.approval is None:
            return ""
        try:
            steps = Steps(Edge.decode(*draft.judged))
            steps.reach(self, tail.edge.size, tail.edge.encode())
        except LedgerError as error:
            return error.message
        return ""

    def add(self, draft: Draft, tail: Tail) -> Receipt:
        """Append *draft* inside the transaction and advance *tail*. The record is not durable
        before ``commit``.

        Raises ``LedgerError`` if the record does not belong in this log (the transaction continues
        without it), and ``sqlite3.Error``.
        """
        ts = utc_timestamp()
        seq = tail.seq + 1
        line = draft.finish(seq=seq, prev=tail.leaf.hex(), ts=ts)
        leaf = leaf_hash(line)
        if draft.link is not None and draft.link.follows != tail.suspended:
            raise LedgerError("the suspensions in force have changed", code=SUSPENSIONS_CHANGED)
        if any(self._located.is_taken(place, seq) for place in draft.places):
            raise LedgerError(
                "another record already has this step of the approval", code="ledger.approval_taken"
            )
        self._locate_call(draft, seq, tail)
        try:
            self._execute(
                "INSERT INTO record (seq, leaf, line) VALUES (?, ?, ?)",
                (seq, leaf, line.decode("utf-8")),
            )
        except sqlite3.IntegrityError:
            # The conflict is with something that is not a record.
            outside = place_fault(self._ask) or f"there is already a record {seq}"
            raise LedgerOpenError(outside, code="ledger.rows") from None
        self._located.add_places(draft.places, seq)
        made = tail.edge.append(leaf)
        tail.seq = seq
        tail.leaf = leaf
        if draft.link is not None:
            tail.suspended = seq if draft.link.stands else NO_SUSPENSION
        if tail.edge.size % TILE == 0:
            self.store_tile(tail.edge.size, made)
        return Receipt(seq, leaf, ts)

    def rotate(self, rotation: Rotation, tail: Tail) -> Receipt:
        """Append a record that certifies or retires epoch keys. Raises the same errors as
        ``add``.
        """
        receipt = self.add(rotation.draft, tail)
        if rotation.public is not None:
            self._execute(
                "INSERT OR IGNORE INTO epoch (public, seq, process, host, pid)"
                " VALUES (?, ?, ?, ?, ?)",
                (rotation.public, receipt.seq, process_name(), host_name(), os.getpid()),
            )
        for public in rotation.ended:
            self._execute("DELETE FROM epoch WHERE public = ?", (public,))
            self._certified = None
        return receipt

    def has_epoch(self, public: str) -> bool:
        """Return True if the key *public* is certified and not retired."""
        if public == self._certified:
            return True
        query = "SELECT 1 FROM epoch WHERE public = ?"
        if self._execute(query, (public,)).fetchone() is None:
            return False
        self._certified = public
        return True

    def epochs(self) -> list[EpochRow]:
        """Return every epoch key, of any process, that is certified and not retired."""
        return [
            EpochRow(*row)
            for row in self._execute(
                "SELECT public, seq, process, host, pid FROM epoch ORDER BY seq"
            ).fetchall()
        ]

    def _locate_call(self, draft: Draft, seq: int, tail: Tail) -> None:
        """Update the table of calls if *draft*, as record *seq*, begins or ends a call. Raises
        ``LedgerError`` if the call can't begin or end, and ``LedgerOpenError`` if the table
        contradicts the records.
        """
        if draft.type == "call.decision":
            if draft.opens:
                process = draft.process if draft.process is not None else process_name()
                fresh = self._located.open(draft.call, seq, process, host_name(), os.getpid())
            else:
                fresh = self._located.decide(draft.call, seq)
            if not fresh:
                raise LedgerError(
                    "the log already has a call with this id", code="ledger.duplicate_call"
                )
        elif draft.type == "call.outcome":
            try:
                if self._located.close(draft.call, seq):
                    return
            except sqlite3.IntegrityError:
                raise wrong_call() from None
            ended = self._located.outcome_of(draft.call)
            if ended is None:
                raise LedgerError("there is no open call with this id", code="ledger.no_open_call")
            if self.line(ended) is not None or not 0 < ended < self.pruned():
                require_outcome(self, tail.edge, draft.call, ended)
            raise LedgerError("the call already has an outcome", code="ledger.closed_call")

    def of_call(self, call: str, type_: str) -> bytes | None:
        """Return the line of type *type_* about *call*: its decision or its outcome."""
        row = self._execute(
            "SELECT CAST(record.line AS BLOB) FROM call CROSS JOIN record "  # noqa: S608 - constants
            f"ON record.seq = call.{'decision' if type_ == 'call.decision' else 'outcome'} "
            "WHERE call.open IN (0, 1) AND call.call = ?",
            (call,),
        ).fetchone()
        return row[0] if row is not None else None

    def leaf(self, seq: int) -> bytes | None:
        """Return the stored leaf of *seq*, even if the record was pruned."""
        row = self._execute("SELECT leaf FROM record WHERE seq = ?", (seq,)).fetchone()
        if row is not None:
            leaf: bytes = row[0]
            return leaf
        if not 0 < seq < self.pruned():
            return None
        number, at = divmod(seq, TILE)
        kept = kept_leaves(self, number)
        return kept[at] if at < len(kept) else None

    def pruned(self) -> int:
        """Return the number below which records were pruned, except line 0, or 1 if none were."""
        return pruned_before(self._execute)

    def open_calls(self) -> list[OpenCall]:
        """Return every open call, of any process."""
        return [
            OpenCall(*row)
            for row in self._execute(
                "SELECT call, decision, process, host, pid FROM call WHERE open = 1 "
                "ORDER BY decision"
            ).fetchall()
        ]

    def has_open_call(self, process: str) -> bool:
        """Return True if *process* has an open call."""
        return (
            self._execute(
                "SELECT 1 FROM call WHERE open = 1 AND process = ? LIMIT 1", (process,)
            ).fetchone()
            is not None
        )

    def records_from(self, start: int) -> Iterator[RecordRow]:
        """Yield the records from *start* to the end."""
        yield from self._execute(
            "SELECT seq, leaf, CAST(line AS BLOB) FROM record WHERE seq >= ? ORDER BY seq", (start,)
        )
