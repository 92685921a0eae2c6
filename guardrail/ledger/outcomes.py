"""Outcomes that the ledger writes by itself, for calls whose own process can't: from the decision's line alone."""

from __future__ import annotations

from typing import Any

from guardrail.core import fields
from guardrail.core.record import Draft, decode
from guardrail.core.types import Status
from guardrail.errors import RecordError
from guardrail.ledger.lease import Leases, Life, own_origin, process_name
from guardrail.ledger.store import Store

__all__ = ["not_started", "of_dead_calls", "unknown"]

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
    """Return the outcome of an allowed call whose process died: what happened to the body is not known.

    Raises ``RecordError`` for a line that is not a record.
    """
    return _outcome(line, Status.UNKNOWN, "sweep", None)


def not_started(line: bytes) -> Draft:
    """Return the outcome of a decision that turned out to be durable after its caller had been told otherwise.

    The body did not run. Raises ``RecordError`` for a line that is not a record.
    """
    return _outcome(line, Status.CANCELLED, "ledger", {"class": "not_started", "message": ""})


def _outcome(line: bytes, status: Status, adapter: str, error: dict[str, str] | None) -> Draft:
    decision = decode(line)
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


def of_dead_calls(store: Store, leases: Leases) -> tuple[list[Draft], set[str]]:
    """Return the outcomes that the calls of dead processes are owed, and the processes that keep open calls."""
    lives: dict[str, Life] = {process_name(): Life.OWN}
    left: set[str] = set()
    drafts: list[Draft] = []
    for call in store.open_calls():
        life = lives.get(call.process)
        if life is None:
            life = lives[call.process] = leases.life(call.process, call.host, call.pid)
        line = store.line(call.seq) if life is Life.DEAD else None
        if line is None:
            left.add(call.process)
            continue
        try:
            drafts.append(unknown(line))
        except (RecordError, KeyError):
            left.add(call.process)  # a line that is no decision: `verify` names it
    return drafts, left
