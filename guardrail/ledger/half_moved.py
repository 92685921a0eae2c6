"""Finds the files of a log that a move has left in its old folder."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["is_access_log_left", "left_behind", "way_to_finish"]

_SCANNED = 1000
"""Largest number of folder entries examined."""
_FOLDER = "audit"


def left_behind(path: Path) -> tuple[Path, ...]:
    """Return the files and folders of the log at *path* that an incomplete move left behind, sorted
    by name; empty if there are none.

    The parent of *path*'s folder and the subfolder ``audit`` are searched for files of the log that
    are missing next to *path*. If such a folder and that of *path* both have a database of this
    name, they hold two different logs, and nothing is returned from that folder.
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
    """Return the next step if a move of the log at *path* is incomplete; otherwise empty."""
    left = left_behind(path)
    if not left:
        return ""
    names = ", ".join(each.name for each in left)
    return f"move the remaining files from {left[0].parent} to {path.absolute().parent}: {names}"


def is_access_log_left(path: Path) -> bool:
    """Return True if a move of the log at *path* left its access log behind."""
    return any(each.name.startswith(f"{path.stem}.access.") for each in left_behind(path))


def _content(db: Path) -> set[str]:
    """Return the names that hold a part of the log, and are not only the state of a process."""
    own = {db.name, f"{db.name}-wal", f"{db.name}-sealed", f"{db.stem}.keys"}
    return own | {f"{db.stem}.access.db", f"{db.stem}.access.keys"}


def _parts(db: Path, folder: Path) -> set[str]:
    """Return the names in *folder* that belong to a log whose database is named as *db* is."""
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
