"""What tests of adapters share: a guard over a policy double and a ledger in memory, and what it
recorded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from guardrail.guard import Guard
from guardrail.testing import MemoryLedger, StaticPolicy, allow, ask, deny, memory_guard


def judge(asked: dict[str, Any]) -> dict[str, Any]:
    """Deny what goes to Atlantis, ask about what goes to Utopia, allow the rest."""
    args = asked["action"]["properties"]["args"]
    if "Atlantis" in args.values():
        return deny("no_such_place")
    if "Utopia" in args.values():
        return ask("far_away")
    return allow("anywhere")


@dataclass(frozen=True)
class Bench:
    """What a test of an adapter needs."""

    guard: Guard
    ledger: MemoryLedger
    policy: StaticPolicy

    @property
    def decisions(self) -> list[dict[str, Any]]:
        return self.ledger.of("call.decision")

    @property
    def outcomes(self) -> list[dict[str, Any]]:
        return self.ledger.of("call.outcome")

    @property
    def rejected(self) -> list[dict[str, Any]]:
        return self.ledger.of("call.rejected")

    @property
    def recorded(self) -> list[dict[str, Any]]:
        """Every record about a call."""
        return [each for each in self.ledger.records if each["type"].startswith("call.")]

    @property
    def asked(self) -> list[dict[str, Any]]:
        """The arguments that the policy saw, call by call."""
        return [item["action"]["properties"]["args"] for item in self.policy.inputs]

    @property
    def text(self) -> str:
        """Every byte that was written."""
        return b"\n".join(self.ledger.lines).decode()


def make_bench() -> Bench:
    policy = StaticPolicy(judge)
    guard, ledger = memory_guard(policy)
    return Bench(guard, ledger, policy)
