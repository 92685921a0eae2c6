"""Room on the disk that is kept for outcomes: a file beside the log that is given back when the disk is full.

What was admitted can then be recorded to its end. While the room is gone nothing new is admitted; it is taken again when there is
enough of it twice over. On a small or nearly full volume less is kept than is set: half of what is free when the first guard comes. Another program may take what is given back: then outcomes wait in memory, as without a reserve.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from pathlib import Path

from guardrail.core.log.record import Draft
from guardrail.ledger.files import reserve_path
from guardrail.system.ownership import open_or_make

__all__ = ["Reserve", "disk_is_full", "fitting", "is_kept", "needs_room", "room_needed"]

_PATIENCE = 0.1
"""Seconds between two attempts to take the room again."""
_LEAST = 2 << 20
"""Bytes with which calls are taken, if no more is free on a large volume: the outcomes of some thirty of the largest."""
_FLAGS = os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_FULL = (
    "SQLITE_FULL",
    "SQLITE_IOERR_WRITE",
    "SQLITE_IOERR_SHMSIZE",
    os.strerror(errno.ENOSPC),
    os.strerror(errno.EDQUOT),
)


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
    """The file of one log. Every process that admits calls shares it; called by commit threads, under the file lock.

    Its size is what they agree on: the first one takes what fits into what is free, the others accept that. Room that was given
    back leaves the size as a hole, so that nobody takes less while calls may be open whose outcomes need it.
    """

    def __init__(self, db: Path, size: int) -> None:
        """*size* in bytes; 0 keeps nothing, and nothing is ever missing then."""
        self._db = db
        self._path = reserve_path(db)
        self._size = fitting(db.parent, size)
        self._agreed = 0
        """The most that was seen to be kept; 0 before that."""
        self._found: tuple[int, int] | None = None
        """Size and blocks with which the room was kept, as of the last look; None if what is needed has grown since."""
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
    def obstacle(self) -> str:
        """What stands in the place of the reserve and is no file, in words; empty if nothing does."""
        try:
            mode = os.lstat(self._path).st_mode
        except OSError:
            return ""
        return "" if stat.S_ISREG(mode) else f"{self._path} is not a regular file"

    @property
    def needed(self) -> int:
        """How many bytes must be free before the room is taken again; 0 if none is kept."""
        return 2 * (self._agreed or _least(self._size))

    @property
    def shortage(self) -> str:
        """How much is needed before the room is taken again, and how much is free, in words."""
        needed = self.needed
        free = _free(self._path.parent)
        return f"{_mb(needed)} MB are needed" + (
            "" if free is None else f", {_mb(free)} MB are free"
        )

    def give_back(self) -> bool:
        """Free the room, and keep its size; return whether there was any."""
        self._tried = time.monotonic()
        try:
            descriptor = os.open(self._path, _FLAGS)
        except OSError:
            return False
        try:
            found = os.fstat(descriptor)
            self._agree(found.st_size)
            os.ftruncate(descriptor, 0)
            self.gone = True
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, self._agreed)
        except OSError:
            return False
        finally:
            os.close(descriptor)
        return found.st_blocks > 0

    def remove(self) -> None:
        """Free the room and forget its size: there is no call whose outcome may need it."""
        self._agreed = 0
        with contextlib.suppress(OSError):
            os.unlink(self._path)

    def _agree(self, size: int) -> None:
        size = min(size, self._size)
        if size > self._agreed:
            self._agreed = size
            self._found = None

    def _kept(self) -> bool:
        try:
            found = os.stat(self._path)
        except OSError:
            return False
        if self._found == (found.st_size, found.st_blocks):
            return True
        size = min(found.st_size, found.st_blocks * 512)
        if size < max(self._agreed, min(found.st_size, self._size), _least(self._size)):
            return False
        self._agree(size)
        self._found = found.st_size, found.st_blocks
        return True

    def _take(self) -> bool:
        """Take the room where as much is left beside it: what is owed must find some before it is taken again."""
        try:
            free = _free(self._path.parent) or 0
            with contextlib.suppress(FileNotFoundError):
                found = os.lstat(self._path)
                free += found.st_blocks * 512
                if found.st_size >= _least(self._size):
                    self._agree(found.st_size)
            size = self._agreed or min(self._size, free // 2 // 4096 * 4096)
            if free < 2 * size or size < _least(self._size):
                return False
            descriptor = open_or_make(self._path, self._db, flags=_FLAGS)
            try:
                os.posix_fallocate(descriptor, 0, size)
            finally:
                os.close(descriptor)
        except OSError:
            if self._agreed:
                self.give_back()
            else:
                self.remove()
            return False
        self._agree(size)
        return True


def is_kept(db: Path) -> bool:
    """Tell whether there is a reserve of the log at *db*, and not only its size."""
    try:
        found = os.stat(reserve_path(db))
    except OSError:
        return False
    return found.st_blocks * 512 >= found.st_size > 0


def room_needed(db: Path, size: int) -> tuple[int, int | None]:
    """Return how many bytes must be free before calls are taken, and how many are; None if that can't be measured.

    *size* is what is set. While the room is kept nothing more is needed.
    """
    size = fitting(db.parent, size)
    agreed = 0
    with contextlib.suppress(OSError):
        agreed = min(os.stat(reserve_path(db)).st_size, size)
    needed = 0 if is_kept(db) else 2 * max(agreed, _least(size))
    return needed, _free(db.parent)


def _least(size: int) -> int:
    return min(size, _LEAST)


def _free(folder: Path) -> int | None:
    try:
        space = os.statvfs(folder)
    except OSError:
        return None
    return space.f_bavail * space.f_frsize


def _mb(size: int) -> str:
    return f"{size / (1 << 20):.1f}"


def needs_room(draft: Draft) -> bool:
    """Tell whether *draft* begins something new, and is refused while the room is gone.

    Outcomes, and what operation does, are not.
    """
    return draft.type != "call.outcome" and not draft.type.startswith("admin.")
