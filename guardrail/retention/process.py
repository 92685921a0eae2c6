"""Starts and controls the worker process that does the retention work that is due.

The worker is a process, not a thread. It therefore does not compete with calls for the interpreter,
has its own priority, does not hold a connection that a fork of the program would copy, and can be
terminated at any point.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from guardrail.config import Settings
from guardrail.system.threads import BackgroundThread

__all__ = ["RetentionJob", "RetentionWorker", "RunOutcome"]

_MODULE = "guardrail.wiring.retention_worker"
_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    f"import runpy; runpy.run_module({_MODULE!r}, run_name='__main__')"
)
_MAX_REPORT = 1 << 20
_END_S = 1.0


@dataclass(frozen=True, slots=True)
class RetentionJob:
    """The job for a worker, sent over its standard input."""

    settings: Settings
    now: float
    """The guard's clock, in seconds since 1970."""


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """The outcome of a run. ``code`` is empty if all due work was done."""

    code: str = ""
    message: str = ""
    hint: str = ""


_DIED = RunOutcome(
    "retention.died",
    "the retention worker ended without reporting a result",
    "guardrail retention run",
)


class RetentionWorker:
    """A running worker. Used by one thread."""

    def __init__(self, job: RetentionJob, *, keep: int, folder: str) -> None:
        """Start the worker in *folder*. The worker inherits the descriptor *keep* and therefore
        holds the lock on that file. Raises ``OSError``.
        """
        # As with the policy workers, neither the environment nor the current folder influences the
        # imports.
        root = str(Path(__file__).parents[2])
        paths = [root, *(each for each in sys.path if os.path.isabs(each))]
        self._popen = subprocess.Popen(
            [sys.executable, "-I", "-c", _START, json.dumps(paths)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            close_fds=True,
            pass_fds=(keep,),
            start_new_session=True,
            cwd=folder,
        )
        self._said = b""
        assert self._popen.stdin is not None
        with contextlib.suppress(OSError):  # the worker died without reporting a result
            self._popen.stdin.write(pickle.dumps(job))
            self._popen.stdin.flush()
        self._reader = BackgroundThread(self._read, "guardrail-retention-worker")
        self._reader.start()

    @property
    def pid(self) -> int:
        """Process id of the worker."""
        return self._popen.pid

    def _read(self) -> None:
        assert self._popen.stdout is not None
        with contextlib.suppress(OSError, ValueError):
            self._said = self._popen.stdout.read(_MAX_REPORT)

    def wait(self, seconds: float) -> bool:
        """Wait at most *seconds*; return True if the worker has ended."""
        try:
            self._popen.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def outcome(self) -> RunOutcome:
        """Return the worker's outcome after it has ended."""
        self._reader.join(_END_S)
        self._close()
        try:
            document: Any = json.loads(self._said)
            found = RunOutcome(**{name: document[name] for name in ("code", "message", "hint")})
        except (ValueError, KeyError, TypeError, RecursionError):
            return _DIED
        texts = (found.code, found.message, found.hint)
        return found if all(isinstance(each, str) for each in texts) else _DIED

    def end(self) -> None:
        """Terminate the worker within seconds. Finished work is durable, and the next run does the
        remaining work.
        """
        self._popen.terminate()
        if not self.wait(_END_S):
            self._popen.kill()
            self.wait(_END_S)
        self._reader.join(_END_S)
        self._close()

    def _close(self) -> None:
        for stream in (self._popen.stdin, self._popen.stdout):
            if stream is not None:
                with contextlib.suppress(OSError, ValueError):
                    stream.close()
