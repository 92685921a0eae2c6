"""A call that guardrail admits and that the program runs itself."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Mapping
from typing import Any

from guardrail.call.bodies import CURRENT
from guardrail.call.drivers import drive, drive_async
from guardrail.call.journal import Journal
from guardrail.call.outcome_record import check_process
from guardrail.call.settling import claim, settle
from guardrail.call.stages import Admitted, Ended, Settled
from guardrail.core.types import Receipt, Status
from guardrail.errors import UsageError
from guardrail.system.waiting import Steps

__all__ = ["Admission"]


_LONGEST = 1e9
"""Maximum plausible duration of a body in seconds."""


class Admission:
    """An allowed call with a durable decision. Its outcome must be recorded exactly once.

    The code that admitted the call reports its outcome with ``settle``. If it never does, the call
    is closed as ``unknown`` after its process has ended.
    """

    __slots__ = ("_admitted", "_journal", "_settled", "arguments", "call", "seq")

    def __init__(self, journal: Journal, admitted: Admitted) -> None:
        """Use ``guard.admit`` instead."""
        self._journal = journal
        self._admitted = admitted
        self._settled: Status | None = None
        self.call = admitted.request.id
        """Call id (ULID)."""
        self.seq = admitted.seq
        """Sequence number of the decision record."""
        self.arguments: Mapping[str, Any] = admitted.arguments
        """The arguments for the body: the validated snapshot, not the caller's objects."""

    @staticmethod
    def current_call() -> str | None:
        """Return the id of the governed call whose body runs in this context, or None."""
        return CURRENT.get()

    @contextlib.contextmanager
    def current(self) -> Generator[None]:
        """Make this call the parent of governed calls made inside the ``with`` block."""
        token = CURRENT.set(self.call)
        try:
            yield
        finally:
            CURRENT.reset(token)

    def hand_over(self) -> None:
        """Discard the arguments: the program has them, and only the outcome remains to be recorded.

        A call whose result may take an hour should not hold its memory until then. Idempotent.
        """
        self._admitted = self._admitted.handed_over()
        self.arguments = self._admitted.arguments

    def settle(
        self,
        status: Status | str = Status.OK,
        *,
        result: object = None,
        error: BaseException | None = None,
        seconds: float | None = None,
    ) -> Receipt:
        """Record how the call ended. The record is durable when this returns, regardless of
        ``[ledger] outcome``.

        Raises ``LedgerError`` if the outcome can't be written now: it stays pending and is written
        as soon as the ledger is writable. An outcome that arrives after the call was closed as
        ``unknown`` is recorded as ``call.claim``, even if an earlier call of this method closed it.
        Raises ``UsageError`` if the status is unknown, if *seconds* is not a duration, or if the
        call is settled twice.
        """
        return _receipt(drive(self._settle(status, Ended(result, error, seconds))))

    async def asettle(
        self,
        status: Status | str = Status.OK,
        *,
        result: object = None,
        error: BaseException | None = None,
        seconds: float | None = None,
    ) -> Receipt:
        """Async version of ``settle``. If the task is cancelled, the cancellation is delayed until
        the outcome is durable.
        """
        return _receipt(await drive_async(self._settle(status, Ended(result, error, seconds))))

    def _settle(self, status: Status | str, ended: Ended) -> Steps[Settled]:
        try:
            status = Status(status)
        except ValueError:
            raise UsageError(
                f"status must be one of {', '.join(Status)}", code="usage.status"
            ) from None
        if not _is_duration(ended.seconds):
            raise UsageError("seconds must be a non-negative number", code="usage.seconds")
        check_process(self._admitted)
        late = self._settled is Status.UNKNOWN and status is not Status.UNKNOWN
        if self._settled is not None and not late:
            raise UsageError("this call is already settled", code="usage.settled")
        self._settled = status
        return (claim if late else settle)(self._journal, self._admitted, ended, status)


def _receipt(settled: Settled) -> Receipt:
    # Only bodies that guardrail runs release their results earlier.
    assert settled.receipt is not None
    return settled.receipt


def _is_duration(seconds: object) -> bool:
    if seconds is None:
        return True
    if not isinstance(seconds, int | float) or isinstance(seconds, bool):
        return False
    return 0 <= seconds <= _LONGEST
