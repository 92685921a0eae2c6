"""The guard's side of the ledger: drafts in, receipts out, with the log's name, process and deadline at hand."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, Protocol

from guardrail.core import fields
from guardrail.core.record import Draft
from guardrail.core.types import Receipt
from guardrail.errors import LedgerError

__all__ = ["Journal", "Owner", "Writer", "actor"]

Owner = tuple[str, str, str]
"""(tenant, principal id, agent id) of a session, as recorded."""


class Writer(Protocol):
    """What a ledger must do. ``guardrail.ledger.writer.LedgerWriter`` does it on disk."""

    @property
    def log(self) -> str:
        """Origin name of the log."""

    @property
    def process(self) -> str:
        """Name of this process's lease."""

    def submit(self, draft: Draft) -> Future[Receipt]:
        """Queue *draft*; the future ends with a receipt once it is durable, or with a ``LedgerError``."""

    def append(self, draft: Draft, timeout: float | None = None) -> Receipt:
        """Write *draft*; durable when it returns. Raises ``LedgerError``, at the latest after *timeout* seconds."""

    def expired(self, future: Future[Receipt]) -> LedgerError:
        """Take note that nobody waits for *future* any more; return the error to raise."""

    def close(self) -> None:
        """Release everything. Idempotent."""


def actor() -> dict[str, str]:
    """Return who runs this process, for ``admin.*`` records: the operating-system user, asserted."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = str(os.getuid())
    return {"id": name, "assurance": "asserted", "method": "os_user"}


class Journal:
    """One open ledger, as the guard uses it."""

    def __init__(
        self, writer: Writer, *, deadline: float, owner: Callable[[str], Owner | None]
    ) -> None:
        self._writer = writer
        self.session_owner = owner
        """Tells who a session belongs to, by its first record; None where it has none."""
        self._stopped = False
        self.deadline = deadline
        """Seconds that a call waits for its record."""
        self.log = writer.log
        """Origin name of the log."""

    @property
    def process(self) -> str:
        """Name of this process's lease; another one after a fork."""
        return self._writer.process

    def submit(self, draft: Draft) -> Future[Receipt]:
        """Queue *draft*; the future ends with a receipt once it is durable, or with a ``LedgerError``."""
        return self._writer.submit(draft)

    def append(self, draft: Draft) -> Receipt:
        """Write *draft* and return when it is durable. Raises ``LedgerError``."""
        return self._writer.append(draft, self.deadline)

    def expired(self, future: Future[Receipt]) -> LedgerError:
        """Tell the ledger that nobody waits for *future* any more; return the error to raise."""
        return self._writer.expired(future)

    def admin(self, type_: str, detail: Mapping[str, Any]) -> Receipt:
        """Write an ``admin.*`` record about this process and return when it is durable."""
        where = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "process": self.process,
            "adapter": "guardrail",
            "address": None,
            "call_id": None,
        }
        record = fields.admin(self.log, type_, actor=actor(), where=where, detail=detail)
        return self.append(Draft.build(record))

    def stop(self) -> None:
        """Record the stop where that is possible, and close the ledger. Idempotent."""
        if self._stopped:
            return
        self._stopped = True
        try:
            self.admin("stop", {})
        except LedgerError:
            # A ledger that can't be written can't record that either; what is owed stays on disk as an open call.
            pass
        self._writer.close()
