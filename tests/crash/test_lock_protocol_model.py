"""The lock protocol as a small model, every state of which is visited: two writers, a checkpointer,
a reader, and crashes.

SQLite's part is modelled as it is where it matters: the ``-wal`` with its generations, what is
published in shared memory, the number of frames that are known to be in the database, and the
header that a checkpointer copies *before* it has any lock of SQLite's. Ours is the one file lock.
Each rule that the ledger depends on can be left out; the model must then fail.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from enum import StrEnum
from itertools import combinations
from typing import NamedTuple

import pytest

RECORDS = 4
WRITERS = (0, 1)
CHECKPOINTER = 2
NOBODY = -1


class Rule(StrEnum):
    """What keeps records."""

    CHECKPOINT_LOCKED = "a checkpoint holds the file lock"
    COMMIT_SYNCED = "the -wal is synced before a commit is acknowledged"
    DATABASE_SYNCED = "the database is synced before its frames count as copied"


class Frame(NamedTuple):
    """One commit in the ``-wal``."""

    generation: int
    record: int


class Write(NamedTuple):
    """Something written to the ``-wal`` and not synced: a frame at a place, or at place -1 a
    header.
    """

    place: int
    frame: Frame


class Wal(NamedTuple):
    """The file: old frames stay behind newer ones, and don't count."""

    generation: int
    frames: tuple[Frame, ...]

    def after(self, write: Write) -> Wal:
        if write.place < 0:
            return self._replace(generation=write.frame.generation)
        gap = (Frame(-1, -1),) * (write.place - len(self.frames))
        frames = self.frames[: write.place] + gap + (write.frame,) + self.frames[write.place + 1 :]
        return self._replace(frames=frames)

    def valid(self) -> int:
        """Return how many frames recovery finds."""
        for number, frame in enumerate(self.frames):
            if frame.generation != self.generation:
                return number
        return len(self.frames)


class Reader(NamedTuple):
    """A read transaction: up to which frame it reads (0: the database alone), and what was
    acknowledged when it began.
    """

    mark: int
    due: frozenset[int]


class State(NamedTuple):
    """Everything: files, what of them is durable, shared memory, locks, and where each process
    is.
    """

    wal: Wal = Wal(1, ())
    durable: Wal = Wal(1, ())
    unsynced: tuple[Write, ...] = ()
    db: frozenset[int] = frozenset()
    db_durable: frozenset[int] = frozenset()
    published: int = 0
    """Frames that are committed, as shared memory says."""
    copied: int = 0
    """Frames that are in the database, as shared memory says."""
    lock: int = NOBODY
    """Who holds the file lock; then SQLite's two locks."""
    writing: int = NOBODY
    copying: int = NOBODY
    at: tuple[tuple[str, int], ...] = (("idle", 0),) * 3
    """Of each process: the next step, and a number that it remembers."""
    acknowledged: frozenset[int] = frozenset()
    reader: Reader | None = None
    kills: int = 1
    power_losses: int = 1

    def move(self, process: int, step: str, number: int = 0) -> State:
        at = list(self.at)
        at[process] = (step, number)
        return self._replace(at=tuple(at))

    def write(self, *writes: Write) -> State:
        wal = self.wal
        for write in writes:
            wal = wal.after(write)
        return self._replace(wal=wal, unsynced=self.unsynced + writes)

    def sync_wal(self) -> State:
        return self._replace(durable=self.wal, unsynced=())

    def seen(self, mark: int) -> frozenset[int]:
        """Return the records that a reader sees who may read *mark* frames."""
        return self.db | {frame.record for frame in self.wal.frames[:mark]}

    def newest(self) -> frozenset[int]:
        """Return what someone sees who begins to read now."""
        return self.seen(0 if self.published == self.copied else self.published)


class Violation(Exception):
    """The model reached a state that must not be."""


def _is_log(records: frozenset[int]) -> bool:
    return records == frozenset(range(len(records)))


def _writer(state: State, me: int, rules: frozenset[Rule]) -> Iterator[State]:
    step, number = state.at[me]
    if step == "idle" and state.lock == NOBODY and len(state.newest()) < RECORDS:
        yield state._replace(lock=me).move(me, "begin")
    elif step == "begin" and state.writing == NOBODY:
        begun = state._replace(writing=me)
        nobody_reads_it = state.reader is None or state.reader.mark == 0
        if state.published == state.copied > 0 and nobody_reads_it:
            begun = begun._replace(published=0, copied=0)
        yield begun.move(me, "write")
    elif step == "write":
        record = len(state.newest())
        if state.published == 0:
            generation = state.wal.generation + 1
            header = Write(-1, Frame(generation, -1))
            written = state.write(header, Write(0, Frame(generation, record)))
        else:
            frame = Frame(state.wal.generation, record)
            written = state.write(Write(state.published, frame))
        yield written.move(me, "sync", record)
    elif step == "sync":
        synced = state.sync_wal() if Rule.COMMIT_SYNCED in rules else state
        yield synced.move(me, "publish", number)
    elif step == "publish":
        published = state._replace(published=state.published + 1, writing=NOBODY)
        yield published.move(me, "acknowledge", number)
    elif step == "acknowledge":
        done = state._replace(acknowledged=state.acknowledged | {number})
        yield done._replace(lock=NOBODY).move(me, "idle")
        yield done.move(me, "look")  # the -wal is long: a checkpoint, still under the lock
    else:
        yield from _checkpoint(state, me, rules)


def _checkpointer(state: State, me: int, rules: frozenset[Rule]) -> Iterator[State]:
    if state.at[me][0] != "idle":
        yield from _checkpoint(state, me, rules)
    elif Rule.CHECKPOINT_LOCKED not in rules:
        yield state.move(me, "look")
    elif state.lock == NOBODY:
        yield state._replace(lock=me).move(me, "look")


def _checkpoint(state: State, me: int, rules: frozenset[Rule]) -> Iterator[State]:
    step, number = state.at[me]
    if step == "look":
        yield state.move(me, "claim", state.published)
    elif step == "claim" and state.copying == NOBODY:
        yield state._replace(copying=me).move(me, "copy", number)
    elif step == "copy":
        reader = state.reader
        safe = number if reader is None else min(number, reader.mark)
        if safe <= state.copied:
            yield state.move(me, "end")
            return
        frames = state.wal.frames[state.copied : safe]
        synced = state.sync_wal() if Rule.COMMIT_SYNCED in rules else state
        copied = synced._replace(db=state.db | {frame.record for frame in frames})
        yield copied.move(me, "sync database", safe)
    elif step == "sync database":
        synced = state._replace(db_durable=state.db) if Rule.DATABASE_SYNCED in rules else state
        yield synced.move(me, "count", number)
    elif step == "count":
        yield state._replace(copied=number).move(me, "end")
    elif step == "end":
        lock = NOBODY if state.lock == me else state.lock
        yield state._replace(copying=NOBODY, lock=lock).move(me, "idle")


def _reads(state: State) -> Iterator[State]:
    reader = state.reader
    if reader is None:
        mark = 0 if state.published == state.copied else state.published
        yield state._replace(reader=Reader(mark, state.acknowledged))
        return
    records = state.seen(reader.mark)
    if not (_is_log(records) and records >= reader.due):
        raise Violation(f"a reader sees {set(records)}, and {set(reader.due)} was acknowledged")
    yield state._replace(reader=None)


def _killed(state: State) -> Iterator[State]:
    """One process dies: its locks are free, shared memory and files stay as they are."""
    for me, (step, _) in enumerate(state.at):
        if step != "idle" and state.kills:
            free = {
                name: NOBODY
                for name in ("lock", "writing", "copying")
                if getattr(state, name) == me
            }
            yield state._replace(kills=state.kills - 1, **free).move(me, "idle")


def _power_lost(state: State) -> Iterator[State]:
    """Everybody dies; of what was not synced any part is there, and recovery reads what is."""
    dirty = sorted(state.db - state.db_durable)
    for kept in _subsets(state.unsynced):
        wal = state.durable
        for write in kept:
            wal = wal.after(write)
        for pages in _subsets(tuple(dirty)):
            db = state.db_durable | set(pages)
            found = State(
                wal=wal,
                durable=wal,
                db=db,
                db_durable=db,
                published=wal.valid(),
                acknowledged=state.acknowledged,
                kills=state.kills,
                power_losses=state.power_losses - 1,
            )
            records = found.newest()
            if not (_is_log(records) and records >= state.acknowledged):
                raise Violation(
                    f"recovery finds {set(records)}, and {set(state.acknowledged)} was acknowledged"
                )
            if state.power_losses:
                yield found


def _subsets(items: tuple[Write, ...] | tuple[int, ...]) -> Iterator[tuple]:  # type: ignore[type-arg]
    for size in range(len(items) + 1):
        yield from combinations(items, size)


def _check(state: State, rules: frozenset[Rule]) -> None:
    """Raise ``Violation`` where the state itself is wrong."""
    committing = [me for me in WRITERS if state.at[me][0] in ("begin", "write", "sync", "publish")]
    copying = [
        me for me in range(3) if state.at[me][0] in ("claim", "copy", "sync database", "count")
    ]
    if len(committing) > 1:
        raise Violation("two processes commit at the same time")
    if Rule.CHECKPOINT_LOCKED in rules and committing and copying:
        raise Violation("a checkpoint runs during a commit")
    if not state.newest() >= state.acknowledged:
        raise Violation("a record that was acknowledged is not there for a new reader")


def explore(rules: frozenset[Rule]) -> int:
    """Visit every state that can be reached under *rules*; return how many there are. Raises
    ``Violation``.
    """
    start = State()
    seen = {start}
    queue = deque([start])
    while queue:
        state = queue.popleft()
        _check(state, rules)
        following = [
            *(following for me in WRITERS for following in _writer(state, me, rules)),
            *_checkpointer(state, CHECKPOINTER, rules),
            *_reads(state),
            *_killed(state),
            *_power_lost(state),
        ]
        for each in following:
            if each not in seen:
                seen.add(each)
                queue.append(each)
    return len(seen)


def test_the_protocol_keeps_every_acknowledged_record() -> None:
    """In no state is one lost, do two processes commit, does a checkpoint meet a commit, or a
    reader see a gap.
    """
    assert explore(frozenset(Rule)) > 5_000


@pytest.mark.parametrize("rule", Rule)
def test_without_any_one_rule_the_model_finds_the_loss(rule: Rule) -> None:
    """Every rule is needed; without the file lock around checkpoints it is SQLite's WAL-reset bug
    that is found.
    """
    with pytest.raises(Violation, match="acknowledged"):
        explore(frozenset(Rule) - {rule})
