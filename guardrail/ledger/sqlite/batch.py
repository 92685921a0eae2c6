"""Writes the records of one commit with few statements.

Each statement lets other threads run. With many callers, a commit thread that ran several
statements per record would wait for its next turn after each one, and its callers would wait with
it.
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
from guardrail.ledger.sqlite.located import LocatedRows
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
        self._decided: list[object] = []
        self._calls: list[object] = []
        self._closed: list[object] = []
        self._places: list[tuple[int, Draft]] = []
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
        if draft.type == "call.decision":
            mine = (draft.process or process, host, pid) if draft.opens else (None, None, None)
            self._decided += (int(draft.opens), draft.call, self.seq, *mine)
            self._calls.append(draft.call)
        elif draft.type == "call.outcome":
            self._closed += (draft.call, self.seq)
        if draft.places:
            self._places.append((self.seq, draft))
        made = self.edge.append(self.leaf)
        if self.edge.size % TILE == 0:
            self._tiles.append((self.edge.size, made))

    def write(
        self,
        execute: Execute,
        located: LocatedRows,
        store_tile: Callable[[int, Sequence[bytes]], None],
    ) -> bool:
        """Write all drafts of the batch. Return False if one of them must be refused; some drafts
        may have been written in that case.

        *store_tile* stores each tile that the records complete.

        A call counts as open only if it was open before this batch. Raises
        ``sqlite3.IntegrityError`` if one of the records does not belong in this log, and
        ``sqlite3.Error``.
        """
        for seq, draft in self._places:
            if any(located.is_taken(place, seq) for place in draft.places):
                return False
        for calls in _pieces(self._calls, 1):
            if execute(_known(len(calls)), calls).fetchone() is not None:
                return False
        closed = 0
        for values in _pieces(self._closed, 2):
            closed += execute(_close(len(values)), values).rowcount
        if closed != len(self._closed) // 2:
            return False
        for values in _pieces(self._decided, 6):
            into = "call (open, call, decision, process, host, pid)"
            execute(_insert(into, 6, len(values)), values)
        for values in _pieces(self._records, 3):
            execute(_insert("record (seq, leaf, line)", 3, len(values)), values)
        for seq, draft in self._places:
            located.add_places(draft.places, seq)
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
def _known(calls: int) -> str:
    places = ", ".join("?" * calls)
    return f"SELECT 1 FROM call WHERE open IN (0, 1) AND call IN ({places}) LIMIT 1"  # noqa: S608 - placeholders only


@cache
def _close(values: int) -> str:
    # The statement must begin with UPDATE: otherwise, Python does not count the rows.
    rows = ", ".join(["(?, ?)"] * (values // 2))
    return (
        "UPDATE call SET open = 0, outcome = column2, process = NULL, host = NULL, pid = NULL "  # noqa: S608 - placeholders only
        f"FROM (VALUES {rows}) WHERE open = 1 AND call = column1"
    )
