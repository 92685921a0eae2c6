"""When an OPA server is not asked at all: after failures in a row, until one question in a while gets through again."""

from __future__ import annotations

import threading

__all__ = ["CircuitBreaker"]


class CircuitBreaker:
    """Closed: ask. Open: deny at once. Half open: one question finds out. Thread-safe, without a clock of its own."""

    def __init__(self, *, failures: int, reset: float) -> None:
        """It opens after *failures* in a row, and lets one question through every *reset* seconds from then on."""
        self._limit = failures
        self._reset = reset
        self._lock = threading.Lock()
        self._failures = 0
        self._retry_at: float | None = None

    def admit(self, now: float) -> bool:
        """Whether to ask now. Where it is open, a True makes the caller the one that finds out."""
        if self._retry_at is None:
            return True
        with self._lock:
            if self._retry_at is None:
                return True
            if now < self._retry_at:
                return False
            # The next one may try when this one has had its time, whatever became of it.
            self._retry_at = now + self._reset
            return True

    def succeeded(self) -> None:
        """A question was answered: the server is there."""
        if self._failures or self._retry_at is not None:
            with self._lock:
                self._failures, self._retry_at = 0, None

    def failed(self, now: float) -> None:
        """The server could not be reached."""
        with self._lock:
            self._failures += 1
            if self._failures >= self._limit:
                self._retry_at = now + self._reset

    def trip(self, now: float) -> None:
        """Open it: someone who would know says that the server does not answer."""
        with self._lock:
            self._failures = self._limit
            self._retry_at = now + self._reset
