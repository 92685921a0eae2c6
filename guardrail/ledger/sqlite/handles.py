"""Tracks all connections of this process to a log, because they share SQLite's state and a fork
copies it.

SQLite keeps locks and shared memory per file and process. Therefore (1) the last connection that
closes checkpoints and deletes the ``-wal``, which must not happen if one of the files has been
replaced; (2) a new connection joins the shared memory of an old one; (3) a forked child would
inherit SQLite's record of locks that the child does not hold. Therefore, a second, harmless lock
prevents a closing connection from checkpointing, and connections are closed before a fork.
"""

from __future__ import annotations

import fcntl
import os
import struct
import threading
import weakref
from pathlib import Path
from typing import ClassVar, Protocol

__all__ = [
    "Handle",
    "SharedLock",
    "forget",
    "keep_alive",
    "register",
    "retire_all",
    "taint",
    "tainted",
]

# The range that SQLite locks for reading (file format, section "Locking": SHARED_FIRST,
# SHARED_SIZE).
_SHARED_FIRST, _SHARED_SIZE = 0x4000_0002, 510


class Handle(Protocol):
    """A writer or reader that holds a connection."""

    db: Path

    def retire(self) -> None:
        """Close the connection as soon as possible; the next use opens it again.

        Returns quickly and never raises.
        """

    def before_fork(self) -> None:
        """Close the connection and pause. Returns quickly and never raises."""

    def after_fork_in_parent(self) -> None:
        """Resume after the fork."""

    def after_fork_in_child(self) -> None:
        """Drop all state that belongs to the parent."""


_writers: set[Handle] = set()
_readers: weakref.WeakSet[Handle] = weakref.WeakSet()
_tainted: set[Path] = set()
_lock = threading.Lock()
_forking: list[Handle] = []


def register(handle: Handle, *, weakly: bool = False) -> None:
    """Register *handle* for forks and for ``retire_all`` until ``forget`` is called. If *weakly* is
    True, *handle* stays registered only as long as it is referenced.
    """
    with _lock:
        if weakly:
            _readers.add(handle)
        else:
            _writers.add(handle)


def forget(handle: Handle) -> None:
    """Unregister a writer that was closed."""
    with _lock:
        _writers.discard(handle)


def _all() -> list[Handle]:
    with _lock:
        return [*_writers, *_readers]


def retire_all(db: Path) -> None:
    """Make every handle to *db* in this process close its connection. Returns quickly."""
    for handle in _all():
        if handle.db == db:
            handle.retire()


def taint(db: Path) -> None:
    """Record, in a forked child, that a connection to *db* was in use during the fork."""
    _tainted.add(db)


def tainted(db: Path) -> bool:
    """Return True if this process inherited SQLite's state for *db* from its parent and therefore
    can't use *db* safely.
    """
    return db in _tainted


def keep_alive(thing: object) -> None:
    """Prevent *thing*, a connection of the parent process, from ever being finalized, even at
    interpreter exit.
    """
    import ctypes  # imported here because it takes milliseconds to load, and only a fork needs it

    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


def _before() -> None:
    # A forked child must not load modules: another thread of the parent may have held a lock.
    import ctypes  # noqa: F401 - keep_alive uses it

    _forking[:] = _all()
    for handle in _forking:
        handle.before_fork()


def _in_parent() -> None:
    for handle in _forking:
        handle.after_fork_in_parent()
    _forking.clear()


def _in_child() -> None:
    global _lock
    _lock = threading.Lock()
    SharedLock.forget_parents()
    for handle in _forking:
        handle.after_fork_in_child()
    _forking.clear()


os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)


class SharedLock:
    """A lock that prevents any connection, in any process, from being the last one. Closing a
    connection then neither checkpoints nor deletes the ``-wal``.

    It is an open-file-description lock on the range that SQLite locks for reading. Such a lock
    conflicts with a POSIX lock held by the same process, but does not disturb readers. The
    descriptor stays open while this process has any connection to the log, because closing it would
    drop SQLite's own POSIX locks.
    """

    _lock = threading.Lock()
    _descriptors: ClassVar[dict[Path, int]] = {}
    _connections: ClassVar[dict[Path, int]] = {}
    _holders: ClassVar[dict[Path, int]] = {}

    @classmethod
    def connected(cls, db: Path) -> None:
        """Count a new connection of this process."""
        with cls._lock:
            cls._connections[db] = cls._connections.get(db, 0) + 1

    @classmethod
    def disconnected(cls, db: Path) -> None:
        """Stop counting a connection that has been closed."""
        with cls._lock:
            left = cls._connections.get(db, 0) - 1
            if left > 0:
                cls._connections[db] = left
                return
            cls._connections.pop(db, None)
            if not cls._holders.get(db):
                descriptor = cls._descriptors.pop(db, None)
                if descriptor is not None:
                    os.close(descriptor)

    @classmethod
    def acquire(cls, db: Path) -> None:
        """Prevent a closing connection from checkpointing until ``release``. Raises ``OSError``."""
        with cls._lock:
            descriptor = cls._descriptors.get(db)
            if descriptor is not None and not _same(descriptor, db) and not cls._holders.get(db):
                # The path now leads to a different file, and this process has no connection to the
                # old one.
                os.close(descriptor)
                descriptor = None
            if descriptor is None:
                descriptor = cls._descriptors[db] = os.open(db, os.O_RDONLY | os.O_CLOEXEC)
            fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _flock(fcntl.F_RDLCK))
            cls._holders[db] = cls._holders.get(db, 0) + 1

    @classmethod
    def held(cls, db: Path) -> bool:
        """Return True if a writer of this process has *db* open."""
        with cls._lock:
            return bool(cls._holders.get(db))

    @classmethod
    def release(cls, db: Path) -> None:
        """Undo one ``acquire``. After the last ``release``, SQLite's default applies again: the
        last connection to close checkpoints and deletes the ``-wal``.
        """
        with cls._lock:
            left = cls._holders.get(db, 0) - 1
            if left > 0:
                cls._holders[db] = left
                return
            cls._holders.pop(db, None)
            descriptor = cls._descriptors.get(db)
            if descriptor is None:
                return
            fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _flock(fcntl.F_UNLCK))
            if not cls._connections.get(db):
                os.close(cls._descriptors.pop(db))

    @classmethod
    def forget_parents(cls) -> None:
        """Close the inherited descriptors in a forked child. The parent keeps its lock."""
        cls._lock = threading.Lock()
        for descriptor in cls._descriptors.values():
            os.close(descriptor)
        cls._descriptors.clear()
        cls._connections.clear()
        cls._holders.clear()


def _same(descriptor: int, db: Path) -> bool:
    mine = os.fstat(descriptor)
    try:
        there = os.stat(db)
    except OSError:
        return False
    return (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino)


def _flock(kind: int) -> bytes:
    return struct.pack("hhqqi0q", kind, 0, _SHARED_FIRST, _SHARED_SIZE, 0)
