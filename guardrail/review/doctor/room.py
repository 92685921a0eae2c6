"""``doctor`` check: the ledger's disk has enough room."""

from __future__ import annotations

import os
from pathlib import Path

from guardrail.config import Settings
from guardrail.review.doctor.result import Check, CheckState

__all__ = ["LEAST_MB", "room"]

LEAST_MB = 100
"""If there is less free space than this, a guard is about to refuse calls."""
_MB = 1 << 20
_WARN = 0.8
"""Part of the limit of a ledger's size from which calls will soon be denied."""


def _needed(settings: Settings, db: Path) -> int:
    from guardrail.ledger.reserve import room_needed

    return -(-room_needed(db, settings.ledger.reserve_mb << 20)[0] // _MB)


def room(settings: Settings) -> Check:
    """Compare the free space on the ledger's disk with the required space, and the size of the
    ledger with its limit, and report whether the reserve exists.
    """
    disk, size = _disk(settings), _size(settings)
    if size is None or disk.state is not CheckState.OK:
        return disk
    return Check(size.name, size.state, f"{disk.found}; {size.found}", size.fix)


def _size(settings: Settings) -> Check | None:
    """Compare the size of the ledger with its limit, if it has one and can be read."""
    from guardrail.errors import LedgerError
    from guardrail.ledger.size_limit import SMALL_CALL, bytes_used

    limit = settings.limits.ledger_mb
    if not limit:
        return None
    try:
        used = bytes_used(settings.ledger.path)
    except LedgerError:
        return None  # another check says why
    what = f"the ledger uses {used / _MB:,.1f} of {limit:,} MB ([limits] ledger_mb)"
    hint = "delete old records: guardrail retention status; or raise ledger_mb"
    if limit * _MB - used < SMALL_CALL:
        return Check("room", CheckState.FAIL, f"{what}, so new calls are denied", hint)
    if used >= _WARN * limit * _MB:
        return Check("room", CheckState.NOTE, f"{what}; at the limit, calls are denied", hint)
    return Check("room", CheckState.OK, what)


def _disk(settings: Settings) -> Check:
    from guardrail.ledger.files import leases_path
    from guardrail.ledger.lease import Leases, ProcessState
    from guardrail.ledger.reserve import is_reserved, obstacle
    from guardrail.wiring.ledger_folder import disk_of

    db = settings.ledger.path.absolute()
    folder = disk_of(settings)
    if folder is None:
        return Check("room", CheckState.UNKNOWN, "not measured: there is no folder")
    prevented = obstacle(db) if settings.ledger.reserve_mb and db.exists() else None
    if prevented is not None:
        return Check(
            "room",
            CheckState.FAIL,
            f"no space can be reserved, so calls are refused: {prevented[0]}",
            f"{prevented[1]}; calls then continue automatically",
        )
    space = os.statvfs(folder)
    free = space.f_bavail * space.f_frsize // _MB
    leases = Leases(leases_path(db))
    used = any(
        leases.process_state(process) is ProcessState.ALIVE for process in leases.processes()
    )
    if used and settings.ledger.reserve_mb and not is_reserved(db):
        return Check(
            "room",
            CheckState.FAIL,
            f"{free:,} MB free; the reserve for outcomes was released, and calls are refused",
            f"make room in {folder}: {_needed(settings, folder / db.name):,} MB or more",
        )
    if free < LEAST_MB:
        return Check(
            "room",
            CheckState.FAIL,
            f"{free} MB free in {folder}; {_needed(settings, folder / db.name)} MB are needed "
            "before a guard accepts calls",
            f"make room: {LEAST_MB} MB or more; a full disk blocks every call",
        )
    if free < settings.ledger.warn_free_mb:
        return Check(
            "room",
            CheckState.NOTE,
            f"{free:,} MB free in {folder}; {settings.ledger.warn_free_mb:,} should be free",
            "make room, or prune old records: guardrail retention status",
        )
    return Check("room", CheckState.OK, f"{free:,} MB free in {folder}")
