"""The head, tiles and leaves of a log in SQLite, for readers and for a writer's transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any

from guardrail.core.log.merkle import HASH_BYTES
from guardrail.ledger.heads import HeadRow
from guardrail.ledger.storage import LeafRow, LineRow
from guardrail.ledger.tree import TILE, TILE_LEVEL, leaves_of

__all__ = ["HEAD_COLUMNS", "Execute", "SQLiteTree", "SQLiteTreeWriter", "head_of"]

Execute = Callable[..., sqlite3.Cursor]

HEAD_COLUMNS = "head.size, head.leaf, head.edge, head.note, head.mac"
"""The columns of the signed head, in the order of ``HeadRow``."""

_CLAIM = (
    "SELECT record.seq, CAST(record.line AS BLOB) FROM place "
    "CROSS JOIN record ON record.seq = place.seq "
    "WHERE place.kind = 'session' AND place.name = ? ORDER BY place.number LIMIT 1"
)
# ?1 is the number of records. Leaf tile ?2 is stored although it is incomplete.
_SURPLUS = """SELECT level, number FROM tile
WHERE typeof(level) <> 'integer' OR typeof(number) <> 'integer'
OR level NOT BETWEEN 0 AND 7 OR number < 0
OR (level = 0 AND number >= ?1 / 256 AND number <> ?2)
OR (level > 0 AND ((?1 >> (level * 8)) = 0 OR number > ((?1 >> (level * 8)) - 1) / 256))
LIMIT ?3"""


def head_of(row: tuple[Any, ...] | None) -> HeadRow | None:
    """Return the head in *row*, which has the columns ``HEAD_COLUMNS``, or None if there is no row
    or if no writer could have written it.
    """
    # A damaged file can have any value in any column.
    if row is None or tuple(map(type, row)) != (int, bytes, bytes, str, bytes):
        return None
    return HeadRow(*row)


class SQLiteTree:
    """Implements ``ledger.storage.TreeRows``. Every method raises the same errors as *execute*."""

    def __init__(self, execute: Callable[..., Any]) -> None:
        """*execute* runs a statement like a connection's ``execute``."""
        self._execute = execute

    def head(self) -> HeadRow | None:
        """Return the row of the signed head, or None if it is missing, or if no writer could have
        written it.
        """
        row = self._execute(f"SELECT {HEAD_COLUMNS} FROM head WHERE id = 0").fetchone()  # noqa: S608
        return head_of(row)

    def first(self) -> int | None:
        """Return the number of the first record after line 0, or None if there is none."""
        found = self._execute("SELECT min(seq) FROM record WHERE seq > 0").fetchone()[0]
        return found if isinstance(found, int) else None

    def line(self, seq: int) -> bytes | None:
        """Return the line of record *seq*, or None."""
        row = self._execute(
            "SELECT CAST(line AS BLOB) FROM record WHERE seq = ?", (seq,)
        ).fetchone()
        return row[0] if row is not None else None

    def lines(self, start: int, stop: int, limit: int) -> list[LineRow]:
        """Return at most *limit* records from *start*, before *stop*, in order."""
        found: list[LineRow] = self._execute(
            "SELECT seq, CAST(line AS BLOB) FROM record WHERE seq >= ? AND seq < ?"
            " ORDER BY seq LIMIT ?",
            (start, stop, limit),
        ).fetchall()
        return found

    def leaves(self, start: int, stop: int) -> list[LeafRow]:
        """Return the leaf hashes of the records from *start* to *stop* - 1, in order."""
        found: list[LeafRow] = self._execute(
            "SELECT seq, leaf FROM record WHERE seq >= ? AND seq < ? ORDER BY seq", (start, stop)
        ).fetchall()
        return found

    def tile(self, level: int, number: int) -> bytes:
        """Return the hashes of a tile, or empty bytes if the tile is missing. A value that can't be
        a tile is not loaded and counts as missing.
        """
        row = self._execute(
            "SELECT hashes FROM tile WHERE level = ? AND number = ? AND length(hashes) <= ?",
            (level, number, TILE * HASH_BYTES),
        ).fetchone()
        return row[0] if row is not None and isinstance(row[0], bytes) else b""

    def surplus_tiles(self, size: int, growing: int, limit: int | None) -> list[tuple[int, int]]:
        """Return at most *limit* tiles (level and number) that a log of *size* records should not
        have.

        *growing* is the number of the leaf tile that is stored although it is incomplete, or -1 if
        there is none.
        """
        found: list[tuple[int, int]] = self._execute(
            _SURPLUS, (size, growing, -1 if limit is None else limit)
        ).fetchall()
        return found

    def first_claim(self, session: str) -> LineRow | None:
        """Return the first record that states the owner of *session*, or None."""
        found: LineRow | None = self._execute(_CLAIM, (session,)).fetchone()
        return found


class SQLiteTreeWriter(SQLiteTree):
    """Also writes the head, tiles and leaves, inside a transaction."""

    def write_head(self, row: HeadRow) -> None:
        """Replace the row of the signed head."""
        self._execute(
            "REPLACE INTO head (id, size, leaf, edge, note, mac) VALUES (0, ?, ?, ?, ?, ?)",
            (row.size, row.leaf, row.edge, row.note, row.mac),
        )

    def store_tile(self, size: int, made: Sequence[bytes]) -> None:
        """Store the tile that the last added record completes, if any. The log then has *size*
        records.

        *made* is the result of ``Edge.append``; its ninth root is the tile's root. Call this in the
        transaction that adds the record.
        """
        number = size // TILE - 1
        self._write_tile(0, number, b"".join(leaves_of(self, number * TILE, size)))
        level = 1
        while True:
            # A tile of roots grows by one root for each tile below it, so that proofs need not hash
            # the newest tiles again.
            at = number // TILE
            self._write_tile(level, at, self.tile(level, at) + made[level * TILE_LEVEL])
            if len(made) <= (level + 1) * TILE_LEVEL:
                return
            number //= TILE
            level += 1

    def keep_leaves(self, before: int) -> None:
        """Keep the leaf hashes of the records below *before*, so that the same transaction can
        delete the records.

        The tiles are rewritten from the records. Raises ``ValueError`` if a hash is missing.
        """
        first, last = self._execute(
            "SELECT min(seq), max(seq) FROM record WHERE seq > 0"
        ).fetchone()
        if first is None:
            return
        for number in range(first // TILE, -(-before // TILE)):
            start = number * TILE
            # If the tile is complete, its other leaves are kept.
            stop = start + TILE if start + TILE <= last + 1 else before
            leaves = b"".join(leaves_of(self, start, stop))
            if self.tile(0, number) != leaves:
                self._write_tile(0, number, leaves)

    def _write_tile(self, level: int, number: int, hashes: bytes) -> None:
        self._execute(
            "REPLACE INTO tile (level, number, hashes) VALUES (?, ?, ?)", (level, number, hashes)
        )
