"""The named reads of a log in SQLite: every query for records, except those of a writer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

from guardrail.core.log.places import BLOCK
from guardrail.core.log.record import MAX_LINE, decode_or_none, leaf_hash
from guardrail.errors import LedgerError
from guardrail.ledger.rows import EpochRow, OpenCall, PageFault
from guardrail.ledger.sqlite.limits import MAX_VALUE
from guardrail.ledger.sqlite.reading import ReadConnection
from guardrail.ledger.sqlite.size import used_bytes
from guardrail.ledger.sqlite.tree import SQLiteTree
from guardrail.ledger.storage import CallRow, LeafRow, LineRow, PlaceKey, RecordRow

__all__ = ["SQLiteStorage"]

_OVERSIZED = "ledger.oversized"
_TOO_LONG = b" " * (MAX_LINE + 1)
"""Placeholder for a line that is too long to load. It is not a record and has its own hash, so that
only its length is reported.
"""
_VALUES = (
    ("head", ("note", "edge", "leaf", "mac")),
    ("call", ("call", "process", "host")),
    ("place", ("kind", "name")),
    ("epoch", ("public", "process", "host")),
    ("tile", ("hashes",)),
)
"""Tables other than the records, with their columns that can hold values of any length."""
_GROUP, _FEW = 128, 8
"""Numbers of values that are looked up in one query."""
T = TypeVar("T")
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

    def typed_records(self, start: int, limit: int) -> list[RecordRow]:
        """Return the result of ``records``, without the records whose lines are of a type that the
        schema forbids. Return an empty list if a line is too long to load.
        """
        try:
            return self.ask(
                "SELECT seq, leaf, CAST(line AS BLOB) FROM record "
                "WHERE seq >= ? AND typeof(line) = 'text' ORDER BY seq LIMIT ?",
                start,
                limit,
            )
        except LedgerError as error:
            if error.code != _OVERSIZED:
                raise
            return []

    def decision(self, call: str) -> LineRow | None:
        """Return the record of the decision about *call*, or None."""
        rows = self.ask(
            "SELECT record.seq, CAST(record.line AS BLOB) FROM call CROSS JOIN record "
            "ON record.seq = call.decision WHERE call.open IN (0, 1) AND call.call = ?",
            call,
        )
        return rows[0] if rows else None

    def call_rows(self, calls: Sequence[str]) -> dict[str, CallRow]:
        """Return the rows of *calls*, keyed by call. A call with no row, or with more than one, is
        omitted.
        """
        rows: list[tuple[str, int, int, int | None]] = []
        for wanted in _filled(list(dict.fromkeys(calls))):
            marks = ", ".join("?" * len(wanted))
            rows += self.ask(
                "SELECT call, open, decision, outcome FROM call "  # noqa: S608 - placeholders only
                f"WHERE open IN (0, 1) AND call IN ({marks})",
                *wanted,
            )
        return _single(rows)

    def calls_between(self, first: str, last: str, limit: int) -> dict[str, CallRow]:
        """Return the rows of the calls from *first* to *last*, keyed by call. A call with more than
        one row is omitted. Return an empty dictionary if there are more than *limit* rows.
        """
        rows = self.ask(
            "SELECT call, open, decision, outcome FROM call "
            "WHERE open IN (0, 1) AND call BETWEEN ? AND ? LIMIT ?",
            first,
            last,
            limit + 1,
        )
        return _single(rows) if len(rows) <= limit else {}

    def numbers_of(self, places: Sequence[PlaceKey]) -> dict[PlaceKey, int]:
        """Return the numbers of the records with *places*. Places without a row are omitted."""
        found: dict[PlaceKey, int] = {}
        for wanted in _filled(places):
            marks = ", ".join(["(?, ?, ?)"] * len(wanted))
            for kind, name, number, seq in self.ask(
                "SELECT kind, name, number, seq FROM place "  # noqa: S608 - placeholders only
                f"WHERE (kind, name, number) IN (VALUES {marks})",
                *(value for key in wanted for value in key),
            ):
                found[kind, name, number] = seq
        return found

    def located_counts(self) -> tuple[int, int, int]:
        """Return the numbers of calls, of calls with an outcome, and of places."""
        ((calls, ended),) = self.ask("SELECT count(*), count(outcome) FROM call")
        ((places,),) = self.ask("SELECT count(*) FROM place")
        return calls, ended, places

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

        Only the types in ``core.log.places.ADMIN`` are found. A row for a record of another type is
        ignored; a line that can't be decoded is returned.
        """
        rows: list[LineRow] = []
        end = (1 << 63) - 1 if stop is None else stop - 1
        for type_ in types:
            rows += self.ask(
                f"{_AT} ON record.seq = place.seq WHERE place.kind = 'admin' AND place.name = ? "
                "AND place.number BETWEEN ? AND ? AND place.number = place.seq",
                type_,
                start,
                end,
            )
        return sorted(row for row in rows if _field(row[1], "type") in (None, *types))

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

    def marked(
        self, *marks: str, start: int = 0, stop: int | None = None, limit: int = BLOCK
    ) -> list[LineRow]:
        """Return at most *limit* records from *start* up to *stop* (exclusive) or the end whose
        lines contain one of *marks*, in order. Every line is read.
        """
        found = " OR ".join(["instr(line, ?)"] * len(marks))
        return self.ask(
            "SELECT seq, CAST(line AS BLOB) FROM record WHERE seq BETWEEN ? AND ? "  # noqa: S608 - constants
            f"AND ({found}) ORDER BY seq LIMIT ?",
            start,
            (1 << 63) - 1 if stop is None else stop - 1,
            *marks,
            limit,
        )

    def used_bytes(self) -> int:
        """Return the number of bytes of the database that are in use."""
        with self.snapshot():
            return used_bytes(self.ask)

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


def _single(rows: Sequence[tuple[str, int, int, int | None]]) -> dict[str, CallRow]:
    """Return the rows by call, except of calls with several rows."""
    found: dict[str, CallRow] = {row[0]: row[1:] for row in rows}
    if len(found) < len(rows):
        seen: set[str] = set()
        for row in rows:
            if row[0] in seen:
                found.pop(row[0], None)
            seen.add(row[0])
    return found


def _filled(values: Sequence[T]) -> Iterator[Sequence[T]]:
    """Yield *values* in groups of one of two sizes, so that SQLite's driver can reuse prepared
    statements. The last value may be repeated to fill a group.
    """
    for at in range(0, len(values), _GROUP):
        part = list(values[at : at + _GROUP])
        size = _GROUP if len(part) > _FEW else _FEW
        yield part + part[-1:] * (size - len(part))


def _field(line: bytes, name: str) -> str | None:
    value = (decode_or_none(line) or {}).get(name)
    return value if isinstance(value, str) else None


def _most(limit: int | None) -> int:
    return -1 if limit is None else limit
