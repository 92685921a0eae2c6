"""``guardrail sessions``."""

from __future__ import annotations

from pathlib import Path

import click

from guardrail.cli.options import json_option
from guardrail.cli.output import (
    Align,
    Cell,
    Column,
    Progress,
    Style,
    columns,
    data,
    emit_json,
    note,
    table,
)
from guardrail.cli.render import clock, counted
from guardrail.cli.sources import copies_here, opened, source_options, tell_pruned
from guardrail.review import documents
from guardrail.review.pruned import document
from guardrail.review.records import gone
from guardrail.review.sessions import SessionRow, list_sessions
from guardrail.review.terminal import name

__all__ = ["sessions"]

_WIDE = 110


@click.command(short_help="List the sessions in the ledger, the oldest first.")
@source_options
@json_option
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=50,
    show_default=True,
    help="Show this many, the latest ones.",
)
@click.option("--all", "everything", is_flag=True, help="Show all of them.")
def sessions(
    *,
    config: Path | None,
    ledger: Path | None,
    exported: Path | None,
    segment: Path | None,
    as_json: bool,
    limit: int,
    everything: bool,
) -> None:
    """List the sessions in the ledger, the oldest first: who, how many calls, and how they ended.

    OPEN counts calls that were allowed and have no recorded end: they are running, or their process died and nobody
    has opened the ledger since.
    """
    with opened(config, ledger, exported, segment) as reader:
        progress = Progress("read")
        rows = list_sessions(reader, progress=progress)
        progress.clear()
        log, size = reader.log, reader.size()
        lost = gone(reader)
        copies = [] if lost is None else copies_here(reader, config, ledger)
    shown = rows if everything else rows[-limit:]
    if as_json:
        emit_json({**documents.sessions(log, shown, len(rows)), "pruned": document(lost, copies)})
        return
    if lost is not None:
        tell_pruned(lost, copies)
    if not rows:
        note(
            f"No session yet: {counted(size, 'record')} in this ledger, none of them a call.\n"
            "Run a program that opens guard.session(...), or see `guardrail demo`."
        )
        return
    for line in table(_spec(), [_row(row) for row in shown]):
        data(line)
    if len(shown) < len(rows):
        note(f"The latest {len(shown)} of {len(rows):,} sessions; --all shows the rest.", Style.DIM)


def _spec() -> list[Column]:
    numbers = [Column(title, Align.RIGHT) for title in ("CALLS", "DENIED", "ERRORS", "OPEN")]
    if columns() < _WIDE:
        return [
            Column("STARTED"),
            Column("SESSION", flexible=True, floor=10),
            Column("PRINCIPAL", flexible=True, floor=9),
            *numbers,
        ]
    return [
        Column("STARTED"),
        Column("SESSION", flexible=True, floor=12),
        Column("PRINCIPAL", flexible=True, floor=12),
        Column("AGENT", flexible=True, floor=8),
        Column("TENANT", limit=16),
        *numbers,
    ]


def _row(row: SessionRow) -> list[Cell]:
    def hot(count: int, style: Style) -> Cell:
        return str(count), style if count else Style.DIM

    wide: list[Cell] = [
        (name(row.key.agent), Style.PLAIN),
        (name(row.key.tenant), Style.PLAIN),
    ]
    return [
        (clock(row.started).removesuffix(" UTC"), Style.PLAIN),
        (name(row.key.id), Style.STRONG),
        (name(row.key.principal), Style.PLAIN),
        *(wide if columns() >= _WIDE else []),
        (str(row.calls), Style.PLAIN),
        hot(row.denied, Style.BAD),
        hot(row.errors, Style.BAD),
        hot(row.open, Style.WARN),
    ]
