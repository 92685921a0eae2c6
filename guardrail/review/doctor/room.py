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


def _needed(settings: Settings, db: Path) -> int:
    from guardrail.ledger.reserve import room_needed

    return -(-room_needed(db, settings.ledger.reserve_mb << 20)[0] // _MB)


def room(settings: Settings) -> Check:
    """Compare the free space on the ledger's disk with the required space, and report whether the
    reserve exists.
    """
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
