"""Starts workers, and keeps one spare worker ready."""

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
    """Settings and limits for workers."""

    load: bytes
    """Body of the frame that loads the policies into a worker."""
    eval_limit: float
    """Time limit for one evaluation in seconds."""
    start_limit: float
    """Time limit for starting a worker in seconds."""
    memory: int
    """Limit on the address space in bytes."""
    script: Path | None = None
    """A replacement for the worker script, for tests."""


@dataclass(slots=True)
class StartingWorker:
    """A worker that has received its policies but is not yet ready."""

    worker: WorkerProcess
    rid: bytes
    since: float


def _start_worker(settings: WorkerSettings) -> StartingWorker:
    worker = WorkerProcess(memory=settings.memory, script=settings.script)
    rid = os.urandom(16)
    worker.write(frame(rid, b"L", settings.load))
    return StartingWorker(worker, rid, time.monotonic())


class SpareWorkers:
    """Keeps one worker started and loaded, so that a killed worker can be replaced without delay.
    Thread-safe.
    """

    def __init__(self, settings: WorkerSettings, *, wanted: bool = True) -> None:
        self.settings = settings
        self._wanted = wanted
        self._lock = threading.Lock()
        self._spare: StartingWorker | None = None
        self._closed = False

    def take(self) -> StartingWorker:
        """Return the spare worker, or a new worker if there is none. Raises ``OSError``."""
        with self._lock:
            born, self._spare = self._spare, None
        if born is None:
            return _start_worker(self.settings)
        # A message that is larger than the pipe stays buffered until the rest of it is sent.
        born.since = time.monotonic()
        return born

    def renew(self) -> None:
        """Start a spare if there is none. A failure is reported only when a worker is needed."""
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
        """Drop the parent's spare in a forked child."""
        self._lock = threading.Lock()
        if self._spare is not None:
            self._spare.worker.abandon()
            self._spare = None
