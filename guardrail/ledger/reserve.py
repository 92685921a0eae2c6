"""Room on the disk that is kept for outcomes: a file beside the log that is given back when the disk is full.

What was admitted can then be recorded to its end. While the room is gone nothing new is admitted; it is taken again when there is
enough of it twice over. Another program may take what is given back: then outcomes wait in memory, as without a reserve.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from pathlib import Path

from guardrail.core.record import Draft
from guardrail.ledger.files import reserve_path

__all__ = ["Reserve", "disk_is_full", "fitting", "needs_room"]

_PATIENCE = 0.1
"""Seconds between two attempts to take the room again."""
_FULL = ("SQLITE_FULL", "SQLITE_IOERR_WRITE", os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT))


def fitting(folder: Path, size: int) -> int:
    """Return how much of *size* bytes is kept on the volume of *folder*: a quarter of a small one.

    Where a volume holds less than four times what is to be kept, keeping all of it could leave no room to work in.
    """
    try:
        space = os.statvfs(folder)
    except OSError:
        return size
    return min(size, space.f_blocks * space.f_frsize // 4)


def disk_is_full(why: str) -> bool:
    """Tell whether *why*, a reason of SQLite or the system, may mean that there was no room."""
    return why in _FULL


class Reserve:
    """The file of one log. Every process that admits calls shares it; called by commit threads, under the file lock."""

    def __init__(self, db: Path, size: int) -> None:
        """*size* in bytes; 0 keeps nothing, and nothing is ever missing then."""
        self._path = reserve_path(db)
        self._size = fitting(db.parent, size)
        self._tried = -_PATIENCE
        self.gone = False
        """Whether the room was missing when that was last looked up."""

    def kept(self) -> bool:
        """Tell whether the room is kept; takes nothing."""
        self.gone = bool(self._size) and not self._kept()
        return not self.gone

    def there(self) -> bool:
        """Tell whether the room is kept; take it where it is not, and there is enough."""
        self.gone = bool(self._size) and not self._kept()
        now = time.monotonic()
        if self.gone and now - self._tried >= _PATIENCE:
            self._tried = now
            self.gone = not self._take()
        return not self.gone

    @property
    def shortage(self) -> str:
        """How much is needed before the room is taken again, and how much is free, in words."""
        try:
            space = os.statvfs(self._path.parent)
        except OSError:
            return f"{_mb(2 * self._size)} MB are needed"
        free = space.f_bavail * space.f_frsize
        return f"{_mb(2 * self._size)} MB are needed, {_mb(free)} MB are free"

    def give_back(self) -> bool:
        """Free the room; return whether there was any."""
        self._tried = time.monotonic()
        try:
            os.unlink(self._path)
        except OSError:
            return False
        return True

    def _kept(self) -> bool:
        try:
            found = os.stat(self._path)
        except OSError:
            return False
        return found.st_size >= self._size and found.st_blocks * 512 >= self._size

    def _take(self) -> bool:
        """Take the room where as much is left beside it: what is owed must find some before it is taken again."""
        try:
            space = os.statvfs(self._path.parent)
            if space.f_bavail * space.f_frsize < 2 * self._size:
                return False
            descriptor = os.open(
                self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
            )
            try:
                os.posix_fallocate(descriptor, 0, self._size)
            finally:
                os.close(descriptor)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(self._path)
            return False
        return True


def _mb(size: int) -> str:
    return f"{size / (1 << 20):.1f}"


def needs_room(draft: Draft) -> bool:
    """Tell whether *draft* begins something new, and is refused while the room is gone.

    Outcomes, and what operation does, are not.
    """
    return draft.type != "call.outcome" and not draft.type.startswith("admin.")
