"""Implements ``guardrail bench``."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from guardrail.bench.workload import CALLERS
from guardrail.cli.app import Exit
from guardrail.cli.options import json_option, settings_of
from guardrail.cli.output import (
    Align,
    Column,
    Progress,
    Style,
    columns,
    data,
    emit_json,
    paint,
    remark,
    table,
)
from guardrail.errors import GuardrailError
from guardrail.review.terminal import one_line

if TYPE_CHECKING:
    from guardrail.bench.measure import BenchReport

__all__ = ["bench", "show_report"]

_COLUMNS = 80
_IN_MEMORY_US = 15.0
"""A sync that takes fewer microseconds than this has not reached a disk."""


@click.command(short_help="Measure the cost of a governed call on this machine.")
@click.argument("folder", required=False, type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--seconds",
    type=click.FloatRange(min=1, max=3600),
    default=10.0,
    show_default=True,
    help="Duration of the measurement.",
)
@json_option
def bench(folder: Path | None, seconds: float, as_json: bool) -> int:
    """Measure the time of governed calls on the disk that contains FOLDER, as a multiple of the
    time of a sync to that disk.

    By default, FOLDER is the folder of the project's ledger, or the current folder. The measurement
    uses its own ledger and policies, and removes them at the end. docs/performance.md explains the
    figures.
    """
    from guardrail.bench.measure import run

    place = folder if folder is not None else _ledger_folder()
    progress = Progress("measuring: step")
    try:
        report = run(place, seconds, progress)
    finally:
        progress.clear()
    if as_json:
        emit_json(report.document())
    else:
        show_report(report)
    fastest = min(each.sync_p50_us for each in report.one_caller)
    if fastest < _IN_MEMORY_US:
        remark(
            f"note: a sync takes only {fastest:.0f} us here, so this folder is in memory, or the "
            "disk ignores syncs. Specify a folder on the disk that stores your ledger.",
            Style.WARN,
        )
    elif not report.quiet:
        remark(
            "note: other programs used the disk or the processor. Stop them and measure again.",
            Style.WARN,
        )
    return Exit.YES


def _ledger_folder() -> Path:
    """Return the folder of the ledger in the settings if it exists, otherwise the current
    folder.
    """
    try:
        path = settings_of(None).ledger.path.parent
    except GuardrailError:
        return Path()
    return path if path.is_dir() else Path()


def show_report(report: BenchReport) -> None:
    """Print the figures as tables of at most 80 columns, with a legend below each."""
    data(f"disk of {one_line(os.path.abspath(report.folder))}")
    _print_table(
        ("one caller", "call p50", "call p99", "sync p50", "sync p99", "ratio"),
        [
            (
                each.case,
                *(
                    f"{value:,.0f} us"
                    for value in (
                        each.call_p50_us,
                        each.call_p99_us,
                        each.sync_p50_us,
                        each.sync_p99_us,
                    )
                ),
                f"{each.over_two_syncs:.2f}",
            )
            for each in report.one_caller
        ],
    )
    _print_legend(
        ("call", "time of a governed call: two records, each synced to the disk"),
        ("sync", "time of one sync to the disk, without guardrail"),
        ("p50, p99", "50% and 99% of the measured times do not exceed this value"),
        ("ratio", "call / 2 syncs, at p50: the cost of governance in syncs"),
    )
    _print_table(
        (f"{CALLERS} callers", "calls/s", "syncs/s", "ratio"),
        [
            (
                each.case,
                f"{each.calls_per_s:,.0f}",
                f"{each.syncs_per_s:,.0f}",
                f"{each.over_syncs:.2f}",
            )
            for each in report.load
        ],
    )
    _print_legend(
        ("calls/s", f"total governed calls per second with {CALLERS} threads"),
        ("syncs/s", "syncs per second with one thread, without guardrail"),
        ("ratio", "calls/s / syncs/s: callers share the syncs of their records"),
    )


def _print_table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a blank line, and a table with the ratios in the last column."""
    first, *figures = titles
    spec = [Column(first, flexible=True), *(Column(each, align=Align.RIGHT) for each in figures)]
    styles = [*(Style.PLAIN for _ in figures), Style.STRONG]
    data()
    cells = [list(zip(row, styles, strict=True)) for row in rows]
    for line in table(spec, cells, total=min(columns(), _COLUMNS)):
        data(line)


def _print_legend(*entries: tuple[str, str]) -> None:
    """Print a legend with the meaning of each column in the table."""
    for title, meaning in entries:
        data(paint(f"  {title:<8}  {meaning}", Style.DIM))
