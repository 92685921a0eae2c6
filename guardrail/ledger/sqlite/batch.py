"""Writes the records of one commit with few statements.

Each statement lets other threads run. With many callers, a commit thread that runs several
statements per record would wait for its next turn each time, as would its callers.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from sqlite3 import Cursor

from guardrail.core.log.merkle import Edge
from guardrail.core.log.record import Draft, leaf_hash
from guardrail.core.types import Receipt
from guardrail.errors import LedgerError
from guardrail.ledger.files import utc_timestamp
from guardrail.ledger.lease import host_name, process_name
from guardrail.ledger.tree import TILE

__all__ = ["Batch"]

Execute = Callable[..., Cursor]

_ROWS = 64
"""Maximum number of rows in one statement. Each power of two up to this number has its own
statement, which SQLite's driver keeps prepared.
"""


class Batch:
    """Consecutive records, and the end of the log after them. Either all or none of them are
    written.
    """

    def __init__(self, seq: int, leaf: bytes, edge: Edge) -> None:
        """Start after record *seq* with the leaf hash *leaf*. *edge* is the tree up to that record,
        and is not changed.
        """
        self.seq = seq
        self.leaf = leaf
        self.edge = edge.copy()
        self.receipts: list[Receipt | LedgerError] = []
        """Receipts in the order of ``take``; they are valid once ``write`` has returned True and
        the commit is durable.
        """
        self._records: list[object] = []
        self._opened: list[object] = []
        self._closed: list[object] = []
        self._tiles: list[tuple[int, list[bytes]]] = []
        self._own = (process_name(), host_name(), os.getpid())

    def take(self, draft: Draft) -> None:
        """Add *draft* as the next record."""
        ts = utc_timestamp()
        self.seq += 1
        line = draft.finish(seq=self.seq, prev=self.leaf.hex(), ts=ts)
        self.leaf = leaf_hash(line)
        self._records += (self.seq, self.leaf, line.decode("utf-8"))
        self.receipts.append(Receipt(self.seq, self.leaf, ts))
        process, host, pid = self._own
        if draft.opens:
            self._opened += (draft.call, self.seq, draft.process or process, host, pid)
        elif draft.type == "call.outcome":
            self._closed.append(draft.call)
        made = self.edge.append(self.leaf)
        if self.edge.size % TILE == 0:
            self._tiles.append((self.edge.size, made))

    def write(self, execute: Execute, store_tile: Callable[[int, Sequence[bytes]], None]) -> bool:
        """Write all drafts in the batch. Return False if an outcome's call is not open; in that
        case, some drafts may have been written.

        *store_tile* stores each tile that the records complete.

        A call counts as open only if it was open before this batch. Raises
        ``sqlite3.IntegrityError`` if one of the records does not belong in this log, and
        ``sqlite3.Error``.
        """
        closed = 0
        for calls in _pieces(self._closed, 1):
            closed += execute(_delete(len(calls)), calls).rowcount
        if closed != len(self._closed):
            return False
        for values in _pieces(self._opened, 5):
            execute(_insert("open_call (call, seq, process, host, pid)", 5, len(values)), values)
        for values in _pieces(self._records, 3):
            execute(_insert("record (seq, leaf, line)", 3, len(values)), values)
        for size, made in self._tiles:
            store_tile(size, made)
        return True


def _pieces(values: Sequence[object], width: int) -> Iterator[Sequence[object]]:
    """Split rows of *width* values into chunks whose row counts are powers of two."""
    at, rows = 0, _ROWS
    while at < len(values):
        while rows * width > len(values) - at:
            rows //= 2
        yield values[at : at + rows * width]
        at += rows * width


@cache
def _insert(into: str, width: int, values: int) -> str:
    row = f"({', '.join('?' * width)})"
    rows = ", ".join([row] * (values // width))
    return f"INSERT INTO {into} VALUES {rows}"  # noqa: S608 - names from this module, and placeholders


@cache
def _delete(calls: int) -> str:
    places = ", ".join("?" * calls)
    return f"DELETE FROM open_call WHERE call IN ({places})"  # noqa: S608 - placeholders only
