"""Doctor says where records are kept too long, were kept too short, or lack their copies."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from guardrail.retention.state import RetentionState, state_path, write_state
from guardrail.review.doctor.result import CheckState
from guardrail.review.doctor.retention import retention
from tests.support.retention import build, head, open_manager, settings


def later(days: float) -> datetime:
    return datetime.now(UTC) + timedelta(days=days)


def test_a_young_ledger_is_fine(tmp_path: Path) -> None:
    """And so is none at all."""
    db = tmp_path / "audit.db"
    assert retention(settings(db)).state is CheckState.OK
    build(db, 10)
    found = retention(settings(db))
    assert (found.state, found.found) == (
        CheckState.OK,
        "records are kept for 400 days; the oldest is 0 days old",
    )


def test_overdue_records_and_settings_below_the_floor_are_told(tmp_path: Path) -> None:
    """The one is a note with the command that mends it; with the other nothing would be deleted."""
    db = tmp_path / "audit.db"
    build(db, 10)
    overdue = retention(settings(db), now=later(500))
    assert (overdue.state, overdue.fix) == (CheckState.NOTE, "guardrail retention run")
    assert "500 days old" in overdue.found
    assert retention(settings(db, days=100)).state is CheckState.FAIL


def test_records_that_were_kept_too_short_are_told(tmp_path: Path) -> None:
    """By the record that says when they were deleted, against the floor of today."""
    db = tmp_path / "audit.db"
    build(db, 10)
    with open_manager(db) as manager:
        manager.close_segment(why=None)
    with open_manager(db, days=2, chosen=settings(db, days=1, floor_days=0)) as manager:
        manager.prune(why=None, given=[head(db)])
    found = retention(settings(db))
    assert found.state is CheckState.NOTE
    assert "records up to 9 were deleted after 0 days, below the floor of 183" in found.found


def test_a_copy_that_is_gone_from_the_archive_is_told(tmp_path: Path) -> None:
    """While its records are there it can be made again."""
    db, archive = tmp_path / "audit.db", tmp_path / "archive"
    build(db, 10)
    with open_manager(db, archive=archive) as manager:
        manager.close_segment(why=None)
        manager.archive(why=None)
    assert retention(settings(db, archive=archive)).state is CheckState.OK
    for each in archive.iterdir():
        each.unlink()
    found = retention(settings(db, archive=archive))
    assert (found.state, found.fix) == (CheckState.NOTE, "guardrail archive")


def test_a_ledger_of_which_nothing_can_ever_be_deleted_fails(tmp_path: Path) -> None:
    """No anchor that vouches for what was there: a note while there is time, a failure when the
    first segment is due.
    """
    db = tmp_path / "audit.db"
    build(db, 10)
    alone = settings(db).override(anchors={"witness": (), "stream": "stderr"})
    young = retention(alone)
    assert (young.state, "[anchors] names no file or witness" in young.found) == (
        CheckState.NOTE,
        True,
    )
    old = retention(alone, now=later(31))
    assert (old.state, "no archive" in old.found) == (CheckState.FAIL, True)
    assert "[anchors]" in old.fix
    archived = retention(alone.override(retention={"archive": tmp_path / "x"}), now=later(31))
    assert (archived.state, "no archive" in archived.found) == (CheckState.FAIL, False)
    assert retention(settings(db), now=later(29)).state is CheckState.OK
    kept = alone.override(retention={"days": 0, "floor_days": 0})
    assert retention(kept, now=later(29)).state is CheckState.OK


def test_the_last_failure_of_a_guard_is_shown_with_what_to_do(tmp_path: Path) -> None:
    """Once is a note, twice in a row a failure; with auto = false nobody waits for it."""
    db = tmp_path / "audit.db"
    build(db, 10)
    for failures, wanted in ((1, CheckState.NOTE), (2, CheckState.FAIL)):
        told = RetentionState(
            tried=1_000_000.0, failures=failures, code="x.y", message="it broke", hint="mend it"
        )
        write_state(state_path(db), told)
        check = retention(settings(db))
        assert (check.state, check.fix) == (wanted, "mend it")
        assert "last at 1970-01-12 13:46:40 UTC: it broke (x.y)" in check.found
    off = retention(settings(db, auto=False))
    assert off.state is CheckState.OK
    assert "auto = false" in off.found
