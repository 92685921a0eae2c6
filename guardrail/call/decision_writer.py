"""Turns a verdict into its decision record: the recorded view and, if the full record can't be
written, a bare record that denies the call.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

from guardrail.call.approval import ApprovalSteps
from guardrail.call.budget import outline, size_of, unredacted
from guardrail.call.decision_record import Recorder
from guardrail.call.record_checks import UnsafeRecordError
from guardrail.call.stages import UNREDACTED, Ahead, Decided, Prepared, RecordedInput, Request
from guardrail.core import decision as decisions
from guardrail.core.log.record import Draft
from guardrail.core.redaction.redactor import Inspection, View
from guardrail.core.types import Cause, Effect, Session
from guardrail.errors import RecordError, RedactionError
from guardrail.system.waiting import LARGE, Steps
from guardrail.tools.tool import Tool

__all__ = [
    "DENIED_ARGUMENTS",
    "ENGINE_GRACE",
    "DecisionWriter",
    "WrittenDecision",
    "shard",
    "shard_of",
]

DENIED_ARGUMENTS = 4_096
"""Maximum size of the arguments in the record of a denial, in bytes. Larger arguments are recorded
as size and token.
"""

ENGINE_GRACE = 1.0
"""Seconds after the deadline until guardrail stops waiting for an engine that has not completed its
future.
"""


class WrittenDecision(NamedTuple):
    """A decision record that is ready for the ledger."""

    decided: Decided
    """The recorded decision. It is a denial if the full record of another verdict can't be built.
    """
    draft: Draft
    origin: Mapping[str, Any]
    """The field ``origin`` of the record, which the outcome record repeats."""


class DecisionWriter:
    """Builds the decision records of calls. Thread-safe: it keeps no state between calls."""

    def __init__(self, recorder: Recorder, approvals: ApprovalSteps) -> None:
        self._recorder = recorder
        self._approvals = approvals

    def make_ahead(self, prepared: Prepared) -> Ahead | None:
        """Return the parts of the record that do not depend on the policy's reply, if the arguments
        are small. Called while the policy is evaluated, because the thread would only wait.

        If a part can't be made, return None. It is made again later, and the error is handled then.
        """
        request, inspection = prepared.request, prepared.inspection
        small = size_of(request, prepared.encoded) <= LARGE
        if not small or inspection is None or prepared.asked is not None:
            return None
        try:
            return request.meter.section(functools.partial(self._parts, prepared, inspection))
        except RedactionError:
            return None

    def _parts(self, prepared: Prepared, inspection: Inspection) -> Ahead:
        request = prepared.request
        state, schema = request.state, request.tool.schema
        added, view = state.memory.added, inspection.view()
        recorded = self._recorder.recorded_input(prepared, view)
        found = state.redactor.gate(
            recorded.texts, state.memory, schema=None if schema is None else schema.schema
        )
        if found is None:
            recorded = recorded._replace(texts=())
        return Ahead(view, recorded, added)

    def recorded_view(self, decided: Decided) -> tuple[Decided, View | None]:
        """Return *decided* and the recorded view of its arguments. If the view can't be built,
        return a denial without a view.
        """
        prepared, verdict = decided.prepared, decided.verdict
        if prepared.omitted is not None:
            return decided, None
        view = None if prepared.asked is None else self._approvals.requested_view(prepared)
        unheard = decided.reply is None or verdict.cause is Cause.MALFORMED
        if unheard and view is None and prepared.encoded is not None:
            # Without the view, the values that the policy wants hidden are not known, so no
            # argument is recorded in clear text.
            prepared = outline(prepared, prepared.args, "undecided")
            decided = decided._replace(prepared=prepared)
        try:
            if view is None and prepared.inspection is not None:
                view = prepared.inspection.view(verdict.redact)
            denied = verdict.effect is Effect.DENY
            if denied and view is not None and prepared.inspection is not None:
                # Nothing ran. A model that is denied repeatedly must not fill the disk with its
                # arguments.
                view = prepared.inspection.shortened(view, DENIED_ARGUMENTS)
        except RedactionError as error:
            if error.code in UNREDACTED:
                return unredacted(decided, error.code), None
            # Otherwise, only an invalid pointer from the policy can fail here.
            verdict = decisions.denied(Cause.MALFORMED, "redact_pointer")
            return decided._replace(verdict=verdict), None
        return decided, view

    def write_decision(
        self, decided: Decided, view: View | None, size: int
    ) -> Steps[WrittenDecision]:
        """Build the full decision record, or, if that fails, the bare record, which denies the
        call. *size* is the size of the arguments (``size_of``).
        """
        try:
            return (yield from self._write_full(decided, view, size))
        except UnsafeRecordError as problem:
            reason = detail = problem.reason
        except RedactionError as error:
            if error.code in UNREDACTED and view is not None:
                # Without the view, the record is small.
                bare = unredacted(decided, error.code)
                return (yield from self.write_decision(bare, None, size))
            # The session attributes no longer fit, because more of them had to become tokens.
            reason, detail = "redactor", "session"
            if error.code in UNREDACTED:
                reason = detail = error.code
        except RecordError as error:
            reason = detail = "size" if error.code == "record.too_large" else "record"
        decided = decided._replace(verdict=decisions.denied(Cause.REDACTOR, detail))
        draft = self._recorder.bare(decided, reason)
        return WrittenDecision(decided, draft, decided.prepared.request.origin)

    def _write_full(self, decided: Decided, view: View | None, size: int) -> Steps[WrittenDecision]:
        recorder, prepared = self._recorder, decided.prepared
        request = prepared.request
        _require_tool_name(decided)
        ahead = prepared.ahead
        if ahead and ahead.view is view and ahead.added == request.state.memory.added:
            recorded = ahead.recorded
        else:
            recording = functools.partial(recorder.recorded_input, prepared, view)
            recorded = yield from request.meter.run(recording, size)
        making = functools.partial(
            recorder.full, decided, view, recorded, _reproducible(decided, view, recorded)
        )
        draft, origin = yield from request.meter.run(making, size)
        return WrittenDecision(decided, draft, origin)


def _require_tool_name(decided: Decided) -> None:
    """Raise ``UnsafeRecordError`` if the name of the tool would be removed from the record of a
    call that is not denied, and policies read states: they could not count its calls by that name.
    """
    request = decided.prepared.request
    tool = request.tool
    if decided.verdict.effect is Effect.DENY or request.states is None or tool.declared:
        return
    if request.state.text(tool.name) != tool.name:
        raise UnsafeRecordError("tool")


def shard(request: Request) -> str:
    """Return the shard of the engine's queue in which the call waits."""
    return shard_of(request.state.session, request.tool)


def shard_of(session: Session, tool: Tool) -> str:
    """Return the shard of requests about *tool* in *session*."""
    # The key is the caller and the tool, not the session, so that new sessions give no advantage.
    # Each tenant and principal has its own share.
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


def _reproducible(decided: Decided, view: View | None, recorded: RecordedInput) -> bool | None:
    """Return True if the policy decided on exactly the recorded input, False if the record does not
    contain the whole input, and None if only ``guardrail rederive`` can tell, or if nobody can.
    """
    if view is None:
        return None
    if view.truncated:
        return False
    prepared, reply = decided.prepared, decided.reply
    if reply is None or decided.verdict.cause is Cause.APPROVAL or reply.policy.digest is None:
        return None  # no policy decided alone, or it is unknown which policy decided
    return True if recorded.document == prepared.document else None
