"""Compares the rows that locate records (the tables ``call`` and ``place``) with the lines.

Anyone who can write the file can change these rows, so a missing row proves nothing. A command
whose answer would be wrong without a record reads the lines (``marked_lines``), or makes sure that
no row is missing (``missing_place``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from guardrail.core.log.places import ADMIN, BLOCK, call_step, number_of, places_of
from guardrail.core.log.record import decode_or_none
from guardrail.ledger.storage import CallRow, LineRow, PlaceKey, Storage

__all__ = [
    "ANY_ADMIN",
    "CallStepRow",
    "LocatedCounts",
    "LocatorWalk",
    "marked_lines",
    "missing_place",
]

ANY_ADMIN = '"type":"admin.'
"""Text that occurs in every line about the log itself."""


CallStepRow = tuple[int, str, int | None]
"""The number of a decision or an outcome, its call and, for an outcome, the number of the decision.
"""
_RANGE = 16
"""Number of calls from which their rows are read as a range."""


def marked_lines(
    storage: Storage, *marks: str, start: int = 0, stop: int | None = None
) -> Iterator[LineRow]:
    """Yield the records from *start* up to *stop*, or the end, whose lines contain one of *marks*,
    in order. Raises ``LedgerError``.
    """
    while True:
        rows = storage.marked(*marks, start=start, stop=stop, limit=BLOCK)
        yield from rows
        if len(rows) < BLOCK:
            return
        start = rows[-1][0] + 1


def missing_place(storage: Storage, *, stop: int) -> int | None:
    """Return the number of the first record below *stop* that ``Storage.admin`` misses, or None.
    Raises ``LedgerError``.
    """
    wanted: list[PlaceKey] = []
    for seq, line in marked_lines(storage, ANY_ADMIN, stop=stop):
        type_ = (decode_or_none(line) or {}).get("type")
        if type_ in ADMIN:
            wanted.append(("admin", type_, seq))
    found = storage.numbers_of(wanted)
    return next((key[2] for key in wanted if found.get(key) != key[2]), None)


@dataclass(slots=True)
class LocatedCounts:
    """The number of rows that the lines require."""

    calls: int = 0
    outcomes: int = 0
    places: int = 0

    def add(self, other: LocatedCounts) -> None:
        """Add the counts of another part of the log."""
        self.calls += other.calls
        self.outcomes += other.outcomes
        self.places += other.places


@dataclass(slots=True)
class LocatorWalk:
    """One pass over lines, in order. If the lines begin in the middle of a block, *partial* is the
    number of the first one.
    """

    storage: Storage
    partial: int = 0
    counts: LocatedCounts = field(default_factory=LocatedCounts)
    _block: int = -1
    _sessions: set[str] = field(default_factory=set)
    """The sessions that were seen in the current block."""
    _steps: list[CallStepRow] = field(default_factory=list)
    _places: list[tuple[int, PlaceKey]] = field(default_factory=list)
    """The rows that the lines require and that have not been looked up yet. Rows are looked up in
    groups, because a query for each would double the time of ``verify``.
    """

    def take(self, seq: int, record: Mapping[str, Any], pruned: int) -> None:
        """Add *record*. Records below *pruned* were pruned."""
        step = call_step(record)
        if step is not None:
            self.take_steps([(seq, step.call, step.decision)], pruned)
        if seq // BLOCK != self._block:
            self._block = seq // BLOCK
            self._sessions.clear()
        for place in places_of(record):
            if place.kind == "session":
                if place.name in self._sessions:
                    continue
                self._sessions.add(place.name)
                if self.partial and seq // BLOCK == self.partial // BLOCK:
                    continue  # an earlier record of this block may be the first one
            self.counts.places += 1
            self._places.append((seq, (place.kind, place.name, number_of(place, seq))))

    def take_steps(self, steps: Sequence[CallStepRow], pruned: int = 0) -> None:
        """Add records without places: for each, its number, its call and, if it is an outcome, the
        number of the decision. Records below *pruned* were pruned.
        """
        self._steps += steps
        ended = [decision for _, _, decision in steps if decision is not None]
        self.counts.outcomes += len(ended)
        # The decision of an outcome that was kept has no record if it was pruned.
        self.counts.calls += len(steps) - len(ended) + sum(each < pruned for each in ended)

    @property
    def waiting(self) -> int:
        """Number of rows that ``missed`` would look up."""
        return len(self._steps) + len(self._places)

    def missed(self) -> list[tuple[int, str]]:
        """Look up the rows of the records since the last call. Return, for each table that lacks a
        row, the first record and the table, in the order of the records. Raises ``LedgerError``.

        Call it in the snapshot in which the lines were read.
        """
        steps, self._steps = sorted(self._steps), []
        places, self._places = self._places, []
        lacking: list[tuple[int, str]] = []
        rows = self._rows_of(steps)
        for seq, call, decision in steps:
            row = rows.get(call)
            if decision is None:
                found = row is not None and row[1] == seq
            else:
                found = row == (0, decision, seq)
            if not found:
                lacking.append((seq, "call"))
                break
        numbers = self.storage.numbers_of([key for _, key in places])
        lacking += [(seq, "place") for seq, key in places if numbers.get(key) != seq][:1]
        return sorted(lacking)

    def _rows_of(self, steps: Sequence[CallStepRow]) -> dict[str, CallRow]:
        # The ids of calls that were decided one after another are neighbours in the table, so that
        # one range has nearly all rows.
        decided = [call for _, call, decision in steps if decision is None]
        rows: dict[str, CallRow] = {}
        if len(decided) >= _RANGE:
            rows = self.storage.calls_between(min(decided), max(decided), 2 * len(decided))
        left = [call for _, call, _ in steps if call not in rows]
        return {**rows, **self.storage.call_rows(left)} if left else rows

    def surplus(self) -> str:
        """Return the table with rows that no line requires, or an empty string if there is none.
        Call this after all lines. Raises ``LedgerError``.
        """
        if self.partial:
            return ""
        calls, outcomes, places = self.storage.located_counts()
        if (calls, outcomes) != (self.counts.calls, self.counts.outcomes):
            return "call"
        return "place" if places != self.counts.places else ""
