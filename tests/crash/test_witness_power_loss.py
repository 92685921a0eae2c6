"""Power loss while a witness cosigns: whatever had left is remembered, so that no fork of it is
ever cosigned.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

from guardrail.anchors.witness.store import WitnessStore
from guardrail.core.log.checkpoint import Checkpoint
from guardrail.errors import GuardrailError
from tests.support.crash.disks import Recording, disks, put, scratch, steps_of
from tests.support.crash.server import DB, HERE
from tests.support.crash.witness_sequence import HEADS, KEY, LOG, cosign

STATES = 1500


def run(what: str, folder: Path, recording: Path, **environment: str) -> None:
    """Let a witness work in *folder*."""
    program = HERE / "witness_sequence.py"
    subprocess.run(
        [sys.executable, str(program), what, str(folder / DB), str(recording)],
        check=True,
        timeout=120,
        env={
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "PYTHONPATH": os.pathsep.join(sys.path),
            **environment,
        },
    )


def recorded(what: str, folder: Path, library: Path, **environment: str) -> Recording:
    """Record it."""
    there = list(folder.iterdir())
    before = {item.name: item.read_bytes() for item in there}
    inodes = {item.stat().st_ino: item.name for item in there}
    inodes[folder.stat().st_ino] = ""
    log = folder.with_name(folder.name + "-recording")
    preload = {"LD_PRELOAD": str(library), "GR_RECORD": str(log), "GR_FOLDER": str(folder)}
    run(what, folder, log, **preload, **environment)
    return Recording(what, dict(before), inodes, steps_of(log.read_bytes(), folder))


def judged(recording: Recording, here: Path, states: int = STATES) -> tuple[int, Counter[str]]:
    """Look at so many different disks; return how many there were, and what was wrong with how
    many.
    """
    wrong: Counter[str] = Counter()
    seen: set[int] = set()
    said = [0]
    for step in recording.steps:
        said.append(step.where if step.what == "A" else said[-1])
    for _, cut, files in disks(recording, passes=20):
        key = hash((said[cut], frozenset(files.items())))
        if key in seen:
            continue
        seen.add(key)
        if len(seen) > states:
            break
        put(here, files)
        verdict = _verdict(here / DB, said[cut])
        if verdict:
            wrong[verdict] += 1
    return len(seen), wrong


def _verdict(db: Path, left: int) -> str:
    """Say what is wrong with a witness that had sent its signature under *left* records away; empty
    where nothing is.
    """
    try:
        with WitnessStore.open(db, KEY.key) as store:
            store.add(LOG.key)
            latest = store.latest(LOG.key.name)
            size = 0 if latest is None else Checkpoint.parse(latest.text).size
            if size < left:
                return "forgotten"
            fork = LOG.fork(max(0, left - 1)).grow(HEADS + 2, "x")
            if left and any(cosign(store, fork, old, HEADS + 1) for old in range(size + 1)):
                return "a fork is cosigned"
            return "" if cosign(store, LOG, size, HEADS) else "it does not go on"
    except GuardrailError as error:
        return error.code


def test_power_loss_lets_a_witness_forget_nothing_that_had_left(recording_library: Path) -> None:
    """At every moment, with every unsynced write dropped, torn, reordered or kept."""
    with scratch() as memory:
        folder = Path(memory).resolve() / "w"
        folder.mkdir()
        run("make", folder, folder.with_name("none"))
        states, wrong = judged(
            recorded("work", folder, recording_library), folder.with_name("state")
        )
    assert states >= 1000
    assert not wrong


def test_the_harness_finds_what_synchronous_normal_forgets(recording_library: Path) -> None:
    """So that the test above is known to be able to fail."""
    with scratch() as memory:
        folder = Path(memory).resolve() / "w"
        folder.mkdir()
        run("make", folder, folder.with_name("none"))
        recording = recorded("work", folder, recording_library, GR_SYNCHRONOUS="NORMAL")
        _, wrong = judged(recording, folder.with_name("state"), 300)
    assert wrong["forgotten"]


def test_power_loss_while_a_witness_is_made_leaves_it_whole_or_none(
    recording_library: Path,
) -> None:
    """A half-made one would have no memory and not say so."""
    with scratch() as memory:
        folder = Path(memory).resolve() / "w"
        folder.mkdir()
        recording = recorded("make", folder, recording_library)
        here = folder.with_name("state")
        found: Counter[str] = Counter()
        for _, _, files in disks(recording, passes=5):
            put(here, files)
            found[_verdict(here / DB, 0) if (here / DB).exists() else "none"] += 1
    assert set(found) == {"none", ""}
