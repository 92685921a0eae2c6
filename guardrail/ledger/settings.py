"""What can be set about a ledger."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["LedgerSettings"]


@dataclass(frozen=True, slots=True)
class LedgerSettings:
    """Deadlines and intervals of one writer, in seconds. The defaults suit production."""

    append_deadline: float = 5.0
    """How long a caller of ``append`` waits for its record."""
    open_deadline: float = 10.0
    """How long opening waits for the file lock and the files."""
    sweep_interval: float = 60.0
    """Between two searches for calls whose process has died."""
    retry_interval: float = 0.25
    """At least this much between two attempts to reopen a poisoned ledger."""
    retry_limit: float = 5.0
    """At most this much between them while nobody calls."""
    fork_deadline: float = 1.0
    """How long ``os.fork`` waits for the commit under way; past it the child can't use the ledger."""
    epoch_interval: float = 86_400.0
    """How long a writer signs heads with one key of its own."""
    reserve: int = 0
    """Bytes that are kept free on the disk for outcomes; 0 for what admits no calls."""
    max_batch: int = 256
    """Records that share one commit."""
