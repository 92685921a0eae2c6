"""The ledger reads on which decisions depend: approval requests, session owners, and calls that
must not be repeated. All results are proved.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Sequence
from pathlib import Path

from guardrail.approvals.rules import ApprovalCase
from guardrail.approvals.views import read_case
from guardrail.call.journal import Owner
from guardrail.core.claims import owner_of
from guardrail.core.log.effects import EffectStep, KeyHolder
from guardrail.core.log.record import decode
from guardrail.core.log.suspensions import Suspensions
from guardrail.core.repeats import Repeat
from guardrail.errors import LedgerError
from guardrail.ledger.finished import FinishedCalls
from guardrail.ledger.heads import Signing
from guardrail.ledger.proved import Proofs, ProvedReader
from guardrail.ledger.reader import LedgerReader
from guardrail.ledger.steps import UNPROVED
from guardrail.ledger.writing.writer import LedgerWriter

__all__ = ["LedgerRequests"]


class LedgerRequests:
    """Ledger reads on which decisions depend. They are read-only and proved, with one connection
    per read.

    If the signed head does not cover a record, the ledger of *writer* is sealed.
    """

    def __init__(self, path: Path, writer: LedgerWriter, signing: Signing) -> None:
        self._path = path
        self._writer = writer
        self._finished = FinishedCalls()
        self._proofs = Proofs(signing, writer.log, lambda: writer.known)

    def case(self, approval: str) -> ApprovalCase | None:
        """Return the request *approval* with all of its steps, or None. Raises ``LedgerError``."""
        with self._reading() as log:
            return read_case(log, approval)

    def of_session(self, session: str) -> list[str]:
        """Return the ids of a session's requests, oldest first. Raises ``LedgerError``."""
        with self._reading() as log:
            return log.requests(session)

    def owner(self, *session: str) -> Owner | None:
        """Return the owner of a session, from the first call recorded under one of its names, or
        None. Raises ``LedgerError``.
        """
        with self._reading() as log:
            line = log.first_of_session(session, self._writer.names)
        if line is None:
            return None
        return owner_of(decode(line))

    def repeat(self, names: Sequence[str]) -> Repeat | None:
        """Return the state of an earlier call with one of *names*, or None if no such call is
        running or has succeeded. Raises ``LedgerError``.
        """
        with self._reading() as log:
            return log.repeat(names, self._finished)

    def effect_holder(self, step: EffectStep) -> KeyHolder | None:
        """Return the call because of which *step* may not be written, or None. A step that resolves
        a key gets the call that holds it. Raises ``LedgerError``.
        """
        with self._reading() as log:
            return log.effect_holder(step, self._writer.effects)

    def suspensions(self, known: Suspensions | None = None) -> Suspensions:
        """Return the suspensions in force. *known* is an earlier result. Raises ``LedgerError``."""
        with self._reading() as log:
            return log.suspensions(known)

    def read_states(self) -> None:
        """Compute the states of sessions up to the end of the log. Raises ``LedgerError``."""
        with self._reading() as log:
            log.read_states(self._writer.states)

    @contextlib.contextmanager
    def _reading(self) -> Generator[ProvedReader]:
        try:
            with LedgerReader.open(self._path, rows=False) as reader:
                yield ProvedReader(reader, self._proofs)
        except LedgerError as error:
            if error.code == UNPROVED:
                raise self._writer.distrust(error.message) from None
            raise
