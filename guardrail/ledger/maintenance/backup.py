"""Backs up a ledger: takes a consistent copy through SQLite while writers run, and verifies the
copy before giving it its final name.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from guardrail.errors import LedgerError
from guardrail.ledger.files import missing_ledger
from guardrail.ledger.kept_policies import KeptPolicies
from guardrail.ledger.reader import LedgerReader
from guardrail.ledger.sqlite.copying import copy_database
from guardrail.ledger.sqlite.database import SQLiteError, open_error
from guardrail.system.disk import is_full, make_room, no_room
from guardrail.system.durable import sync_directory
from guardrail.system.ownership import explain_error

__all__ = ["Backup", "backup"]


@dataclass(frozen=True, slots=True)
class Backup:
    """A finished copy."""

    path: Path
    log: str
    records: int
    """Number of records, including pruned ones."""
    leaf: str
    """Leaf hash of the last record, hex."""
    bytes: int
    policies: int
    """Number of files in the folder *path*-policies: the kept sources of policies."""


def backup(
    ledger: Path, target: Path, *, check: Callable[[Path], str], taken: Sequence[Path] = ()
) -> Backup:
    """Copy *ledger* to *target*: one file, mode 0600, verified and durable when this returns. The
    kept sources of its policies are copied to the folder *target*-policies.

    The copy contains every record that was acknowledged before the call. Writers continue
    meanwhile, because the copy is made in one read transaction. *check* verifies a ledger and
    returns its problems. *taken* are paths already used for something else, such as keys and the
    access log. Raises ``LedgerError``: ``ledger.exists`` if *target* exists, and ``ledger.damaged``
    if *check* finds a problem; no copy is left in that case.
    """
    db = Path(os.path.realpath(ledger))
    if not db.exists():
        raise missing_ledger()
    copies = KeptPolicies(target.absolute()).path
    if os.path.lexists(target) or os.path.lexists(copies):
        raise _exists()
    for used in (db, *taken):
        _refuse_own_name(Path(os.path.realpath(used)), target)
    LedgerReader.open(db).close()  # raises if there is an obvious problem
    temporary = target.with_name(f".{target.name}.{os.getpid()}.new")
    sources = temporary.with_name(temporary.name + "-policies")
    try:
        try:
            policies = _copy(db, temporary, sources)
            problem = check(temporary)
            if problem:
                raise LedgerError(
                    f"the copy is faulty, so the ledger or the disk probably is too: {problem}",
                    code="ledger.damaged",
                    hint="guardrail verify",
                )
            made = _described(temporary, target, policies)
            _sync(temporary)
            _name(temporary, target, sources, copies)
        finally:
            shutil.rmtree(sources, ignore_errors=True)
            for suffix in ("", "-wal", "-shm", "-journal"):
                temporary.with_name(temporary.name + suffix).unlink(missing_ok=True)
        sync_directory(target.absolute().parent)
    except FileExistsError:
        raise _exists() from None
    except (SQLiteError, OSError) as error:
        if is_full(error, target):
            raise _full(db, target) from None
        if not target.absolute().parent.exists():
            raise _no_folder(target.absolute().parent) from None
        if isinstance(error, SQLiteError):
            raise open_error(error, db, write=False) from error
        raise LedgerError(
            f"the copy can't be written: {explain_error(error, target)[0]}",
            code="ledger.backup",
            hint="choose a folder that this user can write to: guardrail backup FILE",
        ) from None
    return made


def _refuse_own_name(db: Path, target: Path) -> None:
    """Raise ``LedgerError`` for a name that the ledger uses for its own files, because a copy with
    that name would be mistaken for one of them.
    """
    place = Path(os.path.realpath(target.parent)) / target.name
    own = (f"{db.name}-", f"{db.stem}.access.", f"{db.stem}.keys")
    if any(
        each == db or (each.parent == db.parent and each.name.startswith(own))
        for each in (place, *place.parents)
    ):
        raise LedgerError(
            "this name is reserved for the ledger's own files",
            code="ledger.exists",
            hint="choose another name or folder for FILE: guardrail backup FILE",
        )


def _described(path: Path, target: Path, policies: int) -> Backup:
    with LedgerReader.open(path) as reader:
        head = reader.head()
        if head is None:
            raise LedgerError("the log has no records", code="ledger.damaged")
        size = path.stat().st_size
        return Backup(target, head.log, head.size, head.leaf.hex(), size, policies)


def _copy(db: Path, target: Path, sources: Path) -> int:
    """Copy the records of *db* to the new file *target*, and the kept sources to the folder
    *sources*; return the number of sources.
    """
    os.close(os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    # The sources are copied before the records, because pruning may delete some meanwhile, and
    # again after them, because a guard may keep new ones.
    kept = KeptPolicies(db)
    count = kept.copy_to(sources)
    copy_database(db, target)
    return count + kept.copy_to(sources)


def _name(copied: Path, target: Path, sources: Path, policies: Path) -> None:
    """Give the copies their final names: the folder of policies first, if there is one, because the
    records refer to the policies. Raises ``FileExistsError`` if the name *target* is taken.
    """
    named = sources.exists()
    if named:
        os.rename(sources, policies)
    try:
        os.link(copied, target)  # unlike rename, link never replaces an existing file
    except OSError:
        if named:
            shutil.rmtree(policies, ignore_errors=True)
        raise


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _full(db: Path, target: Path) -> LedgerError:
    size = 0
    for part in (db, Path(f"{db}-wal")):
        with contextlib.suppress(OSError):
            size += part.stat().st_size
    return LedgerError(
        no_room(target, size, most=True), code="ledger.backup", hint=make_room(target)
    )


def _no_folder(folder: Path) -> LedgerError:
    return LedgerError(
        f"the copy can't be written: the folder {folder} does not exist",
        code="ledger.backup",
        hint=f"mkdir -p {shlex.quote(str(folder))}, or choose another path: guardrail backup FILE",
    )


def _exists() -> LedgerError:
    return LedgerError(
        "a file already exists at this path, and a backup never overwrites a file",
        code="ledger.exists",
        hint="choose another name for FILE: guardrail backup FILE",
    )
