"""Runs sequences (sequences.py), each in a process of its own.

A server has everything imported and forks one process per run, so that a run costs no more than
what it does.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
DB = "a.db"


class SequenceServer:
    """Runs one sequence at a time."""

    def __init__(self, preload: Path | None) -> None:
        """*preload* is a library that every run has loaded before all others."""
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "sequences.py"), "serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={
                "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
                "PYTHONPATH": os.pathsep.join(sys.path),
                **({"LD_PRELOAD": str(preload)} if preload is not None else {}),
            },
        )

    def run(self, name: str, folder: Path, record: Path, **environment: str) -> None:
        """Let the sequence *name* happen to the ledger in *folder*, with more *environment*."""
        self.begin(name, folder, record, short=False, **environment)
        status = self.finish()
        assert status == 0, f"{name} ended with {status}"

    def begin(
        self, name: str, folder: Path, record: Path, *, short: bool, **environment: str
    ) -> int:
        """Start a process that waits for ``finish``; return its number."""
        line = json.dumps([name, str(folder / DB), str(record), short, environment])
        return int(self._ask(line))

    def finish(self) -> int:
        """Let the process run to its end; return its status: a signal as a negative number."""
        return int(self._ask(""))

    def _ask(self, line: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline()

    def end(self) -> None:
        """End the server."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()


@contextmanager
def serving(preload: Path | None = None) -> Iterator[SequenceServer]:
    """Start a server and make sure that it ends."""
    server = SequenceServer(preload)
    try:
        yield server
    finally:
        server.end()
