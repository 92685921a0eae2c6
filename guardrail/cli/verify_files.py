"""``guardrail verify`` for files: exports, copies of segments, and backups."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from zlib import error as damaged

import click

from guardrail.cli.options import ledger_path
from guardrail.cli.verify_anchors import configured_heads, origin_of, witness_ca, witness_heads
from guardrail.cli.verify_memory import remembered_heads
from guardrail.errors import GuardrailError, LedgerError, RecordError, os_reason

if TYPE_CHECKING:
    from guardrail.review.verify import OutsideHead, SegmentRecords, VerifyReport
    from guardrail.review.verify.report import Progress

__all__ = ["VerifySources", "one_source", "verify_file"]


def one_source(
    exported: Path | None, segment: Path | None, backup: Path | None, *, other: bool
) -> None:
    """Raise ``click.UsageError`` if more than one file is specified, or if an export is combined
    with ``--ledger`` or ``--config`` (*other*).
    """
    if sum(each is not None for each in (exported, segment, backup)) > 1:
        raise click.UsageError(
            "use only one of --export, --segment and --backup", click.get_current_context()
        )
    if exported is not None and other:
        raise click.UsageError(
            "--export reads a file: don't use it with --ledger or --config",
            click.get_current_context(),
        )


@dataclass(frozen=True, slots=True)
class VerifySources:
    """The sources from the command line. At most one of the three files is set."""

    config: Path | None
    ledger: Path | None
    exported: Path | None
    segment: Path | None
    backup: Path | None


def verify_file(
    sources: VerifySources,
    *,
    key: str | None,
    heads: Sequence[OutsideHead],
    witnesses: tuple[str, ...],
    since: int,
    jobs: int,
    notices: list[str],
    progress: Progress | None,
) -> tuple[Path, VerifyReport]:
    """Verify an export, the copy of a segment, or a backup. Return its path and the report.
    Findings never raise an exception.
    """
    from guardrail.review.verify import verify_copy, verify_export, verify_segment

    config, ledger = sources.config, sources.ledger
    if sources.backup is not None:
        found = heads_of_copy(config, ledger, sources.backup, witnesses, notices)
        return sources.backup, verify_copy(
            sources.backup,
            ledger=ledger_path(config, ledger),
            key=key,
            heads=[*heads, *found],
            since=since,
            jobs=jobs,
            progress=progress,
        )
    path = sources.exported if sources.exported is not None else sources.segment
    assert path is not None
    known = [*heads]
    if witnesses:
        known += witness_heads(witnesses, name_in(path), witness_ca(config, ledger))
    if sources.segment is None:
        return path, verify_export(path, key=key, heads=known, progress=progress)
    whole = ledger_path(config, ledger)
    segment_records = segment_records_of(whole, path, notices)
    if segment_records is not None:
        known += configured_heads(config, ledger, whole, notices)
    return path, verify_segment(
        path, key=key, heads=known, segment_records=segment_records, progress=progress
    )


def segment_records_of(ledger: Path, file: Path, notices: list[str]) -> SegmentRecords | None:
    """Return the records about segments in *ledger*, or None if *ledger* can't be read or contains
    a different log than *file*.
    """
    from guardrail.review.verify import read_segment_records, readable

    try:
        with readable(Path(os.path.realpath(ledger))) as reader:
            found = read_segment_records(reader)
    except (LedgerError, RecordError, OSError) as error:
        why = error.message if isinstance(error, GuardrailError) else os_reason(error)
        notices.append(f"The ledger {ledger} could not be read: {why}.")
        return None
    name = name_in(file)
    if found.log == name:
        return found
    if not name:
        return None  # the report describes the problem with the file
    notices.append(
        f"The ledger {ledger} contains a different log, so nothing was compared with it."
    )
    return None


def heads_of_copy(
    config: Path | None,
    ledger: Path | None,
    copy: Path,
    witnesses: Sequence[str],
    notices: list[str],
) -> list[OutsideHead]:
    """Return the heads of the log in *copy*, from *witnesses*, from the anchors in the settings and
    from this machine's memory.
    """
    origin = origin_of(copy)
    found = (
        list(witness_heads(tuple(witnesses), origin, witness_ca(config, ledger)))
        if witnesses
        else []
    )
    found += configured_heads(config, ledger, copy, notices, own=False)
    kept = remembered_heads(config, ledger, ledger_path(config, ledger), notices)
    return found + [each for each in kept if each.head is not None and each.head.origin == origin]


def name_in(file: Path) -> str:
    """Return the name of the log in *file*, or an empty string if it can't be read."""
    from guardrail.core.log.record import MAX_LINE, decode
    from guardrail.review.lines import open_lines

    try:
        with open_lines(file) as source:
            return str(decode(source.readline(MAX_LINE + 1).rstrip(b"\n")).get("log", ""))
    except (GuardrailError, OSError, EOFError, damaged):
        return ""
