"""Determines the retention status (due, overdue, deleted too early) from plain values, for
``doctor``, ``verify`` and the timer.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from guardrail.config import RetentionSettings
from guardrail.core.words import agree, counted
from guardrail.retention.facts import RetentionFacts, Segment, moment

__all__ = ["RetentionFinding", "RetentionProblem", "RetentionStatus", "judge"]

GRACE = timedelta(days=3)
"""Maximum delay of a timer before the delay is reported."""


class RetentionProblem(StrEnum):
    """A problem with the retention of a ledger, or with its settings."""

    OVERDUE = "overdue"
    """Records that should have been deleted still exist."""
    UNDER_KEPT = "under_kept"
    """Records were deleted before the end of the minimum period (``floor_days``)."""
    SEAL_OVERDUE = "seal_overdue"
    """Records should have been closed as a segment long ago."""
    UNARCHIVED = "unarchived"
    """A segment has no copy in the archive that the settings name."""
    COPY_GONE = "copy_gone"
    """A copy of a segment was deleted while its records still exist."""
    BELOW_FLOOR = "below_floor"
    """The settings' retention period is shorter than their minimum period, so nothing is deleted.
    """


@dataclass(frozen=True, slots=True)
class RetentionFinding:
    """One problem with the retention of a ledger."""

    trouble: RetentionProblem
    text: str
    fix: str


@dataclass(frozen=True, slots=True)
class RetentionStatus:
    """The state of one ledger's retention, compared with the settings."""

    age_days: float | None
    """Age in days of the oldest record after line 0, or None if there is none."""
    due_before: int
    """The records from 1 to ``due_before`` - 1 are past their retention period and in closed
    segments. 1 if there are no such records.
    """
    segment_due: bool
    """True if the next segment is due by age alone. Its size is known only to code that reads the
    file.
    """
    unarchived: tuple[int, ...]
    """Segments that have no copy in the archive."""
    held: tuple[str, ...]
    """Active legal holds."""
    findings: tuple[RetentionFinding, ...]


def judge(facts: RetentionFacts, settings: RetentionSettings, now: datetime) -> RetentionStatus:
    """Return the status of *facts* at *now*. This is a pure function."""
    oldest = moment(facts.oldest)
    age = (now - oldest).total_seconds() / 86_400 if oldest is not None else None
    due = [each for each in facts.segments if _is_overdue(each, settings, now)]
    begin = moment(facts.open_begin)
    waiting = now - begin if begin is not None else timedelta()
    interval = timedelta(days=settings.segment_days)
    copied = {each.segment for each in facts.archived}
    unarchived = tuple(
        each.number
        for each in facts.segments
        if settings.archive is not None and each.number not in copied
    )
    findings = [*_deleted_too_early(facts, settings)]
    if settings.days and settings.days < settings.floor_days:
        findings.append(
            RetentionFinding(
                RetentionProblem.BELOW_FLOOR,
                f"[retention] days is {settings.days}, below floor_days ({settings.floor_days}):"
                " nothing is deleted",
                "raise [retention] days to floor_days or more",
            )
        )
    elif settings.days and age is not None and not facts.holds:
        limit = timedelta(days=settings.days) + interval + GRACE
        if age * 86_400 > limit.total_seconds():
            text = (
                f"records are {counted(round(age), 'day')} old; "
                f"they must be deleted after {counted(settings.days, 'day')}"
            )
            findings.append(
                RetentionFinding(RetentionProblem.OVERDUE, text, "guardrail retention run")
            )
    if waiting > interval + GRACE:
        text = f"no segment was closed for {counted(waiting.days, 'day')}"
        findings.append(
            RetentionFinding(RetentionProblem.SEAL_OVERDUE, text, "guardrail retention run")
        )
    late = [each for each in facts.segments if each.number in unarchived and _is_late(each, now)]
    if late:
        text = (
            f"{counted(len(late), 'segment')} {agree(len(late), 'has')} no copy in the archive; the"
            f" first is number {late[0].number}"
        )
        findings.append(
            RetentionFinding(RetentionProblem.UNARCHIVED, text, "guardrail retention run")
        )
    return RetentionStatus(
        age_days=age,
        due_before=due[-1].last + 1 if due else 1,
        segment_due=waiting >= interval,
        unarchived=unarchived,
        held=tuple(each.id for each in facts.holds),
        findings=tuple(findings),
    )


def _is_overdue(segment: Segment, settings: RetentionSettings, now: datetime) -> bool:
    # The record that closed the segment determines the age, because the records in the segment are
    # older.
    closed_at = moment(segment.ts)
    return (
        settings.days > 0
        and closed_at is not None
        and now - closed_at > timedelta(days=settings.days)
    )


def _is_late(segment: Segment, now: datetime) -> bool:
    closed_at = moment(segment.ts)
    return closed_at is not None and now - closed_at > GRACE


def _deleted_too_early(
    facts: RetentionFacts, settings: RetentionSettings
) -> list[RetentionFinding]:
    findings = []
    for each in facts.prunings:
        done, last = moment(each.ts), moment(each.last)
        if done is None or last is None or done - last >= timedelta(days=settings.floor_days):
            continue
        kept = max(0, (done - last).days)
        findings.append(
            RetentionFinding(
                RetentionProblem.UNDER_KEPT,
                f"records up to {each.before - 1} were deleted after {counted(kept, 'day')}, below"
                f" the floor of {settings.floor_days}",
                f"guardrail show {each.seq}",
            )
        )
    return findings
