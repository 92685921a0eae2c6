"""Tracks whether an error or a changed file has poisoned or sealed a writer, and when a poisoned
writer may try again.
"""

from __future__ import annotations

import time
from typing import TypeVar

from guardrail.errors import (
    KeysError,
    LedgerError,
    LedgerOpenError,
    LedgerPoisonedError,
    LedgerSealedError,
)
from guardrail.ledger.files import FileFault, utc_timestamp
from guardrail.ledger.reserve import disk_is_full
from guardrail.ledger.seal import Seal
from guardrail.ledger.settings import LedgerSettings
from guardrail.ledger.sqlite import handles
from guardrail.ledger.sqlite.database import SQLiteError, permission_error, reason
from guardrail.ledger.writing.log_state import KnownLog, LogFiles
from guardrail.system.disk import WORK, is_full, make_room, no_room

__all__ = ["Health", "copy_error"]

E = TypeVar("E", bound=LedgerError)


class Health:
    """Decides whether a writer may write. The commit thread updates it, and any thread may read it.

    A *poisoned* writer has ``trouble`` and retries automatically. A *sealed* writer refuses calls
    until ``guardrail recover`` is run, or until a database that is ``away`` is at its path again.
    """

    def __init__(self, files: LogFiles, known: KnownLog, settings: LedgerSettings) -> None:
        self._files = files
        self._known = known
        self._settings = settings
        self.trouble = ""
        """Reason that nothing can be written at the moment, or an empty string if no fault is
        known.
        """
        self.sealed: LedgerSealedError | None = None
        self.away = False
        """True if the ledger is sealed only because the database is missing from its path."""
        self.suspect = False
        """True if a sync may have failed. The kernel may then have dropped pages that it could not
        write, and may report them as clean.
        """
        self.next_retry = 0.0
        """Time of the next attempt to open a poisoned ledger (``time.monotonic()``)."""
        self._patience = settings.retry_interval

    def in_child(self, files: LogFiles, known: KnownLog) -> Health:
        """Return the health of a forked child. The parent's seal is kept, but not its trouble."""
        fresh = Health(files, known, self._settings)
        fresh.sealed = self.sealed
        fresh.away = self.away
        fresh.trouble = self.trouble if self.sealed is not None else ""
        return fresh

    # -- called by any thread ----------------------------------------------------------------------

    def distrust(self, why: str) -> LedgerSealedError:
        """Seal the ledger because a record does not match the signed head. Return the error."""
        return self.seal(why) if self.sealed is None or self.away else copy_error(self.sealed)

    def stall(self) -> None:
        """Record that a commit takes longer than its callers wait. This state ends when the commit
        does.
        """
        if not self.trouble:
            self.trouble = "a commit is taking too long"

    # -- retries -----------------------------------------------------------------------------------

    def recovered(self) -> None:
        """Record in memory that the log is open and verified."""
        self.trouble = ""
        self._patience = self._settings.retry_interval

    def await_retry(self) -> None:
        """Wait until the next attempt to reopen a poisoned ledger is due, but at most
        ``retry_interval``, because a caller might be waiting.
        """
        wait = min(self.next_retry - time.monotonic(), self._settings.retry_interval)
        time.sleep(max(0.0, wait))

    def failed(self, error: LedgerError, *, unasked: bool) -> LedgerError:
        """Record in memory that a round failed with *error*. Return the error for the callers.

        If *unasked* is True, no caller was waiting: the interval until the next attempt is doubled,
        up to a limit.
        """
        if self.sealed is None:
            if isinstance(error, LedgerSealedError):
                self.sealed = error
            elif not isinstance(error, LedgerPoisonedError):
                error = LedgerPoisonedError(error.message, hint=error.hint)
            self.trouble = error.message
        self.next_retry = time.monotonic() + self._patience
        if unasked:
            self._patience = min(self._patience * 2, self._settings.retry_limit)
        return error

    # -- poisoned ----------------------------------------------------------------------------------

    @property
    def needed(self) -> int:
        """Number of bytes that must be free before calls are admitted."""
        return self._files.reserve.needed or WORK

    def in_transaction(self, error: Exception, *, committing: bool) -> tuple[LedgerError, bool]:
        """Block new calls after *error* in a transaction, before it is rolled back.

        Return the error for the callers, and True if space was released in which outcomes can be
        written at once.
        """
        if isinstance(error, LedgerOpenError):
            error = self.unless_foreign(error)
        if committing and isinstance(error, SQLiteError | OSError):
            self.suspect = True
        if isinstance(error, SQLiteError) and reason(error).startswith("SQLITE_IOERR"):
            self.suspect = True
        if isinstance(error, KeysError):
            self.trouble = error.message
            return LedgerPoisonedError(error.message, hint=error.hint), False
        problem = error if isinstance(error, LedgerError) else self._refused(error)
        full = isinstance(error, SQLiteError | OSError) and disk_is_full(reason(error))
        return problem, full and self._files.reserve.release()

    def outside_transaction(self, error: OSError | SQLiteError) -> LedgerError:
        """Block new calls after *error* outside a transaction. Return the error for the callers.

        If the log is gone, the writer is sealed. Any other fault may be temporary.
        """
        problem = self._refused(error)
        if disk_is_full(reason(error)):
            self._files.reserve.release()
        fault = self._files.watch.check_database()
        if fault is not None and fault.seals:
            return self.seal(str(fault), away=fault.what == "missing")
        missing = permission_error(error, self._files.db, write=True)
        if missing is not None:
            self.trouble = missing.message
            return LedgerPoisonedError(missing.message, code=missing.code, hint=missing.hint)
        return problem

    def _refused(self, error: Exception) -> LedgerPoisonedError:
        """Block new calls after *error*. Call this before the reserve is released, because that
        frees space.
        """
        db = self._files.db
        if not is_full(error, db):
            return self._poison(reason(error))
        self.trouble = no_room(db, self.needed)
        return LedgerPoisonedError(self.trouble, code="ledger.reserve", hint=make_room(db))

    def _poison(self, why: str) -> LedgerPoisonedError:
        self.trouble = f"the ledger can't be written: {why}"
        return LedgerPoisonedError(self.trouble, hint="guardrail doctor")

    def no_reserve(self) -> LedgerError:
        """Return the error for a new call while the reserve for outcomes is released."""
        reserve = self._files.reserve
        obstacle = reserve.obstacle
        if obstacle is not None:
            return LedgerPoisonedError(
                f"can't reserve disk space for the outcomes of calls: {obstacle[0]}",
                code="ledger.reserve",
                hint=f"{obstacle[1]}; calls then continue automatically",
            )
        return LedgerPoisonedError(
            "the disk is full: the remaining space is reserved for the outcomes of admitted "
            f"calls ({reserve.shortage})",
            code="ledger.reserve",
            hint="make room on the ledger's disk; calls then continue automatically",
        )

    # -- sealed ------------------------------------------------------------------------------------

    def raise_fault(self, fault: FileFault | None) -> None:
        """Raise the error for a changed file. Do nothing if *fault* is None."""
        if fault is None:
            return
        if fault.seals:
            raise self.seal(str(fault), away=fault.what == "missing")
        # SQLite shares one mapping per process and file, and drops it only when every connection is
        # closed.
        handles.retire_all(self._files.db)
        raise self._poison(str(fault))

    def raise_sealed(self) -> None:
        """Raise an error if the ledger is sealed, unless a database that was away is at its path
        again.
        """
        if self.sealed is None:
            return
        if not self.away or self.is_away():
            raise copy_error(self.sealed)

    def is_away(self) -> bool:
        """Return True if there is no database at its path. Raises the seal's error if a different
        database is there.
        """
        fault = self._files.watch.check_database()
        if fault is not None and fault.seals and fault.what != "missing":
            raise self.seal(str(fault))
        return fault is not None

    def returned(self) -> None:
        """Lift the seal of a database that was away and has returned complete."""
        self.sealed, self.away = None, False

    def seal(self, why: str, *, mark: bool = True, away: bool = False) -> LedgerSealedError:
        """Refuse calls from now on; return the error. If *mark* is True, write a marker file for
        other processes.

        If *away* is True, the seal is lifted when the same database, with the known end, is at its
        path again.
        """
        hint = "put the same files back, or run guardrail recover" if away else "guardrail recover"
        error = LedgerSealedError(f"the ledger is sealed: {why}", hint=hint)
        self.sealed, self.trouble, self.away = error, error.message, away
        known = self._known
        if mark and known.last is not None:
            seq, leaf = known.last
            seal = Seal(known.log, seq, leaf.hex(), why, utc_timestamp(), dict(known.genesis), away)
            try:
                seal.write(self._files.db)
            except OSError:
                pass  # the folder may be missing; this process refuses calls anyway
        return error

    def sealed_by_marker(self) -> LedgerSealedError:
        """Seal this writer because another process wrote a marker file. Return the error."""
        seal = Seal.read(self._files.db)
        return self.seal(
            seal.why if seal is not None else "sealed by another process",
            mark=False,
            away=seal is not None and seal.away,
        )

    def unless_foreign(self, error: LedgerOpenError) -> LedgerError:
        """Return *error*. If this writer knew the file as a log and the file no longer is one, seal
        the ledger and return the seal's error instead.
        """
        if error.code not in ("ledger.schema", "ledger.rows") or self._known.last is None:
            return error
        return self.seal(error.message)


def copy_error(error: E) -> E:
    """Return a copy of *error* for one more caller.

    If several threads raised the same object, their tracebacks would be mixed.
    """
    return type(error)(error.message, code=error.code, hint=error.hint)
