"""Records the number of requests that a listener has refused, by reason."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from guardrail.core.times import record_time
from guardrail.errors import LedgerError

__all__ = ["RefusedRequests"]

_OFTEN_S = 60.0
"""Seconds from the first refused request to the record that counts it."""


class RefusedRequests:
    """Counts refused requests, and records the counts at most once a minute, so that nobody can
    fill the ledger by sending requests. Thread-safe.
    """

    def __init__(
        self, record: Callable[[str, Mapping[str, Any]], object], *, often_s: float = _OFTEN_S
    ) -> None:
        """*record* writes an ``admin.*`` record."""
        self._record = record
        self._often = often_s
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._since = ""
        self._timer: threading.Timer | None = None
        self._closed = False

    def note(self, code: str) -> None:
        """Count a request that was refused with *code*. Never blocks."""
        with self._lock:
            if not self._counts:
                self._since = record_time(datetime.now(UTC))
            self._counts[code] += 1
            if self._timer is None and not self._closed:
                timer = threading.Timer(self._often, self._write)
                timer.daemon = True
                timer.start()
                self._timer = timer  # set last: Ctrl-C can interrupt the start

    def close(self) -> None:
        """Record the requests that were counted since the last record. Idempotent."""
        with self._lock:
            self._closed = True
            timer = self._timer
        if timer is not None:
            timer.cancel()
        self._write()

    def _write(self) -> None:
        with self._lock:
            counts, self._counts, self._timer = dict(self._counts), Counter(), None
            since = self._since
        if counts:
            # If the ledger can't be written, requests are not served either.
            with contextlib.suppress(LedgerError):
                self._record("requests_refused", {"since": since, "reasons": counts})
