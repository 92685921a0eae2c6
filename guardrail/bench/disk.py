"""Measures the disk, which limits the speed of a ledger with durable records."""

from __future__ import annotations

import os
import time
from pathlib import Path

__all__ = ["RawSyncs"]

_BLOCK = os.urandom(8192)
_BLOCKS = 512


class RawSyncs:
    """Writes blocks of 8 KiB, each followed by ``fdatasync``, to a file of constant size.

    SQLite writes its write-ahead log in the same way after the first checkpoint. No program that
    waits for a sync per record can be faster.
    """

    def __init__(self, path: Path) -> None:
        """Create the file *path*, with a size of 4 MiB. Raises ``OSError``."""
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            for number in range(_BLOCKS):
                os.pwrite(self._descriptor, _BLOCK, number * len(_BLOCK))
            os.fsync(self._descriptor)
        except OSError:
            os.close(self._descriptor)
            raise
        self._count = 0

    def close(self) -> None:
        """Close the file. Idempotent."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def sync(self) -> float:
        """Write and sync a block, and return the elapsed time in seconds."""
        began = time.perf_counter()
        os.pwrite(self._descriptor, _BLOCK, self._count % _BLOCKS * len(_BLOCK))
        os.fdatasync(self._descriptor)
        self._count += 1
        return time.perf_counter() - began

    def rate(self, seconds: float) -> float:
        """Return the number of syncs per second that one thread reaches in *seconds*."""
        began, count = time.perf_counter(), 0
        while time.perf_counter() - began < seconds:
            self.sync()
            count += 1
        return count / (time.perf_counter() - began)
