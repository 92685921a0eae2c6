"""Keeps the admitted calls of a governed client until a request tells their results."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from guardrail.call.admission import Admission
from guardrail.call.scope import SessionScope
from guardrail.model_apis.claims import ResultClaim, is_legacy

__all__ = ["OpenCalls", "Owner", "owner_of"]

Owner = tuple[str, str, str]
"""Tenant, principal and agent: only they can tell the result of a call."""

_MOST = 4_096
"""Calls that are kept. If there are more, the results of the oldest can no longer be told."""


def owner_of(session: SessionScope | None) -> Owner:
    """Return the owner of calls made in *session*."""
    if session is None:
        return "", "", ""
    found = session.session
    return found.tenant, str(found.principal.id), str(found.agent.id)


def _leave_open(_admission: Admission) -> None:
    """The call is closed as ``unknown`` when its process has ended."""


class OpenCalls:
    """Calls without a result yet. Thread-safe, and bounded."""

    def __init__(self, forgotten: Callable[[Admission], None] = _leave_open) -> None:
        """*forgotten* is called with each call whose result can no longer be told."""
        self._forgotten = forgotten
        self._lock = threading.Lock()
        self._open: OrderedDict[tuple[Owner, str], tuple[Admission, float]] = OrderedDict()
        """With the times of ``time.monotonic`` since which they are open, oldest first."""
        self._late: OrderedDict[tuple[Owner, str], Admission] = OrderedDict()
        self._closed: OrderedDict[tuple[Owner, str], int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._open) + len(self._late)

    def add(self, owner: Owner, key: str, admission: Admission) -> None:
        """Keep a call that the program has got. An earlier one with the same id is forgotten."""
        place = owner, key
        with self._lock:
            earlier = self._open.pop(place, None)
            if earlier is not None or self._late.pop(place, None) is not None:
                self._note_closed(place)
            if earlier is not None:
                self._forgotten(earlier[0])
            self._open[place] = admission, time.monotonic()
            while len(self._open) > _MOST:
                self._forgotten(self._open.popitem(last=False)[1][0])

    def take(self, owner: Owner, claims: Iterable[ResultClaim]) -> Iterator[tuple[Admission, Any]]:
        """Yield each open call with the result that *claims* tell; it is then closed.

        If calls with the same id were closed before, as many claims belong to them. Legacy calls
        have no ids: each claim is about the latest.
        """
        for claim in claims:
            place = owner, claim.key
            with self._lock:
                closed = 0 if is_legacy(claim.key) else self._closed.get(place, 0)
                if claim.occurrence <= closed:
                    continue
                if place in self._open:
                    admission = self._open.pop(place)[0]
                elif place in self._late:
                    admission = self._late.pop(place)
                else:
                    continue
                self._note_closed(place)
            yield admission, claim.content

    def overdue(self, seconds: float) -> list[Admission]:
        """Return the calls that have been open for *seconds*, each once. Their results can still be
        told.
        """
        before = time.monotonic() - seconds
        found = []
        with self._lock:
            while self._open and next(iter(self._open.values()))[1] <= before:
                place, (admission, _) = self._open.popitem(last=False)
                self._late[place] = admission
                found.append(admission)
            while len(self._late) > _MOST:
                self._late.popitem(last=False)
        return found

    def _note_closed(self, place: tuple[Owner, str]) -> None:
        self._closed[place] = self._closed.get(place, 0) + 1
        self._closed.move_to_end(place)
        while len(self._closed) > _MOST:
            self._closed.popitem(last=False)
