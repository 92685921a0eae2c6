"""The reader: reads a log while writers run, and never writes to it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from guardrail.core.log.audit import Pruned
from guardrail.core.log.chain import Head
from guardrail.core.log.record import MAX_LINE, decode, leaf_hash
from guardrail.errors import LedgerError, RecordError
from guardrail.ledger.files import leases_path
from guardrail.ledger.lease import Leases, Life
from guardrail.ledger.rows import OpenCall
from guardrail.ledger.sqlite.database import ADMIN
from guardrail.ledger.sqlite.reading import ReadConnection

__all__ = ["LedgerReader", "SessionRow"]

_CHUNK = 256
_TOO_LONG = b" " * (MAX_LINE + 1)
"""Stands in for a line that is too long to load: not a record, with its own hash, so that only its
length is reported.
"""


@dataclass(frozen=True, slots=True)
class SessionRow:
    """One session in the log."""

    session: str
    tenant: str
    principal: str
    agent: str
    first_seq: int
    started: str
    last: str
    """Time stamp of its newest call."""
    calls: int
    denied: int
    rejected: int
    """Calls that a framework refused before they were decided."""
    open: int
    errors: int


class LedgerReader(ReadConnection):
    """Reads one log. Any thread may use it; one query at a time."""

    @property
    def path(self) -> Path:
        """Path of the log, symbolic links resolved."""
        return self.db

    @property
    def genesis(self) -> dict[str, Any]:
        """Line 0, decoded. Raises ``LedgerError`` or ``RecordError`` if there is none."""
        if self._genesis is None:
            line = self.record(0)
            if line is None:
                raise RecordError(
                    "the log has no line 0", code="record.undecodable", hint="guardrail verify"
                )
            self._genesis = decode(line)
        return self._genesis

    @property
    def log(self) -> str:
        """Origin name, from the genesis."""
        return str(self.genesis.get("log", ""))

    def size(self) -> int:
        """Return the number of records: one more than the highest number."""
        return int(self._ask("SELECT coalesce(max(seq), -1) + 1 FROM record")[0][0])

    def first(self) -> int:
        """Return the number of the first existing record after line 0, 1 if there is none; more
        than 1 if records were pruned.
        """
        return int(self._ask("SELECT coalesce(min(seq), 1) FROM record WHERE seq > 0")[0][0])

    def head(self) -> Head | None:
        """Return the stored end of the log, unverified; None if it is empty."""
        rows = self._ask("SELECT seq, leaf FROM record ORDER BY seq DESC LIMIT 1")
        return Head(self.log, rows[0][0] + 1, rows[0][1]) if rows else None

    def record(self, seq: int) -> bytes | None:
        """Return the line of *seq*, byte for byte, or None."""
        rows = self._ask("SELECT CAST(line AS BLOB) FROM record WHERE seq = ?", seq)
        return rows[0][0] if rows else None

    def lines(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, bytes, bytes]]:
        """Yield (seq, leaf, line) from *start*, before *stop* or to the end that is there when it
        is reached.
        """
        while True:
            rows = self.rows(start, _CHUNK)
            for row in rows:
                if stop is not None and row[0] >= stop:
                    return
                if row[0] < start:
                    # Pages that lead in circles: without this there might be no end.
                    raise LedgerError(
                        "the ledger can't be read: its pages contradict each other",
                        code="ledger.damaged",
                        hint="guardrail verify",
                    )
                start = row[0] + 1
                yield row
            if len(rows) < _CHUNK:
                return

    def rows(self, start: int, limit: int) -> list[tuple[int, bytes, bytes]]:
        """Return at most *limit* (seq, leaf, line) from *start*.

        For a line that is too long to load, an overlong placeholder is returned, so that the caller
        can report its number.
        """
        where = "FROM record WHERE seq >= ? ORDER BY seq LIMIT ?"
        try:
            return self._ask(f"SELECT seq, leaf, CAST(line AS BLOB) {where}", start, limit)
        except LedgerError as error:
            if error.code != "ledger.oversized":
                raise
        rows: list[tuple[int, bytes, bytes]] = []
        for (seq,) in self._ask(f"SELECT seq {where}", start, limit):
            try:
                rows += self._ask(
                    "SELECT seq, leaf, CAST(line AS BLOB) FROM record WHERE seq = ?", seq
                )
            except LedgerError as error:
                if error.code != "ledger.oversized":
                    raise
                rows.append((seq, leaf_hash(_TOO_LONG), _TOO_LONG))
        return rows

    def by_call(self, call: str) -> Iterator[bytes]:
        """Yield every line about *call*, the oldest first."""
        rows = self._ask(
            "SELECT seq, CAST(line AS BLOB) FROM record WHERE call = ?1 AND type IN"
            " ('call.decision', 'call.outcome') UNION ALL SELECT seq, CAST(line AS BLOB) FROM"
            " record WHERE call = ?1 AND type IN ('call.claim', 'call.rejected') ORDER BY 1",
            call,
        )
        yield from (row[1] for row in rows)

    def find_calls(self, prefix: str, limit: int = 20) -> list[str]:
        """Return the ids of calls that begin with *prefix*, sorted, at most *limit*."""
        rows = self._ask(
            "SELECT DISTINCT call FROM record WHERE call >= ? AND call < ? "
            "AND type IN ('call.decision', 'call.outcome') ORDER BY call LIMIT ?",
            prefix,
            prefix + "\U0010ffff",
            limit,
        )
        return [row[0] for row in rows]

    def find_sessions(self, prefix: str, limit: int = 20) -> list[str]:
        """Return the ids of sessions that begin with *prefix*, sorted, at most *limit*."""
        rows = self._ask(
            "SELECT DISTINCT session FROM record WHERE session >= ? AND session < ? AND type IN"
            " ('call.decision', 'call.rejected') ORDER BY session LIMIT ?",
            prefix,
            prefix + "\U0010ffff",
            limit,
        )
        return [row[0] for row in rows]

    def first_of_session(self, session: str) -> bytes | None:
        """Return the line of the first call of *session*, or None."""
        rows = self._ask(
            "SELECT CAST(line AS BLOB) FROM record WHERE session = ? AND type IN ('call.decision',"
            " 'call.rejected') ORDER BY seq LIMIT 1",
            session,
        )
        return rows[0][0] if rows else None

    def calls(self, session: str) -> Iterator[bytes]:
        """Yield the line of each decision and rejection of *session*, the oldest first."""
        start = -1
        while True:
            rows = self._ask(
                "SELECT seq, CAST(line AS BLOB) FROM record WHERE session = ? AND type IN"
                " ('call.decision', 'call.rejected') AND seq > ? ORDER BY seq LIMIT ?",
                session,
                start,
                _CHUNK,
            )
            yield from (row[1] for row in rows)
            if len(rows) < _CHUNK:
                return
            start = rows[-1][0]

    def decision(self, call: str) -> bytes | None:
        """Return the line of the decision about *call*, or None."""
        rows = self._ask(
            "SELECT CAST(line AS BLOB) FROM record WHERE call = ? AND type = 'call.decision' "
            "AND type IN ('call.decision', 'call.outcome')",
            call,
        )
        return rows[0][0] if rows else None

    def approval(self, approval: str) -> list[bytes]:
        """Return the decision about the call *approval*, then every step that is recorded of it, in
        their order.
        """
        request = self.decision(approval)
        steps = self._ask(
            "SELECT CAST(line AS BLOB) FROM record WHERE approval = ? AND ordinal IS NOT NULL ORDER"
            " BY ordinal",
            approval,
        )
        return [*([request] if request is not None else []), *(row[0] for row in steps)]

    def requests(self, session: str | None = None) -> list[str]:
        """Return the ids of the calls (of *session*, or all) that needed a person's approval, the
        oldest first.
        """
        if session is None:
            rows = self._ask(
                "SELECT call FROM record INDEXED BY record_request "
                "WHERE type = 'call.decision' AND effect = 'require_approval' ORDER BY seq"
            )
        else:
            rows = self._ask(
                "SELECT call FROM record WHERE type = 'call.decision' AND effect ="
                " 'require_approval' AND session = ? ORDER BY seq",
                session,
            )
        return [row[0] for row in rows]

    def newest(self) -> bytes | None:
        """Return the last line of the log, or None if it is empty."""
        rows = self._ask("SELECT CAST(line AS BLOB) FROM record ORDER BY seq DESC LIMIT 1")
        return rows[0][0] if rows else None

    def admin(self, type_: str) -> list[tuple[int, bytes]]:
        """Return (seq, line) of each record of one of the types that are found without reading the
        log, the oldest first.
        """
        query = (
            "SELECT seq, CAST(line AS BLOB) FROM record INDEXED BY record_admin "  # noqa: S608 - a constant
            f"WHERE type = ? AND {ADMIN} ORDER BY seq"
        )
        return [(row[0], row[1]) for row in self._ask(query, type_)]

    def pruned(self, before: int) -> Pruned | None:
        """Return the proof in the last record that permits everything below *before* to be missing,
        or None.
        """
        for _, line in reversed(self.admin("admin.pruned")):
            try:
                record = decode(line)
            except RecordError:
                continue
            if Pruned.claimed(record) == before:
                return Pruned.of(record)
        return None

    def sessions(self) -> list[SessionRow]:
        """Return every session, the one that began last first."""
        return [SessionRow(*row) for row in self._ask(_SESSIONS)]

    def open_calls(self) -> list[tuple[OpenCall, Life]]:
        """Return every allowed call without an outcome, and the state of its process."""
        leases = Leases(leases_path(self.db))
        calls = [
            OpenCall(*row)
            for row in self._ask("SELECT call, seq, process, host, pid FROM open_call ORDER BY seq")
        ]
        return [(call, leases.life(call.process, call.host, call.pid)) for call in calls]


_SESSIONS = """
WITH began AS (
  SELECT seq, ts, call, type, session, tenant, principal, agent, effect
  FROM record WHERE type IN ('call.decision', 'call.rejected')
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
"""
