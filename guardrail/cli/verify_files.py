"""What ``guardrail verify`` does with files: exports, and copies of segments with the records that sealed them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from zlib import error as damaged

import click

from guardrail.errors import GuardrailError, LedgerError, RecordError, os_reason

if TYPE_CHECKING:
    from guardrail.review.verify import OutsideHead, Sealing, VerifyReport
    from guardrail.review.verify.report import Progress

__all__ = ["name_in", "one_source", "sealing_of", "verify_file"]


def one_source(exported: Path | None, segment: Path | None, *, other: bool) -> None:
    """Raise ``click.UsageError`` for a file that is named with another source: two files, or an export with *other* options."""
    if exported is not None and segment is not None:
        raise click.UsageError("give --export or --segment", click.get_current_context())
    if exported is not None and other:
        raise click.UsageError(
            "--export names a file: give neither --ledger nor --config with it",
            click.get_current_context(),
        )


def verify_file(
    path: Path,
    *,
    part: bool,
    key: str | None,
    heads: Sequence[OutsideHead],
    sealing: Sealing | None,
    progress: Progress | None,
) -> VerifyReport:
    """Verify an export, or, with *part*, the copy of a segment. Never raises for what it finds."""
    from guardrail.review.verify import verify_export, verify_segment

    if not part:
        return verify_export(path, key=key, heads=heads, progress=progress)
    return verify_segment(path, key=key, heads=heads, sealing=sealing, progress=progress)


def sealing_of(ledger: Path | None, file: Path, notices: list[str]) -> Sealing | None:
    """Return what *ledger* says about its segments; None where it can't be read, or is of another log than *file*."""
    from guardrail.review.verify import read_sealing, readable

    if ledger is None:
        return None
    try:
        with readable(ledger.resolve()) as reader:
            found = read_sealing(reader)
    except (LedgerError, RecordError, OSError) as error:
        why = error.message if isinstance(error, GuardrailError) else os_reason(error)
        notices.append(f"The ledger {ledger} could not be read: {why}.")
        return None
    if found.log == name_in(file):
        return found
    notices.append(f"The ledger {ledger} is of another log: nothing was compared with it.")
    return None


def name_in(file: Path) -> str:
    """Return the name of the log in *file*; empty where that can't be read."""
    from guardrail.core.record import MAX_LINE, decode
    from guardrail.review.lines import open_lines

    try:
        with open_lines(file) as source:
            return str(decode(source.readline(MAX_LINE + 1).rstrip(b"\n")).get("log", ""))
    except (GuardrailError, OSError, EOFError, damaged):
        return ""
