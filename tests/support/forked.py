"""Runs a program many times, each time in a process of its own, forked from one that has imported
it: importing guardrail takes most of a short program's time.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SERVE = """
import importlib, json, os, sys, traceback
program = importlib.import_module(sys.argv[1])
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        output, arguments = json.loads(line)
        os.dup2(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) if output else 2, 1)
        status = 1
        try:
            program.main(arguments)
            sys.stdout.flush()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class ForkedProgram:
    """A program with a function ``main(arguments)``. Use it from one thread."""

    def __init__(self, module: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SERVE, module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, output: Path | None = None) -> int:
        """Run the program to its end; return how it ended: a signal as a negative number. What it
        prints goes to the file *output*, or to stderr.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([output and str(output), arguments]) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        """End the process that forks."""
        self._process.communicate(timeout=30)


@contextmanager
def forked(module: str) -> Iterator[ForkedProgram]:
    """Import the program *module*, ready to run."""
    program = ForkedProgram(module)
    try:
        yield program
    finally:
        program.close()
