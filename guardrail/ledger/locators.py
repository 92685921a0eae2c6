"""Compares the rows by which records are found again, the calls and the places, with the lines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from guardrail.core.log.places import BLOCK, call_step, number_of, places_of
from guardrail.ledger.storage import Storage

__all__ = ["LocatedCounts", "LocatorWalk"]


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

    def take(self, seq: int, record: Mapping[str, Any], pruned: int) -> str:
        """Return the table that lacks a row for *record*, or an empty string if none does. Records
        below *pruned* were pruned. Raises ``LedgerError``.
        """
        step = call_step(record)
        if step is not None:
            row = self.storage.call_row(step.call)
            if step.decision is None:
                self.counts.calls += 1
                found = row is not None and row[1] == seq
            else:
                self.counts.outcomes += 1
                self.counts.calls += step.decision < pruned
                found = row is not None and row == (0, step.decision, seq)
            if not found:
                return "call"
        return "" if self._has_places(seq, record) else "place"

    def _has_places(self, seq: int, record: Mapping[str, Any]) -> bool:
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
            if self.storage.place(place.kind, place.name, number_of(place, seq)) != seq:
                return False
        return True

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
