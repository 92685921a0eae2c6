"""Prunes the log: deletes old records without interrupting it, and every proof for a remaining or
deleted record stays valid.

Each transaction writes the ``admin.pruned`` record, deletes the records, and signs the head. The
log therefore never reports a deletion that did not happen, and every deletion is reported. A
process that is killed halfway leaves an intact log.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from guardrail.core.log.merkle import Edge
from guardrail.core.log.record import Draft, decode, leaf_hash
from guardrail.errors import LedgerError, LedgerPoisonedError, LedgerSealedError
from guardrail.ledger.epochs import Epochs, Rotation
from guardrail.ledger.files import FileWatch, lock_path, missing_ledger, resolve
from guardrail.ledger.heads import Signing
from guardrail.ledger.lock import FileLock
from guardrail.ledger.seal import Seal
from guardrail.ledger.sqlite.database import SQLiteError, open_error
from guardrail.ledger.sqlite.maintaining import MaintenanceStore
from guardrail.ledger.sqlite.tail_check import verify_tail
from guardrail.ledger.storage import Tail
from guardrail.ledger.suspensions import needed_from
from guardrail.ledger.tree import edge_at, node_reader

__all__ = ["DeletionPace", "PruneCut", "PruneResult", "detail", "prune"]

CHUNK_RECORDS = 1000
CHUNK_BYTES = 2 << 20
"""Largest total size of the records that one transaction deletes, because other writers wait
meanwhile (docs/retention.md).
"""
_READ = 256
_LOCK_SECONDS = 30.0
_EPOCH_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True)
class DeletionPace:
    """Limits how fast records are deleted, because calls wait for the ledger's lock during each
    transaction.
    """

    part: int = 0
    """Maximum number of records that one transaction deletes, or 0 for the default."""
    share: float = 1.0
    """Maximum fraction of the time for which the lock is held."""
    within: float = 0.0
    """Upper limit of the sum of all pauses in seconds, regardless of *share*."""

    def after(self, held: float, parts: int) -> float:
        """Return the length of the pause, in seconds, after a transaction (one of *parts*) that
        held the lock for *held* seconds.
        """
        return min(held / self.share - held, self.within / parts)


@dataclass(frozen=True, slots=True)
class PruneCut:
    """The position before which records are deleted, as an ``admin.pruned`` record describes it."""

    before: int
    """The records 1 to ``before`` - 1 are deleted."""
    edge: tuple[bytes, ...]
    """The tree of the first ``before`` records: ``core.log.merkle.Edge.roots``, computed from the
    lines.
    """
    root: bytes
    genesis: bytes
    """Leaf hash of line 0."""
    leaf: bytes
    """Leaf hash of record ``before`` - 1."""
    ts: str
    """Timestamp of record ``before`` - 1."""
    newest: str
    """The latest timestamp among the deleted records, because clocks can go back."""


@dataclass(frozen=True, slots=True)
class PruneResult:
    """The result of pruning."""

    deleted: int
    before: int
    """The records 1 to ``before`` - 1 are deleted. 1 if no records are deleted."""
    records: tuple[int, ...]
    """Numbers of the ``admin.pruned`` records that were written."""
    overwritten: bool
    """True if the text is also erased from the files; False if a reader prevented the ``-wal`` from
    being reset.
    """


def prune(
    path: Path,
    before: int,
    *,
    signing: Signing,
    allow: Callable[[PruneCut], None],
    record: Callable[[str, PruneCut], Draft],
    pace: DeletionPace = DeletionPace(),
) -> PruneResult:
    """Delete the records from 1 to *before* - 1; durable when this returns.

    If this raises an exception, the transactions that were committed before it are durable. *allow*
    raises an exception if the records up to a cut must not be deleted; it is called for the full
    range before anything is deleted. *record* returns the ``admin.pruned`` record for a cut. *pace*
    limits how long other writers wait. Raises ``LedgerError``; the code is ``ledger.needed`` if a
    call among the records is open, a suspension among them is in force, or a key that they certify
    is still in use.
    """
    db = resolve(Path(path))
    lock = FileLock(lock_path(db), db)
    try:
        with _held(lock):
            pruner = _Pruner(db, signing, pace)
        try:
            cuts = pruner.cuts(before)
            if cuts:
                allow(cuts[-1])
            return pruner.run(lock, cuts, record)
        finally:
            pruner.close(lock)
    except (OSError, SQLiteError) as error:
        raise open_error(error, db) from error
    except ValueError:
        raise LedgerError(
            "hashes of records are missing", code="ledger.damaged", hint="guardrail verify"
        ) from None
    finally:
        lock.close()


@contextmanager
def _held(lock: FileLock) -> Iterator[None]:
    until = time.monotonic() + _LOCK_SECONDS
    while not lock.try_acquire():
        if time.monotonic() > until:
            raise LedgerError(
                "another process holds the ledger's lock",
                code="ledger.timeout",
                hint="guardrail doctor",
            )
        time.sleep(0.01)
    try:
        yield
    finally:
        lock.release()


class _Pruner:
    def __init__(self, db: Path, signing: Signing, pace: DeletionPace) -> None:
        """Connect, and make sure that records can be appended to this log. Call it under the
        lock.
        """
        _refuse_sealed(db)
        if not db.exists():
            raise missing_ledger()
        self._db = db
        self._pace = pace
        self._watch = FileWatch(db)
        self._epochs = Epochs(signing, _EPOCH_SECONDS)
        self._store = MaintenanceStore(db, signing)
        try:
            fault = self._watch.adopt()
            if fault is not None:
                raise LedgerPoisonedError(str(fault))
            problem = verify_tail(self._store, self._store.log, None)
            if problem:
                raise LedgerSealedError(problem, hint="guardrail verify")
            self._store.overwrite_deleted()
            self._genesis = leaf_hash(self._store.line(0) or b"")
        except BaseException:
            self._store.close()
            raise

    def close(self, lock: FileLock) -> None:
        if not lock.held:
            lock.acquire()
        self._store.close()

    def cuts(self, before: int) -> list[PruneCut]:
        """Return the cut at which each transaction ends, up to record *before*. Every line to be
        deleted is hashed, and the hash is compared with the stored one.
        """
        start = self._store.first() or 1
        return list(self._cuts(start, before)) if start < before else []

    def _cuts(self, start: int, before: int) -> Iterator[PruneCut]:
        edge = edge_at(start, node_reader(self._store))
        newest, count, size, seq, ts, leaf = "", 0, 0, start - 1, "", b""
        for seq, leaf, line in self._rows(start, before):
            if seq != edge.size or leaf != leaf_hash(line):
                raise LedgerSealedError(
                    f"record {seq} is missing, or does not match the hash stored with it",
                    hint="guardrail verify",
                )
            edge.append(leaf)
            ts = str(decode(line).get("ts", ""))
            newest = max(newest, ts)
            count, size = count + 1, size + len(line)
            if (
                count >= (self._pace.part or CHUNK_RECORDS)
                or size >= CHUNK_BYTES
                or seq == before - 1
            ):
                yield self._cut(edge, leaf, ts, newest)
                count, size = 0, 0
        if edge.size != before:
            raise LedgerError(f"the log ends before record {before - 1}", code="ledger.short")

    def _rows(self, start: int, before: int) -> Iterator[tuple[int, bytes, bytes]]:
        """Yield rows in short transactions, because a long transaction would prevent the ``-wal``
        from being reset.
        """
        while start < before:
            rows = list(
                itertools.islice(self._store.records_from(start), min(_READ, before - start))
            )
            if not rows:
                return
            for row in rows:
                if row[0] >= before:
                    return
                yield row
            start = rows[-1][0] + 1

    def _cut(self, edge: Edge, leaf: bytes, ts: str, newest: str) -> PruneCut:
        return PruneCut(edge.size, edge.roots, edge.root(), self._genesis, leaf, ts, newest)

    def run(
        self, lock: FileLock, cuts: Sequence[PruneCut], record: Callable[[str, PruneCut], Draft]
    ) -> PruneResult:
        """Delete the records of one cut per transaction, and then overwrite the deleted text that
        remains in the files.
        """
        deleted, written = 0, []
        for cut in cuts:
            self._epochs.prepare(self._store.log, self._store.tail().seq + 1)
            with _held(lock):
                began = time.monotonic()
                count, seq = self._transaction(cut, record, last=cut is cuts[-1])
                held = time.monotonic() - began
            deleted += count
            written.append(seq)
            time.sleep(self._pace.after(held, len(cuts)))
        with _held(lock):
            overwritten = self._overwrite()
        return PruneResult(deleted, self._store.pruned(), tuple(written), overwritten)

    def _transaction(
        self, cut: PruneCut, record: Callable[[str, PruneCut], Draft], *, last: bool
    ) -> tuple[int, int]:
        store = self._store
        self._check_files()
        try:
            tail = store.begin()
            if tail.fault:
                raise LedgerSealedError(tail.fault, hint="guardrail verify")
            # Another process may have retired the key between two transactions.
            self._epochs.replace_ended(store.has_epoch, store.log, tail.seq + 1)
            self._rotate(self._epochs.announcement(store.log), tail)
            needed = needed_from(store, tail.committed, tail.suspended)
            if needed is not None and needed < cut.before:
                raise LedgerError(
                    "a suspension among these records is in force", code="ledger.needed"
                )
            receipt = store.add(record(store.log, cut), tail)
            deleted = store.delete_records(cut.before)
            key = self._epochs.key
            if last:
                # The records of this transaction certify the key that signs the head, so the same
                # head may cover the retirement of that key.
                self._rotate(self._epochs.final_rotation(store.log), tail)
            store.sign(tail, key)
            store.commit()
        finally:
            store.rollback()
        self._check_files()
        self._epochs.mark_durable()
        if last:
            self._epochs.mark_ended()
        return deleted, receipt.seq

    def _rotate(self, rotation: Rotation | None, tail: Tail) -> None:
        if rotation is not None:
            self._store.rotate(rotation, tail)

    def _check_files(self) -> None:
        _refuse_sealed(self._db)
        fault = self._watch.check()
        if fault is not None:
            raise LedgerPoisonedError(str(fault), hint="guardrail doctor")

    def _overwrite(self) -> bool:
        self._check_files()
        try:
            size = os.stat(f"{self._db}-wal").st_size
        except FileNotFoundError:
            return True
        return self._store.overwrite_wal(size)


def _refuse_sealed(db: Path) -> None:
    seal = Seal.read(db)
    if seal is not None:
        raise LedgerSealedError(f"the ledger is sealed: {seal.why}", hint="guardrail recover")


def detail(cut: PruneCut, policy: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of an ``admin.pruned`` record for *cut*."""
    return {
        "before": cut.before,
        "edge": [root.hex() for root in cut.edge],
        "genesis": cut.genesis.hex(),
        "leaf": cut.leaf.hex(),
        "policy": dict(policy),
        "ts": cut.ts,
    }
