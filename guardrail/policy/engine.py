"""The interface of a policy engine."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Protocol

from guardrail.core.types import EngineReply, PolicyIdentity

__all__ = ["Engine"]


class Engine(Protocol):
    """A source of decisions. Thread-safe; never evaluates in the calling thread."""

    @property
    def identity(self) -> PolicyIdentity:
        """Identity of the policies and data behind every reply of this engine, until it is
        replaced.
        """

    def decide(self, policy_input: bytes, *, shard: str, deadline: float) -> Future[EngineReply]:
        """Evaluate ``data.guardrail.main.decision`` with *policy_input* as its input (the JSON of
        the whole input document).

        *shard* names tenant, principal, agent and tool, joined by NUL. Each shard has its own
        breaker, so that one agent's harmful requests can't stop others. Principals are served in
        turn. *deadline* is in seconds from now. The future always completes, shortly after the
        deadline at the latest: with a reply that came before it, or with a ``PolicyError`` that
        carries cause and detail. A call whose reply took longer is denied. A request has no
        effects, so an engine may retry by itself.
        """

    def close(self) -> None:
        """Release processes and connections.

        Idempotent; open futures fail with ``PolicyError`` (``unreachable``).
        """
