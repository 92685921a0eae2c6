"""Recover: bring a sealed or damaged ledger back into use, by a person's decision and on the record.

Nothing that can still be read is ever deleted or changed. A log whose chain is intact goes on, with an ``admin.recovered``
record that says what was found. One that is not is set aside as it is, and a new log is begun whose genesis names the last
intact head of the old one.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from guardrail.core import chain, fields
from guardrail.core.merkle import Edge
from guardrail.core.note import Verify
from guardrail.core.record import FORMAT_VERSION, GENESIS_PREV, Draft
from guardrail.core.types import Receipt
from guardrail.durable import sync_directory
from guardrail.errors import LedgerError, RecordError
from guardrail.ledger import mend, outcomes
from guardrail.ledger.aside import free_name, keep_wal, set_aside
from guardrail.ledger.examine import Examination, examine
from guardrail.ledger.files import (
    Seal,
    leases_path,
    lock_path,
    resolve,
    seal_path,
    traces,
    utc_now,
)
from guardrail.ledger.heads import Signing
from guardrail.ledger.known import Judged, KnownHead, judge, next_name
from guardrail.ledger.lease import Leases, Life, own_origin
from guardrail.ledger.lock import FileLock
from guardrail.ledger.reader import LedgerReader
from guardrail.ledger.rows import OpenCall
from guardrail.ledger.sqlite import create, open_error
from guardrail.ledger.store import Store

__all__ = [
    "Action",
    "RecoveryPlan",
    "RecoveryReport",
    "inspect",
    "line0",
    "predecessor",
    "recover",
    "successor",
]


class Action(StrEnum):
    """What ``recover`` does."""

    NOTHING = "nothing"
    """Nothing is wrong: writers come back by themselves."""
    CONTINUE = "continue"
    """The chain is intact: mend what is not right beside it, lift the seal, say so in the log, go on in it."""
    CLOSE_CALLS = "close_calls"
    """Close open calls of which nobody can tell whether their process lives."""
    RESTART = "restart"
    """Set the old files aside and begin a new log that names the old one's last intact head."""


@dataclass(frozen=True, slots=True)
class RecoveryPlan:
    """What was found, and what ``recover`` would do about it."""

    action: Action
    found: str
    """What is wrong, in a sentence."""
    seal: Seal | None
    traces: tuple[Path, ...]
    log: str
    genesis: Mapping[str, Any]
    """Line 0 as far as it is known: from the log, else from the seal."""
    intact: chain.Head | None
    """Last head up to which the chain is intact; None where no record can be read."""
    first_bad: int | None
    lost: int
    """How many records were acknowledged, by the seal, and are gone."""
    untold: tuple[OpenCall, ...]
    """Open calls of which nobody can tell whether their process lives."""
    alive: tuple[str, ...]
    """Other processes that hold a lease: they must end first."""
    head: str = ""
    """What speaks against the signed head; empty where nothing does, or where that could not be told without the keys."""
    caches: tuple[str, ...] = ()
    """Tables that are not what the records say: they are made anew."""
    known: tuple[KnownHead, ...] = ()
    """Heads that are known from outside."""
    judged: Judged = field(default_factory=Judged)
    """What these say of what is left."""
    examined: Examination | None = field(default=None, repr=False)
    """Everything that was found in the file; None where there is none."""


@dataclass(frozen=True, slots=True)
class RecoveryReport:
    """What ``recover`` did."""

    plan: RecoveryPlan
    set_aside: tuple[Path, ...]
    """Where the old files are now, or the copy of what is written over."""
    receipt: Receipt | None
    """Of the ``admin.recovered`` record; None where nothing was to be done."""
    log: str
    """Origin name of the log that goes on."""
    closed: int
    """Open calls that were closed as ``unknown``."""


def inspect(
    path: Path,
    *,
    signing: Signing | None = None,
    verify: Verify | None = None,
    known: Sequence[KnownHead] = (),
    unusable: str = "",
) -> RecoveryPlan:
    """Look at the ledger and say what ``recover`` would do. Changes nothing.

    With *signing* it is known whether a holder of the keys wrote the head; with *verify* its signature is checked too. Where
    nothing is left of a log, a new one is to be begun; so it is if the log contradicts one of the *known* heads, or if it
    is *unusable* for a reason outside its file, such as keys that are gone. Raises ``LedgerOpenError`` for a log of a newer
    format, or one that this user can't read.
    """
    db = Path(os.path.realpath(path))
    left = traces(db)
    seal = Seal.read(db)
    found, problem = _chain(db, signing, verify, {each.size for each in known})
    report = found.report if found is not None else None
    genesis: Mapping[str, Any] = line0(db) if report is not None else {}
    if not genesis and seal is not None:
        genesis = seal.genesis
    intact = (
        chain.Head(report.log, report.records, report.leaf)
        if report is not None and report.records
        else None
    )
    untold: tuple[OpenCall, ...] = ()
    action = Action.NOTHING
    size = intact.size if intact is not None else 0
    judged = judge(
        known,
        log=intact.log if intact is not None else "",
        public=_public(genesis),
        size=size,
        roots=found.roots if found is not None else {},
    )
    problem = "; ".join(each for each in (unusable, problem, judged.problem) if each)
    if problem:
        action = Action.RESTART
    else:
        assert found is not None
        untold = _untold(db, found)
        problem = _beside(seal, found)
        if problem:
            action = Action.CONTINUE
        elif untold:
            action, problem = Action.CLOSE_CALLS, "open calls whose process left no lease"
    acknowledged = max(
        seal.last_seq + 1 if seal is not None else 0, found.head_size if found is not None else 0
    )
    lost = max(0, acknowledged - size)
    if judged.last is not None:
        lost = max(0, judged.last.size - judged.kept)
    return RecoveryPlan(
        action=action,
        found=problem or _rest(found),
        seal=seal,
        traces=tuple(left),
        log=str(genesis.get("log", "")),
        genesis=genesis,
        intact=intact,
        first_bad=report.first_bad if report is not None else None,
        lost=lost,
        untold=untold,
        alive=_alive(db),
        head=found.head if found is not None else "",
        caches=tuple(each.table for each in found.caches) if found is not None else (),
        known=tuple(known),
        judged=judged,
        examined=found,
    )


def _public(genesis: Mapping[str, Any]) -> str:
    key = genesis.get("key")
    return str(key.get("public", "")) if isinstance(key, Mapping) else ""


def _untold(db: Path, found: Examination) -> tuple[OpenCall, ...]:
    """Return the calls that are open, by the lines, and of which nobody can tell whether their process lives."""
    right = [cache.right for cache in found.caches if cache.table == "open_call"]
    if not right:
        with LedgerReader.open(db, strict=False) as reader:
            return tuple(call for call, life in reader.open_calls() if life is Life.UNTOLD)
    leases = Leases(leases_path(db))
    calls = [OpenCall(*row) for row in right[0]]
    return tuple(
        call for call in calls if leases.life(call.process, call.host, call.pid) is Life.UNTOLD
    )


def _rest(found: Examination | None) -> str:
    if found is not None and not found.kept:
        return "nothing is wrong that could be mended; the hashes of pruned records are not theirs, so proofs about these fail"
    return "nothing is wrong with this ledger"


def _beside(seal: Seal | None, found: Examination) -> str:
    """Say what is wrong beside a chain that is intact; empty where nothing is."""
    problems = [f"sealed: {seal.why}"] if seal is not None else []
    if found.schema:
        problems.append(found.schema)
    if found.outside:
        problems.append(found.outside)
    if found.head:
        problems.append(found.head)
    if found.caches:
        tables = ", ".join(each.table for each in found.caches)
        problems.append(f"tables that are not what the records say: {tables}")
    return "; ".join(problems)


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
    """Do what ``inspect`` says; durable, and the ledger opens again, when this returns.

    *who* is the ``actor`` of the record, *reason* a person's words for it, *signing*, *verify*, *known* and *unusable* as for
    ``inspect``. *genesis* and *log* are for a new log where nothing of the old line 0 can be read, or its keys are gone:
    ``profile``, ``key`` and ``config``; nonce and predecessor are filled in.
    Raises ``LedgerError``: ``ledger.in_use`` while other processes hold leases, ``ledger.no_genesis`` where *genesis* is
    needed.
    """
    db = resolve(Path(path))
    lock = FileLock(lock_path(db), db)
    try:
        _acquire(lock)
        plan = inspect(db, signing=signing, verify=verify, known=known, unusable=unusable)
        if plan.alive and plan.action in (Action.CONTINUE, Action.RESTART):
            raise LedgerError(
                f"{len(plan.alive)} other processes have this ledger open",
                code="ledger.in_use",
                hint="end them first: the seal or the file is about to change under them",
            )
        if plan.action is Action.NOTHING:
            return RecoveryReport(plan, (), None, plan.log, 0)
        if plan.action is Action.RESTART:
            return _restart(
                db, plan, signing=signing, known=genesis, log=log, who=who, reason=reason
            )
        return _continue(db, plan, signing, who, reason)
    except (OSError, sqlite3.Error) as error:
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


def _chain(
    db: Path, signing: Signing | None, verify: Verify | None, watch: Collection[int]
) -> tuple[Examination | None, str]:
    """Return what can be read of the log, and what is wrong with its lines or pages."""
    if not db.exists():
        return None, "the database file is missing" if traces(
            db
        ) else "nothing is left of the ledger"
    try:
        with LedgerReader.open(db, strict=False) as reader:
            found = examine(reader, signing=signing, verify=verify, watch=watch)
    except LedgerError as error:
        if error.code in _NOT_OURS:
            raise
        return Examination(chain.Chain().report(), Edge()), error.message
    report = found.report
    if report.first_bad is not None:
        return found, f"record {report.first_bad}: {report.detail}"
    if found.unreadable:
        return found, found.unreadable
    if found.values:
        return found, found.values
    if found.schema and found.mendable is None:
        return found, found.schema
    if not found.whole:
        return found, "the pages of the database contradict each other"
    return found, "" if report.records else "the log has no records"


_NOT_OURS = (
    "ledger.newer_format",
    "ledger.older_format",
    "ledger.not_a_file",
    "ledger.unreadable",
)
"""What nothing is wrong with, but this user or this version can't read."""


def line0(db: Path) -> Mapping[str, Any]:
    """Return the first line of the log at *db*, decoded; empty where it can't be read."""
    with (
        contextlib.suppress(LedgerError, RecordError),
        LedgerReader.open(db, strict=False) as reader,
    ):
        return reader.genesis
    return {}


def _alive(db: Path) -> tuple[str, ...]:
    leases = Leases(leases_path(db))
    found = []
    for process in leases.names():
        with contextlib.suppress(OSError):
            if leases.life(process) is Life.ALIVE:
                found.append(process)
    return tuple(found)


def _recovered(
    log: str, plan: RecoveryPlan, who: Mapping[str, Any], reason: str, **more: object
) -> Draft:
    seal = plan.seal
    detail = {
        "found": plan.found,
        "reason": reason,
        "action": str(plan.action),
        "lost": plan.lost,
        "acknowledged": {"seq": seal.last_seq, "leaf": seal.last_leaf, "when": seal.when}
        if seal is not None
        else None,
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
    # Records whose commit is no longer whole may stand there; what is written next goes over them.
    kept = keep_wal(db) if plan.lost else ()
    found = plan.examined
    assert found is not None
    if found.head or found.caches or found.outside or found.schema:
        copy = db.with_name(f"{free_name(db)}-rows.json")
        kept += (mend.keep_rows(db, copy, found.caches, head=bool(found.head)),)
        if found.mendable is not None:
            mend.mend_schema(db, *found.mendable)
    store = Store(db, signing)
    try:
        tail = store.begin()
        # By the lines, which were read a moment ago, under the lock: the stored head may say something else.
        tail.edge = found.edge.copy()
        mend.rebuild(store.execute, found.caches)
        removed: dict[str, object] = {"schema": found.schema} if found.schema else {}
        if found.outside:
            removed["outside"] = mend.remove_outside(store.execute)
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
                doubt=_doubt(found),
                set_aside=[each.name for each in kept],
            ),
            tail,
        )
        closed = 0
        for call in plan.untold:
            line = store.line(call.seq)
            if line is not None:
                store.add(outcomes.unknown(line), tail)
                closed += 1
        store.sign(tail, signing.log_key(store.log))
        store.commit()
        # What a failed sync may have left only in memory is rewritten with syncs of its own.
        store.checkpoint("RESTART")
    finally:
        store.rollback()
        store.close()
    seal_path(db).unlink(missing_ok=True)  # last: until here nobody else writes
    sync_directory(db.parent)
    return RecoveryReport(plan, kept, receipt, plan.log, closed)


def _doubt(found: Examination) -> dict[str, int] | None:
    """Return the records that no head vouches for: ``verify`` names them for ever (docs/record-format.md section 9.5)."""
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
            "nothing of the old log's first line can be read, so a new one needs its key and name",
            code="ledger.no_genesis",
            hint="guardrail recover with the settings and keys of this ledger",
        )
    head = predecessor(plan)
    first_line.update(nonce=secrets.token_hex(16), predecessor=head)
    first = Draft.build({**first_line, "v": FORMAT_VERSION, "log": name, "type": "genesis"})
    line = first.finish(seq=0, prev=GENESIS_PREV, ts=utc_now())
    aside = set_aside(db, plan.traces)
    create(db, line, signing)
    store = Store(db, signing)
    try:
        tail = store.begin()
        receipt = store.add(
            _recovered(
                name, plan, who, reason, set_aside=[item.name for item in aside], predecessor=head
            ),
            tail,
        )
        store.sign(tail, signing.log_key(store.log))
        store.commit()
    finally:
        store.rollback()
        store.close(clean=True)
    return RecoveryReport(plan, aside, receipt, name, 0)


def predecessor(plan: RecoveryPlan) -> dict[str, object] | None:
    """Return the last known head of the log that is continued: with its last leaf, or with its root if only that is known."""
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
