"""Raises the exception for a refused call, with its public message and its hint."""

from __future__ import annotations

from typing import NoReturn

from guardrail.call import caller as callers
from guardrail.call.next_steps import NextSteps
from guardrail.call.stages import Decided
from guardrail.core import decision as decisions
from guardrail.core.claims import refuses
from guardrail.core.types import Cause, Effect
from guardrail.errors import ApprovalRequired, Denied
from guardrail.identity.principal import SOMEONE_ELSES

__all__ = ["public_message", "raise_refusal"]


def public_message(decided: Decided) -> str:
    """Return the verdict's redacted message for the agent."""
    message = decisions.public_message(decided.verdict)
    if decided.verdict.cause is Cause.ARGUMENTS:
        message += decided.misnamed
    state = decided.prepared.request.state
    return state.redactor.text(message, state.memory)


def raise_refusal(decided: Decided, seq: int, next_steps: NextSteps) -> NoReturn:
    """Raise the exception for a verdict other than ``allow``. *seq* is the sequence number of its
    record.
    """
    why = next_steps.why(seq)
    verdict, message = decided.verdict, public_message(decided)
    if verdict.effect is Effect.REQUIRE_APPROVAL:
        approval = decided.prepared.request.id
        answer = next_steps.approve(approval)
        raise ApprovalRequired(message, seq=seq, approval=approval, hint=answer)
    if refuses(verdict.cause, verdict.detail):
        raise Denied(
            message, seq=seq, code=SOMEONE_ELSES, hint=callers.identity_hint(verdict.detail, why)
        )
    cause, hint = str(verdict.cause), why
    if verdict.cause is Cause.APPROVAL:
        cause += f".{verdict.detail}"  # the next step for the user depends on it
    elif verdict.cause is Cause.IDENTITY:
        hint = callers.identity_hint(verdict.detail, why)
    reason = "" if decided.suspension is None else decided.suspension.reason
    raise Denied(message, seq=seq, cause=cause, hint=hint, reason=reason)
