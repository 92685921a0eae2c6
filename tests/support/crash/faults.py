"""Faults at a chosen system call of a real process: the kernel's answer is replaced, or the process
killed, by strace.

Each run is a process that a server forks (server.py). strace is attached before the run begins.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.crash.server import SequenceServer

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


class Tracer:
    """Runs sequences under strace, one at a time. Its files are in *folder*."""

    def __init__(self, server: SequenceServer, folder: Path) -> None:
        if shutil.which("strace") is None:
            pytest.skip("no strace here")
        self._server = server
        self._folder = folder

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
        child = self._server.begin(name, ledger, record, short=True)
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
                    self._server.finish()
                    pytest.skip(f"strace can't trace here: {tracer.stderr.read().strip()}")
                time.sleep(0.001)
            status = self._server.finish()
        finally:
            said = tracer.communicate(timeout=30)[1]
        # Attached inside a system call, strace may take this thread's entries for exits; the others
        # are what counts.
        rest = [line for line in said.splitlines() if "ptrace_syscall_info.op" not in line]
        assert not rest, rest
        return status, output.read_text()
