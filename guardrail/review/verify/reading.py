"""Opens a ledger for verification."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from guardrail.ledger.reader import LedgerReader

__all__ = ["readable"]


@contextmanager
def readable(db: Path) -> Iterator[LedgerReader]:
    """Open *db* read-only, no matter what it contains. Verification reports the faults."""
    with LedgerReader.open(db, strict=False) as reader:
        yield reader
