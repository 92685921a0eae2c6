"""Verifies a file that the user declares to be a copy of a log. Heads that cover more records than
the copy has do not contradict it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from guardrail.core.log.chain import Difference
from guardrail.core.log.checkpoint import NoteKey
from guardrail.core.log.key_epochs import KeyRanges
from guardrail.core.words import counted, numbers
from guardrail.errors import GuardrailError, LedgerError, NoteError, RecordError
from guardrail.keys.log_key import verify_signature
from guardrail.ledger.maintenance.examine import examine
from guardrail.review.proofs import key_ranges, log_key
from guardrail.review.verify.ledger import verify_ledger
from guardrail.review.verify.reading import readable
from guardrail.review.verify.report import OutsideHead, Progress, VerifyReport, VerifyState

__all__ = ["signers_in", "verify_copy"]

_AGAIN = 3
"""Maximum number of times that a copy is reread because it grew while it was read."""


@dataclass(frozen=True, slots=True)
class _Original:
    """The ledger that a copy is compared with."""

    root: bytes | None
    """Root over as many records as the copy has, or None if it can't be determined."""
    longer: bool = False
    notice: str = ""


def verify_copy(
    path: Path,
    *,
    ledger: Path,
    key: str | None = None,
    heads: Sequence[OutsideHead] = (),
    since: int = 0,
    jobs: int = 1,
    progress: Progress | None = None,
) -> VerifyReport:
    """Verify the copy at *path* as ``verify_ledger`` does, except that *heads* of this log may
    cover more records than the copy has.

    Such heads lie beyond the copy. The copy is a prefix of the log if *ledger* begins with its
    records, or if the copy contains another of the heads. Otherwise, the copy can't be
    distinguished from a log that was rolled back, and is reported as one. Findings never raise an
    exception.
    """
    for _ in range(_AGAIN):
        size, beyond = _heads_beyond_copy(path, ledger, key, heads)
        within = [each for each in heads if each not in beyond]
        report = verify_ledger(
            path, key=key, heads=within, since=since, jobs=jobs, progress=progress
        )
        if report.records <= max(size, 0) or not beyond:
            break
    if report.exit_code in (1, 3):
        return report
    original = _read_original(ledger, path, report)
    if original.notice:
        report = replace(report, notices=(*report.notices, original.notice))
    if original.root is not None and original.root.hex() != report.root:
        return replace(
            report,
            state=VerifyState.FORKED,
            exit_code=1,
            differs=Difference.HEAD,
            detail=f"{numbers(0, report.last_seq)}: the ledger {ledger} begins with other records",
        )
    return _compared(report, ledger, original, beyond)


def _compared(
    report: VerifyReport, ledger: Path, original: _Original, beyond: Sequence[OutsideHead]
) -> VerifyReport:
    same = original.root is not None
    if not beyond and not (same and original.longer):
        return report
    farthest = max(beyond, key=lambda each: each.head.size if each.head else 0, default=None)
    to = [seq for seq in (report.anchored_to, report.remembered_to) if seq is not None]
    proven = report.last_seq if same else max(to, default=None)
    if proven is None:
        assert farthest is not None
        assert farthest.head is not None
        return replace(
            report,
            state=VerifyState.ROLLED_BACK,
            exit_code=1,
            against=farthest,
            differs=Difference.HEAD,
            detail=(
                f"the copy ends at record {report.last_seq}, the head in {farthest.source} "
                f"covers record {farthest.head.size - 1}, but no ledger and no head shows that "
                "the copy is the beginning of that log"
            ),
        )
    rest = f"The log continues after record {report.last_seq}, where this copy ends"
    if farthest is not None and farthest.head is not None:
        rest += f": the head in {farthest.source} covers record {farthest.head.size - 1}"
    detail = f"the ledger {ledger} begins with these records" if same else ""
    return replace(
        report,
        state=VerifyState.PREFIX,
        exit_code=5,
        detail=detail,
        proven_to=proven,
        not_proved=(f"{rest}.", *report.not_proved),
    )


def signers_in(paths: Sequence[Path], key: NoteKey) -> list[KeyRanges]:
    """Return the keys that may sign heads of the log *key*, according to each readable ledger of
    that log in *paths*.
    """
    found = []
    for path in paths:
        try:
            with readable(Path(os.path.realpath(path))) as reader:
                if log_key(reader).public == key.public and reader.log == key.name:
                    found.append(key_ranges(reader, key)[0])
        except (LedgerError, RecordError, NoteError, OSError):
            continue
    return found


def _heads_beyond_copy(
    path: Path, ledger: Path, key: str | None, heads: Sequence[OutsideHead]
) -> tuple[int, list[OutsideHead]]:
    """Return the number of records in the copy, and those of *heads* that cover more records and
    are signed by a key of the copy's log.
    """
    try:
        with readable(Path(os.path.realpath(path))) as reader:
            size, own = reader.size(), log_key(reader)
    except (LedgerError, RecordError, OSError):
        return 0, []  # verification reports the fault
    if key is not None:
        own = NoteKey(own.name, bytes.fromhex(key))
    larger = [
        each
        for each in heads
        if each.head is not None and each.head.origin == own.name and each.head.size > size
    ]
    ranges = signers_in((path, ledger), own) if larger else []
    return size, [each for each in larger if _is_signed(each, ranges)]


def _is_signed(outside: OutsideHead, ranges: Sequence[KeyRanges]) -> bool:
    note, head = outside.note, outside.head
    if note is None or head is None:
        return False
    return any(each.signer_of(note, head.size) is not None for each in ranges)


def _read_original(ledger: Path, path: Path, report: VerifyReport) -> _Original:
    """Read the lines of *ledger*, and return its root over as many records as the copy has."""
    if not ledger.exists() or os.path.realpath(ledger) == os.path.realpath(path):
        return _Original(None)
    size = report.records
    try:
        with readable(Path(os.path.realpath(ledger))) as reader:
            if reader.log != report.log:
                return _Original(
                    None,
                    notice=(
                        f"The ledger {ledger} contains the log {reader.log}, so nothing was "
                        "compared with it."
                    ),
                )
            found = examine(reader, verify=verify_signature, watch={size})
    except (LedgerError, RecordError, OSError) as error:
        why = error.message if isinstance(error, GuardrailError) else type(error).__name__
        return _Original(None, notice=f"The ledger {ledger} could not be read: {why}.")
    if found.report.first_bad is not None or found.head:
        return _Original(
            None, notice=f"The ledger {ledger} is damaged, so nothing was compared with it."
        )
    root = found.roots.get(size)
    if root is None:
        return _Original(
            None,
            notice=(
                f"The ledger {ledger} has {counted(found.report.records, 'record')}, and "
                f"the copy {size}: guardrail verify on the ledger shows more."
            ),
        )
    return _Original(root, longer=found.report.records > size)
