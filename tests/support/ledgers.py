"""What the tests of the ledger share: records as the guard makes them, and a process to do things
to.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from guardrail.core.log.checkpoint import Checkpoint, SignedNote
from guardrail.core.log.merkle import Edge
from guardrail.core.log.record import Draft
from guardrail.keys.log_key import Keys
from guardrail.ledger.heads import Signing
from guardrail.ledger.reader import LedgerReader
from guardrail.ledger.settings import LedgerSettings
from guardrail.ledger.writing.writer import LedgerWriter
from guardrail.system.ids import new_ulid
from tests.support.paths import PROGRAMS

LOG = "test/log"
KEYS = Keys.ephemeral(b"the seed of the keys of tests...")
ACTOR = {"id": "tester", "assurance": "asserted", "method": "os_user"}
SIGNING = KEYS.signing(actor=ACTOR, epochs=False)
"""Signs with the log key, so that a test's records are the only ones."""
EPOCHS = KEYS.signing(actor=ACTOR, epochs=True)
"""Signs with a key of the writer's own, as guards do."""
GENESIS: dict[str, object] = {
    "profile": "sha256-json-lines/1",
    "nonce": "0" * 32,
    "key": {"type": "ed25519", "public": KEYS.public},
    "config": {"digest": "0" * 64},
    "predecessor": None,
}
FAST = LedgerSettings(append_deadline=4.0, retry_interval=0.02, retry_limit=0.1)
DRIVER = PROGRAMS / "ledger_driver.py"


def common(
    type_: str, call: str, process: str, session: str = "s-1", log: str = LOG
) -> dict[str, Any]:
    """Return the fields of section 4.2 of the record format."""
    return {
        "v": 1,
        "log": log,
        "type": type_,
        "call": call,
        "parent": None,
        "session": session,
        "tenant": "default",
        "principal": {
            "id": "alice",
            "form": "clear",
            "type": "user",
            "issuer": None,
            "assurance": "asserted",
        },
        "agent": {
            "id": "bot",
            "form": "clear",
            "version": None,
            "framework": None,
            "assurance": "asserted",
        },
        "delegation": [],
        "origin": {
            "host": "h",
            "pid": 1,
            "process": process,
            "adapter": "python",
            "address": None,
            "call_id": None,
        },
        "trace": None,
    }


def decision(
    call: str,
    process: str,
    *,
    effect: str = "allow",
    session: str = "s-1",
    pad: int = 40,
    log: str = LOG,
) -> Draft:
    """Return a decision about *call*, as the guard makes it."""
    record = common("call.decision", call, process, session, log)
    record.update(
        tool={"name": "send_email", "server": None, "schema": None, "declared": True},
        input={"action": {"properties": {"args": {"body": "x" * pad}}}},
        decision={"effect": effect, "cause": "policy", "detail": "", "rules": [], "labels": []},
    )
    return Draft.build(record, opens=effect == "allow", process=process)


def outcome(
    call: str, seq: int, process: str, status: str = "ok", *, pad: int = 0, log: str = LOG
) -> Draft:
    """Return the outcome of *call*."""
    record = common("call.outcome", call, process, log=log)
    record.update(
        decision_seq=seq, status=status, result=None, error=None, ms=1.0, omitted="x" * pad or None
    )
    return Draft.build(record)


def note() -> Draft:
    """Return a record that belongs to no call."""
    return Draft.build(
        {"v": 1, "log": LOG, "type": "admin.start", "actor": {}, "origin": {}, "detail": {}}
    )


def make(
    path: Path, settings: LedgerSettings = FAST, *, signing: Signing = SIGNING
) -> LedgerWriter:
    """Create a log at *path* and open it."""
    return LedgerWriter.create(path, log=LOG, genesis=GENESIS, signing=signing, settings=settings)


def reopen(
    path: Path, settings: LedgerSettings = FAST, *, signing: Signing = SIGNING
) -> LedgerWriter:
    """Open the log at *path* again."""
    return LedgerWriter.open(path, signing=signing, settings=settings)


def head_at(db: Path, size: int, keys: Keys = KEYS) -> SignedNote:
    """Return the head over the first *size* records, signed by the log key: what someone may have
    kept elsewhere.
    """
    edge = Edge()
    with LedgerReader.open(db) as reader:
        log = reader.log
        for _, leaf, _ in reader.lines(0, size):
            edge.append(leaf)
    assert edge.size == size
    key = keys.signing(actor=ACTOR, epochs=False).log_key(log)
    return SignedNote.sign(Checkpoint(log, size, edge.root()).text, key.key, key.sign)


def whole_call(writer: LedgerWriter) -> tuple[str, int]:
    """Write one call with its outcome; return its id and the seq of its decision."""
    call = new_ulid()
    seq = writer.append(decision(call, writer.process, log=writer.log)).seq
    writer.append(outcome(call, seq, writer.process, log=writer.log))
    return call, seq


class Driver:
    """A real process with a writer: see programs/ledger_driver.py for what it understands."""

    def __init__(self, db: Path, *arguments: str, env: dict[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(DRIVER), str(db), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **(env or {})},
        )
        self.opened = self.answer()

    def send(self, *words: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(" ".join(str(word) for word in words) + "\n")
        self.process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"the process ended with {self.process.wait()}"
        answer: dict[str, Any] = json.loads(line)
        return answer

    def ask(self, *words: object) -> dict[str, Any]:
        self.send(*words)
        return self.answer()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()

    def end(self) -> int:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        code = self.process.wait(30)
        self.process.stdout.close()
        return code


@contextmanager
def driven(db: Path, *arguments: str, env: dict[str, str] | None = None) -> Iterator[Driver]:
    """Run a driver and make sure that it ends."""
    driver = Driver(db, *arguments, env=env)
    try:
        yield driver
    finally:
        if driver.process.poll() is None:
            driver.kill()
        for stream in (driver.process.stdin, driver.process.stdout):
            if stream is not None and not stream.closed:
                stream.close()


SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/types.h>

/* The file that GR_SHIM names says "<function> <EIO|ENOSPC|EROFS|HANG>" while a fault is wanted. */
static int wanted(const char *function, char *what) {
    const char *path = getenv("GR_SHIM");
    char text[64] = {0}, name[32] = {0};
    FILE *file = path ? fopen(path, "re") : NULL;
    if (!file) return 0;
    int found = fgets(text, sizeof text, file) != NULL;
    fclose(file);
    return found && sscanf(text, "%31s %31s", name, what) == 2 && strcmp(name, function) == 0;
}

static int ours(int fd) {
    char link[64], target[512] = {0};
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, target, sizeof target - 1);
    return length > 4 && strcmp(target + length - 4, "-wal") == 0;
}

static int fault(const char *function, int fd) {
    char what[32] = {0};
    if (!ours(fd) || !wanted(function, what)) return 0;
    if (strcmp(what, "HANG") == 0) {
        while (wanted(function, what) && strcmp(what, "HANG") == 0) usleep(5000);
        return 0;
    }
    errno = strcmp(what, "ENOSPC") == 0 ? ENOSPC : strcmp(what, "EROFS") == 0 ? EROFS : EIO;
    return 1;
}

int fdatasync(int fd) {
    static int (*real)(int);
    if (!real) real = dlsym(RTLD_NEXT, "fdatasync");
    return fault("sync", fd) ? -1 : real(fd);
}

int fsync(int fd) {
    static int (*real)(int);
    if (!real) real = dlsym(RTLD_NEXT, "fsync");
    return fault("sync", fd) ? -1 : real(fd);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset) {
    static ssize_t (*real)(int, const void *, size_t, off64_t);
    if (!real) real = dlsym(RTLD_NEXT, "pwrite64");
    return fault("write", fd) ? -1 : real(fd, data, size, offset);
}
"""


class Shim:
    """A library that makes syncs and writes of the ``-wal`` fail or hang, on demand, in a driver's
    process.
    """

    def __init__(self, folder: Path) -> None:
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None:
            pytest.skip("no C compiler here")
        source, self._library, self._control = (
            folder / "shim.c",
            folder / "shim.so",
            folder / "fault",
        )
        source.write_text(SHIM)
        subprocess.run(
            [compiler, "-shared", "-fPIC", "-o", str(self._library), str(source), "-ldl"],
            check=True,
        )

    @property
    def env(self) -> dict[str, str]:
        return {"LD_PRELOAD": str(self._library), "GR_SHIM": str(self._control)}

    def want(self, function: str, what: str) -> None:
        fresh = self._control.with_suffix(".new")
        fresh.write_text(f"{function} {what}\n")
        fresh.replace(self._control)

    def heal(self) -> None:
        self._control.unlink(missing_ok=True)


# -- what can happen to a file under an open handle
# ----------------------------------------------------------------------------


def deleted(path: Path) -> None:
    path.unlink()


def replaced(path: Path) -> None:
    """By a copy of itself: the same bytes, another file."""
    copy = path.with_name("copy")
    shutil.copyfile(path, copy)
    copy.replace(path)


def emptied(path: Path) -> None:
    os.truncate(path, 0)


def halved(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


FILE_FAULTS = (deleted, replaced, emptied, halved)
