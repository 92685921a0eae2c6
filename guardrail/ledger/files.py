"""The files of a log on disk: their names, their permitted locations, the seal, and their identity
while they are open.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from guardrail.core.times import record_time
from guardrail.core.words import counted
from guardrail.errors import LedgerOpenError
from guardrail.ledger.kinds import refuse_kinds
from guardrail.ledger.places import not_a_file, unexaminable

__all__ = [
    "DatabaseFile",
    "FileFault",
    "FileWatch",
    "leases_path",
    "lock_path",
    "mend_shared_memory",
    "missing_ledger",
    "network_filesystem",
    "own_descriptors",
    "refuse_links",
    "reserve_path",
    "resolve",
    "seal_path",
    "traces",
    "utc_timestamp",
]

# On these file systems, locks, shared memory or rename do not work as SQLite requires.
_NETWORK_TYPES = frozenset(
    {
        "9p",
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "coda",
        "fuse.ceph",
        "fuse.gcsfuse",
        "fuse.glusterfs",
        "fuse.mergerfs",
        "fuse.rclone",
        "fuse.s3fs",
        "fuse.sshfs",
        "glusterfs",
        "gpfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
        "ocfs2",
        "orangefs",
        "smb3",
        "smbfs",
    }
)


_WRITTEN = ("-wal", "-shm", "-journal", "-lock", "-leases")
"""Suffixes of the files and the folder next to the database that a writer opens by name."""


def lock_path(db: Path) -> Path:
    """Return the path of the lock file. A lock on this file serialises transactions, checkpoints,
    opening and closing.
    """
    return db.with_name(db.name + "-lock")


def leases_path(db: Path) -> Path:
    """Return the folder with one lease file per process."""
    return db.with_name(db.name + "-leases")


def seal_path(db: Path) -> Path:
    """Return the path of the marker file that blocks all writes until ``guardrail recover`` is
    run.
    """
    return db.with_name(db.name + "-sealed")


def reserve_path(db: Path) -> Path:
    """Return the path of the file that reserves disk space for outcomes."""
    return db.with_name(db.name + "-reserve")


def traces(path: Path) -> list[Path]:
    """Return the existing files of a log at *path*, in a stable order, or an empty list if there
    has never been a log.

    The lock file, the reserve and an empty folder of leases are not included, because they hold no
    log data.
    """
    db = Path(os.path.realpath(path))
    found = [
        db.with_name(db.name + suffix) for suffix in ("", "-wal", "-shm", "-journal", "-sealed")
    ]
    found = [item for item in found if os.path.lexists(item)]
    leases = leases_path(db)
    try:
        if any(leases.iterdir()):
            found.append(leases)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            raise
    return found


def refuse_links(path: Path, *folders: Path) -> None:
    """Raise ``LedgerOpenError`` if one of *folders*, or a file that creating a log at *path* would
    write, is a symbolic link.

    A link planted in the folder could otherwise make a new log write its files somewhere else.
    """
    own = (path.name, path.stem + ".access.")
    try:
        names = os.listdir(path.parent)
    except OSError:
        names = []
    beside = [
        path.with_name(name)
        for name in sorted(names)
        if name == own[0] or name.startswith((f"{own[0]}-", own[1]))
    ]
    _refuse_link((*beside, *folders))


def _refuse_link(paths: Iterable[Path]) -> None:
    for path in paths:
        if path.is_symlink():
            raise LedgerOpenError(
                f"{path} is a symbolic link: data would be written to another place",
                code="ledger.linked",
                hint=f"remove the link: rm {path}",
            )


def missing_ledger(path: Path | None = None, *, hint: str = "guardrail init") -> LedgerOpenError:
    """Return the error for a command that needs a ledger if none exists. Pass *path* unless the
    caller's own error contains the path.
    """
    where = "" if path is None else f"{path}: "
    return LedgerOpenError(
        f"{where}there is no ledger at this path", code="ledger.missing", hint=hint
    )


def resolve(path: Path) -> Path:
    """Return *path* with symbolic links resolved. Afterwards, the file is identified by its inode,
    not by its name.

    Raises ``LedgerOpenError`` if the folder is missing; if the file is not a regular file, has
    several names, or is on a network file system; or if a file that a writer keeps next to it is a
    symbolic link or not a file.
    """
    db = Path(os.path.realpath(path))
    if not db.parent.is_dir():
        _refuse_link([path])  # a link whose target does not exist
        raise LedgerOpenError(
            "the ledger's folder does not exist",
            code="ledger.missing",
            hint=f"mkdir -p {db.parent}",
        )
    _refuse_link(db.with_name(db.name + suffix) for suffix in _WRITTEN)
    refuse_kinds(db, _WRITTEN)
    kind = network_filesystem(db.parent)
    if kind is not None:
        raise LedgerOpenError(
            f"the ledger is on a network file system ({kind}), where locks and syncs are "
            "unreliable",
            code="ledger.filesystem",
            hint="put the ledger on a local disk; only one host can write to a log",
        )
    try:
        found = os.stat(db)
    except FileNotFoundError:
        return db
    except OSError as error:
        raise unexaminable(db, error) from None
    if not stat.S_ISREG(found.st_mode):
        raise not_a_file(db)
    if found.st_nlink != 1 and not _finish_creation(db, found):
        raise LedgerOpenError(
            (
                f"the ledger's file has {counted(found.st_nlink, 'hard link')}, "
                "and SQLite would write a separate -wal file for each name"
            ),
            code="ledger.linked",
            hint="remove the other names; copy the file if you want a copy",
        )
    return db


def _finish_creation(db: Path, found: os.stat_result) -> bool:
    """Remove the temporary name of *db* if a process died in ``create`` and left it. Return True if
    exactly one name is left.
    """
    for name in db.parent.glob(f"{glob.escape(db.name)}-new-*"):
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.lstat(name), found):
                name.unlink(missing_ok=True)
    return os.stat(db).st_nlink == 1


def network_filesystem(folder: Path, mounts: str | None = None) -> str | None:
    """Return the type of the network file system that holds *folder*, or None if the file system is
    local.

    *mounts* is the content of ``/proc/self/mountinfo``. If it can't be read, every folder counts as
    local.
    """
    if mounts is None:
        try:
            mounts = Path("/proc/self/mountinfo").read_text(
                encoding="utf-8", errors="surrogateescape"
            )
        except OSError:
            return None
    target = os.path.realpath(folder) + "/"
    best, kind = "", None
    for line in mounts.splitlines():
        left, separator, right = line.partition(" - ")
        fields = left.split(" ")
        if not separator or len(fields) < 5:
            continue
        point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[4])
        if target.startswith(point.rstrip("/") + "/") and len(point) >= len(best):
            best, kind = point, right.split(" ", 1)[0]
    return kind if kind in _NETWORK_TYPES else None


def utc_timestamp() -> str:
    """Return the current time in the form used in records: RFC 3339, UTC, microseconds, ``Z``."""
    return record_time(datetime.now(UTC))


class DatabaseFile(StrEnum):
    """The three files that SQLite uses."""

    DATABASE = ""
    WAL = "-wal"
    SHM = "-shm"


@dataclass(frozen=True, slots=True)
class FileFault:
    """The reason that a file is no longer the file that was opened."""

    part: DatabaseFile
    what: str
    """``missing``, ``replaced``, ``shrunk``, ``linked`` or ``unreadable``."""
    seals: bool
    """True if only ``guardrail recover`` can repair the fault."""

    def __str__(self) -> str:
        name = "database" if self.part is DatabaseFile.DATABASE else self.part.value
        return f"the {name} file is {self.what}"


@dataclass(slots=True)
class _FileState:
    device: int
    inode: int
    size: int


class FileWatch:
    """Checks with ``stat`` that the database, its ``-wal`` and its ``-shm`` are still the files
    that were opened.

    The files are never opened, because closing a descriptor would drop SQLite's POSIX locks. SQLite
    itself does not notice that a file was replaced, and continues to report success.
    """

    def __init__(self, db: Path) -> None:
        self._paths = {part: f"{db}{part}" for part in DatabaseFile}
        self._database: _FileState | None = None
        self._seen: list[tuple[DatabaseFile, str, _FileState]] = []

    def adopt(self) -> FileFault | None:
        """Accept the current files as the ones that are open. Return the fault that prevents this,
        or None.

        The identity of the database is fixed by the first call. SQLite must already have read from
        the database.
        """
        fault = self.check_database()
        if fault is not None:
            return fault
        mine = own_descriptors(self._paths[DatabaseFile.DATABASE])
        seen: list[tuple[DatabaseFile, str, _FileState]] = []
        for part, path in self._paths.items():
            try:
                found = os.stat(path)
            except FileNotFoundError:
                return FileFault(part, "missing", seals=part is DatabaseFile.DATABASE)
            except OSError:
                return FileFault(part, "unreadable", seals=False)
            if mine is not None and (found.st_dev, found.st_ino) not in mine:
                # Another handle of this process keeps SQLite on the old file.
                return FileFault(part, "replaced", seals=False)
            entry = _FileState(found.st_dev, found.st_ino, found.st_size)
            if part is DatabaseFile.DATABASE:
                if self._database is None:
                    self._database = entry
                entry = self._database
            seen.append((part, path, entry))
        self._seen = seen
        return None

    def check_database(self) -> FileFault | None:
        """Check only the database file. Return its fault, or None. Before the first ``adopt``,
        there is nothing to compare.
        """
        if self._database is None:
            return None
        return _compare(DatabaseFile.DATABASE, self._paths[DatabaseFile.DATABASE], self._database)

    @property
    def largest_shm(self) -> int:
        """The largest size of the ``-shm`` so far; 0 before the first ``adopt``."""
        return max(
            (seen.size for part, _, seen in self._seen if part is DatabaseFile.SHM), default=0
        )

    def check(self) -> FileFault | None:
        """Return the fault of the first file that has changed, or None.

        Also remembers the largest size of each file.
        """
        stat_ = os.stat
        for part, path, seen in self._seen:
            try:
                found = stat_(path)
            except OSError:
                return _compare(part, path, seen)
            size = found.st_size
            if (
                found.st_ino != seen.inode
                or found.st_dev != seen.device
                or size < seen.size
                or found.st_nlink != 1
            ):
                return _compare(part, path, seen)
            seen.size = size
        return None


def _compare(part: DatabaseFile, path: str, seen: _FileState) -> FileFault | None:
    seals = part is DatabaseFile.DATABASE
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return FileFault(part, "missing", seals)
    except OSError:
        return FileFault(part, "unreadable", seals=False)
    if found.st_ino != seen.inode or found.st_dev != seen.device:
        return FileFault(part, "replaced", seals)
    if found.st_size < seen.size:
        return FileFault(part, "shrunk", seals)
    if found.st_nlink != 1:
        # A second hard link does no harm yet, and removing it is enough, so calls are blocked but
        # the ledger is not sealed.
        return FileFault(part, "linked", seals=False)
    seen.size = found.st_size
    return None


def own_descriptors(db: str) -> set[tuple[int, int]] | None:
    """Return (device, inode) of every file of *db* that this process has open, or None if they
    can't be listed.
    """
    try:
        numbers = os.listdir("/proc/self/fd")
    except OSError:
        return None
    return {(found.st_dev, found.st_ino) for _, found in _descriptors(db, numbers)}


def _descriptors(db: str, numbers: list[str]) -> Iterator[tuple[int, os.stat_result]]:
    for number in numbers:
        try:
            if os.readlink(f"/proc/self/fd/{number}").startswith(db):
                yield int(number), os.fstat(int(number))
        except OSError:
            continue


def mend_shared_memory(db: Path, largest: int) -> None:
    """Restore the size of a truncated ``-shm``, so that an access to the mapping can't kill this
    process with SIGBUS.

    The added bytes are zeros, which SQLite treats as an index to be rebuilt from the ``-wal``.
    """
    try:
        numbers = os.listdir("/proc/self/fd")
    except OSError:
        return
    for number, found in _descriptors(f"{db}-shm", numbers):
        if found.st_size < largest:
            with contextlib.suppress(OSError):
                os.truncate(f"/proc/self/fd/{number}", largest)
