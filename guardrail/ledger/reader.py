"""Reads a log while writers run, and never writes to it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from guardrail.core.claims import TYPES
from guardrail.core.log.pruned import Pruned
from guardrail.core.log.record import decode, decode_or_none, dumps
from guardrail.errors import LedgerError, RecordError
from guardrail.ledger.files import leases_path
from guardrail.ledger.lease import Leases, ProcessState
from guardrail.ledger.locators import marked_lines
from guardrail.ledger.rows import OpenCall
from guardrail.ledger.sqlite.storage import SQLiteStorage
from guardrail.ledger.steps import ASKED, STEP, asking_decision, step_of
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
        self._steps: tuple[int, dict[str, list[bytes]]] | None = None
        """Number of records, and the steps of each approval in them."""

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

    # -- by name -----------------------------------------------------------------------------------

    # Anyone who can write the file can remove rows from the tables that locate records. A command
    # would then report "not found", so each of these reads scans every line instead.

    def by_call(self, call: str) -> Iterator[bytes]:
        """Yield every line about *call*, oldest first."""
        for line, record in self._naming("call", dumps(call)):
            if record.get("call") == call and str(record.get("type")).startswith("call."):
                yield line

    def find_calls(self, prefix: str, limit: int = 20) -> list[str]:
        """Return at most *limit* ids of decided calls that begin with *prefix*, sorted."""
        return self._names("call", prefix, limit, ("call.decision",))

    def find_sessions(self, prefix: str, limit: int = 20) -> list[str]:
        """Return at most *limit* ids of sessions that begin with *prefix*, sorted."""
        return self._names("session", prefix, limit, TYPES)

    def first_of_session(self, session: str) -> bytes | None:
        """Return the line of the first call of *session*, or None."""
        return next(self.calls(session), None)

    def calls(self, session: str) -> Iterator[bytes]:
        """Yield the line of each decision and rejection of *session*, oldest first."""
        for line, record in self._naming("session", dumps(session)):
            if record.get("session") == session and record.get("type") in TYPES:
                yield line

    def _names(self, field: str, prefix: str, limit: int, types: Collection[str]) -> list[str]:
        found: set[str] = set()
        for _, record in self._naming(field, dumps(prefix)[:-1]):
            name = record.get(field)
            if record.get("type") in types and isinstance(name, str) and name.startswith(prefix):
                found.add(name)
                if len(found) == limit:
                    break
        return sorted(found)

    def _naming(self, field: str, text: bytes) -> Iterator[tuple[bytes, dict[str, Any]]]:
        """Yield each line that contains *field* with a value that begins with the JSON *text*."""
        for _, line in marked_lines(self.storage, f'"{field}":{text.decode()}'):
            record = decode_or_none(line)
            if record is not None:
                yield line, record

    def decision(self, call: str) -> bytes | None:
        """Return the line of the decision about *call*, or None."""
        found = self.storage.decision(call)
        if found is not None and _decides(decode_or_none(found[1]) or {}, call):
            return found[1]
        lines = self._naming("call", dumps(call))
        return next((line for line, each in lines if _decides(each, call)), None)

    def approval(self, approval: str) -> list[bytes]:
        """Return the decision about the call *approval*, followed by all recorded steps of the
        approval, in order.

        Steps are found by reading the lines, because a hidden refusal would make a request look
        open.
        """
        request = self.decision(approval)
        size = self.size()
        if self._steps is None or self._steps[0] != size:
            self._steps = size, _steps_of(self.storage)
        return [
            *([request] if request is not None else []),
            *self._steps[1].get(approval, ()),
        ]

    def requests(self, session: str | None = None) -> list[str]:
        """Return the ids of the calls (of *session*, or all) that needed a person's approval,
        oldest first. Every line is read.
        """
        found = (asking_decision(line) for _, line in marked_lines(self.storage, ASKED))
        return [each.call for each in found if each and session in (None, each.session)]

    # -- other reads -------------------------------------------------------------------------------

    def newest(self) -> bytes | None:
        """Return the last line of the log, or None if it is empty."""
        with self.storage.snapshot() as now:
            last = now.last()
            return now.line(last[0]) if last is not None else None

    def admin(self, *types: str) -> list[LineRow]:
        """Return (seq, line) of each record of *types* (of ``core.log.places.ADMIN``), oldest
        first. The rows that lead to them are not authenticated, so records may be missing.
        """
        return self.storage.admin(*types)

    def every(self, type_: str) -> list[LineRow]:
        """Return (seq, line) of each record of *type_*, oldest first. Every line is read, so no
        other row can hide a record. A line that can't be decoded, but contains the type, is
        returned.
        """
        lines = marked_lines(self.storage, f'"type":{dumps(type_).decode()}')
        return [
            row for row in lines if (decode_or_none(row[1]) or {"type": type_}).get("type") == type_
        ]

    def pruned(self, before: int) -> Pruned | None:
        """Return the record of the last pruning if it allows every record below *before* to be
        missing, otherwise None.
        """
        for _, line in reversed(self.admin("admin.pruned")):
            record = decode_or_none(line)
            if record is not None and Pruned.claimed(record) == before:
                return Pruned.of(record)
        return None

    def open_calls(self) -> list[tuple[OpenCall, ProcessState]]:
        """Return every allowed call without an outcome, with the state of its process."""
        leases = Leases(leases_path(self.path))
        calls = self.storage.open_calls()
        return [(call, leases.process_state(call.process, call.host, call.pid)) for call in calls]


def _steps_of(storage: Storage) -> dict[str, list[bytes]]:
    found: dict[str, list[bytes]] = {}
    for _, line in marked_lines(storage, STEP):
        approval = step_of(line)
        if approval is not None:
            found.setdefault(approval, []).append(line)
    return found


def _decides(record: Mapping[str, Any], call: str) -> bool:
    return record.get("type") == "call.decision" and record.get("call") == call
