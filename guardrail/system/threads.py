"""Threads and events that Ctrl-C leaves in a known state, whenever it arrives."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Any

__all__ = ["BackgroundThread", "OnceEvent"]

_FATE, _RUNS, _NEVER = "fate", "runs", "never"


class BackgroundThread(threading.Thread):
    """A daemon thread whose start Ctrl-C may interrupt at any point.

    Python's own ``start`` can then leave a thread that has not begun, but may begin later: ``join``
    raises ``RuntimeError`` for it, and whether it will run is unknown. Here, such a thread either
    runs or never will, and ``will_run`` returns which of the two applies.
    """

    def __init__(self, target: Callable[..., object], name: str, *args: Any) -> None:
        """Prepare a thread that calls *target* with *args*."""
        super().__init__(target=target, args=args, name=name, daemon=True)
        self._returned = False
        self._decided: dict[str, str] = {}

    def start(self) -> None:
        """Start the thread. Raises ``RuntimeError`` if the system can start no more threads."""
        super().start()
        self._returned = True

    def run(self) -> None:
        """Call the target, unless ``will_run`` or ``join`` has returned before this begins."""
        # setdefault is atomic: exactly one side decides.
        if self._decided.setdefault(_FATE, _RUNS) == _RUNS:
            super().run()

    @property
    def has_begun(self) -> bool:
        """True if the thread was started, and its start was not interrupted or has run anyway."""
        return self._returned or self._decided.get(_FATE) == _RUNS

    def will_run(self) -> bool:
        """Return True if the target has been called or certainly will be, and False if it never
        will be.

        Call this only if no other thread can be calling ``start``.
        """
        return self._returned or self._decided.setdefault(_FATE, _NEVER) == _RUNS

    def join(self, timeout: float | None = None) -> None:
        """Wait until the thread has ended, at most *timeout* seconds. Returns immediately if the
        thread never runs, or if the thread itself calls this method.
        """
        if self is not threading.current_thread() and self.will_run():
            super().join(timeout)


class OnceEvent:
    """An event that is set once and never cleared.

    Setting it never blocks. If Ctrl-C interrupts ``threading.Event.wait`` just after the event's
    lock was taken, the lock stays taken, and the thread that sets the event hangs.
    """

    def __init__(self) -> None:
        self._set = False
        self._closed = threading.Lock()
        self._closed.acquire()

    def is_set(self) -> bool:
        """Return True if the event has been set."""
        return self._set

    def set(self) -> None:
        """Set the event, and wake every thread that waits. Idempotent."""
        self._set = True
        self._open()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait at most *timeout* seconds, or without a limit; return True if the event is set."""
        longest = -1 if timeout is None else max(0.0, timeout)
        if not self._set and self._closed.acquire(timeout=longest):
            self._open()  # for the next thread that waits
        return self._set

    def _open(self) -> None:
        with contextlib.suppress(RuntimeError):  # it is open
            self._closed.release()
