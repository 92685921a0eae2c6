"""Leases: how the calls of a dead process are told from those of a slow one.

A process holds a POSIX record lock on a file of its own, as long as it lives: death releases the lock, a fork does not
inherit it, and closing any descriptor on that file would drop it, so nobody here ever opens his own lease again.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import struct
import threading
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from guardrail.durable import sync_directory
from guardrail.ulid import new_ulid

__all__ = ["Leases", "Life", "host_name", "own_origin", "process_name"]

_FLOCK = "hhqqi0q"


class Life(StrEnum):
    """Whether the process behind a lease lives."""

    OWN = "own"
    ALIVE = "alive"
    DEAD = "dead"
    UNTOLD = "untold"
    """No lease file, and not provably gone: another host, or a live process of that number."""


@dataclass(slots=True)
class _Held:
    descriptor: int
    device: int
    inode: int
    users: int


_guard = threading.Lock()
_held: dict[str, _Held] = {}
_name: str | None = None
_host: str | None = None


def process_name() -> str:
    """Return the random name of this process; a forked child gets one of its own."""
    global _name
    name = _name
    if name is None:
        with _guard:
            name = _name = _name or new_ulid()
    return name


def host_name() -> str:
    """Return this host's name, as records hold it."""
    global _host
    if _host is None:
        _host = socket.gethostname()
    return _host


def own_origin(adapter: str) -> dict[str, Any]:
    """Return ``origin`` of a record that the ledger writes by itself."""
    return {
        "host": host_name(),
        "pid": os.getpid(),
        "process": process_name(),
        "adapter": adapter,
        "address": None,
        "call_id": None,
    }


def _forget_parents() -> None:
    """In a forked child: the name and the locks are the parent's. Closing the copies drops nothing of the parent."""
    global _name, _guard
    _guard = threading.Lock()
    _name = None
    for held in _held.values():
        with contextlib.suppress(OSError):
            os.close(held.descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_forget_parents)


class Leases:
    """The leases of one log. All writers of a process share the process's one lease in it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _path(self, process: str) -> str:
        return f"{self._folder}/{process}"

    def take(self) -> None:
        """Hold this process's lease; call under the log's file lock, so that no sweep meets it half made.

        Raises ``OSError``. Each ``take`` is paired with one ``drop``.
        """
        path = self._path(process_name())
        with _guard:
            held = _held.get(path)
            if held is None:
                held = _held[path] = self._make(path)
            held.users += 1

    def keep(self) -> None:
        """Make sure that the lease file is still there and ours; make it anew where someone removed it.

        Raises ``OSError``.
        """
        path = self._path(process_name())
        held = _held.get(path)
        if held is None:
            return
        try:
            found = os.stat(path)
            if found.st_ino == held.inode and found.st_dev == held.device:
                return
        except FileNotFoundError:
            pass
        with _guard:
            fresh = self._make(path)
            os.close(held.descriptor)  # another inode: this drops nothing of the new one
            fresh.users = held.users
            _held[path] = fresh

    def drop(self) -> None:
        """Give up one ``take``; with the last one the lease file goes. Call under the log's file lock."""
        path = self._path(process_name())
        with _guard:
            held = _held.get(path)
            if held is None:
                return
            held.users -= 1
            if held.users > 0:
                return
            del _held[path]
            with contextlib.suppress(OSError):
                os.unlink(path)
            os.close(held.descriptor)

    def _make(self, path: str) -> _Held:
        self._folder.mkdir(mode=0o700, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(
                path
            )  # a name is never used twice: what lies here was put here by someone else
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.write(descriptor, f"{host_name()} {os.getpid()}\n".encode())
            found = os.fstat(descriptor)
            sync_directory(self._folder)
        except BaseException:
            os.close(descriptor)
            raise
        return _Held(descriptor, found.st_dev, found.st_ino, 0)

    def names(self) -> list[str]:
        """Return the processes that left a lease file, dead or alive."""
        try:
            return sorted(os.listdir(self._folder))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def life(self, process: str, host: str = "", pid: int = 0) -> Life:
        """Tell whether *process* lives. Asks without taking the lock, so that askers do not mistake each other.

        Raises ``OSError`` where the lease can't be examined.
        """
        if process == process_name():
            return Life.OWN
        if not process.isalnum():
            return Life.UNTOLD  # never guardrail's: a path made of it could lead to any file
        try:
            descriptor = os.open(self._path(process), os.O_RDONLY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return Life.DEAD if host == host_name() and _gone(pid) else Life.UNTOLD
        try:
            answer = fcntl.fcntl(
                descriptor, fcntl.F_GETLK, struct.pack(_FLOCK, fcntl.F_WRLCK, 0, 0, 0, 0)
            )
        finally:
            os.close(descriptor)
        kind: int = struct.unpack(_FLOCK, answer)[0]
        return Life.DEAD if kind == fcntl.F_UNLCK else Life.ALIVE

    def remove(self, process: str) -> None:
        """Remove the lease file of a dead *process*; call under the log's file lock. Never raises for its absence."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path(process))


def _gone(pid: int) -> bool:
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
