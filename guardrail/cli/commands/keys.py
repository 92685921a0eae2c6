"""Implements ``guardrail keys``."""

from __future__ import annotations

from pathlib import Path

import click

from guardrail.cli.app import Exit
from guardrail.cli.options import json_option, ledger_options, open_ledger, settings_for
from guardrail.cli.output import Style, data, emit_json, remark
from guardrail.cli.retention_ledger import reason_option
from guardrail.errors import KeysError
from guardrail.review.terminal import one_line

__all__ = ["keys"]


@click.command(short_help="Show the log's public key; replace and destroy keys of tokens.")
@click.argument("action", type=click.Choice(["rotate", "retire"]), required=False)
@reason_option
@ledger_options
@json_option
def keys(
    *,
    action: str | None,
    reason: str | None,
    config: Path | None,
    ledger: Path | None,
    as_json: bool,
) -> int:
    """Show the log's public key, in hex and as a note key, which is the format that witnesses
    accept. The command does not show secrets.

    Store the key where nobody who can write the ledger can change it, and pass it to `guardrail
    verify --key`. The command reads the key from the ledger's first record. If this user can read
    the key folder, that folder must contain the same key.

    `keys rotate` makes a new key for the tokens of removed values. Earlier keys stay live, so that
    `guardrail find` still finds the values.

    `keys retire` destroys each earlier key that no record names any more, or that was replaced more
    than [keys] lookup_days days ago. A record states which key was destroyed, by whom, and the
    reason. Exit code 5: a key was kept.
    """
    if action is not None:
        from guardrail.cli.commands.keys_change import retire, rotate

        change = rotate if action == "rotate" else retire
        return change(config, ledger, reason, as_json=as_json)
    if reason is not None:
        raise click.UsageError(
            "only guardrail keys rotate and guardrail keys retire take --reason",
            click.get_current_context(),
        )
    return _show(config, ledger, as_json=as_json)


def _show(config: Path | None, ledger: Path | None, *, as_json: bool) -> int:
    """Show the public key."""
    from guardrail.review.proofs import log_key
    from guardrail.wiring.opening import load_keys

    with open_ledger(config, ledger) as reader:
        key = log_key(reader)
    settings = settings_for(config, ledger)
    problem = ""
    remote = None
    try:
        mine = load_keys(settings)
        remote = mine.remote
        if mine.public != key.public.hex():
            raise KeysError(
                "the key folder contains the keys of a different log, not this ledger's keys",
                code="keys.other_log",
                hint=(
                    "to find out which log is the original, run guardrail verify --key PUB with "
                    "the key that you stored"
                ),
            )
    except KeysError as error:
        if error.code == "keys.other_log":
            raise
        problem = error.message
    if as_json:
        emit_json(
            {
                "log": key.name,
                "public": key.public.hex(),
                "note_key": str(key),
                "folder": str(settings.key_path),
                "held_by": None if remote is None else "signer" if remote else "folder",
            }
        )
        return Exit.YES
    data(key.public.hex())
    data(str(key))
    if problem:
        remark(
            (
                "the key was read only from the ledger, because the key folder can't be "
                f"used: {one_line(problem)}"
            ),
            Style.WARN,
        )
    return Exit.YES
