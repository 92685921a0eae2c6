"""Error texts for a full disk, which state the file that could not be written, the free space, and
the required space.

SQLite and the operating system report ``SQLITE_FULL`` or "No space left on device", but not which
disk is full or how much space is missing.
"""

from __future__ import annotations

import errno
import os
import shlex
from pathlib import Path

from guardrail.errors import ConfigError
from guardrail.system.durable import replace_file
from guardrail.system.ownership import explain_error

__all__ = [
    "WORK",
    "free_bytes",
    "is_full",
    "make_room",
    "nearest_folder",
    "no_room",
    "save_file",
    "sized",
    "why_not_written",
]

WORK = 1 << 20
"""Free bytes that are needed to open a log and write some records: SQLite's shared memory and the
first pages of its ``-wal``.
"""
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_PERHAPS = ("SQLITE_IOERR_WRITE", "SQLITE_IOERR_SHM", "SQLITE_CANTOPEN")
"""SQLite's error names if it can't create or enlarge a file, for any reason."""
_SHARED_MEMORY = 64 << 10
"""If fewer bytes than this are free, lack of space is assumed to be the reason."""


def is_full(error: BaseException, path: Path) -> bool:
    """Return True if *error*, from the system or SQLite, means that there was no room for *path* or
    for a file next to it.
    """
    if isinstance(error, OSError):
        return error.errno in _FULL
    name = str(getattr(error, "sqlite_errorname", None) or "")
    if name == "SQLITE_FULL":
        return True
    if not name.startswith(_PERHAPS):
        return False
    free = free_bytes(path)
    return (free is not None and free < _SHARED_MEMORY) or _no_more_files(path)


def no_room(path: Path, needed: int = 0, *, most: bool = False) -> str:
    """Return a message that there is no room for *path*, with the free space and the *needed* bytes
    (0 if unknown).

    If *most* is True, *needed* is an upper bound: if more space is free, the message mentions a
    quota as the possible cause.
    """
    what, figures = _full_disk(path, needed, most=most)
    return f"{what}: there is no room for {path}" + (f" ({figures})" if figures else "")


def why_not_written(error: OSError, path: Path, needed: int = 0, *, most: bool = False) -> str:
    """Return the reason that *path* could not be written, worded as in ``os_reason`` or
    ``no_room``. The reason contains *path*.
    """
    if error.errno == errno.ENOENT and not path.absolute().parent.exists():
        return f"the folder {path.absolute().parent} does not exist"
    if not is_full(error, path):
        return explain_error(error, path)[0]
    what, figures = _full_disk(path, needed, most=most)
    return what + (f": {figures}" if figures else "")


def _full_disk(path: Path, needed: int, *, most: bool) -> tuple[str, str]:
    """Return the name of the full disk or the limit that was reached, and the numbers."""
    if _no_more_files(path):
        return "the disk accepts no more files", "all of its inodes are used"
    free = free_bytes(path)
    if free is not None and free >= max(needed, WORK):
        return (
            "a quota or a file size limit was reached",
            f"{sized(free)} are free on the disk",
        )
    figures = [f"{'up to ' if most else ''}{sized(needed)} are needed"] if needed else []
    figures += [] if free is None else [f"{sized(free)} are free"]
    return "the disk is full", ", ".join(figures)


def make_room(path: Path) -> str:
    """Return the next step for the user if there is no room for *path*."""
    which = "-i" if _no_more_files(path) else "-h"
    return f"make room on that disk: df {which} {shlex.quote(str(nearest_folder(path)))}"


def sized(size: int) -> str:
    """Return *size* bytes in a readable unit, such as ``4.0 MB`` or ``12 KB``."""
    if size >= 1 << 30:
        return f"{size / (1 << 30):,.1f} GB"
    if size >= 100 << 10 or not size:
        return f"{size / (1 << 20):.1f} MB"
    return f"{-(-size // 1024)} KB"


def free_bytes(path: Path) -> int | None:
    """Return the number of free bytes on the disk of *path*, which need not exist, or None if it
    can't be determined.
    """
    try:
        space = os.statvfs(nearest_folder(path))
    except OSError:
        return None
    return space.f_bavail * space.f_frsize


def _no_more_files(path: Path) -> bool:
    try:
        space = os.statvfs(nearest_folder(path))
    except OSError:
        return False
    return space.f_files > 0 and space.f_favail == 0


def nearest_folder(path: Path) -> Path:
    """Return the folder of *path*, or the nearest existing one above it."""
    folder = path.absolute().parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder


def save_file(path: Path, content: bytes) -> None:
    """Create the file *path* with *content*, or replace it. Durable when this returns.

    If this raises ``ConfigError``, an existing file is unchanged.
    """
    try:
        replace_file(path, content)
    except OSError as error:
        raise ConfigError(
            f"{path}: can't be written ({why_not_written(error, path, len(content))})",
            code="config.write",
            hint=make_room(path) if is_full(error, path) else "",
        ) from None
