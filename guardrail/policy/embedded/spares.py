"""Starts workers, and keeps one spare ready."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from guardrail.policy.embedded.process import WorkerProcess, frame

__all__ = ["SpareWorkers", "StartingWorker", "WorkerSettings"]


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """Settings for starting and limiting workers."""

    load: bytes
    """Body of the message that gives a worker its policies."""
    eval_limit: float
    """Time limit of one evaluation in seconds."""
    start_limit: float
    """Seconds until a worker must be ready."""
    memory: int
    """Limit of address space in bytes."""
    script: Path | None = None
    """Another worker script; for tests."""


@dataclass(slots=True)
class StartingWorker:
    """A worker that has received its policies but has not yet reported that it is ready."""

    worker: WorkerProcess
    rid: bytes
    since: float


def _start_worker(settings: WorkerSettings) -> StartingWorker:
    worker = WorkerProcess(memory=settings.memory, script=settings.script)
    rid = os.urandom(16)
    worker.write(frame(rid, b"L", settings.load))
    return StartingWorker(worker, rid, time.monotonic())


class SpareWorkers:
    """Keeps one worker started and loaded in advance, so that replacing a killed worker takes no
    start-up time. Thread-safe.
    """

    def __init__(self, settings: WorkerSettings, *, wanted: bool = True) -> None:
        self.settings = settings
        self._wanted = wanted
        self._lock = threading.Lock()
        self._spare: StartingWorker | None = None
        self._closed = False

    def take(self) -> StartingWorker:
        """Return the spare, or a worker started now. Raises ``OSError``."""
        with self._lock:
            born, self._spare = self._spare, None
        if born is None:
            return _start_worker(self.settings)
        # A message larger than the pipe waits here until the rest is sent.
        born.since = time.monotonic()
        return born

    def renew(self) -> None:
        """Start a spare if there is none. A failure is reported when a spare is needed."""
        with self._lock:
            if self._spare is None and self._wanted and not self._closed:
                try:
                    self._spare = _start_worker(self.settings)
                except OSError:
                    pass

    @property
    def pid(self) -> int | None:
        """Process id of the spare, for tests."""
        spare = self._spare
        return spare.worker.pid if spare else None

    def close(self) -> None:
        """Stop the spare. Idempotent."""
        with self._lock:
            self._closed = True
            if self._spare is not None:
                self._spare.worker.kill()
                self._spare = None

    def abandon(self) -> None:
        """Drop a spare that belongs to the parent of this forked process."""
        self._lock = threading.Lock()
        if self._spare is not None:
            self._spare.worker.abandon()
            self._spare = None
