"""Reading beside a fork: a child must not inherit a connection that another thread has open.

What SQLite knows of an open file is kept by process. A child that inherits it while the parent closes the ledger would go
on with a shared memory file that is no longer the ledger's, and its first call would be refused.
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
    """Let no fork happen inside: for short readings by threads that the program does not know of."""
    with _lock:
        yield
