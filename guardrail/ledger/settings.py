"""Settings of a ledger."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["LedgerSettings"]


@dataclass(frozen=True, slots=True)
class LedgerSettings:
    """Deadlines and intervals for one writer, in seconds. The defaults suit production use."""

    append_deadline: float = 5.0
    """Longest time that a caller of ``append`` waits for its record."""
    open_deadline: float = 10.0
    """Longest time that opening waits for the file lock and the files."""
    sweep_interval: float = 60.0
    """Interval between sweeps for calls whose process has died."""
    retry_interval: float = 0.25
    """Shortest interval between two attempts to reopen a poisoned ledger."""
    retry_limit: float = 5.0
    """Longest interval between two attempts to reopen a poisoned ledger while no calls arrive."""
    fork_deadline: float = 1.0
    """Longest time that ``os.fork`` waits for the commit in progress. If it takes longer, the child
    can't use the ledger.
    """
    epoch_interval: float = 86_400.0
    """Time after which a writer replaces the key that it signs heads with."""
    reserve: int = 0
    """Bytes reserved on the disk for outcomes; 0 for processes that admit no calls."""
    size_limit: int = 0
    """Size of the ledger, in bytes, at which new calls are refused; 0: no limit."""
    max_batch: int = 256
    """Maximum number of records in one commit, not counting outcomes that waited for it."""
