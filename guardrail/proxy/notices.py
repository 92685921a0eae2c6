"""Lines for the operator of a proxy, rate-limited so that clients can't flood the terminal."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable

from guardrail.core.words import counted

__all__ = ["Notices"]

_OFTEN_S = 60.0
"""Minimum number of seconds between two lines of the same kind."""


class Notices:
    """Passes on at most one line of each kind per minute. Thread-safe.

    Kinds must come from a fixed set, because they are stored.
    """

    def __init__(
        self, write: Callable[[str], None], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """*write* is called with each line."""
        self._write = write
        self._clock = clock
        self._lock = threading.Lock()
        self._last: dict[str, float] = {}
        self._left_out: dict[str, int] = {}

    def tell(self, kind: str, line: str) -> None:
        """Write *line*, with the number of lines of this kind that have been dropped since the last
        one was written, or drop it.
        """
        now = self._clock()
        with self._lock:
            last = self._last.get(kind)
            if last is not None and now - last < _OFTEN_S:
                self._left_out[kind] = self._left_out.get(kind, 0) + 1
                return
            self._last[kind] = now
            left_out = self._left_out.pop(kind, 0)
        more = f" ({counted(left_out, 'time')} more since the last such line)" if left_out else ""
        with contextlib.suppress(OSError):  # requests are served even if the line can't be written
            self._write(f"{line}{more}")
