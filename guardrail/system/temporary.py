"""Folders for temporary files that no process leaves behind for good.

A process that is killed can't remove its folders. Each folder therefore contains a file that its
process keeps locked, and the next process that creates such a folder removes those whose lock is
free.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

__all__ = ["PREFIX", "hold", "remove_abandoned", "temporary_folder"]

PREFIX = "guardrail-opa-"
"""Prefix of the names of all such folders."""
_NAME = re.compile(re.escape(PREFIX) + r"[0-9a-z_]{8,32}")
_LOCK = "owner.lock"


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """Create a folder that only this user can enter, and remove it at the end of the block. First
    remove the folders of processes that have ended.
    """
    remove_abandoned(Path(tempfile.gettempdir()))
    with tempfile.TemporaryDirectory(prefix=PREFIX) as made:
        folder = Path(made)
        lock = hold(folder)
        try:
            yield folder
        finally:
            if lock is not None:
                os.close(lock)


def hold(folder: Path) -> int | None:
    """Mark *folder* as used by this process, as long as the returned descriptor is open. Return
    None if the file system has no locks: such a folder is never removed by other processes.
    """
    path = folder / _LOCK
    descriptor = -1
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        if descriptor >= 0:
            os.close(descriptor)
        with contextlib.suppress(OSError):
            path.unlink()
        return None
    return descriptor


def remove_abandoned(base: Path) -> None:
    """Remove the folders in *base* whose process has ended, if they belong to this user and nobody
    else can enter them.
    """
    with contextlib.suppress(OSError), os.scandir(base) as entries:
        for entry in entries:
            if _NAME.fullmatch(entry.name) is not None:
                with contextlib.suppress(OSError):
                    _remove_if_abandoned(Path(entry.path))


def _remove_if_abandoned(folder: Path) -> None:
    found = folder.lstat()
    private = stat.S_ISDIR(found.st_mode) and stat.S_IMODE(found.st_mode) == 0o700
    if not private or found.st_uid != os.geteuid():
        return
    # Without this file, the folder was created a moment ago, or by something else.
    descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(descriptor)
