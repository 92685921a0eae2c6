"""Heads and proofs against the recursive definitions of RFC 6962, written out here a second
time.
"""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.core.log import merkle


def tree_hash(leaves: list[bytes]) -> bytes:
    """Return MTH of RFC 6962 section 2.1, leaves already hashed."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return hashlib.sha256(b"\x01" + tree_hash(leaves[:k]) + tree_hash(leaves[k:])).digest()


def some(count: int) -> list[bytes]:
    """Return *count* different leaves."""
    return [hashlib.sha256(b"\x00%d" % number).digest() for number in range(count)]


def nodes(leaves: list[bytes]) -> merkle.Node:
    """Return a getter of perfect subtrees."""
    return lambda level, index: tree_hash(leaves[index << level : (index + 1) << level])


def edge_of(leaves: list[bytes]) -> merkle.Edge:
    """Return the tree that grew leaf by leaf."""
    edge = merkle.Edge()
    for leaf in leaves:
        edge.append(leaf)
    return edge


def test_the_root_is_the_definitions_at_every_size() -> None:
    """A tree that grows leaf by leaf has the root of the recursive definition, and survives being
    stored.
    """
    leaves = some(130)
    edge = merkle.Edge()
    for size in range(131):
        assert edge.root() == tree_hash(leaves[:size])
        stored = merkle.Edge.decode(size, edge.encode())
        assert stored.root() == edge.root()
        assert stored.roots == edge.roots
        if size < 130:
            edge.append(leaves[size])


def test_a_copy_grows_on_its_own() -> None:
    """What is appended to a copy leaves the original as it was."""
    edge = edge_of(some(5))
    before = edge.root()
    edge.copy().append(some(9)[8])
    assert edge.root() == before


def test_whole_subtrees_can_be_appended_where_they_stand() -> None:
    """Two halves that were hashed apart make the same tree; a subtree elsewhere is refused."""
    leaves = some(29)
    edge = merkle.Edge()
    edge.append(tree_hash(leaves[:16]), level=4)
    edge.append(tree_hash(leaves[16:24]), level=3)
    for leaf in leaves[24:]:
        edge.append(leaf)
    assert edge.root() == tree_hash(leaves)
    with pytest.raises(ValueError, match="can't begin at this size"):
        edge.append(leaves[0], level=2)


def test_appending_tells_which_subtrees_were_completed() -> None:
    """The roots that came into being are those of the perfect subtrees that end here."""
    leaves = some(16)
    edge = edge_of(leaves[:15])
    made = edge.append(leaves[15])
    assert made == [tree_hash(leaves[16 - (1 << level) :]) for level in range(5)]


def test_adding_many_leaves_is_adding_each() -> None:
    """At every size, and by every number of leaves up to a few."""
    leaves = some(60)
    for size in range(33):
        for count in range(27):
            one, many = edge_of(leaves[:size]), edge_of(leaves[:size])
            made: list[bytes] = []
            for leaf in leaves[size : size + count]:
                made = one.append(leaf)
            assert many.extend(leaves[size : size + count]) == made
            assert (many.size, many.roots) == (one.size, one.roots)


@pytest.mark.parametrize(("size", "roots"), [(3, [b"x" * 32]), (-1, []), (0, [b"x" * 32])])
def test_roots_that_do_not_fit_the_size_are_refused(size: int, roots: list[bytes]) -> None:
    """A stored edge has one hash for each bit of its size."""
    with pytest.raises(ValueError, match="do not belong"):
        merkle.Edge(size, roots)


def test_a_stored_edge_that_is_cut_is_refused() -> None:
    """Half a hash is none."""
    with pytest.raises(ValueError, match="sequence of hashes"):
        merkle.Edge.decode(1, b"x" * 31)


def test_every_inclusion_proof_up_to_33_leaves_verifies_and_no_other_leaf_does() -> None:
    """Each leaf of each tree is proved; another leaf, number, size, path or root is not."""
    leaves = some(33)
    for size in range(1, 34):
        root = tree_hash(leaves[:size])
        for index in range(size):
            path = merkle.inclusion_proof(index, size, nodes(leaves))
            assert merkle.verify_inclusion(leaves[index], index, size, path, root)
            assert not merkle.verify_inclusion(b"x" * 32, index, size, path, root)
            assert not merkle.verify_inclusion(leaves[index], index, size, path, b"x" * 32)
            assert not merkle.verify_inclusion(leaves[index], index, size, [*path, root], root)
            if path:
                assert not merkle.verify_inclusion(leaves[index], index, size, path[:-1], root)
                assert not merkle.verify_inclusion(
                    leaves[index], index, size, [path[0][:31], *path[1:]], root
                )
            for other in range(size):
                if other != index:
                    assert not merkle.verify_inclusion(leaves[index], other, size, path, root)


def test_every_consistency_proof_up_to_33_leaves_verifies_and_no_fork_does() -> None:
    """Each tree is the beginning of each larger one, and no other root is."""
    leaves = some(33)
    for size in range(34):
        root = tree_hash(leaves[:size])
        for first in range(size + 1):
            path = merkle.consistency_proof(first, size, nodes(leaves))
            old = tree_hash(leaves[:first])
            assert merkle.verify_consistency(first, old, size, root, path)
            assert not merkle.verify_consistency(first, b"x" * 32, size, root, path)
            if 0 < first < size:
                assert not merkle.verify_consistency(first, old, size, b"x" * 32, path)
                assert not merkle.verify_consistency(first, old, size, root, path[:-1])
                assert not merkle.verify_consistency(first, old, size, root, [*path, root])
            assert not merkle.verify_consistency(first, old, size, root, [b"short"])


@pytest.mark.parametrize(("index", "size"), [(0, 0), (3, 3), (-1, 3)])
def test_a_leaf_that_is_not_there_has_no_proof(index: int, size: int) -> None:
    """Asking for it is an error, and verifying it is no."""
    with pytest.raises(ValueError, match="no such leaf"):
        merkle.inclusion_proof(index, size, nodes(some(3)))
    assert not merkle.verify_inclusion(some(1)[0], index, size, [], some(1)[0])


def test_a_larger_tree_is_not_the_beginning_of_a_smaller_one() -> None:
    """Asking for that proof is an error, and verifying it is no."""
    leaves = some(4)
    with pytest.raises(ValueError, match="larger"):
        merkle.consistency_proof(4, 3, nodes(leaves))
    assert not merkle.verify_consistency(4, tree_hash(leaves), 3, tree_hash(leaves[:3]), [])


def test_the_root_of_an_empty_range_is_that_of_an_empty_tree() -> None:
    """RFC 6962: the hash of an empty list is the hash of an empty string."""
    assert merkle.range_root(4, 4, nodes(some(4))) == merkle.EMPTY_ROOT


@given(st.integers(0, 3000), st.integers(0, 3000))
def test_proofs_between_arbitrary_sizes_verify(one: int, other: int) -> None:
    """Sizes far from small powers of two."""
    first, size = sorted((one, other))
    leaves = some(size)
    known: dict[tuple[int, int], bytes] = {}

    def node(level: int, index: int) -> bytes:
        if level == 0:
            return leaves[index]
        if (level, index) not in known:
            known[level, index] = merkle.node_hash(
                node(level - 1, 2 * index), node(level - 1, 2 * index + 1)
            )
        return known[level, index]

    root = edge_of(leaves).root()
    proof = merkle.consistency_proof(first, size, node)
    assert merkle.verify_consistency(first, edge_of(leaves[:first]).root(), size, root, proof)
    if first < size:
        path = merkle.inclusion_proof(first, size, node)
        assert merkle.verify_inclusion(leaves[first], first, size, path, root)


@given(st.integers(1, 70), st.data())
def test_a_leaf_is_in_a_tree_at_its_own_number_only(size: int, data: st.DataObject) -> None:
    """Whatever the tree's inner hashes are said to be, no other leaf leads to its roots."""
    leaves = some(size + 1)
    edge, index = edge_of(leaves[:size]), data.draw(st.integers(0, size - 1))
    node = nodes(leaves[:size])
    assert merkle.in_tree(leaves[index], index, edge, node)
    assert not merkle.in_tree(leaves[size], index, edge, node)
    other = data.draw(st.integers(0, size - 1))
    assert merkle.in_tree(leaves[index], other, edge, node) is (index == other)
    assert not merkle.in_tree(leaves[size], index, edge, lambda *_: bytes(32))


@pytest.mark.parametrize("size", [0, 1, 5])
def test_a_number_beyond_a_tree_is_no_leaf_of_it(size: int) -> None:
    leaves = some(size)
    with pytest.raises(ValueError, match="no such leaf"):
        merkle.in_tree(bytes(32), size, edge_of(leaves), nodes(leaves))


@pytest.mark.parametrize("level", range(9))
def test_the_root_of_a_perfect_subtree_is_the_definitions(level: int) -> None:
    leaves = some(1 << level)
    assert merkle.perfect_root(leaves) == tree_hash(leaves)
