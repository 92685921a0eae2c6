"""Power loss at any moment: writes that were not synced are dropped, torn or kept at random; no acknowledged record is lost.

A preloaded library records what a real writer does to database and ``-wal``: every write, truncation and sync, in order with
the acknowledgements. The disk is then rebuilt as it could have been at many moments, and a real writer opens it.
"""

from __future__ import annotations

import random
import shutil
import struct
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from ledgerkit import FAST, SIGNING, make

from guardrail.errors import LedgerError
from guardrail.ledger.reader import LedgerReader
from guardrail.ledger.writer import LedgerWriter

RECORDER = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static int file_of(int fd) {  /* 'd' database, 'w' write-ahead log, 0 anything else */
    char link[64], target[512] = {0};
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, target, sizeof target - 1);
    if (n > 5 && strcmp(target + n - 5, "/a.db") == 0) return 'd';
    if (n > 9 && strcmp(target + n - 9, "/a.db-wal") == 0) return 'w';
    return 0;
}

static void note(char what, int file, uint64_t where, const void *data, uint32_t size) {
    static int log = -1;
    if (log < 0) log = open(getenv("GR_RECORD"), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    char head[14] = {what, (char)file};
    memcpy(head + 2, &where, 8);
    memcpy(head + 10, &size, 4);
    struct iovec parts[2] = {{head, 14}, {(void *)data, size}};
    if (writev(log, parts, data ? 2 : 1) < 0) abort();
}

#define REAL(name) static __typeof__(&name) real; if (!real) real = dlsym(RTLD_NEXT, #name)

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t where) {
    REAL(pwrite64);
    int file = file_of(fd);
    if (file) note('W', file, where, data, size);
    return real(fd, data, size, where);
}

int ftruncate64(int fd, off64_t size) {
    REAL(ftruncate64);
    int file = file_of(fd);
    if (file) note('T', file, size, NULL, 0);
    return real(fd, size);
}

static int synced(int fd, int result) {
    int file = file_of(fd);
    if (file && result == 0) note('S', file, 0, NULL, 0);
    return result;
}

int fdatasync(int fd) { REAL(fdatasync); return synced(fd, real(fd)); }
int fsync(int fd) { REAL(fsync); return synced(fd, real(fd)); }
"""

SCRIPT = """
import os, struct, sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from ledgerkit import FAST, SIGNING, decision, outcome
from guardrail.ledger.writer import LedgerWriter
from guardrail.ulid import new_ulid

log = os.open(os.environ["GR_RECORD"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
writer = LedgerWriter.open(Path(sys.argv[1]), signing=SIGNING, settings=FAST)
for number in range(int(sys.argv[3])):
    call = new_ulid()
    for draft in (decision(call, writer.process, pad=number * 7 % 2500), None):
        receipt = writer.append(draft or outcome(call, receipt.seq, writer.process))
        os.write(log, b"A\\0" + struct.pack("<QI", receipt.seq, 32) + receipt.leaf)
os._exit(0)
"""

CALLS = 260
STATES = 120


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that the process did."""

    what: str
    file: str
    where: int
    data: bytes


@dataclass(slots=True)
class Disk:
    """One file: what is certainly on the platter, and what was written since its last sync."""

    stable: bytearray
    pending: list[Step] = field(default_factory=list)

    def settle(self) -> None:
        for step in self.pending:
            _apply(self.stable, step)
        self.pending.clear()

    def after_power_loss(self, moment: random.Random) -> bytes:
        """Return a content that the file may have: each unsynced step kept, dropped, or torn at sectors."""
        content = bytearray(self.stable)
        mood = moment.choice(["none", "all", "some", "some"])
        for step in self.pending:
            if mood == "all" or (mood == "some" and moment.random() < 0.5):
                _apply(content, _torn(step, moment) if mood == "some" else step)
        return bytes(content)


def _torn(step: Step, moment: random.Random) -> Step:
    if step.what != "W" or moment.random() < 0.5:
        return step
    return Step(
        "W", step.file, step.where, step.data[: moment.randrange(0, len(step.data) + 1, 512)]
    )


def _apply(content: bytearray, step: Step) -> None:
    if step.what == "T":
        del content[step.where :]
        content.extend(bytes(step.where - len(content)))
        return
    if len(content) < step.where:
        content.extend(bytes(step.where - len(content)))
    content[step.where : step.where + len(step.data)] = step.data


def _steps(recording: bytes) -> list[Step]:
    steps, place = [], 0
    while place < len(recording):
        what, file = chr(recording[place]), chr(recording[place + 1])
        where, size = struct.unpack_from("<QI", recording, place + 2)
        place += 14
        size = size if what in "WA" else 0
        steps.append(Step(what, file, where, recording[place : place + size]))
        place += size
    return steps


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, list[Step]]:
    """A real run: the database before it, and everything that happened to it and its ``-wal``."""
    folder = tmp_path_factory.mktemp("power")
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler here")
    (folder / "recorder.c").write_text(RECORDER)
    library = folder / "recorder.so"
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-o", str(library), str(folder / "recorder.c"), "-ldl"],
        check=True,
    )
    make(folder / "a.db").close()
    before = (folder / "a.db").read_bytes()
    kit = str(Path(__file__).parents[1] / "ledger")
    subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder / "a.db"), kit, str(CALLS)],
        check=True,
        env={
            "LD_PRELOAD": str(library),
            "GR_RECORD": str(folder / "recording"),
            "PATH": "/usr/bin:/bin",
        },
        cwd=Path(__file__).parents[2],
    )
    steps = _steps((folder / "recording").read_bytes())
    assert sum(step.what == "A" for step in steps) == 2 * CALLS
    assert sum(step.what == "W" and step.file == "d" for step in steps) > 10, (
        "no checkpoint was recorded"
    )
    return before, steps


def _lost(folder: Path, run: tuple[bytes, list[Step]], states: int, *, syncs_count: bool) -> int:
    """Rebuild *states* disks; return how many lost an acknowledged record, broke the chain or did not open."""
    before, steps = run
    moment = random.Random(7)
    # Half of the moments around the checkpoint, where the most can go wrong.
    copying = [number for number, step in enumerate(steps) if step.file == "d"]
    cuts = sorted(
        [moment.randrange(len(steps)) for _ in range(states // 2)]
        + [moment.randrange(copying[0] - 5, copying[-1] + 60) for _ in range(states - states // 2)]
    )
    disks = {"d": Disk(bytearray(before)), "w": Disk(bytearray())}
    acknowledged: dict[int, bytes] = {}
    lost, done = 0, 0
    for cut in cuts:
        for step in steps[done:cut]:
            if step.what == "A":
                acknowledged[step.where] = step.data
            elif step.what == "S":
                if syncs_count:
                    disks[step.file].settle()
            else:
                disks[step.file].pending.append(step)
        done = max(done, cut)
        here = folder / "state"
        shutil.rmtree(here, ignore_errors=True)
        here.mkdir()
        (here / "a.db").write_bytes(disks["d"].after_power_loss(moment))
        (here / "a.db-wal").write_bytes(disks["w"].after_power_loss(moment))
        lost += not _whole(here / "a.db", acknowledged)
    return lost


def _whole(db: Path, acknowledged: dict[int, bytes]) -> bool:
    try:
        with (
            LedgerWriter.open(db, signing=SIGNING, settings=FAST) as writer,
            LedgerReader.open(writer.path) as reader,
        ):
            leaves = {seq: leaf for seq, leaf, _ in reader.lines()}
    except LedgerError:
        return False
    return all(leaves.get(seq) == leaf for seq, leaf in acknowledged.items())


def test_power_loss_loses_no_acknowledged_record(
    tmp_path: Path, run: tuple[bytes, list[Step]]
) -> None:
    """In each of the states that the disk may be left in, the ledger opens and holds every acknowledged record."""
    assert _lost(tmp_path, run, STATES, syncs_count=True) == 0


def test_the_harness_finds_a_disk_that_lies_about_syncs(
    tmp_path: Path, run: tuple[bytes, list[Step]]
) -> None:
    """The same states on a disk whose syncs do nothing: records are lost, so the test above could fail."""
    assert _lost(tmp_path, run, 20, syncs_count=False) > 0
