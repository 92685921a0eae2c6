"""Implements ``guardrail checkpoint``."""

from __future__ import annotations

import base64
from pathlib import Path

import click

from guardrail.cli.options import json_option, ledger_options, open_ledger, settings_for
from guardrail.cli.output import Style, data, emit_json, remark
from guardrail.core.log.checkpoint import Checkpoint, SignedNote
from guardrail.errors import KeysError, LedgerError

__all__ = ["checkpoint", "head_of"]


@click.command(short_help="Print the current signed head, to store outside the ledger.")
@ledger_options
@json_option
def checkpoint(*, config: Path | None, ledger: Path | None, as_json: bool) -> None:
    """Print the current signed head: a signed text with the number of records and a hash over all
    of them.

    Store the head where nobody who can write the ledger can change it. Later, `guardrail verify
    --checkpoint FILE` finds every change to the records that the head covers. If this user can read
    the log key, that key signs the head. Otherwise, the head is signed by the key of the last
    process that wrote to the ledger, and verify looks up that key in the ledger.
    """
    note, by_log_key = head_of(config, ledger)
    head = Checkpoint.parse(note.text)
    if as_json:
        emit_json(
            {
                "log": head.origin,
                "size": head.size,
                "root": base64.b64encode(head.root).decode(),
                "signed_by": "log" if by_log_key else "epoch",
                "note": str(note),
            }
        )
        return
    for line in str(note).splitlines():
        data(line)
    if not by_log_key:
        remark("signed by a process key, because this user can't use the log key", Style.WARN)


def head_of(config: Path | None, ledger: Path | None) -> tuple[SignedNote, bool]:
    """Return the ledger's head, and True if the log key signed it.

    Raises ``LedgerError`` if the ledger has no head, or if no holder of the log's keys wrote it.
    """
    from guardrail.anchoring import LedgerHeads, stored_head
    from guardrail.identity.actor import current_actor
    from guardrail.wiring.opening import load_keys

    with open_ledger(config, ledger) as reader:
        log, path = reader.log, reader.path
        stored = stored_head(reader)
    if stored is None:
        raise LedgerError(
            "the ledger has no head, or its head is malformed",
            code="ledger.head",
            hint="guardrail verify",
        )
    try:
        keys = load_keys(settings_for(config, ledger))
    except KeysError:
        return stored, False
    return LedgerHeads(path, log, keys.signing(actor=current_actor(), epochs=False)).head(), True
