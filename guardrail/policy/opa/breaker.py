"""A circuit breaker for an OPA server. It opens after consecutive failures, and then allows
occasional probes until one succeeds.
"""

from __future__ import annotations

import threading

__all__ = ["CircuitBreaker"]


class CircuitBreaker:
    """Decides whether queries may be sent to the server.

    Closed: all queries are sent. Open: all queries are refused at once. Half open: one query probes
    the server. Thread-safe. Callers pass the current time.
    """

    def __init__(self, *, failures: int, reset: float) -> None:
        """The breaker opens after *failures* consecutive failures, and then allows one query every
        *reset* seconds.
        """
        self._limit = failures
        self._reset = reset
        self._lock = threading.Lock()
        self._failures = 0
        self._retry_at: float | None = None

    def admit(self, now: float) -> bool:
        """Return True if the caller may send a query now.

        If the breaker is open and this returns True, the caller's query is the probe.
        """
        if self._retry_at is None:
            return True
        with self._lock:
            if self._retry_at is None:
                return True
            if now < self._retry_at:
                return False
            # The next probe is allowed after the same interval, whether or not this one succeeds.
            self._retry_at = now + self._reset
            return True

    def succeeded(self) -> None:
        """Record that a query was answered."""
        if self._failures or self._retry_at is not None:
            with self._lock:
                self._failures, self._retry_at = 0, None

    def failed(self, now: float) -> None:
        """Record that the server could not be reached."""
        with self._lock:
            self._failures += 1
            if self._failures >= self._limit:
                self._retry_at = now + self._reset

    def trip(self, now: float) -> None:
        """Open the breaker immediately, because a reliable check found that the server does not
        respond.
        """
        with self._lock:
            self._failures = self._limit
            self._retry_at = now + self._reset
