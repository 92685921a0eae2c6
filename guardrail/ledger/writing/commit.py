"""The commit thread's rounds: batches of records, and the checks before and after each commit.

Two rules ensure that records are durable. A future returns a receipt only after its commit was
synced *and* the files were found unchanged. If a record could not be acknowledged, and it is not
certain that the log lacks it, the record is looked up in the log before anything else is written.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path

from guardrail.core.log.record import Draft
from guardrail.core.types import Receipt
from guardrail.errors import KeysError, LedgerError, LedgerPoisonedError
from guardrail.ledger.epochs import Epochs, Rotation
from guardrail.ledger.files import seal_path
from guardrail.ledger.heads import Signing
from guardrail.ledger.reserve import needs_room
from guardrail.ledger.settings import LedgerSettings
from guardrail.ledger.sqlite.database import SQLiteError, open_error
from guardrail.ledger.steps import UNPROVED
from guardrail.ledger.storage import AppendingStorage, Tail
from guardrail.ledger.writing import outcomes
from guardrail.ledger.writing.checks import DraftChecks
from guardrail.ledger.writing.faults import Health, copy_error
from guardrail.ledger.writing.log_state import KnownLog, LogFiles
from guardrail.ledger.writing.opening import WriterConnection
from guardrail.ledger.writing.sweep import Sweeper
from guardrail.ledger.writing.work import Entry, Inbox
from guardrail.system.futures import WakeUpBatch

__all__ = ["Committer"]

# Lease files need not be checked often: a sweep recognises a live process by its PID, even if its
# lease file was removed.
_LEASE_CHECK_SECONDS = 1.0


class Committer:
    """Writes the records that a commit thread receives. Most methods are for that thread only."""

    def __init__(
        self, db: Path, settings: LedgerSettings, signing: Signing, parent: Committer | None = None
    ) -> None:
        """*parent* is that of a forked child's committer, which inherits its knowledge."""
        self._settings = settings
        self._signing = signing
        self._epochs = Epochs(signing, settings.epoch_interval)
        if parent is None:
            self._files = LogFiles.of(db, settings.reserve)
            self.known = KnownLog()
            self.health = Health(self._files, self.known, settings)
        else:
            self._files = LogFiles.of(db, settings.reserve, parent._files.watch)
            self.known = parent.known
            self.health = parent.health.in_child(self._files, self.known)
        self._connection = WriterConnection(self._files, self.known, self.health, signing)
        self._sweeper = Sweeper(self._files, self.known, signing, settings)
        self._owed: deque[Draft] = deque()
        self._unacknowledged: deque[Draft] = deque()
        """Decisions that may be in the log although their callers were told that they failed."""
        self._retry: deque[Entry] = deque()
        """Outcomes that failed because the disk was full. They are written to the space of the
        released reserve while their callers wait.
        """
        self.checks = DraftChecks(settings.size_limit)
        self._marker = str(seal_path(db))
        self._next_lease_check = 0.0

    def in_child(self, *, stuck: bool) -> Committer:
        """Return a forked child's committer. *stuck* is True if a commit was in progress."""
        self._connection.leave_to_parent(stuck=stuck)
        return Committer(self._files.db, self._settings, self._signing, self)

    # -- called by any thread ----------------------------------------------------------------------

    @property
    def owed_count(self) -> int:
        """Number of outcomes waiting to be written."""
        return len(self._owed) + len(self._unacknowledged)

    @property
    def short_of_room(self) -> bool:
        """True if the space reserved for outcomes has been released."""
        return self._files.reserve.gone

    def mark_unacknowledged(self, decision: Draft) -> None:
        """Remember that the caller of *decision* was told that it failed, although it may be
        durable.
        """
        if decision.opens:
            self._unacknowledged.append(decision)

    # -- called by the commit thread's loop (guardrail.ledger.writing.loop) ------------------------

    def settled(self) -> bool:
        """Mark the last commit as ended. Return True if no owed record can be written now."""
        store, health = self._connection.store, self.health
        if store is not None:
            health.trouble = ""  # a commit that callers considered stalled has ended
        return (
            not self.owed_count
            or health.sealed is not None
            or (store is None and bool(health.trouble))
        )

    def patience(self) -> float | None:
        """Return the number of seconds until ``idle`` has work to do, or None if it has none."""
        store, health = self._connection.store, self.health
        if health.sealed is not None and not health.away:
            return None
        if not self.known.log or (store is None and not health.trouble):
            return None
        due = self._sweeper.due if store is not None else health.next_retry
        return max(0.001, due - time.monotonic())

    def idle(self) -> None:
        """Write owed records, reopen the log after a fault, or sweep. Called while no calls
        arrive.
        """
        if self._connection.store is None or self.owed_count:
            self.round(Inbox())
        elif time.monotonic() >= self._sweeper.due:
            try:
                self.sweep()
            except LedgerError:
                self._sweeper.postpone()  # the next caller gets the recorded error

    # -- opening and closing -----------------------------------------------------------------------

    def open(self, genesis: bytes | None) -> None:
        """Open the log for the first time (create it first if *genesis* is given), and sweep.

        If this raises ``LedgerError``, no file stays open.
        """
        connection = self._connection
        try:
            with self._files.lock:
                if genesis is not None:
                    connection.create(genesis)
                connection.open(outcomes_owed=bool(self.owed_count))
            try:
                self._prepare()
                with self._files.lock:
                    self._sweep()
            except BaseException:
                connection.drop()
                raise
        except (OSError, SQLiteError) as error:
            raise open_error(error, self._files.db, needed=self.health.needed) from error
        finally:
            if connection.store is None:
                connection.release_lease()
                self._files.lock.close()

    def _prepare(self) -> None:
        """Make sure that there is a key for the next head. Raises ``LedgerError``."""
        if self.known.last is not None:
            self._epochs.prepare(self.known.log, self.known.last[0] + 1)

    def drop_store(self) -> None:
        """Close the connection without a checkpoint. The next round opens it again."""
        self._connection.drop()

    def close(self) -> None:
        """Write owed records, checkpoint, and release everything. Raises ``LedgerError``."""
        connection, health = self._connection, self.health
        try:
            gone = health.sealed is not None and (not health.away or health.is_away())
            if not gone and (connection.store is not None or self.owed_count):
                self._flush_and_checkpoint()
        finally:
            connection.drop()
            connection.release_lease()
            self._files.lock.close()

    def _flush_and_checkpoint(self) -> None:
        try:
            with self._files.lock:
                if self._connection.store is None:
                    self._connection.open(outcomes_owed=bool(self.owed_count))
                self.health.raise_fault(self._files.watch.check())
                if self._write_last():
                    self._connection.close()
        except (OSError, SQLiteError) as error:
            problem = self.health.outside_transaction(error)
            if self.owed_count:
                raise problem from None

    def _write_last(self) -> bool:
        """Write owed records and retire the key under the lock. Return True on success."""
        owed, final = self.owed_count, self._epochs.final_rotation(self.known.log)
        if not owed and final is None:
            return True
        try:
            self._transaction(deque(), [final] if final is not None else [])
        except LedgerPoisonedError:
            if owed:
                raise
            return False  # the next sweep retires the key
        self._epochs.mark_ended()
        self._files.lock.acquire()
        return True

    # -- one commit --------------------------------------------------------------------------------

    def round(self, inbox: Inbox) -> None:
        """Write the entries at the front of *inbox*, and owed records, in one commit.

        One entry is taken at once, and fails if the ledger can't be written. The others are taken
        under the lock. Never raises: each future returns a receipt or raises an error.
        """
        batch: deque[Entry] = deque()
        inbox.take(batch, 1)
        self._round(batch, inbox)
        if self._retry:
            entries, self._retry = self._retry, deque()
            self.health.next_retry = 0.0
            self._round(entries, Inbox())

    def _round(self, batch: deque[Entry], inbox: Inbox) -> None:
        connection, health = self._connection, self.health
        if health.sealed is None and connection.store is None and health.trouble:
            health.await_retry()
        try:
            health.raise_sealed()
            self._prepare()
            with self._files.lock:
                if inbox or inbox.later:
                    inbox.take(batch, self._settings.max_batch)
                if connection.store is None:
                    connection.open(outcomes_owed=bool(self.owed_count))
                if (
                    self._files.reserve.is_held()
                    or self._take_reserve()
                    or self._some_need_no_room(batch)
                ):
                    self._transaction(batch)
        except LedgerError as error:
            self._fail(batch, error)
        except (OSError, SQLiteError) as error:
            self._fail(batch, health.outside_transaction(error))

    def _take_reserve(self) -> bool:
        """Try to re-create the reserve. Return True if it exists. Raises ``LedgerError``.

        The reserve is also missing if someone has removed the log's files. The files are checked
        first, so that a full disk is not reported in that case.
        """
        try:
            self._check_files()
        except LedgerError:
            self.drop_store()
            raise
        return self._files.reserve.try_take()

    def _some_need_no_room(self, batch: deque[Entry]) -> bool:
        """Fail the entries that start a new call. Return True if others are left to write."""
        entries = list(batch)
        batch.clear()
        for entry in entries:
            if not needs_room(entry.draft):
                batch.append(entry)
                continue
            entry.fail(self.health.no_reserve())
        return bool(batch or self.owed_count)

    def _transaction(self, batch: deque[Entry], rotations: Iterable[Rotation] = ()) -> list[Entry]:
        """Commit the owed records, *batch* and *rotations*, complete their futures, and release the
        lock.

        Return the durable entries. If this raises ``LedgerError``, the writer is poisoned or
        sealed: the futures of the entries taken from *batch* are complete, and the caller must fail
        the entries left in *batch*.
        """
        store = self._connection.store
        assert store is not None
        taken: list[Entry] = []
        committing = False
        try:
            self._check_files()
            tail = store.begin()
            if problem := tail.fault or self._contradiction(store, tail):
                raise self.health.seal(problem)
            # Another process may have treated this process as dead.
            self._epochs.replace_ended(store.has_epoch, self.known.log, tail.seq + 1)
            announcement = self._epochs.announcement(self.known.log)
            if announcement is not None:
                store.rotate(announcement, tail)
            self._settle_unacknowledged(store)
            while batch:
                entry = batch.popleft()
                if entry.take():
                    taken.append(entry)
            drafts = [*self._owed, *(entry.draft for entry in taken)]
            for draft in drafts:
                if draft.judged is not None and (problem := store.unproved_since(draft, tail)):
                    raise self.health.seal(problem)
            added = self._add_all(store, drafts, tail)
            answers = added[len(self._owed) :]
            following = self.checks.names.matches(tail.committed)
            for rotation in rotations:
                store.rotate(rotation, tail)
            store.sign(tail, self._epochs.key)
            committing = True
            store.commit()
            # Nothing is acknowledged before this check.
            self.health.raise_fault(self._files.watch.check())
        except (LedgerError, KeysError, SQLiteError, OSError) as error:
            raise self._undo(store, taken, error, committing=committing) from None
        if following:
            pairs = zip(taken, answers, strict=True)
            made = [each.draft.session for each, is_ in pairs if isinstance(is_, Receipt)]
            self.checks.names.advance(tail.edge, [name for name in made if name is not None])
        self._owed.clear()
        self._epochs.mark_durable()
        self.known.last = (tail.seq, tail.leaf)
        self.health.trouble = ""
        self.checks.follow(store, drafts, added, tail)
        # The next process need not wait until this one's callers have their receipts.
        self._files.lock.release()
        return self._acknowledge(taken, answers)

    def _check_files(self) -> None:
        """Raise ``LedgerError`` if a file has changed on disk. Called before SQLite uses one."""
        fault = self._files.watch.check()
        if fault is not None:
            self.health.raise_fault(fault)
        if os.access(self._marker, os.F_OK):
            raise self.health.sealed_by_marker()
        now = time.monotonic()
        if now >= self._next_lease_check:
            self._next_lease_check = now + _LEASE_CHECK_SECONDS
            self._files.leases.restore()

    def _contradiction(self, store: AppendingStorage, tail: Tail) -> str:
        """Describe how the log contradicts the newest durable record. Return an empty string if it
        does not.
        """
        assert self.known.last is not None
        seq, leaf = self.known.last
        found = tail.leaf if tail.seq == seq else store.leaf(seq) if tail.seq > seq else None
        if found == leaf:
            return ""
        return f"record {seq}, which was acknowledged, is missing or was replaced"

    def _add_all(
        self, store: AppendingStorage, drafts: Sequence[Draft], tail: Tail
    ) -> list[Receipt | LedgerError]:
        """Add the drafts that may be written; return a receipt or an error for each of *drafts*."""
        try:
            refused = self.checks.refused_drafts(store, drafts, tail)
            if not refused:
                return store.add_all(drafts, tail)
            added = store.add_all([d for at, d in enumerate(drafts) if at not in refused], tail)
        except LedgerError as error:
            if error.code == UNPROVED:
                raise self.health.seal(error.message) from None
            raise
        answers = iter(added)
        return [refused[at] if at in refused else next(answers) for at in range(len(drafts))]

    def _settle_unacknowledged(self, store: AppendingStorage) -> None:
        """Queue an outcome for each decision in the log whose caller was told that it failed."""
        while self._unacknowledged:
            draft = self._unacknowledged[0]
            assert draft.call is not None
            line = store.of_call(draft.call, "call.decision")
            if line is not None:
                self._owed.append(outcomes.not_started(line))
            self._unacknowledged.popleft()

    def _acknowledge(self, taken: list[Entry], answers: list[Receipt | LedgerError]) -> list[Entry]:
        durable = []
        with WakeUpBatch() as handover:  # each event loop is woken only once
            for entry, answer in zip(taken, answers, strict=True):
                if isinstance(answer, LedgerError):
                    entry.fail(answer, handover)
                else:
                    durable.append(entry)
                    if not entry.acknowledge(answer, handover):
                        self.mark_unacknowledged(entry.draft)
        return durable

    # -- after a fault -----------------------------------------------------------------------------

    def _undo(
        self, store: AppendingStorage, taken: list[Entry], error: Exception, *, committing: bool
    ) -> LedgerError:
        """Roll back after *error*; return the error for the callers. Outcomes remain owed."""
        problem, room = self.health.in_transaction(error, committing=committing)
        store.rollback()
        self._epochs.mark_uncertain()
        for entry in taken:
            if entry.owed:
                if room:
                    self._retry.append(entry)
                    continue
                self._owed.append(entry.draft)
            elif committing:
                self.mark_unacknowledged(entry.draft)
            entry.fail(copy_error(problem))
        self.drop_store()
        return problem

    def _fail(self, batch: deque[Entry], error: LedgerError) -> None:
        """Fail the entries that were not taken. Outcomes remain owed."""
        error = self.health.failed(error, unasked=not batch)
        if self.health.away:
            self.drop_store()  # if the database comes back, its end is compared when it is opened
        for entry in batch:
            if entry.owed:
                self._owed.append(entry.draft)
            entry.fail(copy_error(error))

    # -- sweeping ----------------------------------------------------------------------------------

    def sweep(self) -> int:
        """Close the open calls of dead processes; return their number. Raises ``LedgerError``."""
        try:
            self.health.raise_sealed()
            self._prepare()
            with self._files.lock:
                if self._connection.store is None:
                    self._connection.open(outcomes_owed=bool(self.owed_count))
                return self._sweep()
        except LedgerError as error:
            self._fail(deque(), error)
            raise
        except (OSError, SQLiteError) as error:
            problem = self.health.outside_transaction(error)
            self._fail(deque(), problem)
            raise problem from None

    def _sweep(self) -> int:
        store = self._connection.store
        assert store is not None
        return self._sweeper.sweep(store, self._transaction)
