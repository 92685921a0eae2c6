"""Doubles for tests: a policy that answers what it is told, a ledger in memory, and the guard on top of them."""

from __future__ import annotations

from guardrail.testing.doubles import (
    MemoryLedger,
    StaticPolicy,
    allow,
    ask,
    deny,
    document,
    memory_guard,
)

__all__ = ["MemoryLedger", "StaticPolicy", "allow", "ask", "deny", "document", "memory_guard"]
