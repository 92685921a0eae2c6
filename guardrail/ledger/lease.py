"""Leases, which distinguish the calls of a dead process from those of a slow process.

While a process is alive, it holds an open-file-description (OFD) lock on its own lease file, which
identifies the process. The lock is released when the process dies. Unlike a POSIX lock, the OFD
lock is not lost if another part of the process reads and closes the file. A fork would share the
lock, so the child closes its copy at once, and a program started with ``exec`` does not inherit it
(docs/adr/0013).

If the lock is free, or the file is missing or replaced, the process counts as dead only if no
process with the same PID and start time is running on this host: anyone who can write to the folder
can replace the file, and must not be able to make a live process look dead.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import os
import stat
import struct
import threading
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from guardrail.system import host
from guardrail.system.durable import sync_directory
from guardrail.system.ids import new_ulid
from guardrail.system.ownership import new_file, new_folder

__all__ = ["Leases", "ProcessState", "host_name", "own_origin", "process_name"]

_FLOCK = "hhqqi0q"
_MAX_TEXT = 512
"""Maximum number of bytes read from a lease file."""


class ProcessState(StrEnum):
    """State of a process that holds, or has held, a lease."""

    OWN = "own"
    ALIVE = "alive"
    DEAD = "dead"
    UNKNOWN = "untold"
    """The lease file is missing, but the process is not provably dead: it ran on another host, or a
    process with the same PID is alive.
    """


@dataclass(frozen=True, slots=True)
class _Identity:
    """Identity of a lease's process, as precisely as the system allows."""

    host: str
    pid: int
    space: str = ""
    """Scope in which the PID is unique: boot and PID namespace."""
    started: str = ""
    """Start time of the process, in clock ticks since boot."""

    @classmethod
    def own(cls) -> _Identity:
        pid = os.getpid()
        found = _read_stat(pid)
        return cls(host_name(), pid, _pid_scope(), found[1] if found is not None else "")

    @classmethod
    def parse(cls, text: bytes) -> _Identity | None:
        """Return the identity in a lease file, or None if no process wrote it."""
        words = text.decode("utf-8", "replace").split()
        if len(words) not in (2, 4) or not words[1].isascii() or not words[1].isdigit():
            return None
        return cls(words[0], int(words[1][:10]), *words[2:])

    def __str__(self) -> str:
        return " ".join(filter(None, (self.host, str(self.pid), self.space, self.started)))

    def is_running(self, *, ended: bool) -> bool | None:
        """Return True if the process is running, False if it is not, or None if this is unknown
        because the process ran on another host or its lease file is incomplete.

        *ended* is the result for a zombie process, some of whose threads might still be running.
        """
        if (
            not self.started
            or not self.space
            or self.space != _pid_scope()
            or not 0 < self.pid < 2**31
        ):
            return None
        if _has_ended(self.pid):
            return False
        found = _read_stat(self.pid)
        if found is None:
            return None
        state, started = found
        return started == self.started and (ended or state not in ("Z", "X"))


@functools.cache
def _pid_scope() -> str:
    """Return a name for the scope in which PIDs are unique, or an empty string if the system has no
    such scope.
    """
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as source:
            boot = source.read(64).strip()
        return f"{boot}:{os.stat('/proc/self/ns/pid').st_ino}"
    except (OSError, ValueError):
        return ""


def _read_stat(pid: int) -> tuple[str, str] | None:
    """Return the state and the start time (in clock ticks since boot) of process *pid*; None if
    they can't be read.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as source:
            words = source.read(4096).rpartition(b")")[2].split()
    except OSError:
        return None
    return (words[0].decode(), words[19].decode()) if len(words) > 19 else None


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
    """Return this process's random name. A forked child gets its own name."""
    global _name
    name = _name
    if name is None:
        with _guard:
            name = _name = _name or new_ulid()
    return name


def host_name() -> str:
    """Return this host's name in its recorded form."""
    global _host
    if _host is None:
        _host = host.host_name()
    return _host


def own_origin(adapter: str) -> dict[str, Any]:
    """Return the field ``origin`` for a record that the ledger itself adds."""
    return {
        "host": host_name(),
        "pid": os.getpid(),
        "process": process_name(),
        "adapter": adapter,
        "address": None,
        "call_id": None,
    }


def _forget_parents() -> None:
    """Forget the parent's name and locks in a forked child. Closing the copies does not affect the
    parent.
    """
    global _name, _guard
    _guard = threading.Lock()
    _name = None
    for held in _held.values():
        with contextlib.suppress(OSError):
            os.close(held.descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_forget_parents)


class Leases:
    """The leases of one log. All writers in a process share the process's lease."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _path(self, process: str) -> str:
        return f"{self._folder}/{process}"

    def acquire(self) -> None:
        """Acquire this process's lease. Call it under the log's file lock, so that no sweep sees an
        incomplete lease file.

        Raises ``OSError``. Pair each ``acquire`` with one ``release``.
        """
        path = self._path(process_name())
        with _guard:
            held = _held.get(path)
            if held is None:
                held = _held[path] = self._create(path)
            held.users += 1

    def restore(self) -> None:
        """Check that the lease file exists and belongs to this process; create it again if it was
        removed.

        Raises ``OSError``.
        """
        path = self._path(process_name())
        held = _held.get(path)
        if held is None:
            return
        try:
            found = os.stat(path, follow_symlinks=False)
            if found.st_ino == held.inode and found.st_dev == held.device:
                return
        except FileNotFoundError:
            pass
        with _guard:
            fresh = self._create(path)
            os.close(held.descriptor)
            fresh.users = held.users
            _held[path] = fresh

    def release(self) -> None:
        """Undo one ``acquire``. The last ``release`` removes the lease file.

        Call it under the log's file lock.
        """
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

    def _create(self, path: str) -> _Held:
        like = self._folder.with_name(self._folder.name.removesuffix("-leases"))
        new_folder(self._folder, like)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)  # names are never reused, so someone else put this file here
        descriptor = new_file(Path(path), like, flags=os.O_RDWR)
        try:
            fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _write_lock())
            os.write(descriptor, f"{_Identity.own()}\n".encode())
            found = os.fstat(descriptor)
            sync_directory(self._folder)
        except BaseException:
            os.close(descriptor)
            raise
        return _Held(descriptor, found.st_dev, found.st_ino, 0)

    def processes(self) -> list[str]:
        """Return the names of the processes that have a lease file, dead or alive."""
        try:
            return sorted(os.listdir(self._folder))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def process_state(self, process: str, host: str = "", pid: int = 0) -> ProcessState:
        """Return the state of *process*.

        Tests the lock without acquiring it, so that two processes that test it at once do not see
        each other's lock.
        """
        if process == process_name():
            return ProcessState.OWN
        if not process.isalnum():
            return (
                ProcessState.UNKNOWN
            )  # this is not a name from guardrail, and a path built from it could lead to any file
        locked, identity = self._inspect(process)
        is_running = identity.is_running(ended=bool(locked)) if identity is not None else None
        if locked:
            # A child that was forked by native code, and outlives its parent, still holds the lock.
            return ProcessState.DEAD if is_running is False else ProcessState.ALIVE
        if is_running:
            return ProcessState.ALIVE
        if locked is None:
            return (
                ProcessState.DEAD
                if host == host_name() and _has_ended(pid)
                else ProcessState.UNKNOWN
            )
        return ProcessState.DEAD

    def _inspect(self, process: str) -> tuple[bool | None, _Identity | None]:
        """Return whether the lease is locked, and the identity in it, or None for both if the lease
        file is missing.
        """
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            descriptor = os.open(self._path(process), flags)
        except (FileNotFoundError, NotADirectoryError):
            return None, None
        except OSError as error:
            if error.errno == errno.ELOOP:
                return None, None  # a link is not a lease
            raise
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return None, None
            answer = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, _write_lock())
            identity = _Identity.parse(os.read(descriptor, _MAX_TEXT))
        finally:
            os.close(descriptor)
        kind: int = struct.unpack(_FLOCK, answer)[0]
        return kind != fcntl.F_UNLCK, identity

    def remove(self, process: str) -> None:
        """Remove the lease file of a dead *process*; call it under the log's file lock.

        A missing file is not an error.
        """
        # this also happens if someone put something other than a file at this path
        with contextlib.suppress(OSError):
            os.unlink(self._path(process))


def _write_lock() -> bytes:
    return struct.pack(_FLOCK, fcntl.F_WRLCK, 0, 0, 0, 0)


def _has_ended(pid: int) -> bool:
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
