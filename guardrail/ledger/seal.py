"""The marker file next to a sealed ledger. It prevents every process from writing."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from guardrail.ledger.files import seal_path
from guardrail.system.durable import sync_directory
from guardrail.system.input_files import read_input
from guardrail.system.ownership import new_file

__all__ = ["Seal"]

_MAX_SEAL = 1 << 20
"""Maximum number of bytes read from a marker. A longer marker also seals."""


@dataclass(frozen=True, slots=True)
class Seal:
    """The content of the marker file next to a sealed ledger."""

    log: str
    last_seq: int
    """Number of the last record that the process acknowledged."""
    last_leaf: str
    why: str
    when: str
    genesis: dict[str, Any]
    """Line 0, decoded. A new log uses it to name its predecessor."""
    away: bool = False
    """True if the database was missing from its path.

    A process that had the database open lifts the seal if the database comes back unchanged.
    """

    def write(self, db: Path) -> None:
        """Write the marker next to *db*, durably. An existing marker is kept unless its type is
        ``away``.

        Raises ``OSError``.
        """
        there = self.read(db)
        if there is not None and (self.away or not there.away):
            return
        known = self if there is None or there.last_seq <= self.last_seq else there
        document = {**asdict(self), "last_seq": known.last_seq, "last_leaf": known.last_leaf}
        target = seal_path(db)
        fresh = target if there is None else target.with_name(f"{target.name}-{os.getpid()}")
        try:
            descriptor = new_file(fresh, db)
        except FileExistsError:
            return
        try:
            os.write(descriptor, json.dumps(document, indent=1).encode("utf-8") + b"\n")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if fresh != target:
            os.replace(fresh, target)
        sync_directory(db.parent)

    @classmethod
    def read(cls, db: Path) -> Seal | None:
        """Return the marker next to *db*, or None. An unreadable marker also counts as a seal."""
        try:
            data = json.loads(read_input(seal_path(db), _MAX_SEAL))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError, RecursionError):
            data = {}
        if not isinstance(data, dict):
            data = {}
        genesis = data.get("genesis")
        seq = data.get("last_seq")
        return cls(
            log=str(data.get("log", "")),
            last_seq=seq if isinstance(seq, int) else -1,
            last_leaf=str(data.get("last_leaf", "")),
            why=str(data.get("why", "the marker can't be read")),
            when=str(data.get("when", "")),
            genesis=genesis if isinstance(genesis, dict) else {},
            away=data.get("away") is True,
        )
