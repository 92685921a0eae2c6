"""Reserves disk space for outcomes by means of a file next to the log. The reserve file is
truncated when the disk is full.

The outcomes of admitted calls can then still be recorded. While the reserve is released, no new
call is admitted. The reserve is re-created once twice as much space is free. On a small or nearly
full volume, less is reserved than configured: half of the space that is free when the first guard
starts. If another program uses up the released space, outcomes wait in memory, as they would
without a reserve.
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
from guardrail.system.ownership import find_denial, open_or_make

__all__ = ["Reserve", "disk_is_full", "fitting", "is_reserved", "needs_room", "room_needed"]

PATIENCE = 0.1
"""Seconds between two attempts to re-create the reserve."""
_MINIMUM = 2 << 20
"""Smallest reserve, in bytes, with which calls are admitted: room for about thirty of the largest
outcomes.
"""
_FLAGS = os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_FULL = (
    "SQLITE_FULL",
    "SQLITE_IOERR_WRITE",
    "SQLITE_IOERR_SHMSIZE",
    os.strerror(errno.ENOSPC),
    os.strerror(errno.EDQUOT),
)


def fitting(folder: Path, size: int) -> int:
    """Return how many of *size* bytes to reserve on the volume of *folder*: at most a quarter of
    the volume.

    On a volume smaller than four times *size*, reserving *size* bytes could leave too little free
    space.
    """
    try:
        space = os.statvfs(folder)
    except OSError:
        return size
    return min(size, space.f_blocks * space.f_frsize // 4)


def disk_is_full(why: str) -> bool:
    """Return True if *why*, a message from SQLite or the system, may mean that a disk is full."""
    return why in _FULL


class Reserve:
    """The reserve file of one log, shared by every process that admits calls.

    Commit threads use it while they hold the file lock.

    All processes use the same size: the first process takes as much as fits, and the others use
    that size. A released reserve leaves a sparse file of the same size, so that no process reserves
    less while open calls might need the space for their outcomes.
    """

    def __init__(self, db: Path, size: int) -> None:
        """*size* is in bytes. If it is 0, nothing is reserved, and ``gone`` is never True."""
        self._db = db
        self._path = reserve_path(db)
        self._size = fitting(db.parent, size)
        self._agreed = 0
        """The largest reserve seen so far; 0 before the first."""
        self._found: tuple[int, int] | None = None
        """Size and number of blocks of the reserve at the last check, or None if the need has grown
        since.
        """
        self._tried = -PATIENCE
        self.gone = False
        """True if the reserve was missing at the last check."""

    def is_held(self) -> bool:
        """Return True if the space is reserved. Does not try to reserve it."""
        self.gone = bool(self._size) and not self._is_held()
        return not self.gone

    def try_take(self) -> bool:
        """Return True if the space is reserved. Otherwise, tries to reserve it first."""
        self.gone = bool(self._size) and not self._is_held()
        now = time.monotonic()
        if self.gone and now - self._tried >= PATIENCE:
            self._tried = now
            self.gone = not self._take()
        return not self.gone

    @property
    def obstacle(self) -> tuple[str, str] | None:
        """The reason, other than a lack of space, for a missing reserve, and the next step, or None
        if there is no such reason.
        """
        return obstacle(self._db)

    @property
    def needed(self) -> int:
        """Number of bytes that must be free before the reserve is re-created, or 0 if no reserve is
        configured.
        """
        return 2 * (self._agreed or _minimum_size(self._size))

    @property
    def shortage(self) -> str:
        """Description of the space that must be free before the reserve is re-created, and of the
        space that is free.
        """
        needed = self.needed
        free = _free(self._path.parent)
        return f"{_mb(needed)} MB are needed" + (
            "" if free is None else f", {_mb(free)} MB are free"
        )

    def release(self) -> bool:
        """Release the space, but keep the file's size. Return True if any space was released."""
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
        """Delete the reserve and its recorded size. Use this only if no open call can need the
        space.
        """
        self._agreed = 0
        with contextlib.suppress(OSError):
            os.unlink(self._path)

    def _agree(self, size: int) -> None:
        size = min(size, self._size)
        if size > self._agreed:
            self._agreed = size
            self._found = None

    def _is_held(self) -> bool:
        try:
            found = os.stat(self._path)
        except OSError:
            return False
        if self._found == (found.st_size, found.st_blocks):
            return True
        size = min(found.st_size, found.st_blocks * 512)
        if size < max(self._agreed, min(found.st_size, self._size), _minimum_size(self._size)):
            return False
        self._agree(size)
        self._found = found.st_size, found.st_blocks
        return True

    def _take(self) -> bool:
        """Reserve the space if at least as much space stays free, because pending outcomes need
        space before the reserve exists.
        """
        try:
            free = _free(self._path.parent) or 0
            with contextlib.suppress(FileNotFoundError):
                found = os.lstat(self._path)
                free += found.st_blocks * 512
                if found.st_size >= _minimum_size(self._size):
                    self._agree(found.st_size)
            size = self._agreed or min(self._size, free // 2 // 4096 * 4096)
            if free < 2 * size or size < _minimum_size(self._size):
                return False
            descriptor = open_or_make(self._path, self._db, flags=_FLAGS)
            try:
                os.posix_fallocate(descriptor, 0, size)
            finally:
                os.close(descriptor)
        except OSError:
            if self._agreed:
                self.release()
            else:
                self.remove()
            return False
        self._agree(size)
        return True


def obstacle(db: Path) -> tuple[str, str] | None:
    """Return the reason, other than a lack of space, that the log at *db* can't have a reserve, and
    the next step. Possible reasons are that the path of the reserve does not lead to a file, or
    that a permission is missing. Return None if there is no such reason.
    """
    path = reserve_path(db)
    with contextlib.suppress(OSError):
        if not stat.S_ISREG(os.lstat(path).st_mode):
            return f"{path} is not a regular file", "move it away"
    denied = find_denial([path], like=db)
    return None if denied is None else (denied.what, denied.hint)


def is_reserved(db: Path) -> bool:
    """Return True if the log at *db* has a reserve whose space is allocated."""
    try:
        found = os.stat(reserve_path(db))
    except OSError:
        return False
    return found.st_blocks * 512 >= found.st_size > 0


def room_needed(db: Path, size: int) -> tuple[int, int | None]:
    """Return the number of bytes that must be free before calls are admitted, and the number of
    free bytes (None if unknown). *size* is the configured size. While the reserve is held, the
    first number is 0.
    """
    size = fitting(db.parent, size)
    agreed = 0
    with contextlib.suppress(OSError):
        agreed = min(os.stat(reserve_path(db)).st_size, size)
    needed = 0 if is_reserved(db) else 2 * max(agreed, _minimum_size(size))
    return needed, _free(db.parent)


def _minimum_size(size: int) -> int:
    return min(size, _MINIMUM)


def _free(folder: Path) -> int | None:
    try:
        space = os.statvfs(folder)
    except OSError:
        return None
    return space.f_bavail * space.f_frsize


def _mb(size: int) -> str:
    return f"{size / (1 << 20):.1f}"


def needs_room(draft: Draft) -> bool:
    """Return True if *draft* starts a new call and is therefore refused while the reserve is
    released.

    Outcomes and administrative records are not refused.
    """
    return draft.type != "call.outcome" and not draft.type.startswith("admin.")
