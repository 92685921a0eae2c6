"""``doctor`` check: records are kept as long as the settings say, and no longer."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from guardrail.config import Settings
from guardrail.core.words import agree, counted
from guardrail.ledger.reader import LedgerReader
from guardrail.retention.facts import read_facts
from guardrail.retention.missing_copies import missing_copies
from guardrail.retention.state import read_state, state_path
from guardrail.retention.status import RetentionProblem, RetentionStatus, judge
from guardrail.review.doctor.result import Check, CheckState
from guardrail.review.terminal import clock

__all__ = ["retention"]


def retention(settings: Settings, *, now: datetime | None = None) -> Check:
    """Compare the ages of records, segments and copies with *settings*. Raises
    ``GuardrailError``.
    """
    if not settings.ledger.path.exists():
        return Check("retention", CheckState.OK, "there is no ledger yet")
    with LedgerReader.open(settings.ledger.path) as reader, reader.snapshot():
        facts = read_facts(reader)
    now = now or datetime.now(UTC)
    status = judge(facts, settings.retention, now)
    stuck = _never_deletes(settings, status) or _last_failure(settings)
    if stuck is not None and stuck.state is CheckState.FAIL:
        return stuck
    gone = next(missing_copies(settings, facts), None)
    if gone is not None:
        return Check("retention", CheckState.NOTE, gone.text, gone.fix)
    if not status.findings:
        if stuck is not None:
            return stuck
        return Check("retention", CheckState.OK, _describe(settings, status))
    worst = next(
        (each for each in status.findings if each.trouble is RetentionProblem.BELOW_FLOOR),
        status.findings[0],
    )
    more = len(status.findings) - 1
    return Check(
        "retention",
        CheckState.FAIL if worst.trouble is RetentionProblem.BELOW_FLOOR else CheckState.NOTE,
        worst.text + (f" (and {more} more: guardrail retention status)" if more else ""),
        worst.fix,
    )


def _never_deletes(settings: Settings, status: RetentionStatus) -> Check | None:
    """If no configured anchor can vouch for a head, return a finding that no record will ever be
    deleted.

    The finding becomes a failure once the log is old enough for its first segment to be sealed.
    Before that, there is still time to fix the settings.
    """
    kept, anchors = settings.retention, settings.anchors
    if not kept.days or kept.days < kept.floor_days or anchors.file or anchors.witness:
        return None
    if status.age_days is None or status.held:
        return None
    old = status.age_days > kept.segment_days
    also = "" if kept.archive else ", and there is no archive for a second copy"
    return Check(
        "retention",
        CheckState.FAIL if old else CheckState.NOTE,
        f"nothing can be deleted after {counted(kept.days, 'day')}, because [anchors] names no "
        "file or witness with a head that covers the records" + also,
        "set a file or a witness in [anchors]"
        + ("" if kept.archive else ", and a folder on another disk as archive in [retention]"),
    )


def _last_failure(settings: Settings) -> Check | None:
    """Return the last failure of a guard's retention run, or None if there is none. Two consecutive
    failures count as a failed check.
    """
    if not settings.retention.auto:
        return None
    state = read_state(state_path(settings.ledger.path))
    if not state.failures or state.tried is None:
        return None
    when = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=state.tried)).isoformat(
        timespec="seconds"
    )
    times = f", {counted(state.failures, 'time')} in a row" if state.failures > 1 else ""
    return Check(
        "retention",
        CheckState.FAIL if state.failures > 1 else CheckState.NOTE,
        f"due work was not done{times}, last at {clock(when)}: {state.message} ({state.code})",
        state.hint or "guardrail retention run",
    )


def _describe(settings: Settings, status: RetentionStatus) -> str:
    days = settings.retention.days
    rule = f"records are kept for {counted(days, 'day')}" if days else "records are kept forever"
    if days and not settings.retention.auto:
        rule += ", and only guardrail retention run deletes them (auto = false)"
    if status.held:
        return (
            f"{rule}; {counted(len(status.held), 'legal hold')} {agree(len(status.held), 'keeps')}"
            " all of them"
        )
    if status.age_days is None:
        return rule
    return f"{rule}; the oldest is {counted(round(status.age_days), 'day')} old"
