"""Turns a required approval into a LangGraph interrupt: the graph pauses, and the value that
resumes it is the answer.

On resume, LangGraph reruns the node from its start and assigns answers by position, not by
question. An answer can therefore reach a different call, or a later request, than the person
intended, so an answer is accepted only for the request whose id it contains.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from guardrail.approvals.rules import (
    ApprovalCase,
    Approver,
    RejectionReason,
    RequestState,
    StepKind,
)
from guardrail.approvals.service import Answer, ApprovalService
from guardrail.approvals.views import document
from guardrail.system.waiting import Steps, Wait, in_background

__all__ = ["METHOD", "ask"]

R = TypeVar("R")

METHOD = "langgraph_resume"
"""``approver.method`` in records: the identity is asserted by the code that resumed the graph."""
_ANSWER = ("approval", "approved", "approver", "reason")
"""The keys allowed in an answer."""


@dataclass(frozen=True, slots=True)
class _ParsedAnswer:
    """A person's answer to a request."""

    approved: bool
    approver: str
    reason: str


def ask(service: ApprovalService, approval: str) -> Steps[RejectionReason | None]:
    """Pause the graph until the request *approval* has been answered, and record the answers.

    Return the reason why the last answer was rejected, or None if all answers were accepted. Raises
    ``GraphInterrupt`` if an answer is missing, and ``LedgerError``. A rejected answer is recorded,
    and the call that depends on this approval is denied.
    """
    from langgraph.types import interrupt

    before, seen = -1, 0
    while True:
        case: ApprovalCase = yield from _run_in_thread(lambda: service.case(approval))
        if before < 0:
            before = _answers(case)
        if service.state(case) is not RequestState.PENDING:
            return None
        given = interrupt(_question(service, case))
        if not isinstance(given, Mapping) or given.get("approval") != approval:
            continue
        seen += 1
        said = _read_answer(given)
        if isinstance(said, _ParsedAnswer) and seen <= before:
            continue  # recorded when the graph was first resumed with this answer
        answer: Answer = yield from _run_in_thread(_recording(service, approval, said))
        if answer.rejected is not None:
            return answer.rejected


def _question(service: ApprovalService, case: ApprovalCase) -> dict[str, Any]:
    """Return the value of the interrupt: the request, and a blank answer for the person to
    fill in.
    """
    answer = dict.fromkeys(_ANSWER) | {"approval": case.request.id}
    return {"type": "guardrail_approval", **document(service.listed(case)), "answer": answer}


def _recording(
    service: ApprovalService, approval: str, said: _ParsedAnswer | RejectionReason
) -> Callable[[], Answer]:
    def record() -> Answer:
        if isinstance(said, RejectionReason):
            nobody = Approver("", method=METHOD)
            return service.turn_down(approval, StepKind.GRANTED, nobody, said)
        say = service.approve if said.approved else service.refuse
        return say(approval, Approver(said.approver, method=METHOD), said.reason)

    return record


def _read_answer(value: Mapping[str, Any]) -> _ParsedAnswer | RejectionReason:
    """Return a person's answer, or the reason why it is rejected: the person or the verdict is
    missing, or the answer has extra keys.

    Extra keys are rejected because an answer with edited arguments approves a different call than
    the call that would run.
    """
    if not set(value) <= set(_ANSWER):
        return RejectionReason.ANSWER_CHANGED
    approved, approver = value.get("approved"), value.get("approver")
    reason = value.get("reason") or "no reason was given"
    if type(approved) is not bool or not isinstance(approver, str) or not isinstance(reason, str):
        return RejectionReason.APPROVER_UNKNOWN
    return _ParsedAnswer(approved, approver, reason[:1000])


def _answers(case: ApprovalCase) -> int:
    return sum(step.approver is not None and step.approver.method == METHOD for step in case.steps)


def _run_in_thread(work: Callable[[], R]) -> Steps[R]:
    done: R = yield Wait(in_background(work), None)
    return done
