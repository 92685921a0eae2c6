"""Audits all lines of a log: the chain, the Merkle tree, the keys, and the proof of pruned records.

Pure. ``docs/record-format.md`` sections 3, 9 and 10 define the checks; ``guardrail.review.verify``
decides which heads are compared with the result.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from guardrail.core.log import recovered
from guardrail.core.log.chain import Chain, Difference, Head
from guardrail.core.log.checkpoint import Verify
from guardrail.core.log.key_epochs import TYPE, KeyRanges
from guardrail.core.log.merkle import Edge
from guardrail.core.log.pruned import Pruned

__all__ = ["Audit", "Pruned"]

_GROUP = 256
"""Number of leaves by which ``take_rows`` extends the tree at a time."""


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
        self._watch = sorted(set(watch))
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
        self._watch = sorted({*self._watch, *sizes})
        if self.edge.size and self.edge.size in sizes:
            self.roots[self.edge.size] = self.edge.root()

    def watched(self, begin: int, end: int) -> list[int]:
        """Return the watched sizes above *begin* and up to *end*."""
        return self._watch[bisect_right(self._watch, begin) : bisect_right(self._watch, end)]

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
        self._keep_root()
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
        self._keep_root()
        return record

    def take_rows(
        self, rows: Iterable[tuple[int, bytes | None, bytes]]
    ) -> Generator[tuple[int, dict[str, Any], bytes], None, None]:
        """Take *rows* with the result of ``take``, but faster. Yield the number, the decoded record
        and the line of each good row, and end after the first bad one.

        The tree grows by many leaves at a time, and is complete when the iterator has ended or was
        closed; ``made`` then belongs to the last good row. Use this object for nothing else before
        that.
        """
        rows = iter(rows)
        if self.chain.next_seq == 0:
            for seq, leaf, line in islice(rows, 1):
                record = self.take(seq, leaf, line)
                if record is None:
                    return
                yield seq, record, line
        while True:
            leaves: list[bytes] = []
            try:
                yield from self.chain.take_rows(islice(rows, _GROUP), leaves)
            finally:
                self._grow(leaves)
            if len(leaves) < _GROUP:
                return

    def _grow(self, leaves: Sequence[bytes]) -> None:
        begin = self.edge.size
        for end in (*self.watched(begin, begin + len(leaves) - 1), begin + len(leaves)):
            added = leaves[self.edge.size - begin : end - begin]
            if added:
                self.made = self.edge.extend(added)
                self._keep_root()

    def _keep_root(self) -> None:
        size = self.edge.size
        at = bisect_right(self._watch, size)
        if at and self._watch[at - 1] == size:
            self.roots[size] = self.edge.root()
            if self.trees is not None:
                self.trees[size] = self.edge.roots

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
