"""The protocol of a log's storage backend: named reads, and the transaction of a writer.

A storage backend stores and finds rows, but makes no decisions: callers authenticate the rows that
they read, with the signed head (``ledger.proved``) or by reading every line (``review.verify``).
Callers can't pass a query to the backend, so its query language stays in the backend's package.
``guardrail.ledger.sqlite`` implements the protocol.

Rows are untrusted until they are authenticated: anyone who can write the file can store any values
in them. The types below hold only if ``value_fault`` returns None.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, Self

from guardrail.core.log.merkle import Edge
from guardrail.core.log.record import Draft
from guardrail.core.log.suspensions import NO_SUSPENSION
from guardrail.core.types import Receipt
from guardrail.errors import LedgerError
from guardrail.ledger.epochs import Rotation
from guardrail.ledger.heads import HeadKey, HeadRow
from guardrail.ledger.rows import EpochRow, OpenCall, PageFault

__all__ = [
    "SUSPENSIONS_CHANGED",
    "AppendingStorage",
    "CallRow",
    "LeafRow",
    "LineRow",
    "PlaceKey",
    "RecordRow",
    "Storage",
    "Tail",
    "TreeRows",
]

SUSPENSIONS_CHANGED = "ledger.suspensions_changed"
"""Error code for a record that depends on suspensions which have changed. The record was not
written.
"""
RecordRow = tuple[int, bytes, bytes]
"""Number, leaf hash and line of a record, as stored."""
LineRow = tuple[int, bytes]
"""Number and line of a record, as stored."""
LeafRow = tuple[int, bytes]
"""Number and leaf hash of a record, as stored."""
CallRow = tuple[int, int, int | None]
"""1 if the call is open, otherwise 0, and the numbers of its decision and of its outcome, as
stored.
"""
PlaceKey = tuple[str, str, int]
"""Kind, name and number of a place (``core.log.places``)."""


class TreeRows(Protocol):
    """Reads of the tree and of its lines, for a reader or inside a writer's transaction.

    Each raises ``LedgerError`` or, in a writer's transaction, the storage backend's own error.
    """

    def head(self) -> HeadRow | None:
        """Return the row of the signed head, or None if it is missing, or if no writer could have
        written it.
        """

    def first(self) -> int | None:
        """Return the number of the first record after line 0, or None if there is none."""

    def line(self, seq: int) -> bytes | None:
        """Return the line of record *seq*, or None."""

    def lines(self, start: int, stop: int, limit: int) -> list[LineRow]:
        """Return at most *limit* records from *start*, before *stop*, in order."""

    def leaves(self, start: int, stop: int) -> list[LeafRow]:
        """Return the leaf hashes of the records from *start* to *stop* - 1, in order."""

    def tile(self, level: int, number: int) -> bytes:
        """Return the hashes of a tile, or empty bytes if the tile is missing, or if its value can't
        be a tile.
        """

    def surplus_tiles(self, size: int, growing: int, limit: int | None) -> list[tuple[int, int]]:
        """Return at most *limit* tiles (level and number) that a log of *size* records should not
        have.

        *growing* is the number of the leaf tile that is stored although it is incomplete, or -1 if
        there is none.
        """

    def first_claim(self, session: str) -> LineRow | None:
        """Return the first record that states the owner of *session*, or None."""


class Storage(TreeRows, Protocol):
    """All reads of one log while writers run. Can't write. Thread-safe.

    Each read raises ``LedgerError``.
    """

    def close(self) -> None:
        """Close the log. Idempotent; the next read opens it again."""

    def snapshot(self) -> AbstractContextManager[Self]:
        """Read from a single snapshot of the log inside the block. Do not keep the block open for
        long.
        """

    # -- records -----------------------------------------------------------------------------------

    def size(self) -> int:
        """Return the number of records: one more than the highest number."""

    def last(self) -> LeafRow | None:
        """Return the number and the leaf hash of the last record, or None if there is none."""

    def leaf(self, seq: int) -> bytes | None:
        """Return the stored leaf hash of record *seq*, or None if there is none."""

    def records(self, start: int, limit: int) -> list[RecordRow]:
        """Return at most *limit* records from *start*, in order.

        A line that is too long to load is replaced by an overlong placeholder, so that the caller
        can report its number.
        """

    def typed_records(self, start: int, limit: int) -> list[RecordRow]:
        """Return the result of ``records``, without the records whose lines are of a type that the
        schema forbids. Return an empty list if a line is too long to load.
        """

    def decision(self, call: str) -> LineRow | None:
        """Return the record of the decision about *call*, or None."""

    def call_rows(self, calls: Sequence[str]) -> dict[str, CallRow]:
        """Return the rows of *calls*, keyed by call. A call with no row, or with more than one, is
        omitted.
        """

    def calls_between(self, first: str, last: str, limit: int) -> dict[str, CallRow]:
        """Return the rows of the calls from *first* to *last*, keyed by call. A call with more than
        one row is omitted. Return an empty dictionary if there are more than *limit* rows.
        """

    def numbers_of(self, places: Sequence[PlaceKey]) -> dict[PlaceKey, int]:
        """Return the numbers of the records with these *places* (``core.log.places``). A place
        without a row is omitted.
        """

    def located_counts(self) -> tuple[int, int, int]:
        """Return the numbers of calls, of calls with an outcome, and of places."""

    def requests(self, session: str | None = None) -> list[str]:
        """Return the ids of the calls (of *session*, or all) that needed a person's approval,
        oldest first.
        """

    def admin(self, *types: str, start: int = 0, stop: int | None = None) -> list[LineRow]:
        """Return the records of *types* from *start* up to *stop* (exclusive) or the end, in order.

        Only types with a place are found, such as seals, prunings and key rotations.
        """

    def last_admin(self, type_: str) -> LineRow | None:
        """Return the last record of *type_*, which must be a type that ``admin`` finds, or None if
        there is no such record.
        """

    def marked(
        self, *marks: str, start: int = 0, stop: int | None = None, limit: int = 4096
    ) -> list[LineRow]:
        """Return at most *limit* records from *start* up to *stop* (exclusive) or the end whose
        lines contain one of *marks*, in order.

        Reads every line and uses no other rows. This is slower than the other reads, but a changed
        row can't hide a record from it.
        """

    def used_bytes(self) -> int:
        """Return the number of bytes of the database that are in use."""

    def bytes_from(self, seq: int) -> int:
        """Return the total length of the lines from record *seq* on."""

    def first_needed(self, since: str) -> int | None:
        """Return the number of the first record that is still needed: by an open call, by a key in
        use, or by an approval request younger than the timestamp *since*. Return None if no record
        is needed.
        """

    # -- other rows --------------------------------------------------------------------------------

    def open_calls(self, limit: int | None = None) -> list[OpenCall]:
        """Return at most *limit* open calls, in the order of their decisions."""

    def epochs(self, limit: int | None = None) -> list[EpochRow]:
        """Return at most *limit* epoch keys that are certified and not retired, in order."""

    def pruned_before(self) -> int | None:
        """Return the number below which records were pruned, except line 0, or None if no records
        were pruned.
        """

    # -- checks, for code that reports or repairs damage -------------------------------------------

    def schema_fault(self) -> str:
        """Return a description of a wrong or foreign object in the storage, or an empty string if
        there is none.
        """

    def to_mend(self) -> tuple[list[tuple[str, str]], list[str]] | None:
        """Return (type, name) of the foreign objects, and the names of guardrail's missing objects.

        Return None if a table of the log itself is wrong.
        """

    def row_fault(self) -> str:
        """Return a description of the rows with impossible record numbers, or an empty string if
        there are none.
        """

    def place_fault(self) -> str:
        """Return a description of a row before record 0, or an empty string if there is none."""

    def surplus_fault(self) -> str:
        """Return a description of a table with more rows than the log's records can account for, or
        an empty string if there is none.
        """

    def value_fault(self, *tables: str, start: int = 0) -> tuple[str, object] | None:
        """Return the table and the number of a row with a value that the schema forbids, or None.
        Checks only *tables*, or every table if none are given, and no record before *start*.
        """

    def oversized_table(self) -> str | None:
        """Return a table, other than the records, with a value longer than any that guardrail
        writes, or None if there is none. Such a value is not loaded.
        """

    def page_fault(self) -> PageFault | None:
        """Return the problem that the storage backend finds in its own pages or indexes, or
        None.
        """


@dataclass(slots=True)
class Tail:
    """The end of the log inside a transaction. The next record links to it."""

    seq: int
    leaf: bytes
    edge: Edge
    """The tree of all records, including those added in this transaction."""
    committed: Edge
    """The tree of the records that were durable when the transaction began."""
    fault: str = ""
    """Reason that the log must not be extended, or an empty string if it can be."""
    suspended: int = NO_SUSPENSION
    """Number of the newest record of a suspension, or ``NO_SUSPENSION`` if none is in force. Taken
    from the head, which is authenticated if there is no fault.
    """

    def begun_again(self) -> Tail:
        """Return this end of the log for the next transaction."""
        return Tail(self.seq, self.leaf, self.edge.copy(), self.edge, suspended=self.suspended)


class AppendingStorage(TreeRows, Protocol):
    """A writer's connection, used by one thread under the log's lock for one transaction at a time.

    Every method may raise the storage backend's own error, which the writer converts.
    """

    @property
    def genesis(self) -> dict[str, Any]:
        """Line 0, decoded, or an empty dictionary if it does not exist."""

    @property
    def log(self) -> str:
        """The log's origin name, from line 0."""

    def close(self, *, clean: bool = False) -> None:
        """Close the connection. If *clean* is True, the storage backend may clean up if no other
        connection is open in any process.
        """

    def checkpoint(self, mode: str) -> bool:
        """Copy all committed data to its final location. Return True if all of it was synced."""

    # -- the transaction ---------------------------------------------------------------------------

    def begin(self) -> Tail:
        """Begin a transaction; return the end of the log."""

    def add(self, draft: Draft, tail: Tail) -> Receipt:
        """Append *draft* and advance *tail*. The record is not durable before ``commit``.

        Raises ``LedgerError`` if the record does not belong in this log; the transaction continues
        without it.
        """

    def add_all(self, drafts: Sequence[Draft], tail: Tail) -> list[Receipt | LedgerError]:
        """Call ``add`` for each of *drafts*, in order. Return a receipt or an error for each."""

    def rotate(self, rotation: Rotation, tail: Tail) -> Receipt:
        """Append a record that certifies or retires epoch keys."""

    def sign(self, tail: Tail, key: HeadKey) -> None:
        """Write the signed head for everything since ``begin``. Only ``commit`` may follow."""

    def commit(self) -> None:
        """Make all changes since ``begin`` durable. If this raises an exception, the changes may or
        may not be durable.
        """

    def rollback(self) -> None:
        """Undo all changes since ``begin``, if that is still possible. Never raises."""

    def used_bytes(self) -> int:
        """Return the number of bytes of the database that are in use, including the changes in the
        transaction.
        """

    def unproved_since(self, draft: Draft, tail: Tail) -> str:
        """Return a description of the problem with the records added since *draft*, a step of an
        approval, was judged, or an empty string if there is none.
        """

    # -- reads -------------------------------------------------------------------------------------

    def tail(self) -> Tail:
        """Return the end of the log."""

    def leaf(self, seq: int) -> bytes | None:
        """Return the stored leaf hash of *seq*, even if the record was pruned."""

    def pruned(self) -> int:
        """Return the number below which records were pruned, except line 0, or 1 if none were."""

    def row_fault(self) -> str:
        """Return a description of the rows with impossible record numbers, or an empty string if
        there are none.
        """

    def records_from(self, start: int) -> Iterator[RecordRow]:
        """Yield the records from *start* to the end."""

    def of_call(self, call: str, type_: str) -> bytes | None:
        """Return the line of *type_* about *call*: its decision or its outcome."""

    def open_calls(self) -> list[OpenCall]:
        """Return every open call, of any process."""

    def has_open_call(self, process: str) -> bool:
        """Return True if *process* has an open call."""

    def epochs(self) -> list[EpochRow]:
        """Return every epoch key, of any process, that is certified and not retired."""

    def has_epoch(self, public: str) -> bool:
        """Return True if the key *public* is certified and not retired."""
