"""Keeps suspensions in force although their records are deleted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from guardrail.core.log.suspensions import Suspensions
from guardrail.core.times import record_time
from guardrail.core.types import Receipt
from guardrail.ledger.heads import Signing
from guardrail.ledger.proved import Proofs, ProvedReader
from guardrail.ledger.reader import LedgerReader
from guardrail.ledger.suspending import Suspender

__all__ = ["move_suspensions"]


def move_suspensions(
    db: Path,
    before: int,
    signing: Signing,
    record: Callable[[str, Mapping[str, Any]], Receipt],
    clock: Callable[[], datetime],
) -> int:
    """Repeat the suspensions in force in *db* whose records are below *before* in new records, and
    end those that have expired. Return the number of new records.

    *record* writes an ``admin.*`` record. Raises ``LedgerError``.
    """

    def read(known: Suspensions | None) -> Suspensions:
        with LedgerReader.open(db, rows=False) as reader:
            return ProvedReader(reader, Proofs(signing, reader.log)).suspensions(known)

    return Suspender(read, record).move_from(before, record_time(clock()))
