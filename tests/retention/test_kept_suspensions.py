"""Records of suspensions are deleted like all others, and the suspensions stay in force."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from guardrail.core.log import fields
from guardrail.core.log.record import Draft
from guardrail.core.log.suspensions import Subject, SubjectKind
from guardrail.core.types import Receipt
from guardrail.errors import LedgerError
from guardrail.ledger.lease import own_origin
from guardrail.ledger.proved import Proofs, ProvedReader
from guardrail.ledger.reader import LedgerReader
from guardrail.ledger.suspending import Suspender
from tests.support.retention import (
    ACTOR,
    LOG,
    SIGNING,
    build,
    cut,
    head,
    intact,
    noted,
    open_manager,
    reopen,
)

OLD = 401
NOW = "2026-01-01T00:00:00.000000Z"


def in_force(db: Path, known: Any = None) -> Any:
    with LedgerReader.open(db) as reader:
        return ProvedReader(reader, Proofs(SIGNING, LOG)).suspensions(known)


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """A log in which record 20 suspends an agent."""
    db = tmp_path / "audit.db"
    build(db, 20)
    with reopen(db) as writer:

        def record(type_: str, about: Mapping[str, Any]) -> Receipt:
            where = own_origin("test")
            made = fields.admin(LOG, type_, actor=ACTOR, where=where, detail=about)
            return writer.append(Draft.build(made))

        suspender = Suspender(lambda known: in_force(db, known), record)
        subject = Subject(SubjectKind.AGENT, "bot")
        suspender.suspend(subject, reason="leaks", until=None, now=lambda: NOW)
        writer.append(noted("later"))
    return db


def test_pruning_repeats_a_suspension_in_force(db: Path) -> None:
    (before,) = in_force(db).in_force
    with open_manager(db) as manager:
        manager.close_segment(why=None)
    kept = head(db)
    with open_manager(db, days=OLD) as manager:
        assert manager.prune(why=None, given=[kept]).before == before.seq + 2
    (after,) = in_force(db).in_force
    assert after.seq > before.seq
    assert (after.begun, after.since, after.actor) == (before.seq, before.ts, before.actor)
    assert (after.subject, after.reason, after.until) == (before.subject, "leaks", None)
    assert intact(db, kept)


def test_a_record_that_a_suspension_depends_on_is_not_deleted(db: Path) -> None:
    with pytest.raises(LedgerError) as error:
        cut(db, 21)
    assert error.value.code == "ledger.needed"
    assert cut(db, 20).deleted
    assert [each.seq for each in in_force(db).in_force] == [20]
    assert intact(db)
