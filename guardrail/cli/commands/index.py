"""Implements ``guardrail index``."""

from __future__ import annotations

from pathlib import Path

import click

from guardrail.cli.options import json_option, ledger_options
from guardrail.cli.output import Style, data, emit_json, remark
from guardrail.cli.sources import open_indexed
from guardrail.core.words import counted
from guardrail.errors import LedgerError

__all__ = ["index"]


@click.command(short_help="Update your index of the ledger, for Datasette and sqlite-utils.")
@ledger_options
@json_option
@click.option("--rebuild", is_flag=True, help="Rebuild the index from the first record.")
def index(*, config: Path | None, ledger: Path | None, as_json: bool, rebuild: bool) -> None:
    """Update your index of the ledger and print its path: an SQLite file with columns, facets and
    full-text search.

    Open the file with Datasette or sqlite-utils. You can delete it: the next command that needs it
    rebuilds it. The index does not prove anything. `guardrail show SEQ` shows the record itself,
    and `guardrail verify` checks the ledger.
    """
    with open_indexed(config, ledger) as records:
        file = records.file
        if file is None:
            raise LedgerError(
                "this ledger has no index: [review] index is off, or the ledger is in a temporary "
                "directory",
                code="review.no_index",
                hint='set [review] index = "FOLDER", with a folder of your own',
            )
        if rebuild:
            records.rebuild()
        about = records.refresh()
        if records.file is None:
            raise LedgerError(
                f"the index {file.path} can't be used",
                code="review.no_index",
                hint="guardrail doctor",
            )
    if as_json:
        emit_json(
            {
                "log": about.log,
                "ledger": about.ledger,
                "path": str(file.path),
                "records": about.records,
                "first": about.first,
                "next": about.next,
                "updated": about.updated,
            }
        )
        return
    data(str(file.path))
    remark(f"{counted(about.records, 'record')}, updated {about.updated}", Style.DIM)
