"""Audits all lines of a log: the chain, the Merkle tree, the keys, and the proof of pruned records.

Pure. ``docs/record-format.md`` sections 3, 9 and 10 define the checks; ``guardrail.review.verify``
decides which heads are compared with the result.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from guardrail.core.log import recovered
from guardrail.core.log.chain import Chain, Difference, Head
from guardrail.core.log.checkpoint import Verify
from guardrail.core.log.key_epochs import TYPE, KeyRanges
from guardrail.core.log.merkle import Edge
from guardrail.core.log.pruned import Pruned

__all__ = ["Audit", "Pruned"]


class Audit:
    """One pass over a log. Pass each row to ``take``, in order; memory use grows only with open
    calls and keys.
    """

    def __init__(
        self,
        verify: Verify,
        *,
        pruned: Pruned | None = None,
        after: Head | None = None,
        edge: Edge | None = None,
        watch: Collection[int] = (),
        trees: bool = False,
    ) -> None:
        """Start at line 0, or after the head *after*, whose tree is *edge*. If *pruned* is set, the
        pruned records may be missing.

        Store the tree's root at each size in *watch* and, if *trees* is True, the tree as well.
        """
        self._verify = verify
        self._pruned = pruned
        self._watch = frozenset(watch)
        self.chain = Chain(after, also=self._also)
        self.edge = edge if edge is not None else Edge()
        """The tree over the records processed so far."""
        self.made: list[bytes] = []
        """The subtree roots that the last record completed."""
        self.keys: KeyRanges | None = None
        """The keys that the records certify, or None if line 0 has not been seen."""
        self.public = ""
        """The log key from line 0, 64 hex digits."""
        self.roots: dict[int, bytes] = {}
        """The root at each watched size that was reached, by size."""
        self.trees: dict[int, tuple[bytes, ...]] | None = {} if trees else None
        """``Edge.roots`` at the same sizes, by size, if requested."""
        self.recovered: list[recovered.Recovered] = []
        """Every recovery that a record reports."""

    @property
    def pruned(self) -> int:
        """Number of the first record after line 0 if records are missing, otherwise 0."""
        return self._pruned.before if self._pruned is not None else 0

    def begin(self, log: str, public: str) -> None:
        """Set the log's name and key, for a pass that does not read line 0."""
        self.public = public
        self.keys = KeyRanges(log, bytes.fromhex(public), self._verify)

    def restart(self) -> None:
        """Discard all results, and begin at line 0 again."""
        self.chain = Chain(None, also=self._also)
        self.edge = Edge()
        self.keys, self.public, self.roots, self.recovered = None, "", {}, []

    def watch(self, sizes: Collection[int]) -> None:
        """Also store the roots at these *sizes*. Sizes below the current one are ignored."""
        self._watch |= frozenset(sizes)
        if self.edge.size and self.edge.size in sizes:
            self.roots[self.edge.size] = self.edge.root()

    def watched(self, begin: int, end: int) -> list[int]:
        """Return the watched sizes above *begin* and up to *end*."""
        return sorted(size for size in self._watch if begin < size <= end)

    def join(self, root: bytes, level: int, within: Mapping[int, Sequence[bytes]]) -> list[bytes]:
        """Append a perfect subtree that was read separately; return the result of ``Edge.append``.

        For each watched size inside the subtree, *within* maps the number of the subtree's leaves
        up to that size to the roots of the perfect subtrees over those leaves.
        """
        for count, roots in within.items():
            edge = self.edge.copy()
            for height, each in zip(_heights(count), roots, strict=True):
                edge.append(each, height)
            self.roots[edge.size] = edge.root()
        made = self.edge.append(root, level)
        if self.edge.size in self._watch:
            self.roots[self.edge.size] = self.edge.root()
        return made

    def take(self, seq: int, leaf: bytes | None, line: bytes) -> dict[str, Any] | None:
        """Process the next row. Return the decoded record, or None from the first bad row on."""
        record = self.chain.take(seq, leaf, line)
        if record is None:
            return None
        self.made = self.edge.append(self.chain.leaf)
        if seq == 0:
            self.begin(record["log"], record["key"]["public"])
            self._skip()
        if self.edge.size in self._watch:
            self.roots[self.edge.size] = self.edge.root()
            if self.trees is not None:
                self.trees[self.edge.size] = self.edge.roots
        return record

    def _skip(self) -> None:
        pruned = self._pruned
        if pruned is None:
            return
        if pruned.genesis != self.chain.leaf:
            # The pruning record is from a different log. The chain reports the missing records.
            self._pruned = None
            return
        self.chain.skip(pruned.before, pruned.leaf)
        self.edge = Edge(pruned.before, pruned.edge)

    def _also(self, seq: int, record: Mapping[str, Any]) -> tuple[Difference, str] | None:
        if record["type"] == recovered.TYPE:
            self.recovered.append(recovered.Recovered.of(seq, record))
        if record["type"] != TYPE or self.keys is None:
            return None
        problem = self.keys.take(seq, record)
        return (Difference.KEY, problem) if problem else None


def _heights(size: int) -> Iterator[int]:
    """Yield the levels of the perfect subtrees that make up a tree of *size* leaves, the largest
    first.
    """
    for level in range(size.bit_length() - 1, -1, -1):
        if size >> level & 1:
            yield level
