"""A call that a person must approve, as a LangGraph interrupt: the graph pauses, and its resume is the answer.

LangGraph runs a node again from its start when it is resumed, and hands out the answers by their order, not by what was asked:
where several tools of one node wait, an answer can reach another call than the person had in mind. So an answer counts only
for the request that it names; it may leave the name out where the session has made no other request.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from guardrail.approval_views import document
from guardrail.approvals import Approver, Case, Kind, Reason, State
from guardrail.approving import Answer, Desk
from guardrail.errors import ApprovalRequired
from guardrail.waiting import Steps, Wait, in_background

__all__ = ["METHOD", "ask", "can_pause"]

R = TypeVar("R")

METHOD = "langgraph_resume"
"""``approver.method`` in records: whoever resumed the graph said so."""


@dataclass(frozen=True, slots=True)
class _Said:
    """What a graph was resumed with."""

    approved: bool
    approver: str
    reason: str
    approval: str | None


def can_pause() -> bool:
    """Tell whether this code runs in a LangGraph graph that can be resumed: one with a checkpointer."""
    try:
        from langgraph.config import get_config

        settings = get_config().get("configurable", {})
    except (ImportError, RuntimeError):
        return False
    # Without these names, which LangGraph does not promise, nothing pauses: the model is told that the call was not run.
    saver = settings.get("__pregel_checkpointer")
    return saver not in (None, False) and "__pregel_scratchpad" in settings


def ask(desk: Desk, required: ApprovalRequired) -> Steps[str]:
    """Pause the graph until people have answered, record what they said, and return the approval to make the call with.

    Raises ``GraphInterrupt`` while an answer is missing, ``LedgerError``. An answer that is turned down is recorded, and
    the call made with this approval is denied.
    """
    from langgraph.types import interrupt

    approval, seen = required.approval, 0
    first: Case = yield from _apart(lambda: desk.case(approval))
    before = _answers(first)
    # LangGraph hands out the answers of a node anew each time it runs, in their order: one without a name may have been
    # given to another request of this session, or before this one was made.
    fresh = not required.repeated
    must_name = not (yield from _apart(lambda: desk.is_only(first)))
    while True:
        case: Case = yield from _apart(lambda: desk.case(approval))
        if desk.state(case) is not State.PENDING:
            return approval
        asked = document(desk.listed(case)) | {"type": "guardrail_approval", "must_name": must_name}
        said = _said(interrupt(asked))
        named = None if said is None else said.approval
        if named != approval and (named is not None or must_name or fresh):
            continue
        seen += 1
        if said is not None and seen <= before:
            continue  # recorded when the graph was resumed with it the first time
        answer: Answer = yield from _apart(_recording(desk, case, said))
        if answer.rejected is not None:
            return approval


def _recording(desk: Desk, case: Case, said: _Said | None) -> Callable[[], Answer]:
    approval = case.request.id

    def record() -> Answer:
        if said is None:
            nobody = Approver("", method=METHOD)
            return desk.turn_down(approval, Kind.GRANTED, nobody, Reason.APPROVER_UNKNOWN)
        who, kind = Approver(said.approver, method=METHOD), Kind.GRANTED
        if not said.approved:
            kind = Kind.REFUSED
        say = desk.approve if kind is Kind.GRANTED else desk.refuse
        return say(approval, who, said.reason)

    return record


def _said(value: object) -> _Said | None:
    """Return what a graph was resumed with, or None where it is no answer."""
    if not isinstance(value, Mapping):
        return None
    approved, approver = value.get("approved"), value.get("approver")
    reason, approval = value.get("reason") or "no reason was given", value.get("approval")
    if type(approved) is not bool or not isinstance(approver, str) or not isinstance(reason, str):
        return None
    if approval is not None and not isinstance(approval, str):
        return None
    return _Said(approved, approver, reason[:1000], approval)


def _answers(case: Case) -> int:
    return sum(step.approver is not None and step.approver.method == METHOD for step in case.steps)


def _apart(work: Callable[[], R]) -> Steps[R]:
    done: R = yield Wait(in_background(work), None)
    return done
