"""Checks the types of the files next to the database."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from guardrail.errors import LedgerOpenError

__all__ = ["refuse_kinds"]


def refuse_kinds(db: Path, suffixes: Iterable[str]) -> None:
    """Check that each file next to *db* is a regular file, and that the leases are a folder.
    Missing files are created later.

    Raises ``LedgerOpenError`` (``ledger.not_a_file``) with the path of the wrong file.
    """
    for suffix in suffixes:
        path = db.with_name(db.name + suffix)
        try:
            mode = os.stat(path).st_mode
        except OSError:
            continue  # the file is missing, or the error is reported when the file is opened
        folder = suffix == "-leases"
        if not (stat.S_ISDIR(mode) if folder else stat.S_ISREG(mode)):
            raise LedgerOpenError(
                f"{path} must be a {('folder' if folder else 'regular file')}: the ledger stores "
                "data there",
                code="ledger.not_a_file",
                hint=f"move it away: mv {path} {path}-away",
            )
