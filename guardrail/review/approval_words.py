"""Explains, for each code, why an approval was rejected."""

from __future__ import annotations

from collections.abc import Mapping

from guardrail.approvals.kinds import RejectionReason

__all__ = ["COUNTS_IF", "NEXT", "REASONS"]

REASONS: Mapping[RejectionReason, str] = {
    RejectionReason.UNKNOWN: "this log contains no request with this id",
    RejectionReason.PENDING: "nobody has approved it yet",
    RejectionReason.APPROVERS_MISSING: "more people must approve it",
    RejectionReason.REFUSED: "a person has already refused it",
    RejectionReason.EXPIRED: "it expired: the request, or an approval of it, is too old",
    RejectionReason.ALREADY_USED: ("it has already been used, and can't be used again"),
    RejectionReason.ALREADY_DECIDED: "enough people have approved it already",
    RejectionReason.OTHER_SESSION: "it was requested in a different session, or by someone else",
    RejectionReason.OTHER_TOOL: "it was requested for a different tool",
    RejectionReason.OTHER_SCHEMA: "the tool's schema has changed since then",
    RejectionReason.OTHER_ARGUMENTS: "it was requested for different arguments",
    RejectionReason.APPROVER_IS_REQUESTER: (
        "requesters can't approve: these are the principal, the agent and everyone in between"
    ),
    RejectionReason.APPROVER_LOOKS_ALIKE: (
        "the approver's id looks like that of a requester or of another approver, but consists of"
        " other characters, so they may be one person"
    ),
    RejectionReason.APPROVER_COUNTED: (
        "your approval already counts; another person must also approve"
    ),
    RejectionReason.APPROVER_UNKNOWN: (
        "the answer does not identify an approver, or is neither yes nor no"
    ),
    RejectionReason.ANSWER_CHANGED: (
        "the answer contains more than yes or no: other arguments, or unknown keys"
    ),
    RejectionReason.ASSERTED: (
        "your identity was not verified, and the settings do not accept such approvals"
    ),
    RejectionReason.NEEDS_HIDDEN: (
        "the policy requires that you see a value that is hidden in the record, so nobody can "
        "approve it"
    ),
    RejectionReason.CLOCK_SKEW: "this clock is behind the newest record of the ledger",
    RejectionReason.RULES_CHANGED: "the policy now requires more than was approved",
}
"""The meaning of each code for its reader."""

COUNTS_IF = (
    "An approval counts only with --token-file FILE, or with unsafe_asserted_approvals = true in"
    " [approvals] (read SECURITY.md first)."
)
"""Text added to the suggestion of `guardrail approve` if the settings accept only approvers with a
verified identity.
"""

_AGAIN = "Make the call without an approval. This creates a new request that someone can answer."
_SAME = (
    "Make the call exactly as it was requested. To change the call, make it without an approval, "
    "which creates a new request."
)

NEXT: Mapping[RejectionReason, str] = {
    RejectionReason.UNKNOWN: (
        "Pass the id in ApprovalRequired.approval to a guard on the same ledger;"
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
        "Nothing: a refusal is final. If the call is still needed, make it without an approval, "
        "which creates a new request."
    ),
    RejectionReason.EXPIRED: _AGAIN,
    RejectionReason.ALREADY_USED: f"An approval is for one call. {_AGAIN}",
    RejectionReason.ALREADY_DECIDED: (
        "Make the call with this approval: no more answers are needed."
    ),
    RejectionReason.OTHER_SESSION: (
        "Make the call in the session that requested the approval, as the same principal and "
        "agent: guard.session(..., id=THE_SAME_ID). docs/web-apps.md shows how to do this in a "
        "web application."
    ),
    RejectionReason.OTHER_TOOL: _SAME,
    RejectionReason.OTHER_SCHEMA: _AGAIN,
    RejectionReason.OTHER_ARGUMENTS: _SAME,
    RejectionReason.APPROVER_IS_REQUESTER: (
        "Someone who did not request the call must approve it. On the command line, this is"
        " another person with their token (--token-file FILE), or another operating-system user:"
        " `guardrail approve ID --reason TEXT` (docs/approvals.md, section Who may approve)."
    ),
    RejectionReason.APPROVER_LOOKS_ALIKE: (
        "Compare the two ids character by character. Someone else, whose id can't be confused with"
        " that of a requester or of another approver, runs `guardrail approve ID --reason TEXT`."
    ),
    RejectionReason.APPROVER_COUNTED: "Another person runs `guardrail approve ID --reason TEXT`.",
    RejectionReason.APPROVER_UNKNOWN: "Answer again, and specify the approver.",
    RejectionReason.ANSWER_CHANGED: "Answer again with yes or no and a reason, and nothing else.",
    RejectionReason.ASSERTED: (
        "Approve it with a token: `guardrail approve ID --reason TEXT --token-file FILE`. To "
        "accept approvers whose identity is not verified, set unsafe_asserted_approvals = "
        "true in [approvals] (read SECURITY.md first). Then approve it again."
    ),
    RejectionReason.NEEDS_HIDDEN: (
        "Stop hiding the values listed in the rule's needs, or remove them from needs, and make "
        "the call without an approval."
    ),
    RejectionReason.CLOCK_SKEW: (
        "Correct the clock of this machine, then make the call again with the same approval."
    ),
    RejectionReason.RULES_CHANGED: _AGAIN,
}
"""The next step if a call's approval did not count, for the reader of `guardrail why`."""
