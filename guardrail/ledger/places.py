"""Errors for ledger paths that do not lead to a regular file."""

from __future__ import annotations

import shlex
from pathlib import Path

from guardrail.config import DEFAULT_LEDGER
from guardrail.errors import LedgerOpenError, os_reason

__all__ = ["not_a_file", "unexaminable"]


def unexaminable(db: Path, error: OSError) -> LedgerOpenError:
    """Return the error for a path that this process can't examine."""
    return LedgerOpenError(
        f"the ledger can't be examined: {os_reason(error)}",
        code="ledger.unreadable",
        hint=f"check the file type: ls -ld {shlex.quote(str(db))}",
    )


def not_a_file(db: Path) -> LedgerOpenError:
    """Return the error for a ledger path that leads to a folder, or to anything else that is not a
    regular file. If the folder contains a ledger with the default name, the hint contains that
    ledger's path.
    """
    inside = next(
        (each for each in (db / DEFAULT_LEDGER.name, db / DEFAULT_LEDGER) if each.is_file()), None
    )
    if inside is not None:
        return LedgerOpenError(
            f"{db} is a folder, but the path of a ledger must lead to a file",
            code="ledger.not_a_file",
            hint=f"use the ledger in that folder: {inside}",
        )
    return LedgerOpenError(
        "the ledger's path is not a regular file",
        code="ledger.not_a_file",
        hint="move it away, then run guardrail recover",
    )
