"""The nine steps of a call, as one generator that yields what it waits for.

(1) who is calling; (2) the arguments, validated and copied once; (3) the sensitive values in them;
(4) the policy input; (5) the policy is evaluated; (6) its reply becomes a decision; (7) the
decision record is durable; (8) the body runs; (9) the outcome record is durable, and only then is
the result released.

``CallSteps.steps`` is the procedure. Each step takes one stage of the call
(``guardrail.call.stages``) and returns the next; ``guardrail.call.drivers`` runs the generator, in
a thread or on an event loop. A failure in any step becomes a denial with its own cause, and every
denial is recorded like any other decision.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from guardrail.approvals.rules import Grant
from guardrail.call import early_denials as early
from guardrail.call import owners
from guardrail.call.anchor_lag import Anchoring
from guardrail.call.approval import ApprovalSteps, limit_to_grant
from guardrail.call.asserted import as_recorded, check_context
from guardrail.call.attempts import add_framework_ids, new_attempt
from guardrail.call.bodies import CURRENT, CallGenerator
from guardrail.call.budget import size_of
from guardrail.call.caller import Callers
from guardrail.call.decision_record import Recorder
from guardrail.call.decision_writer import DENIED_ARGUMENTS, ENGINE_GRACE, DecisionWriter, shard
from guardrail.call.duplicates import Held, refuse_repeated, release
from guardrail.call.effects import OVERTAKEN, refuse_held_effect
from guardrail.call.journal import Journal
from guardrail.call.options import CallOptions, check_approval
from guardrail.call.quoted_arguments import without_arguments
from guardrail.call.refusals import public_message, raise_refusal
from guardrail.call.settling import run_and_settle
from guardrail.call.stages import Admitted, Decided, DeniedEarly, Prepared, Request
from guardrail.call.state_reading import StateReader, StateTurn
from guardrail.call.throttle import Throttle
from guardrail.core import decision as decisions
from guardrail.core.claims import TAKEN
from guardrail.core.log.record import Draft
from guardrail.core.redaction.redactor import Inspection
from guardrail.core.schema.json_arguments import JsonArguments
from guardrail.core.schema.snapshot import Snapshot
from guardrail.core.types import Cause, Effect, Enforcement, EngineReply, Receipt
from guardrail.errors import (
    ApprovalRequired,
    ArgumentsError,
    Denied,
    LedgerError,
    PolicyError,
    RedactionError,
)
from guardrail.identity.session import SessionState
from guardrail.ledger.files import utc_timestamp
from guardrail.ledger.session_states import OUTDATED
from guardrail.ledger.size_limit import SIZE_LIMIT
from guardrail.system.cpu_meter import Meter
from guardrail.system.ids import new_ulid
from guardrail.system.waiting import Shielded, Steps, Wait
from guardrail.tools.tool import Tool

if TYPE_CHECKING:
    from guardrail.policy.engine import PoliciesInUse

__all__ = ["CallSteps"]

_MAX_RETRIES = 8
"""Maximum number of repeated attempts at a call, because another record was written first."""


class CallSteps:
    """Runs the calls of one guard. Thread-safe: each call has its own stages."""

    def __init__(
        self,
        *,
        callers: Callers,
        policies: PoliciesInUse,
        journal: Journal,
        recorder: Recorder,
        approvals: ApprovalSteps,
        anchors: Anchoring,
        throttle: Throttle,
    ) -> None:
        """*anchors* reports whether calls must be denied because the anchors contradict the ledger
        or lag behind it.
        """
        self.callers = callers
        """Finds the session of the current code."""
        self._policies = policies
        self._throttle = throttle
        self._anchors = anchors
        self._approvals = approvals
        self._journal = journal
        self._recorder = recorder
        self._writer = DecisionWriter(recorder, approvals)
        self.states = StateReader(journal, policies)
        """Reads the states of sessions that the policies read."""

    def steps(
        self,
        tool: Tool,
        args: Mapping[str, Any] | JsonArguments,
        options: CallOptions,
        run: Callable[..., Any] | None = None,
    ) -> CallGenerator[Any]:
        """Decide a call, record the decision, run the body, and record the outcome.

        The last stage is ``Settled``. If *run* is None, it is ``Admitted``: the caller runs the
        body. Raises ``Denied``, ``ApprovalRequired``, ``LedgerError`` or ``UsageError``.
        """
        enforcement = Enforcement.RELEASE if run is None else Enforcement.BODY
        request = yield from self._receive(tool, args, options, enforcement)  # (1) who is calling
        held: list[Held] = []
        turn = self.states.turn(request)
        try:
            admitted = yield from self._admit(request, held, turn)
        finally:
            release(self._journal, held)  # the decision record now shows the call
            turn.leave()
        if run is None:
            return admitted
        return (yield from run_and_settle(self._journal, admitted, run))  # (8) body, (9) outcome

    def _admit(self, request: Request, held: list[Held], turn: StateTurn) -> Steps[Admitted]:
        while True:
            try:
                request = self.states.begin(request)
                yield from turn.wait(self._journal.deadline, refused=request.outdated > 0)
                try:
                    copied = yield from self._copy(request)  # (2) one private copy, validated
                    found = yield from self._inspect(request, copied)  # (3) sensitive values in it
                    prepared = yield from self._prepare(request, copied, found)  # (4) policy input
                    yield from refuse_repeated(self._journal, prepared, held)
                    yield from refuse_held_effect(self._journal, prepared, self._recorder)
                    prepared, reply = yield from self._ask(prepared)  # (5) the policy is evaluated
                    decided = yield from self._judge(prepared, reply)  # (6) a decision is made
                except DeniedEarly as denial:
                    decided = denial.decided
                return (yield from self._record(decided))  # (7) the decision record is durable
            except (ApprovalRequired, LedgerError) as problem:
                attempt = yield from self._next_attempt(request, problem)
                if attempt is None:
                    raise
                request = attempt

    # -- (1) who is calling ------------------------------------------------------------------------

    def _receive(
        self,
        tool: Tool,
        args: Mapping[str, Any] | JsonArguments,
        options: CallOptions,
        enforcement: Enforcement,
    ) -> Steps[Request]:
        request = self.request(tool, args, options, enforcement)
        over = self._throttle.count(request.state, tool.name)
        if over is not None:
            yield from self._throttle.refuse(over)
        if request.until is not None:
            request = yield from self._wait_for_answer(request)
        return request

    def request(
        self,
        tool: Tool,
        args: Mapping[str, Any] | JsonArguments,
        options: CallOptions,
        enforcement: Enforcement,
    ) -> Request:
        """Return a new call, in the session given in *options* or in the current session. Raises
        ``UsageError``.
        """
        if options.approval is not None:
            check_approval(options.approval)
        if options.context is not None:
            check_context(options.context)
        caller = self.callers.find(options.session)
        origin = self._journal.where(options.adapter)
        add_framework_ids(origin, options, caller.state)
        patience = options.wait_for_approval
        return Request(
            new_ulid(),
            tool,
            args,
            caller.state,
            caller.refusal,
            origin,
            CURRENT.get(),
            enforcement,
            time.perf_counter(),
            utc_timestamp(),
            options,
            Meter(),
            options.approval,
            None if patience is None else time.monotonic() + patience,
        )

    # -- (2) to (4) the policy input ---------------------------------------------------------------

    def _copy(self, request: Request) -> Steps[tuple[Snapshot, Mapping[str, Any]]]:
        """Return the snapshot of the arguments, and the arguments for the body, with defaults
        filled in.

        Policy, record, commitment and body all use the snapshot.
        """
        yield from early.refuse_caller(request, self._journal.ledger.suspensions)
        if type(request.args) is JsonArguments:
            request = yield from early.parse_arguments(request, request.args)
        try:
            copied = request.tool.take(request.args)
        except ArgumentsError as error:
            raise DeniedEarly((yield from early.deny_unfit_arguments(request, error))) from None
        if request.options.extra and not frozenset(request.options.extra).isdisjoint(copied[1]):
            raise DeniedEarly((yield from early.deny_injected_argument(request)))
        return copied

    def _inspect(
        self, request: Request, copied: tuple[Snapshot, Mapping[str, Any]]
    ) -> Steps[Inspection]:
        """Return the locations and the classes of sensitive values in the snapshot.

        The session remembers the values found, and those of the call's context.
        """
        snapshot, arguments = copied
        tool, state, context = request.tool, request.state, request.options.context
        schema = None if tool.schema is None else tool.schema.schema
        inspect = functools.partial(state.redactor.inspect, schema=schema, memory=state.memory)
        look = functools.partial(inspect, snapshot.args, declared=tool.declared)
        try:
            if context is not None:  # the arguments can quote it
                request.meter.section(functools.partial(as_recorded, context, state))
            return (yield from request.meter.run(look, size_of(request, snapshot.encoded)))
        except RedactionError as error:
            prepared = Prepared(
                request, snapshot.args, snapshot.encoded, arguments, presented=request.approval
            )
            raise DeniedEarly(early.deny_unredactable(prepared, error)) from None

    def _prepare(
        self,
        request: Request,
        copied: tuple[Snapshot, Mapping[str, Any]],
        found: Inspection,
    ) -> Steps[Prepared]:
        """Return the call with its complete policy input: a missing key would make a deny rule
        undefined.
        """
        request = request._replace(zones=self._policies.zones.at(request.time))
        request = yield from self.states.read(request)
        snapshot, arguments = copied
        args, encoded, presented = snapshot.args, snapshot.encoded, request.approval
        grant: Grant | None = None
        try:
            if presented is not None:
                prepared = Prepared(request, args, encoded, arguments, found, b"", presented)
                grant = yield from self._approvals.judge_presented(prepared)
            if self._recorder.raw_input:
                # The size exceeds the budget, so nothing is redacted.
                document = self._recorder.policy_input(request, args, found, grant)
            else:
                making = functools.partial(self._recorder.policy_input, request, args, found, grant)
                document = yield from request.meter.run(making, size_of(request, encoded))
        except RedactionError as error:
            prepared = Prepared(request, args, encoded, arguments, found, b"", presented, grant)
            raise DeniedEarly(early.deny_unredactable(prepared, error)) from None
        return Prepared(request, args, encoded, arguments, found, document, presented, grant)

    # -- (5) and (6) the decision ------------------------------------------------------------------

    def _ask(self, prepared: Prepared) -> Steps[tuple[Prepared, EngineReply]]:
        """Return the policy's reply, and the call with the parts of the record made meanwhile."""
        why = self._anchors.denial_reason()
        if why:
            # If the ledger was truncated or rolled back, no further call may run on it.
            raise DeniedEarly(Decided(prepared, decisions.denied(Cause.ANCHOR, why)))
        engine = self._policies.engine
        self.states.require_current(prepared)
        try:
            deadline, where = self._policies.deadline, shard(prepared.request)
            future = engine.decide(prepared.document, shard=where, deadline=deadline)
            prepared = prepared._replace(ahead=self._writer.make_ahead(prepared))
            reply: EngineReply = yield Wait(future, deadline + ENGINE_GRACE)
            if reply.milliseconds <= deadline * 1000:
                return prepared, reply
            verdict = decisions.denied(Cause.TIMEOUT, "deadline")
        except PolicyError as error:
            verdict = decisions.denied(_cause(error.cause), error.detail)
        except TimeoutError:
            verdict = decisions.denied(Cause.TIMEOUT, "engine")
        except Exception:  # noqa: BLE001 - the policy boundary: a faulty engine denies, too
            verdict = decisions.denied(Cause.ERROR, "engine")
        raise DeniedEarly(Decided(prepared, verdict))

    def _judge(self, prepared: Prepared, reply: EngineReply) -> Steps[Decided]:
        """Return the decision for the reply, even if the reply is malformed."""
        verdict = decisions.parse(reply.document)
        refused = prepared.request.tool.refused
        if refused and verdict.effect is Effect.DENY and verdict.cause is Cause.POLICY:
            verdict = replace(verdict, detail=refused)  # why the tool counts as undeclared
        decided = Decided(prepared, verdict, reply)
        decided = yield from without_arguments(decided, self._policies.own_texts)
        return decided._replace(verdict=limit_to_grant(prepared.grant, decided.verdict))

    # -- (7) the decision record -------------------------------------------------------------------

    def _record(self, decided: Decided) -> Steps[Admitted]:
        """Record the decision. If it is not ``allow``, raise once the record is durable."""
        prepared = decided.prepared
        request = prepared.request
        size = size_of(request, prepared.encoded)
        viewing = functools.partial(self._writer.recorded_view, decided)
        decided, view = yield from request.meter.run(viewing, size)
        if decided.verdict.effect is Effect.REQUIRE_APPROVAL:
            yield from self._charge_quota(decided)
        decided, draft, origin = yield from self._writer.write_decision(decided, view, size)
        future, receipt = yield from self._durable(request.state, draft)
        try:
            made, verdict, seq = decided.prepared.request, decided.verdict, receipt.seq
            self._anchors.note_size(seq + 1)
            if verdict.effect is not Effect.ALLOW:
                raise_refusal(decided, seq, self._journal.next_steps)
            return Admitted(made, prepared.arguments, verdict, origin, seq)
        except (Denied, ApprovalRequired):
            raise
        except BaseException as error:  # noqa: BLE001 - Ctrl-C before the body began; re-raised
            raise self._journal.give_up(future, error) from None

    def _durable(
        self, state: SessionState, draft: Draft, wait: type[Wait | Shielded] = Wait
    ) -> Steps[tuple[Future[Receipt], Receipt]]:
        """Write *draft*, a record about a call. It is durable when the steps end. Raises
        ``LedgerError``.

        A caller that stops waiting (deadline, Ctrl-C, cancellation) never learns that the call was
        allowed, so the body never runs. If the record becomes durable anyway, the outcome is
        `not_started`.
        """
        self._journal.released.raise_problem()
        future = self._journal.ledger.submit(draft)
        try:
            receipt: Receipt = yield wait(future, self._journal.deadline)
            if draft.claim is not None:
                state.claim = None  # from now on, the log states the session's owner
            return future, receipt
        except LedgerError:
            raise
        except BaseException as error:  # noqa: BLE001 - any reason to stop waiting; re-raised
            raise self._journal.give_up(future, error) from None

    # -- branches: approvals -----------------------------------------------------------------------

    def _charge_quota(self, decided: Decided) -> Steps[None]:
        """Charge a call that requires approval to the principal's quota. If a framework repeats the
        call and its approval request is already recorded, raise ``ApprovalRequired`` for that
        request.
        """
        prepared = decided.prepared
        # No body ran, and the approver must see the arguments. Large arguments count as several of
        # the principal's calls.
        calls = len(prepared.encoded or b"") // DENIED_ARGUMENTS
        self._throttle.charge(prepared.request.state, calls)
        if prepared.request.options.replayed:
            earlier = yield from self._approvals.find_open_request(prepared)
            if earlier is not None:
                request, message = earlier.request, public_message(decided)
                answer = self._journal.next_steps.approve(request.id)
                raise ApprovalRequired(message, seq=request.seq, approval=request.id, hint=answer)

    def _wait_for_answer(self, request: Request) -> Steps[Request]:
        """Wait for the answer to the approval passed with *request*, if the call may wait. Raises
        ``ApprovalRequired`` if this call made the approval request and nobody answers it in time.
        """
        if request.approval is None or request.until is None:
            return request
        answered = yield from self._approvals.wait_for_answer(request.approval, request.until)
        if not answered and request.asked is not None:
            raise request.asked
        return new_attempt(request)  # it is decided with the current state and time

    def _next_attempt(
        self, request: Request, problem: ApprovalRequired | LedgerError
    ) -> Steps[Request | None]:
        """Return the next attempt after one that ended with *problem*, or None to raise it."""
        if isinstance(problem, ApprovalRequired):
            if request.until is None:
                return None
            request = new_attempt(request, approval=problem.approval, asked=problem)
        elif problem.code in OUTDATED:
            request = yield from self.states.next_attempt(request, problem)
        elif request.tries == _MAX_RETRIES:
            return None
        elif problem.code == SIZE_LIMIT:
            yield from self._throttle.refuse_unwritten(request.state, request.tool.name)
        elif problem.code in OVERTAKEN or (
            yield from owners.resolve_conflict(self._journal, request.state, problem)
        ):
            # Another record was written first, so this one was not: decide the call again.
            request = new_attempt(request, tries=request.tries + 1)
        else:
            return None
        return (yield from self._wait_for_answer(request))

    # -- branches: errors --------------------------------------------------------------------------

    def rejection(self, tool: Tool, reason: str, options: CallOptions) -> Steps[int]:
        """Record that a framework rejected a call; return the record's sequence number.

        In a different caller's session, the call is recorded as a denial. If the caller has
        exceeded the limit of calls per minute, the returned number is that of the
        ``admin.quota_reached`` record. Raises ``LedgerError``.
        """
        request = self.request(tool, {}, options, Enforcement.BODY)
        state = request.state
        over = self._throttle.count(state, tool.name)
        if over is not None:
            return (yield from self._throttle.wait_for_record(over))
        tries = 0
        while not state.belongs_to_other:
            try:
                draft = self._recorder.rejection_record(request, reason)
                return (yield from self._durable(state, draft, Shielded))[1].seq
            except LedgerError as error:
                if error.code == SIZE_LIMIT:
                    over = self._throttle.count_unwritten(state, tool.name)
                    return (yield from self._throttle.wait_for_record(over))
                tries += 1
                if tries > _MAX_RETRIES or not (
                    yield from owners.resolve_conflict(self._journal, state, error)
                ):
                    raise
        try:
            why = yield from early.refusal_of(request)
            denied = yield from early.deny_unknown_caller(request, why or TAKEN)
            yield from self._record(denied)
        except Denied as denial:
            return denial.seq
        raise AssertionError("unreachable: the session belongs to another caller")


def _cause(name: str) -> Cause:
    return Cause(name) if name in tuple(Cause) else Cause.ERROR
