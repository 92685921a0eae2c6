"""Suspends and resumes in tests, as the command line does, but in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from guardrail.call.journal import Journal
from guardrail.config import Settings
from guardrail.core.log.suspensions import Suspensions
from guardrail.core.types import Receipt
from guardrail.identity.actor import current_actor
from guardrail.keys.log_key import Keys
from guardrail.ledger.files import utc_timestamp
from guardrail.ledger.proved import Proofs, ProvedReader
from guardrail.ledger.reader import LedgerReader
from guardrail.ledger.suspending import Suspended, Suspender
from guardrail.wiring.opening import open_journal
from guardrail.wiring.suspending import recorded_subject, subject_of
from tests.support.guards import settings

PAST = "2001-01-01T00:00:00.000000Z"
FUTURE = "2999-01-01T00:00:00.000000Z"


class Responder:
    """Suspends and resumes by name. A test may replace ``read`` and ``record``."""

    def __init__(self, chosen: Settings, journal: Journal, keys: Keys) -> None:
        self._settings, self._keys = chosen, keys
        self._proofs = Proofs(keys.signing(actor=current_actor(), epochs=False), journal.log)
        self._db = chosen.ledger.path
        self.read: Callable[[Suspensions | None], Suspensions] = self.read_ledger
        self.record: Callable[[str, Mapping[str, Any]], Receipt] = journal.admin
        self.suspender = Suspender(
            lambda known: self.read(known), lambda type_, detail: self.record(type_, detail)
        )

    def read_ledger(self, known: Suspensions | None = None) -> Suspensions:
        """Return the suspensions in force."""
        with LedgerReader.open(self._db) as reader:
            return ProvedReader(reader, self._proofs).suspensions(known)

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
        return self.read_ledger()


@contextmanager
def responder(folder: Path, chosen: Settings | None = None) -> Iterator[Responder]:
    """Open the ledger of ``guarded(folder)`` for a person who suspends."""
    chosen = chosen or settings(folder)
    journal, keys = open_journal(chosen, epochs=False)
    with closing(journal):
        yield Responder(chosen, journal, keys)
