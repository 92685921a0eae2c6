"""Writes files durably: files and names are on disk when a function returns."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from guardrail.system.ownership import new_file, new_folder

__all__ = ["make_private_folder", "replace_file", "sync_directory", "write_private"]


def sync_directory(folder: Path) -> None:
    """Make the names in *folder* durable. Raises ``OSError``."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_private_folder(folder: Path) -> None:
    """Create *folder* and its missing parents, all accessible only to their owner. Their names are
    durable when this returns.

    An existing folder is not changed. Raises ``OSError``.
    """
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    new_folder(folder, None)
    for each in reversed(missing):
        sync_directory(each.parent)


def write_private(path: Path, content: bytes, like: Path | None = None) -> None:
    """Create a file that only its owner can read, synced when this returns; ``sync_directory``
    makes its name durable.

    The file gets the owner of the ledger *like*. Raises ``OSError``, including if *path* already
    exists.
    """
    _write(new_file(path, like), content)


def _write(descriptor: int, content: bytes) -> None:
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def replace_file(
    path: Path, content: bytes, *, private: bool = False, like: Path | None = None
) -> None:
    """Create the file *path* with *content*, or replace it. Durable when this returns. If it is
    *private*, only its owner can read it, and it gets the owner of the ledger or file *like*.

    If this raises ``OSError``, an existing file is unchanged.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}")
    try:
        _write(new_file(temporary, like, mode=0o600 if private else 0o666), content)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.absolute().parent)
