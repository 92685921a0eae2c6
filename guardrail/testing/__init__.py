"""Test doubles: a policy with fixed replies, an in-memory ledger, and a guard that uses them."""

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
