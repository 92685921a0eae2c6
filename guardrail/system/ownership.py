"""Ownership of a log's files: new files get the ledger's owner and group, and errors state which
permission is missing and how to grant it.

A command run by root, once or every night, must not leave files that the ledger's user can't open.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from guardrail.errors import os_reason
from guardrail.system.os_user import group_named, user_named

__all__ = [
    "MissingPermission",
    "denial_of",
    "explain_error",
    "find_denial",
    "is_denial",
    "new_file",
    "new_folder",
    "open_or_make",
]

_NEW = os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW


def new_file(path: Path, like: Path | None, *, flags: int = os.O_WRONLY, mode: int = 0o600) -> int:
    """Create the file *path* with the owner of the ledger *like*, and return its descriptor.

    If there is no ledger yet, the file belongs to the owner of its lock file, otherwise to the user
    of this process. If this user can't change owners, the file belongs to this user. Raises
    ``OSError``, including if *path* already exists.
    """
    descriptor = os.open(path, flags | _NEW, mode)
    _set_owner(descriptor, like)
    return descriptor


def open_or_make(path: Path, like: Path | None, *, flags: int, mode: int = 0o600) -> int:
    """Open the file *path*, or create it as ``new_file`` does. Follows no links. Raises
    ``OSError``.

    An existing file keeps its owner, because a path in a different user's folder might lead to any
    file.
    """
    while True:
        with contextlib.suppress(FileNotFoundError):
            return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW)
        with contextlib.suppress(FileExistsError):
            return new_file(path, like, flags=flags, mode=mode)
        if path.is_symlink():
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))


def new_folder(folder: Path, like: Path | None) -> None:
    """Create *folder* (mode 0700) and its missing parents, as ``new_file`` does.

    An existing folder is not changed.

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
        if not os.listdir(descriptor):  # a folder with content was not created here
            _set_owner(descriptor, like)
    finally:
        os.close(descriptor)


def _set_owner(descriptor: int, like: Path | None) -> None:
    owner = None if like is None else _owner_of(like)
    made = os.fstat(descriptor)
    if owner is None or (made.st_uid, made.st_gid) == owner or made.st_uid != os.geteuid():
        return
    with contextlib.suppress(OSError):
        os.fchown(descriptor, *owner)


def _owner_of(like: Path) -> tuple[int, int] | None:
    for path in (like, like.with_name(f"{like.name}-lock")):
        with contextlib.suppress(OSError):
            found = os.stat(path)
            return found.st_uid, found.st_gid
    return None


@dataclass(frozen=True, slots=True)
class MissingPermission:
    """A permission that this process lacks."""

    what: str
    """The file, its owner, and the user of this process."""
    hint: str
    """The command or step that grants the permission."""


def is_denial(error: BaseException) -> bool:
    """Return True if *error* is a system error for a missing permission."""
    return isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM)


def denial_of(error: OSError, path: Path, like: Path | None = None) -> MissingPermission | None:
    """Return the missing permission that caused *error*, or None if it has a different cause.

    *path* is the opened file, which is used if *error* does not contain a path. *like* is the
    ledger.
    """
    if not is_denial(error):
        return None
    named = error.filename
    place = Path(os.fsdecode(named)) if isinstance(named, str | bytes) else path
    return find_denial([place], like=like) or _missing_permission(place, like)


def explain_error(error: OSError, path: Path) -> tuple[str, str]:
    """Return the reason for *error* and the next step, which is empty unless a permission is
    missing. In that case, the reason contains *path* and its owner.
    """
    missing = denial_of(error, path)
    return (os_reason(error), "") if missing is None else (missing.what, missing.hint)


def find_denial(
    paths: Iterable[Path], *, like: Path | None = None, write: bool = True
) -> MissingPermission | None:
    """Return the first of *paths*, or of their parent folders, that this process can't read (and
    *write*), or None if it can access all of them.
    """
    for path in paths:
        place = Path(os.path.abspath(path))
        for folder in reversed(place.parents):
            if os.path.isdir(folder) and not _has_permission(folder, os.X_OK):
                return _missing_permission(folder, like)
        if not os.path.lexists(place):
            if (
                write
                and place.parent.is_dir()
                and not _has_permission(place.parent, os.W_OK | os.X_OK)
            ):
                return _missing_permission(place.parent, like)
            continue
        wanted = os.R_OK | (os.W_OK if write else 0) | (os.X_OK if os.path.isdir(place) else 0)
        if not _has_permission(place, wanted):
            return _missing_permission(place, like)
    return None


def _has_permission(path: Path, wanted: int) -> bool:
    """Return True if this process has the permission *wanted*; a read-only file system does not
    count as a missing permission.
    """
    if os.access(path, wanted, effective_ids=True):
        return True
    with contextlib.suppress(OSError):
        if os.statvfs(path).f_flag & os.ST_RDONLY:
            return os.access(path, wanted & ~os.W_OK, effective_ids=True)
    return False


def _missing_permission(path: Path, like: Path | None) -> MissingPermission:
    me = user_named(os.geteuid())
    try:
        found = os.stat(path)
    except OSError:
        return MissingPermission(
            f"{path} can't be opened by user {me}", f"ls -ld {path} {path.parent}"
        )
    owner = user_named(found.st_uid)
    mode = stat.S_IMODE(found.st_mode)
    what = f"{path} belongs to {owner} (mode {mode:o}), and this process runs as {me}"
    ledger = None if like is None else _owner_of(like)
    if found.st_uid == os.geteuid():
        return MissingPermission(what, f"chmod u+{'rwx' if path.is_dir() else 'rw'} {path}")
    if ledger is not None and ledger[0] != found.st_uid:
        # Another user left this file among the ledger's files.
        whom = f"{user_named(ledger[0])}:{group_named(ledger[1])}"
        return MissingPermission(what, f"sudo chown {whom} {path}")
    return MissingPermission(
        what, f"run it as {owner} (sudo -u {owner}), or: sudo chown {me} {path}"
    )
