"""Waits for work done by other threads, in a thread or on an event loop, and never cancels that
work.

A procedure that waits is written once, as a generator. It yields ``Wait`` or ``Shielded`` to wait
for a future, and receives the result or the exception at that point. It yields long computations as
``Work``, so that other tasks of an event loop can run in the meantime. ``guardrail.call.drivers``
runs such a procedure, in a thread or on an event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import threading
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future
from typing import Any, NamedTuple, TypeVar

from guardrail.system.futures import BatchedFuture
from guardrail.system.threads import BackgroundThread

__all__ = [
    "LARGE",
    "Shielded",
    "Steps",
    "Wait",
    "Work",
    "in_background",
    "run_in_thread",
    "wait_async",
    "wait_shielded",
    "work_async",
]

R = TypeVar("R")


class Wait(NamedTuple):
    """A future that a step waits for."""

    future: Future[Any]
    timeout: float | None
    """Seconds after which ``TimeoutError`` is thrown into the step."""


class Shielded(NamedTuple):
    """A future that a step waits for even if its task is cancelled: the cancellation is raised when
    the steps have ended.
    """

    future: Future[Any]
    timeout: float | None
    """Seconds after which ``TimeoutError`` is thrown into the step."""


class Work(NamedTuple):
    """A computation that the driver runs for a step."""

    run: Callable[[], Any]
    size: int
    """Approximate size of the input in characters. Above ``LARGE``, the work runs outside the event
    loop.
    """


LARGE = 4_096
"""Below this size, work ends sooner than a thread could be started."""

Steps = Generator[Wait | Shielded | Work, Any, R]


async def work_async(work: Work, stops: list[asyncio.CancelledError]) -> Any:
    """Run *work* and return its result: in a thread if it is large, so that the event loop stays
    responsive.

    A thread can't be stopped, so cancellations that arrive in the meantime are added to *stops*.
    """
    if work.size <= LARGE:
        return work.run()
    context = contextvars.copy_context()
    try:
        future = in_background(functools.partial(context.run, work.run))
    # no thread can be started, because there are too many or the program is exiting
    except RuntimeError:
        return work.run()
    while True:
        try:
            return await wait_async(future, None)
        except asyncio.CancelledError as stop:
            if future.done() and future.exception() is stop:
                raise  # the error of the work itself
            stops.append(stop)


async def wait_async(future: Future[R], timeout: float | None) -> R:
    """Return the result of *future*, or raise its exception, or ``TimeoutError`` after *timeout*
    seconds.

    Unlike ``asyncio.wrap_future``, a cancelled wait does not cancel the future, because a record
    that is being written must not be lost.
    """
    if future.done():
        return future.result()
    loop = asyncio.get_running_loop()
    waiter: asyncio.Future[None] = loop.create_future()
    if isinstance(future, BatchedFuture):
        future.wake_on(loop, waiter)
        if future.done():
            _wake(waiter)
    else:
        future.add_done_callback(lambda _: _wake_alone(loop, waiter))
    if timeout is None:
        await waiter
    else:
        await _await_until(loop, waiter, timeout)
    if not future.done():
        raise TimeoutError
    return future.result()


async def _await_until(
    loop: asyncio.AbstractEventLoop, waiter: asyncio.Future[None], timeout: float
) -> None:
    """Wait for *waiter*, which is woken after *timeout* seconds at the latest."""
    timers = getattr(_TIMERS, "value", None)
    if timers is None or timers.loop is not loop:
        timers = _TIMERS.value = _SharedTimers(loop)
    if timers.add(waiter, timeout):
        await waiter
        return
    timer = loop.call_later(timeout, _wake, waiter)
    try:
        await waiter
    finally:
        timer.cancel()


class _SharedTimers:
    """The time limits of an event loop's waits. All waits with the same timeout share one timer,
    because a timer for each of them would take longer than the rest of the wait.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._waiters: dict[float, deque[tuple[float, asyncio.Future[None]]]] = {}
        """For each timeout, the waiters with the times at which they are woken, in order. While a
        queue is not empty, its timer runs.
        """

    def add(self, waiter: asyncio.Future[None], timeout: float) -> bool:
        """Wake *waiter* after *timeout* seconds. Return False if it needs its own timer, because
        there are too many different timeouts.
        """
        waiters = self._waiters.get(timeout)
        if waiters is None:
            if len(self._waiters) >= _TIMEOUTS:
                self._waiters = {each: queue for each, queue in self._waiters.items() if queue}
            if len(self._waiters) >= _TIMEOUTS:
                return False
            waiters = self._waiters[timeout] = deque()
        running = bool(waiters)
        while waiters and waiters[0][1].done():
            waiters.popleft()
        waiters.append((self.loop.time() + timeout, waiter))
        if not running:
            self.loop.call_later(timeout, self._end_waits, waiters)
        return True

    def _end_waits(self, waiters: deque[tuple[float, asyncio.Future[None]]]) -> None:
        now = self.loop.time()
        while waiters and (waiters[0][1].done() or waiters[0][0] <= now):
            _wake(waiters.popleft()[1])
        if waiters:
            self.loop.call_at(waiters[0][0], self._end_waits, waiters)


_TIMEOUTS = 8
"""Maximum number of different timeouts with a shared timer."""
_TIMERS = threading.local()
"""The shared timers of the loop that last ran in this thread."""


async def wait_shielded(
    future: Future[R], timeout: float | None, stops: list[asyncio.CancelledError]
) -> R:
    """Wait as ``wait_async`` does, even if the task is cancelled; add cancellations to *stops*."""
    while True:
        try:
            return await wait_async(future, timeout)
        except asyncio.CancelledError as stop:
            stops.append(stop)


def _wake_alone(loop: asyncio.AbstractEventLoop, waiter: asyncio.Future[None]) -> None:
    # A closed loop no longer has waiters.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(_wake, waiter)


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def in_background(work: Callable[[], R]) -> Future[R]:
    """Run *work* in its own thread. The future completes with its result or its exception.

    Use this for infrequent work. If no one waits for the thread any longer, it still runs to its
    end, without delaying anything else.
    """
    future: Future[R] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001 - passed on to the waiter
            future.set_exception(error)

    BackgroundThread(run, "guardrail-look").start()
    return future


async def run_in_thread(body: Callable[[], R]) -> tuple[R, asyncio.CancelledError | None]:
    """Run *body* in a thread. Return its result, and the cancellation that arrived in the meantime,
    if any.

    A thread can't be stopped, and reporting ``cancelled`` while it is still running would be wrong,
    so a cancellation is delayed until the thread ends. A ``StopIteration`` is raised as the cause
    of a ``RuntimeError``, as coroutines do: a future can't hold a ``StopIteration``, and would
    never complete.
    """

    def run() -> R:
        try:
            return body()
        except StopIteration as error:
            raise RuntimeError("the function raised StopIteration") from error

    task = asyncio.ensure_future(asyncio.to_thread(run))
    stop: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            stop = error
    return task.result(), stop
