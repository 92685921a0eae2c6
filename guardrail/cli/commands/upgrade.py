"""Implements ``guardrail upgrade``."""

from __future__ import annotations

from pathlib import Path

import click

from guardrail.cli.app import Exit
from guardrail.cli.options import json_option, ledger_options, settings_for
from guardrail.cli.output import Style, data, emit_json, paint, remark
from guardrail.core.words import counted
from guardrail.review.terminal import name, one_line

__all__ = ["upgrade"]


@click.command(short_help="Give a ledger of an earlier version the current format.")
@ledger_options
@json_option
def upgrade(*, config: Path | None, ledger: Path | None, as_json: bool) -> int:
    """Give the ledger, and its access log if there is one, the current format.

    No record, hash or signature changes: heads, exports and proofs of the ledger stay valid. Stop
    all processes that use the ledger first. If the command is killed, the ledger has either format,
    complete; run the command again. A ledger that has the current format is left as it is.
    """
    from guardrail.ledger.maintenance.upgrade import upgrade as migrate

    settings = settings_for(config, ledger)
    paths = [settings.ledger.path]
    if settings.access_path.exists():
        paths.append(settings.access_path)
    done = [migrate(path) for path in paths]
    if as_json:
        emit_json(
            {
                "ledgers": [
                    {
                        "file": str(each.path),
                        "changed": each.changed,
                        "format": each.format,
                        "log": each.log,
                        "records": each.records,
                    }
                    for each in done
                ]
            }
        )
        return Exit.YES
    for each in done:
        verb = paint("upgraded", Style.GOOD) if each.changed else "unchanged"
        data(
            f"{verb}  {one_line(str(each.path))}: format {each.format},"
            f" {counted(each.records, 'record')} of log {name(each.log)}"
        )
    remark("next:  guardrail verify")
    return Exit.YES
