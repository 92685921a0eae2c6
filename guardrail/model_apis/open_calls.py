"""Keeps the admitted calls of a governed client until a request tells their results."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Any

from guardrail.call.admission import Admission
from guardrail.call.scope import SessionScope
from guardrail.model_apis.claims import ResultClaim, is_legacy

__all__ = ["OpenCalls", "Owner", "owner_of"]

Owner = tuple[str, str, str]
"""Tenant, principal and agent: only they can tell the result of a call."""

_MOST = 4_096
"""Calls that are kept. If there are more, the results of the oldest stay unknown."""


def owner_of(session: SessionScope | None) -> Owner:
    """Return the owner of calls made in *session*."""
    if session is None:
        return "", "", ""
    found = session.session
    return found.tenant, str(found.principal.id), str(found.agent.id)


class OpenCalls:
    """Calls without a result yet. Thread-safe, and bounded."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: OrderedDict[tuple[Owner, str], Admission] = OrderedDict()
        self._closed: OrderedDict[tuple[Owner, str], int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._open)

    def add(self, owner: Owner, key: str, admission: Admission) -> None:
        """Keep a call that the program has got. An earlier one with the same id stays unknown."""
        place = owner, key
        with self._lock:
            if self._open.pop(place, None) is not None:
                self._note_closed(place)
            self._open[place] = admission
            while len(self._open) > _MOST:
                self._open.popitem(last=False)

    def take(self, owner: Owner, claims: Iterable[ResultClaim]) -> Iterator[tuple[Admission, Any]]:
        """Yield each open call with the result that *claims* tell; it is then closed.

        If calls with the same id were closed before, as many claims belong to them. Legacy calls
        have no ids: each claim is about the latest.
        """
        for claim in claims:
            place = owner, claim.key
            with self._lock:
                closed = 0 if is_legacy(claim.key) else self._closed.get(place, 0)
                if place not in self._open or claim.occurrence <= closed:
                    continue
                admission = self._open.pop(place)
                self._note_closed(place)
            yield admission, claim.content

    def _note_closed(self, place: tuple[Owner, str]) -> None:
        self._closed[place] = self._closed.get(place, 0) + 1
        self._closed.move_to_end(place)
        while len(self._closed) > _MOST:
            self._closed.popitem(last=False)
