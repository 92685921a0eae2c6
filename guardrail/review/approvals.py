"""Shows requests for approval to a person: the open requests, who answered, and why an answer was
rejected. Reads only.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, Protocol

from guardrail.approvals.rules import ApprovalCase, ApprovalTerms, RequestState, case_of
from guardrail.approvals.views import ListedRequest, listed, read_case
from guardrail.review.records import NotFoundError, parse
from guardrail.review.terminal import clip, name, quote
from guardrail.review.values import text

__all__ = ["OPEN", "RequestLog", "find_request", "open_requests"]

_MAX_NAMED = 5

OPEN = frozenset({RequestState.PENDING, RequestState.GRANTED, RequestState.BLOCKED})
"""States in which a person can still act on a request."""


class RequestLog(Protocol):
    """The read operations on the ledger that this module needs.
    ``guardrail.ledger.reader.LedgerReader`` implements them.
    """

    def requests(self, session: str | None = None) -> list[str]:
        """Return the ids of the requests, oldest first."""

    def decision(self, call: str) -> bytes | None:
        """Return the decision about a call."""

    def approval(self, approval: str) -> list[bytes]:
        """Return a request and its steps."""

    def newest(self) -> bytes | None:
        """Return the last line of the log."""

    def snapshot(self) -> AbstractContextManager[Any]:
        """Read from a single snapshot inside the block."""

    def record(self, seq: int) -> bytes | None:
        """Return the line of a record."""


def open_requests(
    log: RequestLog, terms: ApprovalTerms, now: datetime, *, everything: bool = False
) -> list[ListedRequest]:
    """Return the requests that someone can still approve, refuse or use, oldest first. If
    *everything* is True, return all of them.
    """
    found = []
    for approval in log.requests():
        if not everything and _has_expired(log, approval, terms, now):
            continue  # checked first, because finding the steps means reading every later record
        case = read_case(log, approval)
        if case is None:
            continue
        entry = listed(case, terms, now)
        if everything or entry.state in OPEN:
            found.append(entry)
    return found


def _has_expired(log: RequestLog, approval: str, terms: ApprovalTerms, now: datetime) -> bool:
    line = log.decision(approval)
    case = case_of([line], line) if line is not None else None
    return case is None or listed(case, terms, now).state is RequestState.EXPIRED


def find_request(log: RequestLog, ref: str) -> ApprovalCase:
    """Return the request *ref*: an id, the beginning of one, or a record number.

    Raises ``NotFoundError`` unless exactly one request matches.
    """
    shown = clip(quote(ref), 60)
    wanted = [case for case in _candidates(log, ref) if case is not None]
    if not wanted:
        raise NotFoundError(
            f"this ledger has no approval request {shown}", hint="guardrail approvals"
        )
    if len(wanted) > 1:
        names = ", ".join(clip(name(case.request.id), 30) for case in wanted[:_MAX_NAMED])
        raise NotFoundError(
            f"{shown} matches more than one request: {names}",
            code="review.ambiguous",
            hint="specify more characters of the id",
        )
    return wanted[0]


def _candidates(log: RequestLog, ref: str) -> list[ApprovalCase | None]:
    if not ref or not ref.isascii():
        return []
    if ref.isdigit() and len(ref) < 18 and not (len(ref) > 1 and ref[0] == "0"):  # ids begin with 0
        line = log.record(int(ref))
        case = None if line is None else read_case(log, text(parse(line), "call"))
        if case is not None and case.request.seq == int(ref):
            return [case]
    requests = [approval for approval in log.requests() if approval.startswith(ref.upper())]
    return [read_case(log, approval) for approval in requests[: _MAX_NAMED + 1]]
