"""Doctor says where records are kept too long, were kept too short, or lack their copies."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "retention"))

from retentionkit import build, head, keeper, settings

from guardrail.review.doctor import State
from guardrail.review.doctor_retention import retention


def later(days: float) -> datetime:
    return datetime.now(UTC) + timedelta(days=days)


def test_a_young_ledger_is_fine(tmp_path: Path) -> None:
    """And so is none at all."""
    db = tmp_path / "audit.db"
    assert retention(settings(db)).state is State.OK
    build(db, 10)
    found = retention(settings(db))
    assert (found.state, found.found) == (
        State.OK,
        "records are kept for 400 days; the oldest is 0 days old",
    )


def test_overdue_records_and_settings_below_the_floor_are_told(tmp_path: Path) -> None:
    """The one is a note with the command that mends it; with the other nothing would be deleted."""
    db = tmp_path / "audit.db"
    build(db, 10)
    overdue = retention(settings(db), now=later(500))
    assert (overdue.state, overdue.fix) == (State.NOTE, "guardrail retention run")
    assert "500 days old" in overdue.found
    assert retention(settings(db, days=100)).state is State.FAIL


def test_records_that_were_kept_too_short_are_told(tmp_path: Path) -> None:
    """By the record that says when they were deleted, against the floor of today."""
    db = tmp_path / "audit.db"
    build(db, 10)
    with keeper(db) as keep:
        keep.seal(why=None)
    with keeper(db, days=2, chosen=settings(db, days=1, floor_days=0)) as keep:
        keep.prune(why=None, given=[head(db)])
    found = retention(settings(db))
    assert found.state is State.NOTE
    assert "records up to 9 were deleted after 0 days, below the floor of 183" in found.found


def test_a_copy_that_is_gone_from_the_archive_is_told(tmp_path: Path) -> None:
    """While its records are there it can be made again."""
    db, archive = tmp_path / "audit.db", tmp_path / "archive"
    build(db, 10)
    with keeper(db, archive=archive) as keep:
        keep.seal(why=None)
        keep.archive(why=None)
    assert retention(settings(db, archive=archive)).state is State.OK
    for each in archive.iterdir():
        each.unlink()
    found = retention(settings(db, archive=archive))
    assert (found.state, found.fix) == (State.NOTE, "guardrail archive")
