"""Proves that the steps of an approval are complete, by hashing every line in a range of the log
into the tree of the log's head.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from guardrail.core.log.merkle import Edge
from guardrail.core.log.record import decode_or_none, leaf_hash
from guardrail.core.words import numbers
from guardrail.errors import LedgerError
from guardrail.ledger.storage import TreeRows

__all__ = [
    "ASKED",
    "STEP",
    "UNPROVED",
    "AskingDecision",
    "Steps",
    "asking_decision",
    "hash_lines",
    "is_start",
    "misplaced",
    "step_of",
    "unproved",
]

UNPROVED = "ledger.unproved"
"""Error code for a record that the signed head does not prove."""

_CHUNK = 256
STEP = '"ordinal":'
"""Text that occurs in every line that is a step of an approval, and in few other lines."""
ASKED = '"effect":"require_approval"'
"""Text that occurs in every decision that requires an approval, and in few other lines."""
_STEP, _ASKED = STEP.encode(), ASKED.encode()


class AskingDecision(NamedTuple):
    """A call that needed a person's approval."""

    seq: int
    """Number of its decision, according to the line."""
    call: str
    session: str


def unproved(what: str) -> LedgerError:
    return LedgerError(
        f"{what}: someone who does not hold this log's keys changed the ledger",
        code=UNPROVED,
        hint="guardrail verify",
    )


def misplaced(seq: object) -> LedgerError:
    """Return the error for a record that an index returned although it does not match the query."""
    return unproved(f"record {seq} does not match the ledger's index")


def step_of(line: bytes) -> str | None:
    """Return the id of the approval to which the step in the record *line* belongs, or None."""
    if _STEP not in line:
        return None
    approval = (decode_or_none(line) or {}).get("approval")
    if not isinstance(approval, Mapping) or approval.get("ordinal") is None:
        return None
    id_ = approval.get("id")
    return id_ if isinstance(id_, str) else None


def asking_decision(line: bytes) -> AskingDecision | None:
    """Return the call for which the decision in *line* requires an approval, or None if *line* is
    not such a decision.
    """
    if _ASKED not in line:
        return None
    record = decode_or_none(line)
    if record is None:
        return None
    decision, call = record.get("decision"), record.get("call")
    if (
        record.get("type") != "call.decision"
        or not isinstance(decision, Mapping)
        or decision.get("effect") != "require_approval"
        or not isinstance(call, str)
    ):
        return None
    seq, session = record.get("seq"), record.get("session")
    return AskingDecision(
        seq if type(seq) is int else -1, call, session if isinstance(session, str) else ""
    )


def is_start(line: bytes) -> bool:
    """Return True if *line* is the record of a guard's start."""
    return b'"admin.start"' in line and (decode_or_none(line) or {}).get("type") == "admin.start"


def hash_lines(
    rows: TreeRows,
    edge: Edge,
    size: int,
    tree: bytes,
    look: Callable[[bytes], None],
) -> Edge:
    """Append the lines after *edge* to its tree, pass each to *look*, and return the resulting
    tree.

    The lines are read in short transactions, because records never change. Raises ``LedgerError``
    if the lines up to *size* do not form *tree*. In that case, the caller must discard everything
    that *look* has seen.
    """
    begin = edge.size
    while edge.size < size:
        lines = rows.lines(edge.size, size, _CHUNK)
        if not lines:
            raise unproved(f"record {edge.size} is missing")
        for seq, line in lines:
            if seq != edge.size or type(line) is not bytes:
                raise unproved(f"record {edge.size} is missing")
            edge.append(leaf_hash(line))
            look(line)
    if edge.size != size or edge.encode() != tree:
        raise unproved(f"the signed head contradicts {numbers(begin, size - 1)}")
    return edge


class Steps:
    """The complete steps of all approvals from one record on. Every line from there on is hashed
    into the tree of a head.
    """

    def __init__(self, edge: Edge) -> None:
        """Start after the records of *edge*. *edge* need not be trusted, because a wrong edge never
        results in the tree of a head.
        """
        self.start = edge.size
        self.edge = edge
        """The tree of the hashed records and of the records before them."""
        self.kept = 0
        self._by_approval: dict[str, list[bytes]] = {}

    def of(self, approval: str) -> list[bytes]:
        """Return the lines of the steps of *approval*, oldest first."""
        return self._by_approval.get(approval, [])

    def reach(self, rows: TreeRows, size: int, tree: bytes) -> None:
        """Hash the lines up to *size*. Raises ``LedgerError`` if they do not form *tree*; this
        object is then unchanged.
        """
        found: list[bytes] = []

        def look(line: bytes) -> None:
            if _STEP in line:
                found.append(line)

        self.edge = hash_lines(rows, self.edge.copy(), size, tree, look)
        for line in found:
            approval = step_of(line)
            if approval is not None:
                self._by_approval.setdefault(approval, []).append(line)
                self.kept += 1
