"""Computes the tree that closing a segment fixes, and writes the segment's copy."""

from __future__ import annotations

from pathlib import Path

from guardrail.core.log.merkle import Edge, Node
from guardrail.core.log.record import leaf_hash
from guardrail.errors import LedgerError
from guardrail.ledger.heads import Signing, head_problem
from guardrail.ledger.reader import LedgerReader
from guardrail.ledger.tree import edge_at, node_reader
from guardrail.retention import segments
from guardrail.retention.facts import RetentionFacts, Segment, refuse_closed
from guardrail.retention.segments import Manifest

__all__ = ["node_of", "tree_to_close", "write_copy"]


def tree_to_close(reader: LedgerReader, first: int, signing: Signing) -> tuple[Edge, bytes]:
    """Return the tree of all records, computed from the lines that begin with record *first*, and
    the last leaf.

    Raises ``LedgerError`` unless the tree matches the signed head, because closing a segment fixes
    its content forever.
    """
    edge, leaf, head = Edge(), b"", None
    try:
        edge = edge_at(first, node_of(reader))

        def take(stop: int | None) -> None:
            nonlocal leaf
            for seq, _, line in reader.lines(edge.size, stop):
                if seq != edge.size:
                    raise ValueError("a record is missing")
                leaf = leaf_hash(line)
                edge.append(leaf)
                refuse_closed(line, first)

        # Most records are read in short transactions. A long transaction would prevent the ``-wal``
        # from being reset while calls continue.
        take(reader.size())
        with reader.snapshot():
            take(None)
            head = reader.storage.head()
    except ValueError:
        edge = Edge()
    if head is None or head_problem(head, reader.log, signing) or edge.encode() != head.edge:
        raise LedgerError(
            "the records do not match the signed head",
            code="ledger.damaged",
            hint="guardrail verify",
        )
    return edge, leaf


def write_copy(db: Path, folder: Path, facts: RetentionFacts, segment: Segment) -> Manifest:
    """Write the copy of *segment* into *folder*; it is verified and durable when this returns.

    Raises ``LedgerError`` or ``RetentionError``.
    """
    with LedgerReader.open(db) as reader:
        try:
            before = edge_at(segment.first, node_of(reader))
        except ValueError:
            raise LedgerError(
                "hashes of records are missing", code="ledger.damaged", hint="guardrail verify"
            ) from None
        return segments.write(
            folder,
            segment,
            log=facts.log,
            genesis=facts.genesis,
            before=before,
            lines=(line for _, _, line in reader.lines(segment.first, segment.last + 1)),
            like=db,
        )


def node_of(reader: LedgerReader) -> Node:
    """Return a function that returns the tree's perfect subtrees. The function can raise
    ``ValueError`` and ``LedgerError``.
    """
    return node_reader(reader.storage)
