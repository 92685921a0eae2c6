"""Reads the retention facts of a ledger (segments, copies, holds and prunings) from its ``admin.*``
records.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from guardrail.core.log.record import MALFORMED, decode, leaf_hash
from guardrail.errors import RecordError
from guardrail.ledger.steps import unproved
from guardrail.ledger.storage import LineRow

__all__ = [
    "ArchivedCopy",
    "FactCollector",
    "LegalHold",
    "Pruning",
    "RetentionFacts",
    "RetentionReader",
    "Segment",
    "moment",
    "read_facts",
    "refuse_closed",
]


class RetentionReader(Protocol):
    """The ledger reads that this module needs. ``guardrail.ledger.reader.LedgerReader`` implements
    them.
    """

    @property
    def log(self) -> str:
        """The log's origin name."""

    def record(self, seq: int) -> bytes | None:
        """Return the line of *seq*, or None."""

    def size(self) -> int:
        """Return the number of records: one more than the highest number."""

    def first(self) -> int:
        """Return the number of the first record after line 0, or 1 if there is none."""

    def admin(self, *types: str) -> list[LineRow]:
        """Return (seq, line) of each record of *types*, oldest first."""


@dataclass(frozen=True, slots=True)
class Segment:
    """Records ``first`` to ``last``, sealed together by an ``admin.sealed`` record."""

    number: int
    """Number of the segment, from 1."""
    first: int
    last: int
    root: str
    """Root of the tree of ``last`` + 1 records, hex."""
    leaf: str
    """Leaf hash of record ``last``, hex."""
    ts: str
    """Timestamp of the record that seals the segment. No record in it was written later."""


@dataclass(frozen=True, slots=True)
class ArchivedCopy:
    """A copy of a segment in the archive, as described in an ``admin.archived`` record."""

    segment: int
    file: str
    digest: str


@dataclass(frozen=True, slots=True)
class LegalHold:
    """An active legal hold. No record is pruned while a hold is active."""

    id: str
    reason: str
    who: str
    assurance: str
    """The degree to which the identity of *who* was established, or an empty string if unknown."""
    ts: str
    seq: int


@dataclass(frozen=True, slots=True)
class Pruning:
    """An ``admin.pruned`` record."""

    seq: int
    before: int
    ts: str
    """Time of the pruning."""
    last: str
    """Timestamp of the last deleted record."""
    floor_days: int | None
    """The value of ``floor_days`` in the settings at that time."""


@dataclass(frozen=True, slots=True)
class RetentionFacts:
    """The retention facts of one ledger at one moment."""

    log: str
    genesis: str
    """Leaf hash of line 0 in hex, or an empty string if there is none."""
    size: int
    first: int
    """Number of the first record after line 0; more than 1 if records were pruned."""
    oldest: str
    """Timestamp of that record, or an empty string if there is none."""
    newest: str
    """Timestamp of the last record."""
    segments: tuple[Segment, ...] = ()
    """Segments that still have records and whose sealing record exists, in order."""
    archived: tuple[ArchivedCopy, ...] = ()
    holds: tuple[LegalHold, ...] = ()
    prunings: tuple[Pruning, ...] = ()
    open_begin: str = ""
    """Timestamp of the first record that is not in a segment, or an empty string if every record is
    in one.
    """

    last_number: int = 0
    """Number of the segment that was sealed last, or 0 if no segment was sealed."""

    @property
    def first_open(self) -> int:
        """Number of the first record that is not in any segment."""
        return (
            self.segments[-1].last + 1 if self.segments else (0 if self.first == 1 else self.first)
        )


TYPES = ("admin.sealed", "admin.archived", "admin.pruned", "admin.hold")
"""Types of the records that contain these facts."""


class FactCollector:
    """Collects retention facts from records.

    Pass each record of the relevant types to ``take``, in order. Other types are ignored.
    """

    def __init__(self) -> None:
        self._segments: dict[int, Segment] = {}
        self._copies: dict[tuple[int, str], ArchivedCopy] = {}
        self._holds: dict[str, LegalHold] = {}
        self._prunings: list[Pruning] = []

    def take(self, seq: int, record: Mapping[str, Any]) -> None:
        """Process record *seq*. A malformed record is ignored, because ``verify`` reports it."""
        type_, detail = record.get("type"), record.get("detail")
        if type_ not in TYPES or not isinstance(detail, Mapping):
            return
        ts = str(record.get("ts", ""))
        try:
            match type_:
                case "admin.sealed":
                    found = _segment(detail, ts)
                    self._segments[found.number] = found
                case "admin.archived":
                    copy = ArchivedCopy(
                        int(detail["segment"]), str(detail["file"]), str(detail["digest"])
                    )
                    self._copies[copy.segment, copy.file] = copy
                case "admin.pruned":
                    self._prunings.append(_pruning(seq, detail, ts))
                case _:
                    _apply_hold(self._holds, seq, record, detail, ts)
        except MALFORMED:
            return

    @property
    def segments(self) -> list[Segment]:
        """Every segment whose sealing record was taken, in order, even if the segment's records are
        pruned.
        """
        return [each for _, each in sorted(self._segments.items())]

    def facts(self, records: RetentionReader) -> RetentionFacts:
        """Return the collected facts, with the start and the end of the log.

        Raises ``LedgerError``.
        """
        size, first, oldest, newest, genesis = _extent(records)
        kept = tuple(each for _, each in sorted(self._segments.items()) if each.last >= first)
        begin = kept[-1].last + 1 if kept else first
        return RetentionFacts(
            log=records.log,
            genesis=genesis,
            size=size,
            first=first,
            oldest=oldest,
            newest=newest,
            segments=kept,
            archived=tuple(self._copies.values()),
            holds=tuple(self._holds.values()),
            prunings=tuple(self._prunings),
            last_number=max(self._segments, default=0),
            open_begin=_time_stamp(records.record(begin)) if begin < size else "",
        )


def read_facts(records: RetentionReader) -> RetentionFacts:
    """Return the facts in *records*. The records are found through an index, which is not
    authenticated.

    Raises ``LedgerError``.
    """
    gathered = FactCollector()
    for seq, line in records.admin(*TYPES):
        gathered.take(seq, _decoded(line))
    return gathered.facts(records)


def refuse_closed(line: bytes, first: int) -> None:
    """Raise ``LedgerError`` if *line* seals a segment that begins with record *first*. According to
    the index, that record is not in a segment, so the index hides the seal.
    """
    if b'"admin.sealed"' not in line:
        return
    record = _decoded(line)
    detail = record.get("detail")
    last = detail.get("last") if isinstance(detail, Mapping) else None
    if record.get("type") == "admin.sealed" and isinstance(last, int) and last >= first:
        raise unproved(
            f"an index omits the record that closes the segment beginning with record {first}"
        )


def moment(ts: str) -> datetime | None:
    """Return a record's timestamp as a time, or None if it is not a valid time."""
    try:
        found = datetime.fromisoformat(ts)
    except ValueError:
        return None
    return found if found.tzinfo is not None else None


def _extent(records: RetentionReader) -> tuple[int, int, str, str, str]:
    size, first, zero = records.size(), records.first(), records.record(0)
    oldest, newest = _time_stamp(records.record(first)), _time_stamp(records.record(size - 1))
    return size, first, oldest, newest, leaf_hash(zero).hex() if zero is not None else ""


def _decoded(line: bytes | None) -> Mapping[str, Any]:
    try:
        return decode(line) if line is not None else {}
    except RecordError:
        return {}


def _time_stamp(line: bytes | None) -> str:
    return str(_decoded(line).get("ts", ""))


def _segment(detail: Mapping[str, Any], ts: str) -> Segment:
    return Segment(
        int(detail["segment"]),
        int(detail["first"]),
        int(detail["last"]),
        str(detail["root"]),
        str(detail["leaf"]),
        ts,
    )


def _pruning(seq: int, detail: Mapping[str, Any], ts: str) -> Pruning:
    policy = detail.get("policy")
    floor = policy.get("floor_days") if isinstance(policy, Mapping) else None
    return Pruning(
        seq, int(detail["before"]), ts, str(detail["ts"]), floor if isinstance(floor, int) else None
    )


def _apply_hold(
    holds: dict[str, LegalHold],
    seq: int,
    record: Mapping[str, Any],
    detail: Mapping[str, Any],
    ts: str,
) -> None:
    name = str(detail["hold"])
    if detail["action"] == "release":
        holds.pop(name, None)
        return
    actor = record.get("actor")
    who, assurance = "", ""
    if isinstance(actor, Mapping):
        who, assurance = str(actor.get("id", "")), str(actor.get("assurance", ""))
    hold = LegalHold(name, str(detail.get("reason", "")), who, assurance, ts, seq)
    holds.setdefault(name, hold)
