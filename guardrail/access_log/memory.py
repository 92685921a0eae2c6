"""Remembers the largest head of each ledger's access log, both next to the ledger and in this
machine's memory of heads.

The next reader can therefore detect that an access log was removed, truncated or replaced, before
it creates a new one.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

from guardrail.anchoring import LedgerHeads, check_memory, check_missing
from guardrail.anchors.memory import HeadMemory, memory_of
from guardrail.config import Settings
from guardrail.errors import AnchorError, LedgerOpenError
from guardrail.keys.log_key import Keys, verify_signature

__all__ = ["LOST", "AccessMemory"]

LOST = frozenset(
    f"access.{state}" for state in ("missing", "replaced", "rolled_back", "forked", "memory")
)
"""Error codes for an access log that differs from the remembered one."""
_SUFFIX = ".access.db"


class AccessMemory:
    """The memory of the access log at *db*, for the ledger in *settings*."""

    def __init__(self, settings: Settings, db: Path) -> None:
        self._settings = settings
        self._db = db
        self._ledger = _ledger_of(settings, db)
        self._folder = self._ledger.with_name(f"{self._ledger.name}-access")
        self.near_ledger = HeadMemory(self._folder, db, verify_signature, shared=True)
        """The memory in a folder next to the ledger."""
        self._machine = memory_of(settings.anchors, db, verify_signature)

    def check(self, keys: Keys | None) -> None:
        """Check the access log against the memory. *keys* are the access log's keys, or None if
        there is no access log.

        Raises ``LedgerOpenError`` with a code in ``LOST``. A folder that this user can't read is
        skipped.
        """
        for memory in self._memories():
            self._check_one(memory, keys)

    def keep(self, keys: Keys, log: str) -> None:
        """Remember the current head of the access log *log* in every memory that this user can
        write to. Raises ``LedgerError``.
        """
        signing = keys.signing(actor={}, epochs=False)
        heads = LedgerHeads(self._db, log, signing)
        note, key = heads.head(), signing.log_key(log).key
        for memory in self._memories():
            # Another reader may have stored a larger head meanwhile. The next check finds any
            # mismatch.
            with contextlib.suppress(AnchorError):
                memory.keep(note, key, heads.prove)

    def forget(self) -> bool:
        """Remove the memory next to the ledger; return True if there was one. Raises
        ``AnchorError``.
        """
        return self.near_ledger.forget()

    def _memories(self) -> Sequence[HeadMemory]:
        folder = self._folder
        readable = not folder.exists() or os.access(folder, os.R_OK | os.X_OK)
        found = [self.near_ledger] if readable and not folder.is_symlink() else []
        return [*found, self._machine] if self._machine is not None else found

    def _check_one(self, memory: HeadMemory, keys: Keys | None) -> None:
        try:
            if memory.read() is None:
                return
        except AnchorError as error:
            if memory is self._machine:
                return  # doctor reports the fault
            raise self._lost("memory", error.message) from None
        seen = self._settings.override(ledger={"path": self._db}, anchors={"memory": memory.folder})
        try:
            check_missing(seen)
            if keys is not None:
                check_memory(seen, keys.signing(actor={}, epochs=False))
        except LedgerOpenError as error:
            raise self._lost(error.code.removeprefix("ledger."), error.message) from None

    def _lost(self, state: str, found: str) -> LedgerOpenError:
        return LedgerOpenError(
            f"this is not the access log that was here before: {found}",
            code=f"access.{state}",
            hint=(
                "put the access log back; if it was removed on purpose: guardrail anchor forget "
                f"{self._db} --ledger {self._ledger}"
            ),
        )


def _ledger_of(settings: Settings, db: Path) -> Path:
    """Return the real path of the ledger that the access log at *db* belongs to, even if the
    settings name *db* itself as the ledger.
    """
    ledger = Path(os.path.realpath(settings.ledger.path))
    if str(ledger) != os.path.realpath(db):
        return ledger
    name = ledger.name.removesuffix(_SUFFIX)
    return ledger.with_name(f"{name}.db") if name != ledger.name else ledger
