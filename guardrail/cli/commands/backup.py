"""Implements ``guardrail backup``."""

from __future__ import annotations

from pathlib import Path

import click

from guardrail.cli.app import Exit
from guardrail.cli.options import json_option, ledger_options, settings_for
from guardrail.cli.output import Style, data, emit_json, paint, remark
from guardrail.core.words import counted
from guardrail.review.terminal import name, one_line

__all__ = ["backup"]


@click.command(short_help="Copy the ledger while it is in use, and verify the copy.")
@ledger_options
@json_option
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path, readable=False))
def backup(*, config: Path | None, ledger: Path | None, as_json: bool, file: Path) -> int:
    """Copy all current records to FILE, and verify the copy. Programs may write to the ledger while
    the command runs.

    An existing FILE is never overwritten. The copy does not include the keys: back them up
    separately. If other programs need the ledger, give them such a copy, never the live file.
    """
    from guardrail.ledger.maintenance.backup import backup as copy

    settings = settings_for(config, ledger)
    kept = (settings.retention.segments, settings.retention.archive)
    taken = (settings.key_path, settings.access_path, settings.access_key_path, *filter(None, kept))
    doubts: list[str] = []
    done = copy(settings.ledger.path, file, check=lambda path: _problem(path, doubts), taken=taken)
    if as_json:
        emit_json(
            {
                "file": str(done.path),
                "log": done.log,
                "records": done.records,
                "leaf": done.leaf,
                "bytes": done.bytes,
                "policies": done.policies,
                "recovered": doubts,
            }
        )
        return Exit.YES
    data(
        f"{paint('copied', Style.GOOD)}  {counted(done.records, 'record')} of log {name(done.log)},"
        f" verified: {one_line(str(done.path))}"
    )
    for doubt in doubts:
        remark(one_line(doubt), Style.WARN)
    remark(f"next:  guardrail verify --backup {file}")
    return Exit.YES


def _problem(path: Path, doubts: list[str]) -> str:
    """Describe the faults that ``verify`` finds in the copy itself. Records that recoveries took
    over are added to *doubts*.
    """
    from guardrail.review.verify import taken_over, verify_ledger

    report = verify_ledger(path)
    doubts += [text for each in report.recovered for text in taken_over(each)]
    if report.exit_code in (Exit.YES, Exit.RESERVED):
        return ""
    return report.detail or str(report.state)
