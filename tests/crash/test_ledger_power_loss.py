"""Power loss at any moment: what was not synced is dropped, torn, reordered or kept at random; nothing acknowledged is lost.

Real processes write real ledgers, and all that they do to their files is recorded. Then the disk is rebuilt as it could have
been at every moment, and read. ``GUARDRAIL_SOAK=1`` rebuilds ten times as many.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from crashkit import (
    DB,
    Disk,
    Judge,
    Names,
    Recording,
    build_recorder,
    prepare,
    put,
    record,
    scratch,
)
from ledgerkit import EPOCHS, make, reopen, whole_call

from guardrail.core import chain
from guardrail.errors import LedgerError
from guardrail.ledger.reader import LedgerReader

STATES = {
    "create": 500,
    "append": 5000,
    "group": 4000,
    "rotate": 2000,
    "reopen": 3000,
    "sweep": 700,
    "pair": 4000,
    "tile": 1000,
}
"""How many different states of each sequence are judged: at every moment of it, under both rules of names."""
SOAK = 10 if os.environ.get("GUARDRAIL_SOAK") else 1
REVIVED = 90
"""How many of the states of each sequence, beside the first of each set of names, a writer also opens and writes to."""


@pytest.fixture(scope="module")
def recorder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the library that records."""
    return build_recorder(tmp_path_factory.mktemp("recorder"))


@pytest.fixture
def memory() -> Iterator[Path]:
    """Return a folder where many small files are cheap."""
    with scratch() as folder:
        yield Path(folder).resolve()


@dataclass(frozen=True, slots=True)
class Found:
    """What became of many states."""

    states: int
    wrong: Counter[str]


def explore(recording: Recording, folder: Path, states: int) -> Found:
    """Judge *states* different disks; let a writer go on with some of them."""
    judge = Judge(recording, folder / "judge")
    moment = random.Random(7)
    here = folder / "state"
    seen: set[int] = set()
    shapes: set[object] = set()
    wrong: Counter[str] = Counter()
    for number, names in enumerate([*Names] * 60):
        if len(seen) >= states and number % len(Names) == 0:
            break
        disk = Disk(recording, names)
        for cut in range(len(recording.steps) + 1):
            files = disk.after_power_loss(moment)
            key = hash((judge.due(cut), frozenset(files.items())))
            if key not in seen:
                seen.add(key)
                put(here, files)
                verdict = judge.verdict(cut, here / DB)
                shape = (frozenset(files), len(set(map(id, files.values()))))
                if not verdict and (
                    shape not in shapes or len(seen) % (states // REVIVED + 1) == 0
                ):
                    shapes.add(shape)
                    put(here, files)
                    verdict = _revived(here / DB, judge.leaves(cut))
                wrong.update([f"{names}: {verdict}"] if verdict else [])
            if cut < len(recording.steps):
                disk.do(recording.steps[cut])
    return Found(len(seen), wrong)


def _revived(db: Path, acknowledged: list[bytes]) -> str:
    """Let a writer go on with what is left at *db*; say what is wrong then."""
    try:
        with reopen(db, signing=EPOCHS) if db.exists() else make(db) as writer:
            whole_call(writer)
    except LedgerError as error:
        return f"no writer goes on: {error.code}"
    with LedgerReader.open(db) as reader:
        report = chain.verify(reader.lines())
        leaves = [leaf for _, leaf, _ in reader.lines()]
    if report.first_bad is not None or report.open_calls:
        return f"opened, but then: {report}"
    return "" if leaves[: len(acknowledged)] == acknowledged else "opened, but a record is lost"


@pytest.mark.parametrize("name", STATES)
def test_power_loss_loses_no_acknowledged_record(
    name: str, tmp_path: Path, memory: Path, recorder: Path
) -> None:
    """Whatever the disk kept, the ledger is readable, in a state that was committed, with all that was acknowledged."""
    prepare(name, tmp_path / "ledger")
    recording = record(name, tmp_path / "ledger", recorder)
    found = explore(recording, memory, STATES[name] * SOAK)
    assert not found.wrong
    assert found.states >= STATES[name]


def test_twenty_thousand_states_are_judged() -> None:
    """The number that is promised is the number that is run."""
    assert sum(STATES.values()) >= 20_000


@pytest.mark.parametrize("name", ["append", "reopen"])
def test_the_harness_finds_what_synchronous_normal_loses(
    name: str, tmp_path: Path, memory: Path, recorder: Path
) -> None:
    """The same sequences without a sync per commit lose acknowledged records, so the tests above could fail."""
    prepare(name, tmp_path / "ledger")
    recording = record(name, tmp_path / "ledger", recorder, GR_SYNCHRONOUS="NORMAL")
    found = explore(recording, memory, 200)
    assert found.wrong["ordered: an acknowledged record is lost"] > 10
    assert found.wrong["strict: an acknowledged record is lost"] > 10


def test_the_harness_finds_a_folder_that_was_not_synced(
    tmp_path: Path, memory: Path, recorder: Path
) -> None:
    """A log whose name was never made durable is lost where names are durable only after their folder's sync."""
    prepare("create", tmp_path / "ledger")
    recording = record("create", tmp_path / "ledger", recorder)
    steps = [step for step in recording.steps if not (step.what == "S" and step.path == "")]
    forgetful = Recording(recording.name, recording.before, recording.inodes, steps)
    found = explore(forgetful, memory, 400)
    assert found.wrong["strict: an acknowledged record is lost"] > 0
