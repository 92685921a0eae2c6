"""Power loss at any moment: what was not synced is dropped, torn, reordered or kept at random;
nothing acknowledged is lost.

Real processes write real ledgers, and all that they do to their files is recorded. Then the disk is
rebuilt as it could have been at every moment, and read. ``GUARDRAIL_SOAK=1`` rebuilds ten times as
many, and without CI=true it is a quarter as many.
"""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from guardrail.config import Settings
from guardrail.errors import GuardrailError, LedgerError
from guardrail.ledger.files import seal_path
from guardrail.ledger.reader import LedgerReader
from guardrail.wiring.opening import open_journal
from tests.support.crash.disks import Names, Recording, disks, disks_around, prepare, put, record
from tests.support.crash.judge import Judge, problem_of
from tests.support.crash.sequences import recovered
from tests.support.crash.server import DB, SequenceServer
from tests.support.effort import effort
from tests.support.ledgers import EPOCHS, make, reopen, whole_call

STATES = {
    "create": 500,
    "append": 4000,
    "group": 3500,
    "rotate": 2000,
    "reopen": 2500,
    "sweep": 700,
    "pair": 3000,
    "tile": 1000,
    "lift": 500,
    "segment": 1000,
    "prune": 2000,
    "hold": 400,
}
"""How many different states of each sequence are judged: at every moment of it, under both rules of
names.
"""
SOAK = 10 if os.environ.get("GUARDRAIL_SOAK") else 1
SHARE = SOAK if SOAK > 1 else effort(100, part=25) / 100
EVERY = 1 if SOAK > 1 else effort(1, part=4)
"""Which of the disks are judged: each, or each fourth. The next pass takes others."""
REVIVED = 40
"""How many of the states of each sequence, beside the first of each set of names, a writer also
opens and writes to.
"""


@dataclass(frozen=True, slots=True)
class Found:
    """What became of many states."""

    states: int
    wrong: Counter[str]


def explore(recording: Recording, folder: Path, states: int, *, every: int = 1) -> Found:
    """Judge *states* different disks; let a writer go on with some of them."""
    judge = Judge(recording, folder / "judge")
    here = folder / "state"
    seen: set[int] = set()
    shapes: set[object] = set()
    wrong: Counter[str] = Counter()
    for number, (names, cut, files) in enumerate(disks(recording)):
        if cut == 0 and len(seen) >= states and names is Names.ORDERED:
            break
        if number % every:
            continue
        key = hash((judge.due(cut), frozenset(files.items())))
        if key in seen:
            continue
        seen.add(key)
        verdict = judge.verdict(cut, files)
        shape = (frozenset(files), len(set(map(id, files.values()))))
        if not verdict and (shape not in shapes or len(seen) % (states // REVIVED + 1) == 0):
            shapes.add(shape)
            put(here, files)
            verdict = _revived(here / DB, judge.leaves(cut))
        wrong.update([f"{names}: {verdict}"] if verdict else [])
    return Found(len(seen), wrong)


def _revived(db: Path, acknowledged: dict[int, bytes]) -> str:
    """Let a writer go on with what is left at *db*; say what is wrong then."""
    try:
        if seal_path(db).exists():
            recovered(db)
        with reopen(db, signing=EPOCHS) if db.exists() else make(db) as writer:
            whole_call(writer)
    except LedgerError as error:
        return f"no writer goes on: {error.code}"
    with LedgerReader.open(db) as reader:
        assert reader.storage.page_fault() is None
    return problem_of(db, acknowledged)


@pytest.mark.parametrize("name", STATES)
def test_power_loss_loses_no_acknowledged_record(
    name: str, tmp_path: Path, memory: Path, recorder: SequenceServer
) -> None:
    """Whatever the disk kept, the ledger is readable, in a state that was committed, with all that
    was acknowledged.
    """
    prepare(name, tmp_path / "ledger", recorder)
    recording = record(name, tmp_path / "ledger", recorder)
    wanted = int(STATES[name] * SHARE)
    found = explore(recording, memory, wanted, every=EVERY)
    assert not found.wrong
    assert found.states >= min(wanted, STATES[name])


def test_power_lost_again_while_the_next_writer_comes_back_loses_nothing(
    tmp_path: Path, memory: Path, recorder: SequenceServer
) -> None:
    """What a first power cut tore is taken over by a writer that meets a second one."""
    prepare("append", tmp_path / "first", recorder)
    first = record("append", tmp_path / "first", recorder)
    torn = [
        files
        for _, cut, files in disks(first, passes=1)
        if cut and first.steps[cut - 1].what == "W" and files[f"{DB}-wal"]
    ]
    for number, files in enumerate(random.Random(5).sample(torn, 3 * SOAK)):
        folder = tmp_path / str(number)
        put(folder, files)
        found = explore(record("sweep", folder, recorder), memory, 150, every=EVERY)
        assert not found.wrong


def test_twenty_thousand_states_are_judged() -> None:
    """The number that is promised is the number that is run."""
    assert sum(STATES.values()) >= 20_000


@pytest.mark.parametrize("name", ["append", "reopen"])
def test_the_harness_finds_what_synchronous_normal_loses(
    name: str, tmp_path: Path, memory: Path, recorder: SequenceServer
) -> None:
    """The same sequences without a sync per commit lose acknowledged records, so the tests above
    could fail.
    """
    prepare(name, tmp_path / "ledger", recorder)
    recording = record(name, tmp_path / "ledger", recorder, GR_SYNCHRONOUS="NORMAL")
    found = explore(recording, memory, 200)
    assert found.wrong["ordered: an acknowledged record is lost"] > 10
    assert found.wrong["strict: an acknowledged record is lost"] > 10


def test_the_harness_finds_a_folder_that_was_not_synced(
    tmp_path: Path, memory: Path, recorder: SequenceServer
) -> None:
    """A log whose name was never made durable is lost where names are durable only after their
    folder's sync.
    """
    prepare("create", tmp_path / "ledger", recorder)
    recording = record("create", tmp_path / "ledger", recorder)
    steps = [step for step in recording.steps if not (step.what == "S" and step.path == "")]
    forgetful = Recording(recording.name, recording.before, recording.inodes, steps)
    found = explore(forgetful, memory, 400)
    assert found.wrong["strict: an acknowledged record is lost"] > 0


def test_power_loss_while_a_broken_log_is_set_aside_leaves_no_shorter_one(
    tmp_path: Path, memory: Path, recorder: SequenceServer
) -> None:
    """The old database is never without its ``-wal``, where it would pass for an older log; and
    recovering again works.
    """
    prepare("restart", tmp_path / "ledger", recorder)
    recording = record("restart", tmp_path / "ledger", recorder)
    old, wal = recording.before[DB], recording.before[f"{DB}-wal"]
    here, seen = memory / "state", set()
    for _, _, files in disks(recording, passes=20 * SOAK):
        assert old in files.values()
        assert wal in files.values()
        assert files.get(DB) != old or files.get(f"{DB}-wal") == wal
        shape = frozenset((path, len(body or b"")) for path, body in files.items())
        if shape in seen:
            continue
        seen.add(shape)
        put(here, files)
        recovered(here / DB)
        with reopen(here / DB, signing=EPOCHS) as writer:
            whole_call(writer)
    assert len(seen) > 20


def test_power_loss_after_pruning_brings_no_deleted_text_back(
    tmp_path: Path, memory: Path, recorder: SequenceServer
) -> None:
    """Once pruning has returned, no byte of what was deleted is in a file of the ledger, whatever
    the disk kept.
    """
    prepare("prune", tmp_path / "ledger", recorder)
    recording = record("prune", tmp_path / "ledger", recorder)
    states = Judge(recording, memory / "judge").states
    old, new = states[0], states[-1]
    assert old is not None
    assert new is not None
    gone = {json.loads(line).get("call") for _, _, line in old.records} - {
        json.loads(line).get("call") for _, _, line in new.records
    }
    done = next(number for number, step in enumerate(recording.steps) if step.what == "D")
    assert len(gone) > 5
    for _, cut, files in disks(recording, passes=2 * SOAK):
        if cut > done:
            held = b"".join(files.get(f"{DB}{part}") or b"" for part in ("", "-wal", "-journal"))
            assert not [call for call in gone if call.encode() in held]


def test_power_loss_after_sealing_keeps_the_copy_of_the_segment(
    tmp_path: Path, recorder: SequenceServer
) -> None:
    """Once sealing has returned, the segment's copy is there, byte for byte, under its name."""
    prepare("segment", tmp_path / "ledger", recorder)
    recording = record("segment", tmp_path / "ledger", recorder)
    done = next(number for number, step in enumerate(recording.steps) if step.what == "D")
    folder = tmp_path / "ledger" / f"{DB}-segments"
    copies = {f"{folder.name}/{item.name}": item.read_bytes() for item in folder.iterdir()}
    assert copies
    for _, cut, files in disks(recording, passes=2 * SOAK):
        if cut > done:
            assert all(files.get(path) == body for path, body in copies.items())


def test_power_loss_leaves_no_record_that_names_a_policy_without_its_sources(
    tmp_path: Path, recorder: SequenceServer
) -> None:
    """From the first byte of such a record on, both files are there, byte for byte."""
    prepare("keep", tmp_path / "ledger", recorder)
    recording = record("keep", tmp_path / "ledger", recorder)
    folder = tmp_path / "ledger" / f"{DB}-policies"
    kept = {f"{folder.name}/{item.name}": item.read_bytes() for item in folder.iterdir()}
    assert len(kept) == 2
    named, without = 0, 0
    for _, _, files in disks(recording, passes=20 * SOAK):
        held = b"".join(files.get(f"{DB}{part}") or b"" for part in ("", "-wal"))
        whole = all(files.get(path) == body for path, body in kept.items())
        without += not whole
        if any(Path(path).stem.encode() in held for path in kept):
            named += 1
            assert whole
    assert named > 20
    assert without > 20


HALF = ("ledger.half", "keys.missing")
"""What a person is told who starts again where only a part of keys and log was made."""


def _opened(db: Path) -> str:
    try:
        open_journal(Settings().override(ledger={"path": db}), epochs=True)[0].close()
    except GuardrailError as error:
        return error.code
    return ""


def test_power_loss_while_a_project_is_founded_leaves_it_whole_or_says_which_half_is_there(
    tmp_path: Path, memory: Path, recorder: SequenceServer
) -> None:
    """Once opening a ledger for the first time has returned, keys and log are there; before, what
    is half there is refused.
    """
    prepare("found", tmp_path / "ledger", recorder)
    recording = record("found", tmp_path / "ledger", recorder)
    here, refused = memory / "state", Counter[str]()
    for done, files in disks_around(recording, passes=5 * SOAK):
        put(here, files)
        answer = _opened(here / DB)
        assert not answer if done else answer in ("", *HALF)
        refused[answer] += 1
    assert all(refused[each] for each in ("", "ledger.half"))
    assert refused.total() > 100
