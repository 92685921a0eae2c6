"""Runs jobs in a small number of threads, so that a server that hangs does not use up the process's
threads.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from typing import Any, TypeVar

from guardrail.system.forking import reset_in_children
from guardrail.system.threads import BackgroundThread

__all__ = ["FewThreads"]

R = TypeVar("R")


class FewThreads:
    """Runs jobs in order, in at most a given number of threads, which end when there is nothing to
    do. Thread-safe. A forked child has no jobs and no threads at first.
    """

    def __init__(self, most: int, *, most_waiting: int, name: str) -> None:
        """*most* is the maximum number of threads, *most_waiting* that of jobs that no thread has
        begun. *name* is the name of the threads.
        """
        self._most = most
        self._most_waiting = most_waiting
        self._name = name
        self.reset()
        reset_in_children(self)

    def reset(self) -> None:
        """Forget all jobs and threads. In a forked child, those of the parent do not run."""
        self._lock = threading.Lock()
        self._jobs: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._running = 0

    def run(self, job: Callable[[], R], future: Future[R]) -> bool:
        """Complete *future* with the result of *job*, or with its exception. Return False if that
        will not happen, because too many jobs are waiting, or the system can start no thread. Never
        blocks.
        """
        entry = job, future
        with self._lock:
            if len(self._jobs) >= self._most_waiting:
                return False
            self._jobs.append(entry)
            if self._running >= self._most:
                return True
            self._running += 1
        try:
            BackgroundThread(self._work, self._name).start()
        except RuntimeError:
            with self._lock:
                self._running -= 1
                if entry not in self._jobs:
                    return True  # another thread began it
                self._jobs.remove(entry)
            return False
        return True

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._jobs:
                    self._running -= 1
                    return
                job, future = self._jobs.popleft()
            # Whoever started the job may have been interrupted, and completed the future.
            with contextlib.suppress(InvalidStateError):
                try:
                    future.set_result(job())
                except Exception as error:  # noqa: BLE001 - passed on to whoever waits
                    future.set_exception(error)
