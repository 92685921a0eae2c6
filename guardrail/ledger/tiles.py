"""Compares the stored tree with the tree of the lines. Each wrong row in ``tile`` is a finding.

Proofs read the stored tree because that is fast, but no verdict on a log depends on it. The stored
tree is compared with the lines while they are read or, for pruned records, with the hashes proved
by a signed record.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

from guardrail.core.log.merkle import HASH_BYTES, Edge
from guardrail.core.log.pruned import Pruned
from guardrail.core.words import numbers
from guardrail.ledger.storage import TreeRows
from guardrail.ledger.tree import TILE, TILE_LEVEL, leaves_of, split

__all__ = ["KeptLeavesCheck", "TileWalk", "WrongTile"]

_LEVELS = 8
"""Number of levels of tiles in a log of fewer than 2**63 records."""


@dataclass(frozen=True, slots=True)
class WrongTile:
    """A row of the stored tree that differs from the tree of the lines."""

    level: int
    number: int
    right: bytes | None
    """The correct content, or None if the row should not exist."""

    @property
    def text(self) -> str:
        """Description of the problem."""
        if self.right is None:
            return (
                f"the stored tree has a row without records (level {self.level}, number "
                f"{self.number})"
            )
        if self.level == 0:
            first = self.number * TILE
            last = first + len(self.right) // HASH_BYTES - 1
            return f"the stored leaves of {numbers(first, last)} are wrong"
        covered = (self.number * TILE + len(self.right) // HASH_BYTES) << self.level * TILE_LEVEL
        return f"the stored tree over the records before {covered} does not match them"


@dataclass(slots=True)
class KeptLeavesCheck:
    """Result of checking the leaf hashes kept for pruned records."""

    problem: str = ""
    """Problem with the hashes, or an empty string if they form the tree in the record about the
    pruning.
    """
    roots: dict[int, bytes] = field(default_factory=dict)
    """The requested roots, by size, or an empty dictionary if there is a problem."""
    wrong: list[WrongTile] = field(default_factory=list)
    """Wrong rows in the tree above the leaves."""


class TileWalk:
    """Compares the stored tree with the tree of the leaves, tile by tile. Keeps one tile per level
    in memory.
    """

    def __init__(self, rows: TreeRows, *, levels: int = _LEVELS) -> None:
        """Begin at the first leaf. Compares the tiles on the lowest *levels* levels."""
        self._rows = rows
        self._levels = levels
        self._grown: list[list[bytes]] = [[] for _ in range(levels)]

    def restart(self) -> None:
        """Start again at the first leaf."""
        self._grown = [[] for _ in range(self._levels)]

    def resume(self, size: int) -> None:
        """Continue after the first *size* records, whose stored hashes are trusted.

        Raises ``ValueError`` if some of the hashes are missing.
        """
        for height in range(self._levels):
            number, count = divmod(size >> height * TILE_LEVEL, TILE)
            start = number * TILE
            if height == 0:
                self._grown[0] = leaves_of(self._rows, start, start + count)
            elif count:
                stored = self._rows.tile(height, number)
                if len(stored) < count * HASH_BYTES:
                    raise ValueError("a tile is missing")
                self._grown[height] = split(stored)[:count]

    def take(self, size: int, made: Sequence[bytes], level: int = 0) -> Sequence[WrongTile]:
        """Add a leaf, or the perfect subtree of *level*. Return the rows that are now complete and
        have the wrong content.

        *size* is the number of leaves including the new one, and *made* is the result of
        ``Edge.append``.
        """
        if level == 0 and size % TILE:
            self._grown[0].append(made[0])
            return ()
        wrong: list[WrongTile] = []
        for height in range(-(-level // TILE_LEVEL), self._levels):
            at = height * TILE_LEVEL - level
            if at >= len(made):
                break
            self._grown[height].append(made[at])
            number, count = divmod(size >> height * TILE_LEVEL, TILE)
            if not count:
                wrong += self._compare(height, number - 1, self._grown[height])
                self._grown[height] = []
        return wrong

    def take_leaves(
        self, size: int, leaves: Sequence[bytes], made: Sequence[bytes]
    ) -> Sequence[WrongTile]:
        """Add *leaves*, all of one tile. Return the rows that are now complete and have the wrong
        content.

        *size* is the number of leaves including the new ones, and *made* is the result of
        ``Edge.append`` for the last one.
        """
        self._grown[0] += leaves[:-1]
        return self.take(size, made)

    def kept(self, pruned: Pruned, sizes: Collection[int] = ()) -> KeptLeavesCheck:
        """Add the kept leaf hashes of pruned records and of line 0, and compare them with *pruned*.
        The result includes the roots of those *sizes* that are less than ``pruned.before``.
        """
        found, edge, leaf = KeptLeavesCheck(), Edge(), b""
        for leaf in self._kept(pruned.before):
            if edge.size == 0 and leaf != pruned.genesis:
                break
            found.wrong += self.take(edge.size + 1, edge.append(leaf))
            if edge.size in sizes:
                found.roots[edge.size] = edge.root()
        if edge.size != pruned.before:
            found.problem = "the leaves of pruned records are missing or wrong"
        elif edge.roots != pruned.edge or leaf != pruned.leaf:
            found.problem = "the leaves of pruned records are wrong"
        if found.problem:
            found.roots, found.wrong = {}, []
        return found

    def _kept(self, before: int) -> Iterator[bytes]:
        for number in range(-(-before // TILE)):
            count = min(TILE, before - number * TILE)
            yield from split(self._rows.tile(0, number))[:count]

    def end(self, size: int, pruned: int, *, limit: int | None = None) -> list[WrongTile]:
        """Return the incomplete rows with wrong content, and at most *limit* rows that should not
        exist.

        *size* is the number of records. *pruned* is the number of the first record after line 0 if
        records were pruned, otherwise 0. Call this in the transaction that read the last record.
        """
        wrong: list[WrongTile] = []
        for height in range(1, self._levels):
            if self._grown[height]:
                wrong += self._compare(
                    height, (size >> height * TILE_LEVEL) // TILE, self._grown[height]
                )
        number, count = divmod(pruned, TILE)
        # A tile of leaves is stored when it is complete, or before some of its records are deleted.
        grows = number if count and number == size // TILE else -1
        if grows >= 0:
            wrong += self._compare(0, grows, self._grown[0][:count])
        surplus = self._rows.surplus_tiles(size, grows, limit)
        return wrong + [WrongTile(level, at, None) for level, at in surplus]

    def _compare(self, level: int, number: int, hashes: Sequence[bytes]) -> list[WrongTile]:
        right = b"".join(hashes)
        if self._rows.tile(level, number) == right:
            return []
        return [WrongTile(level, number, right)]
