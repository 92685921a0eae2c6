"""Checks, from the records alone, that each use of an approval is covered by its request and the
answers to it.

A guard makes the same check before a call runs. Verification repeats the check with verified lines,
because a guard that was deceived, or an attacker with the keys, leaves records that contradict each
other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from guardrail.approvals.rules import ApprovalRequest, case_of, folded, same_identity
from guardrail.core.log import effects
from guardrail.core.log.chain import Difference
from guardrail.core.log.record import MALFORMED
from guardrail.core.log.suspensions import RESUMED, SUSPENDED, Suspensions, change_of
from guardrail.core.redaction.marks import MARK_PREFIX
from guardrail.errors import RecordError
from guardrail.review.verify.sessions import Sessions, Starts

__all__ = ["Uses"]

_SLACK = timedelta(seconds=60)
"""Allowed time between a guard's judgement and its record. The clocks of two hosts, a slow policy
or a busy disk can cause such a difference.
"""
_SUSPENSIONS = frozenset({SUSPENDED, RESUMED})
_STEPS = frozenset({"approval.granted", "approval.refused"})

_Person = tuple[str, str, str]
"""Id, assurance and method of an approver."""


@dataclass(slots=True)
class _RequestProgress:
    """State of one request for approval."""

    bound: tuple[Any, ...]
    """The facts that identify a call as the requested one."""
    leaf: str
    needed: int
    rules: list[str]
    people: tuple[str, ...]
    """The people who made the request: principal, agent, and the delegation chain."""
    shown: bool
    """True if the record showed everything that an approver had to see."""
    steps: int = 0
    over: str = ""
    """The final step in words, or an empty string while there is none."""
    grants: dict[_Person, datetime] = field(default_factory=dict)
    """Expiry times of the approvals."""


class Uses:
    """Takes a log's records in order, and finds uses of approvals that no request and no answers
    permit.

    Memory use grows with the number of requests, not with the number of records.
    """

    def __init__(self, *, missing: int = 0) -> None:
        """Start without records. Records below *missing* are missing, and uses of requests among
        them can't be checked.
        """
        self.partial = bool(missing)
        self.checked = 0
        """Number of uses that were compared with their requests and answers."""
        self.unknown = 0
        """Number of uses that could not be checked because their request is among the missing
        records.
        """
        self._requests: dict[str, _RequestProgress | None] = {}
        self.sessions = Sessions()
        self._starts = Starts()
        self._effects = effects.HeldKeys(unknown=missing)
        self.suspensions = Suspensions(unknown=missing)
        """The suspensions in force after the records."""
        self.changes = 0
        """Number of records that changed the suspensions."""

    @staticmethod
    def concerns(record: Mapping[str, Any]) -> bool:
        """Return True if ``take`` or ``fault`` would examine more of this record than the session's
        owner.
        """
        return (
            _is_step(record)
            or Starts.concerns(record)
            or record["type"] in _SUSPENSIONS
            or effects.concerns(record)
        )

    def fault(
        self, record: Mapping[str, Any], line: bytes, *, sessions: bool = True
    ) -> tuple[Difference, str] | None:
        """Take the next verified record; return its conflict, or None. If *sessions* is False,
        session owners are not compared.
        """
        wrong = self.take(record, line)
        if wrong:
            return Difference.APPROVAL, wrong
        wrong = self._starts.take(record)
        if wrong:
            return Difference.SETTINGS, wrong
        if record["type"] in _SUSPENSIONS:
            self.changes += 1
            try:
                self.suspensions.take(change_of(record))
            except RecordError as error:
                return Difference.SUSPENSION, error.message
        wrong = self._effects.take(record) if effects.concerns(record) else ""
        if wrong:
            return Difference.CALL, wrong
        wrong = self.sessions.take(record) if sessions else ""
        return (Difference.SESSION, wrong) if wrong else None

    def take(self, record: Mapping[str, Any], line: bytes) -> str:
        """Take the next verified record; return the record's fault as a step of an approval, or an
        empty string.
        """
        if not _is_step(record):
            return ""
        if record["type"] == "call.decision" and record.get("approval") is None:
            self._ask(record, line)
            return ""
        try:
            return self._step(record)
        except MALFORMED:
            return "a step of this approval has missing or malformed fields"

    def _ask(self, record: Mapping[str, Any], line: bytes) -> None:
        case = case_of([line], line)
        self._requests[str(record["call"])] = (
            None if case is None else _progress_of(case.request, record)
        )

    def _step(self, record: Mapping[str, Any]) -> str:
        approval = record["approval"]
        used = record["type"] == "call.decision"
        if used and approval["ordinal"] is None:
            return "this use of an approval has no number"
        if approval["id"] not in self._requests and self.partial:
            self.unknown += used
            return ""
        progress = self._requests.get(approval["id"])
        if progress is None:
            return "this approval has a step, but was never requested"
        if progress.over:
            return f"this approval has a step after it {progress.over}"
        if type(approval["ordinal"]) is not int or approval["ordinal"] != progress.steps:
            return "a step of this approval is out of sequence"
        progress.steps += 1
        if used:
            progress.over = "was used"
            self.checked += 1
            return _invalid_use(progress, record)
        if record["type"] == "approval.refused":
            progress.over = "was refused"
        elif record["request"]["leaf"] == progress.leaf:
            who = record["approver"]
            progress.grants[_person(who)] = datetime.fromisoformat(record["expires"])
        return ""


def _is_step(record: Mapping[str, Any]) -> bool:
    if record["type"] == "call.decision":
        return (
            record.get("approval") is not None or record["decision"]["effect"] == "require_approval"
        )
    return record["type"] in _STEPS


def _progress_of(request: ApprovalRequest, record: Mapping[str, Any]) -> _RequestProgress | None:
    """Return the state for *request*, or None if its record can't be a request."""
    try:
        return _RequestProgress(
            bound=_bound(record),
            leaf=request.leaf,
            needed=request.needed,
            rules=[rule.rule for rule in request.rules],
            people=_people(request),
            shown=not request.hidden_needs,
        )
    except MALFORMED:
        return None


def _invalid_use(progress: _RequestProgress, record: Mapping[str, Any]) -> str:
    """Return the reason that *record* is not a valid use of the approval given in it, or an empty
    string.
    """
    if record["decision"]["effect"] != "allow":
        return "an approval was used by a call that was not allowed"
    if not all(map(_same, _bound(record), progress.bound)):
        return "an approval was used by a call other than the requested one"
    if not progress.shown:
        return "an approval was used although its approvers could not see the required values"
    if record["approval"]["rules"] != progress.rules:
        return "an approval was used for rules other than those that required it"
    now = datetime.fromisoformat(record["ts"])
    approvers = [_person(who) for who in record["approval"]["approvers"]]
    if any(who not in progress.grants for who in approvers):
        return "an approval was used with an approver who had not approved"
    if any(now - progress.grants[who] >= _SLACK for who in approvers):
        return "an approval was used after it had expired"
    if any(same_identity(id_, other) for id_, _, _ in approvers for other in progress.people):
        return "an approval was used that its requester had granted"
    if len({folded(id_) for id_, _, _ in approvers}) < progress.needed:
        return "an approval was used that too few people had granted"
    return ""


def _bound(record: Mapping[str, Any]) -> tuple[Any, ...]:
    principal = record["principal"]
    return (
        record["tenant"],
        record["session"],
        principal["id"],
        principal.get("issuer"),
        record["agent"]["id"],
        record["tool"]["server"],
        record["tool"]["schema"],
        record["commitment"],
    )


def _same(one: object, other: object) -> bool:
    """Return True if two recorded values may be the same. A name may have become a token after it
    turned out to be sensitive, so the commitment decides.
    """
    return one == other or _is_token(one) is not _is_token(other)


def _is_token(value: object) -> bool:
    return isinstance(value, str) and value.startswith(MARK_PREFIX)


def _people(request: ApprovalRequest) -> tuple[str, ...]:
    between = (str(step.get("sub", "")) for step in request.delegation)
    return (str(request.principal["id"]), str(request.agent["id"]), *between)


def _person(who: Mapping[str, Any]) -> _Person:
    return (str(who["id"]), str(who["assurance"]), str(who["method"]))
