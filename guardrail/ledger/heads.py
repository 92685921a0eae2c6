"""The signed head of a log: one row, replaced in every commit, and its Merkle tree.

No record is ever durable without a head over it. The row also holds a code that only holders of
this log's keys can compute: a writer extends another writer's head only if the code is right, so
that no honest writer signs a forged tail. The caller passes the signing functions; this module
knows no keys.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hmac import compare_digest
from typing import Any, Protocol

from guardrail.core.log.checkpoint import Checkpoint, NoteKey, SignedNote
from guardrail.core.log.merkle import HASH_BYTES, Edge, Node, in_tree, perfect_root
from guardrail.core.log.record import leaf_hash
from guardrail.errors import NoteError
from guardrail.ledger.steps import unproved

__all__ = [
    "TILE",
    "Execute",
    "HeadKey",
    "HeadRow",
    "Signing",
    "check_included",
    "doubt",
    "edge_at",
    "first_kept",
    "keep_leaves",
    "kept_leaf",
    "leaves_of",
    "node_reader",
    "read_head",
    "sign_head",
    "store_tile",
    "write_head",
]

TILE = 256
"""Leaves of one tile (C2SP tlog-tiles)."""
_TILE_LEVEL = 8

Execute = Callable[..., sqlite3.Cursor]


class HeadKey(Protocol):
    """A key that signs heads, such as ``guardrail.keys.log_key.Ed25519HeadKey``."""

    @property
    def key(self) -> NoteKey:
        """Its public half, under the log's name."""

    @property
    def first(self) -> int:
        """It is certified for heads with more records than this."""

    @property
    def certificate(self) -> str | None:
        """The log key's signature on it, base64; None for the log key itself."""

    @property
    def sign(self) -> Callable[[bytes], bytes]:
        """Signs bytes."""


class Signing(Protocol):
    """The key operations that a writer needs; ``guardrail.keys.log_key.LogSigning`` implements
    them.
    """

    @property
    def public(self) -> str:
        """The log key's public half: 64 hex characters."""

    @property
    def actor(self) -> Mapping[str, str]:
        """The writer's actor."""

    def log_key(self, log: str) -> HeadKey:
        """Return the log key."""

    def epoch_key(self, log: str, first: int) -> HeadKey | None:
        """Return a new certified key, or None if this writer signs with the log key."""

    def mac(self, message: bytes) -> bytes:
        """Return a code over *message* that only holders of this log's keys can compute: 32
        bytes.
        """


@dataclass(frozen=True, slots=True)
class HeadRow:
    """The stored row of ``head``."""

    size: int
    """Records."""
    leaf: bytes
    """Of the last record."""
    edge: bytes
    """``core.log.merkle.Edge``, encoded."""
    note: str
    """The signed note."""
    mac: bytes

    @property
    def covered(self) -> bytes:
        """The bytes that ``mac`` covers."""
        return b"%d\n%b%b%b" % (self.size, self.leaf, self.edge, self.note.encode("utf-8"))

    def written_by_a_holder(self, signing: Signing) -> bool:
        """Return True if a holder of this log's keys wrote the row."""
        return compare_digest(self.mac, signing.mac(self.covered))


def sign_head(log: str, leaf: bytes, edge: Edge, key: HeadKey, signing: Signing) -> HeadRow:
    """Return the head of the log whose tree is *edge* and whose last leaf is *leaf*.

    Raises any exception of *key*.
    """
    text = Checkpoint(log, edge.size, edge.root()).text
    note = str(SignedNote.sign(text, key.key, key.sign))
    bare = HeadRow(edge.size, leaf, edge.encode(), note, b"")
    return HeadRow(bare.size, leaf, bare.edge, note, signing.mac(bare.covered))


def doubt(head: HeadRow, log: str, signing: Signing) -> str:
    """Return what is wrong with *head* of the log named *log*, which this process did not write;
    empty if nothing is.
    """
    if not head.written_by_a_holder(signing):
        return "the head was written by someone who does not hold this log's keys"
    try:
        text = SignedNote.parse(head.note).text
        root = Edge.decode(head.size, head.edge).root()
    except (NoteError, ValueError):
        return "the head is malformed"
    if text != Checkpoint(log, head.size, root).text:
        return "the head says something else than its row"
    return ""


def read_head(execute: Execute) -> HeadRow | None:
    """Return the row, or None if there is none, or one that no writer wrote.

    Raises ``sqlite3.Error``.
    """
    row = execute("SELECT size, leaf, edge, note, mac FROM head WHERE id = 0").fetchone()
    # A torn file can hold anything in any column.
    if row is None or tuple(map(type, row)) != (int, bytes, bytes, str, bytes):
        return None
    return HeadRow(*row)


def write_head(execute: Execute, row: HeadRow) -> None:
    """Replace the row. Raises ``sqlite3.Error``."""
    execute(
        "REPLACE INTO head (id, size, leaf, edge, note, mac) VALUES (0, ?, ?, ?, ?, ?)",
        (row.size, row.leaf, row.edge, row.note, row.mac),
    )


# -- the tree
# --------------------------------------------------------------------------------------------------


def store_tile(execute: Execute, size: int, made: Sequence[bytes]) -> None:
    """Store the tile that the last added record completes, if it completes one at *size* records.

    *made* is the result of ``Edge.append``: its ninth root is the root of the tile. Call it in the
    transaction that adds the record.
    """
    number = size // TILE - 1
    start = number * TILE
    hashes = b"".join(leaves_of(execute, start, size))
    execute("REPLACE INTO tile (level, number, hashes) VALUES (0, ?, ?)", (number, hashes))
    level = 1
    while True:
        # A tile of roots grows by one root for each tile below, so that proofs need not hash the
        # newest tiles again.
        place = (level, number // TILE)
        row = execute("SELECT hashes FROM tile WHERE level = ? AND number = ?", place).fetchone()
        roots = (row[0] if row is not None else b"") + made[level * _TILE_LEVEL]
        execute("REPLACE INTO tile (level, number, hashes) VALUES (?, ?, ?)", (*place, roots))
        if len(made) <= (level + 1) * _TILE_LEVEL:
            return
        number //= TILE
        level += 1


def leaves_of(execute: Execute, start: int, stop: int) -> list[bytes]:
    """Return the leaves from *start* to *stop*, inside one tile: computed from its records, and for
    pruned ones taken from the kept hashes. Raises ``ValueError`` if one is missing. For records
    that exist, the tile is not used.
    """
    rows: list[Any] = execute(
        "SELECT seq, leaf FROM record WHERE seq >= ? AND seq < ? ORDER BY seq", (start, stop)
    ).fetchall()
    leaves = dict(rows)
    if len(leaves) < stop - start:
        first, kept = start // TILE * TILE, _kept_tile(execute, start // TILE)
        (there,) = execute("SELECT min(seq) FROM record WHERE seq > 0").fetchone()
        for seq in range(start, min(stop, first + len(kept), there or 0)):
            leaves.setdefault(seq, kept[seq - first])
    found = [leaves.get(seq) for seq in range(start, stop)]
    if not all(isinstance(each, bytes) and len(each) == HASH_BYTES for each in found):
        raise ValueError("records are missing")
    return found  # type: ignore[return-value]


def check_included(edge: Edge, node: Node, seq: object, line: object) -> None:
    """Raise ``LedgerError`` unless *line* is record *seq* of the log whose tree is *edge*; *node*
    gets its perfect subtrees.
    """
    if type(seq) is not int or type(line) is not bytes or not 0 <= seq < edge.size:
        raise unproved(f"there is a record {seq} that the log's head does not cover")
    try:
        proved = in_tree(leaf_hash(line), seq, edge, node)
    except (ValueError, TypeError):
        proved = False
    if not proved:
        raise unproved(f"record {seq} is not the one that was signed")


def first_kept(execute: Execute) -> int:
    """Return the number of the first record after line 0, as stored, not authenticated; 1 if there
    is none.
    """
    found = execute("SELECT min(seq) FROM record WHERE seq > 0").fetchone()[0]
    return found if isinstance(found, int) else 1


def _kept_tile(execute: Execute, number: int) -> list[bytes]:
    row = execute("SELECT hashes FROM tile WHERE level = 0 AND number = ?", (number,)).fetchone()
    return _split(row[0]) if row is not None and isinstance(row[0], bytes) else []


def keep_leaves(execute: Execute, before: int) -> None:
    """Keep the leaf hashes of the records below *before*, which may be deleted after this, in the
    same transaction.

    Their tiles are rewritten from the records. Raises ``ValueError`` if a hash is missing.
    """
    row = execute("SELECT min(seq), max(seq) FROM record WHERE seq > 0").fetchone()
    if row[0] is None:
        return
    for number in range(row[0] // TILE, -(-before // TILE)):
        start = number * TILE
        # A tile that is complete keeps its other leaves.
        stop = start + TILE if start + TILE <= row[1] + 1 else before
        leaves = leaves_of(execute, start, stop)
        if _kept_tile(execute, number) != leaves:
            write = "REPLACE INTO tile (level, number, hashes) VALUES (0, ?, ?)"
            execute(write, (number, b"".join(leaves)))


def kept_leaf(execute: Execute, seq: int) -> bytes | None:
    """Return the leaf hash of record *seq* if a tile keeps it, also for a pruned record."""
    number, at = divmod(seq, TILE)
    row = execute("SELECT hashes FROM tile WHERE level = 0 AND number = ?", (number,)).fetchone()
    found = row[0][at * HASH_BYTES : (at + 1) * HASH_BYTES] if row is not None else b""
    return found if len(found) == HASH_BYTES else None


def edge_at(size: int, node: Node) -> Edge:
    """Return the tree of the first *size* records. Raises any exception of *node*."""
    edge = Edge()
    for level in range(size.bit_length() - 1, -1, -1):
        if size >> level & 1:
            edge.append(node(level, edge.size >> level), level)
    return edge


def _split(hashes: bytes) -> list[bytes]:
    return [hashes[at : at + HASH_BYTES] for at in range(0, len(hashes), HASH_BYTES)]


def node_reader(execute: Execute) -> Node:
    """Return a function that reads perfect subtrees from tiles and, after the last complete tile,
    from records.

    Its results are not authenticated: compare what you compute from them with a signed head. It
    raises ``ValueError`` for a subtree that reaches beyond the log.
    """
    tiles: dict[tuple[int, int], list[bytes]] = {}

    def tile(level: int, number: int, least: int) -> list[bytes]:
        found = tiles.get((level, number))
        if found is None or len(found) < least:
            start = number * TILE
            if level == 0:
                found = _kept_tile(execute, number)
                if len(found) != TILE:
                    found = leaves_of(execute, start, start + least)
            else:
                row = execute(
                    "SELECT hashes FROM tile WHERE level = ? AND number = ?", (level, number)
                ).fetchone()
                found = _split(row[0]) if row is not None else []
            tiles[level, number] = found
        if len(found) < least:
            raise ValueError("the log has no such subtree")
        return found

    def node(level: int, index: int) -> bytes:
        height, rest = divmod(level, _TILE_LEVEL)
        width = 1 << rest
        number, at = divmod(index * width, TILE)
        return perfect_root(tile(height, number, at + width)[at : at + width])

    return node
