"""Records how many tokens were refused, by reason, issuer and address."""

from __future__ import annotations

import contextlib
import os
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from guardrail.core.times import record_time
from guardrail.errors import LedgerError

__all__ = ["RefusedTokens"]

OFTEN_S = 60.0
"""Seconds from the first refused token to the record that counts it."""
_MOST = 16
"""Number of addresses that one record names."""
_OTHERS = "others"


class RefusedTokens:
    """Counts refused tokens, and records the counts at most once a minute, so that nobody can fill
    the ledger with bad tokens. Thread-safe; starts from zero after a fork.
    """

    def __init__(
        self, record: Callable[[str, Mapping[str, Any]], object], *, often_s: float = OFTEN_S
    ) -> None:
        """*record* writes an ``admin.*`` record."""
        self._record = record
        self._often = often_s
        self._closed = False
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._reasons: Counter[str] = Counter()
        self._issuers: Counter[str] = Counter()
        self._addresses: Counter[str] = Counter()
        self._since = ""
        self._timer: threading.Timer | None = None

    def note(self, reason: str, issuer: str | None, address: str | None) -> None:
        """Count a token that was refused for *reason*. Never blocks.

        *issuer* is the configured issuer that the token names, which is not verified, or None.
        *address* is the client's address, or None if it is not known.
        """
        if self._pid != os.getpid():
            self._reset()
        with self._lock:
            if not self._reasons:
                self._since = record_time(datetime.now(UTC))
            self._reasons[reason] += 1
            if issuer is not None:
                self._issuers[issuer] += 1
            if address is not None:
                known = address in self._addresses or len(self._addresses) < _MOST
                self._addresses[address if known else _OTHERS] += 1
            if self._timer is None and not self._closed:
                timer = threading.Timer(self._often, self._write)
                timer.daemon = True
                timer.start()
                self._timer = timer  # set last: Ctrl-C can interrupt the start

    def close(self) -> None:
        """Record the tokens that were counted since the last record. Idempotent."""
        if self._pid != os.getpid():
            return
        with self._lock:
            self._closed = True
            timer = self._timer
        if timer is not None:
            timer.cancel()
        self._write()

    def _write(self) -> None:
        with self._lock:
            reasons, issuers, addresses = self._reasons, self._issuers, self._addresses
            self._reasons, self._issuers, self._addresses = Counter(), Counter(), Counter()
            self._timer = None
            since = self._since
        if not reasons:
            return
        detail = {
            "since": since,
            "count": reasons.total(),
            "reasons": dict(reasons),
            "issuers": dict(issuers),
            "addresses": dict(addresses),
        }
        # If the ledger can't be written, no call is admitted either.
        with contextlib.suppress(LedgerError):
            self._record("tokens_refused", detail)
