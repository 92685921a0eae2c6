"""Find the value in a ledger that is longer than anything guardrail writes, after reading failed
without naming it.
"""

from __future__ import annotations

from guardrail.core.log.chain import Difference
from guardrail.core.log.record import MAX_LINE
from guardrail.ledger.reader import LedgerReader
from guardrail.review.verify.tables import Problem

__all__ = ["OVERSIZED", "find_oversized"]

OVERSIZED = "ledger.oversized"


def find_oversized(reader: LedgerReader) -> Problem:
    """Return the first record whose line is too long, or else the table that holds such a value;
    None if there is neither.

    No such value is loaded. Raises ``LedgerError`` for anything else that keeps the ledger from
    being read.
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
        f"table {table} holds a value that is longer than anything that guardrail writes",
    )
