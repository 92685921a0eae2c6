"""The main loop of a writer's commit thread: it commits waiting records, and carries out orders
between two commits.
"""

from __future__ import annotations

import time

from guardrail.errors import KeysError, LedgerError
from guardrail.ledger.writing.commit import Committer
from guardrail.ledger.writing.work import Entry, Inbox, Order, Work, closed_error

__all__ = ["BatchSizeEstimator", "Loop"]

_SHARE = 0.25
"""Maximum wait for returning callers, as a fraction of the last commit's duration. Callers that
return in time share the next commit.
"""
_LONGEST = 0.001
"""Maximum wait in seconds, regardless of the duration of the last commit."""


class BatchSizeEstimator:
    """Estimates how many callers will share the next commit from the number of callers that shared
    recent commits.
    """

    def __init__(self) -> None:
        self.expected = 1

    def note_arrivals(self, callers: int) -> None:
        """Update the estimate after *callers* arrived together. The estimate rises at once and
        falls gradually to a single caller.
        """
        missing = self.expected - callers
        self.expected = callers if missing < 0 else self.expected - (missing + 3) // 4


class Loop:
    """Serves one inbox, in order of arrival, until a close order arrives or opening fails.

    The committer takes the entries of each commit from the inbox. It stops at an order, which is
    carried out next.
    """

    def __init__(self, committer: Committer, inbox: Inbox, max_batch: int) -> None:
        self._committer = committer
        self._inbox = inbox
        self._max_batch = max_batch
        self._estimator = BatchSizeEstimator()
        self._last_duration = 0.0
        """Duration of the last commit in seconds."""

    def run(self) -> None:
        """Run the loop in the commit thread."""
        while True:
            first = self._await_first()
            if first is None:
                self._committer.idle()
            elif isinstance(first, Entry):
                if self._inbox:
                    self._wait_for_returning_callers()
                began = time.monotonic()
                self._committer.round(self._inbox)
                self._last_duration = time.monotonic() - began
            else:
                if first.kind == "close" and self._inbox.later:
                    self._committer.round(self._inbox)  # it stops at the order
                self._inbox.popleft()
                if not self._carry_out(first):
                    self._refuse_remaining()
                    return

    def _await_first(self) -> Work | None:
        """Wait for work; return the first item, which stays in the inbox, or None if the committer
        has other work to do. A record in ``later`` counts as work once it is due.
        """
        inbox = self._inbox
        settled = self._committer.settled()
        while not inbox:
            if inbox.is_due():
                return inbox.later[0]
            if not settled or not (inbox.wait(1, self._committer.patience()) or inbox.later):
                return None
        return inbox[0]

    def _wait_for_returning_callers(self) -> None:
        """Wait briefly for the callers of the last commit, which have just been woken, to return
        with their next record.

        Otherwise, callers that arrived during a commit and callers that waited for it would
        alternate, which would take two syncs instead of one.
        """
        expected = min(self._estimator.expected, self._max_batch)
        if len(self._inbox) < expected:
            self._inbox.wait(expected, min(self._last_duration * _SHARE, _LONGEST))
        self._estimator.note_arrivals(len(self._inbox))

    def _carry_out(self, order: Order) -> bool:
        """Carry out an order; return False if the thread must end."""
        committer = self._committer
        if order.kind == "park":
            committer.drop_store()
            order.parked.set()
            order.release.wait()
            return True
        if order.kind == "retire":
            committer.drop_store()
            return True
        if order.kind == "wake":
            return True
        order.set_running_or_notify_cancel()
        try:
            if order.kind == "sweep":
                order.set_result(committer.sweep())
                return True
            if order.kind == "open":
                committer.open(order.genesis)
            else:
                committer.close()
            order.set_result(None)
        except (LedgerError, KeysError) as error:
            order.set_exception(error)
            return order.kind == "sweep"
        return order.kind == "open"

    def _refuse_remaining(self) -> None:
        """Fail the futures of the entries that arrived too late."""
        while self._inbox.later:
            self._inbox.later.popleft().fail(closed_error())
        while self._inbox:
            work = self._inbox.popleft()
            if isinstance(work, Entry):
                work.fail(closed_error())
            elif work.kind == "park":
                work.parked.set()
            elif not work.done():
                work.set_result(None)
