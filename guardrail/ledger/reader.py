"""Reads a log while writers run, and never writes to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from guardrail.core.log.pruned import Pruned
from guardrail.core.log.record import decode
from guardrail.errors import LedgerError, RecordError
from guardrail.ledger.files import leases_path
from guardrail.ledger.lease import Leases, ProcessState
from guardrail.ledger.rows import OpenCall
from guardrail.ledger.sqlite.storage import SQLiteStorage
from guardrail.ledger.storage import LineRow, Storage

if TYPE_CHECKING:
    from guardrail.core.log.chain import Head

__all__ = ["LedgerReader"]

_CHUNK = 256


class LedgerReader:
    """Reads one log, independently of its storage backend. Any thread may use it."""

    def __init__(self, storage: Storage, path: Path) -> None:
        """Use ``open`` instead."""
        self.storage = storage
        """The named reads of the log. Their results are not authenticated."""
        self.path = path
        """Path of the log, with symbolic links resolved."""
        self._genesis: dict[str, Any] | None = None

    @classmethod
    def open(cls, path: Path, *, strict: bool = True, rows: bool = True) -> Self:
        """Open the log at *path*.

        Raises ``LedgerOpenError`` if the log is missing, unreadable, of a newer format, or not a
        ledger. Code ``ledger.schema`` means that the file has tables, views, indexes or triggers
        that do not belong to a log; ``ledger.rows`` means that it has rows with impossible record
        numbers.

        Callers that report or repair damage pass False for *strict*: only the table of records must
        then be correct. Callers that prove each row they use (``ledger.proved``) pass False for
        *rows*, so that a harmless row does not block calls.
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
        """Read from a single snapshot of the log inside the block. Do not keep the block open for
        long.
        """
        with self.storage.snapshot():
            yield self

    @property
    def genesis(self) -> dict[str, Any]:
        """Line 0, decoded. Raises ``LedgerError`` or ``RecordError`` if it can't be read."""
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
        """The log's origin name, from the genesis."""
        return str(self.genesis.get("log", ""))

    def size(self) -> int:
        """Return the number of records: one more than the highest number."""
        return self.storage.size()

    def first(self) -> int:
        """Return the number of the first existing record after line 0, or 1 if there is none. It is
        greater than 1 if records were pruned.
        """
        return self.storage.first() or 1

    def head(self) -> Head | None:
        """Return the stored end of the log, without verifying it, or None if the log is empty."""
        from guardrail.core.log.chain import Head

        last = self.storage.last()
        return Head(self.log, last[0] + 1, last[1]) if last is not None else None

    def record(self, seq: int) -> bytes | None:
        """Return line *seq*, byte for byte, or None."""
        return self.storage.line(seq)

    def lines(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, bytes, bytes]]:
        """Yield (seq, leaf, line) of each record from *start* up to *stop*, or up to the end of the
        log.
        """
        while True:
            rows = self.storage.records(start, _CHUNK)
            for row in rows:
                if stop is not None and row[0] >= stop:
                    return
                if row[0] < start:
                    # The pages form a cycle: without this check, the loop might never end.
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
        """Yield every line about *call*, oldest first."""
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
        """Yield the line of each decision and rejection of *session*, oldest first."""
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
        """Return the decision about the call *approval*, followed by all recorded steps of the
        approval, in order.
        """
        request = self.decision(approval)
        steps = self.storage.of_approval(approval)
        return [*([request] if request is not None else []), *steps]

    def requests(self, session: str | None = None) -> list[str]:
        """Return the ids of the calls (of *session*, or all) that needed a person's approval,
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
        """Return the record of the last pruning if it allows every record below *before* to be
        missing, otherwise None.
        """
        for _, line in reversed(self.admin("admin.pruned")):
            try:
                record = decode(line)
            except RecordError:
                continue
            if Pruned.claimed(record) == before:
                return Pruned.of(record)
        return None

    def open_calls(self) -> list[tuple[OpenCall, ProcessState]]:
        """Return every allowed call without an outcome, with the state of its process."""
        leases = Leases(leases_path(self.path))
        calls = self.storage.open_calls()
        return [(call, leases.process_state(call.process, call.host, call.pid)) for call in calls]
