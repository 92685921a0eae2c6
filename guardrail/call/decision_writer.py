"""From a verdict to its decision record: the recorded view, reproducibility, and the bare form."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future

from guardrail.call.admission import same_verdict
from guardrail.call.approval import ApprovalSteps
from guardrail.call.budget import over_budget, section
from guardrail.call.decision_record import Call, Recorder, UnsafeRecordError, outline
from guardrail.core import decision as decisions
from guardrail.core.log.record import Draft
from guardrail.core.redaction.redactor import View
from guardrail.core.types import Cause, Decision, Effect, EngineReply
from guardrail.errors import PolicyError, RecordError, RedactionError
from guardrail.system.cpu_meter import OVER_BUDGET
from guardrail.system.waiting import Steps, Wait

__all__ = ["DENIED_ARGUMENTS", "ENGINE_GRACE", "DecisionWriter", "shard"]

DENIED_ARGUMENTS = 4_096
"""Maximum bytes of arguments in the record of a denial; larger ones are recorded by size and
token.
"""

ENGINE_GRACE = 1.0
"""Seconds after its deadline at which an engine that has not completed its future is given up."""


class DecisionWriter:
    """Makes the decision records of calls. Thread-safe: it keeps nothing of a call."""

    def __init__(
        self, recorder: Recorder, approvals: ApprovalSteps, deadline: Callable[[], float]
    ) -> None:
        self._recorder = recorder
        self._approvals = approvals
        self._deadline = deadline

    def recorded_view(self, call: Call, verdict: Decision) -> tuple[View | None, Decision]:
        """Return the recorded form of the arguments, and *verdict*, or the denial if that form
        can't be made.
        """
        if call.omitted is not None:
            return None, verdict
        view = self._approvals.as_asked(call)
        if view is None and call.encoded is not None and _unheard(call, verdict):
            # The values that the policy wants hidden are not known, so no argument is recorded in
            # clear.
            call.inspection = outline(call, call.args, "undecided")
        try:
            if view is None and call.inspection is not None:
                view = call.inspection.view(verdict.redact)
            if view is not None and call.inspection is not None and verdict.effect is Effect.DENY:
                # Nothing ran: a model that is denied repeatedly must not fill the disk with its
                # requests.
                view = call.inspection.shortened(view, DENIED_ARGUMENTS)
        except RedactionError as error:
            if error.code == OVER_BUDGET:
                return None, over_budget(call, verdict)
            # Apart from that, only an invalid pointer from the policy can fail here.
            return None, decisions.denied(Cause.MALFORMED, "redact_pointer")
        return view, verdict

    def write_up(
        self, call: Call, verdict: Decision, view: View | None
    ) -> Steps[tuple[Draft, Decision, Future[EngineReply] | None]]:
        """Make the decision record; if the full one can't be made, make the bare one, which
        denies.
        """
        try:
            return (yield from self._written(call, verdict, view))
        except UnsafeRecordError as problem:
            reason = detail = problem.reason
        except RedactionError as error:
            if error.code == OVER_BUDGET and view is not None:
                # Without the view, little remains.
                return (yield from self.write_up(call, over_budget(call, verdict), None))
            # The host's session attributes no longer fit, because more of them had to become
            # tokens.
            reason, detail = "redactor", "session"
            if error.code == OVER_BUDGET:
                reason = detail = error.code
        except RecordError as error:
            reason = detail = "size" if error.code == "record.too_large" else "record"
        verdict = decisions.denied(Cause.REDACTOR, detail)
        return self._recorder.bare(call, verdict, reason), verdict, None

    def _written(
        self, call: Call, verdict: Decision, view: View | None
    ) -> Steps[tuple[Draft, Decision, Future[EngineReply] | None]]:
        recorder = self._recorder
        recorded = yield from section(call, lambda: recorder.recorded_input(call, view))
        again: Future[EngineReply] | None = None
        reproducible: bool | None = None
        if view is not None and view.truncated:
            reproducible = False
        elif call.reply is not None and view is not None and verdict.cause is not Cause.APPROVAL:
            if call.reply.policy.digest is None:
                pass  # the deciding policy, and so a second decision, is not known
            elif recorded == call.raw:
                reproducible = True
            else:
                again = self._derive_again(call, recorded)
                if verdict.effect is not Effect.ALLOW:
                    # Nothing runs meanwhile, so the second derivation can be awaited and its result
                    # is in this record.
                    reproducible = yield from _compare(again, verdict, self._deadline())
                    again = None
        draft = yield from section(
            call, lambda: recorder.full(call, verdict, view, recorded, reproducible)
        )
        return draft, verdict, again

    def _derive_again(self, call: Call, recorded: bytes) -> Future[EngineReply]:
        # Use the engine that decided, which a reload keeps open long enough: the record names its
        # policies.
        assert call.engine is not None
        try:
            return call.engine.decide(recorded, shard=shard(call), deadline=self._deadline())
        except PolicyError as error:
            failed: Future[EngineReply] = Future()
            failed.set_exception(error)
            return failed


def _unheard(call: Call, verdict: Decision) -> bool:
    """Return True if the policy gave no reply, or an unreadable one."""
    return call.reply is None or verdict.cause is Cause.MALFORMED


def shard(call: Call) -> str:
    """Return the queue of an engine that *call* waits in."""
    # Keyed by who calls which tool, not by session: a new session costs nothing. Each tenant and
    # principal has its own share.
    session, tool = call.state.session, call.tool
    who = session.principal
    return "\x00".join(
        (
            session.tenant,
            f"{who.type}\x01{who.issuer or ''}\x01{who.id}",
            session.agent.id,
            tool.server or "",
            tool.name,
        )
    )


def _compare(again: Future[EngineReply], verdict: Decision, deadline: float) -> Steps[bool | None]:
    try:
        reply: EngineReply = yield Wait(again, deadline + ENGINE_GRACE)
    except (PolicyError, TimeoutError):
        return None
    return same_verdict(verdict, reply.document)
