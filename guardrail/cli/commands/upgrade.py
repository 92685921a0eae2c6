"""Implements ``guardrail upgrade``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from guardrail.cli.app import Exit
from guardrail.cli.options import json_option, ledger_options, settings_for
from guardrail.cli.output import Style, data, emit_json, paint, remark
from guardrail.core.words import counted
from guardrail.errors import LedgerError
from guardrail.review.terminal import name, one_line

if TYPE_CHECKING:
    from guardrail.ledger.maintenance.upgrade import Upgrade

__all__ = ["upgrade"]


@click.command(short_help="Convert a ledger from an earlier version to the current format.")
@ledger_options
@json_option
def upgrade(*, config: Path | None, ledger: Path | None, as_json: bool) -> int:
    """Convert the ledger, and its access log if there is one, to the current format.

    Records, hashes and signatures do not change, so heads, exports and proofs of the ledger stay
    valid. Stop all processes that use the ledger first. If the command is killed, the ledger is
    completely in the old or completely in the new format; run the command again. A ledger that is
    already in the current format is not changed.
    """
    settings = settings_for(config, ledger)
    paths = [settings.ledger.path]
    if settings.access_path.exists():
        paths.append(settings.access_path)
    done = [_upgraded(path) for path in paths]
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


def _upgraded(path: Path) -> Upgrade:
    """Upgrade the log at *path*. Raises ``LedgerError`` with a message that contains the path."""
    from guardrail.ledger.maintenance.upgrade import upgrade as migrate

    try:
        return migrate(path)
    except LedgerError as error:
        if str(path) in error.message:
            raise
        raise type(error)(
            f"{path}: {error.message}", code=error.code, hint=error.hint or "guardrail doctor"
        ) from None
