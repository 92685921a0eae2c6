"""Implements ``guardrail seal`` and ``guardrail archive``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from guardrail.cli.app import Exit
from guardrail.cli.options import json_option, ledger_options
from guardrail.cli.output import Style, data, emit_json, paint
from guardrail.cli.retention_ledger import open_for_retention, reason_option, redacted_reason
from guardrail.core.words import counted
from guardrail.review.terminal import one_line

if TYPE_CHECKING:
    from guardrail.retention.actions import ArchivedSegment, ClosedSegment

__all__ = [
    "archive",
    "archived_document",
    "closed_document",
    "print_archived",
    "print_closed",
    "seal",
]


@click.command(
    short_help="Close a segment with the records since the previous segment, and copy it."
)
@ledger_options
@json_option
@reason_option
def seal(*, config: Path | None, ledger: Path | None, as_json: bool, reason: str | None) -> int:
    """Close a segment, which contains the records since the previous segment, and copy it. A record
    states the end and the root of the segment.

    Before the command ends, it reads the copy back and compares it with the records. The copy is
    never modified. If the copy of an earlier segment is missing, the command recreates it if the
    records still exist.
    """
    with open_for_retention(config, ledger) as manager:
        done = manager.close_segment(why=redacted_reason(reason))
    if as_json:
        emit_json(closed_document(done))
    elif not print_closed(done):
        data("Nothing to do: every record is in a segment, and every segment has its copy.")
    return Exit.YES


@click.command(short_help="Copy the closed segments to the archive folder.")
@ledger_options
@json_option
@reason_option
def archive(*, config: Path | None, ledger: Path | None, as_json: bool, reason: str | None) -> int:
    """Copy each closed segment to the folder in [retention] archive, unless the archive already
    contains it.

    Each copy is verified line by line before it is recorded.
    """
    with open_for_retention(config, ledger) as manager:
        put = manager.archive(why=redacted_reason(reason))
    if as_json:
        emit_json({"archived": archived_document(put)})
    elif not print_archived(put):
        data("Nothing to do: every segment is in the archive.")
    return Exit.YES


def closed_document(done: ClosedSegment) -> dict[str, Any]:
    """Return the closed segment and the new copies as a JSON document."""
    made = done.segment
    return {
        "sealed": (
            None
            if made is None
            else {"segment": made.number, "first": made.first, "last": made.last, "root": made.root}
        ),
        "copied": [{"segment": each.segment, "file": each.file} for each in done.copied],
    }


def print_closed(done: ClosedSegment) -> bool:
    """Print the closed segment and the new copies. Return True if there are any."""
    made = done.segment
    if made is not None:
        count = counted(made.last + 1 - made.first, "record")
        data(
            f"{paint('closed', Style.GOOD)}    segment {made.number}: {count}, up to record"
            f" {made.last}"
        )
    for each in done.copied:
        data(f"{paint('copied', Style.GOOD)}    segment {each.segment}: {one_line(each.file)}")
    return made is not None or bool(done.copied)


def archived_document(put: Sequence[ArchivedSegment]) -> list[dict[str, Any]]:
    """Return the result of archiving as a JSON document."""
    return [{"segment": each.segment, "file": each.file, "digest": each.digest} for each in put]


def print_archived(put: Sequence[ArchivedSegment]) -> bool:
    """Print the result of archiving. Return True if any segments were archived."""
    for each in put:
        data(f"{paint('archived', Style.GOOD)}  segment {each.segment}: {one_line(each.file)}")
    return bool(put)
