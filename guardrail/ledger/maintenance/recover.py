"""Makes a sealed or damaged ledger usable again. This requires the decision of a person, which is
recorded.

Readable records are never deleted or changed. If the chain is intact, the log continues with an
``admin.recovered`` record that contains the findings. Otherwise, the log is set aside unchanged,
and a new log begins. Its genesis contains the last intact head of the old log.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from guardrail.core.log import fields
from guardrail.core.log.checkpoint import Verify
from guardrail.core.log.record import FORMAT_VERSION, GENESIS_PREV, Draft
from guardrail.core.types import Receipt
from guardrail.core.words import agree, counted
from guardrail.errors import LedgerError
from guardrail.ledger.files import lock_path, resolve, seal_path, utc_timestamp
from guardrail.ledger.heads import Signing
from guardrail.ledger.lease import own_origin
from guardrail.ledger.lock import FileLock
from guardrail.ledger.maintenance.examine import Examination
from guardrail.ledger.maintenance.keep_aside import free_name, keep_wal, set_aside
from guardrail.ledger.maintenance.known_heads import KnownHead, next_name
from guardrail.ledger.maintenance.recovery_plan import Action, RecoveryPlan, inspect
from guardrail.ledger.sqlite import repair
from guardrail.ledger.sqlite.database import SQLiteError, create, open_error
from guardrail.ledger.sqlite.maintaining import MaintenanceStore
from guardrail.ledger.storage import Tail
from guardrail.ledger.suspending import repeat_suspensions
from guardrail.ledger.writing import outcomes
from guardrail.system.durable import sync_directory

__all__ = [
    "RecoveryReport",
    "predecessor",
    "recover",
    "successor",
]


@dataclass(frozen=True, slots=True)
class RecoveryReport:
    """The result of ``recover``."""

    plan: RecoveryPlan
    set_aside: tuple[Path, ...]
    """New paths of the old files, or of the copy of overwritten rows."""
    receipt: Receipt | None
    """Receipt of the ``admin.recovered`` record, or None if nothing had to be done."""
    log: str
    """Origin name of the continued log."""
    closed: int
    """Number of open calls that were closed as ``unknown``."""


def recover(
    path: Path,
    *,
    who: Mapping[str, Any],
    reason: str,
    signing: Signing,
    verify: Verify | None = None,
    genesis: Mapping[str, object] | None = None,
    log: str | None = None,
    known: Sequence[KnownHead] = (),
    unusable: str = "",
) -> RecoveryReport:
    """Carry out the plan returned by ``inspect``. When this returns, the result is durable and the
    ledger can be opened again.

    *who* is the record's ``actor``, and *reason* is the reason that this person gave. *signing*,
    *verify*, *known* and *unusable* have the same meaning as in ``inspect``. *genesis*
    (``profile``, ``key`` and ``config``) and *log* are used for a new log if the old line 0 can't
    be read, or if its keys are lost; nonce and predecessor are filled in. Raises ``LedgerError``:
    ``ledger.in_use`` while other processes hold leases, and ``ledger.no_genesis`` if *genesis* is
    required but missing.
    """
    db = resolve(Path(path))
    lock = FileLock(lock_path(db), db)
    try:
        _acquire(lock)
        plan = inspect(db, signing=signing, verify=verify, known=known, unusable=unusable)
        if plan.alive and plan.action in (Action.CONTINUE, Action.RESTART):
            raise LedgerError(
                f"{counted(len(plan.alive), 'other process')} {agree(len(plan.alive), 'has')} this"
                " ledger open",
                code="ledger.in_use",
                hint="stop these processes first, because recover changes the seal or the file",
            )
        if plan.action is Action.NOTHING:
            return RecoveryReport(plan, (), None, plan.log, 0)
        if plan.action is Action.RESTART:
            return _restart(
                db, plan, signing=signing, known=genesis, log=log, who=who, reason=reason
            )
        return _continue(db, plan, signing, who, reason)
    except (OSError, SQLiteError) as error:
        raise open_error(error, db) from error
    finally:
        lock.close()


def _acquire(lock: FileLock, seconds: float = 30.0) -> None:
    until = time.monotonic() + seconds
    while not lock.try_acquire():
        if time.monotonic() > until:
            raise LedgerError(
                "another process holds the ledger's lock",
                code="ledger.timeout",
                hint="guardrail doctor",
            )
        time.sleep(0.02)


def _recovered(
    log: str, plan: RecoveryPlan, who: Mapping[str, Any], reason: str, **more: object
) -> Draft:
    seal = plan.seal
    detail = {
        "found": plan.found,
        "reason": reason,
        "action": str(plan.action),
        "lost": plan.lost,
        "loss": str(plan.loss),
        "acknowledged": (
            {"seq": seal.last_seq, "leaf": seal.last_leaf, "when": seal.when}
            if seal is not None
            else None
        ),
        **more,
    }
    if plan.known:
        detail["proven"] = plan.judged.proven
        detail["known"] = [{"source": each.source, **each.document} for each in plan.known]
    where = own_origin("recover")
    return Draft.build(fields.admin(log, "recovered", actor=who, where=where, detail=detail))


def _continue(
    db: Path, plan: RecoveryPlan, signing: Signing, who: Mapping[str, Any], reason: str
) -> RecoveryReport:
    # An incomplete commit may have left records; the next writes overwrite them.
    kept = keep_wal(db) if plan.lost else ()
    found = plan.examined
    assert found is not None
    if found.head or found.caches or found.outside or found.schema:
        copy = db.with_name(f"{free_name(db)}-rows.json")
        kept += (repair.keep_rows(db, copy, found.caches, head=bool(found.head)),)
        if found.mendable is not None:
            repair.mend_schema(db, *found.mendable)
    store = MaintenanceStore(db, signing)
    try:
        tail = store.begin()
        # Use the lines, which were just read under the lock, because the stored head may differ
        # from them.
        tail.edge = found.edge.copy()
        tail.suspended = found.suspensions().version
        store.rebuild(found.caches)
        removed: dict[str, object] = {"schema": found.schema} if found.schema else {}
        if found.outside:
            removed["outside"] = store.remove_outside()
        more = (
            {"head": plan.head or None, "rebuilt": list(plan.caches)}
            if plan.head or plan.caches
            else {}
        )
        receipt = store.add(
            _recovered(
                plan.log,
                plan,
                who,
                reason,
                **more,
                **removed,
                doubt=_unproved_range(found),
                set_aside=[each.name for each in kept],
            ),
            tail,
        )
        _suspend_again(store, tail, found, who)
        closed = 0
        for call in plan.unclear_calls:
            line = store.line(call.seq)
            if line is not None:
                store.add(outcomes.unknown(line), tail)
                closed += 1
        store.sign(tail, signing.log_key(store.log))
        store.commit()
        # After a failed sync, pages may exist only in memory, so they are rewritten and synced
        # again.
        store.checkpoint("RESTART")
    finally:
        store.rollback()
        store.close()
    kept += _lift_seal(db)  # last, because it lets other processes write
    sync_directory(db.parent)
    return RecoveryReport(plan, kept, receipt, plan.log, closed)


def _lift_seal(db: Path) -> tuple[Path, ...]:
    """Remove the marker file. If the path is not a file, rename it instead, and return the new
    path.
    """
    marker = seal_path(db)
    if not marker.is_dir() or marker.is_symlink():
        marker.unlink(missing_ok=True)
        return ()
    aside = marker.with_name(f"{free_name(db)}-sealed")
    marker.rename(aside)
    return (aside,)


def _unproved_range(found: Examination) -> dict[str, int] | None:
    """Return the range of records that no signed head covers. ``verify`` reports them in all future
    runs (docs/record-format.md section 9.5).
    """
    size = found.edge.size
    return {"first": found.vouched, "last": size - 1} if found.vouched < size else None


def _restart(
    db: Path,
    plan: RecoveryPlan,
    *,
    signing: Signing,
    known: Mapping[str, object] | None,
    log: str | None,
    who: Mapping[str, Any],
    reason: str,
) -> RecoveryReport:
    first_line = (
        dict(known)
        if known is not None
        else {each: plan.genesis.get(each) for each in ("profile", "key", "config")}
    )
    name = log or (successor(plan.log) if plan.log else "")
    if not name or not first_line.get("profile"):
        raise LedgerError(
            (
                "the old log's first line can't be read, so recover needs the log's key "
                "and name from the settings"
            ),
            code="ledger.no_genesis",
            hint="run guardrail recover with the settings and the keys of this ledger",
        )
    head = predecessor(plan)
    first_line.update(nonce=secrets.token_hex(16), predecessor=head)
    first = Draft.build({**first_line, "v": FORMAT_VERSION, "log": name, "type": "genesis"})
    line = first.finish(seq=0, prev=GENESIS_PREV, ts=utc_timestamp())
    aside = set_aside(db, plan.traces)
    create(db, line, signing)
    store = MaintenanceStore(db, signing)
    try:
        tail = store.begin()
        receipt = store.add(
            _recovered(
                name, plan, who, reason, set_aside=[item.name for item in aside], predecessor=head
            ),
            tail,
        )
        if plan.examined is not None:
            # The good records of the old log say what is suspended in the new one.
            in_force = plan.examined.suspensions().in_force
            repeat_suspensions(in_force, _suspending(store, tail, who))
        store.sign(tail, signing.log_key(store.log))
        store.commit()
    finally:
        store.rollback()
        store.close(clean=True)
    return RecoveryReport(plan, aside, receipt, name, 0)


def _suspend_again(
    store: MaintenanceStore, tail: Tail, found: Examination, who: Mapping[str, Any]
) -> None:
    """Repeat the suspensions that were in force in the proved records, and that only records after
    them ended, because someone without the keys may have added those.
    """
    state = found.suspensions()
    state.leaf = (store.leaf(state.version) or b"").hex()
    lifted = [
        each for each in found.suspensions(found.vouched).in_force if state.of(each.subject) is None
    ]
    repeat_suspensions(lifted, _suspending(store, tail, who), after=state)


def _suspending(
    store: MaintenanceStore, tail: Tail, who: Mapping[str, Any]
) -> Callable[[Mapping[str, Any]], Receipt]:
    """Return the function that adds an ``admin.suspended`` record with the given detail."""
    where = own_origin("recover")

    def add(detail: Mapping[str, Any]) -> Receipt:
        record = fields.admin(store.log, "suspended", actor=who, where=where, detail=detail)
        return store.add(Draft.build(record), tail)

    return add


def predecessor(plan: RecoveryPlan) -> dict[str, object] | None:
    """Return the last known head of the predecessor log, or None if no head is known. The head
    contains the last leaf, or the root if the leaf is unknown.
    """
    if plan.judged.last is not None:
        return plan.judged.last.document
    intact, seal = plan.intact, plan.seal
    if intact is not None:
        return {"log": intact.log, "size": intact.size, "leaf": intact.leaf.hex()}
    if seal is not None and seal.last_seq >= 0:
        return {"log": seal.log, "size": seal.last_seq + 1, "leaf": seal.last_leaf}
    return None


def successor(log: str) -> str:
    """Return the origin name of the log that continues *log*: ``NAME~2``, ``NAME~3``, ..."""
    return next_name(log)
