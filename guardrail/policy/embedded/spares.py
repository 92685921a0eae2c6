"""Starting workers, and keeping one warm."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from guardrail.policy.embedded.process import WorkerProcess, frame

__all__ = ["Born", "Spares", "WorkerSettings"]


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """How workers are started and held to their limits."""

    load: bytes
    """Body of the message that gives a worker its policies."""
    eval_limit: float
    """Seconds that one evaluation may take."""
    start_limit: float
    """Seconds until a worker must be ready."""
    memory: int
    """Bytes of address space."""
    script: Path | None = None
    """Another worker script; for tests."""


@dataclass(slots=True)
class Born:
    """A worker that has been sent its policies and has not said yet that it is ready."""

    worker: WorkerProcess
    rid: bytes
    since: float


def _bear(settings: WorkerSettings) -> Born:
    worker = WorkerProcess(memory=settings.memory, script=settings.script)
    rid = os.urandom(16)
    worker.write(frame(rid, b"L", settings.load))
    return Born(worker, rid, time.monotonic())


class Spares:
    """One worker that is started and loaded in advance, so that a kill costs no start. Thread-safe."""

    def __init__(self, settings: WorkerSettings, *, wanted: bool = True) -> None:
        self.settings = settings
        self._wanted = wanted
        self._lock = threading.Lock()
        self._spare: Born | None = None
        self._closed = False

    def take(self) -> Born:
        """Return the spare, or a worker started now. Raises ``OSError``."""
        with self._lock:
            born, self._spare = self._spare, None
        if born is None:
            return _bear(self.settings)
        # What is larger than a pipe waits here for the rest of it to be sent.
        born.since = time.monotonic()
        return born

    def renew(self) -> None:
        """Start a spare where there is none. A failure shows when one is needed."""
        with self._lock:
            if self._spare is None and self._wanted and not self._closed:
                try:
                    self._spare = _bear(self.settings)
                except OSError:
                    pass

    @property
    def pid(self) -> int | None:
        """Process id of the spare; for tests."""
        spare = self._spare
        return spare.worker.pid if spare else None

    def close(self) -> None:
        """End the spare. Idempotent."""
        with self._lock:
            self._closed = True
            if self._spare is not None:
                self._spare.worker.kill()
                self._spare = None

    def abandon(self) -> None:
        """Forget a spare that belongs to the process this one was forked from."""
        self._lock = threading.Lock()
        if self._spare is not None:
            self._spare.worker.abandon()
            self._spare = None
