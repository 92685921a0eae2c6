"""The commit thread of a writer: batches, the checks around each commit, poisoned, sealed, and the way back.

Two rules carry the promises. A future ends with a receipt only after its commit was synced *and* the files were found
unchanged. And whatever could not be acknowledged is either known not to be in the log, or settled by looking it up in
the log before anything else is written.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from guardrail.core.log.record import Draft
from guardrail.core.types import Receipt
from guardrail.errors import (
    KeysError,
    LedgerError,
    LedgerOpenError,
    LedgerPoisonedError,
    LedgerSealedError,
)
from guardrail.ledger import claims
from guardrail.ledger.epochs import Epochs, Rotation, ended
from guardrail.ledger.files import (
    Fault,
    FileWatch,
    Seal,
    leases_path,
    lock_path,
    mend_shared_memory,
    resolve,
    seal_path,
    traces,
    utc_now,
)
from guardrail.ledger.heads import Signing
from guardrail.ledger.lease import Leases, Life, process_name
from guardrail.ledger.lock import FileLock
from guardrail.ledger.names import Names
from guardrail.ledger.reserve import Reserve, disk_is_full, needs_room
from guardrail.ledger.settings import LedgerSettings
from guardrail.ledger.sqlite import handles
from guardrail.ledger.sqlite.appending import Store, Tail
from guardrail.ledger.sqlite.database import create, denied, open_error, reason
from guardrail.ledger.sqlite.handles import Share
from guardrail.ledger.steps import UNPROVED
from guardrail.ledger.writing import outcomes
from guardrail.ledger.writing.work import Entry
from guardrail.system.disk import WORK, is_full, make_room, no_room
from guardrail.system.durable import sync_directory
from guardrail.system.futures import Handover

__all__ = ["Committer"]

E = TypeVar("E", bound=LedgerError)


# A live process whose lease file was removed is not swept either: its number is looked up. So this may be rare.
_KEEP_SECONDS = 1.0


class Committer:
    """What the commit thread knows. Only that thread touches it, except where a method says otherwise."""

    def __init__(self, db: Path, settings: LedgerSettings, signing: Signing) -> None:
        self._db = db
        self._settings = settings
        self._signing = signing
        self._epochs = Epochs(signing, settings.epoch_interval)
        self._watch = FileWatch(db)
        self._lock = FileLock(lock_path(db), db)
        self._leases = Leases(leases_path(db))
        self._reserve = Reserve(db, settings.reserve)
        self._has_lease = False
        self._store: Store | None = None
        self._last: tuple[int, bytes] | None = None
        """Newest record that this process knows to be durable: acknowledged, or read and verified."""
        self._owed: deque[Draft] = deque()
        self._unsure: deque[Draft] = deque()
        """Decisions whose caller was told that they were not written, and which may be in the log."""
        self._again: deque[Entry] = deque()
        """Outcomes that found the disk full, and are to be written into the room that was given back; callers wait."""
        self._suspect = False
        """A sync may have failed: the kernel may have dropped what it could not write, and calls it clean."""
        self.names = Names()
        """The sessions of the log, as far as somebody has looked for them."""
        self._genesis: dict[str, object] = {}
        self._marker = str(seal_path(db))
        self._next_sweep = 0.0
        self._next_keep = 0.0
        self._next_retry = 0.0
        self._patience = settings.retry_interval
        self.log = ""
        self.trouble = ""
        self.sealed: LedgerSealedError | None = None
        self._away = False
        """Whether it is sealed only because the database is not at its path: it may come back as it was."""

    def in_child(self, *, stuck: bool) -> Committer:
        """Return what a forked child keeps: which log it is, and the newest record known to be durable."""
        if stuck and self._store is not None:
            # Its connection was in use at the fork. Neither using nor closing it is safe here, so it must outlive
            # the interpreter's clean-up too.
            handles.keep_for_ever(self._store)
        self._lock.close()
        fresh = Committer(self._db, self._settings, self._signing)
        fresh._watch = self._watch
        fresh._last = self._last
        fresh._genesis = self._genesis
        fresh.log = self.log
        fresh.sealed = self.sealed
        fresh._away = self._away
        fresh.trouble = self.trouble if self.sealed is not None else ""
        return fresh

    # -- called by any thread ---------------------------------------------------------------------------------------

    @property
    def owes(self) -> int:
        """How many outcomes wait to be written."""
        return len(self._owed) + len(self._unsure)

    @property
    def short_of_room(self) -> bool:
        """Whether the room that is kept for outcomes is gone."""
        return self._reserve.gone

    def disown(self, decision: Draft) -> None:
        """Remember that the caller of *decision*, which may be durable, was told that it is not."""
        if decision.opens:
            self._unsure.append(decision)

    @property
    def known(self) -> int:
        """Number of the newest record that this process knows to be durable; -1 if it knows none."""
        last = self._last
        return -1 if last is None else last[0]

    def distrust(self, why: str) -> LedgerSealedError:
        """Seal the ledger, because what was read of it is not what was signed; return the error to raise."""
        return self._seal(why) if self.sealed is None or self._away else _copy_error(self.sealed)

    def stall(self) -> None:
        """Say that a commit outlives its callers; it ends by itself."""
        if not self.trouble:
            self.trouble = "a commit does not end"

    # -- what the commit thread asks (guardrail.ledger.writing.loop) ----------------------------------------------------------

    def settled(self) -> bool:
        """Note that no commit is under way; return whether nothing that is owed could be written at once."""
        if self._store is not None:
            self.trouble = ""  # whatever callers took for a stall has ended
        return (
            not self.owes or self.sealed is not None or (self._store is None and bool(self.trouble))
        )

    def patience(self) -> float | None:
        """Return after how many seconds ``idle`` has something to do; None where it has nothing."""
        if self.sealed is not None and not self._away:
            return None
        if not self.log or (self._store is None and not self.trouble):
            return None
        due = self._next_sweep if self._store is not None else self._next_retry
        return max(0.001, due - time.monotonic())

    def idle(self) -> None:
        """Nobody calls: write what is owed, try to come back, look for the dead."""
        if self._store is None or self.owes:
            self.round(None, list)
        elif time.monotonic() >= self._next_sweep:
            try:
                self.sweep()
            except LedgerError:
                # Recorded as this writer's trouble; the next caller gets it.
                self._next_sweep = time.monotonic() + self._settings.sweep_interval

    # -- opening ----------------------------------------------------------------------------------------------------

    def open(self, genesis: bytes | None) -> None:
        """Open the log for the first time, create it from *genesis* where that is given, and sweep.

        Raises ``LedgerError``; then nothing stays open.
        """
        try:
            with self._lock:
                if genesis is not None:
                    self._create(genesis)
                self._open_store()
            try:
                self._prepare()
                with self._lock:
                    self._sweep()
            except BaseException:
                self.drop_store()
                raise
        except (OSError, sqlite3.Error) as error:
            raise open_error(error, self._db, needed=self._needed) from error
        finally:
            if self._store is None:
                self._give_up_lease()
                self._lock.close()

    def _create(self, genesis: bytes) -> None:
        found = traces(self._db)
        if self._db in found:
            raise LedgerOpenError("there is a ledger already", code="ledger.exists")
        if found:
            raise LedgerOpenError(
                f"something is left of an earlier ledger: {', '.join(item.name for item in found)}",
                code="ledger.traces",
                hint="guardrail recover",
            )
        create(self._db, genesis, self._signing)

    def _prepare(self) -> None:
        """Have a key to sign the next head with. Raises ``LedgerError`` where the signer does not answer."""
        if self._last is not None:
            self._epochs.prepare(self.log, self._last[0] + 1)

    def _open_store(self) -> None:
        """Connect, and make sure that the log is the one that is known. Call under the lock.

        Raises ``LedgerError``, ``sqlite3.Error`` or ``OSError``; then there is no store.
        """
        seal = Seal.read(self._db)
        if seal is not None and not (self._away and seal.away):
            away = seal.away and self._last is not None
            raise self._seal(seal.why, mark=False, away=away)
        self._raise_fault(self._watch.check_database())
        resolve(self._db)
        if not self._db.exists():
            raise LedgerOpenError(
                "there is no ledger at this path",
                code="ledger.missing",
                hint="guardrail recover" if traces(self._db) else "guardrail init",
            )
        if self._settings.reserve and not (self._has_lease or self.owes or self._has_company()):
            self._reserve.remove()  # of processes that died: their calls are closed now
        try:
            store = Store(self._db, self._signing)
        except LedgerOpenError as error:
            raise self._unless_foreign(error) from None
        try:
            self._raise_fault(self._watch.adopt())
            self._check_log(store)
            if self._away:
                self._return(store, seal)
            if not self._has_lease:
                self._leases.take()
                self._has_lease = True
            self._leases.keep()
            sync_directory(self._db.parent)  # the names of -wal and leases may be new
        except BaseException:
            store.close()
            raise
        self._store = store
        self.trouble = ""
        self._patience = self._settings.retry_interval

    def _return(self, store: Store, seal: Seal | None) -> None:
        """Go on where the database that was away is at its path again, with everything that was acknowledged."""
        if seal is not None:
            leaf = store.leaf(seal.last_seq)
            if leaf is None or leaf.hex() != seal.last_leaf:
                raise self._seal(
                    f"record {seal.last_seq}, which was acknowledged, did not come back"
                )
            seal_path(self._db).unlink(missing_ok=True)
        self.sealed, self._away = None, False

    def _raise_sealed(self) -> None:
        """Refuse where the ledger is sealed, unless what was away is there again."""
        if self.sealed is None:
            return
        if not self._away or self._is_away():
            raise _copy_error(self.sealed)

    def _is_away(self) -> bool:
        """Tell whether the database is not at its path. Raises the seal where another one is there."""
        fault = self._watch.check_database()
        if fault is not None and fault.seals and fault.what != "missing":
            raise self._seal(str(fault))
        return fault is not None

    def _check_log(self, store: Store) -> None:
        if self._last is None:
            self._genesis = store.genesis
            self.log = store.log
            _refuse_foreign_keys(store.genesis, self._signing)
        problem = store.verify_tail(self.log, self._last)
        if problem:
            raise self._seal(problem)
        if self._suspect:
            # What a failed sync left behind is rewritten through the database file, with syncs of its own.
            if not store.checkpoint("RESTART"):
                raise LedgerPoisonedError(
                    "a reader keeps the ledger from being rewritten after a failed sync"
                )
            self._suspect = False
        tail = store.tail()
        self._last = (tail.seq, tail.leaf)

    # -- one commit -------------------------------------------------------------------------------------------------

    def round(self, first: Entry | None, more: Callable[[], Iterable[Entry]]) -> None:
        """Write *first*, what *more* brings once the lock is held, and what is owed, in one commit.

        Never raises: the futures end with receipts or errors.
        """
        self._round(deque([first]) if first is not None else deque(), more)
        if self._again:
            entries, self._again = self._again, deque()
            self._next_retry = 0.0
            self._round(entries, list)

    def _round(self, batch: deque[Entry], more: Callable[[], Iterable[Entry]]) -> None:
        if self.sealed is None and self._store is None and self.trouble:
            # Poisoned: one attempt per interval, inside the deadline of whoever calls.
            time.sleep(
                max(0.0, min(self._next_retry - time.monotonic(), self._settings.retry_interval))
            )
        try:
            self._raise_sealed()
            self._prepare()
            with self._lock:
                batch.extend(more())
                if self._store is None:
                    self._open_store()
                if self._reserve.kept() or self._taken_again() or self._some_need_no_room(batch):
                    self._transaction(batch)
        except LedgerError as error:
            self._failed(batch, error)
        except (OSError, sqlite3.Error) as error:
            self._failed(batch, self._outside(error))

    def _taken_again(self) -> bool:
        """Take the reserve again; return whether it is there. Raises ``LedgerError``.

        Where somebody removed the log's files the reserve is missing too, and that the disk is full is not the reason.
        """
        try:
            self._before()
        except LedgerError:
            self.drop_store()
            raise
        return self._reserve.there()

    def _some_need_no_room(self, batch: deque[Entry]) -> bool:
        """Fail what begins something new, for the room for its outcome is gone; return whether anything is left to write."""
        entries = list(batch)
        batch.clear()
        for entry in entries:
            if not needs_room(entry.draft):
                batch.append(entry)
                continue
            entry.fail(self._no_room())
        return bool(batch or self.owes)

    def _no_room(self) -> LedgerError:
        obstacle = self._reserve.obstacle
        if obstacle:
            return LedgerPoisonedError(
                f"no room can be kept for the outcomes of calls: {obstacle}",
                code="ledger.reserve",
                hint="move it away; calls go on by themselves then",
            )
        return LedgerPoisonedError(
            "the disk is full: what room is left is kept for the outcomes of calls that were admitted "
            f"({self._reserve.shortage})",
            code="ledger.reserve",
            hint="make room on the ledger's disk; calls go on by themselves then",
        )

    def _transaction(self, batch: deque[Entry], rotations: Iterable[Rotation] = ()) -> list[Entry]:
        """Commit *batch*, what is owed, and then *rotations*; end their futures. Return the entries that are durable.

        Raises ``LedgerError`` after the writer became poisoned or sealed; entries that were not taken are left in
        *batch* for the caller to fail, those that were are dealt with here.
        """
        store = self._store
        assert store is not None
        taken: list[Entry] = []
        committing = False
        try:
            self._before()
            tail = store.begin()
            problem = tail.fault or self._contradiction(store, tail)
            if problem:
                raise self._seal(problem)
            # Another process may have taken this one for dead.
            self._epochs.replace_ended(store.has_epoch, self.log, tail.seq + 1)
            announcement = self._epochs.announcement(self.log)
            if announcement is not None:
                store.rotate(announcement, tail)
            self._settle_unsure(store)
            while batch:
                entry = batch.popleft()
                if entry.take():
                    taken.append(entry)
            drafts = [*self._owed, *(entry.draft for entry in taken)]
            for draft in drafts:
                if draft.judged is not None:
                    self._raise_unproved(store.unproved_since(draft, tail))
            answers = self._add_all(store, drafts, tail)[len(self._owed) :]
            following = self.names.at(tail.committed)
            for rotation in rotations:
                store.rotate(rotation, tail)
            store.sign(tail, self._epochs.key)
            committing = True
            store.commit()
            self._raise_fault(self._watch.check())  # not before this is anything acknowledged
        except (LedgerError, KeysError, sqlite3.Error, OSError) as error:
            raise self._undo(store, taken, error, committing=committing) from None
        if following:
            added = zip(taken, answers, strict=True)
            made = [each.draft.session for each, is_ in added if isinstance(is_, Receipt)]
            self.names.follow(tail.edge, [name for name in made if name is not None])
        self._owed.clear()
        self._epochs.durable()
        self._last = (tail.seq, tail.leaf)
        self.trouble = ""
        self._lock.release()  # the next process need not wait for this one's callers to be told
        return self._acknowledge(taken, answers)

    def _unless_foreign(self, error: LedgerOpenError) -> LedgerError:
        """Return *error*; the seal instead, where this writer knew the file as a log, and it holds things of others now."""
        if error.code not in ("ledger.schema", "ledger.rows") or self._last is None:
            return error
        return self._seal(error.message)

    def _acknowledge(self, taken: list[Entry], answers: list[Receipt | LedgerError]) -> list[Entry]:
        durable = []
        with Handover() as handover:  # a loop on which many wait is woken once
            for entry, answer in zip(taken, answers, strict=True):
                if isinstance(answer, LedgerError):
                    entry.fail(answer, handover)
                else:
                    durable.append(entry)
                    if not entry.acknowledge(answer, handover):
                        self.disown(entry.draft)
        return durable

    def _before(self) -> None:
        """Make sure that nothing has changed on disk, before SQLite touches anything."""
        fault = self._watch.check()
        if fault is not None:
            self._raise_fault(fault)
        if os.access(self._marker, os.F_OK):
            seal = Seal.read(self._db)
            raise self._seal(
                seal.why if seal is not None else "sealed by another process",
                mark=False,
                away=seal is not None and seal.away,
            )
        now = time.monotonic()
        if now >= self._next_keep:
            self._next_keep = now + _KEEP_SECONDS
            self._leases.keep()

    def _contradiction(self, store: Store, tail: Tail) -> str:
        """Say what in the log contradicts the newest record known to be durable, if anything does."""
        assert self._last is not None
        seq, leaf = self._last
        there = tail.leaf if tail.seq == seq else store.leaf(seq) if tail.seq > seq else None
        if there == leaf:
            return ""
        return f"record {seq}, which was acknowledged, is missing or another one"

    def _add_all(
        self, store: Store, drafts: Sequence[Draft], tail: Tail
    ) -> list[Receipt | LedgerError]:
        try:
            return claims.add_all(store, drafts, tail, self.names)
        except LedgerError as error:
            if error.code == UNPROVED:
                raise self._seal(error.message) from None
            raise

    def _raise_unproved(self, problem: str) -> None:
        if problem:
            raise self._seal(problem)

    def _settle_unsure(self, store: Store) -> None:
        """Owe an outcome for each decision that is in the log although its caller was told that it is not."""
        while self._unsure:
            draft = self._unsure[0]
            assert draft.call is not None
            line = store.of_call(draft.call, "call.decision")
            if line is not None:
                self._owed.append(outcomes.not_started(line))
            self._unsure.popleft()

    # -- faults -----------------------------------------------------------------------------------------------------

    def _undo(
        self, store: Store, taken: list[Entry], error: Exception, *, committing: bool
    ) -> LedgerError:
        """Leave the transaction after *error*; return what its callers get. Nothing owed is lost."""
        if isinstance(error, LedgerOpenError):
            error = self._unless_foreign(error)
        if committing and isinstance(error, sqlite3.Error | OSError):
            self._suspect = True
        if isinstance(error, sqlite3.Error) and reason(error).startswith("SQLITE_IOERR"):
            self._suspect = True
        problem = error if isinstance(error, LedgerError) else self._refused(error)
        full = isinstance(error, sqlite3.Error | OSError) and disk_is_full(reason(error))
        room = full and self._reserve.give_back()
        store.rollback()
        self._epochs.unsure()
        if isinstance(error, KeysError):
            problem = LedgerPoisonedError(error.message, hint=error.hint)
            self.trouble = problem.message
        for entry in taken:
            if entry.draft.type == "call.outcome":
                if room:
                    self._again.append(entry)
                    continue
                self._owed.append(entry.draft)
            elif committing:
                self.disown(entry.draft)
            entry.fail(_copy_error(problem))
        self.drop_store()
        return problem

    def _failed(self, batch: deque[Entry], error: LedgerError) -> None:
        """Fail what was not taken. Outcomes stay owed; of the rest it is certain that nothing was written."""
        if self.sealed is None:
            if isinstance(error, LedgerSealedError):
                self.sealed = error
            elif not isinstance(error, LedgerPoisonedError):
                error = LedgerPoisonedError(error.message, hint=error.hint)
            self.trouble = error.message
        if self._away:
            self.drop_store()  # what comes back is opened, and its end compared
        self._next_retry = time.monotonic() + self._patience
        if not batch:
            self._patience = min(self._patience * 2, self._settings.retry_limit)
        for entry in batch:
            if entry.draft.type == "call.outcome":
                self._owed.append(entry.draft)
            entry.fail(_copy_error(error))

    def _poison(self, why: str) -> LedgerPoisonedError:
        self.trouble = f"the ledger can't be written: {why}"
        return LedgerPoisonedError(self.trouble, hint="guardrail doctor")

    @property
    def _needed(self) -> int:
        """How many bytes must be free before calls are taken."""
        return self._reserve.needed or WORK

    def _refused(self, error: Exception) -> LedgerPoisonedError:
        """Block new calls after *error*; return what callers get. Look before the reserve is given back: that is room again."""
        if not is_full(error, self._db):
            return self._poison(reason(error))
        self.trouble = no_room(self._db, self._needed)
        return LedgerPoisonedError(self.trouble, code="ledger.reserve", hint=make_room(self._db))

    def _outside(self, error: OSError | sqlite3.Error) -> LedgerError:
        """Return what an error outside a transaction means: the log may be gone, else it is a matter of time."""
        problem = self._refused(error)
        if disk_is_full(reason(error)):
            self._reserve.give_back()
        fault = self._watch.check_database()
        if fault is not None and fault.seals:
            return self._seal(str(fault), away=fault.what == "missing")
        missing = denied(error, self._db, write=True)
        if missing is not None:
            self.trouble = missing.message
            return LedgerPoisonedError(missing.message, code=missing.code, hint=missing.hint)
        return problem

    def _raise_fault(self, fault: Fault | None) -> None:
        if fault is None:
            return
        if fault.seals:
            raise self._seal(str(fault), away=fault.what == "missing")
        # SQLite keeps one shared memory per process and file: it is let go only when every connection is.
        handles.retire_all(self._db)
        raise self._poison(str(fault))

    def _seal(self, why: str, *, mark: bool = True, away: bool = False) -> LedgerSealedError:
        """Refuse from now on, and leave a marker for others where that is possible.

        With *away* until the same database is at its path again, with the end that is known.
        """
        hint = "put the same files back, or guardrail recover" if away else "guardrail recover"
        error = LedgerSealedError(f"the ledger is sealed: {why}", hint=hint)
        self.sealed, self.trouble, self._away = error, error.message, away
        if mark and self._last is not None:
            seq, leaf = self._last
            seal = Seal(self.log, seq, leaf.hex(), why, utc_now(), dict(self._genesis), away)
            try:
                seal.write(self._db)
            except OSError:
                pass  # the folder may be gone: this process refuses all the same
        return error

    def drop_store(self) -> None:
        """Close the connection without a checkpoint: what lies under it may not be what it thinks."""
        store, self._store = self._store, None
        if store is not None:
            mend_shared_memory(self._db, self._watch.largest_shm)
            store.close()

    # -- sweeping ---------------------------------------------------------------------------------------------------

    def sweep(self) -> int:
        """Close the open calls of dead processes; return how many. Raises ``LedgerError``."""
        try:
            self._raise_sealed()
            self._prepare()
            with self._lock:
                if self._store is None:
                    self._open_store()
                return self._sweep()
        except LedgerError as error:
            self._failed(deque(), error)
            raise
        except (OSError, sqlite3.Error) as error:
            problem = self._outside(error)
            self._failed(deque(), problem)
            raise problem from None

    def _sweep(self) -> int:
        """Close the open calls of dead processes, end their keys, then forget their leases. Call under the lock."""
        self._next_sweep = time.monotonic() + self._settings.sweep_interval
        store = self._store
        assert store is not None
        drafts, left = outcomes.of_dead_calls(store, self._leases)
        swept = 0
        for start in range(0, len(drafts), self._settings.max_batch):
            chunk = deque(
                Entry(draft) for draft in drafts[start : start + self._settings.max_batch]
            )
            if not self._lock.held:
                self._lock.acquire()
            swept += len(self._transaction(chunk))
        if not self._lock.held:
            self._lock.acquire()
        dead = outcomes.of_dead_keys(store, self._leases)
        if dead:
            self._transaction(deque(), [ended(self.log, self._signing, dead)])
            self._lock.acquire()
        for process in self._leases.names():
            if process not in left and self._leases.life(process) is Life.DEAD:
                self._leases.remove(process)
        return swept

    # -- closing ----------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Write what is owed, checkpoint and let go of everything. Raises ``LedgerError`` where something is wrong."""
        try:
            gone = self.sealed is not None and (not self._away or self._is_away())
            if not gone and (self._store is not None or self.owes):
                self._flush_and_checkpoint()
        finally:
            self.drop_store()
            self._give_up_lease()
            self._lock.close()

    def _flush_and_checkpoint(self) -> None:
        try:
            with self._lock:
                if self._store is None:
                    self._open_store()
                assert self._store is not None
                self._raise_fault(self._watch.check())
                if not self._write_last():
                    return
                # SQLite hides what fails in the checkpoint at close, so it is done, and judged, here.
                clean = self._store.checkpoint("PASSIVE")
                if self._store.has_open_call(process_name()):
                    self._has_lease = (
                        False  # stays until this process ends: its calls may still be running
                    )
                store, self._store = self._store, None
                store.close(clean=clean)
                if self._settings.reserve and not self._has_company():
                    self._reserve.remove()
                self._give_up_lease()
        except (OSError, sqlite3.Error) as error:
            problem = self._outside(error)
            if self.owes:
                raise problem from None

    def _write_last(self) -> bool:
        """Write what is owed and the end of this writer's key, under the lock; return whether the store is still there."""
        owed, farewell = self.owes, self._epochs.farewell(self.log)
        if not owed and farewell is None:
            return True
        try:
            self._transaction(deque(), [farewell] if farewell is not None else [])
        except LedgerPoisonedError:
            if owed:
                raise
            return False  # the next sweep ends the key
        self._epochs.closed()
        self._lock.acquire()
        return True

    def _has_company(self) -> bool:
        """Tell whether another process, or another writer of this one, may have this log open. Call it under the lock."""
        if Share.held(self._db):
            return True
        lives = [self._leases.life(process) for process in self._leases.names()]
        return any(life is not Life.DEAD and life is not Life.OWN for life in lives)

    def _give_up_lease(self) -> None:
        if self._has_lease:
            self._has_lease = False
            self._leases.drop()


def _refuse_foreign_keys(genesis: Mapping[str, Any], signing: Signing) -> None:
    """Raise ``KeysError`` for the keys of another log: a mistake in the settings must not look like an attack."""
    key = genesis.get("key")
    if isinstance(key, Mapping) and key.get("public") != signing.public:
        raise KeysError(
            "these are the keys of another log",
            code="keys.other_log",
            hint="point [keys] path at the folder that was made with this ledger",
        )


def _copy_error(error: E) -> E:
    """Return a copy of *error* for one more caller: raised in several threads, one object would mix their tracebacks."""
    return type(error)(error.message, code=error.code, hint=error.hint)
