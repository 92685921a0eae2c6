"""What an ``admin.recovered`` record says of the records before it: which of them no signed head vouched for (docs/record-format.md section 9.5).

Pure. Recovery lets a log go on under a new head, and that head is good: so what it took over without knowing who had written it
stays a reservation for ever, unless a head that left the ledger before covers it.
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
    """How far the number of lost records that a recovery wrote can be believed."""

    NONE_KNOWN = "none_known"
    """All records were there that anybody had signed for."""
    AT_LEAST = "at_least"
    """So many were gone that a head, or the seal, had counted; of later ones nobody knows."""
    UNKNOWN = "unknown"
    """The file could not be read to its end, and nothing says how many records it had."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """One recovery in this log."""

    seq: int
    """Of the record that says so."""
    ts: str
    first: int
    last: int
    """Records ``first`` to ``last`` were taken over without a head that vouched for them; none where ``last`` is less."""
    lost: int
    """At least so many records from ``seq`` on had been acknowledged and were gone; of the log before it if ``restarted``."""
    restarted: bool = False
    """Whether the log was begun by the recovery: what came before it is in another one."""
    loss: Loss = Loss.NONE_KNOWN
    """What ``lost`` is worth."""
    proven: int = 0
    """Of a log that was begun again: so many records of the one before are what a head from elsewhere is over."""

    @classmethod
    def of(cls, seq: int, record: Mapping[str, Any]) -> Recovered:
        """Return what the ``admin.recovered`` record *seq* says; what it does not say well counts against every record before it."""
        detail = record.get("detail")
        said = detail if isinstance(detail, Mapping) else {}
        lost, proven = said.get("lost"), said.get("proven")
        restarted = said.get("action") == "restart" and seq == 1
        count = lost if type(lost) is int and lost > 0 else 0
        first, last = (0, -1) if restarted else _range(seq, said)
        return cls(
            seq,
            str(record.get("ts", "")),
            first,
            last,
            count,
            restarted,
            Loss.AT_LEAST if count else _loss(said, restarted=restarted),
            proven if restarted and type(proven) is int and proven > 0 else 0,
        )

    def beyond(self, sizes: Iterable[int]) -> Recovered | None:
        """Return what heads of these *sizes*, all of this log, leave of it; None if nothing is
        left.

        Only heads from before the recovery count: later ones are over what it took over.
        """
        covered = max((size for size in sizes if size <= self.seq), default=0)
        left = replace(self, first=max(self.first, covered))
        return left if left.first <= left.last or left.lossy else None

    @property
    def lossy(self) -> bool:
        """Whether records were lost, or it is a new log and nobody knows: no head brings them back."""
        return self.lost > 0 or (self.restarted and self.loss is Loss.UNKNOWN)

    @property
    def loss_text(self) -> str:
        """How many records were lost, as the subject and verb of a sentence, such as ``at least 3 records were lost``."""
        if self.lost:
            return f"at least {counted(self.lost, 'record')} {agree(self.lost, 'was')} lost"
        if self.loss is Loss.UNKNOWN:
            return "how many records were lost is unknown"
        return "no record is known to be lost"

    def within(self, begin: int, end: int) -> Recovered | None:
        """Return what of it is about records *begin* to *end* - 1; None if nothing is.

        What was lost stood from ``seq`` on.
        """
        first, last = max(self.first, begin), min(self.last, end - 1)
        left = replace(self, first=first, last=last)
        if not begin <= self.seq < end:
            left = replace(left, lost=0, loss=Loss.NONE_KNOWN)
        return left if first <= last or left.lossy else None


def _loss(said: Mapping[str, Any], *, restarted: bool) -> Loss:
    """Return what is said of a loss of 0. A new log that does not say it well, or not at all, may have lost records."""
    if said.get("loss") == Loss.NONE_KNOWN:
        return Loss.NONE_KNOWN
    return Loss.UNKNOWN if restarted or said.get("loss") == Loss.UNKNOWN else Loss.NONE_KNOWN


def _range(seq: int, detail: Mapping[str, Any]) -> tuple[int, int]:
    if "doubt" not in detail:
        # Written before records said which: where the head was right there was no doubt.
        return (0, seq - 1) if detail.get("head") is not None else (0, -1)
    doubt = detail["doubt"]
    if doubt is None:
        return 0, -1
    first = doubt.get("first") if isinstance(doubt, Mapping) else None
    last = doubt.get("last") if isinstance(doubt, Mapping) else None
    if type(first) is int and type(last) is int and 0 <= first <= last < seq:
        return first, last
    return 0, seq - 1
