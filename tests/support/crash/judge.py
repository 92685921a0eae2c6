"""Whether a ledger that a crash left behind is one that was committed, and none older than what was
acknowledged.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from guardrail.core.log.checkpoint import Checkpoint, SignedNote
from guardrail.core.log.key_epochs import TYPE as ROTATION
from guardrail.core.log.key_epochs import KeyRanges
from guardrail.core.log.merkle import Edge
from guardrail.core.log.record import decode, leaf_hash
from guardrail.errors import LedgerError
from guardrail.keys.log_key import verify_signature
from guardrail.ledger.files import leases_path
from guardrail.ledger.sqlite.database import SCHEMA, connect_reader
from guardrail.ledger.tree import TILE
from tests.support.crash.disks import Disk, Folder, Names, Recording, Step, put
from tests.support.crash.server import DB


class Unreadable(Exception):
    """The ledger can't be read, and why."""


@dataclass(frozen=True, slots=True)
class State:
    """All that a ledger says."""

    records: list[tuple[int, bytes, str]]
    """``seq``, leaf and line of each."""
    note: str
    """The signed head."""
    rest: tuple[list[tuple[Any, ...]], ...]
    """Every other table."""
    processes: list[str]
    """Those with an open call, or with a key that signs heads."""

    def rows(self) -> list[tuple[int, bytes, bytes]]:
        return [(seq, leaf, line.encode()) for seq, leaf, line in self.records]


def state_of(db: Path) -> State | None:
    """Read everything in the ledger at *db*; None where there is none. Raises ``Unreadable``."""
    if not db.exists():
        return None
    try:
        with closing(connect_reader(db)) as connection:
            connection.execute("BEGIN")
            records = connection.execute(
                "SELECT seq, leaf, line FROM record ORDER BY seq"
            ).fetchall()
            rest = tuple(
                connection.execute(f"SELECT * FROM {table}").fetchall() for table in TABLES
            )
            ((size, leaf, note),) = connection.execute("SELECT size, leaf, note FROM head")
            living = "SELECT process FROM call WHERE open = 1 UNION SELECT process FROM epoch"
            processes = [process for (process,) in connection.execute(living)]
    except (LedgerError, sqlite3.Error, ValueError) as error:
        raise Unreadable(str(error)) from error
    if (size, leaf) != (records[-1][0] + 1, records[-1][1]):
        raise Unreadable("the head is not that of the last record")
    return State(records, note, rest, processes)


TABLES = [
    name for name, sql in SCHEMA.items() if sql.startswith("CREATE TABLE") and name != "record"
]
"""Everything that is stored beside the records."""


def leaves_of(state: State | None) -> dict[int, bytes]:
    """Return the leaf of each record, of those that were pruned as well."""
    if state is None:
        return {}
    leaves = _leaves_of_tiles(dict(zip(TABLES, state.rest, strict=True))["tile"])
    return leaves | {seq: leaf for seq, leaf, _ in state.records}


def problem_of(db: Path, acknowledged: dict[int, bytes]) -> str:
    """Say what is wrong with a ledger that a writer has gone on with, nothing where it is whole;
    assert that it is covered.
    """
    state = state_of(db)
    if state is None:
        return "there is no ledger"
    assert_covered(state)
    if any(row[0] for row in dict(zip(TABLES, state.rest, strict=True))["call"]):
        return "calls are open"
    there = leaves_of(state)
    lost = [seq for seq, leaf in acknowledged.items() if there.get(seq) != leaf]
    return f"lost: {lost}" if lost else ""


def assert_covered(state: State) -> None:
    """Assert that the head covers exactly the records, pruned ones included, and that its signature
    counts.
    """
    tables = dict(zip(TABLES, state.rest, strict=True))
    pruned = max((before for _, before in tables["pruned"]), default=0)
    leaves = _leaves_of_tiles(tables["tile"])
    genesis = decode(state.rows()[0][2])
    ranges = KeyRanges(genesis["log"], bytes.fromhex(genesis["key"]["public"]), verify_signature)
    for seq, leaf, line in state.rows():
        assert leaf == leaf_hash(line) == leaves.setdefault(seq, leaf)
    size = len(leaves)
    assert sorted(leaves) == list(range(size))
    assert all(0 < seq < pruned for seq in leaves.keys() - {seq for seq, _, _ in state.records})
    for seq, _, line in state.rows():
        record = decode(line)
        assert seq == 0 or record["prev"] == leaves[seq - 1].hex()
        if record["type"] == ROTATION:
            problem = ranges.take(seq, record)
            assert pruned or not problem
    edge = Edge()
    for seq in range(size):
        edge.append(leaves[seq])
    signed = SignedNote.parse(state.note)
    assert Checkpoint.parse(signed.text) == Checkpoint(genesis["log"], size, edge.root())
    assert ranges.signer_of(signed, size)


def _leaves_of_tiles(tiles: list[tuple[Any, ...]]) -> dict[int, bytes]:
    """Return the leaves that the tiles of the tree keep, by number."""
    return {
        number * TILE + place: hashes[place * 32 : (place + 1) * 32]
        for level, number, hashes in tiles
        if level == 0
        for place in range(len(hashes) // 32)
    }


class Stage:
    """A folder in which one state after the other is shown, as long as nobody else changes it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._shown: Folder = {}
        put(folder, {})

    def show(self, files: Folder) -> None:
        """As ``put``, writing only what is another content than before."""
        bodies = [id(body) for body in files.values() if body]
        if len(bodies) != len(set(bodies)) or any(
            body is None and path not in self._shown for path, body in files.items()
        ):
            put(self._folder, files)
            self._shown = dict(files)
            return
        for item in self._folder.glob("*-shm"):
            item.unlink()
        gone = [path for path in self._shown if path not in files]
        if any(self._shown[path] is None for path in gone):
            put(self._folder, files)
        else:
            for path in gone:
                (self._folder / path).unlink(missing_ok=True)
            for path, body in files.items():
                if body is not None and body is not self._shown.get(path):
                    place = self._folder / path
                    if place.parent.is_dir():
                        place.unlink(missing_ok=True)  # it may be a second name
                        place.write_bytes(body)
        self._shown = dict(files)


class Judge:
    """Knows every state that was committed in a recording, and how much was acknowledged at each
    moment.
    """

    def __init__(self, recording: Recording, folder: Path) -> None:
        self._stage = Stage(folder)
        self._db = folder / DB
        self._places: dict[str, list[int]] = {}
        """Head of each committed state, and the places of those that have it."""
        self.acknowledged: list[int] = []
        """After each step: the place of the oldest state that holds all that was acknowledged."""
        self.states: list[State | None] = []
        self._begin(recording)

    def _begin(self, recording: Recording) -> None:
        disk = Disk(recording, Names.ORDERED)
        self._see(disk)
        newest = 0
        for step in recording.steps:
            disk.do(step)
            if step.what in "AD" or (step.what == "s" and step.path.endswith("-wal")):
                self._see(disk)
            if step.what == "A":
                newest = max(newest, self._holding(step))
            elif step.what == "D":
                newest = len(self.states) - 1
            self.acknowledged.append(newest)

    def _see(self, disk: Disk) -> None:
        files = disk.now()
        self._stage.show(files)
        state = state_of(self._db)
        if not self.states or state != self.states[-1]:
            assert self._place(state) is None, "a state came back"
            if state is not None:
                assert_covered(state)
            self._places.setdefault(state.note if state else "", []).append(len(self.states))
            self.states.append(state)

    def _place(self, state: State | None) -> int | None:
        """Return the place of *state* in the order of what was committed; None where it never
        was.
        """
        for place in self._places.get(state.note if state else "", []):
            if self.states[place] == state:
                return place
        return None

    def _holding(self, step: Step) -> int:
        place = len(self.states) - 1
        seq = step.where
        while place and (before := self.states[place - 1]) and before.records[-1][0] >= seq:
            place -= 1
        state = self.states[place]
        assert state is not None
        assert (seq, step.data) in [(each, leaf) for each, leaf, _ in state.records[-300:]]
        return place

    def due(self, cut: int) -> int:
        """Return the place of the oldest state that may be left before step *cut*."""
        return self.acknowledged[cut - 1] if cut else 0

    def leaves(self, cut: int) -> dict[int, bytes]:
        """Return the leaves of all records that were acknowledged before step *cut*."""
        return leaves_of(self.states[self.due(cut)])

    def verdict(self, cut: int, files: Folder) -> str:
        """Say what is wrong where power loss left *files* before step *cut*; empty where nothing
        is.
        """
        self._stage.show(files)
        try:
            state = state_of(self._db)
        except Unreadable as error:
            return f"unreadable: {error}"
        place = self._place(state)
        if place is None:
            return "a state that was never committed"
        if place < self.due(cut):
            return "an acknowledged record is lost"
        if state and not all(
            leases_path(self._db).joinpath(each).exists() for each in state.processes
        ):
            return "a process that has a call open left no lease"
        return ""
