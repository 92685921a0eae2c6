"""File locks that decide which process sends a log's heads, and which one appends to an anchor
file.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from pathlib import Path

from guardrail.system.ownership import open_or_make

__all__ = ["ProcessLock", "try_lock"]

_WAIT_S = 2.0
"""Seconds to wait while another process appends its line."""


def try_lock(descriptor: int) -> bool:
    """Lock an open file until it is closed; return False if another process holds the lock.

    Raises ``OSError``.
    """
    end = time.monotonic() + _WAIT_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= end:
                return False
            time.sleep(0.01)
        else:
            return True


class ProcessLock:
    """A file lock owned by one process. The lock is released when the process dies."""

    def __init__(self, path: Path, like: Path | None = None) -> None:
        """*like* is the ledger; a new lock file gets the same owner."""
        self._path = path
        self._like = like
        self._descriptor: int | None = None

    def try_acquire(self) -> bool:
        """Acquire the lock if it is free; return False if another process holds it. Never waits."""
        try:
            if self._descriptor is None:
                self._descriptor = open_or_make(self._path, self._like, flags=os.O_RDWR)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.forget()
            return False
        except OSError:
            # Locking is not possible here. It does no harm if two processes anchor heads, but it
            # would do harm if none did.
            self.forget()
        return True

    def is_current(self) -> bool:
        """Return True if the locked file is still at its path. If the file was removed, another
        process could lock its replacement.
        """
        if self._descriptor is None:
            return self.try_acquire()
        mine = os.fstat(self._descriptor)
        with contextlib.suppress(OSError):
            there = os.stat(self._path)
            if (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino):
                return True
        self.forget()
        return False

    def release(self) -> None:
        """Release the lock, so that other processes can acquire it."""
        self.forget()

    def forget(self) -> None:
        """Close the lock file in a forked child. The parent keeps its lock."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
