"""Suspends and resumes in tests, as the command line does, but in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from guardrail.config import Settings
from guardrail.core.log.suspensions import Suspensions
from guardrail.ledger.files import utc_timestamp
from guardrail.ledger.suspending import Suspended, Suspender
from guardrail.wiring.suspending import open_suspender, recorded_subject, subject_of
from tests.support.guards import settings

PAST = "2001-01-01T00:00:00.000000Z"
FUTURE = "2999-01-01T00:00:00.000000Z"


class Responder:
    """Suspends and resumes by name."""

    def __init__(self, suspender: Suspender, chosen: Settings, keys: object) -> None:
        self.suspender, self._settings, self._keys = suspender, chosen, keys

    def suspend(
        self,
        name: str,
        reason: str = "leaks",
        until: str | None = None,
        now: Callable[[], str] = utc_timestamp,
    ) -> Suspended:
        """Suspend *name*, such as ``agent:bot``."""
        subject = recorded_subject(subject_of(name), self._settings, self._keys)
        return self.suspender.suspend(subject, reason=reason, until=until, now=now)

    def resume(self, name: str) -> int:
        """Resume *name*; return how many suspensions are left."""
        subject = recorded_subject(subject_of(name), self._settings, self._keys)
        return self.suspender.resume(subject, reason=None)[2]

    def state(self) -> Suspensions:
        """Return the suspensions in force."""
        return self.suspender._read_from(None)


@contextmanager
def responder(folder: Path, chosen: Settings | None = None) -> Iterator[Responder]:
    """Open the ledger of ``guarded(folder)`` for a person who suspends."""
    chosen = chosen or settings(folder)
    with open_suspender(chosen) as (suspender, keys):
        yield Responder(suspender, chosen, keys)
