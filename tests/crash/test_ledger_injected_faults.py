"""The kernel refuses, or the process dies, at each write, sync, truncation, change of names and
opening of real runs.

After each of them a writer opens, everything that was acknowledged is there, and the log goes on.
The normal run takes a sample with a fixed seed; ``GUARDRAIL_SOAK=1`` takes every call.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.crash.disks import prepare, scratch, steps_of
from tests.support.crash.faults import CALLS, WHAT, Fault, Tracer
from tests.support.crash.judge import problem_of
from tests.support.crash.sequences import GAVE_UP
from tests.support.crash.server import DB, SequenceServer, serving
from tests.support.effort import effort
from tests.support.ledgers import EPOCHS, make, reopen, whole_call

SAMPLE = effort(40, part=20)
"""How many faults of each sequence the normal run takes."""


@pytest.fixture(scope="module")
def server() -> Iterator[SequenceServer]:
    """Return a server that runs sequences."""
    with serving() as started:
        yield started


def _faults(tracer: Tracer, name: str, before: Path, folder: Path) -> list[Fault]:
    """Return every fault that the sequence *name* can meet."""
    shutil.copytree(before, folder / "dry")
    most = tracer.count(name, folder / "dry", folder / "dry-record")
    assert most["pwrite64"] > 10
    assert most["fdatasync"] + most["fsync"] > 5
    return [
        Fault(call, number, what)
        for call in CALLS
        for number in range(1, most[call] + 1)
        for what in WHAT
    ]


@pytest.mark.parametrize(
    "name", ["create", "append", "group", "rotate", "reopen", "sweep", "segment", "prune", "keep"]
)
def test_no_fault_of_the_kernel_loses_an_acknowledged_record(
    name: str, tmp_path: Path, server: SequenceServer
) -> None:
    """Errors, full disks and kills at single calls: nothing acknowledged is lost, and the next
    writer goes on.
    """
    tracer = Tracer(server, tmp_path)
    prepare(name, tmp_path / "before", server)
    with scratch() as memory:
        folder = Path(memory).resolve()
        faults = _faults(tracer, name, tmp_path / "before", folder)
        if not os.environ.get("GUARDRAIL_SOAK"):
            faults = random.Random(3).sample(faults, SAMPLE)
        met = 0
        for number, fault in enumerate(faults):
            here, record = folder / str(number), folder / f"{number}-record"
            shutil.copytree(tmp_path / "before", here)
            status, injected = tracer.run(name, here, record, fault)
            assert status in (0, GAVE_UP, -9), f"{fault}: ended with {status}"
            met += injected
            wrong = _wrong(here / DB, record)
            assert not wrong, f"{fault}: {wrong}"
            shutil.rmtree(here)
    # Batches differ from run to run, so that the last calls of a long one may not come.
    assert met > len(faults) * 0.7, "many faults did not come to pass"


def _wrong(db: Path, record: Path) -> str:
    """Let a writer open *db* and go on; say what is wrong, or nothing."""
    acknowledged = steps_of(record.read_bytes(), db.parent) if record.exists() else []
    if not db.exists():
        if acknowledged:
            return "the ledger is gone"
        make(db).close()
    with reopen(db, signing=EPOCHS) as writer:
        whole_call(writer)
    return problem_of(db, {step.where: step.data for step in acknowledged if step.what == "A"})
