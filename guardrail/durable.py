"""Files and names that are on the disk when a function returns. For every layer that keeps something."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["sync_directory", "write_private"]


def sync_directory(folder: Path) -> None:
    """Make the names in *folder* durable. Raises ``OSError``."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_private(path: Path, content: bytes) -> None:
    """Make a file that its owner alone can read, synced when this returns; its name is for ``sync_directory``.

    Raises ``OSError``, also where something is there.
    """
    descriptor = os.open(
        path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
    )
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
