"""Builds documents for ``--json``: plain values in a documented form (docs/cli.md). Fields are only
ever added.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from guardrail.review import approval_answers
from guardrail.review.lookup import CallMatch, FoundCalls
from guardrail.review.records import RecordedCall, RecordedOutcome, RuleHit, SessionKey
from guardrail.review.sessions import SessionSummary, Timeline
from guardrail.review.why import DecisionExplanation, headline

__all__ = ["call", "found", "sessions", "timeline", "why"]


def _key(key: SessionKey) -> dict[str, str]:
    return {"session": key.id, "tenant": key.tenant, "principal": key.principal, "agent": key.agent}


def sessions(
    log: str, rows: Sequence[SessionSummary], total: int, stops: Sequence[int | None]
) -> dict[str, Any]:
    """Return the document for ``guardrail sessions --json``. *stops* has the number of the
    suspension that stops each session, or None.
    """
    listed = []
    for row, stop in zip(rows, stops, strict=True):
        counts = asdict(row)
        del counts["key"]
        listed.append({**_key(row.key), **counts, "suspended": stop})
    return {"log": log, "total": total, "sessions": listed}


def _outcome(outcome: RecordedOutcome) -> dict[str, Any]:
    return {
        "seq": outcome.seq,
        "ts": outcome.ts,
        "status": outcome.status,
        "ms": outcome.ms,
        "result": outcome.result or None,
        "error": outcome.error or None,
        "reproducible": outcome.reproducible,
        "omitted": outcome.omitted or None,
        "body": outcome.body or None,
    }


def _rule(hit: RuleHit) -> dict[str, Any]:
    return {**asdict(hit), "needs": list(hit.needs)}


def _used(entry: RecordedCall) -> dict[str, Any] | None:
    if not entry.approval:
        return None
    return {"id": entry.approval, "approvers": [asdict(who) for who in entry.approvers]}


def call(entry: RecordedCall) -> dict[str, Any]:
    """Return the document for one call and its outcome."""
    return {
        "seq": entry.seq,
        "type": entry.type,
        "ts": entry.ts,
        "call": entry.call,
        "parent": entry.parent or None,
        "model": entry.model or None,
        "framework": entry.framework or None,
        "trace": entry.trace or None,
        "tool": entry.tool,
        "server": entry.server or None,
        "declared": entry.declared,
        "refused": entry.refused or None,
        "args": entry.args,
        "removed": entry.removed,
        "truncated": entry.truncated,
        "verdict": headline(entry.effect, rejected=entry.type == "call.rejected"),
        "effect": entry.effect or None,
        "cause": entry.cause or None,
        "detail": entry.detail or None,
        "message": entry.message or None,
        "rules": [_rule(hit) for hit in entry.rules],
        "reproducible": entry.reproducible,
        "enforcement": entry.enforcement or None,
        "soon": entry.soon,
        "ms": entry.ms,
        "omitted": entry.omitted or None,
        "open": entry.open,
        "approval": _used(entry),
        "presented": entry.presented or None,
        "differs": None if entry.differs is None else list(entry.differs),
        "answers": approval_answers.documents(entry.answers),
        "outcome": None if entry.outcome is None else _outcome(entry.outcome),
        "claims": [_outcome(claim) for claim in entry.claims],
    }


def timeline(log: str, session: Timeline) -> dict[str, Any]:
    """Return the document for ``guardrail show SESSION --json``."""
    return {
        "log": log,
        **_key(session.key),
        "principal_identity": session.header.get("principal"),
        "agent_identity": session.header.get("agent"),
        "delegation": session.header.get("delegation"),
        "started": session.started,
        "ended": session.ended,
        "calls": [call(entry) for entry in session.calls],
    }


def found(log: str, found: FoundCalls) -> dict[str, Any]:
    """Return the document for ``guardrail find --json``."""
    return {
        "log": log,
        "records": found.records,
        "calls": [
            {**_key(entry.key), **call(entry), "found": _places(places)}
            for entry, places in found.calls
        ],
        "others": [
            {"seq": each.seq, "type": each.type, "ts": each.ts, "found": _places(each.places)}
            for each in found.others
        ],
        "before": found.before,
        "unknown_keys": list(found.unknown_keys),
        "destroyed_keys": list(found.destroyed_keys),
        "classes": list(found.classes),
        "unknown_classes": found.unknown_classes,
        "unknown_tenants": found.unknown_tenants,
    }


def _places(places: Sequence[CallMatch]) -> list[dict[str, Any]]:
    return [{"seq": each.seq, "class": each.cls, "pointer": each.pointer} for each in places]


def why(log: str, answer: DecisionExplanation) -> dict[str, Any]:
    """Return the document for ``guardrail why SEQ --json``."""
    policy: Mapping[str, Any] | None = answer.policy or None
    return {
        "log": log,
        **_key(answer.call.key),
        "call": call(answer.call),
        "verdict": answer.headline,
        "sentence": answer.reason.sentence,
        "next_step": answer.reason.next_step,
        "policy": policy,
        "reproducible": answer.reproducible,
        "reproducible_sentence": answer.reproducible_sentence,
        "input": answer.input,
        "input_sentence": answer.input_sentence,
    }
