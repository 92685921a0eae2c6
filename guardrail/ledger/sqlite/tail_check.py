"""Checks the end of a log before new records are written."""

from __future__ import annotations

from guardrail.core.log import chain
from guardrail.ledger.storage import AppendingStorage

__all__ = ["verify_tail"]

_TAIL_RECORDS = 100
"""Number of records that are verified at open. ``guardrail verify`` verifies all of them."""


def verify_tail(store: AppendingStorage, log: str, known: tuple[int, bytes] | None) -> str:
    """Verify the records after *known* (seq, leaf), which must still exist. If *known* is None,
    verify the last records. Return the problem, or an empty string if there is none. Raises the
    same errors as *store*.
    """
    end = store.tail()
    if end.seq < 0:
        return "the log has no records"
    outside = store.row_fault() if known is None else ""
    if outside:
        return outside
    if known is None:
        start = max(0, end.seq - _TAIL_RECORDS)
        if start == 0 and (store.first() or 1) == 1:
            report = chain.verify(store.records_from(0))
            return report.detail or end.fault
        start = max(start, 1)
        leaf = store.leaf(start)
        if leaf is None:
            return f"record {start} is missing"
        known = (start, leaf)
    seq, leaf = known
    if store.leaf(seq) != leaf:
        return f"record {seq}, which was acknowledged, is missing or was replaced"
    first = store.first() or 1
    if seq + 1 < first and first == store.pruned():
        # A record proves that the records after it were pruned, so the remaining records are
        # verified.
        seq = first - 1
        kept = store.leaf(seq)
        if kept is None:
            return f"record {seq}, which was pruned, has no hash"
        leaf = kept
    report = chain.verify(store.records_from(seq + 1), after=chain.Head(log, seq + 1, leaf))
    return report.detail or end.fault
