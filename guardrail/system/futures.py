"""Futures that are completed in batches, with one wake-up per event loop and without a condition
variable for threads.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, InvalidStateError
from typing import TYPE_CHECKING, Self, TypeVar

if TYPE_CHECKING:
    import asyncio

__all__ = ["BatchedFuture", "WakeUpBatch"]

R = TypeVar("R")

_log = logging.getLogger(__name__)

_RUNNING = "running"
_CANCELLED = "cancelled"


class WakeUpBatch:
    """Collects the waiters of one batch of futures and wakes them when the block ends. Each event
    loop is woken once.
    """

    def __init__(self) -> None:
        self._waiters: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.wake()

    def add(self, loop: asyncio.AbstractEventLoop, waiter: asyncio.Future[None]) -> None:
        """Wake *waiter*, which belongs to *loop*, together with the other waiters of that loop."""
        self._waiters.setdefault(loop, []).append(waiter)

    def wake(self) -> None:
        """Wake all waiters added so far. Never raises."""
        while self._waiters:
            loop, waiters = self._waiters.popitem()
            # A closed loop no longer has waiters.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(_wake, waiters)


def _wake(waiters: list[asyncio.Future[None]]) -> None:
    for waiter in waiters:
        if not waiter.done():  # otherwise it was cancelled, or timed out
            waiter.set_result(None)


class BatchedFuture(Future[R]):
    """A future that wakes its waiters cheaply. Set ``handover`` before completing it in a batch.

    It has no condition variable, and no lock is held while its state changes: Ctrl-C could leave a
    lock locked, and the thread that completes this future would wait for it forever. Therefore,
    ``concurrent.futures.wait`` and ``as_completed`` do not accept it.
    """

    # ``Future.__init__`` is not called: it would create a condition variable for each record.
    def __init__(self) -> None:
        self.handover: WakeUpBatch | None = None
        """Wakes the event loops. If None, this future wakes them itself."""
        self._sleepers: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []
        self._callbacks: list[Callable[[Future[R]], object]] = []
        self._gate = threading.Lock()
        self._gate.acquire()
        self._fate: dict[None, str] = {}
        """States whether this future was cancelled or began to run. The first of these is final,
        because ``dict.setdefault`` is atomic.
        """
        self._unended = [None]
        """The thread that takes the item completes this future. Taking the item is atomic."""
        self._is_complete = False
        self._answer: R | None = None
        self._error: BaseException | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {'done' if self.done() else 'not done'}>"

    # -- by the thread that completes this future --------------------------------------------------

    def set_running_or_notify_cancel(self) -> bool:
        """Begin to run. Return False if this future was cancelled."""
        return self._fate.setdefault(None, _RUNNING) is _RUNNING

    def set_result(self, result: R) -> None:
        """Complete this future with *result*. Raises ``InvalidStateError`` if it is already
        complete.
        """
        self._complete(result, None)

    def set_exception(self, exception: BaseException | None) -> None:
        """Complete this future with *exception*. Raises ``InvalidStateError`` if it is already
        complete.
        """
        self._complete(None, exception)

    def _complete(self, result: R | None, error: BaseException | None) -> None:
        if not self.set_running_or_notify_cancel():
            raise InvalidStateError("the future was cancelled")
        try:
            self._unended.pop()
        except IndexError:
            raise InvalidStateError("the future is already complete") from None
        self._answer, self._error = result, error
        self._is_complete = True
        self._wake_all()

    def _wake_all(self) -> None:
        self._gate.release()
        # A waiter that is added after this point finds the future done, because ``done`` is checked
        # after adding and was set before this point.
        if self._sleepers:
            handover = self.handover or WakeUpBatch()
            for loop, waiter in self._sleepers:
                handover.add(loop, waiter)
            if self.handover is None:
                handover.wake()
        if self._callbacks:
            self._call_back()

    def _call_back(self) -> None:
        while self._callbacks:
            try:
                callback = self._callbacks.pop(0)
            except IndexError:  # another thread took it
                return
            try:
                callback(self)
            except Exception:  # noqa: BLE001 - the thread has other futures to complete
                _log.exception("a callback of %r failed", self)

    # -- by any thread -----------------------------------------------------------------------------

    def cancel(self) -> bool:
        """Cancel this future. Return False if it is running or complete."""
        if self._fate.setdefault(None, _CANCELLED) is not _CANCELLED:
            return False
        try:
            self._unended.pop()
        except IndexError:
            return True  # it was cancelled before
        self._wake_all()
        return True

    def cancelled(self) -> bool:
        """Return True if this future was cancelled."""
        return self._fate.get(None) is _CANCELLED

    def running(self) -> bool:
        """Return True if this future is running: it can't be cancelled, and is not complete."""
        return self._fate.get(None) is _RUNNING and not self._is_complete

    def done(self) -> bool:
        """Return True if this future is complete or cancelled."""
        return self._is_complete or self._fate.get(None) is _CANCELLED

    def result(self, timeout: float | None = None) -> R:
        """Return the result, or raise the exception. Raises ``TimeoutError`` after *timeout*
        seconds, and ``CancelledError`` if this future was cancelled.
        """
        error = self.exception(timeout)
        if error is not None:
            try:
                raise error
            finally:
                del self, error  # the traceback refers to this frame
        return self._answer  # type: ignore[return-value]

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return the exception, or None if there is none. Raises the same errors as ``result``."""
        if not self.done():
            if not self._gate.acquire(timeout=-1 if timeout is None else max(0.0, timeout)):
                raise TimeoutError
            self._gate.release()  # this is for the other waiters
        if self.cancelled():
            raise CancelledError
        return self._error

    def add_done_callback(self, fn: Callable[[Future[R]], object]) -> None:
        """Call *fn* with this future when it completes, in the thread that completes it. If it is
        already complete, call *fn* now.
        """
        self._callbacks.append(fn)
        if self.done():
            self._call_back()

    def wait(self, timeout: float) -> bool:
        """Wait until this future completes. Return False if that takes more than *timeout*
        seconds.
        """
        if not self._gate.acquire(timeout=timeout):
            return False
        self._gate.release()  # this is for the other waiters
        return True

    def wake_on(self, loop: asyncio.AbstractEventLoop, waiter: asyncio.Future[None]) -> None:
        """Complete *waiter* on *loop* when this future completes. Check ``done`` after calling
        it.
        """
        self._sleepers.append((loop, waiter))
