"""The guard's interface to the ledger: takes drafts, returns receipts, and knows the log's name,
process and deadline.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from datetime import datetime
from typing import Any, Protocol, TypeVar

from guardrail.approvals.rules import ApprovalCase, ApprovalTerms
from guardrail.approvals.service import ApprovalService, TenantTokens
from guardrail.call.next_steps import NextSteps
from guardrail.call.released import ReleasedOutcomes
from guardrail.core.claims import Owner
from guardrail.core.log import fields
from guardrail.core.log.effects import EffectStep, KeyHolder
from guardrail.core.log.record import Draft
from guardrail.core.log.suspensions import Suspensions
from guardrail.core.redaction.rules import Rules
from guardrail.core.repeats import Repeat
from guardrail.core.types import Receipt
from guardrail.errors import LedgerError
from guardrail.identity.actor import current_actor
from guardrail.ledger.session_states import FollowedStates
from guardrail.system.host import host_name
from guardrail.system.waiting import Steps, Wait, in_background

__all__ = ["Journal", "Owner", "Requests", "Writer"]

R = TypeVar("R")

_LOOK = 0.001
"""Seconds between two checks for outcomes that are still being prepared."""


class Writer(Protocol):
    """The interface of a ledger writer. ``guardrail.ledger.writing.writer.LedgerWriter`` implements
    it on disk.
    """

    @property
    def log(self) -> str:
        """Origin name of the log."""

    @property
    def process(self) -> str:
        """Name of this process's lease."""

    @property
    def suspensions(self) -> Suspensions:
        """The suspensions in force, as last read. ``submit`` refuses a decision that does not obey
        newer ones (``ledger.suspensions_changed``).
        """

    @property
    def full(self) -> bool:
        """True if the ledger has just reached its size limit. ``submit`` refuses the records of new
        calls (``ledger.size_limit``).
        """

    @property
    def states(self) -> FollowedStates:
        """The states of the log's sessions. ``submit`` refuses a decision that has read older ones
        (``ledger.state_changed``).
        """

    @property
    def owed(self) -> int:
        """Number of outcomes that wait in memory until the ledger is writable."""

    def submit(self, draft: Draft, *, later: bool = False) -> Future[Receipt]:
        """Queue *draft*. The future returns a receipt once the record is durable, or raises a
        ``LedgerError``. If *later* is True, the record may wait a short time for another record to
        share its commit with. It is still written before any record that is submitted after it.
        """

    def hurry(self) -> None:
        """Start to write the records that were submitted with ``later=True``, and return
        immediately.
        """

    def append(self, draft: Draft, timeout: float | None = None) -> Receipt:
        """Write *draft* durably. Raises ``LedgerError``, at the latest after *timeout* seconds."""

    def expired(self, future: Future[Receipt]) -> LedgerError:
        """Record in memory that the caller has stopped waiting for *future*; return the error to
        raise.
        """

    def close(self) -> None:
        """Release everything. Idempotent."""


class Requests(Protocol):
    """The reads from the ledger that decisions depend on: approval requests and earlier calls."""

    def case(self, approval: str) -> ApprovalCase | None:
        """Return the request *approval* with all of its steps, or None if it does not exist."""

    def of_session(self, session: str) -> list[str]:
        """Return the ids of the session's requests, oldest first."""

    def repeat(self, names: Sequence[str]) -> Repeat | None:
        """Return the state of an earlier call with one of *names* (``names_of``), or None if no
        such call is running or has succeeded.
        """

    def effect_holder(self, step: EffectStep) -> KeyHolder | None:
        """Return the call because of which *step* may not be written, or None. A step that resolves
        a key gets the call that holds it.
        """

    def read_states(self) -> None:
        """Compute the states of sessions up to the end of the log."""


class Journal:
    """One open ledger, as used by the guard."""

    def __init__(
        self,
        writer: Writer,
        *,
        deadline: float,
        owner: Callable[..., Owner | None],
        requests: Requests,
        soon: bool = False,
    ) -> None:
        """If *soon* is True, results are released before their outcomes are durable."""
        self.remember: Callable[[], None] = lambda: None
        """Called by ``close`` after it has closed the ledger."""
        self.next_steps = NextSteps()
        """The commands that explain or approve the calls in this ledger."""
        self.released = ReleasedOutcomes(writer, deadline, soon=soon)
        """The outcomes that are not durable although their results were released."""
        self.ledger = writer
        """The ledger writer for the records of calls."""
        self.requests = requests
        """The approval requests and their answers."""
        self.session_owner = owner
        """Returns the owner of a session from the first record under one of its names, or None if
        the session has no record.
        """
        self.unsent: dict[str, int] = {}
        """Calls whose outcome is being prepared, with the process that prepares it."""
        self.deciding: dict[tuple[int, str], object] = {}
        """Names of the replayed calls that have no decision record yet, by process."""
        self._stopped = False
        self._host = host_name()
        self.deadline = deadline
        """Number of seconds that a call waits for its record."""
        self.log = writer.log
        """Origin name of the log."""

    @property
    def process(self) -> str:
        """Name of this process's lease; it changes after a fork."""
        return self.ledger.process

    def append(self, draft: Draft) -> Receipt:
        """Write *draft* and return when it is durable. Raises ``LedgerError``."""
        return self.ledger.append(draft, self.deadline)

    def give_up(self, future: Future[Receipt], error: BaseException) -> LedgerError:
        """Return the error for a caller that waited too long for its record. If the caller stops
        waiting for another reason (Ctrl-C, cancellation), raise *error*.

        The ledger is notified, so that the call does not stay open: if the decision becomes durable
        anyway, it gets the outcome ``cancelled``, class ``not_started``.
        """
        problem = self.ledger.expired(future)
        if isinstance(error, TimeoutError | CancelledError):
            return problem
        raise error

    def look_up(self, look: Callable[[], R], *, patience: float = 0.0) -> Steps[R]:
        """Return the value that *look* reads from the ledger. Waits until the deadline, or
        *patience* seconds if that is longer. Raises ``LedgerError``.
        """
        try:
            answer: R = yield Wait(in_background(look), max(self.deadline, patience))
        except TimeoutError:
            raise LedgerError(
                "the ledger could not be read in time",
                code="ledger.unreadable",
                hint="guardrail doctor",
            ) from None
        return answer

    def where(self, adapter: str = "guardrail") -> dict[str, Any]:
        """Return the value of ``origin`` for a record about this process."""
        return fields.origin(
            host=self._host, pid=os.getpid(), process=self.process, adapter=adapter
        )

    def approval_service(
        self,
        tokens: Callable[[str], TenantTokens],
        terms: ApprovalTerms,
        rules: Rules,
        clock: Callable[[], datetime],
    ) -> ApprovalService:
        """Return the service that answers approval requests in this ledger."""
        return ApprovalService(
            log=self.log,
            read=self.requests.case,
            append=self.append,
            tokens=tokens,
            origin=self.where,
            terms=terms,
            rules=rules,
            clock=clock,
        )

    def admin(
        self, type_: str, detail: Mapping[str, Any], judged: tuple[int, bytes] | None = None
    ) -> Receipt:
        """Write an ``admin.*`` record about this process durably. *judged* is passed to
        ``Draft.build``. Raises ``LedgerError``, and ``IdentityError`` as ``current_actor`` does.
        """
        record = fields.admin(
            self.log, type_, actor=current_actor(), where=self.where(), detail=detail
        )
        return self.append(Draft.build(record, judged=judged))

    def close(self) -> None:
        """Close the ledger without a record of the stop. Only for code other than a guard.
        Idempotent.
        """
        self._stopped = True
        self.ledger.close()
        self.remember()

    def stop(self) -> None:
        """Close the ledger, after recording the guard's stop if possible. Idempotent.

        Waits for the outcomes of bodies that have ended, but no longer than a call waits for its
        record. Raises ``LedgerError`` if an outcome whose result was released can't be written.
        """
        if self._stopped:
            return
        self._stopped = True
        try:
            self.released.close()
            end = time.monotonic() + self.deadline
            while os.getpid() in list(self.unsent.values()) and time.monotonic() < end:
                time.sleep(_LOOK)
            # If the ledger can't be written, neither can this record. A pending outcome stays on
            # disk as an open call.
            with contextlib.suppress(LedgerError):
                self.admin("stop", {})
        finally:
            self.ledger.close()
        self.released.raise_problem()
