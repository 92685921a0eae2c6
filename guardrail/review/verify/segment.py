"""Verifies the lines in the copy of a segment, and compares them with the record that closed the
segment and with external heads.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeGuard

from guardrail.core.log.audit import Audit
from guardrail.core.log.chain import Difference, Head
from guardrail.core.log.merkle import Edge
from guardrail.core.log.record import MAX_LINE, parse
from guardrail.core.log.recovered import Recovered
from guardrail.core.words import numbers
from guardrail.errors import RecordError
from guardrail.keys.log_key import verify_signature
from guardrail.ledger.reader import LedgerReader
from guardrail.retention.facts import FactCollector, Segment
from guardrail.review.lines import open_lines
from guardrail.review.terminal import clock
from guardrail.review.verify.export import take_lines
from guardrail.review.verify.judge import VerifyFindings, judge
from guardrail.review.verify.report import OutsideHead, Progress, VerifyReport, VerifyState
from guardrail.review.verify.stream import recovered_before
from guardrail.review.verify.uses import Uses
from guardrail.system.input_files import read_input
from guardrail.system.ownership import explain_error

__all__ = ["SegmentRecords", "read_segment_records", "verify_segment"]

_HASH = re.compile(r"[0-9a-f]{64}")
_MAX_BESIDE = 1 << 16
_NOT_SEALED = (
    "NOT COMPARED WITH ITS LOG: no ledger with the record that closed this segment was "
    "available, and no external head covers these records. The tree before them was read from "
    "the manifest next to the copy."
)
_NOTHING_BESIDE = (
    "the manifest next to the copy (NAME.json) is missing, or does not match the first record"
)
_LEDGER_UNREAD = (
    "The record that closed the segment was read from the ledger, which this run did not "
    "verify: use guardrail verify for that."
)


@dataclass(frozen=True, slots=True)
class SegmentRecords:
    """A ledger's records about its segments. Reading them does not verify the ledger itself."""

    log: str
    public: str
    """The log's public key, as named in line 0."""
    segments: tuple[Segment, ...]
    recovered: tuple[Recovered, ...] = ()
    """Every recovery recorded in the ledger."""
    first: int = 1
    """Number of the first existing record after line 0."""
    size: int = 0

    def follows(self, last: int) -> bool:
        """Return True if every record after *last* exists, and therefore also each recovery that
        took over record *last*.
        """
        return self.first <= last + 1 < self.size


def read_segment_records(reader: LedgerReader) -> SegmentRecords:
    """Return the records about segments in *reader*'s ledger, including those of pruned segments.
    Raises ``LedgerError``.
    """
    found = []
    for seq, line in reader.admin("admin.sealed"):
        gathered = FactCollector()
        gathered.take(seq, _parsed(line) or {})
        found += gathered.segments
    key = reader.genesis.get("key")
    public = key.get("public") if isinstance(key, dict) else None
    size = reader.size()
    return SegmentRecords(
        reader.log,
        str(public or ""),
        tuple(found),
        tuple(recovered_before(reader, size)),
        reader.first(),
        size,
    )


def verify_segment(
    path: Path,
    *,
    key: str | None = None,
    heads: Sequence[OutsideHead] = (),
    segment_records: SegmentRecords | None = None,
    progress: Progress | None = None,
) -> VerifyReport:
    """Verify the copy at *path*. Findings never raise an exception: each becomes a state.

    Every record must follow from the one before it. Each of *heads* that ends within the copy must
    have the root computed at that point, and so must the record that closed the segment, if
    *segment_records* contains it. The tree before the first record comes from the manifest next to
    the copy (``NAME.json``). If the manifest is wrong, the computed roots differ.
    """
    lost = 1 if any(each.covers for each in heads) else 3
    try:
        with open_lines(path) as source:
            first = _parsed(source.readline(MAX_LINE + 2)[:-1])
            watch = [each.head.size for each in heads if each.head is not None]
            audit, begin = Audit(verify_signature, watch=watch), 0
            if first is not None and first.get("seq") != 0:
                before = _tree_before(path, first)
                if before is None:
                    return VerifyReport(VerifyState.UNREADABLE, 3, _NOTHING_BESIDE)
                after, edge = before
                begin = after.size
                audit = Audit(verify_signature, after=after, edge=edge, watch=watch)
                public = key or (segment_records.public if segment_records is not None else "")
                if _HASH.fullmatch(public):
                    audit.begin(after.log, public)
            uses = Uses(missing=begin)
            torn = take_lines(source, audit, uses, progress, path.stat().st_size)
    except FileNotFoundError:
        return VerifyReport(VerifyState.MISSING, lost, "this file does not exist")
    except OSError as error:
        why = ": ".join(filter(None, explain_error(error, path)))
        return VerifyReport(VerifyState.UNREADABLE, 3, f"the file can't be read: {why}")
    except (EOFError, zlib.error):
        torn = "the file is truncated: it can't be decompressed"
        return VerifyReport(VerifyState.DAMAGED, lost, torn)
    if torn:
        return VerifyReport(VerifyState.DAMAGED, lost, torn)
    found = VerifyFindings(
        audit=audit,
        report=audit.chain.report(),
        root_of=audit.roots.get,
        time_of=lambda _: "",
        leaf_of=lambda _: "",
        uses=uses,
        begin=begin,
        is_part=True,
        is_file=True,
        later=_later_recoveries(segment_records, audit),
        follows=_is_same_log(segment_records, audit)
        and segment_records.follows(audit.chain.next_seq - 1),
        notices=_pruned_after(segment_records, audit),
    )
    reachable = [each for each in heads if not _is_beyond_copy(each, audit)]
    return _compare_with_closing(judge(found, key, reachable), segment_records, first=begin)


def _later_recoveries(
    segment_records: SegmentRecords | None, audit: Audit
) -> tuple[Recovered, ...]:
    """Return the recoveries after the end of the copy that the ledger records."""
    if not _is_same_log(segment_records, audit):
        return ()
    return tuple(each for each in segment_records.recovered if each.seq >= audit.chain.next_seq)


def _pruned_after(segment_records: SegmentRecords | None, audit: Audit) -> tuple[str, ...]:
    """Return a tuple with one notice if records after the copy were pruned, because the record of a
    recovery may have been among them. Otherwise, return an empty tuple.
    """
    begin = audit.chain.next_seq
    if not _is_same_log(segment_records, audit) or segment_records.first <= begin:
        return ()
    pruned = numbers(begin, segment_records.first - 1)
    notice = (
        f"{pruned} of the log, which follow this segment, were pruned. If a recovery is recorded "
        "there, guardrail verify --segment FILE names it, with FILE a copy of these records."
    )
    return (notice,)


def _is_same_log(segment_records: SegmentRecords | None, audit: Audit) -> TypeGuard[SegmentRecords]:
    return segment_records is not None and segment_records.log == audit.chain.report().log


def _is_beyond_copy(head: OutsideHead, audit: Audit) -> bool:
    """Return True if a head covers more records than the copy contains. For a segment, this is not
    a fault.
    """
    return head.head is not None and head.head.size > audit.chain.next_seq


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        return parse(line)
    except RecordError:
        return None


def _tree_before(path: Path, first: dict[str, Any]) -> tuple[Head, Edge] | None:
    """Return the tree before the copy's first record, from its manifest, or None if no manifest
    matches.
    """
    name = path.name.removesuffix(".gz").removesuffix(".jsonl")
    seq, log, prev = first.get("seq"), first.get("log"), first.get("prev")
    try:
        manifest = json.loads(read_input(path.with_name(f"{name}.json"), _MAX_BESIDE))
        roots = [bytes.fromhex(each) for each in manifest["edge"] if _HASH.fullmatch(each)]
        if type(seq) is not int or not 0 < seq < 1 << 62 or not isinstance(prev, str):
            return None
        if (manifest["first"], manifest["log"]) != (seq, log) or not _HASH.fullmatch(prev):
            return None
        if len(roots) != seq.bit_count():
            return None
        return Head(str(log), seq, bytes.fromhex(prev)), Edge(seq, roots)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _compare_with_closing(
    report: VerifyReport, segment_records: SegmentRecords | None, *, first: int
) -> VerifyReport:
    """Return *report*, updated by a comparison with the record that closed this segment."""
    if report.exit_code in {1, 3}:
        return report
    ours = segment_records is not None and segment_records.log == report.log
    segments = segment_records.segments if segment_records is not None and ours else ()
    sealed = next((each for each in segments if each.first == first), None)
    if sealed is None:
        if report.anchored_to is not None:
            return report
        return replace(report, not_proved=(_NOT_SEALED, *report.not_proved))
    if (sealed.last, sealed.root) != (report.last_seq, report.root):
        return replace(
            report,
            state=VerifyState.TAMPERED,
            exit_code=1,
            differs=Difference.HEAD,
            detail=(
                f"these are not the lines of segment {sealed.number}:"
                f" {numbers(sealed.first, sealed.last)}"
            ),
            anchored_to=None,
            anchored_by="",
        )
    return replace(
        report,
        notices=(
            *report.notices,
            (
                f"This is segment {sealed.number}, unchanged since it was closed at "
                f"{clock(sealed.ts)}."
            ),
        ),
        not_proved=(_LEDGER_UNREAD, *report.not_proved),
    )
