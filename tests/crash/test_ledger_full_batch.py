"""The disk fills in the middle of a batch: its callers, all of them, are told, nothing of it is
there, and the log goes on.
"""

from __future__ import annotations

import resource
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path

import pytest

import guardrail.ledger.sqlite.appending
from guardrail.core.types import Receipt
from guardrail.errors import LedgerError, LedgerPoisonedError
from guardrail.ledger.writing.writer import LedgerWriter
from guardrail.system.ids import new_ulid
from tests.support.crash.judge import assert_covered, state_of
from tests.support.full_disk import fill, small_disk
from tests.support.ledgers import EPOCHS, decision, make, outcome

CALLERS = 40


def _batch(writer: LedgerWriter) -> list[Future[Receipt]]:
    """Ask for many records at once: most of them share a commit."""
    return [
        writer.submit(decision(new_ulid(), writer.process, effect="deny", pad=1500))
        for _ in range(CALLERS)
    ]


def _go_on(writer: LedgerWriter) -> Receipt:
    """Write as soon as that is possible again."""
    for _ in range(200):
        try:
            return writer.append(decision(new_ulid(), writer.process, effect="deny"))
        except LedgerPoisonedError:
            continue
    raise AssertionError("the writer did not come back")


def _wait(answers: list[Future[Receipt]]) -> None:
    """Return once all of *answers* have ended."""
    for each in answers:
        each.exception(30)


def _assert_told_the_truth(
    writer: LedgerWriter, answers: list[Future[Receipt]], more: list[Receipt]
) -> int:
    """Assert that exactly what was acknowledged is in the log; return how much was refused."""
    _wait(answers)
    kept = [each.result() for each in answers if each.exception() is None] + more
    refused = [each.exception() for each in answers if each.exception() is not None]
    assert all(isinstance(error, LedgerPoisonedError) for error in refused)
    writer.close()
    state = state_of(writer.path)
    assert state is not None
    assert_covered(state)
    there = {leaf for _, leaf, line in state.records if '"type":"call.decision"' in line}
    assert there == {receipt.leaf for receipt in kept}
    return len(refused)


@contextmanager
def _growth_limited(path: Path) -> Iterator[Callable[[int], None]]:
    """Let no file grow beyond the size of *path* and so many bytes, while that is wanted."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(room: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + room, hard))

    try:
        yield limit
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("pages", [0, 1, 2, 5, 9, 14])
def test_files_that_may_not_grow_refuse_a_whole_batch(pages: int, tmp_path: Path) -> None:
    """Whichever page of the commit does not fit, all of its callers are told, and none of its
    records is there.
    """
    writer = make(tmp_path / "a.db", signing=EPOCHS)
    first = writer.append(decision(new_ulid(), writer.process, effect="deny"))
    with _growth_limited(tmp_path / "a.db-wal") as limit:
        limit(pages * 4120 + 100)
        answers = _batch(writer)
        _wait(answers)
    assert _assert_told_the_truth(writer, answers, [first, _go_on(writer)]) >= CALLERS // 2


def test_a_database_that_may_not_grow_refuses_a_whole_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite finds the file full while the records of a batch are put in: not one of them is
    committed.
    """
    limits = {"pages": 2**30}
    real = guardrail.ledger.sqlite.appending.connect

    def connect(db: Path) -> tuple[sqlite3.Connection, int]:
        connection, schema = real(db)
        connection.execute(f"PRAGMA max_page_count = {limits['pages']}")
        return connection, schema

    monkeypatch.setattr(guardrail.ledger.sqlite.appending, "connect", connect)
    make(tmp_path / "a.db", signing=EPOCHS).close()
    limits["pages"] = (tmp_path / "a.db").stat().st_size // 4096 + 8
    writer = LedgerWriter.open(tmp_path / "a.db", signing=EPOCHS)
    first = writer.append(decision(new_ulid(), writer.process, effect="deny"))
    answers = _batch(writer)
    _wait(answers)
    assert writer.trouble
    limits["pages"] = 2**30
    assert _assert_told_the_truth(writer, answers, [first, _go_on(writer)]) >= CALLERS // 2


def test_a_full_disk_refuses_a_whole_batch_and_owes_its_outcomes(tmp_path: Path) -> None:
    """Of calls that ran, every outcome is written once there is space again, although the disk was
    full when they ended.
    """
    with small_disk(tmp_path / "disk", "2m") as disk:
        writer = make(disk / "a.db", signing=EPOCHS)
        calls = [new_ulid() for _ in range(CALLERS)]
        opened = [(call, writer.append(decision(call, writer.process)).seq) for call in calls]
        fill(disk / "filler")
        ended = [
            writer.submit(outcome(call, seq, writer.process, pad=20_000)) for call, seq in opened
        ]
        _wait(ended)
        assert any(isinstance(each.exception(), LedgerError) for each in ended)
        (disk / "filler").unlink()
        _go_on(writer)
        writer.close()
        state = state_of(disk / "a.db")
        assert state is not None
        assert_covered(state)
        outcomes = [line for _, _, line in state.records if '"type":"call.outcome"' in line]
        assert len(outcomes) == CALLERS
