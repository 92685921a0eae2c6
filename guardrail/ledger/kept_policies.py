"""Keeps the sources of the policies behind recorded decisions, so that the decisions can be
re-derived.

Each source is one file in the folder ``NAME-policies`` next to the ledger NAME. The name of the
file is the SHA-256 of its content, which appears in records as ``policy.digest`` or
``policy.data``. Each read checks the content against the name, so a changed file is never used.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import stat
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Self

from guardrail.core.words import counted
from guardrail.errors import LedgerError
from guardrail.system.disk import is_full, make_room, why_not_written
from guardrail.system.durable import sync_directory, write_private
from guardrail.system.ownership import denial_of, new_folder

__all__ = ["MAX_SOURCE", "KeptFile", "KeptPolicies", "PolicyHold", "SourceFault", "SourceKind"]

MAX_SOURCE = 64 << 20
"""Maximum size of a source in bytes."""
_LOCK_SECONDS = 10.0
_NAME = re.compile(r"([0-9a-f]{64})\.(modules|data)")
_TEMPORARY = ".new"
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


class SourceKind(StrEnum):
    """The kind of a kept source, which is also the extension of its file."""

    MODULES = "modules"
    """The modules of a policy; records name their digest as ``policy.digest``."""
    DATA = "data"
    """The data document; records name its digest as ``policy.data``."""


class SourceFault(StrEnum):
    """The reason that a source can't be read."""

    MISSING = "missing"
    CHANGED = "changed"
    """The content of the file does not match its name."""
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True, order=True)
class KeptFile:
    """The file of one source."""

    digest: str
    """SHA-256 of its content, 64 hex characters."""
    kind: SourceKind

    @property
    def name(self) -> str:
        """Name of the file in its folder."""
        return f"{self.digest}.{self.kind}"

    @classmethod
    def parse(cls, name: str) -> Self | None:
        """Return the source whose file is called *name*, or None if *name* is not the name of a
        source's file.
        """
        found = _NAME.fullmatch(name)
        return None if found is None else cls(found[1], SourceKind(found[2]))


class PolicyHold:
    """Prevents the deletion of some sources until the hold is released, or until its process
    ends.
    """

    def __init__(self, descriptors: Collection[int] = ()) -> None:
        self._descriptors = list(descriptors)

    def release(self) -> None:
        """Allow the sources to be deleted. Idempotent and thread-safe."""
        with contextlib.suppress(IndexError):
            while True:
                os.close(self._descriptors.pop())


class KeptPolicies:
    """The kept sources of one ledger. Any number of processes can use them at the same time."""

    def __init__(self, db: Path, folder: Path | None = None) -> None:
        """Use the folder next to the ledger *db*, or its copy *folder* if that is given."""
        db = Path(os.path.realpath(db))
        self._db = db
        self.path = db.with_name(db.name + "-policies") if folder is None else folder
        """Folder of the files, mode 0700. It does not exist before the first ``keep``."""

    def keep(self, sources: Mapping[SourceKind, bytes]) -> PolicyHold:
        """Store *sources* in files with mode 0600; durable when this returns.

        The sources can't be deleted while the returned hold exists. Files that already have the
        right content are left unchanged; others are replaced. Raises ``LedgerError``
        (``ledger.policies``, or ``ledger.reserve`` if the disk is full).
        """
        if not sources:
            return PolicyHold()
        for content in sources.values():
            if len(content) > MAX_SOURCE:
                raise _too_large(len(content))
        try:
            self._make_folder()
            with self._locked() as folder:
                self._remove_temporary(folder)
                files = []
                for kind, content in sources.items():
                    files.append(KeptFile(hashlib.sha256(content).hexdigest(), kind))
                    self._put(folder, files[-1], content)
                os.fsync(folder)
                return PolicyHold([_hold(folder, file) for file in files])
        except OSError as error:
            raise self._not_kept(error, sum(map(len, sources.values()))) from None

    def read(self, file: KeptFile) -> bytes | SourceFault:
        """Return the content of *file* after comparing it with the file's name, or the reason that
        it can't be read.
        """
        if KeptFile.parse(file.name) != file:
            return SourceFault.MISSING  # a record can contain anything in place of a digest
        try:
            with self._opened() as folder:
                content = _content(folder, file.name)
        except FileNotFoundError:
            return SourceFault.MISSING
        except OSError:
            return SourceFault.UNREADABLE
        return content if _matches(content, file) else SourceFault.CHANGED

    def files(self) -> list[KeptFile]:
        """Return the kept files, sorted by name; their content is not examined. Raises
        ``OSError``.
        """
        try:
            with self._opened() as folder:
                names = os.listdir(folder)
        except FileNotFoundError:
            return []
        return sorted(file for file in map(KeptFile.parse, names) if file is not None)

    def delete(
        self, files: Collection[KeptFile], still_named: Callable[[frozenset[str]], Collection[str]]
    ) -> list[KeptFile]:
        """Delete those of *files* that no guard holds and whose digests *still_named* does not
        return; durable when this returns.

        *still_named* receives the digests that no guard holds. No guard can keep a source while
        this runs, so a guard that starts at the same time finds its source deleted and keeps it
        again. Return the deleted files. Raises ``OSError``.
        """
        with self._locked() as folder, contextlib.ExitStack() as stack:
            free = []
            for file in files:
                with contextlib.suppress(FileNotFoundError):
                    descriptor = os.open(file.name, _FLAGS, dir_fd=folder)
                    stack.callback(os.close, descriptor)
                    if _try_lock(descriptor, fcntl.LOCK_EX):
                        free.append(file)
            named = still_named(frozenset(file.digest for file in free)) if free else ()
            gone = [file for file in free if file.digest not in named]
            for file in gone:
                os.unlink(file.name, dir_fd=folder)
            self._remove_temporary(folder)
            os.fsync(folder)
        return gone

    def copy_to(self, target: Path, *, like: Path | None = None) -> int:
        """Copy all intact sources to the folder *target*, which may already hold some of them;
        durable when this returns.

        The files get the owner of the ledger *like*. Return the number of files copied. Raises
        ``OSError``.
        """
        copied, there = 0, KeptPolicies(self._db, target)
        for file in self.files():
            if not isinstance(there.read(file), SourceFault):
                continue
            content = self.read(file)
            if isinstance(content, SourceFault):
                continue
            if not copied:
                new_folder(target, like)
            _write(target / file.name, content, like)
            copied += 1
        if copied:
            sync_directory(target)
            sync_directory(target.absolute().parent)
        return copied

    # -- the folder --------------------------------------------------------------------------------

    def _make_folder(self) -> None:
        new_folder(self.path, self._db)
        sync_directory(self.path.parent)  # a process may have died before it did this

    @contextlib.contextmanager
    def _opened(self) -> Iterator[int]:
        folder = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            yield folder
        finally:
            os.close(folder)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[int]:
        """Open the folder, and keep other processes from keeping or deleting sources."""
        with self._opened() as folder:
            until = time.monotonic() + _LOCK_SECONDS
            while not _try_lock(folder, fcntl.LOCK_EX):
                if time.monotonic() > until:
                    raise TimeoutError(
                        errno.ETIMEDOUT, "another process holds its lock", str(self.path)
                    )
                time.sleep(0.005)
            yield folder

    def _put(self, folder: int, file: KeptFile, content: bytes) -> None:
        try:
            descriptor = os.open(file.name, _FLAGS, dir_fd=folder)
        except OSError:
            pass  # the file is missing, or this process can't read it
        else:
            try:
                if stat.S_ISREG(os.fstat(descriptor).st_mode) and _matches(_read(descriptor), file):
                    os.fsync(descriptor)  # an operator may have copied it here
                    return
            finally:
                os.close(descriptor)
        _write(self.path / file.name, content, self._db)

    def _remove_temporary(self, folder: int) -> None:
        """Remove temporary files left by dead processes. Call this under the lock."""
        for name in os.listdir(folder):
            if name.startswith(".") and name.endswith(_TEMPORARY):
                os.unlink(name, dir_fd=folder)

    def _not_kept(self, error: OSError, size: int) -> LedgerError:
        linked = self.path.is_symlink()
        if linked or (os.path.lexists(self.path) and not self.path.is_dir()):
            what = "a symbolic link" if linked else "not a folder"
            return LedgerError(
                f"{self.path} must be a folder for the policy sources, but it is {what}",
                code="ledger.linked" if linked else "ledger.not_a_file",
                hint=f"move it away: mv {self.path} {self.path}-away",
            )
        missing = denial_of(error, self.path, self._db)
        full = is_full(error, self.path)
        why = why_not_written(error, self.path / "-", size)
        return LedgerError(
            f"the policy sources can't be stored in {self.path} ({why}), so decisions made by "
            "these policies could not be re-derived",
            code="ledger.reserve" if full else "ledger.policies",
            hint=make_room(self.path)
            if full
            else (missing.hint if missing is not None else "guardrail doctor"),
        )


def _try_lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _hold(folder: int, file: KeptFile) -> int:
    descriptor = os.open(file.name, _FLAGS, dir_fd=folder)
    if not _try_lock(descriptor, fcntl.LOCK_SH):
        os.close(descriptor)
        raise OSError(errno.EBUSY, "another program has locked a file in the folder", file.name)
    return descriptor


def _content(folder: int, name: str) -> bytes:
    descriptor = os.open(name, _FLAGS, dir_fd=folder)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file", name)
        return _read(descriptor)
    finally:
        os.close(descriptor)


def _read(descriptor: int) -> bytes:
    """Return the content. If the file is too long, return only its beginning, which matches no
    digest.
    """
    with os.fdopen(descriptor, "rb", closefd=False) as source:
        return source.read(MAX_SOURCE + 1)


def _matches(content: bytes, file: KeptFile) -> bool:
    return len(content) <= MAX_SOURCE and hashlib.sha256(content).hexdigest() == file.digest


def _write(path: Path, content: bytes, like: Path | None) -> None:
    """Create or replace *path* in one step, with the synced *content*."""
    temporary = path.with_name(f".{path.name}{_TEMPORARY}")
    temporary.unlink(missing_ok=True)
    try:
        write_private(temporary, content, like)
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def _too_large(size: int) -> LedgerError:
    return LedgerError(
        f"the policies or their data are too large to store: {counted(size, 'byte')}, but the "
        f"limit is {MAX_SOURCE}",
        code="ledger.policies",
        hint="reduce the data document, or set keep_data = false in [policy]",
    )
