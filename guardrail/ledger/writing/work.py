"""The items in the queue of a commit thread: records with their callers' futures, and orders."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from queue import Empty, SimpleQueue
from typing import Literal, TypeAlias

from guardrail.core.log.record import Draft
from guardrail.core.types import Receipt
from guardrail.errors import LedgerError
from guardrail.system.futures import BatchedFuture, WakeUpBatch
from guardrail.system.threads import OnceEvent

__all__ = ["LONGEST_DELAY", "Entry", "Inbox", "Order", "Work", "closed_error"]

LONGEST_DELAY = 0.05
"""Maximum number of seconds that a record submitted with ``later`` waits for another record to
share its commit with.
"""

_OWED = frozenset({"call.outcome", "call.claim"})
"""Types of records that say how a body ended. Nothing else has this information."""
_NEVER = 1 << 62
"""Number of items that means that no thread is waiting, because the queue never reaches it."""


def closed_error() -> LedgerError:
    """Return the error for a record that arrives after the ledger was closed."""
    return LedgerError(
        "the ledger was closed",
        code="ledger.closed",
        hint="open another guard with Guard.open(...), and make calls before it is closed",
    )


class Entry(BatchedFuture[Receipt]):
    """A record to be written, with the future that its caller waits for."""

    def __init__(self, draft: Draft) -> None:
        super().__init__()
        self.draft = draft
        self.taken = False
        """True if a commit has included, or may have included, the record."""
        self.written = False
        """True if the record is durable."""
        self.due = 0.0
        """Latest time at which the record's commit begins, if no other record starts one earlier
        (``time.monotonic()``).
        """
        self._abandoned = False
        self._turn = threading.Lock()

    @property
    def owed(self) -> bool:
        """True if the record will be written even if its caller has given up or was told of a
        fault.
        """
        return self.draft.type in _OWED

    def take(self) -> bool:
        """Begin or retry the write. Return False if the caller gave up and no outcome is owed."""
        if self.taken:
            return True
        if not self.set_running_or_notify_cancel() and not self.owed:
            return False
        self.taken = True
        return True

    def give_up(self, *, unless_written: bool = False) -> bool:
        """Stop waiting. If *unless_written* is True, return False if the record has just become
        durable.
        """
        if self.cancel():
            return True
        with self._turn:
            if self.written:
                return not unless_written
            self._abandoned = True
            return True

    def acknowledge(self, receipt: Receipt, handover: WakeUpBatch) -> bool:
        """Deliver the receipt, together with those from the same commit. Return False if no one is
        waiting for it.
        """
        with self._turn:
            self.written = True
            waited_for = not self._abandoned
        if not self.cancelled():
            self.handover = handover
            self.set_result(receipt)
        return waited_for

    def fail(self, error: LedgerError, handover: WakeUpBatch | None = None) -> None:
        """Deliver *error* if anyone is waiting for the record."""
        if not self.done():
            self.handover = handover
            self.set_exception(error)


class Order(BatchedFuture["int | None"]):
    """A task for the commit thread between two commits."""

    def __init__(
        self,
        kind: Literal["open", "close", "sweep", "park", "retire", "wake"],
        genesis: bytes | None = None,
    ) -> None:
        super().__init__()
        self.kind = kind
        self.genesis = genesis
        """Line 0 of a log to be created."""
        if kind == "park":
            self.parked = OnceEvent()
            self.release = OnceEvent()


Work: TypeAlias = "Entry | Order"


class Inbox(deque[Work]):
    """The queue of a commit thread. Any thread may ``put`` work into it; only the commit thread
    takes items out.

    Records that may wait are in a second queue, ``later``. Each commit takes all of them, before
    the records that were queued after them.
    """

    def __init__(self) -> None:
        super().__init__()
        self._bell: SimpleQueue[None] = SimpleQueue()
        self._awaited = _NEVER
        """Number of items for which the commit thread waits. It is set before the thread counts
        the items, and read after an item was appended, so that no item is missed.
        """
        self.later: deque[Entry] = deque()
        """Records waiting for the next commit, for at most ``LONGEST_DELAY`` seconds."""
        self._until = 0.0
        """Time at which the commit thread's wait ends; set before ``_awaited``."""
        self._hurried = False

    def put(self, work: Work) -> None:
        """Append *work*. Wake the commit thread if it has enough items or *work* is an order."""
        self.append(work)
        self.ring(at_once=not isinstance(work, Entry))

    def put_later(self, entry: Entry) -> None:
        """Queue *entry* for the next commit. The commit thread is woken only if it would otherwise
        wake up too late.
        """
        entry.due = time.monotonic() + LONGEST_DELAY
        self.later.append(entry)
        if self._until > entry.due:
            self.ring(at_once=True)

    def hurry(self) -> None:
        """Start the next commit now if any records are waiting for it."""
        self._hurried = True
        self.ring(at_once=True)

    def is_due(self) -> bool:
        """Return True if a record in ``later`` is due."""
        later = self.later
        return bool(later) and (self._hurried or time.monotonic() >= later[0].due)

    def take(self, batch: deque[Entry], most: int) -> None:
        """Move at most *most* entries, those before the first order, to *batch*, and all records of
        ``later`` in front of these.
        """
        taken: list[Entry] = []
        for _ in range(min(len(self), most)):
            entry = self[0]
            if not isinstance(entry, Entry):
                break
            taken.append(entry)
            self.popleft()
        self._hurried = False
        # These are taken last: a caller queues an outcome before its next record, so the outcome of
        # a caller whose next record was just taken is found here.
        while self.later:
            batch.append(self.later.popleft())
        batch.extend(taken)

    def ring(self, *, at_once: bool = False) -> None:
        """Wake the commit thread if it is waiting and the items that it waits for are in the queue,
        or if *at_once* is True.
        """
        awaited = self._awaited
        enough = awaited < _NEVER if at_once else len(self) >= awaited
        # If the last ring is still unread, the thread will look at the queue anyway.
        if enough and not self._bell.qsize():
            self._bell.put(None)

    def wait(self, items: int, timeout: float | None) -> bool:
        """Wait until there are *items* items; return False after *timeout* seconds, or when a
        record in ``later`` is due. An order ends the wait early; a stale ``ring`` from the
        previous wait may do so too.

        Called by the commit thread, which is woken once, not once per item.
        """
        self._until = math.inf if timeout is None else time.monotonic() + timeout
        self._awaited = items
        try:
            if len(self) < items:
                if self.later:
                    left = max(0.0, self.later[0].due - time.monotonic())
                    timeout = left if timeout is None else min(left, timeout)
                self._bell.get(timeout=timeout)
            return True
        except Empty:
            return False
        finally:
            self._awaited = _NEVER
