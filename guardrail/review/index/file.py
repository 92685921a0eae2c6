"""The file of an index: its location, its lock, and how it is created and replaced."""

from __future__ import annotations

import contextlib
import fcntl
import glob
import hashlib
import os
import re
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from guardrail.config import ReviewSettings
from guardrail.errors import os_reason
from guardrail.review.index.store import IndexStore, UnusableIndexError
from guardrail.system.disk import why_not_written
from guardrail.system.ownership import new_file, new_folder
from guardrail.system.state_folder import is_temporary, state_folder

__all__ = ["IndexFile", "index_file"]

PATIENCE = 10.0
"""Seconds to wait while another process adds records. It adds them in transactions that take a
fraction of a second.
"""
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]+")


class IndexFile:
    """The location of one ledger's index. Raises ``UnusableIndexError`` and ``StaleIndexError``."""

    def __init__(self, folder: Path, ledger: Path) -> None:
        """*folder* and the file are created when they are needed."""
        self.ledger = os.path.realpath(ledger)
        self.folder = folder
        digest = hashlib.sha256(os.fsencode(self.ledger)).hexdigest()
        # The name of the ledger comes first, because Datasette shows the name of the file.
        stem = _NOT_IN_NAMES.sub("-", Path(self.ledger).stem)[:40].strip("-") or "ledger"
        self.path = folder / f"{stem}-{digest[:16]}.db"

    def open(self) -> IndexStore:
        """Open the index. Create an empty one if there is none."""
        if not os.path.lexists(self.path):
            with self.locked():
                if not os.path.lexists(self.path):
                    self._make()
        self._check_file()
        return IndexStore.open(self.path)

    def replace(self) -> IndexStore:
        """Replace the index with an empty one, and open it."""
        with self.locked():
            if os.path.lexists(self.path):
                self._check_file(kind_only=True)
            self._make()
        return IndexStore.open(self.path)

    def inode(self) -> int:
        """Return the file's inode number, which changes if another process replaces the file, or 0
        if there is no file.
        """
        try:
            return os.stat(self.path).st_ino
        except OSError:
            return 0

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder's lock inside the block. Only its holder may create, replace or change an
        index.
        """
        with self._errors():
            new_folder(self.folder, None)
            descriptor = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            end = time.monotonic() + PATIENCE
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > end:
                        raise UnusableIndexError("another process keeps it locked") from None
                    time.sleep(0.005)
            yield
        finally:
            os.close(descriptor)

    def _make(self) -> None:
        """Create an empty index at the path, under the lock. A process that has the old file open
        can still read it, but will not write to it.
        """
        with self._errors():
            for left in self.folder.glob(f".{glob.escape(self.path.name)}.*"):
                left.unlink()  # left by a process that died here
            fresh = self.path.with_name(f".{self.path.name}.{os.getpid()}")
            os.close(new_file(fresh, None))
        try:
            IndexStore.create(fresh)
            with self._errors():
                # SQLite would apply the journal of the old file to the new one.
                self.path.with_name(f"{self.path.name}-journal").unlink(missing_ok=True)
                fresh.replace(self.path)
        except BaseException:
            with contextlib.suppress(OSError):
                fresh.unlink()
            raise

    def _check_file(self, *, kind_only: bool = False) -> None:
        """Reject a file that is not this user's own, so that it is neither read nor deleted."""
        with self._errors():
            folder, file = os.stat(self.folder), os.lstat(self.path)
        if not stat.S_ISREG(file.st_mode):
            raise UnusableIndexError("it is not a regular file")
        if file.st_uid != os.geteuid():
            raise UnusableIndexError("it belongs to another user")
        if folder.st_mode & 0o022 and not folder.st_mode & stat.S_ISVTX:
            raise UnusableIndexError("other users can replace files in its folder")
        if not kind_only and (file.st_nlink != 1 or file.st_mode & 0o077):
            raise UnusableIndexError("other users can open it")

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            full = why_not_written(error, self.path)
            raise UnusableIndexError(full or os_reason(error)) from None


def index_file(settings: ReviewSettings, ledger: Path) -> IndexFile | None:
    """Return the location of the index for *ledger*, or None if ``[review] index`` is off, or if
    this user has no home directory.

    Ledgers in temporary directories are expected to disappear. They have an index only if
    ``[review] index`` is a folder.
    """
    if isinstance(settings.index, Path):
        return IndexFile(settings.index, ledger)
    folder = state_folder("index") if settings.index else None
    return None if folder is None or is_temporary(ledger) else IndexFile(folder, ledger)
