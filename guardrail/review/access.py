"""Who read the ledger, as the access log has it. Values only; a field that is missing or of another type reads as absent."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from guardrail.review.records import Records, integer, obj, parse, text

__all__ = ["Access", "Accesses", "document", "list_accesses"]


@dataclass(frozen=True, slots=True)
class Access:
    """One reading."""

    seq: int
    ts: str
    user: str
    """The operating-system user, as the reader's process said."""
    uid: int | None
    login: str
    """Who had logged in, where that is another one (``sudo``) or the same; empty where unknown."""
    host: str
    pid: int | None
    terminal: str
    command: str
    selector: Mapping[str, Any]
    """What was asked for."""
    log: str
    """Name of the ledger; empty where it could not be opened."""
    path: str
    size: int | None
    """Its records at that moment."""
    root: str
    problem: str
    """Code of the error where it could not be opened."""
    purpose: str


@dataclass(frozen=True, slots=True)
class Accesses:
    """The newest readings, the oldest of them first."""

    log: str
    """Name of the access log."""
    total: int
    """How many there are, with those that are not shown."""
    shown: tuple[Access, ...]


def list_accesses(records: Records, limit: int | None = None) -> Accesses:
    """Return the last *limit* readings, or all of them. Raises ``LedgerError``, ``RecordError``."""
    kept: deque[Access] = deque(maxlen=limit)
    total = 0
    for seq, _, line in records.lines():
        record = parse(line, seq)
        if text(record, "type") == "access.read":
            total += 1
            kept.append(_access(seq, record))
    return Accesses(records.log, total, tuple(kept))


def _access(seq: int, record: Mapping[str, Any]) -> Access:
    return Access(
        seq=seq,
        ts=text(record, "ts"),
        user=text(record, "actor", "id"),
        uid=integer(obj(record, "actor"), "uid"),
        login=text(record, "actor", "login"),
        host=text(record, "origin", "host"),
        pid=integer(obj(record, "origin"), "pid"),
        terminal=text(record, "origin", "terminal"),
        command=text(record, "command"),
        selector=obj(record, "selector"),
        log=text(record, "ledger", "log"),
        path=text(record, "ledger", "path"),
        size=integer(obj(record, "ledger"), "size"),
        root=text(record, "ledger", "root"),
        problem=text(record, "ledger", "problem"),
        purpose=text(record, "purpose"),
    )


def document(found: Accesses) -> dict[str, Any]:
    """Return what ``guardrail access --json`` answers (docs/cli.md). Fields are only ever added."""
    return {
        "log": found.log,
        "total": found.total,
        "accesses": [
            {
                "seq": entry.seq,
                "ts": entry.ts,
                "user": entry.user,
                "uid": entry.uid,
                "login": entry.login or None,
                "host": entry.host,
                "pid": entry.pid,
                "terminal": entry.terminal or None,
                "command": entry.command,
                "selector": entry.selector,
                "ledger": {
                    "log": entry.log or None,
                    "path": entry.path,
                    "size": entry.size,
                    "root": entry.root or None,
                    "problem": entry.problem or None,
                },
                "purpose": entry.purpose or None,
            }
            for entry in found.shown
        ],
    }
