"""Doctor tells what was pruned from what is missing."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from guardrail.ledger.reader import LedgerReader
from guardrail.review.doctor import checks
from guardrail.review.doctor.chain import bad_link
from tests.support.retention import build, cut, intact

EVERY_START = (0, 1, 2, 7, 8, 9, 15, 19)


def broken(db: Path, start: int) -> int | None:
    with LedgerReader.open(db) as reader:
        return bad_link(reader, start)


def unlocked(db: Path, sql: str) -> None:
    """Change the file as somebody does who has no keys, and put back the trigger that is in their
    way.
    """
    connection = sqlite3.connect(db)
    triggers = connection.execute(
        "SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'"
    ).fetchall()
    for name, _ in triggers:
        connection.execute(f"DROP TRIGGER {name}")
    connection.execute(sql)
    for _, made in triggers:
        connection.execute(made)
    connection.commit()
    connection.close()


def test_a_pruned_log_is_whole_wherever_the_look_begins(tmp_path: Path) -> None:
    """Also after it was pruned again; verifying finds the same."""
    db = tmp_path / "audit.db"
    build(db, 20)
    assert [broken(db, start) for start in EVERY_START] == [None] * len(EVERY_START)
    cut(db, 5)
    cut(db, 8)
    assert intact(db)
    assert [broken(db, start) for start in EVERY_START] == [None] * len(EVERY_START)


def test_doctor_says_from_where_on_a_pruned_log_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looks at the newest records alone, which can be fewer than are left, or more."""
    db = tmp_path / "audit.db"
    build(db, 20)
    cut(db, 8)
    for tail, begin in ((1000, 8), (5, 16)):
        monkeypatch.setattr(checks, "TAIL", tail)
        check = {each.name: each for each in checks.check_all(None, db, {})}["ledger"]
        assert check.state is checks.CheckState.OK
        assert f"chain intact over those from record {begin} on; older ones were pruned" in (
            check.found
        )


@pytest.mark.parametrize("pruned", [False, True])
def test_records_that_nothing_says_are_pruned_are_missing(tmp_path: Path, pruned: bool) -> None:
    """In a log that was pruned up to another record as well."""
    db = tmp_path / "audit.db"
    build(db, 20)
    if pruned:
        cut(db, 8)
    unlocked(db, "DELETE FROM record WHERE seq > 0 AND seq < 10")
    with LedgerReader.open(db, strict=False) as reader:
        assert bad_link(reader, 0) == 1


def test_a_record_that_was_edited_behind_what_was_pruned_is_named(tmp_path: Path) -> None:
    """The first one that is left is compared with what the log says stood before it."""
    db = tmp_path / "audit.db"
    build(db, 20)
    cut(db, 8)
    unlocked(db, "UPDATE record SET line = replace(line, 'text-8', 'text-9') WHERE seq = 8")
    with LedgerReader.open(db, strict=False) as reader:
        assert bad_link(reader, 0) == 8
