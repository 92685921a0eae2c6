"""Keeps suspensions in force, effect keys held, and calls counted, although their records are
deleted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from guardrail.core.kept_states import KEPT_STATES
from guardrail.core.log.effects import KEPT, kept_details
from guardrail.core.log.suspensions import Suspensions
from guardrail.core.times import record_time
from guardrail.core.types import Receipt
from guardrail.ledger.heads import Signing
from guardrail.ledger.proved import Proofs, ProvedReader
from guardrail.ledger.reader import LedgerReader
from guardrail.ledger.suspending import Suspender

__all__ = ["move_facts"]


def move_facts(
    db: Path,
    before: int,
    signing: Signing,
    record: Callable[[str, Mapping[str, Any]], Receipt],
    clock: Callable[[], datetime],
) -> int:
    """Repeat the suspensions in force in *db* whose records are below *before* in new records, and
    end those that have expired; repeat the effect keys that calls decided below *before* hold; and
    repeat the states of the callers, without their recent calls. Return the number of new records
    about suspensions.

    *record* writes an ``admin.*`` record. Raises ``LedgerError``.
    """
    with LedgerReader.open(db, rows=False) as reader:
        proved = ProvedReader(reader, Proofs(signing, reader.log))
        holders, states = proved.effect_holders(before), proved.kept_states(before)
    for kept in kept_details(holders):
        record(KEPT.removeprefix("admin."), kept)
    for state in states:
        record(KEPT_STATES.removeprefix("admin."), state)

    def read(known: Suspensions | None) -> Suspensions:
        with LedgerReader.open(db, rows=False) as reader:
            return ProvedReader(reader, Proofs(signing, reader.log)).suspensions(known)

    return Suspender(read, record).move_from(before, record_time(clock()))
