"""The check of ``doctor`` about retention: whether records are kept as long as the settings say, and no longer."""

from __future__ import annotations

from datetime import UTC, datetime

from guardrail.config import Settings
from guardrail.ledger.reader import LedgerReader
from guardrail.retention.facts import Facts, read_facts
from guardrail.retention.segments import read_manifest
from guardrail.retention.status import Standing, Trouble, judge
from guardrail.review.doctor import Check, State

__all__ = ["retention"]


def retention(settings: Settings, *, now: datetime | None = None) -> Check:
    """Compare the ages of records, segments and copies with what *settings* want. Raises ``GuardrailError``."""
    if not settings.ledger.path.exists():
        return Check("retention", State.OK, "there is no ledger yet")
    with LedgerReader.open(settings.ledger.path) as reader, reader.snapshot():
        facts = read_facts(reader)
    standing = judge(facts, settings.retention, now or datetime.now(UTC))
    lost = _lost(settings, facts)
    if lost:
        return Check(
            "retention",
            State.NOTE,
            f"the archive's copy of segment {lost[0]} is gone"
            + (f", and those of {len(lost) - 1} more" if len(lost) > 1 else ""),
            "guardrail archive",
        )
    if not standing.findings:
        return Check("retention", State.OK, _told(settings, standing))
    worst = next(
        (each for each in standing.findings if each.trouble is Trouble.BELOW_FLOOR),
        standing.findings[0],
    )
    more = len(standing.findings) - 1
    return Check(
        "retention",
        State.FAIL if worst.trouble is Trouble.BELOW_FLOOR else State.NOTE,
        worst.text + (f" (and {more} more: guardrail retention status)" if more else ""),
        worst.fix,
    )


def _lost(settings: Settings, facts: Facts) -> list[int]:
    """Return the segments whose copy in the archive was recorded and is not there, while their records are."""
    target = settings.retention.archive
    if target is None:
        return []
    known = {each.segment for each in facts.archived}
    return [
        each.number
        for each in facts.segments
        if each.number in known and read_manifest(target, facts.genesis, each.number) is None
    ]


def _told(settings: Settings, standing: Standing) -> str:
    days = settings.retention.days
    rule = f"records are kept for {days} days" if days else "records are kept for ever"
    if standing.held:
        return f"{rule}; {len(standing.held)} legal hold(s) keep all of them"
    if standing.age_days is None:
        return rule
    return f"{rule}; the oldest is {standing.age_days:,.0f} days old"
