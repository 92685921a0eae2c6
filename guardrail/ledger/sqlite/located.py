"""Writes the rows that locate records: the tables ``call`` and ``place``.

Used inside a writer's transaction. The rows are only copies of facts in the lines: ``verify``
compares them, and they can be rebuilt.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence

from guardrail.core.log.merkle import Edge
from guardrail.core.log.places import BLOCK, Place, call_step, number_of, places_of
from guardrail.core.log.record import decode, decode_or_none
from guardrail.errors import LedgerError, LedgerOpenError, RecordError
from guardrail.ledger.storage import TreeRows
from guardrail.ledger.tree import check_included, node_reader

__all__ = [
    "LocatedRows",
    "block_end",
    "fill",
    "forget_pruned",
    "lines_of",
    "mend_block",
    "require_outcome",
    "wrong_call",
]

Execute = Callable[..., sqlite3.Cursor]

_CHUNK = 512
_MOST_SESSIONS = 10_000
"""Maximum number of sessions remembered to have a place."""

# The same call can't be in both parts of the table, because the other part is searched first. No
# other writer can write in between.
_OPEN = """INSERT INTO call (open, call, decision, process, host, pid)
SELECT 1, ?1, ?2, ?3, ?4, ?5 WHERE NOT EXISTS (SELECT 1 FROM call WHERE open = 0 AND call = ?1)"""
_DECIDE = """INSERT INTO call (open, call, decision)
SELECT 0, ?1, ?2 WHERE NOT EXISTS (SELECT 1 FROM call WHERE open = 1 AND call = ?1)"""
_CLOSE = """UPDATE call SET open = 0, outcome = ?, process = NULL, host = NULL, pid = NULL
WHERE open = 1 AND call = ?"""
_PLACES = {
    "session": "INSERT OR IGNORE INTO place (kind, name, number, seq) VALUES (?, ?, ?, ?)",
    "step": "INSERT INTO place (kind, name, number, seq) VALUES (?, ?, ?, ?)",
    "use": "INSERT INTO place (kind, name, number, seq) VALUES (?, ?, ?, ?)",
}
_NUMBERED = "REPLACE INTO place (kind, name, number, seq) VALUES (?, ?, ?, ?)"
"""For places whose number is the number of their record. guardrail writes no other row with that
number.
"""


class LocatedRows:
    """The rows of one writer's connection, and the sessions that are known to have one."""

    def __init__(self, execute: Execute) -> None:
        self._execute = execute
        self._sessions: set[tuple[str, int]] = set()
        """Names and blocks of sessions that have a place in the current content."""

    def forget(self) -> None:
        """Forget the known sessions, because the content was changed elsewhere or undone."""
        self._sessions.clear()

    def open(self, call: str | None, seq: int, process: str, host: str, pid: int) -> bool:
        """Add a call that is open from record *seq* on. Return False if its id was used before."""
        try:
            return self._execute(_OPEN, (call, seq, process, host, pid)).rowcount == 1
        except sqlite3.IntegrityError:
            return False

    def decide(self, call: str | None, seq: int) -> bool:
        """Add a call that was decided, but does not run. Return False if its id was used before."""
        try:
            return self._execute(_DECIDE, (call, seq)).rowcount == 1
        except sqlite3.IntegrityError:
            return False

    def close(self, call: str | None, seq: int) -> bool:
        """Close an open call with record *seq*. Return False if it is not open.

        Raises ``sqlite3.IntegrityError`` if the table also says that it is closed.
        """
        return self._execute(_CLOSE, (seq, call)).rowcount == 1

    def outcome_of(self, call: str | None) -> int | None:
        """Return the number of the outcome of *call*, according to the table, or None."""
        query = "SELECT outcome FROM call WHERE open = 0 AND call = ?"
        row = self._execute(query, (call,)).fetchone()
        return row[0] if row is not None else None

    def is_taken(self, place: Place, seq: int) -> bool:
        """Return True if *place* must be unique and belongs to another record."""
        if place.kind not in ("step", "use"):
            return False
        query = "SELECT 1 FROM place WHERE kind = ? AND name = ? AND number = ?"
        found = self._execute(query, (place.kind, place.name, number_of(place, seq)))
        return found.fetchone() is not None

    def add_places(self, places: Iterable[Place], seq: int) -> None:
        """Add the places of record *seq*. Raises ``sqlite3.IntegrityError`` if one is taken."""
        for place in places:
            number = number_of(place, seq)
            if place.kind == "session":
                if (place.name, number) in self._sessions:
                    continue
                if len(self._sessions) >= _MOST_SESSIONS:
                    self._sessions.clear()
                self._sessions.add((place.name, number))
            self._execute(_PLACES.get(place.kind, _NUMBERED), (place.kind, place.name, number, seq))


def fill(
    execute: Execute,
    lines: Iterable[tuple[int, bytes]],
    *tables: str,
    owner: Callable[[str], tuple[str, str, int]] | None = None,
) -> None:
    """Write the rows of *lines* into the empty *tables*, or into both if none are given. *owner*
    returns process, host and pid of an open call; without it, open calls get no rows.

    Lines that are not records get no rows. Raises ``sqlite3.Error``.
    """
    wanted = tables or ("call", "place")
    rows = LocatedRows(execute)
    running: dict[str, int] = {}
    for seq, line in lines:
        record = decode_or_none(line)
        if record is None:
            continue
        step = call_step(record) if "call" in wanted else None
        if step is not None and step.decision is not None:
            begun = running.pop(step.call, None)
            execute(
                "INSERT OR IGNORE INTO call (open, call, decision, outcome) VALUES (0, ?, ?, ?)",
                (step.call, step.decision if begun is None else begun, seq),
            )
        elif step is not None and step.opens:
            running[step.call] = seq
        elif step is not None:
            rows.decide(step.call, seq)
        if "place" in wanted:
            rows.add_places(
                [each for each in places_of(record) if not rows.is_taken(each, seq)], seq
            )
    if owner is not None:
        for call, seq in running.items():
            rows.open(call, seq, *owner(call))


def lines_of(execute: Execute) -> Iterator[tuple[int, bytes]]:
    """Yield the number and the line of each record, in order. Other tables may be changed
    meanwhile.
    """
    at = -1
    while True:
        rows = execute(
            "SELECT seq, CAST(line AS BLOB) FROM record WHERE seq > ? ORDER BY seq LIMIT ?",
            (at, _CHUNK),
        ).fetchall()
        if not rows:
            return
        yield from rows
        at = rows[-1][0]


def forget_pruned(execute: Execute, lines: Iterable[tuple[int, bytes]], before: int) -> None:
    """Delete the rows of *lines*, which are pruned with all records below *before*. The rows of
    calls whose outcomes are kept are kept as well.
    """
    for _, line in lines:
        step = call_step(decode_or_none(line) or {})
        if step is not None:
            execute(
                "DELETE FROM call WHERE open = 0 AND call = ? AND coalesce(outcome, 0) < ?",
                (step.call, before),
            )
    execute("DELETE FROM place WHERE seq < ?", (before,))


def mend_block(execute: Execute, lines: Sequence[tuple[int, bytes]]) -> None:
    """Add a place for each session in *lines*, the remaining records of a block whose first records
    were pruned.
    """
    rows = LocatedRows(execute)
    for seq, line in lines:
        places = places_of(decode_or_none(line) or {})
        rows.add_places([each for each in places if each.kind == "session"], seq)


def block_end(seq: int) -> int:
    """Return the number of the first record after the block of record *seq*."""
    return (seq // BLOCK + 1) * BLOCK


def require_outcome(rows: TreeRows, edge: Edge, call: str | None, seq: int) -> None:
    """Raise ``LedgerOpenError`` unless record *seq* of the tree *edge* is the outcome of *call*. A
    planted row must not be mistaken for the row of the call.
    """
    line = rows.line(seq)
    try:
        check_included(edge, node_reader(rows), seq, line)
        record = decode(line or b"")
    except (LedgerError, RecordError):
        raise wrong_call() from None
    if (record.get("type"), record.get("call")) != ("call.outcome", call):
        raise wrong_call()


def wrong_call() -> LedgerOpenError:
    """Return the error for a row of a call that contradicts the records."""
    return LedgerOpenError("the table of calls contradicts the records", code="ledger.rows")
