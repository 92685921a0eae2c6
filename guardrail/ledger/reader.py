"""The reader: reads a log while writers run, and never writes to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from guardrail.core.log.audit import Pruned
from guardrail.core.log.chain import Head
from guardrail.core.log.record import decode
from guardrail.errors import LedgerError, RecordError
from guardrail.ledger.files import leases_path
from guardrail.ledger.lease import Leases, ProcessState
from guardrail.ledger.rows import OpenCall, SessionRow
from guardrail.ledger.sqlite.storage import SQLiteStorage
from guardrail.ledger.storage import LineRow, Storage

__all__ = ["LedgerReader"]

_CHUNK = 256


class LedgerReader:
    """Reads one log, whatever its storage. Any thread may use it."""

    def __init__(self, storage: Storage, path: Path) -> None:
        """Use ``open``."""
        self.storage = storage
        """The named reads of the log, unauthenticated."""
        self.path = path
        """Path of the log, symbolic links resolved."""
        self._genesis: dict[str, Any] | None = None

    @classmethod
    def open(cls, path: Path, *, strict: bool = True, rows: bool = True) -> Self:
        """Open the log at *path*.

        Raises ``LedgerOpenError`` if the log is missing, unreadable, of a newer format, or not a
        ledger.

        With code ``ledger.schema``, the file has tables, views, indexes or triggers that do not
        belong to a log; with ``ledger.rows``, it has rows where no record can be. Code that reports
        or repairs damage passes *strict* False, so that only the table of records must be correct.
        Code that proves each row it uses (``ledger.proved``) passes *rows* False, so that a
        harmless row stops no call.
        """
        storage = SQLiteStorage.open(path, strict=strict, rows=rows)
        return cls(storage, storage.db)

    def close(self) -> None:
        """Close the log. Idempotent; the next read opens it again."""
        self.storage.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @contextmanager
    def snapshot(self) -> Iterator[Self]:
        """Make all reads inside the block see the log as it is now. Do not keep the block open for
        long.
        """
        with self.storage.snapshot():
            yield self

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
        return self.storage.size()

    def first(self) -> int:
        """Return the number of the first existing record after line 0; 1 if there is none. It is
        more than 1 if records were pruned.
        """
        return self.storage.first() or 1

    def head(self) -> Head | None:
        """Return the stored end of the log, unverified; None if it is empty."""
        last = self.storage.last()
        return Head(self.log, last[0] + 1, last[1]) if last is not None else None

    def record(self, seq: int) -> bytes | None:
        """Return the line of *seq*, byte for byte, or None."""
        return self.storage.line(seq)

    def lines(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, bytes, bytes]]:
        """Yield (seq, leaf, line) from *start* up to *stop*, or to the current end of the log when
        that is reached.
        """
        while True:
            rows = self.storage.records(start, _CHUNK)
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

    def by_call(self, call: str) -> Iterator[bytes]:
        """Yield every line about *call*, the oldest first."""
        yield from self.storage.of_call(call)

    def find_calls(self, prefix: str, limit: int = 20) -> list[str]:
        """Return the ids of calls that begin with *prefix*, sorted, at most *limit*."""
        return self.storage.find_calls(prefix, limit)

    def find_sessions(self, prefix: str, limit: int = 20) -> list[str]:
        """Return the ids of sessions that begin with *prefix*, sorted, at most *limit*."""
        return self.storage.find_sessions(prefix, limit)

    def first_of_session(self, session: str) -> bytes | None:
        """Return the line of the first call of *session*, or None."""
        rows = self.storage.of_session(session, 0, 1)
        return rows[0][1] if rows else None

    def calls(self, session: str) -> Iterator[bytes]:
        """Yield the line of each decision and rejection of *session*, the oldest first."""
        start = 0
        while True:
            rows = self.storage.of_session(session, start, _CHUNK)
            yield from (row[1] for row in rows)
            if len(rows) < _CHUNK:
                return
            start = rows[-1][0] + 1

    def decision(self, call: str) -> bytes | None:
        """Return the line of the decision about *call*, or None."""
        found = self.storage.decision(call)
        return found[1] if found is not None else None

    def approval(self, approval: str) -> list[bytes]:
        """Return the decision about the call *approval*, then every recorded step of it, in
        order.
        """
        request = self.decision(approval)
        steps = self.storage.of_approval(approval)
        return [*([request] if request is not None else []), *steps]

    def requests(self, session: str | None = None) -> list[str]:
        """Return the ids of the calls (of *session*, or all) that needed a person's approval, the
        oldest first.
        """
        return self.storage.requests(session)

    def newest(self) -> bytes | None:
        """Return the last line of the log, or None if it is empty."""
        with self.storage.snapshot() as now:
            last = now.last()
            return now.line(last[0]) if last is not None else None

    def admin(self, *types: str) -> list[LineRow]:
        """Return (seq, line) of each record of an indexed ``admin.*`` type, oldest first."""
        return self.storage.admin(*types)

    def pruned(self, before: int) -> Pruned | None:
        """Return the proof that permits every record below *before* to be missing, from the last
        such record; None if there is none.
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
        """Return every session, the one that started last first."""
        return self.storage.sessions()

    def open_calls(self) -> list[tuple[OpenCall, ProcessState]]:
        """Return every allowed call without an outcome, and the state of its process."""
        leases = Leases(leases_path(self.path))
        calls = self.storage.open_calls()
        return [(call, leases.process_state(call.process, call.host, call.pid)) for call in calls]
