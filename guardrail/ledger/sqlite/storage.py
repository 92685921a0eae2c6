"""The named reads of a log in SQLite: every query for records, except those of a writer."""

from __future__ import annotations

from guardrail.core.claims import TYPES
from guardrail.core.log.places import BLOCK
from guardrail.core.log.record import MAX_LINE, decode, dumps, leaf_hash
from guardrail.errors import LedgerError, RecordError
from guardrail.ledger.rows import EpochRow, OpenCall, PageFault
from guardrail.ledger.sqlite.limits import MAX_VALUE
from guardrail.ledger.sqlite.reading import ReadConnection
from guardrail.ledger.sqlite.tree import SQLiteTree
from guardrail.ledger.storage import LeafRow, LineRow, RecordRow

__all__ = ["SQLiteStorage"]

_OVERSIZED = "ledger.oversized"
_TOO_LONG = b" " * (MAX_LINE + 1)
"""Placeholder for a line that is too long to load. It is not a record and has its own hash, so that
only its length is reported.
"""
_LAST = "\U0010ffff"
"""If this is appended to a prefix, the result sorts after every text that begins with the
prefix.
"""
_VALUES = (
    ("head", ("note", "edge", "leaf", "mac")),
    ("call", ("call", "process", "host")),
    ("place", ("kind", "name")),
    ("epoch", ("public", "process", "host")),
    ("tile", ("hashes",)),
)
"""Tables other than the records, with their columns that can hold values of any length."""
_AT = "SELECT record.seq, CAST(record.line AS BLOB) FROM place CROSS JOIN record"
_NEEDED = """SELECT min(seq) FROM (
  SELECT decision AS seq FROM call WHERE open = 1 UNION ALL SELECT seq FROM epoch)"""


class SQLiteStorage(ReadConnection, SQLiteTree):
    """Implements ``ledger.storage.Storage``. Any thread may use it; one query runs at a time."""

    # -- records -----------------------------------------------------------------------------------

    def size(self) -> int:
        """Return the number of records: one more than the highest number."""
        return int(self.ask("SELECT coalesce(max(seq), -1) + 1 FROM record")[0][0])

    def last(self) -> LeafRow | None:
        """Return the number and the leaf hash of the last record, or None if there is none."""
        rows = self.ask("SELECT seq, leaf FROM record ORDER BY seq DESC LIMIT 1")
        return (rows[0][0], rows[0][1]) if rows else None

    def leaf(self, seq: int) -> bytes | None:
        """Return the stored leaf hash of record *seq*, or None if there is none."""
        rows = self.ask("SELECT leaf FROM record WHERE seq = ?", seq)
        return rows[0][0] if rows and isinstance(rows[0][0], bytes) else None

    def records(self, start: int, limit: int) -> list[RecordRow]:
        """Return at most *limit* records from *start*, in order.

        A line that is too long to load is replaced by an overlong placeholder, so that the caller
        can report its number.
        """
        where = "FROM record WHERE seq >= ? ORDER BY seq LIMIT ?"
        try:
            return self.ask(f"SELECT seq, leaf, CAST(line AS BLOB) {where}", start, limit)
        except LedgerError as error:
            if error.code != _OVERSIZED:
                raise
        rows: list[RecordRow] = []
        for (seq,) in self.ask(f"SELECT seq {where}", start, limit):
            try:
                rows += self.ask(
                    "SELECT seq, leaf, CAST(line AS BLOB) FROM record WHERE seq = ?", seq
                )
            except LedgerError as error:
                if error.code != _OVERSIZED:
                    raise
                rows.append((seq, leaf_hash(_TOO_LONG), _TOO_LONG))
        return rows

    def of_call(self, call: str) -> list[bytes]:
        """Return every line about *call*, oldest first."""
        rows = self.ask(
            "SELECT record.seq, CAST(record.line AS BLOB) FROM call CROSS JOIN record "
            "ON record.seq IN (call.decision, call.outcome) "
            "WHERE call.open IN (0, 1) AND call.call = ?",
            call,
        )
        rows += self.ask(
            f"{_AT} ON record.seq = place.seq WHERE place.kind = 'report' AND place.name = ?", call
        )
        return [line for _, line in sorted(rows)]

    def decision(self, call: str) -> LineRow | None:
        """Return the record of the decision about *call*, or None."""
        rows = self.ask(
            "SELECT record.seq, CAST(record.line AS BLOB) FROM call CROSS JOIN record "
            "ON record.seq = call.decision WHERE call.open IN (0, 1) AND call.call = ?",
            call,
        )
        return rows[0] if rows else None

    def call_row(self, call: str) -> tuple[int, int, int | None] | None:
        """Return the row of *call*: 1 if it is open, otherwise 0, and the numbers of its decision
        and of its outcome; None if it has no row.
        """
        rows = self.ask(
            "SELECT open, decision, outcome FROM call WHERE open IN (0, 1) AND call = ? LIMIT 2",
            call,
        )
        return rows[0] if len(rows) == 1 else None

    def place(self, kind: str, name: str, number: int) -> int | None:
        """Return the number of the record with this place, or None."""
        rows = self.ask(
            "SELECT seq FROM place WHERE kind = ? AND name = ? AND number = ?", kind, name, number
        )
        return rows[0][0] if rows else None

    def located_counts(self) -> tuple[int, int, int]:
        """Return the numbers of calls, of calls with an outcome, and of places."""
        ((calls, ended),) = self.ask("SELECT count(*), count(outcome) FROM call")
        ((places,),) = self.ask("SELECT count(*) FROM place")
        return calls, ended, places

    def of_session(self, session: str, start: int, limit: int) -> list[LineRow]:
        """Return at most *limit* decisions and rejections of *session* from *start*, in order."""
        found: list[LineRow] = []
        with self.snapshot():
            blocks = self.ask(
                "SELECT number FROM place WHERE kind = 'session' AND name = ? AND number >= ? "
                "ORDER BY number",
                session,
                start // BLOCK,
            )
            needle = dumps(session)
            for (block,) in blocks:
                at, stop = max(start, block * BLOCK), (block + 1) * BLOCK
                for seq, line in self.lines(at, stop, BLOCK):
                    if needle in line and _is_entry(line, session):
                        found.append((seq, line))
                        if len(found) == limit:
                            return found
        return found

    def of_approval(self, approval: str) -> list[bytes]:
        """Return all recorded steps of *approval*, in order, without its request."""
        rows = self.ask(
            f"{_AT} ON record.seq = place.seq WHERE place.kind = 'step' AND place.name = ? "
            "ORDER BY place.number",
            approval,
        )
        return [row[1] for row in rows]

    def requests(self, session: str | None = None) -> list[str]:
        """Return the ids of the calls (of *session*, or all) that needed a person's approval,
        oldest first.
        """
        query = f"{_AT} ON record.seq = place.seq WHERE place.kind = 'request'"
        if session is None:
            rows = self.ask(query)
        else:
            rows = self.ask(f"{query} AND place.name = ?", session)
        calls = (_field(line, "call") for _, line in sorted(rows))
        return [call for call in calls if call is not None]

    def admin(self, *types: str, start: int = 0, stop: int | None = None) -> list[LineRow]:
        """Return the records of *types* from *start* up to *stop* (exclusive) or the end, in order.

        Only the types in ``core.log.places.ADMIN`` are found.
        """
        rows: list[LineRow] = []
        end = (1 << 63) - 1 if stop is None else stop - 1
        for type_ in types:
            rows += self.ask(
                f"{_AT} ON record.seq = place.seq WHERE place.kind = 'admin' AND place.name = ? "
                "AND place.number BETWEEN ? AND ?",
                type_,
                start,
                end,
            )
        return sorted(rows)

    def last_admin(self, type_: str) -> LineRow | None:
        """Return the last record of *type_*, one of ``core.log.places.ADMIN``, or None if there is
        none.
        """
        rows = self.ask(
            f"{_AT} ON record.seq = place.seq WHERE place.kind = 'admin' AND place.name = ? "
            "ORDER BY place.number DESC LIMIT 1",
            type_,
        )
        return rows[0] if rows else None

    def find_calls(self, prefix: str, limit: int) -> list[str]:
        """Return at most *limit* ids of calls that begin with *prefix*, sorted."""
        found: list[str] = []
        for is_open in (0, 1):
            rows = self.ask(
                "SELECT call FROM call WHERE open = ? AND call >= ? AND call < ? "
                "ORDER BY call LIMIT ?",
                is_open,
                prefix,
                prefix + _LAST,
                limit,
            )
            found += [row[0] for row in rows]
        return sorted(set(found))[:limit]

    def find_sessions(self, prefix: str, limit: int) -> list[str]:
        """Return at most *limit* ids of sessions that begin with *prefix*, sorted."""
        rows = self.ask(
            "SELECT DISTINCT name FROM place WHERE kind = 'session' AND name >= ? AND name < ? "
            "ORDER BY name LIMIT ?",
            prefix,
            prefix + _LAST,
            limit,
        )
        return [row[0] for row in rows]

    def bytes_from(self, seq: int) -> int:
        """Return the total length of the lines from record *seq* on."""
        query = "SELECT coalesce(sum(length(CAST(line AS BLOB))), 0) FROM record WHERE seq >= ?"
        return int(self.ask(query, seq)[0][0])

    def first_needed(self, since: str) -> int | None:
        """Return the number of the first record that is still needed: by an open call, by a key in
        use, or by an approval request younger than the timestamp *since*. Return None if no record
        is needed.
        """
        with self.snapshot():
            first: int | None = self.ask(_NEEDED)[0][0]
            rows = self.ask(f"{_AT} ON record.seq = place.seq WHERE place.kind = 'request'")
        asked = [seq for seq, line in rows if (_field(line, "ts") or "") > since]
        return min([*asked, *([first] if first is not None else [])], default=None)

    # -- other rows --------------------------------------------------------------------------------

    def open_calls(self, limit: int | None = None) -> list[OpenCall]:
        """Return at most *limit* open calls, in the order of their decisions."""
        rows = self.ask(
            "SELECT call, decision, process, host, pid FROM call WHERE open = 1 "
            "ORDER BY decision LIMIT ?",
            _most(limit),
        )
        return [OpenCall(*row) for row in rows]

    def epochs(self, limit: int | None = None) -> list[EpochRow]:
        """Return at most *limit* epoch keys that are certified and not retired, in order."""
        rows = self.ask(
            "SELECT public, seq, process, host, pid FROM epoch ORDER BY seq LIMIT ?", _most(limit)
        )
        return [EpochRow(*row) for row in rows]

    def pruned_before(self) -> int | None:
        """Return the number below which records were pruned, except line 0, or None if none
        were.
        """
        rows = self.ask("SELECT before FROM pruned LIMIT 1")
        return rows[0][0] if rows and isinstance(rows[0][0], int) else None

    # -- checks ------------------------------------------------------------------------------------

    def oversized_table(self) -> str | None:
        """Return a table, other than the records, with a value longer than any that guardrail
        writes, or None if there is none. Such a value is not loaded.
        """
        for table, columns in _VALUES:
            if any(self._is_oversized(table, column) for column in columns):
                return table
        return None

    def _is_oversized(self, table: str, column: str) -> bool:
        try:
            ((most,),) = self.ask(f"SELECT max(length({column})) FROM {table}")  # noqa: S608 - constants
        except LedgerError as error:
            if error.code != _OVERSIZED:
                raise
            return True  # SQLite would have to load a text to count its characters
        return isinstance(most, int) and most > MAX_VALUE

    def page_fault(self) -> PageFault | None:
        """Return the problem that SQLite finds in the database's pages or indexes, or None."""
        answer = [str(row[0]) for row in self.ask("PRAGMA integrity_check(1)")]
        if answer == ["ok"]:
            return None
        return PageFault(in_index=bool(answer) and " index " in answer[0])


def _field(line: bytes, name: str) -> str | None:
    try:
        value = decode(line).get(name)
    except RecordError:
        return None
    return value if isinstance(value, str) else None


def _is_entry(line: bytes, session: str) -> bool:
    try:
        record = decode(line)
    except RecordError:
        return False
    return record.get("session") == session and record.get("type") in TYPES


def _most(limit: int | None) -> int:
    return -1 if limit is None else limit
