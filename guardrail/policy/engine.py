"""The interface of a policy engine."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Protocol

from guardrail.core.types import EngineReply, PolicyIdentity
from guardrail.policy.sources import PolicySet

__all__ = ["Engine", "LoadedEngine"]


class Engine(Protocol):
    """Makes decisions. Thread-safe; never evaluates in the calling thread."""

    @property
    def identity(self) -> PolicyIdentity:
        """The identity of the policies and data behind every reply from this engine."""

    def decide(self, policy_input: bytes, *, shard: str, deadline: float) -> Future[EngineReply]:
        """Evaluate ``data.guardrail.main.decision`` with the input *policy_input* (the whole input
        document as JSON).

        *shard* consists of tenant, principal, agent and tool, joined by NUL. Each shard has its own
        breaker, so that one agent's harmful requests can't block other agents. Principals are
        served in turn. *deadline* is in seconds from now. If a caller waits for the future, or asks
        whether it is done, the future always completes, at the latest shortly after the deadline:
        with a reply, or with a ``PolicyError`` that contains cause and detail. A request has no
        effects, so an engine may retry it.
        """

    def listing(self, policy_input: bytes, *, shard: str, deadline: float) -> Future[EngineReply]:
        """Evaluate ``data.guardrail.main.listing``: whether a tool is offered to the model.

        *policy_input* has no arguments, and its action is ``tools/list``. Everything else is the
        same as in ``decide``.
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
