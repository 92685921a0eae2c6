"""Finds the suspension that stops a call."""

from __future__ import annotations

from guardrail.approvals.rules import Grant
from guardrail.call.stages import Decided, Request
from guardrail.core.log.suspensions import (
    NO_SUSPENSION,
    CallNames,
    ObeyedSuspension,
    Suspension,
    Suspensions,
)
from guardrail.core.types import Effect
from guardrail.ledger.files import utc_timestamp

__all__ = ["obeys_of", "suspension_of"]


def suspension_of(
    request: Request, suspensions: Suspensions, grant: Grant | None = None
) -> Suspension | None:
    """Return a suspension that stops the call now, or None. If the call has a *grant*, this can be
    the suspension of a person who approved it.
    """
    if not len(suspensions):
        return None
    return suspensions.find(_names_of(request, grant), utc_timestamp())


def _names_of(request: Request, grant: Grant | None) -> CallNames:
    names = request.state.names(request.tool.name)
    if grant is None:
        return names
    people = request.state.people(*(approver.id for approver in grant.approvers))
    return names._replace(principals=(*names.principals, *people))


def obeys_of(decided: Decided) -> ObeyedSuspension | None:
    """Return the suspension that the decision obeys, to be compared when the record is written, or
    None if the call is denied for another reason.
    """
    stopped = decided.suspension
    if stopped is None and decided.verdict.effect is Effect.DENY:
        return None
    seq = NO_SUSPENSION if stopped is None else stopped.seq
    request = decided.prepared.request
    return ObeyedSuspension(_names_of(request, decided.prepared.grant), seq)
