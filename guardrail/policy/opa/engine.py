"""The server engine: requests decisions from a real OPA server, over guardrail's own transport."""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from guardrail.config import OpaSection
from guardrail.core.types import EngineReply, PolicyIdentity
from guardrail.core.words import counted
from guardrail.errors import ConfigError, PolicyError
from guardrail.policy.embedded.breaker import ShardBreaker
from guardrail.policy.fair_queue import party
from guardrail.policy.input_limits import MAX_INPUT
from guardrail.policy.opa.breaker import CircuitBreaker
from guardrail.policy.opa.pool import ConnectionPool, PoolJob, closed_error
from guardrail.policy.opa.private import private_target
from guardrail.policy.opa.program import OpaProgram
from guardrail.policy.opa.reply import DECISION_PATH, LISTING_PATH, OpaQuestion, read_answer
from guardrail.policy.opa.revision import RevisionAcceptance, revision_of
from guardrail.policy.opa.target import OpaTarget
from guardrail.policy.opa.transport import OpaConnection
from guardrail.policy.opa.watch import InspectionResult, ServerInspector, ServerWatch, wait_for
from guardrail.policy.sources import PolicySet
from guardrail.system.futures import BatchedFuture

__all__ = ["OpaEngine"]

_LOOK_LIMIT = 5.0
"""Time limit for one request of a server check, in seconds."""
_PRIVATE_LOOK_LIMIT = 0.75
"""The same for a private OPA, which is replaced if it does not answer in time."""
_SLOW_WINDOW = 10.0
"""Seconds for which a principal's calls to a tool are refused after several of them have timed out.
"""

_engines: weakref.WeakSet[OpaEngine] = weakref.WeakSet()


@dataclass(frozen=True, slots=True, eq=False)
class _PendingQuestion:
    question: OpaQuestion
    shard: str
    future: Future[EngineReply]
    started: float
    end: float
    path: str
    name: str
    """Name of the document in the response."""


class OpaEngine:
    """Requests decisions from an OPA server. Thread-safe, and usable after a fork.

    Implements ``guardrail.policy.engine.Engine``. A response is accepted only if it contains an
    accepted revision. A thread regularly checks the server for all other problems. If it finds one,
    calls are denied until a check succeeds.
    """

    @classmethod
    def connect(
        cls,
        section: OpaSection,
        *,
        local: PolicySet | None = None,
        program: OpaProgram | None = None,
        zones: Sequence[str] = (),
    ) -> OpaEngine:
        """Wait until the server in *section* serves an accepted revision: one of
        ``section.revisions`` or, if that is empty, the bundle built from the policies *local*,
        which become the engine's ``sources``. If ``section.url`` is empty, start a private OPA that
        serves *local*: *program* or, if it is None, the program that *section* names. *zones* are
        the time zones whose offsets calls contain, besides those that *local* names.

        Raises ``ConfigError`` for settings that expose arguments or do not specify a revision, or
        if there is no program for a private OPA; ``PolicyLoadError`` if a private OPA would refuse
        *local*; and ``PolicyError`` (``revision``, ``unreachable``, ``timeout``, ``malformed``,
        ``undefined``) if the server is not ready within ``start_limit_ms``.
        """
        revisions = section.revisions or (() if local is None else (str(revision_of(local)),))
        if not revisions and not section.unsafe_unpinned_policy:
            raise ConfigError(
                "the settings do not specify which policies the OPA server must serve",
                code="config.opa_revisions",
                hint=(
                    "set [opa] revisions to the bundle's revision, or [policy] path "
                    "to the policies that it contains"
                ),
            )
        acceptance = RevisionAcceptance(
            revisions,
            bundle=section.bundle,
            unsafe_impure=section.unsafe_impure_policy,
            unsafe_unpinned=section.unsafe_unpinned_policy,
        )
        if section.url:
            return cls(section, OpaTarget(section), acceptance, sources=local, zones=zones)
        target, digest = private_target(section, local, program)
        acceptance = RevisionAcceptance(revisions, program=digest)
        try:
            return cls(section, target, acceptance, sources=local, zones=zones)
        except BaseException:
            target.close()
            raise

    def __init__(
        self,
        section: OpaSection,
        target: OpaTarget,
        acceptance: RevisionAcceptance,
        *,
        sources: PolicySet | None = None,
        zones: Sequence[str] = (),
    ) -> None:
        self.sources = sources
        """Policies on this machine that the server may serve, or None if there are none."""
        self._zones = (*zones, *(() if sources is None else sources.zones))
        self._section = section
        self._target = target
        self._acceptance = acceptance
        self._reset = section.breaker_reset_ms / 1000
        self._inspector = self._new_inspector()
        self._closed = False
        try:
            self._finding = wait_for(self._inspector.inspect, section.start_limit_ms / 1000)
        except BaseException:
            self._inspector.close()
            raise
        self._start_components()
        _engines.add(self)

    def _new_inspector(self) -> ServerInspector:
        longest = _PRIVATE_LOOK_LIMIT if self._target.restarts else _LOOK_LIMIT
        limit = min(longest, self._section.start_limit_ms / 1000)
        return ServerInspector(self._target, self._acceptance, timeout=limit, zones=self._zones)

    def _start_components(self) -> None:
        self._refusal: PolicyError | None = None
        self._breaker = CircuitBreaker(failures=self._section.breaker_failures, reset=self._reset)
        self._slow = ShardBreaker(limit=self._section.breaker_failures, window=_SLOW_WINDOW)
        self._pool = ConnectionPool(lambda: OpaConnection(self._target), self._section.connections)
        self._watch = ServerWatch(
            self._inspector.inspect,
            self._handle_inspection,
            self._inspector.close,
            interval=self._section.watch_interval_ms / 1000,
        )
        self._watching = False

    @property
    def identity(self) -> PolicyIdentity:
        """The identity of the policies at the last successful check. Each reply carries the
        identity of the policies that produced it.
        """
        return self._finding.identity

    @property
    def target(self) -> OpaTarget:
        """The address of the server."""
        return self._target

    @property
    def finding(self) -> InspectionResult:
        """The result of the last successful check."""
        return self._finding

    def decide(self, policy_input: bytes, *, shard: str, deadline: float) -> Future[EngineReply]:
        """Request a decision from the server; see ``Engine.decide``.

        The future completes by the deadline, even if the server is slow.
        """
        return self._submit(policy_input, shard, deadline, DECISION_PATH, "decision")

    def listing(self, policy_input: bytes, *, shard: str, deadline: float) -> Future[EngineReply]:
        """Request a decision on whether to list a tool; see ``Engine.listing``."""
        return self._submit(policy_input, shard, deadline, LISTING_PATH, "listing")

    def _submit(
        self, policy_input: bytes, shard: str, deadline: float, path: str, name: str
    ) -> Future[EngineReply]:
        future: Future[EngineReply] = BatchedFuture()
        # This future must not be cancelled, because a request that is under way can't be recalled.
        future.set_running_or_notify_cancel()
        now = time.monotonic()
        if not self._watching and not self._closed:
            self._watch.start()
            self._watching = True  # set after the start, which Ctrl-C can interrupt
        problem = self._refuse_early(policy_input, shard, now)
        if problem is not None:
            future.set_exception(problem)
            return future
        question = OpaQuestion.about(policy_input)
        pending = _PendingQuestion(question, shard, future, now, now + deadline, path, name)
        self._pool.submit(
            PoolJob(self._make_task(pending), future.set_exception, pending.end, party(shard))
        )
        return future

    def close(self) -> None:
        """Stop checking the server, and stop sending queries; see ``Engine.close``. Idempotent."""
        self._closed = True
        self._watch.close()
        self._pool.close()
        self._target.close()
        _engines.discard(self)

    def _refuse_early(self, policy_input: bytes, shard: str, now: float) -> PolicyError | None:
        if self._closed:
            return closed_error()
        refusal = self._refusal
        if refusal is not None:
            return PolicyError(
                refusal.message, cause=refusal.cause, detail=refusal.detail, hint=refusal.hint
            )
        if len(policy_input) > MAX_INPUT:
            return PolicyError(
                (
                    f"the policy input is {counted(len(policy_input), 'byte')}, but the "
                    f"limit is {counted(MAX_INPUT, 'byte')}"
                ),
                cause="error",
                detail="input_size",
            )
        harm = self._slow.open(shard, now)
        if harm is not None:
            return PolicyError(
                "the OPA server did not answer similar calls in time, so this call was not sent "
                "to it",
                cause=harm.cause,
                detail="breaker_open",
            )
        if not self._breaker.admit(now):
            return PolicyError(
                ("the OPA server could not be reached, so guardrail does not ask it for a while"),
                cause="unreachable",
                detail="breaker",
                hint=self._target.unreachable_hint,
            )
        return None

    def _make_task(self, pending: _PendingQuestion) -> Callable[[OpaConnection], None]:
        def run(connection: OpaConnection) -> None:
            try:
                reply = self._ask(connection, pending)
            except PolicyError as error:
                self._handle_failure(error, pending.shard)
                pending.future.set_exception(error)
            except BaseException as error:  # noqa: BLE001 - a border: any error denies the call
                connection.close()
                pending.future.set_exception(
                    PolicyError(
                        f"asking the OPA server failed ({type(error).__name__})",
                        cause="crashed",
                        detail="transport",
                    )
                )
            else:
                pending.future.set_result(reply)

        return run

    def _ask(self, connection: OpaConnection, pending: _PendingQuestion) -> EngineReply:
        question = pending.question
        self._target.prepare(pending.end)
        reply = connection.ask("POST", pending.path, question.body, pending.end)
        self._breaker.succeeded()
        try:
            answer = read_answer(reply, question.echo, pending.name)
        except PolicyError:
            # Bytes that arrive later on this connection could belong to this request.
            connection.close()
            raise
        identity = self._acceptance.identity(answer)
        if identity != self._finding.identity:
            self._handle_new_revision(identity)
        elapsed = (time.monotonic() - pending.started) * 1000
        return EngineReply(answer.document, identity, elapsed, answer.decision_id)

    def _handle_new_revision(self, identity: PolicyIdentity) -> None:
        """Handle the first response with a new accepted revision. A revision that states that its
        policies are pure is accepted at once, any other only after a check.
        """
        self._watch.check_soon()
        if identity.digest is None and not self._acceptance.impure_allowed:
            raise PolicyError(
                "the OPA server has new policies, which guardrail has not checked yet",
                cause="revision",
                detail="unchecked",
            )

    def _handle_failure(self, error: PolicyError, shard: str) -> None:
        now = time.monotonic()
        if error.cause == "timeout" and error.detail == "reply":
            # A slow evaluation of this one call is no reason to refuse other calls.
            self._slow.record(shard, "timeout", now)
            if self._target.restarts:
                self._watch.check_soon()
        elif error.cause in {"timeout", "unreachable"}:
            self._breaker.failed(now)
            if self._target.restarts:
                self._watch.check_soon()
        elif error.cause in {"revision", "undefined"}:
            self._watch.check_soon()

    def _handle_inspection(self, found: InspectionResult | PolicyError) -> None:
        """Apply the result of a check. Runs in the watch's thread."""
        if isinstance(found, InspectionResult):
            self._finding = found
            self._refusal = None
            self._breaker.succeeded()
        elif found.cause in {"timeout", "unreachable"} and found.detail != "not_ready":
            # Calls detect an unreachable server as early as checks do, and the canary is a call
            # that is always fast.
            self._breaker.trip(time.monotonic())
            if found.cause == "timeout":
                self._target.restart()
        else:
            self._refusal = found

    def _after_fork(self) -> None:
        # Threads and locks do not survive a fork. The sockets belong to the parent, so the child
        # never sends anything on them.
        self._target.after_fork()
        self._inspector = self._new_inspector()
        self._start_components()


def _after_fork() -> None:
    for engine in list(_engines):
        if not engine._closed:
            engine._after_fork()


os.register_at_fork(after_in_child=_after_fork)
