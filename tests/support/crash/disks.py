"""Power loss, rebuilt: what a real writer did to a folder, and every disk that it may leave behind.

``record`` runs a sequence (sequences.py) with recorder.c preloaded: the real SQLite and the real
writer on real files. ``Disk`` takes the recorded steps and knows what is certainly on the platter.
Everything else may be kept, dropped, torn at sectors of 512 bytes, and kept without what came
before it.
"""

from __future__ import annotations

import os
import random
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TypeAlias

import pytest

from tests.support.crash.sequences import before
from tests.support.crash.server import HERE, SequenceServer

SECTOR = 512


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that the process did, or was told."""

    what: str
    """``C`` created, ``W`` written, ``T`` truncated, ``s`` sync began, ``S`` sync ended well, ``L``
    linked, ``R`` renamed, ``U`` removed, ``M`` folder made; ``A`` record acknowledged, ``D``
    everything until now acknowledged.
    """
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


def prepare(name: str, folder: Path, server: SequenceServer) -> None:
    """Let everything happen in *folder* that comes before the sequence *name*."""
    folder.mkdir()
    for earlier in before(name):
        server.run(earlier, folder, folder.with_name(folder.name + "-before"))


def record(name: str, folder: Path, recorder: SequenceServer, **environment: str) -> Recording:
    """Run the sequence *name* on the ledger in *folder*, and record it. *recorder* has recorder.c
    preloaded.
    """
    there = [item for item in folder.rglob("*") if not item.name.endswith("-shm")]
    before = {
        str(item.relative_to(folder)): item.read_bytes() if item.is_file() else None
        for item in there
    }
    inodes = {item.stat().st_ino: str(item.relative_to(folder)) for item in there}
    inodes[folder.stat().st_ino] = ""
    log = folder.with_name(folder.name + "-recording")
    recorder.run(name, folder, log, GR_RECORD=str(log), GR_FOLDER=str(folder), **environment)
    return Recording(name, before, inodes, steps_of(log.read_bytes(), folder))


class Names(StrEnum):
    """When names, and the sizes of files, are durable."""

    ORDERED = "ordered"
    """As on file systems with a journal: in the order in which they came, at the latest with the
    next sync of anything.
    """
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
        folder = not step.path or self._current.get(step.path, ...) is None
        if folder and self._names is Names.STRICT:
            self._settle_names(until, step.path)
        if not folder and (file := self._files.get(step.inode)) is not None:
            file.settle(until)
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
    """Rebuild what power loss may leave before each step, so many times, under both rules of
    names.
    """
    moment = random.Random(7)
    for names in [*Names] * passes:
        disk = Disk(recording, names)
        for cut in range(len(recording.steps) + 1):
            yield names, cut, disk.after_power_loss(moment)
            if cut < len(recording.steps):
                disk.do(recording.steps[cut])


def disks_around(recording: Recording, passes: int) -> Iterator[tuple[bool, Folder]]:
    """Yield each different disk that power loss may leave, and True if the recorded program had
    said before that it was done.
    """
    said = next(number for number, step in enumerate(recording.steps) if step.what == "D")
    seen = set()
    for _, cut, files in disks(recording, passes):
        key = hash((cut > said, frozenset(files.items())))
        if key not in seen:
            seen.add(key)
            yield cut > said, files


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


def scratch() -> tempfile.TemporaryDirectory[str]:
    """Return a folder for many short-lived files: in memory where there is such a place."""
    memory = Path("/dev/shm")
    return tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None)


def put(folder: Path, files: Folder) -> None:
    """Make *folder* hold exactly *files*; one content under two names is one file with two
    names.
    """
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
