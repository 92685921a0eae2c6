"""Reads the states of sessions from a whole log, also after its older records were pruned.

Pruning first repeats, in ``admin.states_kept`` records, the counts of the calls that it deletes. A
process that starts later begins with these counts. The records are hashed into the tree of the
signed head like every other line, so none can be changed or left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from guardrail.core.kept_states import KEPT_STATES, KeptStates, kept_details
from guardrail.core.log.merkle import Edge
from guardrail.core.log.record import decode_or_none
from guardrail.core.session_state import CallStates
from guardrail.core.state_changes import change_of
from guardrail.core.state_reads import CallDecided, StateKey
from guardrail.ledger.names import LogPosition, hash_existing_lines
from guardrail.ledger.steps import unproved
from guardrail.ledger.storage import TreeRows

__all__ = ["kept_below", "read_states", "take_line"]

_KEPT: Final = b'"type":"%b"' % KEPT_STATES.encode()
_CALLS: Final = (b'"type":"call.decision"', b'"type":"call.outcome"')
_READ: Final = b'"recent_complete":'
"""Bytes that each decision contains whose policy has read a state. Other lines may contain them."""
_CHUNK: Final = 256
_ALL: Final = 1 << 62
"""No state may be left out because there are many."""


def take_line(states: CallStates, line: bytes) -> None:
    """Advance *states* to the record *line*."""
    if _CALLS[0] in line or _CALLS[1] in line:
        record = decode_or_none(line)
        if record is not None:
            states.take(record)


def read_states(rows: TreeRows, place: LogPosition) -> tuple[CallStates, Edge]:
    """Return the states at *place*, and the tree of the lines that they follow from. Raises
    ``LedgerError`` if the lines do not match the signed head.
    """
    reading = _StatesReading(rows, place, repeated=place.begin > 1)
    grown = reading.run(rows, place, lambda line: take_line(reading.states, line))
    return reading.states, grown


def kept_below(rows: TreeRows, place: LogPosition, before: int) -> list[dict[str, Any]]:
    """Return the details of the ``admin.states_kept`` records to write before the records below
    *before* are deleted. The list is empty if no record up to *place* shows that a policy reads
    states. Raises ``LedgerError`` if the lines do not match the signed head.
    """
    reading = _StatesReading(rows, place, repeated=True, most=_ALL)
    used = bool(reading.kept.entries)
    later: set[StateKey] = set()
    """The states that remaining records change."""

    def look(line: bytes) -> None:
        nonlocal used
        record = decode_or_none(line) if _CALLS[0] in line or _CALLS[1] in line else None
        if record is None:
            return
        used = used or _READ in line
        if int(record.get("seq", 0)) < before:
            reading.states.take(record)
        elif isinstance(change := change_of(record), CallDecided):
            later.update(change.keys)
        else:
            later.update(reading.states.keys_of(str(record.get("call"))))

    reading.run(rows, place, look)
    if not used:
        return []
    return list(kept_details(reading.states, before, reading.kept, later))


class _StatesReading:
    """One read of all lines of a log, and the states that pruned records left."""

    def __init__(
        self, rows: TreeRows, place: LogPosition, *, repeated: bool, most: int | None = None
    ) -> None:
        """Unless *repeated* is True, count every call from its own record. *most* is for
        ``CallStates``.
        """
        self.states = CallStates(most)
        self.kept = KeptStates()
        self._lines: list[bytes] = []
        self._repeated = repeated
        if repeated:
            # They are not trusted before ``run`` has found the same lines in the signed tree.
            self._lines = [line for line in _lines(rows, place) if _is_kept(line)]
            for line in self._lines:
                self.kept.take(decode_or_none(line) or {})
            self.kept.restore(self.states)

    def run(self, rows: TreeRows, place: LogPosition, look: Any) -> Edge:
        """Pass each line to *look*; return the tree. Raises ``LedgerError``."""
        seen: list[bytes] = []

        def looks(line: bytes) -> None:
            if self._repeated and _is_kept(line):
                seen.append(line)
            look(line)

        grown = hash_existing_lines(rows, place, looks)
        if seen != self._lines:
            raise unproved("records about the states of sessions changed while they were read")
        self.states.restored()
        return grown


def _is_kept(line: bytes) -> bool:
    return _KEPT in line and (decode_or_none(line) or {}).get("type") == KEPT_STATES


def _lines(rows: TreeRows, place: LogPosition) -> Iterator[bytes]:
    at = place.begin
    while at < place.size:
        found = rows.lines(at, place.size, _CHUNK)
        if not found:
            return  # hashing the lines finds out which one is missing
        for seq, line in found:
            yield line
            at = seq + 1
