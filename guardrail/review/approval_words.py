"""The meaning, in words, of each code for an approval that was turned down."""

from __future__ import annotations

from collections.abc import Mapping

from guardrail.approvals.rules import RejectionReason

__all__ = ["NEXT", "REASONS"]

REASONS: Mapping[RejectionReason, str] = {
    RejectionReason.UNKNOWN: "there is no request of this id in this log",
    RejectionReason.PENDING: "nobody has approved it yet",
    RejectionReason.APPROVERS_MISSING: "more people must approve it",
    RejectionReason.REFUSED: "someone refused it",
    RejectionReason.EXPIRED: "it expired: the request, or what was given on it, is too old",
    RejectionReason.ALREADY_USED: (
        "it has been used: the call was allowed by it once, and is not allowed by it again"
    ),
    RejectionReason.ALREADY_DECIDED: "enough people have approved it already",
    RejectionReason.OTHER_SESSION: "it was asked for in another session, or by someone else",
    RejectionReason.OTHER_TOOL: "it was asked for another tool",
    RejectionReason.OTHER_SCHEMA: "the tool's schema has changed since",
    RejectionReason.OTHER_ARGUMENTS: "it was asked for other arguments",
    RejectionReason.APPROVER_IS_REQUESTER: (
        "who asks can't approve: principal, agent and everyone in between are requesters"
    ),
    RejectionReason.APPROVER_COUNTED: (
        "your approval counts already; another person must approve as well"
    ),
    RejectionReason.APPROVER_UNKNOWN: "the answer does not say who gives it, or not what it is",
    RejectionReason.ANSWER_CHANGED: (
        "the answer says more than yes or no: other arguments, or keys that mean nothing here"
    ),
    RejectionReason.ASSERTED: (
        "nobody verified who you are, and the settings do not let such approvals count"
    ),
    RejectionReason.NEEDS_HIDDEN: (
        "the policy says that you must see what is hidden in the record, so nobody can approve it"
    ),
    RejectionReason.CLOCK_SKEW: "this clock is behind the newest record of the ledger",
    RejectionReason.RULES_CHANGED: "the policy now asks for more than was given",
}
"""The meaning of each code for its reader."""

_AGAIN = "Make the call without an approval: it is a new request, and somebody can answer that one."
_SAME = (
    "Make the call exactly as it was asked for. If it is meant to differ, make it without an"
    " approval: that is a new request."
)

NEXT: Mapping[RejectionReason, str] = {
    RejectionReason.UNKNOWN: (
        "Pass the id that ApprovalRequired.approval holds, to a guard on the same ledger;"
        " `guardrail approvals --all` lists every request."
    ),
    RejectionReason.PENDING: (
        "Run `guardrail approvals`, then `guardrail approve ID --reason TEXT` or `guardrail refuse"
        " ID --reason TEXT`."
    ),
    RejectionReason.APPROVERS_MISSING: (
        "Another person runs `guardrail approve ID --reason TEXT`; `guardrail approvals` says how"
        " many are still needed."
    ),
    RejectionReason.REFUSED: (
        "Nothing: a refusal is final. If the call is needed all the same, make it without an"
        " approval: that is a new request, which a person sees again."
    ),
    RejectionReason.EXPIRED: _AGAIN,
    RejectionReason.ALREADY_USED: f"An approval is for one call. {_AGAIN}",
    RejectionReason.ALREADY_DECIDED: "Make the call with it: no more answers are needed.",
    RejectionReason.OTHER_SESSION: (
        "Make the call in the session that asked, as the same principal and agent:"
        " guard.session(..., id=THE_SAME_ID). docs/web-apps.md shows it for requests of a web"
        " application."
    ),
    RejectionReason.OTHER_TOOL: _SAME,
    RejectionReason.OTHER_SCHEMA: _AGAIN,
    RejectionReason.OTHER_ARGUMENTS: _SAME,
    RejectionReason.APPROVER_IS_REQUESTER: (
        "Somebody else must run `guardrail approve ID --reason TEXT`."
    ),
    RejectionReason.APPROVER_COUNTED: "Another person runs `guardrail approve ID --reason TEXT`.",
    RejectionReason.APPROVER_UNKNOWN: "Answer again, and say who answers.",
    RejectionReason.ANSWER_CHANGED: "Answer again with yes or no and a reason, and nothing else.",
    RejectionReason.ASSERTED: (
        "Let approvals count whose identity nobody verified: unsafe_asserted_approvals = true in"
        " [approvals] (read SECURITY.md first). Then approve it again."
    ),
    RejectionReason.NEEDS_HIDDEN: (
        "Show what the rule's needs name, or take it out of needs, and make the call without an"
        " approval."
    ),
    RejectionReason.CLOCK_SKEW: (
        "Set the clock of this machine right, then make the call again with the same approval."
    ),
    RejectionReason.RULES_CHANGED: _AGAIN,
}
"""The next step after a call whose approval did not count, for the reader of `guardrail why`."""
