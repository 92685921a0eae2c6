"""Reads the Merkle tree of a log from the stored tiles and, after the last tile, from the records.

Tiles are not authenticated. Compare anything computed from them with a signed head.
"""

from __future__ import annotations

from guardrail.core.log.merkle import HASH_BYTES, Edge, Node, in_tree, perfect_root
from guardrail.core.log.record import leaf_hash
from guardrail.ledger.steps import unproved
from guardrail.ledger.storage import TreeRows

__all__ = [
    "TILE",
    "TILE_LEVEL",
    "check_included",
    "edge_at",
    "kept_leaves",
    "leaves_of",
    "node_reader",
    "split",
]

TILE = 256
"""Number of leaves in one tile (C2SP tlog-tiles)."""
TILE_LEVEL = 8
"""Number of tree levels between the hashes of one tile level and those of the next."""


def leaves_of(rows: TreeRows, start: int, stop: int) -> list[bytes]:
    """Return the leaf hashes from *start* to *stop* inside one tile. Raises ``ValueError`` if one
    is missing.

    Leaf hashes of existing records are computed from the records, not read from the tile. For
    pruned records, the stored hashes are returned.
    """
    leaves = dict(rows.leaves(start, stop))
    if len(leaves) < stop - start:
        first, kept = start // TILE * TILE, kept_leaves(rows, start // TILE)
        for seq in range(start, min(stop, first + len(kept), rows.first() or 0)):
            leaves.setdefault(seq, kept[seq - first])
    found = [leaves.get(seq) for seq in range(start, stop)]
    if not all(isinstance(each, bytes) and len(each) == HASH_BYTES for each in found):
        raise ValueError("records are missing")
    return found  # type: ignore[return-value]


def kept_leaves(rows: TreeRows, number: int) -> list[bytes]:
    """Return the leaf hashes in tile *number*, or an empty list if the tile is not stored."""
    return split(rows.tile(0, number))


def check_included(edge: Edge, node: Node, seq: object, line: object) -> None:
    """Raise ``LedgerError`` unless *line* is record *seq* of the log with the tree *edge*. *node*
    returns perfect subtrees of that tree.
    """
    if type(seq) is not int or type(line) is not bytes or not 0 <= seq < edge.size:
        raise unproved(f"there is a record {seq} that the log's head does not cover")
    try:
        proved = in_tree(leaf_hash(line), seq, edge, node)
    except (ValueError, TypeError):
        proved = False
    if not proved:
        raise unproved(f"record {seq} is not the one that was signed")


def edge_at(size: int, node: Node) -> Edge:
    """Return the tree of the first *size* records. Raises any exception that *node* raises."""
    edge = Edge()
    for level in range(size.bit_length() - 1, -1, -1):
        if size >> level & 1:
            edge.append(node(level, edge.size >> level), level)
    return edge


def node_reader(rows: TreeRows) -> Node:
    """Return a function that reads perfect subtrees from tiles and, after the last complete tile,
    from records.

    Its results are not authenticated: compare anything computed from them with a signed head. It
    raises ``ValueError`` for a subtree that extends beyond the end of the log.
    """
    tiles: dict[tuple[int, int], list[bytes]] = {}

    def tile(level: int, number: int, least: int) -> list[bytes]:
        found = tiles.get((level, number))
        if found is None or len(found) < least:
            if level == 0:
                found = kept_leaves(rows, number)
                if len(found) != TILE:
                    start = number * TILE
                    found = leaves_of(rows, start, start + least)
            else:
                found = split(rows.tile(level, number))
            tiles[level, number] = found
        if len(found) < least:
            raise ValueError("the log has no such subtree")
        return found

    def node(level: int, index: int) -> bytes:
        height, rest = divmod(level, TILE_LEVEL)
        width = 1 << rest
        number, at = divmod(index * width, TILE)
        return perfect_root(tile(height, number, at + width)[at : at + width])

    return node


def split(hashes: bytes) -> list[bytes]:
    """Split a tile into its hashes. A truncated last hash is omitted."""
    whole = len(hashes) - len(hashes) % HASH_BYTES
    return [hashes[at : at + HASH_BYTES] for at in range(0, whole, HASH_BYTES)]
