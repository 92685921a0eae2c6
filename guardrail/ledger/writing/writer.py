"""The writer: takes records and returns receipts. It has one commit thread, enforces callers'
deadlines, and recovers from faults without an operator.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import CancelledError, Future
from pathlib import Path
from typing import Self

from guardrail.core.log.record import FORMAT_VERSION, GENESIS_PREV, Draft
from guardrail.core.log.suspensions import Suspensions
from guardrail.core.types import Receipt
from guardrail.errors import LedgerError, LedgerOpenError, LedgerPoisonedError, LedgerSealedError
from guardrail.ledger.effects import EffectKeys
from guardrail.ledger.files import refuse_links, resolve, traces, utc_timestamp
from guardrail.ledger.heads import Signing
from guardrail.ledger.lease import process_name
from guardrail.ledger.names import SessionNames
from guardrail.ledger.session_states import FollowedStates
from guardrail.ledger.settings import LedgerSettings
from guardrail.ledger.sqlite import handles
from guardrail.ledger.writing.commit import Committer
from guardrail.ledger.writing.loop import Loop
from guardrail.ledger.writing.work import Entry, Inbox, Order, Work, closed_error
from guardrail.system.threads import BackgroundThread

__all__ = ["LedgerSettings", "LedgerWriter", "traces"]

_DEFAULTS = LedgerSettings()


class LedgerWriter:
    """Appends to one log. Any thread may call it, and a forked child may continue to use it.

    A record is durable once ``append`` returns, or once the future of ``submit`` returns a receipt:
    it was committed and synced, and the files were still those that were opened. A decision that
    fails was not acknowledged. If it turns out to be durable, the writer closes its call as
    ``cancelled``, class ``not_started``. An outcome or claim that fails with
    ``LedgerPoisonedError`` is *owed*: the writer keeps it and writes it as soon as the ledger is
    writable. Do not send it again.
    """

    def __init__(self, db: Path, settings: LedgerSettings, signing: Signing) -> None:
        """Use ``create`` or ``open`` instead."""
        self.db = db
        self._settings = settings
        self._mutex = threading.Lock()
        self._inbox = Inbox()
        self._committer = Committer(db, settings, signing)
        self._thread: BackgroundThread | None = None
        self._closed = False
        self._park: Order | None = None

    # -- opening and closing
    # ----------------------------------------------------------------------------------------

    @classmethod
    def create(
        cls,
        path: Path,
        *,
        log: str,
        genesis: Mapping[str, object],
        signing: Signing,
        settings: LedgerSettings = _DEFAULTS,
    ) -> LedgerWriter:
        """Create a new log at *path* and open it; it is durable when this returns.

        *genesis* contains ``profile``, ``nonce``, ``key``, ``config`` and ``predecessor``;
        *signing* signs the heads. Raises ``LedgerOpenError``: code ``ledger.exists`` if there is a
        log at *path*, and ``ledger.traces`` if parts of an earlier log are left. Raises
        ``RecordError`` if *genesis* can't be written as JSON, and ``KeysError`` if the head can't
        be signed.
        """
        refuse_links(Path(path))
        line = Draft.build({**genesis, "v": FORMAT_VERSION, "log": log, "type": "genesis"}).finish(
            seq=0, prev=GENESIS_PREV, ts=utc_timestamp()
        )
        return cls._opened(path, settings, signing, line)

    @classmethod
    def open(
        cls, path: Path, *, signing: Signing, settings: LedgerSettings = _DEFAULTS
    ) -> LedgerWriter:
        """Open an existing log: check its format, file system and end, and close the calls of dead
        processes.

        Raises ``LedgerOpenError``; ``KeysError`` if the keys belong to another log, or if the
        signer does not sign; and ``LedgerSealedError`` if the files contradict an acknowledged
        record, or if the head was not written by a writer of this log.
        """
        return cls._opened(path, settings, signing, None)

    @classmethod
    def _opened(
        cls, path: Path, settings: LedgerSettings, signing: Signing, genesis: bytes | None
    ) -> LedgerWriter:
        writer = cls(resolve(Path(path)), settings, signing)
        order = Order("open", genesis=genesis)
        try:
            writer._send(order)
            order.result(settings.open_deadline)
        except TimeoutError:
            writer._closed = True
            writer._put(Order("close"))
            raise LedgerOpenError(
                "the ledger could not be opened in time: another process holds its lock, or the"
                " disk hangs",
                code="ledger.timeout",
                hint="guardrail doctor",
            ) from None
        except BaseException:
            writer._closed = True
            # After an interrupt, the thread may still be opening or creating the ledger.
            writer._put(Order("close"))
            if writer._thread is not None:
                writer._thread.join(settings.open_deadline)
            raise
        handles.register(writer)
        return writer

    def close(self, timeout: float | None = None) -> None:
        """Write owed records, checkpoint, and release files and lease. Idempotent.

        Raises ``LedgerPoisonedError`` if outcomes could not be written (their calls stay open until
        this process ends, and then count as ``unknown``), if the files are no longer those that
        were opened, or if the time ran out; and ``LedgerSealedError`` if the files contradict an
        acknowledged record.
        """
        order = Order("close")
        try:
            with self._mutex:
                if self._closed:
                    return
                self._closed = True
                if self._thread is None:
                    handles.forget(self)  # a forked child that never wrote
                    return
            self._send(order)
            order.result(self._settings.append_deadline if timeout is None else timeout)
        except TimeoutError:
            raise LedgerPoisonedError(
                "the ledger could not be closed in time: a commit or the lock hangs"
            ) from None
        except BaseException:
            if self._closed and not order.done():
                self._put(order)  # an interrupt: no one will call this again
            raise
        finally:
            if order.done():
                handles.forget(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # -- its state
    # ----------------------------------------------------------------------------------------------

    @property
    def path(self) -> Path:
        """Path of the log, with symbolic links resolved."""
        return self.db

    @property
    def log(self) -> str:
        """The log's origin name, from the genesis."""
        return self._committer.known.log

    @property
    def process(self) -> str:
        """Name of this process's lease, for ``origin.process``. It changes after a fork."""
        return process_name()

    @property
    def trouble(self) -> str:
        """The reason that nothing can be written at the moment, or an empty string if no fault is
        known.
        """
        return self._committer.health.trouble

    @property
    def sealed(self) -> bool:
        """True if only ``guardrail recover`` can make the ledger usable again."""
        return self._committer.health.sealed is not None

    @property
    def names(self) -> SessionNames:
        """The sessions that this process has found in the log."""
        return self._committer.checks.names

    @property
    def effects(self) -> EffectKeys:
        """The effect keys that this process has found in the log."""
        return self._committer.checks.effects

    @property
    def suspensions(self) -> Suspensions:
        """The suspensions that were in force in the last transaction of this process."""
        return self._committer.checks.suspensions.current

    @property
    def states(self) -> FollowedStates:
        """The states of the log's sessions, which policies read."""
        return self._committer.checks.states

    @property
    def full(self) -> bool:
        """True if the ledger has just reached its size limit, so that new calls are refused."""
        return self._committer.checks.size_limit.reached

    @property
    def known(self) -> int:
        """Number of the newest record that this process knows to be durable, or -1 if it knows
        none.
        """
        return self._committer.known.newest

    @property
    def short_of_room(self) -> bool:
        """True if the disk is full. The reserve for outcomes is then released, and new calls are
        refused.
        """
        return self._committer.short_of_room

    @property
    def owed(self) -> int:
        """Number of outcomes waiting in memory until the ledger is writable."""
        return self._committer.owed_count

    # -- appending
    # ----------------------------------------------------------------------------------------------

    def submit(self, draft: Draft, *, later: bool = False) -> Future[Receipt]:
        """Queue *draft*. The future returns a receipt once the record is durable, or raises a
        ``LedgerError``.

        If *later* is True, the record waits at most ``LONGEST_DELAY`` seconds for a commit that
        another record starts. Records that are submitted after it are never written before it.

        A caller that stops waiting must call ``expired``. Codes in addition to those of the
        exception classes: ``ledger.closed_call`` (an outcome is already recorded for this call),
        ``ledger.no_open_call``, ``ledger.duplicate_call``, ``ledger.closed``.
        """
        entry = Entry(draft)
        if self._closed or handles.tainted(self.db):
            entry.fail(self._refusal())
            return entry
        try:
            self._send(entry, later=later)
            return entry
        except BaseException:
            self._abandon(entry)  # Ctrl-C: no caller waits for the record
            self._inbox.ring(at_once=True)  # but an outcome is written
            raise

    def hurry(self) -> None:
        """Write the records that were submitted with ``later`` now, without waiting for them."""
        self._inbox.hurry()

    def append(self, draft: Draft, timeout: float | None = None) -> Receipt:
        """Write *draft*; durable when this returns. Waits at most *timeout* seconds (default: the
        setting).

        Raises the same ``LedgerError`` as ``submit``. After the deadline, raises
        ``LedgerPoisonedError``: either nothing was written, or the result is not yet known, and the
        writer determines it before it writes anything else.
        """
        entry = self.submit(draft)
        assert isinstance(entry, Entry)
        try:
            return entry.result(self._settings.append_deadline if timeout is None else timeout)
        except (TimeoutError, CancelledError):
            if entry.give_up(unless_written=True):
                raise self._late(entry) from None
            return entry.result()  # the receipt is being delivered
        except LedgerError:
            raise
        except BaseException:
            # Ctrl-C arrived while waiting: the body will not run, so the decision must not stay
            # open.
            self._abandon(entry)
            raise

    def expired(self, future: Future[Receipt]) -> LedgerError:
        """Stop waiting for *future* (from ``submit``); return the error to raise.

        If a decision becomes durable after all, its call is closed as ``not_started``. An outcome
        remains owed.
        """
        assert isinstance(future, Entry)
        self._abandon(future)
        if not future.written and future.done() and not future.cancelled():
            problem = future.exception()
            if isinstance(problem, LedgerError):
                return problem
        return self._late(future)

    def _abandon(self, entry: Entry) -> None:
        """Stop waiting for *entry*. If it is a durable decision, its call is closed."""
        entry.give_up()
        if entry.written:
            self._committer.mark_unacknowledged(entry.draft)
            self._send(Order("wake"))

    def sweep(self) -> int:
        """Close the calls of dead processes as ``unknown`` and return their number. Also runs at
        open and once a minute.

        Raises ``LedgerError``.
        """
        if self._closed or handles.tainted(self.db):
            raise self._refusal()
        order = Order("sweep")
        self._send(order)
        try:
            return order.result(self._settings.append_deadline) or 0
        except TimeoutError:
            raise LedgerPoisonedError(
                "the open calls of dead processes could not be closed in time"
            ) from None

    def distrust(self, why: str) -> LedgerSealedError:
        """Seal the ledger because a record that was read does not match the signed one. Return the
        error to raise.
        """
        return self._committer.health.distrust(why)

    def _late(self, entry: Entry) -> LedgerError:
        if not entry.taken:
            return LedgerPoisonedError(
                self.trouble
                or "the ledger could not be reached in time: another process holds its lock, "
                "or the disk hangs"
            )
        self._committer.health.stall()
        return LedgerPoisonedError(
            "the record's commit did not end in time; it is not yet known whether the record is "
            "durable"
        )

    def _refusal(self) -> LedgerError:
        if handles.tainted(self.db):
            return LedgerPoisonedError(
                "this process was forked during a commit, so it can't use the ledger safely",
                code="ledger.forked",
                hint="start workers with spawn, or fork before calls are made",
            )
        return closed_error()

    def _send(self, work: Work, *, later: bool = False) -> None:
        if later and isinstance(work, Entry):
            self._inbox.put_later(work)
        else:
            self._inbox.put(work)
        if self._thread is None or not self._thread.has_begun:
            with self._mutex:
                if self._thread is None or not self._thread.will_run():
                    loop = Loop(self._committer, self._inbox, self._settings.max_batch)
                    self._thread = BackgroundThread(loop.run, "guardrail-commit")
                    self._thread.start()

    def _put(self, work: Work) -> None:
        self._inbox.put(work)

    # -- other handles and forks (guardrail.ledger.sqlite.handles)
    # ---------------------------------------------------------

    def retire(self) -> None:
        """Close the connection between two commits. The next commit opens it again."""
        if self._thread is not None:
            self._put(Order("retire"))

    def before_fork(self) -> None:
        """Make the commit thread close its connection and wait, because a child must not inherit a
        connection.
        """
        self._park = None
        thread = self._thread
        if thread is None or thread is threading.current_thread() or not thread.is_alive():
            return
        park = Order("park")
        self._put(park)
        park.parked.wait(self._settings.fork_deadline)
        self._park = park

    def after_fork_in_parent(self) -> None:
        """Continue after a fork. The next record opens the connection again."""
        if self._park is not None:
            self._park.release.set()
            self._park = None

    def after_fork_in_child(self) -> None:
        """Reset this writer in a forked child. The queue, the unwritten outcomes, the lock and the
        lease remain with the parent.
        """
        stuck = self._thread is not None and (self._park is None or not self._park.parked.is_set())
        self._park = None
        self._mutex = threading.Lock()
        self._inbox = Inbox()
        self._thread = None
        if stuck:
            handles.taint(self.db)
        self._committer = self._committer.in_child(stuck=stuck)
