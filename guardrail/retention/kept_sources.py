"""Deletes the kept source of a policy when the last record that names it is deleted, and copies
sources to the folders with copies of records.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

from guardrail.errors import RetentionError
from guardrail.ledger.kept_policies import KeptPolicies
from guardrail.ledger.reader import LedgerReader
from guardrail.system.disk import is_full, make_room, why_not_written

__all__ = ["copy_sources", "delete_copied", "delete_unnamed", "sources_of"]

PROBES = 256
"""Number of sample records, spread over the log, that are read before the entire log is read."""


def sources_of(folder: Path) -> Path:
    """Return the folder for the sources named by the copied records in *folder*."""
    return folder / "policies"


def delete_unnamed(db: Path) -> int:
    """Delete the kept sources of the ledger *db* that no record names and no guard uses; return
    their number.

    A record names a source if its line contains the digest anywhere. Raises ``LedgerError`` or
    ``RetentionError``.
    """
    kept = KeptPolicies(db)
    try:
        files = kept.files()
        if not files:
            return 0
        with LedgerReader.open(db) as reader:
            size = reader.size()
            unnamed = {file.digest for file in files}
            step = max(1, size // PROBES)
            probes = [*range(size - 1, 0, -step), 0]
            unnamed -= _named(unnamed, (reader.record(seq) or b"" for seq in probes))
            unnamed -= _named(unnamed, (line for _, _, line in reader.lines(0, size)))
            if not unnamed:
                return 0
            return len(
                kept.delete(
                    [file for file in files if file.digest in unnamed],
                    # Records may have been added meanwhile.
                    lambda digests: _named(digests, (row[2] for row in reader.lines(size))),
                )
            )
    except OSError as error:
        raise _failed(error, kept.path, "deleted") from None


def _named(digests: Collection[str], lines: Iterable[bytes]) -> set[str]:
    """Return those of *digests* that occur in *lines*. Stops reading once all have occurred."""
    left = {digest.encode("ascii"): digest for digest in digests}
    found: set[str] = set()
    for line in lines if left else ():
        for raw in [raw for raw in left if raw in line]:
            found.add(left.pop(raw))
        if not left:
            break
    return found


def copy_sources(db: Path, folder: Path, *others: Path) -> None:
    """Copy the kept sources of the ledger *db*, and those with the copies of its segments in the
    folders *others*, to *folder*; durable when this returns.

    Call it before a copy of a segment is written to *folder*. Raises ``RetentionError``.
    """
    target = sources_of(folder)
    try:
        KeptPolicies(db).copy_to(target, like=db)
        for other in others:
            KeptPolicies(db, sources_of(other)).copy_to(target, like=db)
    except OSError as error:
        raise _failed(error, target, "copied", "retention.copy_unreadable") from None


def delete_copied(folders: Iterable[Path]) -> None:
    """Delete the sources in each of *folders* that no longer contains a copy of a segment. Raises
    ``RetentionError``.
    """
    for folder in folders:
        kept = KeptPolicies(folder, sources_of(folder))
        try:
            files = [] if any(folder.glob("*.json")) else kept.files()
            if files:
                kept.delete(files, lambda _: ())
        except OSError as error:
            raise _failed(error, kept.path, "deleted") from None


def _failed(
    error: OSError, path: Path, what: str, code: str = "retention.policies"
) -> RetentionError:
    full = is_full(error, path)
    return RetentionError(
        f"sources of policies can't be {what} in {path} ({why_not_written(error, path)})",
        code=code,
        hint=make_room(path) if full else "guardrail retention run",
    )
