"""Reads approval requests and displays them with their steps, their state and the view for
approvers. Does not write.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from guardrail.approvals import rules as approvals
from guardrail.approvals.rules import ApprovalCase, ApprovalStep, ApprovalTerms, RequestState
from guardrail.config import ApprovalSettings
from guardrail.core.times import record_time

__all__ = [
    "ApprovalLog",
    "ListedRequest",
    "document",
    "hidden",
    "listed",
    "read_case",
    "terms_of",
    "utc_now",
]


class ApprovalLog(Protocol):
    """The ledger reads that this module needs. ``guardrail.ledger.reader.LedgerReader`` implements
    them.
    """

    def approval(self, approval: str) -> list[bytes]:
        """Return the decision about the call *approval*, followed by all steps of the approval."""

    def newest(self) -> bytes | None:
        """Return the last line of the log."""

    def snapshot(self) -> AbstractContextManager[Any]:
        """Read from a single snapshot inside the block."""


@dataclass(frozen=True, slots=True)
class ListedRequest:
    """An approval request and its state."""

    case: ApprovalCase
    state: RequestState
    live_grants: tuple[ApprovalStep, ...]
    """The approvals that are currently valid."""
    age: timedelta
    ends: datetime
    """Expiry time of the request itself."""


def listed(case: ApprovalCase, terms: ApprovalTerms, now: datetime) -> ListedRequest:
    """Return *case* with its state at *now*."""
    return ListedRequest(
        case=case,
        state=approvals.state_of(case, now, terms),
        live_grants=approvals.live_grants(case, now, terms),
        age=now - case.request.asked,
        ends=case.request.asked + timedelta(seconds=terms.request_ttl),
    )


def hidden(case: ApprovalCase) -> dict[str, list[str]]:
    """Return the values that are hidden from the approver, keyed by pointer, with their classes and
    the rules that removed them.
    """
    return {pointer: list(entry) for pointer, entry in case.request.removed.items()}


def document(entry: ListedRequest) -> dict[str, Any]:
    """Return one request in the form that ``--json`` prints (docs/cli.md)."""
    request = entry.case.request
    return {
        "approval": request.id,
        "seq": request.seq,
        "asked": record_time(request.asked),
        "age_s": round(entry.age.total_seconds(), 1),
        "ends": record_time(entry.ends),
        "state": str(entry.state),
        "tool": request.tool.get("name"),
        "server": request.tool.get("server"),
        "declared": request.tool.get("declared"),
        "args": request.args,
        "hidden": hidden(entry.case),
        "truncated": request.truncated,
        "hidden_needs": list(request.hidden_needs),
        "tenant": request.tenant,
        "session": request.session,
        "principal": dict(request.principal),
        "agent": dict(request.agent),
        "delegation": list(request.delegation),
        "rules": [
            {
                "rule": rule.rule,
                "message": rule.message,
                "needs": list(rule.needs),
                "approvers": rule.approvers,
            }
            for rule in request.rules
        ],
        "needed": request.needed,
        "given": [
            {
                "seq": step.seq,
                "approver": step.approver.document() if step.approver is not None else None,
                "expires": record_time(step.expires) if step.expires is not None else None,
            }
            for step in entry.live_grants
        ],
        "answers": [_step_document(step) for step in entry.case.steps],
    }


def _step_document(step: ApprovalStep) -> dict[str, Any]:
    people = step.approvers if step.approver is None else (step.approver,)
    return {
        "kind": str(step.kind),
        "seq": step.seq,
        "ts": record_time(step.at),
        "people": [person.document() for person in people],
        "expires": record_time(step.expires) if step.expires is not None else None,
    }


def terms_of(settings: ApprovalSettings) -> ApprovalTerms:
    """Return the limits for approvals from ``[approvals]``."""
    return ApprovalTerms(
        ttl=settings.ttl_s,
        request_ttl=settings.request_ttl_s,
        unsafe_asserted=settings.unsafe_asserted_approvals,
    )


def utc_now() -> datetime:
    """Return the current time, UTC."""
    return datetime.now(UTC)


def read_case(log: ApprovalLog, approval: str) -> ApprovalCase | None:
    """Return the request *approval* with its steps, read from one snapshot, or None if this log has
    no such request.
    """
    if not approvals.is_approval_id(approval):
        return None
    with log.snapshot():
        case = approvals.case_of(log.approval(approval), log.newest())
    return None if case is None else replace(case, tree=getattr(log, "tree", None))
