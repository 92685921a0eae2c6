"""A disk of its own for a test, and a way to fill it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """Mount a tmpfs of *size* at *folder*; skip the test if this user can't mount."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting is not allowed here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(path: Path) -> OSError:
    """Append to *path* until the disk has no byte left; return the error that the system gave."""
    with path.open("ab", buffering=0) as filler:
        for size in (65536, 4096, 512):
            try:
                while True:
                    filler.write(b"x" * size)
            except OSError as error:
                refused = error
    return refused
