"""Builds outcomes for calls whose own process can't write them, using only the line of the
decision.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from guardrail.core.log import fields
from guardrail.core.log.merkle import inclusion_proof, verify_inclusion
from guardrail.core.log.record import Draft, decode, leaf_hash
from guardrail.core.types import Status
from guardrail.errors import RecordError
from guardrail.ledger.lease import Leases, ProcessState, own_origin, process_name
from guardrail.ledger.storage import AppendingStorage
from guardrail.ledger.tree import node_reader

__all__ = ["not_started", "of_dead_calls", "of_dead_keys", "unknown"]

_COMMON = (
    "log",
    "v",
    "call",
    "parent",
    "session",
    "tenant",
    "principal",
    "agent",
    "delegation",
    "trace",
)


def unknown(line: bytes) -> Draft:
    """Return the outcome of an allowed call whose process died before it was known whether the body
    ran.

    Raises ``RecordError`` if the line is not a record.
    """
    return _outcome(line, Status.UNKNOWN, "sweep", None)


def not_started(line: bytes) -> Draft:
    """Return the outcome for a decision that was found to be durable after the caller was told that
    it had failed.

    The body did not run. Raises ``RecordError`` if the line is not a record.
    """
    return _outcome(line, Status.CANCELLED, "ledger", {"class": "not_started", "message": ""})


def _outcome(line: bytes, status: Status, adapter: str, error: dict[str, str] | None) -> Draft:
    return _of(decode(line), status, adapter, error)


def _of(
    decision: Mapping[str, Any], status: Status, adapter: str, error: dict[str, str] | None
) -> Draft:
    common: dict[str, Any] = {name: decision.get(name) for name in _COMMON}
    common["type"] = "call.outcome"
    common["origin"] = own_origin(adapter)
    record = fields.outcome(
        common,
        status,
        decision_seq=decision["seq"],
        result=None,
        error=error,
        reproducible=None,
        milliseconds=None,
        omitted=None,
    )
    return Draft.build(record)


class _Owned:
    """Finds the owner of a call or a key in the record's line, which the signed head proves. The
    tables show only which line to read.
    """

    def __init__(self, store: AppendingStorage) -> None:
        self._store = store
        self._tail = store.tail()
        self._node = node_reader(store)
        self._root = self._tail.edge.root()

    def record(self, seq: int, process: str) -> Mapping[str, Any] | None:
        """Return record *seq* of *process*, or None if the record does not exist or the head does
        not prove it.
        """
        line = self._store.line(seq)
        if line is None or self._tail.fault:
            return None
        try:
            path = inclusion_proof(seq, self._tail.edge.size, self._node)
            record = decode(line)
        except (ValueError, RecordError):
            return None
        size = self._tail.edge.size
        if not verify_inclusion(leaf_hash(line), seq, size, path, self._root):
            return None
        origin = record.get("origin")
        said = origin.get("process") if isinstance(origin, Mapping) else None
        return record if said in (None, process) else None


def of_dead_calls(store: AppendingStorage, leases: Leases) -> tuple[list[Draft], set[str]]:
    """Return the outcomes to write for the calls of dead processes, and the processes that still
    have open calls.
    """
    states: dict[str, ProcessState] = {process_name(): ProcessState.OWN}
    left: set[str] = set()
    drafts: list[Draft] = []
    owned: _Owned | None = None
    for call in store.open_calls():
        state = states.get(call.process)
        if state is None:
            state = states[call.process] = leases.process_state(call.process, call.host, call.pid)
        record = None
        if state is ProcessState.DEAD:
            owned = owned or _Owned(store)
            record = owned.record(call.seq, call.process)
        if record is None or record.get("call") != call.call:
            # even if the line is not the call's decision, which `verify` reports
            left.add(call.process)
            continue
        try:
            drafts.append(_of(record, Status.UNKNOWN, "sweep", None))
        except KeyError:
            left.add(call.process)
    return drafts, left


def of_dead_keys(store: AppendingStorage, leases: Leases) -> list[str]:
    """Return the keys of dead processes that no record has retired."""
    owned: _Owned | None = None
    dead = []
    for row in store.epochs():
        if leases.process_state(row.process, row.host, row.pid) is not ProcessState.DEAD:
            continue
        owned = owned or _Owned(store)
        record = owned.record(row.seq, row.process)
        detail = record.get("detail") if record is not None else None
        key = detail.get("key") if isinstance(detail, Mapping) else None
        if isinstance(key, Mapping) and key.get("public") == row.public:
            dead.append(row.public)
    return dead
