"""The pipe between callers and a worker: the sent requests, the queued requests, and the choice of
the thread that reads the next answer.

Answers arrive in the order of requests. A caller that waits for the next answer reads it itself. It
would wait anyway, and a handover to another thread and back would cost more than the answer. A
caller reads only its own answer, and only if nothing is wrong. In all other cases (a limit is
exceeded, the worker has died, the bytes are not the caller's answer, or other callers wait behind
it), the caller wakes the lane's thread and leaves the work to it.

Ctrl-C or another asynchronous exception can interrupt a caller at any instant. A caller therefore
changes only the state of its own request, and marks the pipe as torn while it does so. The lane's
thread replaces the worker of a torn pipe, and sends all open requests again. This is safe because a
decision has no effects. A caller that is the reader but does not read, for example because it runs
a signal handler, loses this role after ``READER_PATIENCE``.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections import deque
from typing import NamedTuple

from guardrail.policy.embedded.lane_errors import late_error
from guardrail.policy.embedded.process import TICK, Frame, FrameError, WorkerDeath, WorkerProcess
from guardrail.policy.embedded.request import EngineRequest
from guardrail.policy.fair_queue import FairQueue

__all__ = [
    "GIVE_WAY",
    "IN_PIPE",
    "MAX_REPLY",
    "MAX_WAITING",
    "MAX_WAITING_BYTES",
    "READER_PATIENCE",
    "Pipe",
    "WorkerEnd",
]

MAX_REPLY = 1 << 20
"""Maximum size of a decision in bytes. The worker enforces it, and is killed if it announces a
larger decision.
"""
MAX_WAITING = 10_000
"""Maximum number of requests in one lane. Further requests could not be decided before their
deadlines.
"""
MAX_WAITING_BYTES = 64 << 20
IN_PIPE = 16
"""Maximum number of requests in the pipe."""
IN_PIPE_OF_ONE = 2
"""Maximum number of a principal's requests in the pipe while others have requests: one that is
evaluated, and the next one. More would delay the requests of others.
"""
AHEAD = 0.02
"""Maximum number of seconds that the requests of a principal in the pipe take, according to the
last answers, if nobody else has a request. A request that arrives then has to wait for them.
"""
GIVE_WAY = 2 * TICK
"""Seconds of one evaluation after which a principal with more than ``IN_PIPE_OF_ONE`` requests in
the pipe has to give way to others.
"""
READER_PATIENCE = 2 * TICK
"""Seconds after which the lane's thread replaces a caller as the reader if others wait."""


class WorkerEnd(NamedTuple):
    """How and when the use of a worker ended."""

    death: WorkerDeath | None
    """The reason to kill the worker, or None if the worker has closed its end of the pipe."""
    was_ready: bool
    """True if the worker had loaded its policies."""
    victim: EngineRequest | None
    """The request that the worker was evaluating. It is no longer in ``Pipe.sent``."""


class Output(NamedTuple):
    """The output of a worker, read so far."""

    answered: list[tuple[EngineRequest, Frame]]
    """The requests that the worker has answered, with their answers."""
    other: Frame | None = None
    """The answer to the load request, if the worker is starting."""
    ending: WorkerEnd | None = None
    """Set if the worker is no longer usable."""


class Pipe:
    """Requests, the worker that answers them, and the lock that protects both.

    A forked child gets a new pipe.
    """

    def __init__(self, eval_limit: float) -> None:
        self.lock = threading.Lock()
        """Held only briefly, and never during a blocking operation."""
        self.sent: deque[EngineRequest] = deque()
        """Sent requests, in order. The first is being evaluated."""
        self.parties: dict[str, int] = {}
        """Number of sent requests per principal."""
        self.queue: FairQueue[EngineRequest] = FairQueue(
            most=MAX_WAITING, most_bytes=MAX_WAITING_BYTES
        )
        """Requests that have not been sent yet."""
        self.strays: list[EngineRequest] = []
        """Requests that arrived while the pipe was torn."""
        self.worker: WorkerProcess | None = None
        self.ready = False
        """True if the worker has loaded its policies."""
        self.head_since = 0.0
        """Time at which the current first request became the first, or at which the worker became
        ready, whichever is later.
        """
        self.most_of_one = IN_PIPE_OF_ONE
        """Maximum number of a principal's requests in the pipe if nobody else has a request. It
        grows while answers are fast.
        """
        self.reader: EngineRequest | None = None
        """The first request, if its caller reads the next answer."""
        self.reader_since = 0.0
        self.unread = False
        """True if a caller has read more than its own answer. The thread must process the rest."""
        self.torn = False
        """True while a caller changes this object, and permanently if the caller was interrupted.
        """
        self.served = False
        """True if the lane's thread waits for the next answer and checks the limits at every
        ``TICK``. Otherwise, the thread must be woken.
        """
        self.closed = False
        self._eval_limit = eval_limit
        self._called = False
        self._wake_reader = self._wake_writer = -1

    # -- wakes the lane's thread, through a separate pipe ------------------------------------------

    def open_waker(self) -> None:
        """Create the pipe that wakes the thread. The caller holds the lock. Raises ``OSError``."""
        self._wake_reader, self._wake_writer = os.pipe()
        os.set_blocking(self._wake_reader, False)
        os.set_blocking(self._wake_writer, False)

    @property
    def waker(self) -> int:
        """The descriptor that becomes readable when the thread is woken."""
        return self._wake_reader

    def close_waker(self) -> None:
        """Release the descriptors. Idempotent."""
        for descriptor in (self._wake_reader, self._wake_writer):
            if descriptor >= 0:
                try:
                    os.close(descriptor)
                except OSError:
                    pass
        self._wake_reader = self._wake_writer = -1

    def wake(self) -> None:
        """Wake the thread. The caller holds the lock."""
        if not self._called:
            try:
                os.write(self._wake_writer, b"w")
            except OSError:
                # The pipe is full, so the thread is about to wake anyway.
                pass
            self._called = True  # set last: Ctrl-C before this line only costs a second wake-up

    def call(self) -> None:
        """Wake the thread unless it already waits for the next answer. The caller holds the
        lock.
        """
        if not self.served:
            self.wake()

    def hear(self) -> None:
        """Clear the wake-up, because the thread is about to check everything. The caller, the
        lane's thread, holds the lock.
        """
        self._called = False

    # -- requests ----------------------------------------------------------------------------------

    def busy(self) -> bool:
        """True if any request is waiting or being evaluated."""
        return bool(self.sent or self.queue)

    def accepts(self, who: str) -> bool:
        """Return True if a request from *who* may be sent now. The caller holds the lock."""
        all_, own = len(self.sent), self.parties.get(who, 0)
        if own < IN_PIPE_OF_ONE:
            return all_ < IN_PIPE
        return own == all_ < self.most_of_one and not self.queue.has_others(who)

    def must_give_way(self, now: float) -> bool:
        """Return True if others wait behind more requests of one principal than could have been
        sent if the others had come first, and the first of them takes long. The caller holds the
        lock.
        """
        if not self.sent or now - self.head_since < GIVE_WAY:
            return False
        who = self.sent[0].party
        own = self.parties[who]
        return own > IN_PIPE_OF_ONE and (own < len(self.sent) or self.queue.has_others(who))

    def _note_pace(self, seconds: float) -> None:
        """Adapt ``most_of_one`` to the time that the last answers took, each *seconds*. The caller
        holds the lock.
        """
        most = int(AHEAD / seconds) if seconds * IN_PIPE > AHEAD else IN_PIPE
        self.most_of_one = max(IN_PIPE_OF_ONE, min(most, self.most_of_one + 1))

    def submit(self, request: EngineRequest) -> list[EngineRequest]:
        """Send *request*, or queue it. Return the requests that were removed to make room. The
        caller holds the lock.
        """
        request.source = self
        if self.torn:
            self.strays.append(request)
            self.wake()
            return []
        self.torn = True
        dropped: list[EngineRequest] = []
        worker, sent, party = self.worker, self.sent, request.party
        accepted = self.accepts(party)
        # An idle worker must have sent nothing, so that the next answer belongs to this request.
        if (
            accepted
            and self.ready
            and worker is not None
            and not self.queue
            and (sent or worker.is_silent())
        ):
            if not sent:
                self.head_since = time.monotonic()
            sent.append(request)
            self.parties[party] = self.parties.get(party, 0) + 1
            if not worker.write(request.data):
                self.wake()
        else:
            dropped = self.queue.push(party, request, len(request.data))
            if accepted and (self.ready or not self.served):
                self.wake()
        self.torn = False
        return dropped

    def fill(self) -> None:
        """Send the next requests, up to the limit, in one write. The caller, the lane's thread,
        holds the lock.
        """
        worker, parts = self.worker, []
        if worker is None or not self.ready or not (self.sent or worker.is_silent()):
            return  # a worker with unsolicited output is replaced
        while len(self.sent) < IN_PIPE:
            found = self.queue.pop(self.accepts)
            if found is None:
                break
            party, request = found
            if not self.sent:
                self.head_since = time.monotonic()
            self.sent.append(request)
            self.parties[party] = self.parties.get(party, 0) + 1
            parts.append(request.data)
        if parts:
            worker.write(parts[0] if len(parts) == 1 else b"".join(parts))

    def take_output(self, worker: WorkerProcess, now: float) -> Output:
        """Read the worker's output, remove the answered requests, and send the next requests. The
        caller, the lane's thread, holds the lock.
        """
        self.unread = False
        began = self.head_since
        ended = not worker.read()
        answered: list[tuple[EngineRequest, Frame]] = []
        death: WorkerDeath | None = None
        try:
            for answer in worker.frames(MAX_REPLY):
                if not self.ready:
                    return Output(answered, answer)
                if not self.sent or self.sent[0].rid != answer.rid:
                    death = WorkerDeath("crashed", "wrong_id")
                    break
                answered.append((self.pop_answered(now), answer))
        except FrameError:
            death = WorkerDeath("crashed", "bad_frame")
        if answered:
            self._note_pace((now - began) / len(answered))
        if worker.has_data and self.ready and not self.sent and death is None:
            death = WorkerDeath("crashed", "wrong_id")  # the start of an unsolicited answer
        if death is None and not ended:
            self.fill()
            return Output(answered)
        return Output(answered, None, WorkerEnd(death, *self.condemn()))

    def condemn(self) -> tuple[bool, EngineRequest | None]:
        """Stop using the worker. Return True if it was ready, and the request that it was
        evaluating. The caller, the lane's thread, holds the lock.
        """
        was_ready, self.ready, self.reader = self.ready, False, None
        self.most_of_one = IN_PIPE_OF_ONE
        victim = self.pop_answered(0.0) if was_ready and self.sent else None
        return was_ready, victim

    def pop_answered(self, now: float) -> EngineRequest:
        """Remove and return the first sent request, at the time *now*. The caller holds the
        lock.
        """
        request = self.sent.popleft()
        left = self.parties.pop(request.party) - 1
        if left:
            self.parties[request.party] = left
        self.head_since = now
        return request

    def drain(self) -> list[EngineRequest]:
        """Remove all requests, and return them in order. The caller holds the lock."""
        found = {id(each): each for each in (*self.sent, *self.queue, *self.strays)}
        self.sent.clear()
        self.parties.clear()
        self.strays.clear()
        # An interrupted ``push`` leaves the queue inconsistent, but no item is missing.
        self.queue = FairQueue(most=MAX_WAITING, most_bytes=MAX_WAITING_BYTES)
        self.reader, self.most_of_one = None, IN_PIPE_OF_ONE
        self.torn = self.unread = False
        return list(found.values())

    def abandon(self) -> None:
        """Drop the parent's pipe in a forked child. Callers in the child get no answers from it."""
        self.lock = threading.Lock()
        self.closed, self.reader = True, None
        if self.worker is not None:
            self.worker.abandon()
        self.close_waker()

    # -- called by a caller that waits for its reply -----------------------------------------------

    def attend(self) -> None:
        """Make the lane's thread read the next answers, because no caller does."""
        with self.lock:
            if not self.closed:
                self.call()

    def read(self, request: EngineRequest, until: float | None) -> None:
        """Read the answer to *request* if it is the next one and no other thread reads. Otherwise,
        wake the lane's thread.

        When this returns, *request* is done, the lane's thread will complete it, or the time
        *until* (``time.monotonic``) has passed.
        """
        try:
            with self.lock:
                worker, sent, now = self.worker, self.sent, time.monotonic()
                reader = None if self.torn else self.reader
                if (
                    sent
                    and sent[0] is request
                    and reader is None
                    and self.ready
                    and worker is not None
                    and not (self.torn or worker.pending)
                    and (not self.served or (len(sent) == 1 and not self.queue))
                ):
                    self.reader, self.reader_since = request, now
                else:
                    worker = None
                    if reader is None and not self.closed:
                        self.call()
            if worker is not None:
                self._read_next(request, worker, now, until)
            elif reader is not None:
                # That caller wakes the thread once it has its answer.
                end = min(now + READER_PATIENCE, request.deadline)
                if until is not None:
                    end = min(end, until)
                if not request.wait(max(0.0, end - now)):
                    self.attend()
        except BaseException:  # Ctrl-C, for example
            self._leave(request)
            raise

    def _read_next(
        self, request: EngineRequest, worker: WorkerProcess, now: float, until: float | None
    ) -> None:
        """Read until the answer to *request*, which is the next one, is complete."""
        limit = min(request.deadline, self.head_since + self._eval_limit)
        if until is not None and until < limit:
            limit = until
        poll = select.poll()
        poll.register(worker.reader, select.POLLIN)
        answer: Frame | None = None
        while answer is None:
            left = limit - now
            poll.poll((TICK if left > TICK else max(0, left)) * 1000)
            with self.lock:
                if self.torn:
                    self.reader = None
                    self.wake()
                # Read only if the worker is still the same: its descriptor may have been reused for
                # another file.
                if self.reader is not request or self.worker is not worker:
                    return
                self.torn = True
                alive = worker.read()
                try:
                    answer = worker.next_frame(MAX_REPLY, request.rid)
                except FrameError:
                    alive = False
                now = time.monotonic()
                if answer is not None:
                    self._note_pace(now - self.head_since)
                    self.pop_answered(now)
                if answer is not None or not alive or now >= limit:
                    self.reader = None
                    self.unread = worker.has_data
                    if self.sent or self.queue or self.unread:
                        self.call()
                self.torn = False
                if self.reader is None:
                    break
        if answer is None:
            return
        if now >= request.deadline:
            request.fail(late_error())
        elif not request.is_done:
            request.settle(request, answer)

    def _leave(self, request: EngineRequest) -> None:
        with self.lock:
            if self.reader is request or self.torn:
                self.reader = None
                if not self.closed:
                    self.wake()
