"""Limits the size of one ledger. At the limit, the records that start a call are refused, and all
other records are still written: the outcomes of admitted calls, administrative records, and counts
of the denied calls.

The size is the number of bytes of the database that are in use. It is read in the transaction that
would append the records, in which no other process can write, so all processes share one limit
exactly.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from guardrail.core.log.record import Draft
from guardrail.errors import LedgerError
from guardrail.ledger.reader import LedgerReader
from guardrail.ledger.storage import AppendingStorage

__all__ = ["SIZE_LIMIT", "SMALL_CALL", "SizeLimit", "bytes_used"]

SIZE_LIMIT = "ledger.size_limit"
"""Error code for the record of a new call that was not written because of the limit."""
_LIMITED = frozenset({"call.decision", "call.rejected"})
_RECENT = 1.0
"""Seconds after a refusal in which calls are denied without another attempt to write."""
_FACTOR, _EXTRA = 2, 4096
"""A record takes at most this many times its length, plus so many bytes, with its entries in
indexes.
"""
_SLACK = 1 << 16
"""Bytes that a commit may take besides, for example for several indexes whose pages are split."""
SMALL_CALL = _SLACK + 3 * _EXTRA
"""Room, in bytes, without which even the record of a small call is refused."""


def bytes_used(db: Path) -> int:
    """Return the number of bytes of the ledger at *db* that are in use. Raises ``LedgerError``."""
    with LedgerReader.open(db, rows=False) as reader:
        return reader.storage.used_bytes()


class SizeLimit:
    """The size limit of a log. The commit thread uses it, and any thread may read ``reached``."""

    def __init__(self, limit: int) -> None:
        """*limit* is in bytes; 0 means no limit."""
        self._limit = limit
        self._refused = float("-inf")
        """Time of the last refusal (``time.monotonic()``)."""

    @property
    def reached(self) -> bool:
        """True if a call was refused because of the limit less than a second ago."""
        return time.monotonic() - self._refused < _RECENT

    def refused_drafts(
        self, store: AppendingStorage, drafts: Sequence[Draft]
    ) -> dict[int, LedgerError]:
        """Return an error for each of *drafts* that starts a call and does not fit within the
        limit, keyed by its position. Call it in the transaction. Raises errors of *store*.
        """
        if not self._limit or all(draft.type not in _LIMITED for draft in drafts):
            return {}
        room = self._limit - store.used_bytes() - _SLACK
        refused = {}
        for place, draft in enumerate(drafts):
            size = _FACTOR * sum(map(len, draft.segments)) + _EXTRA
            if draft.type in _LIMITED and size > room:
                refused[place] = LedgerError(
                    "the ledger has reached its size limit ([limits] ledger_mb)",
                    code=SIZE_LIMIT,
                    hint="guardrail retention status; or raise ledger_mb",
                )
            else:
                room -= size
        self._refused = time.monotonic() if refused else float("-inf")
        return refused
