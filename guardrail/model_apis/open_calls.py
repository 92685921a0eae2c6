"""Stores the admitted calls of a governed client until a request reports their results."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from guardrail.call.admission import Admission
from guardrail.call.scope import SessionScope
from guardrail.model_apis.claims import ResultClaim, is_legacy
from guardrail.model_apis.kept_names import kept_name

__all__ = ["OpenCalls", "Owner", "owner_of"]

Owner = tuple[str, ...]
"""Identifies the caller that made a call, for example by tenant, principal and agent. Only this
owner can report the call's result.
"""

_MOST = 4_096
"""Maximum number of stored calls. If there are more, the results of the oldest calls can no longer
be reported.
"""
_LARGEST = 64 * 1024 * 1024
"""Maximum total number of characters in the ids of stored calls, which the model chooses."""


class _OpenCall(NamedTuple):
    admission: Admission
    since: float
    """Time (``time.monotonic``) at which the call was added."""
    size: int
    """Number of characters in the call's id."""
    late: bool
    """True if the call was overdue and its outcome has been recorded."""


def owner_of(session: SessionScope | None) -> Owner:
    """Return the owner of calls made in *session*."""
    if session is None:
        return "", "", ""
    found = session.session
    return found.tenant, str(found.principal.id), str(found.agent.id)


def _leave_open(_admission: Admission) -> None:
    """Do nothing: the call is closed as ``unknown`` after its process has ended."""


class OpenCalls:
    """Calls without a result. Thread-safe and bounded."""

    def __init__(self, forgotten: Callable[[Admission], None] = _leave_open) -> None:
        """*forgotten* is called with each call whose result can no longer be reported."""
        self._forgotten = forgotten
        self._lock = threading.Lock()
        self._open: OrderedDict[tuple[Owner, str], _OpenCall] = OrderedDict()
        """The calls that are not overdue, oldest first."""
        self._late: OrderedDict[tuple[Owner, str], _OpenCall] = OrderedDict()
        self._size = 0
        self._closed: OrderedDict[tuple[Owner, str], int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._open) + len(self._late)

    def add(self, owner: Owner, key: str, admission: Admission) -> None:
        """Store a call that the program has received, without its arguments. An earlier call with
        the same id is forgotten.
        """
        place, size = (owner, key), len(key)
        admission.hand_over()
        with self._lock:
            earlier = self._pop(place)
            if earlier is not None:
                self._note_closed(place)
                self._forget(earlier)
            self._open[place] = _OpenCall(admission, time.monotonic(), size, late=False)
            self._size += size
            while len(self._open) > _MOST or len(self._late) > _MOST or self._size > _LARGEST:
                oldest = self._pop(next(iter(self._late or self._open)))
                assert oldest is not None
                self._forget(oldest)

    def _pop(self, place: tuple[Owner, str]) -> _OpenCall | None:
        found = self._open.pop(place, None) or self._late.pop(place, None)
        self._size -= 0 if found is None else found.size
        return found

    def _forget(self, call: _OpenCall) -> None:
        if not call.late:
            self._forgotten(call.admission)

    def take(
        self, owner: Owner, claims: Iterable[ResultClaim]
    ) -> Iterator[tuple[Admission, ResultClaim]]:
        """Yield each open call for which *claims* reports a result, with that result, and close the
        call.

        If earlier calls with the same id have been closed, the same number of claims belongs to
        those calls and is skipped. Legacy calls have no ids, so each claim applies to the latest
        call.
        """
        for claim in claims:
            place = owner, claim.key
            with self._lock:
                closed = 0 if is_legacy(claim.key) else self._closed.get(_closed_place(place), 0)
                found = self._pop(place) if claim.occurrence > closed else None
                if found is None:
                    continue
                self._note_closed(place)
            yield found.admission, claim

    def overdue(self, seconds: float) -> list[Admission]:
        """Return the calls that have been open for at least *seconds*. Each call is returned only
        once, and its result can still be reported.
        """
        before = time.monotonic() - seconds
        found = []
        with self._lock:
            while self._open and next(iter(self._open.values())).since <= before:
                place, call = self._open.popitem(last=False)
                self._late[place] = call._replace(late=True)
                found.append(call.admission)
        return found

    def _note_closed(self, place: tuple[Owner, str]) -> None:
        place = _closed_place(place)
        self._closed[place] = self._closed.get(place, 0) + 1
        self._closed.move_to_end(place)
        while len(self._closed) > _MOST:
            self._closed.popitem(last=False)


def _closed_place(place: tuple[Owner, str]) -> tuple[Owner, str]:
    owner, key = place
    return owner, kept_name(key)
