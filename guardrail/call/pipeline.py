"""Steps (2) to (7) of a call: from its arguments to a durable decision.

Written once, as generators (see ``guardrail.system.waiting``). A failure in any step becomes a
denial with its own cause, and every denial is recorded like any other decision.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TypeVar, cast

from guardrail.call import owners
from guardrail.call.admission import Admission
from guardrail.call.approval import ApprovalSteps
from guardrail.call.budget import outlined, section
from guardrail.call.caller import Caller
from guardrail.call.decision_record import Call, Recorder
from guardrail.call.decision_writer import DENIED_ARGUMENTS, ENGINE_GRACE, DecisionWriter, shard
from guardrail.call.journal import Journal
from guardrail.call.options import CallOptions
from guardrail.call.refusals import public_message, raise_refusal
from guardrail.call.throttle import Throttle
from guardrail.call.unfit import misnamed
from guardrail.core import decision as decisions
from guardrail.core.claims import BEHIND, TAKEN
from guardrail.core.log import fields
from guardrail.core.log.record import Draft
from guardrail.core.redaction.view import BEYOND_LIMITS
from guardrail.core.types import (
    Cause,
    Decision,
    Effect,
    Enforcement,
    EngineReply,
    Json,
    Origin,
    Receipt,
)
from guardrail.errors import (
    ApprovalRequired,
    ArgumentsError,
    Denied,
    LedgerError,
    PolicyError,
    RedactionError,
)
from guardrail.identity.session import SessionState
from guardrail.system.cpu_meter import OVER_BUDGET
from guardrail.system.host import host_name
from guardrail.system.ids import new_ulid
from guardrail.system.waiting import Steps, Wait, in_background
from guardrail.tools.tool import Tool

if TYPE_CHECKING:
    from guardrail.policy.engine import Engine

R = TypeVar("R")

__all__ = ["Anchoring", "Pipeline", "Unanchored"]

_TRIES = 8
"""Competing steps of one approval after which a call that it covers gives up."""
_MAX_CALL_ID = 512


class Anchoring(Protocol):
    """How far external checkpoints lag behind the ledger.
    ``guardrail.anchors.schedule.AnchorWatch`` implements it.
    """

    def behind(self) -> str:
        """Return the reason to deny calls, ``conflict`` or ``lag``, or an empty string."""

    def saw(self, size: int) -> None:
        """Record that the log has *size* records."""


class Unanchored:
    """Null object: never denies a call for anchor lag."""

    def behind(self) -> str:
        """Return nothing."""
        return ""

    def saw(self, size: int) -> None:
        """Do nothing."""


class Pipeline:
    """Takes calls from their arguments to a durable decision. Thread-safe: each call has its own
    state.
    """

    def __init__(
        self,
        *,
        engine: Callable[[], Engine],
        journal: Journal,
        recorder: Recorder,
        approvals: ApprovalSteps,
        deadline: Callable[[], float],
        anchors: Anchoring,
        throttle: Throttle,
    ) -> None:
        """*anchors* decides whether calls are denied because too little of the ledger is anchored.

        *deadline* returns, for each decision, the seconds it may take.
        """
        self._current_engine = engine
        self._throttle = throttle
        self._anchors = anchors
        self._approvals = approvals
        self._journal = journal
        self._recorder = recorder
        self._deadline = deadline
        self._writer = DecisionWriter(recorder, approvals, deadline)
        self._host = host_name()

    def begin(
        self,
        tool: Tool,
        caller: Caller,
        options: CallOptions,
        enforcement: Enforcement,
    ) -> Call:
        """Return a new call of *caller*'s session, at step (1)."""
        state = caller.state
        where = Origin(
            host=self._host,
            pid=os.getpid(),
            process=self._journal.process,
            adapter=options.adapter,
            call_id=None if options.call_id is None else _call_id(options.call_id, state),
        )
        return Call(
            id=new_ulid(),
            tool=tool,
            state=state,
            origin=fields.origin(where),
            parent=Admission.current_call(),
            enforcement=enforcement,
            started=time.perf_counter(),
            time=_now(),
            arguments={},
            beside=frozenset(options.extra or ()),
            replayed=options.replayed,
            refusal=caller.refusal,
        )

    def governed(
        self, call: Call, args: Mapping[str, Any], options: CallOptions
    ) -> Steps[Admission]:
        """Admit *call*, using the approval that came with it, or waiting for one as long as
        *options* say.

        Raises ``ApprovalRequired`` if none has arrived by then.
        """
        over = self._throttle.count(call.state, call.tool.name)
        if over is not None:
            yield from self._throttle.refuse(over)
        approval, patience = options.approval, options.wait_for_approval
        until = None if patience is None else time.monotonic() + patience
        asked: ApprovalRequired | None = None
        tries = 0
        while True:
            if approval is not None and until is not None:
                answered = yield from self._approvals.answered(approval, until)
                if not answered and asked is not None:
                    raise asked
                call = _new_attempt(call)  # it is judged, and dated, by the current state
            call.presented = approval
            try:
                return (yield from self.admission(call, args))
            except ApprovalRequired as required:
                if until is None:
                    raise
                asked, approval = required, required.approval
            except LedgerError as error:
                tries += 1
                if tries > _TRIES:
                    raise
                # Another step of this approval was recorded first: nothing was written, so judge it
                # again.
                if error.code != "ledger.approval_taken":
                    yield from self._session_seen(call, error)
                call = _new_attempt(call)

    def rejection(self, call: Call, reason: str) -> Steps[int]:
        """Record that a framework refused *call*; return the number of the record.

        In somebody else's session it is recorded as a denial. Beyond the limit the number is that
        of ``admin.quota_reached``. Raises ``LedgerError``.
        """
        over = self._throttle.count(call.state, call.tool.name)
        if over is not None:
            return (yield from self._throttle.recorded(over))
        tries = 0
        while not call.state.taken:
            try:
                return (yield from self._record(call, self._recorder.rejected(call, reason))).seq
            except LedgerError as error:
                tries += 1
                if tries > _TRIES:
                    raise
                yield from self._session_seen(call, error)
        try:
            yield from self.admission(call, {})
        except Denied as denial:
            return denial.seq
        raise AssertionError("unreachable: the session is somebody else's")

    def _session_seen(self, call: Call, error: LedgerError) -> Steps[None]:
        """Store why the first record of a session was not written, so that the call can be
        repeated; otherwise raise *error*.
        """
        if error.code == "ledger.session_taken":
            call.state.taken = True
        elif error.code == BEHIND and call.state.claim is not None:
            look = functools.partial(owners.find, self._journal, call.state.claim)
            yield Wait(in_background(look), self._journal.deadline)
        else:
            raise error

    def _record(self, call: Call, draft: Draft) -> Steps[Receipt]:
        """Write *draft*, the record about *call*; durable when this ends. Raises ``LedgerError``.

        A caller that stops waiting (deadline, Ctrl-C, cancellation) never learns that the call was
        allowed, so its body never runs. If the record becomes durable anyway, its outcome says
        `not_started`.
        """
        future = self._journal.submit(draft)
        try:
            receipt: Receipt = yield Wait(future, self._journal.deadline)
        except BaseException as error:  # noqa: BLE001 - every way of no longer waiting; raised on
            _give_up(self._journal, future, error)
        if draft.claim is not None:
            call.state.claim = None  # from here on, the log states the session's owner
        return receipt

    def admission(self, call: Call, args: Mapping[str, Any]) -> Steps[Admission]:
        """Decide and record *call*: steps (2) to (7).

        Ends with an admission, or raises ``Denied``, ``ApprovalRequired`` or ``LedgerError``.
        """
        verdict: Decision | None
        try:
            verdict = yield from self._prepare(call, args)
            if verdict is None and call.presented is not None:
                verdict = yield from self._approvals.present(call)
            if verdict is None:
                # (4) the policy input, complete: an absent key would leave a deny rule undefined.
                if self._recorder.raw_input:
                    call.raw = self._recorder.policy_input(call)  # nothing is redacted for it
                else:
                    call.raw = yield from section(call, lambda: self._recorder.policy_input(call))
        except RedactionError as error:
            # Only the caller may know how much of the arguments the policy can see.
            told = error.message if error.code == BEYOND_LIMITS else ""
            verdict = decisions.denied(Cause.REDACTOR, error.code, message=told)
            if error.code == OVER_BUDGET:
                call.over_budget()
        if verdict is None:
            verdict = yield from self._decide(call)
        judged = verdict
        view, verdict = yield from section(call, lambda: self._writer.recorded_view(call, judged))
        if verdict.effect is Effect.REQUIRE_APPROVAL:
            # Nothing ran, and the approver must see the arguments: large ones count as several of
            # the principal's calls.
            self._throttle.charge(call.state, len(call.encoded or b"") // DENIED_ARGUMENTS)
        if call.replayed and verdict.effect is Effect.REQUIRE_APPROVAL:
            earlier = yield from self._approvals.earlier(call)
            if earlier is not None:
                request = earlier.request
                raise ApprovalRequired(
                    public_message(verdict, call), seq=request.seq, approval=request.id
                )
        draft, verdict, again = yield from self._writer.write_up(call, verdict, view)
        receipt = yield from self._record(call, draft)  # (7) durable
        self._anchors.saw(receipt.seq + 1)
        if verdict.effect is not Effect.ALLOW:
            raise_refusal(verdict, receipt.seq, call, self._approvals.answer(call))
        return Admission(
            journal=self._journal,
            state=call.state,
            tool=call.tool,
            call=call.id,
            parent=call.parent,
            origin=call.origin,
            seq=receipt.seq,
            arguments=call.arguments,
            again=again,
            verdict=verdict,
            meter=call.meter,
        )

    def _prepare(self, call: Call, args: Mapping[str, Any]) -> Steps[Decision | None]:
        tool, state = call.tool, call.state
        unknown = call.refusal() or (TAKEN if state.taken else "")
        if unknown:
            # (1) the caller is unknown to the policy, or the session has ended: it is not asked.
            call.inspection = yield from outlined(call, args, "undecided")
            return decisions.denied(Cause.IDENTITY, unknown)
        try:
            # (2) one private copy, validated, defaults filled. Policy, record, commitment and body
            # all use it.
            snapshot, call.arguments = tool.take(args)
        except ArgumentsError as error:
            call.inspection = yield from outlined(call, args, "unfit")
            call.misnamed = misnamed(
                error, args, tool, lambda name: state.redactor.text(name, state.memory)
            )
            return decisions.denied(Cause.ARGUMENTS, error.detail, message=error.message)
        if call.beside and not call.beside.isdisjoint(call.arguments):
            # An open schema accepts any name, but a name that the program injects never comes from
            # the model.
            call.inspection = yield from outlined(call, args, "unfit")
            return decisions.denied(
                Cause.ARGUMENTS, "injected", message="an argument is the program's to give"
            )
        call.args, call.encoded = cast("Json", snapshot.args), snapshot.encoded
        # (3) find sensitive values, and their classes. Found values are known to this session from
        # here on.
        call.inspection = yield from section(
            call,
            lambda: state.redactor.inspect(
                snapshot.args,
                schema=None if tool.schema is None else tool.schema.schema,
                declared=tool.declared,
                memory=state.memory,
            ),
        )
        return None

    def _decide(self, call: Call) -> Steps[Decision]:
        why = self._anchors.behind()
        if why:
            # A cut or rolled-back ledger must not lose more than this, nor continue from the point
            # where it was cut.
            return decisions.denied(Cause.ANCHOR, why)
        # (5) ask; (6) turn any reply into a decision.
        reply = yield from self._ask(call, call.raw)
        if isinstance(reply, Decision):
            return reply
        call.reply = reply
        return self._approvals.judged(call, _explained(call, decisions.parse(reply.document)))

    def _ask(self, call: Call, document: bytes) -> Steps[EngineReply | Decision]:
        engine = call.engine = self._current_engine()
        try:
            deadline = self._deadline()
            future = engine.decide(document, shard=shard(call), deadline=deadline)
            reply: EngineReply = yield Wait(future, deadline + ENGINE_GRACE)
        except PolicyError as error:
            return decisions.denied(_cause(error.cause), error.detail)
        except TimeoutError:
            return decisions.denied(Cause.TIMEOUT, "engine")
        except Exception:  # noqa: BLE001 - the policy border: an engine that breaks its promise denies as well
            return decisions.denied(Cause.ERROR, "engine")
        return reply


def _explained(call: Call, verdict: Decision) -> Decision:
    """Return *verdict*; if it denies a tool whose schema was refused, give it that reason as its
    detail.
    """
    if verdict.effect is Effect.DENY and verdict.cause is Cause.POLICY and call.tool.refused:
        return replace(verdict, detail=call.tool.refused)
    return verdict


def _call_id(call_id: str, state: SessionState) -> str:
    # Text is searched only up to a limit, and ids are short, so a long one is recorded as a token.
    if len(call_id) > _MAX_CALL_ID:
        return state.keys.token("call", call_id)
    return state.redactor.text(call_id, state.memory)


def _give_up(journal: Journal, future: Future[Receipt], error: BaseException) -> NoReturn:
    """Raise for a caller that stopped waiting for its decision record.

    The ledger is told, so that the call does not stay open: if the decision becomes durable anyway,
    it gets the outcome ``cancelled``, class ``not_started``.
    """
    if isinstance(error, LedgerError):
        raise error
    problem = journal.expired(future)
    if isinstance(error, TimeoutError):
        raise problem from None
    raise error


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _new_attempt(call: Call) -> Call:
    """Return a fresh copy of the call, of which nothing is decided or recorded yet."""
    return Call(
        id=new_ulid(),
        tool=call.tool,
        state=call.state,
        origin=call.origin,
        parent=call.parent,
        enforcement=call.enforcement,
        started=time.perf_counter(),
        time=_now(),
        arguments={},
        beside=call.beside,
        replayed=call.replayed,
        refusal=call.refusal,
    )


def _cause(name: str) -> Cause:
    try:
        return Cause(name)
    except ValueError:
        return Cause.ERROR
