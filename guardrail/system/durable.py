"""Files and names that are on the disk when a function returns. For every layer that keeps something."""

from __future__ import annotations

import os
from pathlib import Path

from guardrail.system.ownership import new_file

__all__ = ["sync_directory", "write_private"]


def sync_directory(folder: Path) -> None:
    """Make the names in *folder* durable. Raises ``OSError``."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_private(path: Path, content: bytes, like: Path | None = None) -> None:
    """Make a file that its owner alone can read, synced when this returns; its name is for ``sync_directory``.

    It belongs to whom the ledger *like* belongs. Raises ``OSError``, also where something is there.
    """
    with os.fdopen(new_file(path, like), "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
