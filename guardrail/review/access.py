"""Lists the reads of the ledger that the access log recorded. A field that is missing or has the
wrong type counts as absent.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from guardrail.review.records import RecordReader, parse
from guardrail.review.values import integer, obj, text

__all__ = ["AccessEntry", "AccessList", "document", "list_accesses", "recent_reads"]


@dataclass(frozen=True, slots=True)
class AccessEntry:
    """One recorded read."""

    seq: int
    ts: str
    user: str
    """The principal of the reader's token, or else the operating-system user, according to the
    reader's process.
    """
    assurance: str
    """The degree to which this identity was established: ``verified`` or ``asserted``."""
    method: str
    """How it was established: ``oidc_jwt``, ``os_user`` and others."""
    os_user: str
    """The operating-system user, also if a token names the reader."""
    uid: int | None
    login: str
    """The login user, which may differ (``sudo``), or an empty string if unknown."""
    host: str
    pid: int | None
    terminal: str
    command: str
    selector: Mapping[str, Any]
    """The names and selectors in the request."""
    log: str
    """Name of the ledger, or an empty string if the ledger could not be opened."""
    path: str
    size: int | None
    """Number of records in the ledger when it was read."""
    root: str
    problem: str
    """Error code, if the ledger could not be opened."""
    purpose: str


@dataclass(frozen=True, slots=True)
class AccessList:
    """The newest reads, oldest first."""

    log: str
    """Name of the access log."""
    total: int
    """Total number of reads, including those not shown."""
    shown: tuple[AccessEntry, ...]


def list_accesses(records: RecordReader, limit: int | None = None) -> AccessList:
    """Return the last *limit* reads, or all of them. Raises ``LedgerError``, ``RecordError``."""
    kept: deque[AccessEntry] = deque(maxlen=limit)
    total = 0
    for seq, _, line in records.lines():
        record = parse(line, seq)
        if text(record, "type") == "access.read":
            total += 1
            kept.append(_access(seq, record))
    return AccessList(records.log, total, tuple(kept))


def recent_reads(records: RecordReader, command: str, uid: int, since: str, limit: int) -> int:
    """Return the number of reads by *command* and the user *uid* since the time *since* (RFC 3339
    UTC), or *limit* if there are more. Raises ``LedgerError``, ``RecordError``.

    If the clock was set back, reads with a later time count as recent.
    """
    found = 0
    for seq in range(records.size() - 1, max(records.first(), 1) - 1, -1):
        line = records.record(seq)
        if line is None:
            continue
        record = parse(line, seq)
        if text(record, "ts") < since or found >= limit:
            break
        own = integer(obj(record, "actor"), "uid") == uid
        found += own and text(record, "command") == command
    return found


def _access(seq: int, record: Mapping[str, Any]) -> AccessEntry:
    return AccessEntry(
        seq=seq,
        ts=text(record, "ts"),
        user=text(record, "actor", "id"),
        assurance=text(record, "actor", "assurance"),
        method=text(record, "actor", "method"),
        os_user=text(record, "actor", "os_user") or text(record, "actor", "id"),
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


def document(found: AccessList) -> dict[str, Any]:
    """Return the document for ``guardrail access --json`` (docs/cli.md). Fields are only ever
    added.
    """
    return {
        "log": found.log,
        "total": found.total,
        "accesses": [
            {
                "seq": entry.seq,
                "ts": entry.ts,
                "user": entry.user,
                "assurance": entry.assurance,
                "method": entry.method,
                "os_user": entry.os_user,
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
