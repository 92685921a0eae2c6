"""Locks on files: which process sends the heads of a log, and who appends to a file."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from pathlib import Path

from guardrail.system.ownership import open_or_make

__all__ = ["Lock", "hold"]

_WAIT_S = 2.0
"""How long another process may take to append its line."""


def hold(descriptor: int) -> bool:
    """Take the lock on an open file, which its closing lets go; False where another process keeps it. Raises ``OSError``."""
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


class Lock:
    """A lock on a file, for one process. Death lets it go."""

    def __init__(self, path: Path, like: Path | None = None) -> None:
        """*like* is the ledger, whose owner a new file takes."""
        self._path = path
        self._like = like
        self._descriptor: int | None = None

    def take(self) -> bool:
        """Take it where it is free, and tell whether no other process has it. Never waits."""
        try:
            if self._descriptor is None:
                self._descriptor = open_or_make(self._path, self._like, flags=os.O_RDWR)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.forget()
            return False
        except OSError:
            # No lock can be had here. Two processes that anchor do no harm, and none at all would.
            self.forget()
        return True

    def good(self) -> bool:
        """Tell whether what is held is still the path's file: where someone removed it, others hold the new one."""
        if self._descriptor is None:
            return self.take()
        mine = os.fstat(self._descriptor)
        with contextlib.suppress(OSError):
            there = os.stat(self._path)
            if (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino):
                return True
        self.forget()
        return False

    def release(self) -> None:
        """Let another process take it."""
        self.forget()

    def forget(self) -> None:
        """Close it: in a forked child this leaves the parent's lock alone."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
