"""Finds the calls in a log that a framework must not repeat: those that have succeeded, and those
that are still running.

A framework's own id identifies a call within a conversation or a session. An index could find the
record of such a call, but anyone who can write the file could hide the record for a moment, and the
body would run twice. guardrail therefore hashes each line once into the tree of a signed head, and
remembers the calls in it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from guardrail.core.log.merkle import Edge
from guardrail.core.log.record import decode
from guardrail.core.repeats import Repeat, names_of
from guardrail.core.types import Effect, Status
from guardrail.errors import RecordError
from guardrail.ledger.hashes import TextHashes
from guardrail.ledger.names import LogPosition, hash_existing_lines
from guardrail.ledger.steps import hash_lines
from guardrail.ledger.storage import TreeRows
from guardrail.system.forking import reset_in_children

__all__ = ["FinishedCalls"]

_MOST = 8_000_000
"""Maximum number of names kept, at 8 bytes each. Beyond that, each search reads all lines."""
_DECISION = b'"type":"call.decision"'
_ENDS = (b'"type":"call.outcome"', b'"type":"call.claim"')
_ID = b'"call_id":"'
"""Bytes that every line with a framework's id contains. Other lines may contain them too."""
_SUCCESS = frozenset({Status.OK, Status.RETURNED})


class FinishedCalls:
    """The calls of one log that have succeeded or are still running. Thread-safe, and usable in a
    forked child.

    Its size grows with the log, and each line is hashed once.
    """

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._edge: Edge | None = None
        """The tree of the lines that have been read, or None before the first search."""
        self._running: dict[str, list[str]] = {}
        """Names of the allowed calls without an outcome, by call id."""
        self._succeeded: TextHashes | None = TextHashes()
        """Names of the calls that have succeeded, or None if there are too many."""
        reset_in_children(self)

    def reset(self) -> None:
        """Forget everything: a thread of the parent may have been in the middle of a change."""
        self._lock = threading.Lock()
        self._edge, self._running, self._succeeded = None, {}, TextHashes()

    def look(self, rows: TreeRows, place: LogPosition, names: Sequence[str]) -> Repeat | None:
        """Return the state of an earlier call with one of *names*, up to *place*, or None if no
        such call is running or has succeeded.

        Raises ``LedgerError`` if the lines do not match the signed head.
        """
        with self._lock:
            self._reach(rows, place)
            if self._succeeded is not None:
                found = any(name in self._succeeded for name in names)
            else:
                found = _search(rows, place, frozenset(names))
            if found:
                return Repeat.SUCCEEDED
            runs = any(name in names for each in self._running.values() for name in each)
            return Repeat.RUNNING if runs else None

    def _reach(self, rows: TreeRows, place: LogPosition) -> None:
        edge = self._edge
        if edge is not None and edge.size >= place.size:
            return
        fresh = edge is None or edge.size < place.begin
        reading = _Reading({} if fresh else self._running.copy())
        if edge is None or fresh:
            grown = hash_existing_lines(rows, place, reading.line)
        else:
            grown = hash_lines(rows, edge.copy(), place.size, place.tree, reading.line)
        self._edge, self._running = grown, reading.running
        if self._succeeded is not None:
            for name in reading.succeeded:
                self._succeeded.add(name)
            if len(self._succeeded) > self._most:
                self._succeeded = None


class _Reading:
    """The calls found in the lines that have been read."""

    def __init__(self, running: dict[str, list[str]]) -> None:
        self.running = running
        self.succeeded: list[str] = []

    def line(self, line: bytes) -> None:
        ends = any(mark in line for mark in _ENDS)
        # The outcome of a known call may be a bare record, which has no ids.
        if not (ends and self.running) and not (_ID in line and (ends or _DECISION in line)):
            return
        try:
            record = decode(line)
        except RecordError:
            return
        self.succeeded.extend(self._took(record))

    def _took(self, record: Mapping[str, Any]) -> Iterator[str]:
        call, type_ = str(record.get("call")), record.get("type")
        if type_ == "call.decision":
            decision = record.get("decision")
            if isinstance(decision, Mapping) and decision.get("effect") == Effect.ALLOW:
                names = names_of(record)
                if names:
                    self.running[call] = names
            return
        # A bare outcome has neither session nor ids; the decision has them.
        names = self.running.pop(call, []) or names_of(record)
        if record.get("status") in _SUCCESS:
            yield from names


def _search(rows: TreeRows, place: LogPosition, names: frozenset[str]) -> bool:
    reading = _Reading({})
    found = False

    def look(line: bytes) -> None:
        nonlocal found
        reading.line(line)
        found = found or not names.isdisjoint(reading.succeeded)
        reading.succeeded.clear()

    hash_existing_lines(rows, place, look)
    return found
