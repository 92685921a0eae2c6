"""Plans the recovery of a ledger. Only reads."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from guardrail.core.log import chain
from guardrail.core.log.checkpoint import Verify
from guardrail.core.log.merkle import Edge
from guardrail.core.log.recovered import Loss
from guardrail.errors import LedgerError, RecordError
from guardrail.ledger.files import leases_path, traces
from guardrail.ledger.heads import Signing
from guardrail.ledger.lease import Leases, ProcessState
from guardrail.ledger.maintenance.examine import Examination, examine
from guardrail.ledger.maintenance.known_heads import Judged, KnownHead, judge
from guardrail.ledger.reader import LedgerReader
from guardrail.ledger.rows import OpenCall
from guardrail.ledger.seal import Seal

__all__ = ["Action", "RecoveryPlan", "inspect", "line0", "predecessor_log"]


class Action(StrEnum):
    """The actions that ``recover`` can take."""

    NOTHING = "nothing"
    """Nothing is wrong; writers resume automatically."""
    CONTINUE = "continue"
    """The chain is intact: repair the rest, lift the seal, record the recovery, and continue the
    log.
    """
    CLOSE_CALLS = "close_calls"
    """Close open calls of processes that are not known to be dead or alive."""
    RESTART = "restart"
    """Set the old files aside and begin a new log that names the last intact head of the old
    one.
    """


@dataclass(frozen=True, slots=True)
class RecoveryPlan:
    """The findings about a ledger, and the action that ``recover`` would take."""

    action: Action
    found: str
    """The problem, in one sentence."""
    seal: Seal | None
    traces: tuple[Path, ...]
    log: str
    genesis: Mapping[str, Any]
    """Line 0, from the log or from the seal, if it is known."""
    intact: chain.Head | None
    """Last head of the intact part of the chain, or None if no record can be read."""
    first_bad: int | None
    lost: int
    """Minimum number of acknowledged records that are lost or altered, according to the seal or a
    head.
    """
    loss: Loss
    """Certainty of ``lost``."""
    unclear_calls: tuple[OpenCall, ...]
    """Open calls of processes that are not known to be dead or alive."""
    alive: tuple[str, ...]
    """Other processes that hold a lease. They must end before ``recover`` can run."""
    head: str = ""
    """Problem with the signed head, or an empty string if there is none, or if the head can't be
    checked without the keys.
    """
    caches: tuple[str, ...] = ()
    """Tables that differ from the records and will be rebuilt."""
    known: tuple[KnownHead, ...] = ()
    """External heads."""
    judged: Judged = field(default_factory=Judged)
    """Result of comparing the remaining records with the external heads."""
    examined: Examination | None = field(default=None, repr=False)
    """Full result of examining the file, or None if there is no file."""


def inspect(
    path: Path,
    *,
    signing: Signing | None = None,
    verify: Verify | None = None,
    known: Sequence[KnownHead] = (),
    unusable: str = "",
) -> RecoveryPlan:
    """Examine the ledger and return the plan for ``recover``. Changes nothing.

    *signing* checks that a key holder wrote the head; *verify* also checks its signature. A new log
    must begin if nothing is left of the old one, if the old log contradicts one of the *known*
    heads, or if the old log is *unusable* for a reason outside its file, such as lost keys. Raises
    ``LedgerOpenError`` if the log has a newer format, or if this user can't read it.
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
    judged = _judge(known, intact, found, genesis)
    problem = "; ".join(each for each in (unusable, problem, judged.problem) if each)
    unclear_calls: tuple[OpenCall, ...] = ()
    action = Action.RESTART
    if not problem:
        assert found is not None
        unclear_calls = _unclear_calls(db, found)
        action, problem = _action(seal, found, unclear_calls)
    lost = _lost(seal, found, known, judged, intact)
    return RecoveryPlan(
        action=action,
        found=problem or _describe_intact(found),
        seal=seal,
        traces=tuple(left),
        log=str(genesis.get("log", "")),
        genesis=genesis,
        intact=intact,
        first_bad=report.first_bad if report is not None else None,
        lost=lost,
        loss=_loss(lost, found),
        unclear_calls=unclear_calls,
        alive=_alive(db),
        head=found.head if found is not None else "",
        caches=tuple(each.table for each in found.caches) if found is not None else (),
        known=tuple(known),
        judged=judged,
        examined=found,
    )


def _judge(
    known: Sequence[KnownHead],
    intact: chain.Head | None,
    found: Examination | None,
    genesis: Mapping[str, Any],
) -> Judged:
    """Compare the *known* heads with the intact records."""
    return judge(
        known,
        log=intact.log if intact is not None else "",
        public=_public(genesis),
        size=intact.size if intact is not None else 0,
        roots=found.roots if found is not None else {},
        predecessor=predecessor_log(genesis) if found is not None and found.signed_size else None,
    )


def _action(
    seal: Seal | None, found: Examination, unclear_calls: tuple[OpenCall, ...]
) -> tuple[Action, str]:
    """Return the action for a log that can continue, and the reason, which is empty if no action is
    needed.
    """
    problem = _describe_other_problems(seal, found)
    if problem:
        return Action.CONTINUE, problem
    if unclear_calls:
        return Action.CLOSE_CALLS, "open calls whose process left no lease"
    return Action.NOTHING, ""


def _lost(
    seal: Seal | None,
    found: Examination | None,
    known: Sequence[KnownHead],
    judged: Judged,
    intact: chain.Head | None,
) -> int:
    """Return the number of acknowledged records of the continued log that are lost, according to
    all known evidence.
    """
    here = intact.log if intact is not None else ""
    log = judged.last.log if judged.last is not None else here
    sizes = [each.size for each in known if each.log == log]
    size = intact.size if intact is not None else 0
    forked = judged.last is not None and log == here and judged.last.size <= size
    # In a fork, the other branch is lost; this file is complete.
    if not forked and (log in ("", here) or not here):
        sizes.append(found.signed_size if found is not None else 0)
    if seal is not None and log in ("", seal.log):
        sizes.append(seal.last_seq + 1)
    kept = judged.kept if judged.last is not None else max(size, judged.kept)
    return max(0, max(sizes, default=0) - kept)


def _loss(lost: int, found: Examination | None) -> Loss:
    """Return how certain *lost* is. Heads and seals prove that the records before them existed, but
    say nothing about later records.
    """
    if lost:
        return Loss.AT_LEAST
    whole = (
        found is not None
        and found.report.first_bad is None
        and not found.unreadable
        and found.whole
        and found.signed_size == found.report.records > 0
    )
    return Loss.NONE_KNOWN if whole else Loss.UNKNOWN


def predecessor_log(genesis: Mapping[str, Any]) -> str:
    """Return the name of the log that this line 0 continues, or an empty string if there is no such
    log.
    """
    before = genesis.get("predecessor")
    return str(before.get("log", "")) if isinstance(before, Mapping) else ""


def _public(genesis: Mapping[str, Any]) -> str:
    key = genesis.get("key")
    return str(key.get("public", "")) if isinstance(key, Mapping) else ""


def _unclear_calls(db: Path, found: Examination) -> tuple[OpenCall, ...]:
    """Return the calls that are open according to the lines, if their processes are not known to be
    dead or alive.
    """
    right = [cache.right for cache in found.caches if cache.table == "call"]
    if not right:
        with LedgerReader.open(db, strict=False) as reader:
            return tuple(
                call for call, state in reader.open_calls() if state is ProcessState.UNKNOWN
            )
    leases = Leases(leases_path(db))
    calls = [OpenCall(*row) for row in right[0]]
    return tuple(
        call
        for call in calls
        if leases.process_state(call.process, call.host, call.pid) is ProcessState.UNKNOWN
    )


def _describe_intact(found: Examination | None) -> str:
    if found is not None and not found.kept:
        return (
            "there is nothing to repair, but the hashes of pruned records are wrong, so proofs of "
            "these records fail"
        )
    return "nothing is wrong with this ledger"


def _describe_other_problems(seal: Seal | None, found: Examination) -> str:
    """Describe the other problems with a log whose chain is intact. Return an empty string if there
    are none.
    """
    problems = [f"sealed: {seal.why}"] if seal is not None else []
    if found.schema:
        problems.append(found.schema)
    if found.outside:
        problems.append(found.outside)
    if found.head:
        problems.append(found.head)
    if found.caches:
        tables = ", ".join(each.table for each in found.caches)
        problems.append(f"tables that do not match the records: {tables}")
    return "; ".join(problems)


def _chain(
    db: Path, signing: Signing | None, verify: Verify | None, watch: Collection[int]
) -> tuple[Examination | None, str]:
    """Return the readable part of the log, and the problem with its lines or pages."""
    if not db.exists():
        return None, (
            "the database file is missing" if traces(db) else "nothing is left of the ledger"
        )
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
    "ledger.permission",
    "ledger.reserve",
    "ledger.journal",
)
"""Errors of intact files that this user or this version can't read."""


def line0(db: Path) -> Mapping[str, Any]:
    """Return the first line of the log at *db*, decoded, or an empty mapping if it can't be
    read.
    """
    with (
        contextlib.suppress(LedgerError, RecordError),
        LedgerReader.open(db, strict=False) as reader,
    ):
        return reader.genesis
    return {}


def _alive(db: Path) -> tuple[str, ...]:
    leases = Leases(leases_path(db))
    found = []
    for process in leases.processes():
        with contextlib.suppress(OSError):
            if leases.process_state(process) is ProcessState.ALIVE:
                found.append(process)
    return tuple(found)
