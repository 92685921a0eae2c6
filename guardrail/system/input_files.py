"""Opens input files that the user specifies. They must be regular files, because the size of other
files is not known before they are read.

Reading a FIFO, a device or a terminal could block, and reading a sparse or endless file might never
end, so all of these are rejected before any read.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

from guardrail.core.words import counted

__all__ = ["FileVersion", "open_input", "read_input", "version_of"]

_PIECE = 1 << 20

FileVersion = tuple[int, int, int, int]
"""The version of a file. It changes if the file is replaced or written to."""


def version_of(found: os.stat_result) -> FileVersion:
    """Return the version of the file that *found* describes."""
    return found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size


def open_input(path: Path) -> BinaryIO:
    """Open the regular file at *path* for reading.

    Raises ``OSError`` if it is not a regular file. Never blocks.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):  # opening a device can have side effects
        raise _not_a_file(path)
    # The path may refer to a different file by now.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise _not_a_file(path)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_input(path: Path, limit: int, *, text: bool = True) -> bytes:
    """Return the content of the file at *path*, at most *limit* bytes.

    Raises ``OSError`` if the file is not a regular file or is larger. If *text* is True, it also
    raises ``OSError`` if the file contains NUL bytes, as the holes of a sparse file do.
    """
    with open_input(path) as source:
        if os.fstat(source.fileno()).st_size > limit:
            raise _too_large(path, limit)
        pieces, size = [], 0
        while piece := source.read(_PIECE):
            size += len(piece)
            if size > limit:  # the file has grown
                raise _too_large(path, limit)
            if text and b"\0" in piece:
                raise OSError(errno.EINVAL, "it contains NUL bytes, so it is not text", str(path))
            pieces.append(piece)
    return b"".join(pieces)


def _not_a_file(path: Path) -> OSError:
    return OSError(errno.EINVAL, "it is not a regular file", str(path))


def _too_large(path: Path, limit: int) -> OSError:
    return OSError(errno.EFBIG, f"it is larger than {counted(limit, 'byte')}", str(path))
