"""Judges approvals from their records: the request, its answers, and whether an approval covers a
call.

A request is a ``call.decision`` record with effect ``require_approval``; its call id is the id of
the approval. Its answers are ``approval.granted`` and ``approval.refused`` records. Its use is
recorded in the field ``approval`` of the decision that it allowed. Answers and uses are the *steps*
of an approval and share one counter, ``ordinal``: the ledger accepts each ordinal once, so a
judgement based on an outdated state can't be recorded. All functions are pure: the time is a
parameter, and nothing is read or written.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from guardrail.approvals.kinds import RejectionReason, StepKind
from guardrail.approvals.request import (
    ApprovalCase,
    ApprovalRequest,
    ApprovalStep,
    Approver,
    AskedRule,
    case_of,
    is_approval_id,
)
from guardrail.core.folding import folded
from guardrail.core.look_alikes import look_alike
from guardrail.core.redaction.marks import MARK_PREFIX
from guardrail.core.types import Assurance, Decision, Effect, Json

__all__ = [
    "ApprovalCase",
    "ApprovalRequest",
    "ApprovalStep",
    "ApprovalTerms",
    "Approver",
    "AskedRule",
    "Grant",
    "PresentedCall",
    "RejectionReason",
    "RequestState",
    "StepKind",
    "case_of",
    "exceeds",
    "expires_at",
    "folded",
    "is_approval_id",
    "is_person_of",
    "live_grants",
    "may_answer",
    "may_be_one_person",
    "may_use",
    "same_identity",
    "state_of",
]

_SKEW = timedelta(seconds=30)
"""Seconds that a clock may be behind the newest record. A clock that is further behind is wrong, or
was set back to revive an approval.
"""


class RequestState(StrEnum):
    """State of an approval request."""

    PENDING = "pending"
    GRANTED = "granted"
    """There are enough valid approvals, so the call may be repeated with the approval."""
    REFUSED = "refused"
    USED = "used"
    EXPIRED = "expired"
    """The request is too old to be approved."""
    BLOCKED = "blocked"
    """The recorded view hides values that the approver must see, so no one can approve the request.
    """


@dataclass(frozen=True, slots=True)
class ApprovalTerms:
    """The limits for approvals, from the settings."""

    ttl: float = 900.0
    """Validity period of one person's approval, in seconds."""
    request_ttl: float = 86_400.0
    """Period in which a request can be approved or used, in seconds."""
    unsafe_asserted: bool = False
    """True if approvals from unverified identities count."""


@dataclass(frozen=True, slots=True)
class PresentedCall:
    """A call that presents an approval, described in the same form as the request's record."""

    tenant: str
    session: str
    principal: Mapping[str, Any]
    agent: Mapping[str, Any]
    people: tuple[str, ...]
    """The requesters' ids in clear text: principal, agent, and the delegation chain."""
    tool: Mapping[str, Any]
    commitment: str | None


@dataclass(frozen=True, slots=True)
class Grant:
    """An unused approval that covers a call."""

    request: ApprovalRequest
    approvers: tuple[Approver, ...]
    ordinal: int
    """Ordinal of the use, if the call is allowed."""
    rules: tuple[str, ...] = field(default=())
    tree: tuple[int, bytes] | None = None
    """Tree of the log in which the approval was judged (``ApprovalCase.tree``)."""

    @property
    def unsafe_asserted(self) -> bool:
        """True if the approval relies on an unverified identity."""
        return any(approver.assurance is not Assurance.VERIFIED for approver in self.approvers)

    def context(self) -> dict[str, Json]:
        """Return the value for ``context.approval`` of the policy input."""
        return {
            "id": self.request.id,
            "valid": True,
            "rules": list(self.rules),
            "approvers": [approver.document() for approver in self.approvers],
        }

    def used(self) -> dict[str, Json]:
        """Return the value for the field ``approval`` of the decision that this approval
        allowed.
        """
        return {
            "id": self.request.id,
            "ordinal": self.ordinal,
            "rules": list(self.rules),
            "approvers": [approver.document() for approver in self.approvers],
            "unsafe_asserted": self.unsafe_asserted,
        }


# -- judging ---------------------------------------------------------------------------------------


def expires_at(request: ApprovalRequest, now: datetime, terms: ApprovalTerms) -> datetime:
    """Return the expiry time of an approval that is granted at the time *now*. An approval never
    expires later than its request.
    """
    return min(
        now + timedelta(seconds=terms.ttl), request.asked + timedelta(seconds=terms.request_ttl)
    )


def same_identity(one: str, other: str) -> bool:
    """Return True if two ids may identify the same person, ignoring case, Unicode form, blanks and
    invisible characters.

    Use this only to deny permission. To grant permission, compare ids exactly, together with their
    issuers.
    """
    return bool(folded(one)) and folded(one) == folded(other)


def may_be_one_person(one: str, other: str) -> bool:
    """Return True if two ids may identify the same person: they are equal for ``same_identity``, or
    can be confused with each other. Use this only to deny permission.
    """
    return same_identity(one, other) or look_alike(one, other)


def live_grants(
    case: ApprovalCase, now: datetime, terms: ApprovalTerms, *, requesters: Iterable[str] = ()
) -> tuple[ApprovalStep, ...]:
    """Return the valid approvals, oldest first, one per person. Those of people who may be one of
    the *requesters*, whose ids are in clear text, are left out.

    An approval is valid for the shorter of two periods: the one in the approver's settings and the
    one in *terms*. Two approvers whose ids can be confused count as one person.
    """
    live = (
        step
        for step in _granted(case)
        if step.expires is not None
        and now < min(step.expires, step.at + timedelta(seconds=terms.ttl))
    )
    return _one_per_person(live, requesters)


def _granted(case: ApprovalCase) -> Iterable[ApprovalStep]:
    """Return the approvals of this very request."""
    return (
        step
        for step in case.steps
        if step.kind is StepKind.GRANTED and step.leaf == case.request.leaf
    )


def _one_per_person(
    steps: Iterable[ApprovalStep], others: Iterable[str]
) -> tuple[ApprovalStep, ...]:
    """Return the first of *steps* of each person who is none of *others*."""
    taken = list(others)
    found: list[ApprovalStep] = []
    for step in steps:
        id_ = "" if step.approver is None else step.approver.id
        if folded(id_) and not any(may_be_one_person(id_, other) for other in taken):
            found.append(step)
            taken.append(id_)
    return tuple(found)


def _is_past_deadline(case: ApprovalCase, now: datetime, terms: ApprovalTerms) -> bool:
    return now >= case.request.asked + timedelta(seconds=terms.request_ttl)


def _clock_is_behind(case: ApprovalCase, now: datetime) -> bool:
    return now + _SKEW < max(case.newest, case.request.asked, *(step.at for step in case.steps))


def state_of(case: ApprovalCase, now: datetime, terms: ApprovalTerms) -> RequestState:
    """Return the state of the request."""
    if case.has(StepKind.USED):
        return RequestState.USED
    if case.has(StepKind.REFUSED):
        return RequestState.REFUSED
    if _is_past_deadline(case, now, terms):
        return RequestState.EXPIRED
    if len(live_grants(case, now, terms)) >= case.request.needed:
        return RequestState.GRANTED
    return RequestState.BLOCKED if case.request.hidden_needs else RequestState.PENDING


def may_answer(
    case: ApprovalCase,
    kind: StepKind,
    approver: Approver,
    *,
    now: datetime,
    terms: ApprovalTerms,
    token: Callable[[str, str], str],
) -> RejectionReason | None:
    """Return the reason that *approver* may not grant or refuse the request, or None if they may.

    Anyone may refuse, because a refusal only removes permission. *token* returns the keyed token of
    a class and a value for the request's tenant, so that the approver can be compared with a
    requester recorded as a token.
    """
    over = _closed_reason(case, now, terms)
    if over is not None:
        return over
    if kind is StepKind.REFUSED:
        return None
    live = live_grants(case, now, terms)
    # A requester who is recorded as a token is recognised only in some spellings. If their approval
    # closed the request, nobody else could approve it: only the call itself shows who they are.
    if len(live) >= case.request.needed and not _has_hidden_requester(case.request):
        return RejectionReason.ALREADY_DECIDED
    if not folded(approver.id):
        return RejectionReason.APPROVER_UNKNOWN
    if _is_requester(case.request, approver, token):
        return RejectionReason.APPROVER_IS_REQUESTER
    if any(look_alike(approver.id, id_) for id_ in _requesters(case.request)):
        return RejectionReason.APPROVER_LOOKS_ALIKE
    if approver.assurance is not Assurance.VERIFIED and not terms.unsafe_asserted:
        return RejectionReason.ASSERTED
    if case.request.hidden_needs:
        return RejectionReason.NEEDS_HIDDEN
    return _counted_reason(live, approver)


def _closed_reason(
    case: ApprovalCase, now: datetime, terms: ApprovalTerms
) -> RejectionReason | None:
    """Return the reason that the request can no longer be answered, or None if it can."""
    if _clock_is_behind(case, now):
        return RejectionReason.CLOCK_SKEW
    if case.has(StepKind.USED):
        return RejectionReason.ALREADY_USED
    if case.has(StepKind.REFUSED):
        return RejectionReason.REFUSED
    if _is_past_deadline(case, now, terms):
        return RejectionReason.EXPIRED
    return None


def _is_requester(
    request: ApprovalRequest, approver: Approver, token: Callable[[str, str], str]
) -> bool:
    return is_person_of(_requesters(request), approver, token)


def is_person_of(ids: Iterable[str], approver: Approver, token: Callable[[str, str], str]) -> bool:
    """Return True if *approver* may be one of the people with the recorded *ids*. *token* returns
    the keyed token of a class and a value for the tenant of the ids. An id that was recorded as a
    token is recognised in the common spellings of the approver's id.
    """
    spellings = _spellings(approver.id)
    made = {token(cls, each) for cls in ("principal", "agent") for each in spellings}
    return any(same_identity(approver.id, id_) or id_ in made for id_ in ids)


def _spellings(id_: str) -> set[str]:
    """Return common spellings of *id_*. Tokens can be compared only in the same spelling."""
    plain = unicodedata.normalize("NFKC", id_).strip()
    forms = {id_, plain, unicodedata.normalize("NFC", id_)}
    return forms | {plain.lower(), plain.upper(), plain.casefold(), plain.title(), folded(id_)}


def _requesters(request: ApprovalRequest) -> list[str]:
    """Return the ids of the requesters, as recorded."""
    between = (str(step.get("sub", "")) for step in request.delegation)
    return [request.principal["id"], request.agent["id"], *between]


def _has_hidden_requester(request: ApprovalRequest) -> bool:
    return any(str(id_).startswith(MARK_PREFIX) for id_ in _requesters(request))


def _counted_reason(live: Iterable[ApprovalStep], approver: Approver) -> RejectionReason | None:
    """Return the reason that *approver* is no further person beside those of *live*."""
    ids = [step.approver.id for step in live if step.approver is not None]
    if any(same_identity(id_, approver.id) for id_ in ids):
        return RejectionReason.APPROVER_COUNTED
    if any(look_alike(id_, approver.id) for id_ in ids):
        return RejectionReason.APPROVER_LOOKS_ALIKE
    return None


def may_use(
    case: ApprovalCase | None, call: PresentedCall, now: datetime, terms: ApprovalTerms
) -> Grant | RejectionReason:
    """Return the grant that covers *call*, or the reason that no approval does."""
    if case is None:
        return RejectionReason.UNKNOWN
    other = _difference(case.request, call)
    if other is not None:
        return other
    over = _closed_reason(case, now, terms)
    if over is not None:
        return over
    if case.request.hidden_needs:
        return RejectionReason.NEEDS_HIDDEN
    live = live_grants(case, now, terms, requesters=call.people)
    approvers = tuple(step.approver for step in live if step.approver is not None)
    if len(approvers) < case.request.needed:
        return _missing_reason(case, call, approvers, live_grants(case, now, terms))
    if not terms.unsafe_asserted and any(
        approver.assurance is not Assurance.VERIFIED for approver in approvers
    ):
        return RejectionReason.ASSERTED
    rules = tuple(rule.rule for rule in case.request.rules)
    return Grant(case.request, approvers, case.next_ordinal, rules, case.tree)


def _missing_reason(
    case: ApprovalCase,
    call: PresentedCall,
    approvers: Collection[Approver],
    live: Iterable[ApprovalStep],
) -> RejectionReason:
    """Return the reason that only *approvers* have approved the request. *live* are the valid
    approvals of everyone, including the requesters.
    """
    everyone = [step.approver.id for step in live if step.approver is not None]
    if any(same_identity(id_, other) for id_ in everyone for other in call.people):
        return RejectionReason.APPROVER_IS_REQUESTER
    if any(look_alike(id_, other) for id_ in everyone for other in call.people):
        return RejectionReason.APPROVER_LOOKS_ALIKE
    if len(approvers) < len(_one_per_person(_granted(case), call.people)):
        return RejectionReason.EXPIRED
    return RejectionReason.APPROVERS_MISSING if approvers else RejectionReason.PENDING


def _difference(request: ApprovalRequest, call: PresentedCall) -> RejectionReason | None:
    """Return the difference between a call and its request, or None if their commitments match. The
    other comparisons only identify the difference.
    """
    owner = (request.tenant, request.session, *map(_vouched, (request.principal, request.agent)))
    caller = (call.tenant, call.session, *map(_vouched, (call.principal, call.agent)))
    if owner != caller:
        return RejectionReason.OTHER_SESSION
    if any(request.tool[name] != call.tool[name] for name in ("name", "server")):
        return RejectionReason.OTHER_TOOL
    if request.tool["schema"] != call.tool["schema"]:
        return RejectionReason.OTHER_SCHEMA
    return None if request.commitment == call.commitment else RejectionReason.OTHER_ARGUMENTS


def _vouched(identity: Mapping[str, Any]) -> tuple[Any, Any, Any]:
    """Return the id of a recorded identity, who vouches for it, and how surely. An id alone is not
    enough: two issuers may use the same one, and anyone can assert it.
    """
    return identity["id"], identity.get("issuer"), identity.get("assurance")


def exceeds(grant: Grant, verdict: Decision) -> RejectionReason | None:
    """Return ``RULES_CHANGED`` if the rules that currently fire require more than *grant* provides,
    otherwise None.
    """
    for rule in verdict.rules:
        if rule.effect is not Effect.REQUIRE_APPROVAL:
            continue
        if (
            rule.rule not in grant.rules
            or rule.approvers > len(grant.approvers)
            or not all(grant.request.shows(need) for need in rule.needs)
        ):
            return RejectionReason.RULES_CHANGED
    return None
