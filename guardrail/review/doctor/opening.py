"""``doctor`` check: the same diagnosis as when a guard is opened and in ``guardrail recover``."""

from __future__ import annotations

import os
from pathlib import Path

from guardrail.config import Settings
from guardrail.core.words import counted
from guardrail.errors import GuardrailError
from guardrail.keys.log_key import Keys
from guardrail.ledger.half_moved import way_to_finish
from guardrail.ledger.heads import head_problem
from guardrail.ledger.reader import LedgerReader
from guardrail.ledger.seal import Seal
from guardrail.review.doctor.chain import bad_link
from guardrail.review.doctor.result import TAIL, Check, CheckState
from guardrail.system.disk import make_room, no_room
from guardrail.wiring.diagnosis import RECOVER, check_outside, diagnose, is_small

__all__ = ["opening", "way_to_write"]


def opening(settings: Settings) -> Check:
    """Report any fault that would prevent a guard from opening the ledger, and say whether
    ``recover`` could fix it.

    Like a guard, this reads only the beginning and the end of a large ledger. In that case, the
    result says so.
    """
    try:
        return _check_completely(settings) if is_small(settings) else _check_quickly(settings)
    except GuardrailError as error:
        if error.code == "config.untrusted":
            return Check("opening", CheckState.UNKNOWN, error.message, error.hint)
        return Check("opening", CheckState.FAIL, error.message, error.hint or RECOVER)


def _check_completely(settings: Settings) -> Check:
    found = diagnose(settings)
    plan = found.plan
    if plan.caches and plan.found.startswith("tables that do not match the records"):
        # Everything else is correct: a guard can open this ledger, and verify reports that it was
        # tampered with.
        return Check(
            "opening", CheckState.NOTE, plan.found, "guardrail verify, then guardrail recover"
        )
    if not found.ok:
        moved = "" if found.is_away else way_to_finish(settings.ledger.path)
        way = moved or found.way_out
        return Check("opening", CheckState.FAIL, plan.found, way)
    blocked = _read_only(settings) or _disk_full(settings)
    return blocked or Check("opening", CheckState.OK, "a guard can open this ledger")


def _disk_full(settings: Settings) -> Check | None:
    """If the ledger's disk is so full that guards accept no calls, return a finding that says
    so.
    """
    from guardrail.ledger.reserve import room_needed

    path = settings.ledger.path.absolute()
    needed, free = room_needed(path, settings.ledger.reserve_mb << 20)
    if free is None or free >= needed:
        return None
    found = f"the ledger is intact, but no guard accepts calls: {no_room(path, needed)}"
    return Check("opening", CheckState.FAIL, found, make_room(path))


def _read_only(settings: Settings) -> Check | None:
    """If the ledger's file system is mounted read-only, return a finding that nothing can be
    recorded.
    """
    path = settings.ledger.path
    try:
        flags = os.statvfs(path).f_flag
    except OSError:
        return None
    if not flags & os.ST_RDONLY:
        return None
    return Check(
        "opening",
        CheckState.FAIL,
        f"{path} is intact, but its file system is mounted read-only, so no guard can record there",
        "mount it writable for the programs that call tools; commands that only read work"
        " without this",
    )


def _check_quickly(settings: Settings) -> Check:
    """Run the checks that a guard runs. Raises ``GuardrailError``."""
    way = check_outside(settings)
    seal = Seal.read(settings.ledger.path)
    if seal is not None:
        return Check("opening", CheckState.FAIL, f"sealed: {seal.why}", way or RECOVER)
    keys = Keys.load(settings.key_path, signer=settings.keys.signer)
    with LedgerReader.open(settings.ledger.path) as reader:
        fault, size = _tail_fault(reader, keys), reader.size()
    if fault:
        return Check("opening", CheckState.FAIL, fault, RECOVER)
    return (
        _read_only(settings)
        or _disk_full(settings)
        or Check(
            "opening",
            CheckState.OK,
            f"a guard can open this ledger; only the last {TAIL:,} of {counted(size, 'record')}"
            " were read, and guardrail verify reads all",
        )
    )


def _tail_fault(reader: LedgerReader, keys: Keys) -> str:
    """Describe the fault in the newest records or in the head over them. Return an empty string if
    there is none.
    """
    with reader.snapshot():
        size, head, last = reader.size(), reader.storage.head(), reader.head()
        if head is None or last is None or (head.size, head.leaf) != (size, last.leaf):
            return f"the head does not cover record {size - 1}"
        fault = head_problem(head, reader.log, keys.signing(actor={}, epochs=False))
    bad = None if fault else bad_link(reader, max(0, size - TAIL))
    return fault if bad is None else f"the chain is broken at record {bad}"


def way_to_write(folder: Path) -> str:
    """Return a hint for making *folder* writable. On a read-only mount, permissions do not help."""
    try:
        fixed = bool(os.statvfs(folder).f_flag & os.ST_RDONLY)
    except OSError:
        fixed = False
    return f"mount it writable: {folder}" if fixed else f"chown or chmod {folder}"
