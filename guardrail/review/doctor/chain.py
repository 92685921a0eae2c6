"""``doctor`` checks: each of the newest records follows from the previous one, missing records were
pruned, and the tables lead to these records.
"""

from __future__ import annotations

from guardrail.core.log.record import GENESIS_PREV, decode, leaf_hash
from guardrail.ledger.locators import LocatorWalk, missing_place
from guardrail.ledger.reader import LedgerReader

__all__ = ["bad_link", "misleading_table"]


def bad_link(reader: LedgerReader, start: int) -> int | None:
    """Return the first record from *start* that does not follow from the previous one, or None if
    all of them do.

    Records listed in an ``admin.pruned`` record of this log do not count as missing: the log
    continues at the record stated there.
    """
    with reader.snapshot():
        first = reader.first()
        gone = reader.pruned(first) if first > 1 else None
        zero = reader.record(0)
    if gone is not None and (zero is None or gone.genesis != leaf_hash(zero)):
        gone = None  # a record of another log
    previous, expected = GENESIS_PREV, 0
    if start > 0 and gone is not None and start <= gone.before:
        previous, expected = gone.leaf.hex(), gone.before
    elif start > 0:
        before = reader.record(start - 1)
        previous, expected = ("" if before is None else leaf_hash(before).hex()), start
    for seq, leaf, line in reader.lines(expected):
        if gone is not None and expected == 1 and seq == gone.before:
            previous, expected = gone.leaf.hex(), seq
        actual, record = leaf_hash(line), decode(line)
        if (
            seq != expected
            or leaf != actual
            or record.get("seq") != seq
            or record.get("prev") != previous
        ):
            return expected
        previous, expected = actual.hex(), expected + 1
    return None


def misleading_table(reader: LedgerReader, start: int) -> str:
    """Return a description of the first row that is missing or wrong in the tables of calls and
    places, or an empty string if there is none.

    Checks the rows of the records from *start*, and those of all records about the log itself. Rows
    that no record requires are found only if *start* is 0.
    """
    with reader.snapshot():
        first = reader.first()
        walk = LocatorWalk(reader.storage, partial=start)
        for seq, _, line in reader.lines(start):
            walk.take(seq, decode(line), first if first > 1 else 0)
        missed = walk.missed()
        hidden = missing_place(reader.storage, stop=start)
        if hidden is not None:
            missed.insert(0, (hidden, "place"))
        surplus = walk.surplus()
    if missed:
        return f"table {missed[0][1]} makes queries miss record {missed[0][0]}"
    return f"table {surplus} has a row that no record requires" if surplus else ""
