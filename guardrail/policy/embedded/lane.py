"""Manages a lane: a succession of worker processes, their queue of requests, and the thread that
manages both.

The pipe contains a few requests at a time. Principals are served round-robin, and answers arrive in
the order of requests. A caller that waits for the next answer reads it itself. The thread reads all
other answers and handles every failure (``guardrail.policy.embedded.pipe``). Only the first request
in the pipe is being evaluated, so only that request's time counts towards the evaluation limit.
When the limit is exceeded, the worker is killed, the request fails, and all others are sent to the
next worker. This is safe because a decision has no effects.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable

from guardrail.errors import PolicyError
from guardrail.policy.embedded.breaker import ShardBreaker
from guardrail.policy.embedded.lane_errors import closed_error, dead_error, full_error, late_error
from guardrail.policy.embedded.pipe import READER_PATIENCE, Pipe, WorkerEnd
from guardrail.policy.embedded.process import (
    TICK,
    Frame,
    WorkerDeath,
    WorkerProcess,
    error_body,
)
from guardrail.policy.embedded.request import EngineRequest
from guardrail.policy.embedded.spares import SpareWorkers
from guardrail.system.futures import WakeUpBatch
from guardrail.system.threads import BackgroundThread, OnceEvent

__all__ = ["EngineRequest", "Lane"]

_LINGER = 0.1
"""Seconds without requests after which the thread sleeps until a caller wakes it, which costs that
caller a system call. Until then, the thread polls for answers.
"""
_BACKOFF = (0.0, 0.1, 0.5, 2.0, 5.0)
"""Seconds to wait before the next start, indexed by the number of consecutive failed starts."""
_ENDED = select.POLLHUP | select.POLLERR | select.POLLNVAL


class Lane:
    """Sends requests to its worker and ensures that they are completed.

    Thread-safe. Its thread starts on first use.
    """

    def __init__(
        self,
        spares: SpareWorkers,
        breaker: ShardBreaker,
        *,
        name: str,
        divert: Callable[[EngineRequest], bool] | None = None,
    ) -> None:
        """*divert* may move a suspect principal's request to another lane. It returns True if it
        did.
        """
        self._spares = spares
        self._settings = spares.settings
        self._breaker = breaker
        self._name = name
        self._divert = divert
        self._reset()

    def _reset(self) -> None:
        self._pipe = Pipe(self._settings.eval_limit)
        self._thread: BackgroundThread | None = None
        self._running = False
        """True once the thread has started. Never reset to False."""
        self._load_rid = b""
        self._started_at = 0.0
        self._retry_at = 0.0
        self._failures = 0
        self._failure: PolicyError | None = None
        self._settled_start = OnceEvent()
        self._last_use = 0.0
        self._next_scan = 0.0

    @property
    def pid(self) -> int | None:
        """The worker's process id, for tests and reports."""
        worker = self._pipe.worker
        return worker.pid if worker else None

    @property
    def load(self) -> int:
        """Number of waiting requests."""
        return len(self._pipe.sent) + len(self._pipe.queue)

    def start(self) -> None:
        """Start the thread, and with it the worker. Idempotent."""
        with self._pipe.lock:
            self._start_locked()

    def _start_locked(self) -> None:
        pipe = self._pipe
        if self._running or pipe.closed:
            return
        if pipe.waker < 0:
            pipe.open_waker()
        # Ctrl-C can interrupt the start. If the next request finds that the thread is not running,
        # it starts another thread. If both run, the second exits at once.
        self._thread = BackgroundThread(self._run, self._name)
        self._thread.start()

    def wait(self, timeout: float) -> None:
        """Wait until the first worker is ready. Raises ``PolicyError`` if that fails."""
        self._settled_start.wait(timeout)
        if self._failure is not None:
            raise self._failure
        if not self._pipe.ready:
            raise PolicyError(
                "the policy worker did not start in time",
                cause="unreachable",
                detail="worker_start",
            )

    def submit(self, request: EngineRequest, *, attended: bool = False) -> None:
        """Send *request*, or queue it until the worker is ready.

        The request is completed only if a caller waits for it or *attended* is True.
        """
        pipe = self._pipe
        dropped: list[EngineRequest] = []
        with pipe.lock:
            closed = pipe.closed
            if not closed:
                if not self._running:
                    self._start_locked()
                dropped = pipe.submit(request)
                if attended:
                    pipe.call()
        if closed:
            request.fail(closed_error())
        for each in dropped:
            each.fail(full_error())

    def close(self) -> None:
        """Stop the worker and fail every open request. Idempotent."""
        pipe = self._pipe
        with pipe.lock:
            pipe.closed = True
            thread = self._thread
            if thread is not None:
                pipe.wake()
        if thread is not None:
            thread.join()

    def abandon(self, breaker: ShardBreaker) -> None:
        """Drop the parent's state in a forked child. The lane restarts, with *breaker*, on its next
        use.
        """
        closed = self._pipe.closed
        self._pipe.abandon()
        self._breaker = breaker
        self._reset()
        self._pipe.closed = closed

    # All methods below run on the lane's thread.

    def _run(self) -> None:
        pipe = self._pipe
        with pipe.lock:
            if self._running:
                return
            self._running = True
        poll, watched, watching = select.poll(), None, -1
        poll.register(pipe.waker, select.POLLIN)
        try:
            while not pipe.closed:
                if pipe.worker is None:
                    self._acquire_worker()
                worker = pipe.worker
                if worker is not watched:
                    poll, watched, watching = select.poll(), worker, -1
                    poll.register(pipe.waker, select.POLLIN)
                timeout, events = self._plan()
                if worker is not None and events != watching:
                    # Even without requested events, poll reports that the worker has ended.
                    poll.register(worker.reader, events)
                    watching = events
                writing = worker is not None and bool(worker.pending)
                if writing and worker is not None:
                    poll.register(worker.writer, select.POLLOUT)
                self._handle_events(poll.poll(timeout), worker)
                if writing and worker is not None and worker is pipe.worker and not worker.pending:
                    poll.unregister(worker.writer)
        finally:
            self._shut_down()

    def _plan(self) -> tuple[float | None, int]:
        """Send as much as possible. Return the milliseconds to wait (None for no limit), and the
        events to wait for on the worker's output.
        """
        pipe, now = self._pipe, time.monotonic()
        with pipe.lock:
            pipe.hear()
            if pipe.reader is not None and now - pipe.reader_since >= READER_PATIENCE:
                pipe.reader = None  # the caller is asleep, or was interrupted
            reads = pipe.reader is None
            starting = pipe.worker is not None and not pipe.ready
            pipe.served = starting or (
                reads and pipe.worker is not None and (pipe.busy() or pipe.unread)
            )
            if pipe.closed or pipe.torn:
                return 0, 0
            if pipe.queue:
                pipe.fill()
            if pipe.served:
                self._last_use = now
            elif pipe.worker is None:
                return max(TICK, self._retry_at - now) * 1000 if not pipe.busy() else TICK * 1000, 0
            elif not reads:
                return (TICK * 1000 if len(pipe.sent) > 1 or pipe.queue else None), 0
            elif now - self._last_use < _LINGER:
                pipe.served = True
            else:
                return None, 0
            if reads and pipe.unread:
                return 0, select.POLLIN
            left = self._next_scan - now
            return (left if 0 < left < TICK and pipe.busy() else TICK) * 1000, select.POLLIN

    def _handle_events(self, events: list[tuple[int, int]], worker: WorkerProcess | None) -> None:
        pipe = self._pipe
        readable = ended = False
        for descriptor, event in events:
            if descriptor == pipe.waker:
                os.read(descriptor, 4096)
            elif worker is not None and descriptor == worker.reader:
                readable, ended = bool(event & select.POLLIN), bool(event & _ENDED)
            elif worker is not None and event & select.POLLOUT:
                with pipe.lock:
                    worker.flush()
        with pipe.lock:
            torn = pipe.torn
            if ended:
                pipe.reader = None
            read = pipe.reader is None and not torn and worker is not None
            if readable and not read:
                self._last_use = 0.0  # a caller reads, so lingering is pointless
        if torn:
            self._mend()
        elif read and worker is not None and (readable or ended or pipe.unread):
            self._read_answers(worker)
        else:
            self._check_limits(read=False)

    def _mend(self) -> None:
        """Replace the worker of a torn pipe, or one whose pipe is crowded, and queue all open
        requests again. Nobody is blamed.
        """
        pipe = self._pipe
        with pipe.lock:
            worker, pipe.worker, pipe.ready = pipe.worker, None, False
            for request in pipe.drain():
                if not request.is_done:
                    pipe.queue.push(request.party, request, len(request.data))
        if worker is not None:
            worker.kill()

    def _read_answers(self, worker: WorkerProcess) -> None:
        """Read all answers that have arrived, send the next requests, and complete the futures."""
        pipe, now = self._pipe, time.monotonic()
        with pipe.lock:
            if pipe.torn or pipe.reader is not None:
                return
            started = pipe.ready
            output = pipe.take_output(worker, now)
        with WakeUpBatch() as handover:  # each event loop is woken only once
            for request, answer in output.answered:
                request.handover = handover
                if now >= request.deadline:
                    request.fail(late_error())
                elif not request.is_done:
                    request.settle(request, answer)
        if output.ending is not None:
            self._handle_end(output.ending)
        elif not started:
            if output.other is not None:
                self._handle_start_answer(output.other)
        else:
            if not output.answered:
                self._last_use = 0.0  # a caller was faster, so lingering is pointless
            self._check_limits(read=True)

    def _acquire_worker(self) -> None:
        """Take the spare, or start a new worker if enough time has passed since the last start."""
        now = time.monotonic()
        if now < self._retry_at:
            self._fail_expired(now)
            return
        try:
            born = self._spares.take()
        except OSError:
            self._handle_start_failure("worker_start")
            return
        self._load_rid, self._started_at = born.rid, born.since
        with self._pipe.lock:
            self._pipe.worker = born.worker

    def _handle_start_answer(self, answer: Frame) -> None:
        if answer.rid != self._load_rid or answer.kind != b"k":
            detail = "canary" if error_body(answer).get("type") == "canary" else "worker_start"
            self._discard_worker()
            self._handle_start_failure(detail)
            return
        pipe = self._pipe
        with pipe.lock:
            pipe.ready = True
            if not pipe.torn:
                pipe.fill()
        self._failures = 0
        self._settled_start.set()
        self._spares.renew()

    def _check_limits(self, *, read: bool) -> None:
        """Enforce the limits. *read* is True if the worker has just sent something."""
        pipe, now = self._pipe, time.monotonic()
        if (
            pipe.worker is not None
            and not pipe.ready
            and now - self._started_at > self._settings.start_limit
        ):
            self._discard_worker()
            self._handle_start_failure("worker_start")
            return
        if now >= self._next_scan and pipe.busy():
            self._next_scan = now + TICK
            self._fail_expired(now)
        with pipe.lock:
            # An answer that is already in the worker's output is not late, so the output was
            # checked first. A caller that reads checks the limit itself and wakes this thread.
            over = (
                not read
                and pipe.ready
                and pipe.reader is None
                and not pipe.torn
                and bool(pipe.sent)
                and now - pipe.head_since > self._settings.eval_limit
            )
            ending = (
                WorkerEnd(WorkerDeath("timeout", "eval_limit"), *pipe.condemn()) if over else None
            )
            crowded = not over and pipe.ready and not pipe.torn and pipe.must_give_way(now)
        if ending is not None:
            self._handle_end(ending)
        elif crowded:
            self._mend()

    def _fail_expired(self, now: float, other: EngineRequest | None = None) -> None:
        pipe = self._pipe
        with pipe.lock:
            if pipe.torn:
                return
            # The worker still answers requests in the pipe, so they stay registered.
            late = [each for each in (*pipe.sent, other) if each and now >= each.deadline]
            late += pipe.queue.take(lambda request: now >= request.deadline)
        for request in late:
            request.fail(late_error())

    def _handle_end(self, ending: WorkerEnd) -> None:
        """Replace a worker that is no longer usable: fail the request that it was evaluating, and
        requeue the others.
        """
        pipe = self._pipe
        worker = pipe.worker
        assert worker is not None
        victim, patience = ending.victim, 0.0 if ending.death else 1.0
        how = worker.reap(patience, lambda: self._fail_expired(time.monotonic(), victim))
        death = ending.death or how
        now = time.monotonic()
        with pipe.lock:
            torn, pipe.unread = pipe.torn, False
            if not torn:
                pipe.worker = None
                again = [request for request in pipe.sent if not request.is_done]
                pipe.sent.clear()
                pipe.parties.clear()
                # Requeued at the front, last request first, so that they keep their order.
                for request in reversed(again):
                    pipe.queue.push(request.party, request, len(request.data), front=True)
        if torn:
            self._mend()
        if not ending.was_ready:
            self._handle_start_failure("worker_start")
        elif victim is not None:
            self._breaker.record(victim.shard, death.cause, now)
            self._divert_suspects(now)
            victim.fail(dead_error(death))

    def _divert_suspects(self, now: float) -> None:
        """Move the requests of suspect principals to another lane, away from the others."""
        if self._divert is None:
            return
        with self._pipe.lock:
            if self._pipe.torn:
                return
            going = self._pipe.queue.take(lambda request: self._breaker.suspect(request.shard, now))
        for request in going:
            if not self._divert(request):
                request.fail(closed_error())

    def _handle_start_failure(self, detail: str) -> None:
        self._failures += 1
        self._retry_at = time.monotonic() + _BACKOFF[min(self._failures, len(_BACKOFF)) - 1]
        # A spare could have died long ago, so only a second failure in a row counts against the
        # policies.
        if self._failures < 2:
            return
        error = PolicyError(
            "policy workers can't be started"
            if detail != "canary"
            else "the embedded policy engine returned a wrong result in its self-test",
            cause="unreachable",
            detail=detail,
            hint="guardrail doctor",
        )
        with self._pipe.lock:
            waiting = self._pipe.drain()
        for request in waiting:
            request.fail(error)
        if not self._settled_start.is_set():
            self._failure = error
            self._settled_start.set()

    def _discard_worker(self) -> None:
        pipe = self._pipe
        with pipe.lock:
            worker, pipe.worker = pipe.worker, None
            pipe.ready, pipe.reader, pipe.unread = False, None, False
        if worker is not None:
            worker.kill()

    def _shut_down(self) -> None:
        pipe = self._pipe
        self._discard_worker()
        with pipe.lock:
            pipe.closed = True
            waiting = pipe.drain()
            pipe.close_waker()
        for request in waiting:
            request.fail(closed_error())
        self._settled_start.set()
