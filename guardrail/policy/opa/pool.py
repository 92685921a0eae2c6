"""A bounded pool of threads that send queries and complete their futures. Each thread has its own
connection.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from guardrail.errors import PolicyError
from guardrail.policy.fair_queue import FairQueue
from guardrail.policy.opa.transport import OpaConnection
from guardrail.system.threads import BackgroundThread

__all__ = ["ConnectionPool", "PoolJob"]

_MAX_WAITING = 10_000
"""Maximum number of waiting jobs. More could not be sent before their deadlines."""


@dataclass(frozen=True, slots=True, eq=False)
class PoolJob:
    """A query to be sent to the server."""

    run: Callable[[OpaConnection], None]
    """Sends the query. Always completes the future, at the latest shortly after ``end``."""
    fail: Callable[[PolicyError], None]
    """Fails the future without sending the query."""
    end: float
    """Deadline (``time.monotonic``)."""
    party: str = ""
    """The principal that sent the query. Principals take turns (``fair_queue.party``)."""


class ConnectionPool:
    """Runs a job as soon as a thread is free. A job that waits past its deadline fails.

    Thread-safe. Principals are served round-robin, and no principal may use more than three
    quarters of the threads, so that one principal's slow queries leave threads for the others.
    """

    def __init__(self, connect: Callable[[], OpaConnection], size: int) -> None:
        self._connect = connect
        self._size = size
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._idle: list[queue.SimpleQueue[PoolJob | None]] = []
        self._threads = 0
        self._share = max(1, size - size // 4)
        self._running: Counter[str] = Counter()
        self._waiting: FairQueue[PoolJob] = FairQueue(most=_MAX_WAITING)
        self._reaper: BackgroundThread | None = None
        """The thread that fails waiting jobs at their deadlines, or None if no job is waiting."""
        self._closed = False

    def submit(self, job: PoolJob) -> None:
        """Run *job*. If the pool is closed or full, *job* fails at once; if no thread becomes free,
        it fails at its deadline.
        """
        start = False
        inbox: queue.SimpleQueue[PoolJob | None] | None = None
        gone: list[PoolJob] = []
        thread = BackgroundThread(self._run_jobs, "guardrail-opa", job)
        try:
            with self._lock:
                refusal = closed_error() if self._closed else None
                allowed = self._has_free_share(job.party)
                running = self._running[job.party] + 1
                if refusal is not None:
                    pass
                elif allowed and self._idle:
                    # This is the most recently used thread. Its connection is the least likely to
                    # have been closed in the meantime.
                    inbox = self._idle.pop()
                    self._running[job.party] = running
                elif allowed and self._threads < self._size:
                    # Ctrl-C can't arrive between these lines, because none of them calls anything.
                    self._running[job.party] = running
                    self._threads += 1
                    start = True
                else:
                    gone = self._waiting.push(job.party, job)
                    self._run_reaper()
            for each in gone:
                each.fail(_full_error("queue_full"))
            if refusal is not None:
                job.fail(refusal)
            elif inbox is not None:
                inbox.put(job)
            elif start:
                thread.start()
        except BaseException:
            if start and not thread.will_run():
                self._release(job)
            raise

    def _release(self, job: PoolJob) -> None:
        """Release the slot of a thread that failed to start."""
        with self._lock:
            self._threads -= 1
            self._running[job.party] -= 1

    def _has_free_share(self, who: str) -> bool:
        return self._running[who] < self._share

    def close(self) -> None:
        """Fail waiting jobs, and stop the threads.

        Running jobs end at their own deadlines. Idempotent.
        """
        with self._lock:
            self._closed = True
            waiting = self._waiting.take(lambda _: True)
            idle, self._idle = self._idle, []
            self._changed.notify_all()
        for inbox in idle:
            inbox.put(None)
        for job in waiting:
            job.fail(closed_error())

    def _run_jobs(self, first: PoolJob) -> None:
        inbox: queue.SimpleQueue[PoolJob | None] = queue.SimpleQueue()
        connection = self._connect()
        job: PoolJob | None = first
        try:
            while job is not None:
                if job.end <= time.monotonic():
                    job.fail(_full_error("pool"))
                else:
                    job.run(connection)
                job = self._next_job(inbox, job.party)
        finally:
            connection.close()

    def _next_job(self, inbox: queue.SimpleQueue[PoolJob | None], done: str) -> PoolJob | None:
        with self._lock:
            self._running[done] -= 1
            if not self._running[done]:
                del self._running[done]
            found = self._waiting.pop(self._has_free_share)
            if found is not None:
                self._running[found[0]] += 1
                return found[1]
            if self._closed:
                return None
            self._idle.append(inbox)
        return inbox.get()

    def _run_reaper(self) -> None:
        """Fail waiting jobs at their deadlines. Needed only if all threads are busy."""
        if self._reaper is not None and self._reaper.will_run():
            self._changed.notify()
            return
        self._reaper = BackgroundThread(self._expire, "guardrail-opa-queue")
        self._reaper.start()

    def _expire(self) -> None:
        while True:
            with self._lock:
                now = time.monotonic()
                late = self._waiting.take(_past_deadline(now))
                if late:
                    pass
                elif not self._waiting:
                    self._reaper = None
                    return
                else:
                    self._changed.wait(min(job.end for job in self._waiting) - now)
            for job in late:
                job.fail(_full_error("pool"))


def _past_deadline(now: float) -> Callable[[PoolJob], bool]:
    return lambda job: job.end <= now


def closed_error() -> PolicyError:
    """Return the error for a query to a closed engine."""
    return PolicyError("the policy engine is closed", cause="unreachable", detail="closed")


def _full_error(detail: str) -> PolicyError:
    return PolicyError(
        "no connection to the OPA server became free before the deadline",
        cause="timeout",
        detail=detail,
        hint="increase [opa] connections",
    )
