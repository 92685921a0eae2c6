"""Creates, opens and verifies a writer's log, drops the connection after a fault, and closes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from guardrail.errors import KeysError, LedgerOpenError, LedgerPoisonedError
from guardrail.ledger.files import mend_shared_memory, resolve, seal_path, traces
from guardrail.ledger.heads import Signing
from guardrail.ledger.lease import ProcessState, process_name
from guardrail.ledger.seal import Seal
from guardrail.ledger.sqlite import handles
from guardrail.ledger.sqlite.appending import Store
from guardrail.ledger.sqlite.database import create
from guardrail.ledger.sqlite.handles import SharedLock
from guardrail.ledger.sqlite.tail_check import verify_tail
from guardrail.ledger.storage import AppendingStorage
from guardrail.ledger.writing.faults import Health
from guardrail.ledger.writing.log_state import KnownLog, LogFiles
from guardrail.system.durable import sync_directory

__all__ = ["WriterConnection"]


class WriterConnection:
    """Holds the store and the lease of one writer. Only the writer's commit thread uses it."""

    def __init__(self, files: LogFiles, known: KnownLog, health: Health, signing: Signing) -> None:
        self._files = files
        self._known = known
        self._health = health
        self._signing = signing
        self._has_lease = False
        self.store: AppendingStorage | None = None
        """The open database, or None before it is opened, and after a fault."""

    # -- opening -----------------------------------------------------------------------------------

    def create(self, genesis: bytes) -> None:
        """Create a log with the record *genesis*. Call it under the lock. Raises
        ``LedgerError``.
        """
        db = self._files.db
        found = traces(db)
        if db in found:
            raise LedgerOpenError("a ledger already exists", code="ledger.exists")
        if found:
            raise LedgerOpenError(
                f"parts of an earlier ledger are left: {', '.join(item.name for item in found)}",
                code="ledger.traces",
                hint="guardrail recover",
            )
        create(db, genesis, self._signing)

    def open(self, *, outcomes_owed: bool) -> AppendingStorage:
        """Connect, and verify that this is the known log. Call it under the lock.

        *outcomes_owed* is True if outcomes wait for the reserve. If this raises ``LedgerError``,
        ``SQLiteError`` or ``OSError``, the connection is closed.
        """
        files, health = self._files, self._health
        seal = Seal.read(files.db)
        if seal is not None and not (health.away and seal.away):
            away = seal.away and self._known.last is not None
            raise health.seal(seal.why, mark=False, away=away)
        health.raise_fault(files.watch.check_database())
        resolve(files.db)
        if not files.db.exists():
            raise LedgerOpenError(
                "there is no ledger at this path",
                code="ledger.missing",
                hint="guardrail recover" if traces(files.db) else "guardrail init",
            )
        if files.reserve_size and not (
            self._has_lease or outcomes_owed or self.has_other_writers()
        ):
            files.reserve.remove()  # it belonged to dead processes, whose calls are closed now
        try:
            store = Store(files.db, self._signing)
        except LedgerOpenError as error:
            raise health.unless_foreign(error) from None
        try:
            health.raise_fault(files.watch.adopt())
            self._verify(store)
            if health.away:
                self._lift_seal_if_complete(store, seal)
            if not self._has_lease:
                files.leases.acquire()
                self._has_lease = True
            files.leases.restore()
            sync_directory(files.db.parent)  # the names of the -wal and the leases may be new
        except BaseException:
            store.close()
            raise
        self.store = store
        health.recovered()
        return store

    def _verify(self, store: AppendingStorage) -> None:
        known, health = self._known, self._health
        if known.last is None:
            known.genesis = store.genesis
            known.log = store.log
            _refuse_foreign_keys(store.genesis, self._signing)
        problem = verify_tail(store, known.log, known.last)
        if problem:
            raise health.seal(problem)
        if health.suspect:
            # Pages that a failed sync left in memory are rewritten through the database file, with
            # new syncs.
            if not store.checkpoint("RESTART"):
                raise LedgerPoisonedError(
                    "a reader prevents the ledger from being rewritten after a failed sync"
                )
            health.suspect = False
        tail = store.tail()
        known.last = (tail.seq, tail.leaf)

    def _lift_seal_if_complete(self, store: AppendingStorage, seal: Seal | None) -> None:
        """Lift the seal if the database that was away contains every acknowledged record."""
        if seal is not None:
            leaf = store.leaf(seal.last_seq)
            if leaf is None or leaf.hex() != seal.last_leaf:
                raise self._health.seal(
                    f"record {seal.last_seq}, which was acknowledged, is still missing"
                )
            seal_path(self._files.db).unlink(missing_ok=True)
        self._health.returned()

    # -- closing -----------------------------------------------------------------------------------

    def drop(self) -> None:
        """Close the store without a checkpoint, because the files may not be the ones that SQLite
        expects.
        """
        store, self.store = self.store, None
        if store is not None:
            mend_shared_memory(self._files.db, self._files.watch.largest_shm)
            store.close()

    def close(self) -> None:
        """Checkpoint, close the store, and release the reserve and the lease. Call it under the
        lock.

        Raises ``SQLiteError`` or ``OSError``.
        """
        store = self.store
        assert store is not None
        # SQLite hides errors in the checkpoint that closing performs, so the checkpoint is
        # performed and checked here.
        clean = store.checkpoint("PASSIVE")
        if store.has_open_call(process_name()):
            # The lease stays until this process ends, because its calls may still be running.
            self._has_lease = False
        self.store = None
        store.close(clean=clean)
        if self._files.reserve_size and not self.has_other_writers():
            self._files.reserve.remove()
        self.release_lease()

    def leave_to_parent(self, *, stuck: bool) -> None:
        """In a forked child, leave the connection to the parent: the child neither uses nor closes
        it.
        """
        if stuck and self.store is not None:
            # The store was in use at the fork. Neither using nor closing it is safe here, so it
            # must also outlive the clean-up of the interpreter.
            handles.keep_alive(self.store)
        self._files.lock.close()

    def has_other_writers(self) -> bool:
        """Return True if another writer, in this or another process, may have the log open.

        Call this under the lock.
        """
        if SharedLock.held(self._files.db):
            return True
        leases = self._files.leases
        states = [leases.process_state(process) for process in leases.processes()]
        return any(
            state is not ProcessState.DEAD and state is not ProcessState.OWN for state in states
        )

    def release_lease(self) -> None:
        """Release the lease, if this writer holds it."""
        if self._has_lease:
            self._has_lease = False
            self._files.leases.release()


def _refuse_foreign_keys(genesis: Mapping[str, Any], signing: Signing) -> None:
    """Raise ``KeysError`` if the keys belong to another log, so that a wrong setting does not look
    like tampering.
    """
    key = genesis.get("key")
    if isinstance(key, Mapping) and key.get("public") != signing.public:
        raise KeysError(
            "the key folder holds the keys of another log",
            code="keys.other_log",
            hint="set [keys] path to the folder that was created with this ledger",
        )
