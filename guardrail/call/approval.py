"""The approval steps of a call: checks that a presented approval covers the call, and waits for an
approval.

The steps read the ledger in a separate thread, so that neither an event loop nor a deadline waits
for a disk.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import ContextVar
from dataclasses import replace
from datetime import datetime

from guardrail.approvals import rules as approvals
from guardrail.approvals.rules import (
    ApprovalCase,
    ApprovalTerms,
    Grant,
    PresentedCall,
    RejectionReason,
    RequestState,
)
from guardrail.call import approval_records
from guardrail.call.decision_record import Recorder
from guardrail.call.journal import Journal
from guardrail.call.stages import Decided, DeniedEarly, Prepared
from guardrail.call.suspended import suspension_of
from guardrail.core import decision as decisions
from guardrail.core.redaction.redactor import View
from guardrail.core.types import Cause, Decision, Effect
from guardrail.errors import RedactionError
from guardrail.system.waiting import Steps, Wait

__all__ = ["ON_WAIT", "ApprovalSteps", "limit_to_grant"]

ON_WAIT: ContextVar[Callable[[str], None] | None] = ContextVar("guardrail_on_wait", default=None)
"""Called with the recorded name of the tool when a call in this context begins to wait for an
approval.
"""

_FIRST_PAUSE = 0.25
_LONGEST_PAUSE = 2.0
"""Maximum pause, in seconds, between two reads of the ledger while a call waits. The pauses grow,
because most people answer either at once or much later.
"""


class ApprovalSteps:
    """Checks and awaits approvals for the calls of one guard. Thread-safe."""

    def __init__(
        self,
        journal: Journal,
        recorder: Recorder,
        terms: ApprovalTerms,
        clock: Callable[[], datetime],
    ) -> None:
        self._journal = journal
        self._recorder = recorder
        self._terms = terms
        self._clock = clock

    def judge_presented(self, prepared: Prepared) -> Steps[Grant]:
        """Check the approval that was passed with the call, and return its grant. Raises
        ``DeniedEarly``.
        """
        assert prepared.presented is not None
        case = yield from self._read_case(prepared.presented)
        if case is None:
            # The value is not an id that guardrail assigned, so it is not recorded.
            prepared = prepared._replace(presented=None)
            raise DeniedEarly(
                Decided(prepared, decisions.denied(Cause.APPROVAL, RejectionReason.UNKNOWN))
            )
        answer = approvals.may_use(case, self._presented_call(prepared), self._clock(), self._terms)
        if isinstance(answer, RejectionReason):
            prepared = prepared._replace(asked=case.request)
            if answer is RejectionReason.OTHER_ARGUMENTS:
                prepared = prepared._replace(differs=approval_records.differing_arguments(prepared))
            rules = approval_records.recordable_rules(prepared, answer)
            verdict = replace(decisions.denied(Cause.APPROVAL, answer), rules=rules)
            raise DeniedEarly(Decided(prepared, verdict))
        stopped = suspension_of(prepared.request, self._journal.ledger.suspensions, answer)
        if stopped is not None:
            verdict = decisions.denied(Cause.SUSPENDED, str(stopped.seq))
            prepared = prepared._replace(grant=answer)
            raise DeniedEarly(Decided(prepared, verdict, suspension=stopped))
        return answer

    def requested_view(self, prepared: Prepared) -> View | None:
        """Return the recorded view of the approval request for a call that the approval does not
        cover, or None if the view can't be shown again.
        """
        if prepared.asked is None:
            return None
        commitment = self._recorder.commitment(prepared.request, prepared.encoded)
        try:
            return approval_records.requested_view(prepared, commitment, self._recorder.identity())
        except RedactionError:
            return None

    def find_open_request(self, prepared: Prepared) -> Steps[ApprovalCase | None]:
        """Return the unused approval request that an earlier attempt at the same call made, or
        None.
        """
        request = prepared.request
        session, call_id = str(request.state.fields.session), request.origin["call_id"]
        wanted = self._presented_call(prepared)

        def search() -> ApprovalCase | None:
            requests = self._journal.requests
            for approval in reversed(requests.of_session(session)):
                case = requests.case(approval) if approval != prepared.presented else None
                if case is None or case.request.origin.get("call_id") != call_id:
                    continue
                if case.request.commitment != wanted.commitment:
                    continue
                if approvals.state_of(case, self._clock(), self._terms) in _OPEN:
                    return case
            return None

        return (yield from self._journal.look_up(search))

    def wait_for_answer(self, approval: str, until: float) -> Steps[bool]:
        """Wait until the request *approval* is answered or can no longer be answered. Return False
        if neither happens before *until* (``time.monotonic()``).
        """
        pause = _FIRST_PAUSE
        on_wait = ON_WAIT.get()
        while True:
            case = yield from self._read_case(approval)
            if case is None:
                return True
            if approvals.state_of(case, self._clock(), self._terms) is not RequestState.PENDING:
                return True
            left = until - time.monotonic()
            if left <= 0:
                return False
            if on_wait is not None:
                on_wait(str(case.request.tool.get("name")))
                on_wait = None
            try:
                yield Wait(Future(), min(pause, left))
            except TimeoutError:
                pause = min(pause * 1.5, _LONGEST_PAUSE)

    def _read_case(self, approval: str) -> Steps[ApprovalCase | None]:
        if not approvals.is_approval_id(approval):
            return None
        return (yield from self._journal.look_up(lambda: self._journal.requests.case(approval)))

    def _presented_call(self, prepared: Prepared) -> PresentedCall:
        request = prepared.request
        state = request.state
        session, recorded = state.session, state.fields
        people = [session.principal.id, session.agent.id]
        people += [str(step.get("sub", "")) for step in session.delegation]
        return PresentedCall(
            tenant=recorded.tenant,
            session=recorded.session,
            principal=recorded.principal,
            agent=recorded.agent,
            people=tuple(people),
            tool=self._recorder.tool_views(request.tool)[1]
            | {"name": state.text(request.tool.name)},
            commitment=self._recorder.commitment(request, prepared.encoded),
        )


def limit_to_grant(grant: Grant | None, verdict: Decision) -> Decision:
    """Return *verdict*, or a denial if the rules that fired require more than *grant* approves."""
    if grant is None or verdict.effect is not Effect.ALLOW:
        return verdict
    problem = approvals.exceeds(grant, verdict)
    if problem is None:
        return verdict
    denial = decisions.denied(Cause.APPROVAL, problem, redact=verdict.redact)
    return replace(denial, rules=verdict.rules)


_OPEN = frozenset(
    {RequestState.PENDING, RequestState.GRANTED, RequestState.REFUSED, RequestState.BLOCKED}
)
