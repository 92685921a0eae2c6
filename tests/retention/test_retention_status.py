"""What is due, overdue or was kept too short is judged from values alone."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from guardrail.config import RetentionSettings
from guardrail.retention.facts import ArchivedCopy, LegalHold, Pruning, RetentionFacts, Segment
from guardrail.retention.status import RetentionProblem, judge

NOW = datetime(2026, 11, 24, tzinfo=UTC)
DEFAULTS = RetentionSettings()


def ago(days: float) -> str:
    return (NOW - timedelta(days=days)).isoformat(timespec="microseconds").replace("+00:00", "Z")


def segment(number: int, first: int, last: int, days: float) -> Segment:
    return Segment(number, first, last, "00", "00", ago(days))


def facts(**more: object) -> RetentionFacts:
    base = RetentionFacts("log", "ab" * 32, 100, 1, ago(10), ago(0), open_begin=ago(10))
    return replace(base, **more)  # type: ignore[arg-type]


def troubles(
    found: RetentionFacts, settings: RetentionSettings = DEFAULTS
) -> set[RetentionProblem]:
    return {each.trouble for each in judge(found, settings, NOW).findings}


def test_a_young_log_has_nothing_due() -> None:
    """Nothing to seal, to delete or to say."""
    standing = judge(facts(), DEFAULTS, NOW)
    assert (standing.due_before, standing.segment_due, standing.findings) == (1, False, ())
    assert standing.age_days == 10


def test_sealed_segments_are_due_by_the_time_of_their_seal() -> None:
    """Up to the last one that is past its time."""
    found = facts(
        segments=(segment(1, 0, 9, 401), segment(2, 10, 19, 401), segment(3, 20, 29, 399))
    )
    assert judge(found, DEFAULTS, NOW).due_before == 20
    assert judge(found, replace(DEFAULTS, days=0), NOW).due_before == 1


@pytest.mark.parametrize(("days", "overdue"), [(432, False), (434, True)])
def test_records_are_overdue_when_a_timer_should_have_deleted_them(
    days: int, overdue: bool
) -> None:
    """After the time, the length of a segment, and some days of grace."""
    assert (RetentionProblem.OVERDUE in troubles(facts(oldest=ago(days)))) is overdue


def test_a_hold_makes_nothing_overdue() -> None:
    """It is said instead."""
    found = facts(oldest=ago(1000), holds=(LegalHold("case", "why", "who", "asserted", ago(1), 3),))
    standing = judge(found, DEFAULTS, NOW)
    assert standing.held == ("case",)
    assert RetentionProblem.OVERDUE not in troubles(found)


@pytest.mark.parametrize(("kept", "short"), [(182, True), (183, False)])
def test_records_that_were_deleted_before_the_floor_are_named(kept: int, short: bool) -> None:
    """By the times of the record that says so: whatever the settings then were."""
    found = facts(prunings=(Pruning(50, 40, ago(5), ago(5 + kept), 0),))
    assert (RetentionProblem.UNDER_KEPT in troubles(found)) is short


def test_settings_below_their_own_floor_are_named() -> None:
    """Nothing is deleted then."""
    assert troubles(facts(), replace(DEFAULTS, days=100)) == {RetentionProblem.BELOW_FLOOR}


@pytest.mark.parametrize(
    ("days", "due", "late"), [(29, False, False), (31, True, False), (34, True, True)]
)
def test_a_segment_is_due_by_age_and_late_after_that(days: int, due: bool, late: bool) -> None:
    """The age of the first record that no segment holds."""
    found = facts(open_begin=ago(days))
    assert judge(found, DEFAULTS, NOW).segment_due is due
    assert (RetentionProblem.SEAL_OVERDUE in troubles(found)) is late


def test_a_segment_without_a_copy_in_the_archive_is_named(tmp_path: Path) -> None:
    """Where there is an archive, and after some days."""
    chosen = replace(DEFAULTS, archive=tmp_path)
    found = facts(segments=(segment(1, 0, 9, 5), segment(2, 10, 19, 1)))
    assert judge(found, chosen, NOW).unarchived == (1, 2)
    assert troubles(found, chosen) == {RetentionProblem.UNARCHIVED}
    assert judge(replace(found, archived=(ArchivedCopy(1, "f", "d"),)), chosen, NOW).unarchived == (
        2,
    )
    assert judge(found, DEFAULTS, NOW).unarchived == ()


def test_a_time_that_is_none_is_no_age() -> None:
    """A record may say anything."""
    assert judge(facts(oldest="yesterday", open_begin="0"), DEFAULTS, NOW).age_days is None
