"""Find the value in a ledger that is longer than anything guardrail writes, after reading failed
without naming it.
"""

from __future__ import annotations

from guardrail.core.log.chain import Difference
from guardrail.core.log.record import MAX_LINE
from guardrail.errors import LedgerError
from guardrail.ledger.reader import LedgerReader
from guardrail.ledger.sqlite.limits import MAX_VALUE
from guardrail.review.verify.tables import Problem

__all__ = ["OVERSIZED", "find_oversized"]

OVERSIZED = "ledger.oversized"
_TABLES = (
    ("head", ("note", "edge", "leaf", "mac")),
    ("open_call", ("call", "process", "host")),
    ("epoch", ("public", "process", "host")),
    ("tile", ("hashes",)),
)


def find_oversized(reader: LedgerReader) -> Problem:
    """Return the first record whose line is too long, or else the table that holds such a value;
    None if there is neither.

    No such value is loaded. Raises ``LedgerError`` for anything else that keeps the ledger from
    being read.
    """
    for seq, _, line in reader.lines():
        if len(line) > MAX_LINE:
            return (seq, Difference.LINE, "the line is longer than any record may be")
    for table, columns in _TABLES:
        for column in columns:
            if _is_oversized(reader, table, column):
                return (
                    None,
                    Difference.ROWS,
                    (
                        f"table {table} holds a value that is longer than anything that guardrail"
                        " writes"
                    ),
                )
    return None


def _is_oversized(reader: LedgerReader, table: str, column: str) -> bool:
    try:
        ((most,),) = reader.query(f"SELECT max(length({column})) FROM {table}")  # noqa: S608 - constants
    except LedgerError as error:
        if error.code != OVERSIZED:
            raise
        return True  # to count the characters of a text, SQLite would have to load it
    return isinstance(most, int) and most > MAX_VALUE
