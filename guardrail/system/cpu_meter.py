"""Limits the processor time for redacting one call, and lets other threads run in between.

All redaction work of a call shares one ``Meter``. The work may move from thread to thread, so it is
done in sections, each in one thread. Redaction outside a call uses a new meter each time.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import os
import threading
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import TypeVar

from guardrail.errors import RedactionError
from guardrail.system.waiting import LARGE, Steps, Work

__all__ = ["OVER_BUDGET", "SECONDS", "Meter", "current"]

R = TypeVar("R")

OVER_BUDGET = "redaction.budget"
"""Error code, also recorded, for a call that has used up its time."""
SECONDS = 0.3
"""Processor time, in seconds, that one call may use. A view of 640 kB of ordinary text takes about
a sixth of this time, and an object of 4,000 members takes half of it.
"""
FREE = 0.010
"""Processor time, in seconds, after which a call lets other threads run. Ordinary calls use
less.
"""

_STEP = 512
TURN = 0.001
_GIVE = 2.0
_BRIEF = 0.000_1

_ACTIVE: ContextVar[Meter | None] = ContextVar("guardrail_meter", default=None)


class Meter:
    """Counts the work of one call, pauses it for other threads, and stops it when its time is used
    up.

    If the work is stopped, the record is minimal: a decision record denies the call, and an outcome
    record keeps only the status and time.

    In a program with a large heap, a full garbage collection takes longer than a call may use, and
    runs in the thread that happens to allocate memory. If one ran during the work, the time starts
    anew, but only once: text that causes many collections gets at most twice the time.
    """

    __slots__ = ("_collections", "_given", "_owed", "_restarted", "_since", "_units", "_used")

    def __init__(self) -> None:
        self._units = 0
        self._used = 0.0
        self._since: float | None = None
        self._given = FREE
        self._owed = 0.0
        self._collections = _full_collections()
        self._restarted = False

    def __call__(self, units: int) -> None:
        """Count *units* of work, which are roughly characters.

        Raises ``RedactionError`` if the time is used up.
        """
        self._units += units
        if self._units >= _STEP:
            self._units = 0
            self._check_usage()

    def section(self, work: Callable[[], R]) -> R:
        """Run *work* and return its result.

        This meter counts the thread's processor time only during *work*.
        """
        before = _ACTIVE.get()
        self._since = time.thread_time()
        try:
            _ACTIVE.set(self)  # inside the try block: a Ctrl-C must not leave it set
            return work()
        finally:
            _ACTIVE.set(before)
            self._used += time.thread_time() - self._since
            self._since = None

    def run(self, work: Callable[[], R], size: int) -> Steps[R]:
        """Run *work* as a section, off the event loop if it is large. *size* is the length of its
        input in characters.
        """
        if size <= LARGE:
            return self.section(work)
        done: R = yield Work(functools.partial(self.section, work), size)
        return done

    def _check_usage(self) -> None:
        now = time.thread_time()
        if self._since is None:
            self._since = now  # the time for one view starts with its first work
        used = self._used + now - self._since
        if used > SECONDS:
            if self._restart(now):
                return
            raise RedactionError(
                "redacting this takes too long; pass less text, or less text that looks sensitive",
                code=OVER_BUDGET,
            )
        if used - self._given >= TURN:
            # On a busy machine a thread wakes up late, so later pauses are shortened by the excess.
            self._owed += _GIVE * (used - self._given)
            self._given = used
            if self._owed > 0:
                self._owed -= yield_processor(self._owed)

    def _restart(self, now: float) -> bool:
        """Return whether the time starts anew because a full garbage collection used part of it."""
        if self._restarted or _full_collections() == self._collections:
            return False
        self._restarted = True
        self._used, self._since, self._given = 0.0, now, FREE
        return True


def _full_collections() -> int:
    """Return how many full garbage collections have run in this process."""
    return int(gc.get_stats()[2]["collections"])


def current() -> Meter:
    """Return the meter of the call that is running in this section, or a new one."""
    return _ACTIVE.get() or Meter()


class _PauseQueue:
    """Queue of threads with large redactions. Only one thread pauses at a time, so all of them
    share one allowance.
    """

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        self.lock = threading.Lock()


_LINE = _PauseQueue()
os.register_at_fork(after_in_child=_LINE.renew)


def yield_processor(seconds: float) -> float:
    """Let other threads run for *seconds*. Return the time for which they could actually run.

    Without this, Python would switch threads only every 5 ms, and a call in a different session
    needs many switches.
    """
    if asyncio._get_running_loop() is not None:
        time.sleep(_BRIEF)  # otherwise the other tasks of this loop would wait as well
        return seconds
    began = time.perf_counter()
    with _LINE.lock:
        time.sleep(seconds)
    return time.perf_counter() - began
