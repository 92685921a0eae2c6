"""Manages a lane: a succession of worker processes, the requests that wait for them, and the thread
that manages both.

A few requests are in the pipe at a time. Principals are served in turn, and answers arrive in the
order of requests. Only the first request in the pipe is being evaluated, so only its time counts
towards the evaluation limit. After that limit, the worker is killed, its request fails, and all
others are sent to the next worker. This is safe because a decision has no effects.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable

from guardrail.errors import PolicyError
from guardrail.policy.embedded.breaker import ShardBreaker
from guardrail.policy.embedded.lane_errors import closed_error, dead_error, full_error, late_error
from guardrail.policy.embedded.pipe import IN_PIPE, EngineRequest, Pipe
from guardrail.policy.embedded.process import (
    Frame,
    FrameError,
    WorkerDeath,
    WorkerProcess,
    error_body,
)
from guardrail.policy.embedded.spares import SpareWorkers

__all__ = ["MAX_REPLY", "EngineRequest", "Lane"]

MAX_REPLY = 1 << 20
"""Largest decision in bytes. The worker enforces it, and is killed if it announces more."""
_TICK = 0.025
"""Seconds between checks of the limits while requests are running. This is also the largest delay
in enforcing a limit.
"""
_LINGER = 0.1
"""Seconds without requests after which the thread sleeps until it is woken. Waking it costs the
next caller a system call. Until then, the thread looks for requests every ``_TICK``.
"""
_BACKOFF = (0.0, 0.1, 0.5, 2.0, 5.0)
"""Seconds before the next start, by the number of consecutive starts that failed."""


class Lane:
    """Sends requests to its worker and completes their futures.

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
        """*divert* can move a suspect principal's request to another lane; it returns True if it
        has done so.
        """
        self._spares = spares
        self._settings = spares.settings
        self._breaker = breaker
        self._name = name
        self._divert = divert
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._state = Pipe()
        self._thread: threading.Thread | None = None
        self._worker: WorkerProcess | None = None
        self._load_rid = b""
        self._started_at = 0.0
        self._retry_at = 0.0
        self._failures = 0
        self._failure: PolicyError | None = None
        self._settled_start = threading.Event()
        self._last_use = 0.0
        self._next_scan = 0.0
        self._wake_reader = -1
        self._wake_writer = -1

    @property
    def pid(self) -> int | None:
        """Process id of the worker, for tests and reports."""
        worker = self._worker
        return worker.pid if worker else None

    @property
    def load(self) -> int:
        """Number of waiting requests."""
        return len(self._state.pipe) + len(self._state.queue)

    def start(self) -> None:
        """Start the thread, and with it the worker. Idempotent."""
        with self._lock:
            self._start_locked()

    def _start_locked(self) -> None:
        if self._thread is None and not self._state.closed:
            self._wake_reader, self._wake_writer = os.pipe()
            os.set_blocking(self._wake_reader, False)
            os.set_blocking(self._wake_writer, False)
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()

    def wait(self, timeout: float) -> None:
        """Wait until the first worker is ready. Raises ``PolicyError`` if that fails."""
        self._settled_start.wait(timeout)
        if self._failure is not None:
            raise self._failure
        if not self._state.ready:
            raise PolicyError(
                "the policy worker did not start in time",
                cause="unreachable",
                detail="worker_start",
            )

    def submit(self, request: EngineRequest) -> None:
        """Send *request*, or queue it until the worker is ready. Its future is always completed."""
        state = self._state
        gone: list[EngineRequest] = []
        with self._lock:
            closed = state.closed
            if not closed:
                if self._thread is None:
                    self._start_locked()
                if state.ready and not state.queue and state.accepts(request.party):
                    whole = self._write_to_pipe(request)
                else:
                    gone = state.queue.push(request.party, request, len(request.data))
                    whole = self._fill_pipe()
                if state.asleep or not whole:
                    state.asleep = False
                    self._wake(self._wake_writer)
        if closed:
            request.fail(closed_error())
        for each in gone:
            each.fail(full_error())

    def _write_to_pipe(self, request: EngineRequest) -> bool:
        """Write *request* to the worker. Return True if all of it was sent. The caller holds the
        lock.
        """
        state, worker = self._state, self._worker
        assert worker is not None
        if not state.pipe:
            state.head_since = time.monotonic()
        state.pipe.append(request)
        state.parties[request.party] = state.parties.get(request.party, 0) + 1
        return worker.write(request.data)

    def _fill_pipe(self) -> bool:
        """Write the next requests, up to the pipe's limit; return True if all were sent. The caller
        holds the lock.
        """
        state = self._state
        whole = True
        while state.ready and len(state.pipe) < IN_PIPE:
            found = state.queue.pop(state.accepts)
            if found is None:
                break
            whole = self._write_to_pipe(found[1]) and whole
        return whole

    @staticmethod
    def _wake(descriptor: int) -> None:
        try:
            os.write(descriptor, b"w")
        except OSError:
            # The pipe is full, so the thread is about to wake anyway.
            pass

    def close(self) -> None:
        """Stop the worker and fail every open request. Idempotent."""
        with self._lock:
            self._state.closed = True
            thread = self._thread
            if thread is not None:
                self._wake(self._wake_writer)
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def abandon(self, breaker: ShardBreaker) -> None:
        """Drop the parent's state in a forked child. The lane starts again, with *breaker*, on its
        next use.
        """
        worker = self._worker
        closed = self._state.closed
        if worker is not None:
            worker.abandon()
        for descriptor in (self._wake_reader, self._wake_writer):
            if descriptor >= 0:
                try:
                    os.close(descriptor)
                except OSError:
                    pass
        self._breaker = breaker
        self._reset()
        self._state.closed = closed

    # All methods below run on the lane's thread.

    def _run(self) -> None:
        poll = select.poll()
        poll.register(self._wake_reader, select.POLLIN)
        watched: WorkerProcess | None = None
        try:
            while not self._state.closed:
                if self._worker is None:
                    self._acquire_worker()
                worker = self._worker
                if worker is not watched:
                    watched = worker
                    poll = select.poll()
                    poll.register(self._wake_reader, select.POLLIN)
                    if worker is not None:
                        poll.register(worker.reader, select.POLLIN)
                writing = worker is not None and bool(worker.pending)
                if writing and worker is not None:
                    poll.register(worker.writer, select.POLLOUT)
                self._handle_events(poll.poll(self._poll_timeout()), worker)
                if writing and worker is not None and worker is self._worker and not worker.pending:
                    poll.unregister(worker.writer)
        finally:
            self._shut_down()

    def _poll_timeout(self) -> float | None:
        """Return the milliseconds to wait for events; None (no limit) if no request runs."""
        state, worker = self._state, self._worker
        now = time.monotonic()
        if state.busy() or (worker is not None and not state.ready):
            self._last_use = now
            left = self._next_scan - now
            return (left if 0 < left < _TICK else _TICK) * 1000
        if worker is not None and now - self._last_use < _LINGER:
            return _TICK * 1000
        with self._lock:
            if state.busy() or state.closed:
                return 0
            state.asleep = True
        return None if worker is not None else max(_TICK, self._retry_at - now) * 1000

    def _handle_events(self, events: list[tuple[int, int]], worker: WorkerProcess | None) -> None:
        readable = False
        for descriptor, event in events:
            if descriptor == self._wake_reader:
                os.read(self._wake_reader, 4096)
            elif worker is not None and descriptor == worker.reader:
                readable = True
            elif worker is not None and event & select.POLLOUT:
                with self._lock:
                    worker.flush()
        self._state.asleep = False
        if worker is not None and readable:
            try:
                alive = worker.read()
                for answer in worker.frames(MAX_REPLY):
                    if not self._handle_answer(answer):
                        return
            except FrameError:
                self._handle_death(WorkerDeath("crashed", "bad_frame"))
                return
            if not alive:
                self._handle_death(None)
                return
        self._check_limits(readable=readable)

    def _acquire_worker(self) -> None:
        """Obtain the spare, or a new worker if enough time has passed since the last start."""
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
        self._worker = born.worker

    def _handle_answer(self, answer: Frame) -> bool:
        """Handle one answer. Return False if it ended the worker."""
        state = self._state
        if not state.ready:
            return self._handle_start_answer(answer)
        with self._lock:
            request = state.pipe[0] if state.pipe else None
            matches = late = False
            if request is not None and request.rid == answer.rid:
                matches = True
                self._pop_answered()
                late = state.head_since >= request.deadline  # it has just been set
                self._fill_pipe()
        if request is None or not matches:
            self._handle_death(WorkerDeath("crashed", "wrong_id"))
            return False
        if late:
            request.fail(late_error())
        elif not request.future.done():
            request.settle(request, answer)
        return True

    def _pop_answered(self) -> EngineRequest:
        """Remove the first request from the pipe. The caller holds the lock."""
        state = self._state
        request = state.pipe.popleft()
        left = state.parties.pop(request.party) - 1
        if left:
            state.parties[request.party] = left
        state.head_since = time.monotonic()
        return request

    def _handle_start_answer(self, answer: Frame) -> bool:
        if answer.rid != self._load_rid or answer.kind != b"k":
            detail = "canary" if error_body(answer).get("type") == "canary" else "worker_start"
            self._discard_worker()
            self._handle_start_failure(detail)
            return False
        state = self._state
        with self._lock:
            state.ready = True
            self._fill_pipe()
        self._failures = 0
        self._settled_start.set()
        self._spares.renew()
        return True

    def _check_limits(self, *, readable: bool) -> None:
        state = self._state
        now = time.monotonic()
        if (
            self._worker is not None
            and not state.ready
            and now - self._started_at > self._settings.start_limit
        ):
            self._discard_worker()
            self._handle_start_failure("worker_start")
            return
        if now >= self._next_scan and state.busy():
            self._next_scan = now + _TICK
            self._fail_expired(now)
        # The pipe was found empty first, because an answer in the pipe is not late.
        if (
            not readable
            and state.ready
            and state.pipe
            and now - state.head_since > self._settings.eval_limit
        ):
            self._handle_death(WorkerDeath("timeout", "eval_limit"))

    def _fail_expired(self, now: float) -> None:
        with self._lock:
            # Requests in the pipe are still answered, so they must be registered before that.
            late = [request for request in self._state.pipe if now >= request.deadline]
            late += self._state.queue.take(lambda request: now >= request.deadline)
        for request in late:
            request.fail(late_error())

    def _handle_death(self, death: WorkerDeath | None) -> None:
        """Replace a dead worker: fail the request that it was evaluating, and queue the others
        again.
        """
        worker, state = self._worker, self._state
        assert worker is not None
        how = worker.reap(1.0) if death is None else worker.kill()
        if death is None:
            death = how
        started = state.ready
        now = time.monotonic()
        with self._lock:
            self._worker = None
            state.ready = False
            victim = self._pop_answered() if started and state.pipe else None
            again = [request for request in state.pipe if not request.future.done()]
            state.pipe.clear()
            state.parties.clear()
            # Requeued one by one from the last, so that they come first and stay in order.
            for request in reversed(again):
                state.queue.push(request.party, request, len(request.data), front=True)
        if not started:
            self._handle_start_failure("worker_start")
            return
        if victim is not None:
            self._breaker.record(victim.shard, death.cause, now)
            self._divert_suspects(now)
            victim.fail(dead_error(death))

    def _divert_suspects(self, now: float) -> None:
        """Move the requests of suspect principals to another lane, away from the others."""
        if self._divert is None:
            return
        with self._lock:
            going = self._state.queue.take(
                lambda request: self._breaker.suspect(request.shard, now)
            )
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
            else "the embedded policy engine gives wrong answers",
            cause="unreachable",
            detail=detail,
            hint="guardrail doctor",
        )
        with self._lock:
            waiting = self._state.drain()
        for request in waiting:
            request.fail(error)
        if not self._settled_start.is_set():
            self._failure = error
            self._settled_start.set()

    def _discard_worker(self) -> None:
        worker = self._worker
        with self._lock:
            self._worker = None
            self._state.ready = False
        if worker is not None:
            worker.kill()

    def _shut_down(self) -> None:
        self._discard_worker()
        with self._lock:
            self._state.closed = True
            waiting = self._state.drain()
            os.close(self._wake_reader)
            os.close(self._wake_writer)
            self._wake_reader = self._wake_writer = -1
        for request in waiting:
            request.fail(closed_error())
        self._settled_start.set()
