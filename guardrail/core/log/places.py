"""The keys by which a log's storage finds a record: its call, session, approval or type.

Pure. The storage keeps these facts beside the lines, because a writer must find some records
without reading the whole log. ``verify`` computes them again and compares.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from guardrail.core.claims import session_of

__all__ = ["ADMIN", "BLOCK", "CallStep", "Place", "call_step", "number_of", "places_of"]

BLOCK = 4096
"""Number of records in a block. The first record of each session in each block has a place, so that
pruning reads at most one block to find a session's next record.
"""
ADMIN = frozenset(
    {
        "admin.start",
        "admin.key_rotated",
        "admin.heartbeat",
        "admin.sealed",
        "admin.archived",
        "admin.pruned",
        "admin.hold",
        "admin.recovered",
    }
)
"""Types of records that administrative commands must find without reading the whole log."""

_MOST = 1 << 63
"""Numbers must be less than this, so that any storage can hold them."""


class Place(NamedTuple):
    """A key under which a record is found. Kind, name and number together identify one record; for
    a session, the first one in the block.
    """

    kind: Literal["session", "request", "step", "use", "admin"]
    """``session``: a record that names the owner of a session. ``request``: a decision of the
    session that requires an approval. ``step``: a step of an approval, with its ordinal. ``use``:
    the decision that uses an approval. ``admin``: a record of one of the types in ``ADMIN``.
    """
    name: str
    number: int | None
    """None means the number of the record or, for a session, of the record's block."""


class CallStep(NamedTuple):
    """The step of a call that a record documents: its decision or its outcome."""

    call: str
    decision: int | None
    """Number of the decision that an outcome closes, or None for a decision."""
    opens: bool
    """True for a decision that allows the call."""


def places_of(record: Mapping[str, Any]) -> tuple[Place, ...]:
    """Return the places of *record*. A field that no writer would write has no place."""
    type_ = record.get("type")
    if type_ in ADMIN:
        return (Place("admin", type_, None),)
    found: list[Place] = []
    session = session_of(record)
    if session is not None:
        found.append(Place("session", session, None))
    decision = record.get("decision") if type_ == "call.decision" else None
    if isinstance(decision, Mapping) and decision.get("effect") == "require_approval":
        named = record.get("session")
        found.append(Place("request", named if isinstance(named, str) else "", None))
    approval = record.get("approval")
    if isinstance(approval, Mapping) and isinstance(approval.get("id"), str):
        ordinal = approval.get("ordinal")
        if type(ordinal) is int and 0 <= ordinal < _MOST:
            found.append(Place("step", approval["id"], ordinal))
            if type_ == "call.decision":
                found.append(Place("use", approval["id"], 0))
    return tuple(found)


def number_of(place: Place, seq: int) -> int:
    """Return the number of *place* for record *seq*."""
    if place.number is not None:
        return place.number
    return seq // BLOCK if place.kind == "session" else seq


def call_step(record: Mapping[str, Any]) -> CallStep | None:
    """Return the step that *record* documents, or None if it is neither a decision nor an
    outcome.
    """
    type_, call = record.get("type"), record.get("call")
    if not isinstance(call, str):
        return None
    if type_ == "call.outcome":
        decision = record.get("decision_seq")
        is_number = type(decision) is int and 0 <= decision < _MOST
        return CallStep(call, decision if is_number else -1, False)
    if type_ != "call.decision":
        return None
    decided = record.get("decision")
    allows = isinstance(decided, Mapping) and decided.get("effect") == "allow"
    return CallStep(call, None, allows)
