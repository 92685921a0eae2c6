"""Repeats the counts of calls whose records are deleted, so that they still count later. Pure.

The recent calls are not repeated: their targets must not outlive their records.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from guardrail.core.log.record import MALFORMED, dumps
from guardrail.core.session_state import CallStates
from guardrail.core.state_reads import SESSION, StateKey

__all__ = ["KEPT_STATES", "MOST_BYTES", "MOST_TOOL_BYTES", "KeptStates", "kept_details"]

KEPT_STATES: Final = "admin.states_kept"
MOST_BYTES: Final = 40_000
"""Maximum length of the states in one record, so that the record fits in a line."""
MOST_TOOL_BYTES: Final = 20_000
"""Maximum length of the tools in one entry. A state with more tools has several entries."""


@dataclass(slots=True)
class _Entry:
    """The newest kept state of one subject."""

    before: int
    seq: int
    fields: Mapping[str, Any]
    tools: list[Any] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """True if all parts of the state were written."""
        return bool(len(self.tools) == self.fields.get("of"))


class KeptStates:
    """The states in the ``admin.states_kept`` records of a log."""

    def __init__(self) -> None:
        self.entries: dict[StateKey, _Entry] = {}

    def take(self, record: Mapping[str, Any]) -> None:
        """Take the next record. A malformed one counts for nothing."""
        try:
            before, seq = int(record["detail"]["before"]), int(record["seq"])
            for each in record["detail"]["states"]:
                key = tuple(str(part) for part in each["subject"])
                known = self.entries.get(key)
                if each["part"] == 0:
                    known = self.entries[key] = _Entry(before, seq, each)
                if known is not None and known.before == before:
                    known.tools.extend(each["tools"])
        except MALFORMED:
            return

    def restore(self, states: CallStates) -> None:
        """Begin *states*, which have counted no record yet, with the kept ones."""
        for key, entry in self.entries.items():
            if entry.complete:
                with contextlib.suppress(*MALFORMED):
                    states.restore(key, entry.before, {**entry.fields, "tools": entry.tools})

    def covers(self, key: StateKey, changed: int, before: int) -> bool:
        """Return True if the state of *key*, which record *changed* changed last, is in a record
        that is not below *before*.
        """
        entry = self.entries.get(key)
        return (
            entry is not None and entry.complete and entry.seq >= before and changed < entry.before
        )


def kept_details(
    states: CallStates, before: int, kept: KeptStates, later: Collection[StateKey]
) -> Iterator[dict[str, Any]]:
    """Yield the details of the ``admin.states_kept`` records that repeat *states*, the states after
    the records below *before*.

    States in *kept* that are still right are left out, and so are those of sessions that are not in
    *later*, the states that records from *before* on change: such a session has no record left.
    """
    batch: list[Any] = []
    size = 0
    for key, state in states.kept():
        if kept.covers(key, state["changed"], before) or (key[0] == SESSION and key not in later):
            continue
        tools = state["tools"]
        for part, some in enumerate(_parts(tools)):
            entry = {
                "subject": list(key),
                "part": part,
                "of": len(tools),
                **(state if part == 0 else {}),
                "tools": some,
            }
            length = len(dumps(entry))
            if batch and size + length > MOST_BYTES:
                yield {"before": before, "states": batch}
                batch, size = [], 0
            batch.append(entry)
            size += length
    if batch:
        yield {"before": before, "states": batch}


def _parts(tools: list[Any]) -> Iterator[list[Any]]:
    part: list[Any] = []
    size = 0
    for each in tools:
        length = len(dumps(each))
        if part and size + length > MOST_TOOL_BYTES:
            yield part
            part, size = [], 0
        part.append(each)
        size += length
    yield part
