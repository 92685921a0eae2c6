"""Finds the suspension that stops a call."""

from __future__ import annotations

from guardrail.call.stages import Decided, Request
from guardrail.core.log.suspensions import (
    NO_SUSPENSION,
    ObeyedSuspension,
    Suspension,
    Suspensions,
)
from guardrail.core.types import Effect
from guardrail.ledger.files import utc_timestamp

__all__ = ["obeys_of", "suspension_of"]


def suspension_of(request: Request, suspensions: Suspensions) -> Suspension | None:
    """Return a suspension that stops the call now, or None."""
    if not len(suspensions):
        return None
    return suspensions.find(request.state.names(request.tool.name), utc_timestamp())


def obeys_of(decided: Decided) -> ObeyedSuspension | None:
    """Return the suspension that the decision obeys, to be compared when the record is written, or
    None if the call is denied for another reason.
    """
    stopped = decided.suspension
    if stopped is None and decided.verdict.effect is Effect.DENY:
        return None
    seq = NO_SUSPENSION if stopped is None else stopped.seq
    request = decided.prepared.request
    return ObeyedSuspension(request.state.names(request.tool.name), seq)
