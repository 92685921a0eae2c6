"""Futures that are completed in batches, with one wake-up per event loop and no condition variable
for threads.
"""

from __future__ import annotations

import contextlib
import threading
from concurrent.futures import Future, _base
from typing import TYPE_CHECKING, Self, TypeVar

if TYPE_CHECKING:
    import asyncio

__all__ = ["BatchedFuture", "WakeUpBatch"]

R = TypeVar("R")

_OPEN = frozenset({_base.PENDING, _base.RUNNING})
"""States of a future that is neither completed nor cancelled."""


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
            # A closed loop has no waiters any more.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(_wake, waiters)


def _wake(waiters: list[asyncio.Future[None]]) -> None:
    for waiter in waiters:
        if not waiter.done():  # otherwise it was cancelled, or timed out
            waiter.set_result(None)


class BatchedFuture(Future[R]):
    """A future that wakes its waiters cheaply. Set ``handover`` before completing it in a batch."""

    def __init__(self) -> None:
        super().__init__()
        self.handover: WakeUpBatch | None = None
        """Wakes the event loops, or None if this future does so itself."""
        self._sleepers: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []
        self._gate = threading.Lock()
        self._gate.acquire()
        self.add_done_callback(_ended)  # runs once, however the future ends

    def done(self) -> bool:
        """Return True if this future is completed or cancelled.

        No lock is used, because a Ctrl-C could leave it locked, and the thread that completes this
        future would wait for it forever.
        """
        return self._state not in _OPEN

    def result(self, timeout: float | None = None) -> R:
        """Return the result like any future, but with one wake-up instead of three."""
        if not self.done():
            if not self._gate.acquire(timeout=-1 if timeout is None else max(0.0, timeout)):
                raise TimeoutError
            self._gate.release()  # this is for the other waiters
        return super().result(0)

    def wake_on(self, loop: asyncio.AbstractEventLoop, waiter: asyncio.Future[None]) -> None:
        """Return the result, as any future does, but with one wake-up instead of three."""
        self._sleepers.append((loop, waiter))


def _ended(future: Future[R]) -> None:
    assert isinstance(future, BatchedFuture)
    future._gate.release()
    # A waiter that is added after this point finds the future done, because ``done`` is checked
    # after adding and was set before this point.
    if future._sleepers:
        handover = future.handover or WakeUpBatch()
        for loop, waiter in future._sleepers:
            handover.add(loop, waiter)
        if future.handover is None:
            handover.wake()
