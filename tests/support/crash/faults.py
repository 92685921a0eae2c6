"""Faults at a chosen system call of a real process: the kernel's answer is replaced, or the process
killed, by strace.

A server (``sequences.py serve``) has everything imported and forks one process per run; strace is
attached before it begins, so that a run costs no more than what it does.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.crash.disks import DB, HERE

CALLS = (
    "pwrite64",
    "fdatasync",
    "fsync",
    "ftruncate",
    "link",
    "rename",
    "unlink",
    "mkdir",
    "openat",
)
"""Every call by which a ledger's files, their names and their sizes change, or come to be open."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What is to go wrong."""

    call: str
    number: int
    """The which one, of each thread."""
    what: str
    """``EIO`` or ``ENOSPC``, then everything goes on; with ``+``, all later ones fail as well; or
    ``KILL``.
    """

    def __str__(self) -> str:
        return f"{self.call} {self.number} {self.what}"

    @property
    def inject(self) -> str:
        """As strace takes it."""
        how = "signal=KILL" if self.what == "KILL" else f"error={self.what.rstrip('+')}"
        return (
            f"inject={self.call}:{how}:when={self.number}{'+' if self.what.endswith('+') else ''}"
        )


WHAT = ("EIO", "ENOSPC", "EIO+", "ENOSPC+", "KILL")


class Server:
    """Runs sequences under strace, one at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "sequences.py"), "serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def end(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()

    def count(self, name: str, ledger: Path, record: Path) -> Counter[str]:
        """Run without a fault; return how often the busiest thread made each call."""
        _, trace = self._run(name, ledger, record, None)
        each = Counter(re.findall(r"^(\d+) +(\w+)\(", trace, re.MULTILINE))
        most: Counter[str] = Counter()
        for (_, call), times in each.items():
            most[call] = max(most[call], times)
        return most

    def run(self, name: str, ledger: Path, record: Path, fault: Fault) -> tuple[int, bool]:
        """Run with *fault*; return how the process ended, and whether the fault came to pass."""
        status, trace = self._run(name, ledger, record, fault)
        return status, "(INJECTED)" in trace or "killed by SIGKILL" in trace

    def _run(self, name: str, ledger: Path, record: Path, fault: Fault | None) -> tuple[int, str]:
        child = int(self._ask(f"{name} {ledger / DB} {record}"))
        output = self._folder / "trace"
        only = ",".join(CALLS) if fault is None else fault.call
        options = ["-e", f"trace={only}", *(["-e", fault.inject] if fault is not None else [])]
        tracer = subprocess.Popen(
            ["strace", "-f", "-qq", "-o", str(output), *options, "-p", str(child)],
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            while "\nTracerPid:\t0\n" in Path(f"/proc/{child}/status").read_text():
                if tracer.poll() is not None:
                    assert tracer.stderr is not None
                    self._ask("")
                    pytest.skip(f"strace can't trace here: {tracer.stderr.read().strip()}")
                time.sleep(0.001)
            status = int(self._ask(""))
        finally:
            said = tracer.communicate(timeout=30)[1]
        # Attached inside a system call, strace may take this thread's entries for exits; the others
        # are what counts.
        rest = [line for line in said.splitlines() if "ptrace_syscall_info.op" not in line]
        assert not rest, rest
        return status, output.read_text()

    def _ask(self, line: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline()


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """Start a server and make sure that it ends."""
    if shutil.which("strace") is None:
        pytest.skip("no strace here")
    server = Server(folder)
    try:
        yield server
    finally:
        server.end()
