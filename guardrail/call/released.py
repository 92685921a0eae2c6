"""Keeps track of outcomes whose results were released before the outcomes were durable
(``[ledger] outcome = "soon"``).
"""

from __future__ import annotations

import atexit
import os
import time
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from typing import Protocol

from guardrail.core.types import Receipt
from guardrail.errors import LedgerError, LedgerPoisonedError
from guardrail.system.waiting import Steps, Wait

__all__ = ["OutcomeWriter", "ReleasedOutcomes", "at_exit"]

_LOOK = 0.001
"""Seconds between two checks for outcomes that are not durable yet."""

_TRACKED: weakref.WeakSet[ReleasedOutcomes] = weakref.WeakSet()
"""The instances that may hold outcomes. An outcome that is not durable keeps its instance alive."""


class OutcomeWriter(Protocol):
    """The interface of a ledger writer that ``ReleasedOutcomes`` needs."""

    @property
    def owed(self) -> int:
        """Number of outcomes that wait in memory until the ledger is writable."""

    def hurry(self) -> None:
        """Start to write the records that were submitted with ``later=True``, and return
        immediately.
        """


class ReleasedOutcomes:
    """The outcomes of one guard whose results were released, until they are durable. Thread-safe.

    A forked child has none: they remain with the parent.
    """

    def __init__(self, writer: OutcomeWriter, deadline: float, *, soon: bool) -> None:
        """*deadline* is the number of seconds that a call waits for its record."""
        self.soon = soon
        """True if results may be released before their outcomes are durable."""
        self._writer = writer
        self._deadline = deadline
        self._waiting: dict[Future[Receipt], int] = {}
        self._problem: tuple[int, LedgerError] | None = None
        self._stopped = False
        if soon:
            _TRACKED.add(self)

    def add(self, outcome: Future[Receipt], replace: Callable[[LedgerError], bool]) -> bool:
        """Track *outcome*, which has been submitted to the ledger. Return True if its result may be
        released.

        Return False if the guard is being closed, or if *outcome* has already failed: the caller
        must then wait for it. If *outcome* fails later, *replace* is called with the error, and
        returns True if it writes a different record instead of the outcome. It must not block.
        """
        try:
            self._waiting[outcome] = os.getpid()
            if self._stopped or (outcome.done() and outcome.exception() is not None):
                self._waiting.pop(outcome)
                self._writer.hurry()
                return False
            outcome.add_done_callback(lambda _: self._end(outcome, replace))
        except BaseException:  # Ctrl-C
            self._waiting.pop(outcome, None)
            raise
        return True

    def _end(self, outcome: Future[Receipt], replace: Callable[[LedgerError], bool]) -> None:
        problem = outcome.exception()
        if isinstance(problem, LedgerError) and not replace(problem):
            self._problem = os.getpid(), problem
        self._waiting.pop(outcome, None)

    def raise_problem(self, *, exiting: bool = False) -> None:
        """Raise the error of an outcome that will never be written. Each error is raised only once.

        An outcome that the ledger still owes is not an error, unless the process is *exiting*: the
        ledger writes it before the next decision of this process.
        """
        pid, problem = self._problem or (0, None)
        if problem is None or pid != os.getpid():
            return
        if isinstance(problem, LedgerPoisonedError) and not (exiting and self._writer.owed):
            return
        self._problem = None
        raise problem

    def wait_for_all(self) -> Steps[None]:
        """Wait until all outcomes are durable, so that the ledger can be searched for them. Raises
        ``LedgerError`` if an outcome can't be written, or not in time.
        """
        for outcome in self._own():
            self._writer.hurry()
            try:
                yield Wait(outcome, self._deadline)
            except TimeoutError:
                raise _late() from None

    def stop(self) -> bool:
        """Write all outcomes; from now on, ``add`` returns False. Return False if an outcome is not
        written within the deadline of a call.
        """
        self._stopped = True
        end = time.monotonic() + self._deadline
        if self._own():
            self._writer.hurry()
        while left := self._own():
            if time.monotonic() > end:
                break
            time.sleep(_LOOK)
        return not left

    def close(self) -> None:
        """Stop, and do nothing at exit: the guard is being closed, so the ledger raises the
        errors.
        """
        self.stop()
        _TRACKED.discard(self)

    def _own(self) -> list[Future[Receipt]]:
        own = os.getpid()
        return [each for each, pid in list(self._waiting.items()) if pid == own]


def at_exit() -> None:
    """Write the outcomes of guards that were not closed. Called when the interpreter exits. Raises
    ``LedgerError``, which the interpreter prints, if an outcome can't be written.
    """
    problems: list[LedgerError] = []
    for released in list(_TRACKED):
        try:
            if not released.stop():
                raise _late()
            released.raise_problem(exiting=True)
        except LedgerError as problem:
            problems.append(problem)
    if problems:
        raise problems[0]


def _late() -> LedgerError:
    return LedgerPoisonedError(
        "the outcome of an earlier call, whose result was released, could not be written in time",
        hint="guardrail doctor",
    )


atexit.register(at_exit)
