"""The named reads of a log in SQLite: every query for records, except those of a writer."""

from __future__ import annotations

import re

from guardrail.core.log.record import MAX_LINE, leaf_hash
from guardrail.errors import LedgerError
from guardrail.ledger.rows import EpochRow, OpenCall, PageFault, SessionRow
from guardrail.ledger.sqlite.limits import MAX_VALUE
from guardrail.ledger.sqlite.reading import ReadConnection
from guardrail.ledger.sqlite.tables import ADMIN
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
_ENTRIES = "type IN ('call.decision', 'call.rejected')"
"""The condition of index ``record_session``."""
_VALUES = (
    ("head", ("note", "edge", "leaf", "mac")),
    ("open_call", ("call", "process", "host")),
    ("epoch", ("public", "process", "host")),
    ("tile", ("hashes",)),
)
"""Tables other than the records, with their columns that can hold values of any length."""
_MISSING = re.compile(r"row (\d+) missing from index (record_\w+)")
_SESSIONS = f"""
WITH began AS (
  SELECT seq, ts, call, type, session, tenant, principal, agent, effect FROM record
  WHERE {_ENTRIES}
)
SELECT
  coalesce(began.session, '') AS session, coalesce(began.tenant, '') AS tenant,
  coalesce(began.principal, '') AS principal, coalesce(began.agent, '') AS agent,
  min(began.seq) AS first_seq,
  coalesce(min(began.ts), '') AS started, coalesce(max(began.ts), '') AS last,
  count(*) AS calls,
  sum(began.effect IS 'deny') AS denied,
  sum(began.type = 'call.rejected') AS rejected,
  sum(began.effect IS 'allow' AND ended.status IS NULL) AS open,
  sum(ended.status IS 'error') AS errors
FROM began LEFT JOIN record AS ended
  ON ended.call = began.call AND ended.type = 'call.outcome' AND began.effect IS 'allow'
GROUP BY 1, 2, 3, 4
ORDER BY first_seq DESC
"""  # noqa: S608 - a constant
_NEEDED = """SELECT min(seq) FROM (
  SELECT seq FROM open_call UNION ALL SELECT seq FROM epoch UNION ALL
  SELECT seq FROM record INDEXED BY record_request
  WHERE type = 'call.decision' AND effect = 'require_approval' AND ts > ?)"""


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
            "SELECT seq, CAST(line AS BLOB) FROM record"
            " WHERE call = ?1 AND type IN ('call.decision', 'call.outcome') UNION ALL "
            "SELECT seq, CAST(line AS BLOB) FROM record"
            " WHERE call = ?1 AND type IN ('call.claim', 'call.rejected') ORDER BY 1",
            call,
        )
        return [row[1] for row in rows]

    def decision(self, call: str) -> LineRow | None:
        """Return the record of the decision about *call*, or None."""
        rows = self.ask(
            "SELECT seq, CAST(line AS BLOB) FROM record WHERE call = ? AND type = 'call.decision' "
            "AND type IN ('call.decision', 'call.outcome')",
            call,
        )
        return rows[0] if rows else None

    def of_session(self, session: str, start: int, limit: int) -> list[LineRow]:
        """Return at most *limit* decisions and rejections of *session* from *start*, in order."""
        query = (
            "SELECT seq, CAST(line AS BLOB) FROM record "  # noqa: S608 - a constant
            f"WHERE session = ? AND {_ENTRIES} AND seq >= ? ORDER BY seq LIMIT ?"
        )
        return self.ask(query, session, start, limit)

    def of_approval(self, approval: str) -> list[bytes]:
        """Return all recorded steps of *approval*, in order, without its request."""
        rows = self.ask(
            "SELECT CAST(line AS BLOB) FROM record WHERE approval = ? AND ordinal IS NOT NULL "
            "ORDER BY ordinal",
            approval,
        )
        return [row[0] for row in rows]

    def requests(self, session: str | None = None) -> list[str]:
        """Return the ids of the calls (of *session*, or all) that needed a person's approval,
        oldest first.
        """
        where = "WHERE type = 'call.decision' AND effect = 'require_approval'"
        if session is None:
            rows = self.ask(
                f"SELECT call FROM record INDEXED BY record_request {where} ORDER BY seq"  # noqa: S608
            )
        else:
            rows = self.ask(
                f"SELECT call FROM record {where} AND session = ? ORDER BY seq",  # noqa: S608
                session,
            )
        return [row[0] for row in rows]

    def admin(self, *types: str, start: int = 0, stop: int | None = None) -> list[LineRow]:
        """Return the records of *types* from *start* up to *stop* (exclusive) or the end, in order.

        Only the types in ``tables.ADMIN`` are found.
        """
        bounds = " AND seq >= ?" + (" AND seq < ?" if stop is not None else "")
        query = (
            "SELECT seq, CAST(line AS BLOB) FROM record INDEXED BY record_admin "  # noqa: S608 - constants
            f"WHERE {ADMIN} AND type IN ({', '.join('?' * len(types))}){bounds} ORDER BY seq"
        )
        return self.ask(query, *types, start, *([stop] if stop is not None else []))

    def last_admin(self, type_: str) -> LineRow | None:
        """Return the last record of *type_*, one of ``tables.ADMIN``, or None if there is none."""
        query = (
            "SELECT seq, CAST(line AS BLOB) FROM record INDEXED BY record_admin "  # noqa: S608 - a constant
            f"WHERE type = ? AND {ADMIN} ORDER BY seq DESC LIMIT 1"
        )
        rows = self.ask(query, type_)
        return rows[0] if rows else None

    def find_calls(self, prefix: str, limit: int) -> list[str]:
        """Return at most *limit* call ids that begin with *prefix*, sorted."""
        rows = self.ask(
            "SELECT DISTINCT call FROM record WHERE call >= ? AND call < ? "
            "AND type IN ('call.decision', 'call.outcome') ORDER BY call LIMIT ?",
            prefix,
            prefix + _LAST,
            limit,
        )
        return [row[0] for row in rows]

    def find_sessions(self, prefix: str, limit: int) -> list[str]:
        """Return at most *limit* session ids that begin with *prefix*, sorted."""
        query = (
            "SELECT DISTINCT session FROM record WHERE session >= ? AND session < ? "  # noqa: S608 - a constant
            f"AND {_ENTRIES} ORDER BY session LIMIT ?"
        )
        return [row[0] for row in self.ask(query, prefix, prefix + _LAST, limit)]

    def sessions(self) -> list[SessionRow]:
        """Return all sessions, most recently started first."""
        return [SessionRow(*row) for row in self.ask(_SESSIONS)]

    def bytes_from(self, seq: int) -> int:
        """Return the total length of the lines from record *seq* on."""
        query = "SELECT coalesce(sum(length(CAST(line AS BLOB))), 0) FROM record WHERE seq >= ?"
        return int(self.ask(query, seq)[0][0])

    def first_needed(self, since: str) -> int | None:
        """Return the number of the first record that is still needed: by an open call, by a key in
        use, or by an approval request younger than the timestamp *since*. Return None if no record
        is needed.
        """
        first: int | None = self.ask(_NEEDED, since)[0][0]
        return first

    # -- other rows --------------------------------------------------------------------------------

    def open_calls(self, limit: int | None = None) -> list[OpenCall]:
        """Return at most *limit* open calls, in the order of their decisions."""
        rows = self.ask(
            "SELECT call, seq, process, host, pid FROM open_call ORDER BY seq LIMIT ?",
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
        if not answer or " index " not in answer[0]:
            return PageFault(in_index=False)
        found = _MISSING.fullmatch(answer[0])
        if found is None:
            return PageFault(in_index=True)
        # SQLite reports the ordinal of the row in the table.
        rows = self.ask("SELECT seq FROM record ORDER BY seq LIMIT 1 OFFSET ?", int(found[1]) - 1)
        return PageFault(in_index=True, index=found[2], seq=rows[0][0] if rows else None)

    def not_json(self) -> int | None:
        """Return the first record whose line SQLite can't parse as JSON, or None if it can parse
        all lines.
        """
        rows = self.ask("SELECT seq FROM record WHERE NOT json_valid(line) ORDER BY seq LIMIT 1")
        return rows[0][0] if rows else None


def _most(limit: int | None) -> int:
    return -1 if limit is None else limit
