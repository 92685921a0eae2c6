"""Lists the sessions of a log from its lines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from guardrail.core.claims import TYPES
from guardrail.core.log.record import decode
from guardrail.errors import RecordError
from guardrail.ledger.rows import SessionRow

__all__ = ["Listing"]

_MARKS = (b'"type":"call.decision"', b'"type":"call.rejected"', b'"type":"call.outcome"')

_Key = tuple[str, str, str, str]


class Listing:
    """Counts the calls of each session. A session is listed once for each of its owners."""

    def __init__(self) -> None:
        self._rows: dict[_Key, dict[str, Any]] = {}
        self._running: dict[str, _Key] = {}
        """The sessions of the allowed calls without an outcome, by call."""

    def take(self, seq: int, line: bytes) -> None:
        """Count record *seq*. Lines that are not records are ignored."""
        if not any(mark in line for mark in _MARKS):
            return
        try:
            record = decode(line)
        except RecordError:
            return
        type_ = record.get("type")
        if type_ == "call.outcome":
            key = self._running.pop(_text(record, "call"), None)
            if key is not None:
                self._rows[key]["open"] -= 1
                self._rows[key]["errors"] += record.get("status") == "error"
        elif type_ in TYPES:
            self._begin(seq, record)

    def _begin(self, seq: int, record: Mapping[str, Any]) -> None:
        key = (
            _text(record, "session"),
            _text(record, "tenant"),
            _text(record, "principal", "id"),
            _text(record, "agent", "id"),
        )
        ts, effect = _text(record, "ts"), _text(record, "decision", "effect")
        row = self._rows.setdefault(
            key,
            {
                "first_seq": seq,
                "started": ts,
                "last": ts,
                "calls": 0,
                "denied": 0,
                "rejected": 0,
                "open": 0,
                "errors": 0,
            },
        )
        row["started"], row["last"] = min(row["started"], ts), max(row["last"], ts)
        row["calls"] += 1
        row["denied"] += effect == "deny"
        row["rejected"] += record.get("type") == "call.rejected"
        if effect == "allow":
            row["open"] += 1
            self._running[_text(record, "call")] = key

    def rows(self) -> list[SessionRow]:
        """Return all sessions, the one that started last first."""
        found = [SessionRow(*key, **row) for key, row in self._rows.items()]
        return sorted(found, key=lambda row: -row.first_seq)


def _text(record: Mapping[str, Any], *path: str) -> str:
    value: Any = record
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value if isinstance(value, str) else ""
