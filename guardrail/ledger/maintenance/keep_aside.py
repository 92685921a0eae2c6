"""Preserves a ledger's files before recovery: durably, under unused names in the same folder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from guardrail.ledger.files import leases_path, utc_timestamp
from guardrail.ledger.kept_policies import KeptPolicies
from guardrail.ledger.lease import Leases, ProcessState
from guardrail.system.durable import sync_directory
from guardrail.system.ownership import new_file

__all__ = ["free_name", "keep_wal", "set_aside"]


def free_name(db: Path) -> str:
    """Return an unused prefix for the names of the files to be set aside."""
    stamp = utc_timestamp()[:19].replace(":", "").replace("-", "")
    base = f"{db.name}-broken-{stamp}"
    number = 1
    while any(item.name.startswith(base) for item in db.parent.iterdir()):
        number += 1
        base = f"{db.name}-broken-{stamp}-{number}"
    return base


def keep_wal(db: Path) -> tuple[Path, ...]:
    """Copy the ``-wal``, unless it is empty, durably to a file next to the log. Return the path of
    the copy in a tuple, which is empty if nothing was copied.
    """
    wal = Path(f"{db}-wal")
    if not wal.exists() or wal.stat().st_size == 0:
        return ()
    copy = db.with_name(f"{free_name(db)}-wal")
    with wal.open("rb") as source, os.fdopen(new_file(copy, db), "wb") as target:
        shutil.copyfileobj(source, target)
        target.flush()
        os.fsync(target.fileno())
    sync_directory(db.parent)
    return (copy,)


def set_aside(db: Path, left: Sequence[Path]) -> tuple[Path, ...]:
    """Rename all remaining files, so that the old log remains complete and can be examined under
    its new name.
    """
    base = free_name(db)
    moved = []
    # The database is moved first, because no writer uses the other files without it.
    for item in sorted(left, key=lambda each: len(each.name)):
        if item == leases_path(db):
            continue
        target = db.with_name(base + item.name.removeprefix(db.name))
        os.rename(item, target)
        moved.append(target)
        if item == db:
            # This is made durable first, because a database without its -wal would look like an
            # older log.
            sync_directory(db.parent)
    policies = KeptPolicies(db).path
    if moved and os.path.lexists(policies):
        target = db.with_name(f"{base}-policies")
        os.rename(policies, target)
        moved.append(target)
    leases = Leases(leases_path(db))
    for process in leases.processes():
        if leases.process_state(process) is ProcessState.DEAD:
            leases.remove(process)
    sync_directory(db.parent)
    return tuple(moved)
