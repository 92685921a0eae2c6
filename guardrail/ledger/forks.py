"""Prevents a fork from copying a connection that another thread has open.

SQLite keeps its state for an open file per process. If a child inherited this state while the
parent was closing the ledger, the child would keep using a shared-memory file that no longer
belongs to the ledger, and its first call would be denied.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator

__all__ = ["unforked"]

_lock = threading.RLock()
os.register_at_fork(
    before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release
)


@contextlib.contextmanager
def unforked() -> Iterator[None]:
    """Make forks in other threads wait until the ``with`` block ends. For short reads in background
    threads that the program does not control.
    """
    with _lock:
        yield
