"""``doctor`` check: each of the newest records follows from the previous one, and missing records
were pruned.
"""

from __future__ import annotations

from guardrail.core.log.record import GENESIS_PREV, decode, leaf_hash
from guardrail.ledger.reader import LedgerReader

__all__ = ["bad_link"]


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
