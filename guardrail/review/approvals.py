"""Requests for approval as a person meets them: which are open, who answered, and what a turned-down answer means. Reads only."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, Protocol

from guardrail.approval_views import Listed, listed, read_case
from guardrail.approvals import Case, Reason, State, Terms
from guardrail.review.records import NotFoundError, parse, text
from guardrail.review.terminal import clip, name, quote

__all__ = ["OPEN", "REASONS", "RequestLog", "find_request", "open_requests"]

_MAX_NAMED = 5

OPEN = frozenset({State.PENDING, State.GRANTED, State.BLOCKED})
"""What a person can still do something about."""

REASONS: Mapping[Reason, str] = {
    Reason.UNKNOWN: "there is no request of this id in this log",
    Reason.PENDING: "nobody has approved it yet",
    Reason.APPROVERS_MISSING: "more people must approve it",
    Reason.REFUSED: "someone refused it",
    Reason.EXPIRED: "it is too old",
    Reason.ALREADY_USED: "it has been used: the call was allowed by it once, and is not allowed by it again",
    Reason.ALREADY_DECIDED: "it is decided already",
    Reason.OTHER_SESSION: "it was asked for in another session, or by someone else",
    Reason.OTHER_TOOL: "it was asked for another tool",
    Reason.OTHER_SCHEMA: "the tool's schema has changed since",
    Reason.OTHER_ARGUMENTS: "it was asked for other arguments",
    Reason.APPROVER_IS_REQUESTER: "who asks can't approve: principal, agent and everyone in between are requesters",
    Reason.APPROVER_COUNTED: "your approval counts already; another person must approve as well",
    Reason.APPROVER_UNKNOWN: "the answer does not say who gives it, or not what it is",
    Reason.AMBIGUOUS: "the answer does not say which of several open requests it is for",
    Reason.ASSERTED: "nobody verified who you are, and the settings do not let such approvals count",
    Reason.NEEDS_HIDDEN: "the policy says that you must see what is hidden in the record, so nobody can approve it",
    Reason.CLOCK_SKEW: "this clock is behind the newest record of the ledger",
    Reason.RULES_CHANGED: "the policy now asks for more than was given",
}
"""What each code means to the person who reads it."""


class RequestLog(Protocol):
    """What is read of a ledger. ``guardrail.ledger.reader.LedgerReader`` is one."""

    def requests(self, session: str | None = None) -> list[str]:
        """Return the ids of the requests, the oldest first."""

    def approval(self, approval: str) -> list[bytes]:
        """Return a request and its steps."""

    def newest(self) -> bytes | None:
        """Return the last line."""

    def snapshot(self) -> AbstractContextManager[Any]:
        """Let what is read inside be of one moment."""

    def record(self, seq: int) -> bytes | None:
        """Return a line."""


def open_requests(
    log: RequestLog, terms: Terms, now: datetime, *, everything: bool = False
) -> list[Listed]:
    """Return the requests that someone can still approve, refuse or use, the oldest first; with *everything*, all."""
    found = []
    for approval in log.requests():
        case = read_case(log, approval)
        if case is None:
            continue
        entry = listed(case, terms, now)
        if everything or entry.state in OPEN:
            found.append(entry)
    return found


def find_request(log: RequestLog, ref: str) -> Case:
    """Return the request that *ref* names: its id, the beginning of one, or its record's number.

    Raises ``NotFoundError``: none, or more than one.
    """
    shown = clip(quote(ref), 60)
    wanted = [case for case in _candidates(log, ref) if case is not None]
    if not wanted:
        raise NotFoundError(
            f"no request for approval {shown} in this ledger", hint="guardrail approvals"
        )
    if len(wanted) > 1:
        names = ", ".join(clip(name(case.request.id), 30) for case in wanted[:_MAX_NAMED])
        raise NotFoundError(
            f"{shown} names more than one request: {names}",
            code="review.ambiguous",
            hint="give more of the id",
        )
    return wanted[0]


def _candidates(log: RequestLog, ref: str) -> list[Case | None]:
    if not ref or not ref.isascii():
        return []
    if ref.isdigit() and len(ref) < 18 and not (len(ref) > 1 and ref[0] == "0"):  # ids begin with 0
        line = log.record(int(ref))
        case = None if line is None else read_case(log, text(parse(line), "call"))
        if case is not None and case.request.seq == int(ref):
            return [case]
    requests = [approval for approval in log.requests() if approval.startswith(ref.upper())]
    return [read_case(log, approval) for approval in requests[: _MAX_NAMED + 1]]
