"""The interface of a policy engine."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Protocol

from guardrail.core.types import EngineReply, PolicyIdentity
from guardrail.policy.sources import PolicySet
from guardrail.policy.state_reads import StateReads
from guardrail.system.zones import ZoneTable

__all__ = ["Engine", "LoadedEngine", "PoliciesInUse", "PolicyTexts"]


class Engine(Protocol):
    """Makes decisions. Thread-safe; never evaluates in the calling thread."""

    @property
    def identity(self) -> PolicyIdentity:
        """The identity of the policies and data behind every reply from this engine."""

    def decide(self, policy_input: bytes, *, shard: str, deadline: float) -> Future[EngineReply]:
        """Evaluate ``data.guardrail.main.decision`` with the input *policy_input* (the complete
        input document as JSON).

        *shard* consists of tenant, principal, agent and tool, joined by NUL. Each shard has its own
        breaker, so that one agent's harmful requests can't block other agents. Principals are
        served round-robin. *deadline* is in seconds from now. Once a caller waits for the future or
        calls its ``done`` method, the future always completes, shortly after the deadline at the
        latest. Its result is then a reply, or a ``PolicyError`` with a cause and a detail. Requests
        have no side effects, so an engine may retry them.
        """

    def listing(self, policy_input: bytes, *, shard: str, deadline: float) -> Future[EngineReply]:
        """Evaluate ``data.guardrail.main.listing``, which decides whether a tool is offered to the
        model.

        *policy_input* has no arguments, and its action is ``tools/list``. Otherwise, this is the
        same as ``decide``.
        """

    def close(self) -> None:
        """Release processes and connections. Idempotent.

        Pending futures fail with ``PolicyError`` (``unreachable``).
        """


class LoadedEngine(Engine, Protocol):
    """An engine that knows the sources of its policies."""

    @property
    def sources(self) -> PolicySet | None:
        """The policies identified by ``identity``, or None if they are not on this machine."""


class PolicyTexts(Protocol):
    """Recognises the texts that policies contain; see ``guardrail.policy.own_texts``."""

    def in_source(self, text: str) -> bool:
        """Return True if *text* is exactly one string in the source of a module."""

    def in_data(self, text: str) -> bool:
        """Return True if *text* is exactly one string in the data, or a key."""


class PoliciesInUse(Protocol):
    """The policies that decide calls now. A reload replaces all of them."""

    @property
    def engine(self) -> Engine:
        """The engine that decides."""

    @property
    def deadline(self) -> float:
        """Number of seconds that a decision may take."""

    @property
    def zones(self) -> ZoneTable:
        """The time zones whose offsets each policy input contains."""

    @property
    def state_reads(self) -> StateReads:
        """The sections of the session state that each policy input must contain: those that the
        policies read, or all if only an OPA server has the policies.
        """

    @property
    def own_texts(self) -> PolicyTexts:
        """The texts that the policies contain."""
