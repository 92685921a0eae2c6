"""Whose the files of a log are: new ones take the ledger's owner and group, and a missing right is named with its fix.

A command that root runs once, or every night, must leave nothing behind that the ledger's user can't open.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from guardrail.system.os_user import group_named, user_named

__all__ = [
    "Denial",
    "denial_of",
    "find_denial",
    "is_denial",
    "new_file",
    "new_folder",
    "open_or_make",
]

_NEW = os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW


def new_file(path: Path, like: Path | None, *, flags: int = os.O_WRONLY, mode: int = 0o600) -> int:
    """Make the file *path*, which belongs to whom the ledger *like* belongs, and return its descriptor.

    If there is no ledger yet, the file belongs to the owner of its lock file, else to the user of this process. A user
    who may not give files away keeps what they made. Raises ``OSError``, also if something is at *path*.
    """
    descriptor = os.open(path, flags | _NEW, mode)
    _give(descriptor, like)
    return descriptor


def open_or_make(path: Path, like: Path | None, *, flags: int, mode: int = 0o600) -> int:
    """Open the file *path*, or make it as ``new_file`` does. Follows no link. Raises ``OSError``.

    What is there keeps its owner: a name in somebody else's folder may lead to any file.
    """
    while True:
        with contextlib.suppress(FileNotFoundError):
            return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW)
        with contextlib.suppress(FileExistsError):
            return new_file(path, like, flags=flags, mode=mode)
        if path.is_symlink():
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))


def new_folder(folder: Path, like: Path | None) -> None:
    """Make *folder* (mode 0700) and what is missing above it, as ``new_file`` does. Nothing is done to one that is there.

    Raises ``OSError``.
    """
    if not folder.parent.exists():
        new_folder(folder.parent, like)
    try:
        os.mkdir(folder, 0o700)
    except FileExistsError:
        if not folder.is_dir():
            raise
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        if not os.listdir(descriptor):  # what holds something is not the folder that was made here
            _give(descriptor, like)
    finally:
        os.close(descriptor)


def _give(descriptor: int, like: Path | None) -> None:
    owner = None if like is None else _owner(like)
    made = os.fstat(descriptor)
    if owner is None or (made.st_uid, made.st_gid) == owner or made.st_uid != os.geteuid():
        return
    with contextlib.suppress(OSError):
        os.fchown(descriptor, *owner)


def _owner(like: Path) -> tuple[int, int] | None:
    for path in (like, like.with_name(f"{like.name}-lock")):
        with contextlib.suppress(OSError):
            found = os.stat(path)
            return found.st_uid, found.st_gid
    return None


@dataclass(frozen=True, slots=True)
class Denial:
    """A right that this process lacks."""

    what: str
    """The file, whose it is, and who this process is."""
    hint: str
    """What gives the right."""


def is_denial(error: BaseException) -> bool:
    """Tell whether *error* is the system's, and says that a right is missing."""
    return isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM)


def denial_of(error: OSError, path: Path, like: Path | None = None) -> Denial | None:
    """Return which right *error* is about, or None if it is about something else.

    *path* is what was opened if *error* does not say. *like* is the ledger.
    """
    if not is_denial(error):
        return None
    named = error.filename
    place = Path(os.fsdecode(named)) if isinstance(named, str | bytes) else path
    return find_denial([place], like=like) or _denial(place, like)


def find_denial(
    paths: Iterable[Path], *, like: Path | None = None, write: bool = True
) -> Denial | None:
    """Return which of *paths*, or of the folders above them, this process may not read (and *write*); None if it may all."""
    for path in paths:
        place = Path(os.path.abspath(path))
        for folder in reversed(place.parents):
            if os.path.isdir(folder) and not _may(folder, os.X_OK):
                return _denial(folder, like)
        if not os.path.lexists(place):
            if write and place.parent.is_dir() and not _may(place.parent, os.W_OK | os.X_OK):
                return _denial(place.parent, like)
            continue
        wanted = os.R_OK | (os.W_OK if write else 0) | (os.X_OK if os.path.isdir(place) else 0)
        if not _may(place, wanted):
            return _denial(place, like)
    return None


def _may(path: Path, wanted: int) -> bool:
    """Tell whether this process may do *wanted*; what a read-only file system keeps it from is no right that it lacks."""
    if os.access(path, wanted, effective_ids=True):
        return True
    with contextlib.suppress(OSError):
        if os.statvfs(path).f_flag & os.ST_RDONLY:
            return os.access(path, wanted & ~os.W_OK, effective_ids=True)
    return False


def _denial(path: Path, like: Path | None) -> Denial:
    me = user_named(os.geteuid())
    try:
        found = os.stat(path)
    except OSError:
        return Denial(f"{path} can't be opened by user {me}", f"ls -ld {path} {path.parent}")
    owner = user_named(found.st_uid)
    mode = stat.S_IMODE(found.st_mode)
    what = f"{path} belongs to {owner} (mode {mode:o}), and this process runs as {me}"
    ledger = None if like is None else _owner(like)
    if found.st_uid == os.geteuid():
        return Denial(what, f"chmod u+{'rwx' if path.is_dir() else 'rw'} {path}")
    if ledger is not None and ledger[0] != found.st_uid:
        # Left by somebody else among the ledger's files.
        whom = f"{user_named(ledger[0])}:{group_named(ledger[1])}"
        return Denial(what, f"sudo chown {whom} {path}")
    return Denial(what, f"run it as {owner} (sudo -u {owner}), or: sudo chown {me} {path}")
