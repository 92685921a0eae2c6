"""Finds the value in a ledger that is longer than anything guardrail writes, after a read failed
without identifying it.
"""

from __future__ import annotations

from guardrail.core.log.chain import Difference
from guardrail.core.log.record import MAX_LINE
from guardrail.ledger.reader import LedgerReader
from guardrail.review.verify.tables import Problem

__all__ = ["OVERSIZED", "find_oversized"]

OVERSIZED = "ledger.oversized"


def find_oversized(reader: LedgerReader) -> Problem:
    """Return the first record whose line is too long. If there is none, return the table with a
    value that is too long, or None.

    The value is not loaded. Raises ``LedgerError`` if the ledger can't be read for a different
    reason.
    """
    for seq, _, line in reader.lines():
        if len(line) > MAX_LINE:
            return (seq, Difference.LINE, "the line is longer than any record may be")
    table = reader.storage.oversized_table()
    if table is None:
        return None
    return (
        None,
        Difference.ROWS,
        f"table {table} contains a value that is longer than any that guardrail writes",
    )
