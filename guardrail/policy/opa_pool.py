"""A bounded number of threads, each with a connection of its own, that ask and end futures."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from guardrail.errors import PolicyError
from guardrail.policy.opa_transport import Connection

__all__ = ["Job", "Pool"]

_MAX_WAITING = 10_000
"""More than this can't be asked about before their deadlines."""


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """One question."""

    run: Callable[[Connection], None]
    """Ends the future in any case, and not much later than ``end``."""
    fail: Callable[[PolicyError], None]
    """Ends the future without asking."""
    end: float
    """Of ``time.monotonic``."""


class Pool:
    """Runs jobs at once as long as a thread is free; what waits longer than its deadline fails. Thread-safe."""

    def __init__(self, connect: Callable[[], Connection], size: int) -> None:
        self._connect = connect
        self._size = size
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._idle: list[queue.SimpleQueue[Job | None]] = []
        self._threads = 0
        self._waiting: deque[Job] = deque()
        self._reaping = False
        self._closed = False

    def submit(self, job: Job) -> None:
        """Run *job*, or fail it: at once where the pool is closed or overfull, else when its deadline passes."""
        start = False
        inbox: queue.SimpleQueue[Job | None] | None = None
        with self._lock:
            if self._closed:
                refusal: PolicyError | None = closed()
            elif self._idle:
                # The one that was used last: its connection is the least likely to have been closed meanwhile.
                inbox, refusal = self._idle.pop(), None
            elif self._threads < self._size:
                self._threads += 1
                start, refusal = True, None
            elif len(self._waiting) >= _MAX_WAITING:
                refusal = _full("queue_full")
            else:
                self._waiting.append(job)
                refusal = None
                self._reap()
        if refusal is not None:
            job.fail(refusal)
        elif inbox is not None:
            inbox.put(job)
        elif start:
            threading.Thread(
                target=self._work, args=(job,), name="guardrail-opa", daemon=True
            ).start()

    def close(self) -> None:
        """Fail what waits, and let the threads go. What is being asked ends by its own deadline. Idempotent."""
        with self._lock:
            self._closed = True
            waiting, self._waiting = self._waiting, deque()
            idle, self._idle = self._idle, []
            self._changed.notify_all()
        for inbox in idle:
            inbox.put(None)
        for job in waiting:
            job.fail(closed())

    def _work(self, first: Job) -> None:
        inbox: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        connection = self._connect()
        job: Job | None = first
        try:
            while job is not None:
                if job.end <= time.monotonic():
                    job.fail(_full("pool"))
                else:
                    job.run(connection)
                job = self._next(inbox)
        finally:
            connection.close()

    def _next(self, inbox: queue.SimpleQueue[Job | None]) -> Job | None:
        with self._lock:
            if self._waiting:
                return self._waiting.popleft()
            if self._closed:
                return None
            self._idle.append(inbox)
        return inbox.get()

    def _reap(self) -> None:
        """Watch over what waits. Only a saturated pool needs it."""
        if self._reaping:
            self._changed.notify()
            return
        self._reaping = True
        threading.Thread(target=self._expire, name="guardrail-opa-queue", daemon=True).start()

    def _expire(self) -> None:
        while True:
            with self._lock:
                now = time.monotonic()
                late = [job for job in self._waiting if job.end <= now]
                if late:
                    self._waiting = deque(job for job in self._waiting if job.end > now)
                elif not self._waiting:
                    self._reaping = False
                    return
                else:
                    self._changed.wait(min(job.end for job in self._waiting) - now)
            for job in late:
                job.fail(_full("pool"))


def closed() -> PolicyError:
    """Return the failure of a question to an engine that was closed."""
    return PolicyError("the policy engine is closed", cause="unreachable", detail="closed")


def _full(detail: str) -> PolicyError:
    return PolicyError(
        "no connection to the OPA server became free before the deadline",
        cause="timeout",
        detail=detail,
        hint="raise [opa] connections",
    )
