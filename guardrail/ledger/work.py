"""What is sent to a commit thread: records with the future of their callers, and orders."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import Literal, TypeAlias

from guardrail.core.record import Draft
from guardrail.core.types import Receipt
from guardrail.errors import LedgerError

__all__ = ["Entry", "Order", "Work"]


class Entry(Future[Receipt]):
    """A record on its way, and the future that its caller waits for."""

    def __init__(self, draft: Draft) -> None:
        super().__init__()
        self.draft = draft
        self.taken = False
        """Whether a commit has, or may have, included it."""
        self.written = False
        """Whether it is durable."""
        self._abandoned = False
        self._turn = threading.Lock()
        self._gate = threading.Lock()
        self._gate.acquire()

    def wait(self, timeout: float) -> Receipt:
        """As ``result``, with one wake-up instead of three. For one waiter. Raises ``TimeoutError``."""
        if not self._gate.acquire(timeout=max(0.0, timeout)):
            raise TimeoutError
        return self.result(0)

    def take(self) -> bool:
        """Begin to write it; false where the caller gave up before, and nothing is owed."""
        if not self.set_running_or_notify_cancel() and self.draft.type != "call.outcome":
            return False
        self.taken = True
        return True

    def give_up(self, *, unless_written: bool = False) -> bool:
        """Stop waiting. Return false, where *unless_written*, for a record that has just become durable."""
        if self.cancel():
            return True
        with self._turn:
            if self.written:
                return not unless_written
            self._abandoned = True
            return True

    def acknowledge(self, receipt: Receipt) -> bool:
        """Hand the receipt over; false where nobody waits any more."""
        with self._turn:
            self.written = True
            waited_for = not self._abandoned
        if not self.cancelled():
            self.set_result(receipt)
        self._open_gate()
        return waited_for

    def fail(self, error: LedgerError) -> None:
        """Hand an error over, where anyone waits."""
        if not self.done():
            self.set_exception(error)
        self._open_gate()

    def _open_gate(self) -> None:
        if self._gate.locked():
            self._gate.release()


class Order(Future["int | None"]):
    """Something that the commit thread is to do between two commits."""

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
