"""Recognises a ledger by its first bytes and by the files next to it, without opening it as a
database.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from guardrail.config import DEFAULT_LEDGER, is_default_place
from guardrail.ledger.files import lock_path, seal_path
from guardrail.ledger.sqlite.database import APPLICATION_ID

__all__ = ["earlier_log", "has_ledger_header", "ledgers_near", "moved_log", "was_ledger"]

_HEADER = 100
"""Size of the header of an SQLite database in bytes (https://www.sqlite.org/fileformat.html section
1.3).
"""
_SCANNED = 1000
"""Maximum number of folder entries examined."""
_ACCESS = ".access.db"
_EARLIER_DEFAULT = "audit.db"
"""The default ledger path in versions without the folder ``audit``."""


def has_ledger_header(path: Path) -> bool:
    """Return True if the regular file at *path* begins with the bytes of a ledger.

    Never blocks and never raises.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
        head = os.read(descriptor, _HEADER) if regular else b""
    except OSError:
        return False
    finally:
        os.close(descriptor)
    application = int.from_bytes(head[68:72], "big")
    return head.startswith(b"SQLite format 3\0") and application == APPLICATION_ID


def was_ledger(path: Path) -> bool:
    """Return True if the file at *path* has the header of a ledger, or if the files next to it show
    that a ledger was opened there. Any other file is not a ledger, no matter what it contains.
    """
    db = Path(os.path.realpath(path))
    if os.path.lexists(lock_path(db)) or os.path.lexists(seal_path(db)) or has_ledger_header(db):
        return True
    keys = db.with_suffix(".keys")
    # The files of audit.db are not a sign of a ledger named "audit": they belong to audit.db.
    return os.path.lexists(keys) and not any(
        each.with_suffix(".keys") == keys for each in ledgers_near(db)
    )


def ledgers_near(path: Path) -> list[Path]:
    """Return the ledgers in the folder of *path*, most similar names first. Access logs are
    included only if *path* could be one.
    """
    folder = path.parent
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for _, entry in zip(range(_SCANNED), entries, strict=False)]
    except OSError:
        names = []
    wanted = path.name.endswith(_ACCESS)
    found = [
        folder / name
        for name in names
        if name.endswith(_ACCESS) == wanted
        and name != path.name
        and has_ledger_header(folder / name)
    ]

    def distance(each: Path) -> tuple[float, str]:
        import difflib

        return -difflib.SequenceMatcher(None, path.name, each.name).ratio(), each.name

    found.sort(key=distance)
    for other in (earlier_log(path), moved_log(path)):
        if other is not None and other.exists() and other not in found:
            found.append(other)
    return found


def earlier_log(path: Path) -> Path | None:
    """Return the path at which earlier versions put this project's ledger by default, if there are
    signs of a ledger there and *path* is the current default, otherwise None.
    """
    place = Path(os.path.abspath(path))
    if not is_default_place(place):
        return None
    earlier = place.parent.with_name(_EARLIER_DEFAULT)
    return earlier if was_ledger(earlier) else None


def moved_log(path: Path) -> Path | None:
    """Return the ledger that was probably moved from *path* into or out of the folder ``audit``, or
    that has the default name of earlier versions in the new folder, or None if there is no sign of
    a move.
    """
    place = Path(os.path.abspath(path))
    folder = DEFAULT_LEDGER.parent.name
    candidates = [place.parent / folder / place.name]
    if place.parent.name == folder:
        candidates.append(place.parent.parent / place.name)
    if is_default_place(place):
        candidates.append(place.with_name(_EARLIER_DEFAULT))
    return next((each for each in candidates if has_ledger_header(each)), None)
