"""The files of a log on disk, and a writer's knowledge of the log."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from guardrail.ledger.files import FileWatch, leases_path, lock_path
from guardrail.ledger.lease import Leases
from guardrail.ledger.lock import FileLock
from guardrail.ledger.reserve import Reserve

__all__ = ["KnownLog", "LogFiles"]


@dataclass(frozen=True, slots=True)
class LogFiles:
    """The files that one writer uses."""

    db: Path
    reserve_size: int
    """Configured size in bytes."""
    watch: FileWatch
    lock: FileLock
    leases: Leases
    reserve: Reserve

    @classmethod
    def of(cls, db: Path, reserve_size: int, watch: FileWatch | None = None) -> LogFiles:
        """Return the files of the log at *db*, without opening them.

        A forked child passes its parent's *watch*, which knows the identity of the database.
        """
        return cls(
            db=db,
            reserve_size=reserve_size,
            watch=FileWatch(db) if watch is None else watch,
            lock=FileLock(lock_path(db), db),
            leases=Leases(leases_path(db)),
            reserve=Reserve(db, reserve_size),
        )


class KnownLog:
    """The identity of the log, and the newest record known to be durable. A forked child keeps this
    knowledge.
    """

    __slots__ = ("genesis", "last", "log")

    def __init__(self) -> None:
        self.log = ""
        """Origin name of the log, from the genesis."""
        self.genesis: dict[str, object] = {}
        self.last: tuple[int, bytes] | None = None
        """Number and leaf hash of the newest record known to be durable: acknowledged or
        verified.
        """

    @property
    def newest(self) -> int:
        """Number of the newest record known to be durable, or -1 if none is known."""
        last = self.last
        return -1 if last is None else last[0]
