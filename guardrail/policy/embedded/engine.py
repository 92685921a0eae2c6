"""The embedded engine: evaluates Rego with regorus in supervised worker processes."""

from __future__ import annotations

import atexit
import json
import os
import time
import weakref
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path

import orjson

from guardrail.core.types import EngineReply, Json, PolicyIdentity
from guardrail.errors import PolicyError
from guardrail.policy.embedded.breaker import ShardBreaker
from guardrail.policy.embedded.canaries import CANARIES
from guardrail.policy.embedded.compiled import CompiledPolicies, compile_policies, locate
from guardrail.policy.embedded.lane import Lane
from guardrail.policy.embedded.process import Frame, error_body, frame
from guardrail.policy.embedded.rehearsal import rehearse, sample_input
from guardrail.policy.embedded.request import EngineRequest
from guardrail.policy.embedded.spares import SpareWorkers, WorkerSettings
from guardrail.policy.embedded.workbench import DEFAULT_MEMORY, Workbench
from guardrail.policy.fair_queue import party
from guardrail.policy.input_limits import check_input
from guardrail.policy.sources import PolicySet, load_policies

__all__ = ["EmbeddedEngine"]

_TIMER_MARGIN = 0.5
"""Seconds after the evaluation limit at which the kernel kills a worker that its parent has not
killed.
"""

_engines: weakref.WeakSet[EmbeddedEngine] = weakref.WeakSet()


class EmbeddedEngine:
    """Makes decisions in worker processes, isolated from the caller. Thread-safe, and usable after
    a fork.

    Implements ``guardrail.policy.engine.Engine``.
    """

    @classmethod
    def load(
        cls,
        paths: Sequence[Path],
        *,
        data: Mapping[str, Json] | None = None,
        zones: Sequence[str] = (),
        workers: int = 1,
        eval_limit: float = 0.25,
        memory_limit: int = DEFAULT_MEMORY,
        start_limit: float = 10.0,
        spare: bool = True,
    ) -> EmbeddedEngine:
        """Read the policies below *paths*, check and test them, and start the workers.

        *data* is merged into the content of the ``data.json`` files. *zones* are the time zones in
        the settings, whose offsets calls contain although no policy names them. *eval_limit* and
        *start_limit* are in seconds, *memory_limit* is in bytes per worker. When this returns, a
        worker is ready, and later changes on disk have no effect. Raises ``PolicyLoadError`` with
        every finding, including failures of the policies' own tests and decisions that depend on
        the order of modules. Raises ``PolicyError`` if no worker can be started or if the engine is
        not the pinned version.
        """
        policies = load_policies(paths, data=data, zones=zones)
        with Workbench(time_limit=start_limit, memory=memory_limit) as bench:
            compiled = compile_policies(policies, bench)
            rehearse(compiled, bench)
        return cls(
            compiled,
            workers=workers,
            eval_limit=eval_limit,
            memory_limit=memory_limit,
            start_limit=start_limit,
            spare=spare,
            sources=policies,
        )

    def __init__(
        self,
        compiled: CompiledPolicies,
        *,
        workers: int = 1,
        eval_limit: float = 0.25,
        memory_limit: int = DEFAULT_MEMORY,
        start_limit: float = 10.0,
        spare: bool = True,
        worker_script: Path | None = None,
        sources: PolicySet | None = None,
    ) -> None:
        """Start workers for policies that have been checked. *worker_script* is a replacement for
        the worker in tests.
        """
        self.sources = sources
        """The policies as read from disk, or None if the caller did not pass them."""
        self._compiled = compiled
        self._identity = compiled.identity
        settings = WorkerSettings(
            load=_load_message(compiled, eval_limit + _TIMER_MARGIN),
            eval_limit=eval_limit,
            start_limit=start_limit,
            memory=memory_limit,
            script=worker_script,
        )
        self._breaker = ShardBreaker()
        self._spares = SpareWorkers(settings, wanted=spare)
        self._isolated_lane = Lane(
            SpareWorkers(settings, wanted=False), self._breaker, name="guardrail-policy-apart"
        )
        self._lanes = tuple(
            Lane(
                self._spares, self._breaker, name=f"guardrail-policy-{index}", divert=self._isolate
            )
            for index in range(max(1, workers))
        )
        self._closed = False
        try:
            for lane in self._lanes:
                lane.start()
            for lane in self._lanes:
                lane.wait(2 * start_limit)
        except BaseException:
            self.close()
            raise
        _engines.add(self)

    @property
    def identity(self) -> PolicyIdentity:
        """The identity of the policies and data behind every reply."""
        return self._identity

    def decide(self, policy_input: bytes, *, shard: str, deadline: float) -> Future[EngineReply]:
        """Request a decision about *policy_input*; see ``Engine.decide``.

        *shard* consists of the tenant, the principal and further parts, joined by NUL. Principals
        are served round-robin. A principal that kills a worker is moved to a separate worker, which
        only such principals share. A shard that kills three workers within a minute is refused
        until that minute is over. The same applies to a principal that kills four times as many.
        """
        return self._evaluate(b"D", policy_input, shard, deadline)

    def listing(self, policy_input: bytes, *, shard: str, deadline: float) -> Future[EngineReply]:
        """Request a decision on whether to list a tool; see ``Engine.listing``."""
        return self._evaluate(b"O", policy_input, shard, deadline)

    def _evaluate(
        self, kind: bytes, policy_input: bytes, shard: str, deadline: float
    ) -> Future[EngineReply]:
        now = time.monotonic()
        rid = os.urandom(16)
        request = EngineRequest(
            rid,
            frame(rid, kind, policy_input),
            shard,
            now,
            now + deadline,
            settle=self._complete,
            party=party(shard),
        )
        harm = self._breaker.open(shard, now)
        if harm is not None:
            request.fail(
                PolicyError(
                    (
                        "similar calls killed the policy worker repeatedly, so the "
                        "policy was not asked"
                    ),
                    cause=harm.cause,
                    detail="breaker_open",
                )
            )
            return request
        try:
            check_input(policy_input)
        except PolicyError as error:
            request.fail(error)
            return request
        lane = (
            self._isolated_lane if self._breaker.suspect(shard, now) else self._least_loaded_lane()
        )
        lane.submit(request)
        return request

    def close(self) -> None:
        """Stop every worker and fail every open request. Idempotent."""
        self._closed = True
        for lane in (*self._lanes, self._isolated_lane):
            lane.close()
        self._spares.close()

    def _least_loaded_lane(self) -> Lane:
        return (
            self._lanes[0]
            if len(self._lanes) == 1
            else min(self._lanes, key=lambda lane: lane.load)
        )

    def _isolate(self, request: EngineRequest) -> bool:
        self._isolated_lane.submit(request, attended=True)  # its caller may already be waiting
        return True

    def _complete(self, request: EngineRequest, answer: Frame) -> None:
        kind = answer.kind
        if kind == b"r":
            try:
                document = orjson.loads(answer.body)
            except orjson.JSONDecodeError:
                request.fail(
                    PolicyError(
                        "the policy's answer is not JSON", cause="malformed", detail="not_json"
                    )
                )
                return
            elapsed = (time.monotonic() - request.started) * 1000
            request.set_result(EngineReply(document, self._identity, elapsed))
        elif kind == b"u":
            request.fail(
                PolicyError(
                    "the policy has no decision for this call",
                    cause="undefined",
                    detail="no_decision",
                )
            )
        elif kind == b"b":
            request.fail(
                PolicyError(
                    "the policy's answer is too large", cause="malformed", detail="too_large"
                )
            )
        else:
            request.fail(self._evaluation_error(answer))

    def _evaluation_error(self, answer: Frame) -> PolicyError:
        # The engine's message can quote values from the call, so only its position is passed on.
        body = error_body(answer)
        if body.get("error") == "memory":
            return PolicyError(
                "the policy exceeded its memory limit", cause="crashed", detail="memory"
            )
        if body.get("type") == "input":
            return PolicyError(
                "the embedded engine can't read the policy input", cause="error", detail="input"
            )
        place = locate(str(body.get("error", "")), self._compiled.modules)
        where = f" at {place.file}, line {place.line}" if place is not None and place.line else ""
        return PolicyError(
            f"the policy failed with an error{where}",
            cause="error",
            detail="evaluation",
            hint="guardrail policy test",
        )

    def _after_fork(self) -> None:
        self._breaker = ShardBreaker()
        self._spares.abandon()
        for lane in (*self._lanes, self._isolated_lane):
            lane.abandon(self._breaker)


def _load_message(compiled: CompiledPolicies, timer: float) -> bytes:
    message = {
        "modules": [list(item) for item in compiled.texts],
        "data": compiled.data,
        "canaries": CANARIES,
        "warmup": sample_input(zones=compiled.zones),
        "limit": timer,
    }
    return json.dumps(message).encode("ascii")


def _after_fork() -> None:
    for engine in list(_engines):
        engine._after_fork()


def _at_exit() -> None:
    for engine in list(_engines):
        engine.close()


os.register_at_fork(after_in_child=_after_fork)
atexit.register(_at_exit)
