"""The kinds of approval steps, and the reasons for rejecting a step.

Code that only shows records can import these names without the rules for approvals.
"""

from __future__ import annotations

from enum import StrEnum

__all__ = ["RejectionReason", "StepKind"]


class StepKind(StrEnum):
    """The kind of an approval step."""

    GRANTED = "granted"
    REFUSED = "refused"
    USED = "used"


class RejectionReason(StrEnum):
    """Reason for rejecting an answer or a use: ``code`` of ``approval.rejected``, ``detail`` of
    cause ``approval``.
    """

    UNKNOWN = "unknown"
    """This log has no request with the id, or the records of the request can't be read."""
    PENDING = "pending"
    """Nobody has approved the request yet."""
    APPROVERS_MISSING = "approvers_missing"
    """Fewer people have approved the request than a rule requires."""
    REFUSED = "refused"
    """Someone refused the request. No one can approve it any longer, regardless of its age."""
    EXPIRED = "expired"
    """The request or its approval is too old, and no one refused the request."""
    ALREADY_USED = "already_used"
    ALREADY_DECIDED = "already_decided"
    """Enough people have already approved the request."""
    OTHER_SESSION = "other_session"
    """The session, tenant, principal or agent differs from that of the request."""
    OTHER_TOOL = "other_tool"
    OTHER_SCHEMA = "other_schema"
    OTHER_ARGUMENTS = "other_arguments"
    APPROVER_IS_REQUESTER = "approver_is_requester"
    APPROVER_LOOKS_ALIKE = "approver_looks_alike"
    """The approver's id looks like that of a requester, or of someone who has approved the request,
    but consists of other characters.
    """
    APPROVER_COUNTED = "approver_counted"
    """The approver has already approved the request; the rule requires another person."""
    APPROVER_UNKNOWN = "approver_unknown"
    """The answer does not contain an approver and a verdict that can be recorded."""
    ANSWER_CHANGED = "answer_changed"
    """The answer contains more than yes or no: other arguments, or keys that would have
    no effect.
    """
    ASSERTED = "asserted"
    """The approver's identity was not verified, and ``unsafe_asserted_approvals`` is off."""
    NEEDS_HIDDEN = "needs_hidden"
    """The recorded view hides arguments that the approver must see according to a rule."""
    CLOCK_SKEW = "clock_skew"
    """This process's clock is behind the timestamp of the newest record."""
    RULES_CHANGED = "rules_changed"
    """The policy now requires more approvers, or more visible values, than when the approval was
    given.
    """
