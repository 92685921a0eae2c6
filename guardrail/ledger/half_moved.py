"""Finds the files of a log that a move has left in its old folder."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

from guardrail.errors import LedgerOpenError

__all__ = [
    "is_access_log_left",
    "left_behind",
    "refuse_half_moved",
    "unmoved_wal",
    "way_to_finish",
]

_SCANNED = 1000
"""Maximum number of folder entries examined."""
_FOLDER = "audit"


def left_behind(path: Path) -> tuple[Path, ...]:
    """Return the files and folders of the log at *path* that an incomplete move left behind, sorted
    by name, or an empty tuple if there are none.

    Searches the parent of *path*'s folder, and its subfolder ``audit``, for files of the log that
    are missing next to *path*. If the searched folder and the folder of *path* both contain a
    database with this name, they hold two different logs, and the files in the searched folder are
    not returned.
    """
    db = Path(os.path.abspath(path))
    for folder in (db.parent.parent, db.parent / _FOLDER):
        here, there = _parts(db, db.parent), _parts(db, folder)
        left = there - here
        moved = db.name in here or bool(here & {f"{db.name}-wal", f"{db.stem}.keys"})
        if moved and (db.name in here) != (db.name in there) and left & _content(db):
            return tuple(folder / name for name in sorted(left))
    return ()


def way_to_finish(path: Path) -> str:
    """Return the step that completes an incomplete move of the log at *path*, or an empty string if
    no move is incomplete.
    """
    left = left_behind(path)
    if not left:
        return ""
    return _move(left, path)


def _move(left: Collection[Path], path: Path) -> str:
    names = ", ".join(sorted(each.name for each in left))
    old = next(iter(left)).parent
    return f"move the remaining files from {old} to {path.absolute().parent}: {names}"


def refuse_half_moved(path: Path) -> None:
    """Raise ``LedgerOpenError`` (``ledger.half``) if the database was moved to *path* without its
    ``-wal``, which may contain the newest records.
    """
    wal = unmoved_wal(path)
    if wal is not None:
        raise LedgerOpenError(
            f"{wal} was not moved together with {path.name}, and may contain the newest records",
            code="ledger.half",
            hint=_move({*left_behind(path), wal}, path),
        )


def unmoved_wal(path: Path) -> Path | None:
    """Return the ``-wal`` of the ledger at *path* that a move left in the old folder, or None if
    there is none or it is empty.
    """
    db = Path(os.path.abspath(path))
    name = f"{db.name}-wal"
    if not db.exists() or _has_content(db.with_name(name)):  # a reader creates an empty -wal
        return None
    for folder in (db.parent.parent, db.parent / _FOLDER):
        if not (folder / db.name).exists() and _has_content(folder / name):
            return folder / name
    return None


def _has_content(file: Path) -> bool:
    try:
        return file.stat().st_size > 0
    except OSError:
        return False


def is_access_log_left(path: Path) -> bool:
    """Return True if a move of the log at *path* left its access log behind."""
    return any(each.name.startswith(f"{path.stem}.access.") for each in left_behind(path))


def _content(db: Path) -> set[str]:
    """Return the names of the files that hold log data, not merely the state of a process."""
    own = {db.name, f"{db.name}-wal", f"{db.name}-sealed", f"{db.stem}.keys"}
    return own | {f"{db.stem}.access.db", f"{db.stem}.access.keys"}


def _parts(db: Path, folder: Path) -> set[str]:
    """Return the names in *folder* that belong to a log whose database has the same name as
    *db*.
    """
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for _, entry in zip(range(_SCANNED), entries, strict=False)]
    except OSError:
        return set()
    access = f"{db.stem}.access.db"
    whole = {db.name, f"{db.stem}.keys", access, f"{db.stem}.access.keys"}
    return {
        name for name in names if name in whole or name.startswith((f"{db.name}-", f"{access}-"))
    }
