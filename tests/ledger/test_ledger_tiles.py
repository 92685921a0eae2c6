"""The stored tree is compared with the lines row by row: what is wrong in it is found, whatever
else is right.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardrail.core.log.merkle import Edge
from guardrail.ledger.sqlite.database import SCHEMA
from guardrail.ledger.sqlite.tree import SQLiteTree, SQLiteTreeWriter
from guardrail.ledger.tiles import TileWalk, WrongTile
from guardrail.ledger.tree import TILE, leaves_of, node_reader

TABLES = ("record", "tile", "pruned")


def leaf(number: int) -> bytes:
    return number.to_bytes(32, "big")


def log(size: int) -> sqlite3.Connection:
    """Only the hashes of a log of *size* records, as a writer stores them."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    for name in TABLES:
        connection.execute(SCHEMA[name])
    edge = Edge()
    for number in range(size):
        connection.execute("INSERT INTO record VALUES (?, ?, '{}')", (number, leaf(number)))
        made = edge.append(leaf(number))
        if edge.size % TILE == 0:
            SQLiteTreeWriter(connection.execute).store_tile(edge.size, made)
    return connection


def walked(connection: sqlite3.Connection, size: int, *, since: int = 0) -> list[WrongTile]:
    """Walk over all leaves, or those behind *since*, and return what was found."""
    walk, edge, found = TileWalk(SQLiteTree(connection.execute)), Edge(), []
    for number in range(size):
        made = edge.append(leaf(number))
        if number == since - 1:
            walk.resume(since)
        elif number >= since:
            found += walk.take(edge.size, made)
    return found + walk.end(size, 0)


@pytest.fixture(scope="module")
def long() -> Iterator[sqlite3.Connection]:
    connection = log(800)
    yield connection
    connection.close()


@pytest.fixture
def whole(long: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """800 records: three tiles of leaves and one that has no row yet, and a row of their roots."""
    long.execute("BEGIN")
    yield long
    long.execute("ROLLBACK")


def test_a_tree_that_a_writer_stored_is_right(whole: sqlite3.Connection) -> None:
    """From the first record, and from one in the middle of a tile on."""
    assert walked(whole, 800) == []
    assert walked(whole, 800, since=300) == []


@pytest.mark.parametrize(
    ("statement", "place"),
    [
        ("UPDATE tile SET hashes = zeroblob(8192) WHERE level = 0 AND number = 1", (0, 1)),
        (
            (
                "UPDATE tile SET hashes = CAST(hashes || zeroblob(32) AS BLOB) WHERE level = 0 AND"
                " number = 1"
            ),
            (0, 1),
        ),
        ("UPDATE tile SET hashes = substr(hashes, 1, 8160) WHERE level = 0 AND number = 0", (0, 0)),
        ("UPDATE tile SET hashes = CAST(hashes || zeroblob(32) AS BLOB) WHERE level = 1", (1, 0)),
        ("UPDATE tile SET hashes = substr(hashes, 1, 32) WHERE level = 1", (1, 0)),
        (
            "UPDATE tile SET hashes = CAST(hashes || zeroblob(1000000) AS BLOB) WHERE level = 1",
            (1, 0),
        ),
        ("DELETE FROM tile WHERE level = 0 AND number = 2", (0, 2)),
        ("DELETE FROM tile WHERE level = 1", (1, 0)),
        ("INSERT INTO tile VALUES (0, 3, zeroblob(32))", (0, 3)),
        ("INSERT INTO tile VALUES (0, 4, zeroblob(8192))", (0, 4)),
        ("INSERT INTO tile VALUES (0, 1 << 62, zeroblob(32))", (0, 1 << 62)),
        ("INSERT INTO tile VALUES (1, 1, zeroblob(32))", (1, 1)),
        ("INSERT INTO tile VALUES (2, 0, zeroblob(32))", (2, 0)),
        ("INSERT INTO tile VALUES (7, 0, zeroblob(32))", (7, 0)),
        ("INSERT INTO tile VALUES (8, 0, zeroblob(32))", (8, 0)),
        ("INSERT INTO tile VALUES (-1, 0, zeroblob(32))", (-1, 0)),
        ("INSERT INTO tile VALUES (0, -1, zeroblob(32))", (0, -1)),
    ],
)
def test_every_wrong_row_is_a_finding(
    whole: sqlite3.Connection, statement: str, place: tuple[int, int]
) -> None:
    """Changed, missing, too short, too long, partial, and where no row should be."""
    whole.execute(statement)
    found = walked(whole, 800)
    assert [(each.level, each.number) for each in found] == [place]
    assert found[0].text


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 700), st.data())
def test_what_was_found_wrong_says_what_is_right(size: int, data: st.DataObject) -> None:
    """Whatever rows are changed: with the findings put in their places nothing is found any
    more.
    """
    connection = log(size)
    for _ in range(data.draw(st.integers(1, 4))):
        level, number = data.draw(st.integers(-1, 8)), data.draw(st.integers(-1, 4))
        hashes = data.draw(st.sampled_from([b"", bytes(31), bytes(32), bytes(8192), bytes(9000)]))
        connection.execute("REPLACE INTO tile VALUES (?, ?, ?)", (level, number, hashes))
    for each in walked(connection, size):
        if each.right is None:
            place = (each.level, each.number)
            connection.execute("DELETE FROM tile WHERE level = ? AND number = ?", place)
        else:
            row = (each.level, each.number, each.right)
            connection.execute("REPLACE INTO tile VALUES (?, ?, ?)", row)
    assert walked(connection, size) == []


def test_a_tile_says_nothing_about_records_that_are_there(whole: sqlite3.Connection) -> None:
    """Leaves come from the records, whatever a row of the tree holds in their place."""
    whole.execute("INSERT INTO tile VALUES (0, 3, zeroblob(8192))")
    whole.execute("UPDATE tile SET hashes = zeroblob(8192) WHERE level = 0")
    for start, stop in ((0, 256), (512, 768), (768, 800)):
        assert leaves_of(SQLiteTree(whole.execute), start, stop) == [
            leaf(n) for n in range(start, stop)
        ]
    with pytest.raises(ValueError, match="missing"):
        leaves_of(SQLiteTree(whole.execute), 790, 801)


def test_a_partial_tile_says_nothing_about_the_end_of_the_log(whole: sqlite3.Connection) -> None:
    """Proofs about the newest records are made from these."""
    whole.execute("INSERT INTO tile VALUES (0, 3, zeroblob(1024))")
    node = node_reader(SQLiteTree(whole.execute))
    assert [node(0, number) for number in (5, 768, 799)] == [leaf(5), leaf(768), leaf(799)]
    with pytest.raises(ValueError, match="missing"):
        node(0, 800)


def test_what_is_kept_of_pruned_records_is_what_they_had(whole: sqlite3.Connection) -> None:
    """A tile that somebody changed before is put right while the records are still there."""
    whole.execute("UPDATE tile SET hashes = zeroblob(8192) WHERE level = 0 AND number = 0")
    whole.execute("INSERT INTO tile VALUES (0, 3, zeroblob(8192))")
    SQLiteTreeWriter(whole.execute).keep_leaves(780)
    whole.execute("DELETE FROM record WHERE seq > 0 AND seq < 780")
    for start, stop in ((0, 256), (256, 512), (512, 768), (768, 800)):
        assert leaves_of(SQLiteTree(whole.execute), start, stop) == [
            leaf(n) for n in range(start, stop)
        ]
    walk, edge, found = TileWalk(SQLiteTree(whole.execute)), Edge(), []
    for number in range(800):
        found += walk.take(number + 1, edge.append(leaf(number)))
    assert [*found, *walk.end(800, 780)] == []
