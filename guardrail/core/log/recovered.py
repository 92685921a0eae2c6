"""The content of an ``admin.recovered`` record, which lists the earlier records that no signed head
covered (docs/record-format.md section 9.5).

Pure. After a recovery, a log continues under a new, valid head. Records of unknown origin that the
recovery took over are therefore marked permanently, unless a head that left the ledger earlier
covers them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from guardrail.core.words import agree, counted

__all__ = ["TYPE", "Loss", "Recovered"]

TYPE = "admin.recovered"


class Loss(StrEnum):
    """The certainty of the number of lost records that a recovery reports."""

    NONE_KNOWN = "none_known"
    """No record that a head had covered was missing."""
    AT_LEAST = "at_least"
    """At least this many records are missing, because a head or the seal counted them. Later
    records may be missing too.
    """
    UNKNOWN = "unknown"
    """The file could not be read to its end, and its number of records is unknown."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """One recovery in this log."""

    seq: int
    """Number of its ``admin.recovered`` record."""
    ts: str
    first: int
    last: int
    """Records ``first`` to ``last`` were taken over without a head that covers them. If ``last`` is
    less than ``first``, no record was taken over.
    """
    lost: int
    """Minimum number of acknowledged records that were missing: from ``seq`` on or, if
    ``restarted``, from the previous log.
    """
    restarted: bool = False
    """True if the recovery began this log, so the earlier records are in a different log."""
    loss: Loss = Loss.NONE_KNOWN
    """Certainty of ``lost``."""
    proven: int = 0
    """For a restarted log, the number of records of the previous log that an external head
    covers.
    """

    @classmethod
    def of(cls, seq: int, record: Mapping[str, Any]) -> Recovered:
        """Parse the ``admin.recovered`` record *seq*. A malformed record is treated as a
        recovery that took over all earlier records, none of them covered by a head.
        """
        detail = record.get("detail")
        fields = detail if isinstance(detail, Mapping) else {}
        lost, proven = fields.get("lost"), fields.get("proven")
        restarted = fields.get("action") == "restart" and seq == 1
        count = lost if type(lost) is int and lost > 0 else 0
        first, last = (0, -1) if restarted else _range(seq, fields)
        return cls(
            seq,
            str(record.get("ts", "")),
            first,
            last,
            count,
            restarted,
            Loss.AT_LEAST if count else _loss(fields, restarted=restarted),
            proven if restarted and type(proven) is int and proven > 0 else 0,
        )

    def beyond(self, sizes: Iterable[int]) -> Recovered | None:
        """Return the part of this recovery that is not covered by heads of these *sizes*, all from
        this log, or None if they cover everything.

        Only heads from before the recovery count, because later ones also cover the records that
        the recovery took over.
        """
        covered = max((size for size in sizes if size <= self.seq), default=0)
        left = replace(self, first=max(self.first, covered))
        return left if left.first <= left.last or left.lossy else None

    @property
    def lossy(self) -> bool:
        """True if records were lost, or might have been lost before a new log began. No head can
        restore them.
        """
        return self.lost > 0 or (self.restarted and self.loss is Loss.UNKNOWN)

    @property
    def loss_text(self) -> str:
        """Return the loss as a clause, for example ``at least 3 records were lost``."""
        if self.lost:
            return f"at least {counted(self.lost, 'record')} {agree(self.lost, 'was')} lost"
        if self.loss is Loss.UNKNOWN:
            return "the number of lost records is unknown"
        return "no record is known to be lost"

    def within(self, begin: int, end: int) -> Recovered | None:
        """Return this recovery limited to the records *begin* to *end* - 1, or None if it concerns
        none of them.

        The lost records were numbered from ``seq`` onwards.
        """
        first, last = max(self.first, begin), min(self.last, end - 1)
        left = replace(self, first=first, last=last)
        if not begin <= self.seq < end:
            left = replace(left, lost=0, loss=Loss.NONE_KNOWN)
        return left if first <= last or left.lossy else None


def _loss(said: Mapping[str, Any], *, restarted: bool) -> Loss:
    """Return the certainty of a recorded loss of 0 records.

    A new log may have lost records if the number in its recovery record is missing or malformed.
    """
    if said.get("loss") == Loss.NONE_KNOWN:
        return Loss.NONE_KNOWN
    return Loss.UNKNOWN if restarted or said.get("loss") == Loss.UNKNOWN else Loss.NONE_KNOWN


def _range(seq: int, detail: Mapping[str, Any]) -> tuple[int, int]:
    if "doubt" not in detail:
        # The record was written before this field existed. If the head was valid, nothing was in
        # doubt.
        return (0, seq - 1) if detail.get("head") is not None else (0, -1)
    doubt = detail["doubt"]
    if doubt is None:
        return 0, -1
    first = doubt.get("first") if isinstance(doubt, Mapping) else None
    last = doubt.get("last") if isinstance(doubt, Mapping) else None
    if type(first) is int and type(last) is int and 0 <= first <= last < seq:
        return first, last
    return 0, seq - 1
