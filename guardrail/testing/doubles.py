"""Test doubles: a policy with fixed replies, an in-memory ledger, and a guard that uses them.

::

    from guardrail.testing import StaticPolicy, allow, deny, memory_guard

    guard, ledger = memory_guard(StaticPolicy(allow()))
    guard.call("add", {"a": 1}, run=lambda a: a + 1)
    assert [record["type"] for record in ledger.records] == [
        "genesis",
        "call.decision",
        "call.outcome",
    ]

The guard itself and the schema, redaction and record layers are real. Nothing is durable.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from guardrail.approvals.rules import ApprovalCase, case_of
from guardrail.call.journal import Journal
from guardrail.call.next_steps import NextSteps
from guardrail.config import Settings
from guardrail.core.claims import Claim, owner_of
from guardrail.core.decision import CONTRACT
from guardrail.core.log import fields
from guardrail.core.log.effects import EffectStep, HeldKeys, KeyHolder
from guardrail.core.log.record import GENESIS_PREV, Draft, decode, leaf_hash
from guardrail.core.log.suspensions import Suspensions
from guardrail.core.repeats import Repeat, names_of
from guardrail.core.times import record_time
from guardrail.core.types import Effect, EngineReply, PolicyIdentity, Receipt
from guardrail.errors import LedgerError, LedgerPoisonedError, PolicyError
from guardrail.guard import Guard
from guardrail.identity.tokens import TokenVerifier
from guardrail.keys.log_key import Keys
from guardrail.ledger.effects import EFFECT_HELD
from guardrail.ledger.session_states import FollowedStates
from guardrail.ledger.writing.outcomes import not_started
from guardrail.system.ids import new_ulid
from guardrail.system.threads import BackgroundThread

__all__ = ["MemoryLedger", "StaticPolicy", "allow", "ask", "deny", "document", "memory_guard"]

Reply = object


def document(effect: Effect | str, /, *rules: str, **parts: Any) -> dict[str, Any]:
    """Return a well-formed reply from the composed policy, in which *rules* fired with *effect*.
    *parts* overrides top-level keys.
    """
    return {
        "effect": str(effect),
        "rules": [
            {
                "rule": rule,
                "message": rule,
                "severity": "info",
                "effect": str(effect),
                "needs": [],
                "approvers": 1,
            }
            for rule in (rules or (str(effect),))
        ],
        "redact": [],
        "labels": [],
        "obligations": [],
        "contract": CONTRACT,
    } | parts


def allow(*rules: str, **parts: Any) -> dict[str, Any]:
    """Return a reply that allows the call."""
    return document(Effect.ALLOW, *rules, **parts)


def deny(*rules: str, **parts: Any) -> dict[str, Any]:
    """Return a reply that denies the call."""
    return document(Effect.DENY, *rules, **parts)


def ask(*rules: str, **parts: Any) -> dict[str, Any]:
    """Return a reply that requires approval for the call."""
    return document(Effect.REQUIRE_APPROVAL, *rules, **parts)


class StaticPolicy:
    """An engine that returns a fixed reply, calls a function to compute the reply from the input,
    or raises a ``PolicyError``.

    It replies after *delay* seconds. ``inputs`` collects the decoded inputs of all queries.
    """

    def __init__(
        self,
        reply: Mapping[str, Any] | Callable[[dict[str, Any]], Reply] | PolicyError | None,
        *,
        delay: float = 0.0,
        digest: str | None = "00" * 32,
        decision_id: str | None = None,
        hidden: Collection[str] = (),
        state_reads: Collection[str] = (),
    ) -> None:
        """*hidden* contains the names of tools that are hidden in listings. *state_reads* contains
        the sections of the input with states of sessions that the policy reads, such as
        ``principal_state``.
        """
        self.state_reads = frozenset(state_reads)
        self._hidden = hidden
        self._reply = reply
        self._delay = delay
        self._decision_id = decision_id
        self._identity = PolicyIdentity(engine="static", version="1", digest=digest)
        self.inputs: list[dict[str, Any]] = []
        self.closed = False

    @property
    def identity(self) -> PolicyIdentity:
        """A fixed identity with the engine ``static``."""
        return self._identity

    def decide(
        self,
        policy_input: bytes,
        *,
        shard: str,  # noqa: ARG002 - one policy for all
        deadline: float,
    ) -> Future[EngineReply]:
        """Reply immediately, or after the delay in a different thread. If the delay is longer than
        *deadline*, fail with ``timeout``.
        """
        future: Future[EngineReply] = Future()
        if self._delay:
            BackgroundThread(
                self._answer, "guardrail-static-policy", future, policy_input, deadline
            ).start()
        else:
            self._answer(future, policy_input, deadline)
        return future

    def listing(
        self,
        policy_input: bytes,
        *,
        shard: str,  # noqa: ARG002 - one policy for all
        deadline: float,
    ) -> Future[EngineReply]:
        """Reply to a listing query, as ``decide`` does."""
        future: Future[EngineReply] = Future()
        if self._delay > deadline:
            future.set_exception(PolicyError("too slow", cause="timeout", detail="deadline"))
        elif isinstance(self._reply, PolicyError):
            future.set_exception(self._reply)
        else:
            name = orjson.loads(policy_input)["resource"]["id"]
            rules = [{"rule": "hidden"}] if name in self._hidden else []
            answer = {"contract": CONTRACT, "offered": not rules, "rules": rules}
            future.set_result(EngineReply(answer, self._identity, self._delay * 1000))
        return future

    def _answer(self, future: Future[EngineReply], policy_input: bytes, deadline: float) -> None:
        time.sleep(min(self._delay, deadline))
        if self._delay > deadline:
            future.set_exception(PolicyError("too slow", cause="timeout", detail="deadline"))
            return
        asked = orjson.loads(policy_input)
        self.inputs.append(asked)
        try:
            reply = self._reply(asked) if callable(self._reply) else self._reply
        except PolicyError as error:
            future.set_exception(error)
            return
        if isinstance(reply, PolicyError):
            future.set_exception(reply)
        else:
            future.set_result(
                EngineReply(reply, self._identity, self._delay * 1000, self._decision_id)
            )

    def close(self) -> None:
        """Record that the engine was closed."""
        self.closed = True


class MemoryLedger:
    """An in-memory log that contains the same lines as a log on disk would. Thread-safe. Its clock
    advances by 1 ms per record, and not otherwise.

    If ``fail`` returns an error for a draft, appending the draft raises that error, as if the
    ledger could not be written.
    """

    def __init__(self, log: str = "memory") -> None:
        self.log = log
        self.process = new_ulid()
        self.lines: list[bytes] = []
        self.fail: Callable[[Draft], LedgerError | None] = lambda _: None
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self._lock = threading.Lock()

    @property
    def records(self) -> list[dict[str, Any]]:
        """All records, decoded, in order."""
        return [decode(line) for line in self.lines]

    def of(self, type_: str) -> list[dict[str, Any]]:
        """Return the records of one type."""
        return [record for record in self.records if record["type"] == type_]

    suspensions = Suspensions()
    """The suspensions in force: always none."""
    full = False
    """True if the ledger has reached its size limit: never."""
    states = FollowedStates()
    """The states of sessions: always empty, because this log is not on disk."""

    def read_states(self) -> None:
        """Do nothing."""

    owed = 0
    """Number of outcomes that wait in memory: always 0, because every record is written or rejected
    immediately.
    """

    def hurry(self) -> None:
        """Do nothing, because records never wait."""

    def submit(self, draft: Draft, *, later: bool = False) -> Future[Receipt]:  # noqa: ARG002
        """Append the record immediately, even if *later* is True."""
        future: Future[Receipt] = Future()
        error = self.fail(draft)
        if error is not None:
            future.set_exception(error)
            return future
        with self._lock:
            prev = leaf_hash(self.lines[-1]).hex() if self.lines else GENESIS_PREV
            ts = record_time(self.now)
            self.now += timedelta(milliseconds=1)
            line = draft.finish(seq=len(self.lines), prev=prev, ts=ts)
            if draft.claim is not None and self._belongs_to_other(draft.claim):
                future.set_exception(
                    LedgerError(
                        "this session belongs to a different caller", code="ledger.session_taken"
                    )
                )
                return future
            if draft.approval is not None and self._has_step(line):
                future.set_exception(
                    LedgerError(
                        "another record already has this step of the approval",
                        code="ledger.approval_taken",
                    )
                )
                return future
            if draft.effect is not None and not self._permits(draft.effect):
                future.set_exception(
                    LedgerError("another call holds the effect key", code=EFFECT_HELD)
                )
                return future
            self.lines.append(line)
            receipt = Receipt(len(self.lines) - 1, leaf_hash(line), ts)
        future.set_result(receipt)
        return future

    def _permits(self, step: EffectStep) -> bool:
        holder = self.effect_holder(step)
        if step.resolves is None:
            return holder is None
        return holder is not None and holder.seq == step.resolves and holder.state != "running"

    def _has_step(self, line: bytes) -> bool:
        step = decode(line)["approval"]
        same = (step["id"], step["ordinal"])
        others = (record.get("approval") or {} for record in self.records)
        return any((other.get("id"), other.get("ordinal")) == same for other in others)

    def case(self, approval: str) -> ApprovalCase | None:
        """Return the approval request *approval* with all its steps, or None if there is no such
        request.
        """
        requests, steps = [], []
        for line in list(self.lines):
            record = decode(line)
            if record["type"] == "call.decision" and record["call"] == approval:
                requests.append(line)
            step = record.get("approval") or {}
            if step.get("id") == approval and step.get("ordinal") is not None:
                steps.append(line)
        return case_of([*requests, *steps], self.lines[-1])

    def of_session(self, session: str) -> list[str]:
        """Return the ids of a session's approval requests, oldest first."""
        return [
            record["call"]
            for record in self.of("call.decision")
            if record["session"] == session and record["decision"]["effect"] == "require_approval"
        ]

    def repeat(self, names: Sequence[str]) -> Repeat | None:
        """Return the state of an earlier call with one of *names*, or None if no such call is
        running or has succeeded.
        """
        calls = {
            record["call"]
            for record in self.of("call.decision")
            if record["decision"]["effect"] == "allow"
            and not set(names_of(record)).isdisjoint(names)
        }
        ends = {
            record["call"]: record["status"]
            for record in self.of("call.outcome") + self.of("call.claim")
        }
        if any(ends.get(call) in ("ok", "returned") for call in calls):
            return Repeat.SUCCEEDED
        return None if calls <= set(ends) else Repeat.RUNNING

    def effect_holder(self, step: EffectStep) -> KeyHolder | None:
        """Return the call because of which *step* may not be written, or None. A step that resolves
        a key gets the call that holds it.
        """
        held = HeldKeys()
        for record in self.records:
            held.take(record)
        return held.blocking(step) if step.resolves is None else held.holder(step.key)

    def append(self, draft: Draft, timeout: float | None = None) -> Receipt:
        """Append the record immediately."""
        return self.submit(draft).result(timeout)

    def expired(self, future: Future[Receipt]) -> LedgerError:
        """Close the call of a decision that becomes durable after its caller has stopped
        waiting.
        """

        def close(done: Future[Receipt]) -> None:
            line = self.lines[done.result().seq]
            if decode(line)["type"] == "call.decision":
                self.submit(not_started(line))

        future.add_done_callback(close)
        return LedgerPoisonedError("the record was not durable in time")

    def owner(self, *session: str) -> tuple[str, str, str, str] | None:
        """Return the owner of a session, from the first record under one of its names."""
        for record in self.records:
            if record.get("session") in session:
                owner = owner_of(record)
                if owner is not None:
                    return owner
        return None

    def _belongs_to_other(self, claim: Claim) -> bool:
        found = [owner for name in claim.names if (owner := self.owner(name)) is not None]
        return not all(map(claim.allows, found))

    def close(self) -> None:
        """Do nothing."""


def memory_guard(
    policy: StaticPolicy, *, settings: Settings | None = None, deadline: float = 5.0
) -> tuple[Guard, MemoryLedger]:
    """Return a guard that uses *policy* and an in-memory ledger, and that ledger.

    By default, the guard accepts calls without a principal (``identity.require = "any"``), so that
    tests that are not about identities do not need a session. Pass ``Settings()`` to deny such
    calls, as in production.
    """
    settings = settings or Settings().override(identity={"require": "any"})
    ledger = MemoryLedger()
    keys = Keys.ephemeral()
    genesis = fields.genesis(
        nonce=os.urandom(16).hex(),
        public_key=keys.public,
        config_digest=settings.digest(keys.tenant("default")),
        predecessor=None,
    )
    ledger.append(Draft.build({"v": 1, "log": ledger.log, "type": "genesis", **genesis}))
    soon = settings.ledger.outcome == "soon"
    journal = Journal(ledger, deadline=deadline, owner=ledger.owner, requests=ledger, soon=soon)
    journal.next_steps = NextSteps.of(settings)

    def seconds() -> float:
        return ledger.now.timestamp()

    tokens = TokenVerifier(settings, seconds) if settings.identity.issuers else None
    guard = Guard(
        settings=settings,
        engine=policy,
        journal=journal,
        keys=keys,
        clock=lambda: ledger.now,
        tokens=tokens,
    )
    return guard, ledger
