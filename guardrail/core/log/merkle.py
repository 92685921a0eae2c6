"""The Merkle tree over the records' leaf hashes: heads, inclusion proofs, consistency proofs (RFC
6962 section 2.1).

Pure. The tree's leaves are the chain's links, so one hash serves both purposes. A *perfect subtree*
at ``(level, index)`` covers the ``2 ** level`` leaves from ``index << level`` on; everything here
is built from the roots of such subtrees, which the caller provides.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence

__all__ = [
    "EMPTY_ROOT",
    "HASH_BYTES",
    "Edge",
    "Node",
    "consistency_proof",
    "in_tree",
    "inclusion_proof",
    "node_hash",
    "perfect_root",
    "range_root",
    "verify_consistency",
    "verify_inclusion",
]

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()
"""Root of a tree without leaves."""

Node = Callable[[int, int], bytes]
"""Returns the root of the perfect subtree at (level, index), 32 bytes."""


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return SHA-256(0x01 || left || right), 32 bytes."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Edge:
    """A growing tree, stored as the roots of its perfect subtrees, the largest first.

    It stores one hash for each bit set in the size, which is enough to append and to compute the
    root.
    """

    __slots__ = ("_roots", "size")

    def __init__(self, size: int = 0, roots: Sequence[bytes] = ()) -> None:
        """Begin with *size* leaves. Raises ``ValueError`` unless *roots* has one hash for each bit
        set in *size*.
        """
        if size < 0 or len(roots) != size.bit_count():
            raise ValueError("the roots do not belong to a tree of this size")
        self.size = size
        """Number of leaves."""
        self._roots = list(roots)

    @classmethod
    def decode(cls, size: int, stored: bytes) -> Edge:
        """Return the tree that ``encode`` stored. Raises ``ValueError``."""
        if len(stored) % HASH_BYTES:
            raise ValueError("not a sequence of hashes")
        return cls(size, [stored[at : at + HASH_BYTES] for at in range(0, len(stored), HASH_BYTES)])

    def encode(self) -> bytes:
        """Return the roots, joined: 32 bytes for each bit set in the size."""
        return b"".join(self._roots)

    def copy(self) -> Edge:
        """Return an independent copy of the tree."""
        copy = Edge.__new__(Edge)
        copy.size = self.size
        copy._roots = self._roots.copy()
        return copy

    @property
    def roots(self) -> tuple[bytes, ...]:
        """The roots of the perfect subtrees, the largest first."""
        return tuple(self._roots)

    def append(self, root: bytes, level: int = 0) -> list[bytes]:
        """Add a leaf, or the perfect subtree of *level* with this *root*.

        Return the new roots, one per level, beginning with *root* itself. Raises ``ValueError`` if
        a subtree of that level can't be added here.
        """
        if self.size & ((1 << level) - 1):
            raise ValueError("a subtree of this level can't begin at this size")
        made = [root]
        rest = self.size >> level
        while rest & 1:
            root = hashlib.sha256(b"\x01" + self._roots.pop() + root).digest()
            made.append(root)
            rest >>= 1
        self._roots.append(root)
        self.size += 1 << level
        return made

    def extend(self, leaves: Sequence[bytes]) -> list[bytes]:
        """Add *leaves* in order, in less time than ``append`` for each. Return the result of
        ``append`` for the last one, or an empty list if there is none.
        """
        if not leaves:
            return []
        size = self.size + len(leaves)
        made: list[bytes] = []
        kept: list[bytes] = []
        nodes, height = list(leaves), 0
        while nodes:
            if self.size >> height & 1:  # the left half of the first pair
                nodes.insert(0, self._roots.pop())
            if not size & ((1 << height) - 1):
                made.append(nodes[-1])
            if len(nodes) & 1:
                kept.append(nodes.pop())
            nodes = [
                hashlib.sha256(b"\x01" + left + right).digest()
                for left, right in zip(nodes[::2], nodes[1::2], strict=True)
            ]
            height += 1
        self._roots += reversed(kept)
        self.size = size
        return made

    def root(self) -> bytes:
        """Return the root of the whole tree: the Merkle tree hash of RFC 6962."""
        if not self._roots:
            return EMPTY_ROOT
        root = self._roots[-1]
        for left in reversed(self._roots[:-1]):
            root = hashlib.sha256(b"\x01" + left + root).digest()
        return root


def _perfect(begin: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield (level, index) of the perfect subtrees over the leaves from *begin* to *end*, the
    largest first.

    *begin* is a multiple of the largest power of two that fits, as it is in every split of RFC
    6962.
    """
    while begin < end:
        level = (end - begin).bit_length() - 1
        yield level, begin >> level
        begin += 1 << level


def range_root(begin: int, end: int, node: Node) -> bytes:
    """Return the Merkle tree hash of the leaves from *begin* to *end*, one of the ranges that RFC
    6962 splits a tree into.
    """
    roots = [node(level, index) for level, index in _perfect(begin, end)]
    if not roots:
        return EMPTY_ROOT
    root = roots.pop()
    while roots:
        root = node_hash(roots.pop(), root)
    return root


def perfect_root(hashes: Sequence[bytes]) -> bytes:
    """Return the root of a perfect subtree over *hashes*. Their number must be a power of two."""
    level = hashes
    while len(level) > 1:
        level = [
            hashlib.sha256(b"\x01" + left + right).digest()
            for left, right in zip(level[::2], level[1::2], strict=True)
        ]
    return level[0]


def in_tree(leaf: bytes, index: int, edge: Edge, node: Node) -> bool:
    """Return True if *leaf* is at *index* in the tree *edge*.

    The hashes from *node* need not be trusted: a different leaf can't produce the root. Raises
    ``ValueError`` for an index beyond the tree, and any exception that *node* raises.
    """
    end = 0
    for root, level in zip(edge.roots, _levels(edge.size), strict=True):
        end += 1 << level
        if index < end:
            found = leaf
            for height in range(level):
                place = index >> height
                other = node(height, place ^ 1)
                found = node_hash(other, found) if place & 1 else node_hash(found, other)
            return found == root
    raise ValueError("the tree has no such leaf")


def _levels(size: int) -> Iterator[int]:
    """Yield the levels of the perfect subtrees that make up a tree of *size* leaves, the largest
    first.
    """
    for level in range(size.bit_length() - 1, -1, -1):
        if size >> level & 1:
            yield level


def _split(size: int) -> int:
    """Return the largest power of two less than *size*. *size* must be at least 2."""
    return 1 << ((size - 1).bit_length() - 1)


def inclusion_proof(index: int, size: int, node: Node) -> list[bytes]:
    """Return the audit path for the leaf at *index* in the tree of *size* leaves, from leaf to root
    (RFC 6962 section 2.1.1).

    Raises ``ValueError`` if there is no such leaf.
    """
    if not 0 <= index < size:
        raise ValueError("the tree has no such leaf")
    path = []
    begin, end = 0, size
    while end - begin > 1:
        middle = begin + _split(end - begin)
        if index < middle:
            path.append(range_root(middle, end, node))
            end = middle
        else:
            path.append(range_root(begin, middle, node))
            begin = middle
    path.reverse()
    return path


def consistency_proof(first: int, size: int, node: Node) -> list[bytes]:
    """Return the proof that the tree of *size* leaves extends the tree of *first* leaves
    (RFC 6962 section 2.1.2).

    It is empty if *first* is 0 or *size*. Raises ``ValueError`` if *first* is larger than *size*.
    """
    if not 0 <= first <= size:
        raise ValueError("the first tree is larger than the second")
    if first in (0, size):
        return []
    path = []
    begin, end = 0, size
    whole = True  # the part of the first tree under the current split is known by its root
    while first != end:
        middle = begin + _split(end - begin)
        if first <= middle:
            path.append(range_root(middle, end, node))
            end = middle
        else:
            path.append(range_root(begin, middle, node))
            begin = middle
            whole = False
    if not whole:
        path.append(range_root(begin, end, node))
    path.reverse()
    return path


def verify_inclusion(
    leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes
) -> bool:
    """Return True if *path* proves that *leaf* is at *index* in the tree of *size* leaves with this
    *root* (RFC 9162 section 2.1.3.2).
    """
    if not 0 <= index < size:
        return False
    number, last = index, size - 1
    found = leaf
    for sibling in path:
        if last == 0 or len(sibling) != HASH_BYTES:
            return False
        if number & 1 or number == last:
            found = node_hash(sibling, found)
            while not number & 1 and number:
                number >>= 1
                last >>= 1
        else:
            found = node_hash(found, sibling)
        number >>= 1
        last >>= 1
    return last == 0 and found == root


def verify_consistency(
    first: int, first_root: bytes, size: int, root: bytes, path: Sequence[bytes]
) -> bool:
    """Return True if *path* proves that the tree of *size* leaves with this *root* begins with the
    tree of *first* leaves with *first_root* (RFC 9162 section 2.1.4.2).
    """
    if not 0 <= first <= size or any(len(each) != HASH_BYTES for each in path):
        return False
    if first == size:
        return not path and first_root == root
    if first == 0:
        return not path and first_root == EMPTY_ROOT
    if not path:
        return False
    steps = list(path)
    if first & (first - 1) == 0:
        steps.insert(0, first_root)  # for a perfect tree, the proof omits its own first step
    number, last = first - 1, size - 1
    while number & 1:
        number >>= 1
        last >>= 1
    old = new = steps[0]
    for sibling in steps[1:]:
        if last == 0:
            return False
        if number & 1 or number == last:
            old = node_hash(sibling, old)
            new = node_hash(sibling, new)
            while not number & 1 and number:
                number >>= 1
                last >>= 1
        else:
            new = node_hash(new, sibling)
        number >>= 1
        last >>= 1
    return last == 0 and old == first_root and new == root
