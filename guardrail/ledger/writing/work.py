"""The items in the queue of a commit thread: records with the futures of their callers,
and orders.
"""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Literal, TypeAlias

from guardrail.core.log.record import Draft
from guardrail.core.types import Receipt
from guardrail.errors import LedgerError
from guardrail.system.futures import BatchedFuture, WakeUpBatch

__all__ = ["Entry", "Inbox", "Order", "Work", "closed_error"]

_OWED = frozenset({"call.outcome", "call.claim"})
"""Types of records about the end of a body. Only the owed record knows how the body ended."""


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
        self._abandoned = False
        self._turn = threading.Lock()

    @property
    def owed(self) -> bool:
        """True if the record is written even though its caller has given up or was told of a
        fault.
        """
        return self.draft.type in _OWED

    def take(self) -> bool:
        """Begin to write the record, or try again. Return False if the caller has given up and no
        outcome is owed.
        """
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
        """Deliver the receipt, together with those of the same commit. Return False if nobody waits
        for it.
        """
        with self._turn:
            self.written = True
            waited_for = not self._abandoned
        if not self.cancelled():
            self.handover = handover
            self.set_result(receipt)
        return waited_for

    def fail(self, error: LedgerError, handover: WakeUpBatch | None = None) -> None:
        """Deliver an error if anyone waits for the record."""
        if not self.done():
            self.handover = handover
            self.set_exception(error)


class Order(Future["int | None"]):
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
            self.parked = threading.Event()
            self.release = threading.Event()


Work: TypeAlias = "Entry | Order"


class Inbox(deque[Work]):
    """The queue of a commit thread. Any thread may append to it, and then rings; only the commit
    thread takes items out.
    """

    def __init__(self) -> None:
        super().__init__()
        self.bell: SimpleQueue[None] = SimpleQueue()
        """What the commit thread waits for. It may find the inbox empty nevertheless."""

    def ring(self) -> None:
        """Wake the commit thread if it waits for the item that was just appended."""
        if not self.bell.qsize():  # if it has not heard the last ring, it has yet to look
            self.bell.put(None)
