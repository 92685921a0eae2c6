"""Closes calls whose results are not reported."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable

from guardrail.call.admission import Admission
from guardrail.core.types import Status
from guardrail.errors import LedgerError
from guardrail.model_apis.open_calls import OpenCalls

__all__ = ["Outcomes"]

_LONGEST_PAUSE = 10.0
"""Maximum number of seconds between two searches for overdue calls."""


class Outcomes:
    """Calls that clients have received and whose results no request has reported yet. If a result
    is not reported in time, the call is closed as ``unknown``. A result that is reported later is
    recorded as a claim.
    """

    def __init__(self, wait_s: float) -> None:
        """*wait_s* is the number of seconds that a call waits for its result."""
        self._forgotten: list[Admission] = []
        self.calls = OpenCalls(self._forgotten.append)
        self._wait = wait_s
        self._closing: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start to close overdue calls, on the running event loop. Idempotent."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._close_in_time())

    async def _close_in_time(self) -> None:
        while True:
            await asyncio.sleep(min(self._wait / 8, _LONGEST_PAUSE))
            await self._close(self.calls.overdue(self._wait))

    async def _close(self, calls: Iterable[Admission]) -> None:
        calls = [*self._forgotten, *calls]
        self._forgotten.clear()
        await asyncio.gather(*(_close(admission) for admission in calls))

    async def aclose(self) -> None:
        """Close every open call. Idempotent."""
        if self._closing is not None:
            self._closing.cancel()
            await asyncio.wait([self._closing])
        await self._close(self.calls.overdue(0))


async def _close(admission: Admission) -> None:
    with contextlib.suppress(LedgerError):  # the outcome stays pending
        await admission.asettle(Status.UNKNOWN)
