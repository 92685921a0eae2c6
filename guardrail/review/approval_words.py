"""What each code of an approval that was turned down means, in words."""

from __future__ import annotations

from collections.abc import Mapping

from guardrail.approvals import Reason

__all__ = ["REASONS"]

REASONS: Mapping[Reason, str] = {
    Reason.UNKNOWN: "there is no request of this id in this log",
    Reason.PENDING: "nobody has approved it yet",
    Reason.APPROVERS_MISSING: "more people must approve it",
    Reason.REFUSED: "someone refused it",
    Reason.EXPIRED: "it expired: the request, or what was given on it, is too old",
    Reason.ALREADY_USED: "it has been used: the call was allowed by it once, and is not allowed by it again",
    Reason.ALREADY_DECIDED: "enough people have approved it already",
    Reason.OTHER_SESSION: "it was asked for in another session, or by someone else",
    Reason.OTHER_TOOL: "it was asked for another tool",
    Reason.OTHER_SCHEMA: "the tool's schema has changed since",
    Reason.OTHER_ARGUMENTS: "it was asked for other arguments",
    Reason.APPROVER_IS_REQUESTER: "who asks can't approve: principal, agent and everyone in between are requesters",
    Reason.APPROVER_COUNTED: "your approval counts already; another person must approve as well",
    Reason.APPROVER_UNKNOWN: "the answer does not say who gives it, or not what it is",
    Reason.ANSWER_CHANGED: "the answer says more than yes or no: other arguments, or keys that mean nothing here",
    Reason.ASSERTED: "nobody verified who you are, and the settings do not let such approvals count",
    Reason.NEEDS_HIDDEN: "the policy says that you must see what is hidden in the record, so nobody can approve it",
    Reason.CLOCK_SKEW: "this clock is behind the newest record of the ledger",
    Reason.RULES_CHANGED: "the policy now asks for more than was given",
}
"""What each code means to the person who reads it."""
