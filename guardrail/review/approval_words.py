"""The meaning of each code of an approval that was turned down, in words."""

from __future__ import annotations

from collections.abc import Mapping

from guardrail.approvals.rules import Reason

__all__ = ["NEXT", "REASONS"]

REASONS: Mapping[Reason, str] = {
    Reason.UNKNOWN: "there is no request of this id in this log",
    Reason.PENDING: "nobody has approved it yet",
    Reason.APPROVERS_MISSING: "more people must approve it",
    Reason.REFUSED: "someone refused it",
    Reason.EXPIRED: "it expired: the request, or what was given on it, is too old",
    Reason.ALREADY_USED: (
        "it has been used: the call was allowed by it once, and is not allowed by it again"
    ),
    Reason.ALREADY_DECIDED: "enough people have approved it already",
    Reason.OTHER_SESSION: "it was asked for in another session, or by someone else",
    Reason.OTHER_TOOL: "it was asked for another tool",
    Reason.OTHER_SCHEMA: "the tool's schema has changed since",
    Reason.OTHER_ARGUMENTS: "it was asked for other arguments",
    Reason.APPROVER_IS_REQUESTER: (
        "who asks can't approve: principal, agent and everyone in between are requesters"
    ),
    Reason.APPROVER_COUNTED: "your approval counts already; another person must approve as well",
    Reason.APPROVER_UNKNOWN: "the answer does not say who gives it, or not what it is",
    Reason.ANSWER_CHANGED: (
        "the answer says more than yes or no: other arguments, or keys that mean nothing here"
    ),
    Reason.ASSERTED: (
        "nobody verified who you are, and the settings do not let such approvals count"
    ),
    Reason.NEEDS_HIDDEN: (
        "the policy says that you must see what is hidden in the record, so nobody can approve it"
    ),
    Reason.CLOCK_SKEW: "this clock is behind the newest record of the ledger",
    Reason.RULES_CHANGED: "the policy now asks for more than was given",
}
"""The meaning of each code for its reader."""

_AGAIN = "Make the call without an approval: it is a new request, and somebody can answer that one."
_SAME = (
    "Make the call exactly as it was asked for. If it is meant to differ, make it without an"
    " approval: that is a new request."
)

NEXT: Mapping[Reason, str] = {
    Reason.UNKNOWN: (
        "Pass the id that ApprovalRequired.approval holds, to a guard on the same ledger;"
        " `guardrail approvals --all` lists every request."
    ),
    Reason.PENDING: (
        "Run `guardrail approvals`, then `guardrail approve ID --reason TEXT` or `guardrail refuse"
        " ID --reason TEXT`."
    ),
    Reason.APPROVERS_MISSING: (
        "Another person runs `guardrail approve ID --reason TEXT`; `guardrail approvals` says how"
        " many are still needed."
    ),
    Reason.REFUSED: (
        "Nothing: a refusal is final. If the call is needed all the same, make it without an"
        " approval: that is a new request, which a person sees again."
    ),
    Reason.EXPIRED: _AGAIN,
    Reason.ALREADY_USED: f"An approval is for one call. {_AGAIN}",
    Reason.ALREADY_DECIDED: "Make the call with it: no more answers are needed.",
    Reason.OTHER_SESSION: (
        "Make the call in the session that asked, as the same principal and agent:"
        " guard.session(..., id=THE_SAME_ID). docs/web-apps.md shows it for requests of a web"
        " application."
    ),
    Reason.OTHER_TOOL: _SAME,
    Reason.OTHER_SCHEMA: _AGAIN,
    Reason.OTHER_ARGUMENTS: _SAME,
    Reason.APPROVER_IS_REQUESTER: "Somebody else must run `guardrail approve ID --reason TEXT`.",
    Reason.APPROVER_COUNTED: "Another person runs `guardrail approve ID --reason TEXT`.",
    Reason.APPROVER_UNKNOWN: "Answer again, and say who answers.",
    Reason.ANSWER_CHANGED: "Answer again with yes or no and a reason, and nothing else.",
    Reason.ASSERTED: (
        "Let approvals count whose identity nobody verified: unsafe_asserted_approvals = true in"
        " [approvals] (read SECURITY.md first). Then approve it again."
    ),
    Reason.NEEDS_HIDDEN: (
        "Show what the rule's needs name, or take it out of needs, and make the call without an"
        " approval."
    ),
    Reason.CLOCK_SKEW: (
        "Set the clock of this machine right, then make the call again with the same approval."
    ),
    Reason.RULES_CHANGED: _AGAIN,
}
"""The next step after a call whose approval did not count, for the reader of `guardrail why`."""
