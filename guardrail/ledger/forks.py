"""Prevents a fork from copying a connection that another thread has open.

SQLite's state for an open file belongs to the process. If a child inherited it while the parent
closes the ledger, the child would continue with a shared-memory file that is no longer the
ledger's, and the child's first call would be denied.
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
    """Make forks in other threads wait until the ``with`` block ends. Used for short reads by
    background threads that the program does not control.
    """
    with _lock:
        yield
