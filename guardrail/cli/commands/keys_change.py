"""Implements ``guardrail keys rotate`` and ``guardrail keys retire``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from guardrail.cli.app import Exit
from guardrail.cli.options import settings_for
from guardrail.cli.output import Style, data, emit_json, paint, remark
from guardrail.cli.retention_ledger import redacted_reason
from guardrail.core.words import counted

if TYPE_CHECKING:
    from guardrail.call.journal import Journal
    from guardrail.config import Settings
    from guardrail.keys.token_file import TokenKeyFile

__all__ = ["retire", "rotate"]


def rotate(config: Path | None, ledger: Path | None, reason: str | None, *, as_json: bool) -> int:
    """Run ``guardrail keys rotate``."""
    from guardrail.wiring.token_rotation import rotate_key

    words = redacted_reason(reason, needed="guardrail keys rotate")
    with _opened(config, ledger) as (settings, journal, file):
        fresh, previous = rotate_key(file, journal.admin, words)
    if as_json:
        emit_json({"action": "rotate", "key": fresh, "previous": previous})
        return Exit.YES
    data(f"{paint('rotated', Style.GOOD)}  new tokens name the key {fresh}")
    remark(
        f"The key {previous} stays live. Sessions that are open keep it until they end.\n"
        f"next:  back up {settings.key_path}: without the new key, values can't be looked up",
        Style.DIM,
    )
    return Exit.YES


def retire(config: Path | None, ledger: Path | None, reason: str | None, *, as_json: bool) -> int:
    """Run ``guardrail keys retire``."""
    from guardrail.ledger.reader import LedgerReader
    from guardrail.retention.facts import read_facts
    from guardrail.wiring.token_rotation import destroy_keys

    words = redacted_reason(reason, needed="guardrail keys retire")
    with (
        _opened(config, ledger) as (settings, journal, file),
        LedgerReader.open(settings.ledger.path) as reader,
    ):
        done = destroy_keys(
            file,
            reader,
            journal.admin,
            words,
            lookup_days=settings.keys.lookup_days,
            held=bool(read_facts(reader).holds),
        )
    code = Exit.RESERVED if done.kept else Exit.YES
    if as_json:
        kept = [{"key": e.kid, "why": e.why, "processes": list(e.processes)} for e in done.kept]
        emit_json(
            {"exit": int(code), "action": "retire", "destroyed": list(done.destroyed), "kept": kept}
        )
        return code
    for kid in done.destroyed:
        data(f"{paint('destroyed', Style.WARN)}  {kid}")
    for each in done.kept:
        data(f"{paint('kept', Style.PLAIN)}  {each.kid}  {each.why}")
    if not done.destroyed and not done.kept:
        remark("There is no earlier key.")
    if done.destroyed:
        remark(
            f"next:  delete {counted(len(done.destroyed), 'key')} from the backups of "
            f"{settings.key_path} as well, by replacing them",
            Style.DIM,
        )
    if done.kept:
        remark(
            "A key is destroyed if no record names it any more, or [keys] lookup_days after it was "
            "replaced (docs/keys.md).",
            Style.DIM,
        )
    if any(each.processes for each in done.kept):
        remark("next:  restart the programs that use this ledger, then guardrail keys retire")
    return code


@contextlib.contextmanager
def _opened(
    config: Path | None, ledger: Path | None
) -> Iterator[tuple[Settings, Journal, TokenKeyFile]]:
    """Open the ledger, which must exist, to write records about its keys, and lock the keys.

    Raises ``LedgerOpenError``, ``KeysError`` or ``ConfigError``.
    """
    from guardrail.keys.token_file import TokenKeyFile
    from guardrail.ledger.files import missing_ledger
    from guardrail.wiring.opening import open_journal

    settings = settings_for(config, ledger)
    path = settings.ledger.path
    if not path.exists():
        raise missing_ledger(
            path, hint="specify the ledger with --ledger FILE, or run guardrail doctor"
        )
    journal, _ = open_journal(settings, epochs=False)
    with contextlib.closing(journal), TokenKeyFile.locked(settings.key_path) as file:
        yield settings, journal, file
