"""Power loss, rebuilt: what a real writer did to a folder, and every disk that it may leave behind.

``record`` runs a sequence (sequences.py) with recorder.c preloaded: the real SQLite and the real writer on real files.
``Disk`` takes the recorded steps and knows what is certainly on the platter. Everything else may be kept, dropped, torn
at sectors of 512 bytes, and kept without what came before it. ``Judge`` says whether a ledger that is left so holds a state
that was committed, and none older than what was acknowledged.
"""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TypeAlias

import pytest
from sequences import before

from guardrail.core import chain
from guardrail.core.merkle import Edge
from guardrail.core.note import Checkpoint, SignedNote
from guardrail.core.record import decode
from guardrail.core.rotation import TYPE as ROTATION
from guardrail.core.rotation import KeyRanges
from guardrail.errors import LedgerError
from guardrail.keys import verify_signature
from guardrail.ledger.files import leases_path
from guardrail.ledger.sqlite import SCHEMA, connect_reader

HERE = Path(__file__).parent
SECTOR = 512
DB = "a.db"


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that the process did, or was told."""

    what: str
    """``C`` created, ``W`` written, ``T`` truncated, ``s`` sync began, ``S`` sync ended well, ``L`` linked, ``R`` renamed,
    ``U`` removed, ``M`` folder made; ``A`` record acknowledged, ``D`` everything until now acknowledged."""
    inode: int
    where: int
    path: str
    """Within the folder."""
    data: bytes


def steps_of(recording: bytes, folder: Path) -> list[Step]:
    """Take a recording apart."""
    steps, place, prefix = [], 0, len(str(folder)) + 1
    while place < len(recording):
        what, inode, where, named, size = struct.unpack_from("<cQQII", recording, place)
        place += 25
        path = recording[place : place + named].decode()[prefix:]
        place += named
        data = recording[place : place + size]
        if what in b"LR":
            data = data[prefix:]
        steps.append(Step(what.decode(), inode, where, path, data))
        place += size
    return steps


def build_recorder(folder: Path) -> Path:
    """Compile the recorder."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler here")
    library = folder / "recorder.so"
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-w", "-o", str(library), str(HERE / "recorder.c"), "-ldl"],
        check=True,
    )
    return library


Folder: TypeAlias = "dict[str, bytes | None]"
"""Files and their content; folders, without any."""


@dataclass(frozen=True, slots=True)
class Recording:
    """A run of a sequence: the folder before it, and what happened to it."""

    name: str
    before: Folder
    inodes: dict[int, str]
    """Of the files that were there before."""
    steps: list[Step]


def prepare(name: str, folder: Path) -> None:
    """Let everything happen in *folder* that comes before the sequence *name*."""
    folder.mkdir()
    for earlier in before(name):
        _run(earlier, folder, folder.with_name(folder.name + "-before"), {})


def record(name: str, folder: Path, library: Path, **environment: str) -> Recording:
    """Run the sequence *name* on the ledger in *folder*, and record it."""
    there = [item for item in folder.rglob("*") if not item.name.endswith("-shm")]
    before = {
        str(item.relative_to(folder)): item.read_bytes() if item.is_file() else None
        for item in there
    }
    inodes = {item.stat().st_ino: str(item.relative_to(folder)) for item in there}
    inodes[folder.stat().st_ino] = ""
    log = folder.with_name(folder.name + "-recording")
    preload = {"LD_PRELOAD": str(library), "GR_RECORD": str(log), "GR_FOLDER": str(folder)}
    _run(name, folder, log, {**preload, **environment})
    return Recording(name, before, inodes, steps_of(log.read_bytes(), folder))


def _run(name: str, folder: Path, log: Path, environment: dict[str, str]) -> None:
    subprocess.run(
        [sys.executable, str(HERE / "sequences.py"), name, str(folder / DB), str(log)],
        check=True,
        timeout=120,
        env={
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "PYTHONPATH": os.pathsep.join(sys.path),
            **environment,
        },
    )


class Names(StrEnum):
    """When names, and the sizes of files, are durable."""

    ORDERED = "ordered"
    """As on file systems with a journal: in the order in which they came, at the latest with the next sync of anything."""
    STRICT = "strict"
    """As the standard has it: each for itself, and never before its own folder was synced."""


@dataclass(slots=True)
class File:
    """What is certainly on the platter, and what was done since."""

    stable: bytearray
    pending: list[tuple[int, Step]] = field(default_factory=list)
    frozen: bytes | None = None
    """``stable``, until it changes: most states share it."""

    def settle(self, until: int) -> None:
        rest = 0
        for number, step in self.pending:
            if number >= until:
                break
            apply(self.stable, step)
            rest += 1
        if rest:
            del self.pending[:rest]
            self.frozen = None

    def certain(self) -> bytes:
        if self.frozen is None:
            self.frozen = bytes(self.stable)
        return self.frozen


@dataclass(frozen=True, slots=True)
class Naming:
    """A change of names that is not certainly durable."""

    number: int
    step: Step
    file: File | None


class Disk:
    """A folder of files, some of what was done to it not yet durable."""

    def __init__(self, recording: Recording, names: Names) -> None:
        self._names = names
        self._durable: dict[str, File | None] = {
            path: File(bytearray(content)) if content is not None else None
            for path, content in recording.before.items()
        }
        self._files = {
            inode: self._durable[path] for inode, path in recording.inodes.items() if path
        }
        self._current = dict(self._durable)
        self._pending: list[Naming] = []
        self._began: dict[int, int] = {}
        self._count = 0

    def do(self, step: Step) -> None:
        """Let *step* happen."""
        self._count += 1
        if step.what == "s":
            self._began[step.where] = self._count
        elif step.what == "S":
            self._settle(step, self._began.pop(step.where))
        elif step.what in "WT":
            file = self._files[step.inode]
            assert file is not None
            file.pending.append((self._count, step))
        elif step.what in "CLRUM":
            self._rename(step)

    def _rename(self, step: Step) -> None:
        if step.what == "C":
            file: File | None = File(bytearray())
            self._files[step.inode] = file
        else:
            file = self._current.get(step.path)
        naming = Naming(self._count, step, file)
        self._pending.append(naming)
        name(self._current, naming)

    def _settle(self, step: Step, until: int) -> None:
        file = self._files.get(step.inode)
        if file is not None:
            file.settle(until)
        elif self._names is Names.STRICT:
            self._settle_names(until, step.path)
        if self._names is Names.ORDERED:
            self._settle_names(until, None)

    def _settle_names(self, until: int, folder: str | None) -> None:
        left = []
        for naming in self._pending:
            inside = folder is None or os.path.dirname(naming.step.path) == folder
            if naming.number < until and inside:
                name(self._durable, naming)
            else:
                left.append(naming)
        self._pending = left

    @property
    def uncertain(self) -> int:
        """How many steps are not certainly durable."""
        return len(self._pending) + sum(
            len(file.pending) for file in self._current.values() if file is not None
        )

    def now(self) -> Folder:
        """Return the folder as the process sees it."""
        return {
            path: content(file, [step for _, step in file.pending]) if file else None
            for path, file in self._current.items()
        }

    def after_power_loss(self, moment: random.Random) -> Folder:
        """Return a folder that may be left, with *moment* choosing."""
        names = dict(self._durable)
        mood = Mood(moment)
        if self._names is Names.ORDERED:
            kept = self._pending[: moment.randint(0, len(self._pending))]
        else:
            kept = [naming for naming in self._pending if mood.keeps()]
        for naming in kept:
            name(names, naming)
        left: dict[int, bytes] = {}
        for file in names.values():
            if file is not None and id(file) not in left:
                left[id(file)] = content(file, mood.of(file.pending))
        return {path: left[id(file)] if file else None for path, file in names.items()}


def disks(recording: Recording, passes: int = 60) -> Iterator[tuple[Names, int, Folder]]:
    """Rebuild what power loss may leave before each step, so many times, under both rules of names."""
    moment = random.Random(7)
    for names in [*Names] * passes:
        disk = Disk(recording, names)
        for cut in range(len(recording.steps) + 1):
            yield names, cut, disk.after_power_loss(moment)
            if cut < len(recording.steps):
                disk.do(recording.steps[cut])


def name(names: dict[str, File | None], naming: Naming) -> None:
    """Apply a change of names."""
    step = naming.step
    if step.what in "CM":
        names[step.path] = naming.file
    elif step.what == "U":
        names.pop(step.path, None)
    else:
        if step.what == "R":
            names.pop(step.path, None)
        names[step.data.decode()] = naming.file


def content(file: File, steps: list[Step]) -> bytes:
    """Return what *file* holds after *steps*."""
    if not steps:
        return file.certain()
    result = bytearray(file.stable)
    for step in steps:
        apply(result, step)
    return bytes(result)


def apply(content: bytearray, step: Step) -> None:
    """Let one write or truncation happen."""
    if step.what == "T":
        del content[step.where :]
    if len(content) < step.where:
        content.extend(bytes(step.where - len(content)))
    if step.what == "W":
        content[step.where : step.where + len(step.data)] = step.data


class Mood:
    """How a disk treats what was not synced when the power went."""

    def __init__(self, moment: random.Random) -> None:
        self._moment = moment
        self._odds = moment.choice((0.0, 1.0, 0.5, 0.5, 0.9, 0.1))
        self._torn = moment.choice((0.0, 0.0, 0.3, 1.0))
        self._cut = moment.random() < 0.25

    def keeps(self) -> bool:
        return self._moment.random() < self._odds

    def of(self, pending: list[tuple[int, Step]]) -> list[Step]:
        """Return what is left of *pending*, in the order in which it was done."""
        steps = [step for _, step in pending]
        if self._cut:
            steps = steps[: self._moment.randint(0, len(steps))]
            return [*steps[:-1], *self._tear(steps[-1])] if steps else steps
        left: list[Step] = []
        for step in steps:
            if self.keeps():
                left += self._tear(step) if self._moment.random() < self._torn else [step]
        return left

    def _tear(self, step: Step) -> list[Step]:
        """Return the sectors of *step* that reached the disk: the first ones, or any."""
        if step.what != "W":
            return [step] if self._moment.random() < 0.5 else []
        first = step.where // SECTOR
        count = (step.where + len(step.data) - 1) // SECTOR - first + 1
        if self._moment.random() < 0.5:
            kept = list(range(self._moment.randint(0, count)))
        else:
            kept = [each for each in range(count) if self._moment.random() < 0.5]
        torn = []
        for each in kept:
            start = max(step.where, (first + each) * SECTOR)
            end = min(step.where + len(step.data), (first + each + 1) * SECTOR)
            data = step.data[start - step.where : end - step.where]
            torn.append(Step("W", step.inode, start, step.path, data))
        return torn


class Unreadable(Exception):
    """The ledger can't be read, and why."""


@dataclass(frozen=True, slots=True)
class State:
    """All that a ledger says."""

    records: list[tuple[int, bytes, str]]
    """``seq``, leaf and line of each."""
    note: str
    """The signed head."""
    rest: tuple[list[tuple[object, ...]], ...]
    """Every other table."""
    processes: list[str]
    """Those with an open call, or with a key that signs heads."""

    @property
    def leaves(self) -> list[bytes]:
        return [leaf for _, leaf, _ in self.records]

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
            living = "SELECT process FROM open_call UNION SELECT process FROM epoch"
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


def assert_covered(state: State) -> None:
    """Assert that the head covers exactly the records, and that its signature counts."""
    assert chain.verify(state.rows()).first_bad is None
    genesis = decode(state.records[0][2].encode())
    log = genesis["log"]
    ranges = KeyRanges(log, bytes.fromhex(genesis["key"]["public"]), verify_signature)
    edge = Edge()
    for seq, leaf, line in state.rows():
        edge.append(leaf)
        record = decode(line)
        if record["type"] == ROTATION:
            assert not ranges.take(seq, record)
    signed = SignedNote.parse(state.note)
    assert Checkpoint.parse(signed.text) == Checkpoint(log, edge.size, edge.root())
    assert ranges.signer_of(signed, edge.size)


def scratch() -> tempfile.TemporaryDirectory[str]:
    """Return a folder for many short-lived files: in memory where there is such a place."""
    memory = Path("/dev/shm")
    return tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None)


def put(folder: Path, files: Folder) -> None:
    """Make *folder* hold exactly *files*; one content under two names is one file with two names."""
    shutil.rmtree(folder, ignore_errors=True)
    before = os.umask(0o077)
    try:
        folder.mkdir()
        first: dict[int, Path] = {}
        for path, body in sorted(files.items()):
            place = folder / path
            if not place.parent.is_dir():
                continue  # its folder was never made durable
            if body is None:
                place.mkdir()
            elif body and id(body) in first:
                place.hardlink_to(first[id(body)])
            else:
                place.write_bytes(body)
                first[id(body)] = place
    finally:
        os.umask(before)


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
    """Knows every state that was committed in a recording, and how much was acknowledged at each moment."""

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
        """Return the place of *state* in the order of what was committed; None where it never was."""
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

    def leaves(self, cut: int) -> list[bytes]:
        """Return the leaves of all records that were acknowledged before step *cut*."""
        state = self.states[self.due(cut)]
        return state.leaves if state is not None else []

    def verdict(self, cut: int, files: Folder) -> str:
        """Say what is wrong where power loss left *files* before step *cut*; empty where nothing is."""
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
