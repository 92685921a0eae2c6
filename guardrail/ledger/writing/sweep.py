"""The sweep: closes the open calls of dead processes, retires their keys, and removes their
leases.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from typing import Protocol

from guardrail.ledger.epochs import Rotation, ended
from guardrail.ledger.heads import Signing
from guardrail.ledger.lease import ProcessState
from guardrail.ledger.settings import LedgerSettings
from guardrail.ledger.storage import AppendingStorage
from guardrail.ledger.writing import outcomes
from guardrail.ledger.writing.log_state import KnownLog, LogFiles
from guardrail.ledger.writing.work import Entry

__all__ = ["Commit", "Sweeper"]


class Commit(Protocol):
    """Commits entries and rotations in one transaction, and releases the lock. Raises
    ``LedgerError``.
    """

    def __call__(self, batch: deque[Entry], rotations: Iterable[Rotation] = ()) -> list[Entry]:
        """Return the durable entries."""
        ...


class Sweeper:
    """Performs the sweeps for one writer, and knows when the next one is due."""

    def __init__(
        self, files: LogFiles, known: KnownLog, signing: Signing, settings: LedgerSettings
    ) -> None:
        self._files = files
        self._known = known
        self._signing = signing
        self._settings = settings
        self.due = 0.0
        """Time of the next sweep (``time.monotonic()``)."""

    def postpone(self) -> None:
        """Postpone the next sweep until one interval from now."""
        self.due = time.monotonic() + self._settings.sweep_interval

    def sweep(self, store: AppendingStorage, commit: Commit) -> int:
        """Close the calls of dead processes, and return their number. The caller holds the lock
        before and after the call.
        """
        self.postpone()
        lock, leases = self._files.lock, self._files.leases
        drafts, left = outcomes.of_dead_calls(store, leases)
        swept = 0
        size = self._settings.max_batch
        for start in range(0, len(drafts), size):
            if not lock.held:
                lock.acquire()
            swept += len(commit(deque(Entry(draft) for draft in drafts[start : start + size])))
        if not lock.held:
            lock.acquire()
        dead = outcomes.of_dead_keys(store, leases)
        if dead:
            commit(deque(), [ended(self._known.log, self._signing, dead)])
            lock.acquire()
        for process in leases.processes():
            if process not in left and leases.process_state(process) is ProcessState.DEAD:
                leases.remove(process)
        return swept
