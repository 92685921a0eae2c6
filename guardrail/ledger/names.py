"""The complete set of session names in a log. A session counts as free only if every line has been
hashed.

An index finds a session's first record, but anyone who can write the file can hide that record for
a moment. guardrail therefore hashes each line once into the tree of a signed head, and remembers
the session names in it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from guardrail.core.claims import TYPES, session_of
from guardrail.core.log.merkle import Edge
from guardrail.core.log.pruned import Pruned
from guardrail.core.log.record import decode, dumps
from guardrail.errors import RecordError
from guardrail.ledger.hashes import CHUNK, TextHashes
from guardrail.ledger.steps import hash_lines, unproved
from guardrail.ledger.storage import TreeRows
from guardrail.ledger.tree import edge_at, node_reader

__all__ = ["LogPosition", "SessionNames", "hash_existing_lines", "hash_lines_from"]

_MOST = 8_000_000
"""Maximum number of names stored, at 8 bytes each. Beyond that, guardrail searches all lines for
each new name.
"""
SHORT = 1_024
"""Maximum number of lines hashed inside a transaction, because other writers wait meanwhile."""
_MARKS = tuple(b'"type":"%b"' % each.encode() for each in TYPES)
_PRUNED = b'"type":"admin.pruned"'


@dataclass(frozen=True, slots=True)
class LogPosition:
    """One state of a log: the records from ``begin`` to ``size``, and their tree."""

    begin: int
    """Number of the first existing record after line 0. The records before it must have been
    pruned.
    """
    size: int
    tree: bytes
    """The encoded ``Edge`` of a head with a valid MAC."""


def hash_existing_lines(rows: TreeRows, place: LogPosition, look: Callable[[bytes], None]) -> Edge:
    """Pass every existing line to *look*, and return the tree.

    If records are missing, one of the existing records must prove that they were pruned. Raises
    ``LedgerError`` if the lines do not match the signed head.
    """
    accounted_for = place.begin <= 1

    def looks(line: bytes) -> None:
        nonlocal accounted_for
        look(line)
        if not accounted_for and _PRUNED in line:
            accounted_for = Pruned.claimed(_decoded(line)) == place.begin

    grown = hash_lines_from(rows, place.begin, place, looks)
    if not accounted_for:
        raise unproved(
            f"the records before {place.begin} are missing, and no record says that they were"
            " pruned"
        )
    return grown


def hash_lines_from(
    rows: TreeRows, begin: int, place: LogPosition, look: Callable[[bytes], None]
) -> Edge:
    """Pass the lines from *begin* on to *look*, and return the tree, without checking that the
    earlier records were pruned.
    """
    try:
        # This needs no authentication, because a wrong value never results in the head's tree.
        edge = edge_at(min(begin, place.size), node_reader(rows))
    except (ValueError, TypeError):
        raise unproved("hashes of the log are missing") from None
    return hash_lines(rows, edge, place.size, place.tree, look)


class SessionNames:
    """The sessions that occur in one log.

    Thread-safe. The set grows with the log, and each line is hashed once.
    """

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._turn = threading.Lock()
        """Held while many lines are read."""
        self._lock = threading.Lock()
        """Held only briefly, because the commit thread must not wait for a reader."""
        self._edge: Edge | None = None
        """The tree of the lines whose names are known, or None before the first read."""
        self._known: TextHashes | None = TextHashes()
        """The known names, or None if there are too many."""
        self._absent: dict[str, None] = {}
        """Names that no line contains: all lines were searched, and no record with the name has
        been added since.
        """
        self._added_meanwhile: set[str] | None = None
        """Names added by new records while all lines are being searched for a name."""

    # -- for callers that enter a session
    # --------------------------------------------------------------------------------------

    def read_up_to(self, rows: TreeRows, place: LogPosition) -> None:
        """Read the names up to *place*.

        Raises ``LedgerError`` if the lines do not match the signed head.
        """
        with self._turn:
            edge = self._edge
            if edge is not None and edge.size >= place.size:
                return
            found: set[str] = set()

            def look(line: bytes) -> None:
                _collect(line, found)
                if len(found) >= CHUNK:
                    # If the lines turn out not to match the head, the extra names do no harm.
                    self._publish(None, found)
                    found.clear()

            if edge is None or edge.size < place.begin:
                grown = hash_existing_lines(rows, place, look)
            else:
                grown = hash_lines(rows, edge.copy(), place.size, place.tree, look)
            self._publish(grown, found)

    def is_absent(self, name: str) -> bool:
        """Return True if *name* is known to be absent from the lines that were read."""
        with self._lock:
            if name in self._absent:
                return True
            return self._edge is not None and self._known is not None and name not in self._known

    def search(self, rows: TreeRows, place: Callable[[], LogPosition], name: str) -> bool:
        """Search all lines for *name*. Return True if one contains it; otherwise, remember that it
        is absent.

        *place* returns the end of the log. It is called after this object has begun to collect the
        names in later records. Raises ``LedgerError``.
        """
        needle, found = dumps(name), set[str]()

        def look(line: bytes) -> None:
            if needle in line:
                _collect(line, found)

        with self._turn:
            with self._lock:
                self._added_meanwhile = set()
            try:
                hash_existing_lines(rows, place(), look)
            finally:
                with self._lock:
                    came, self._added_meanwhile = self._added_meanwhile, None
            with self._lock:
                if name not in found and name not in came:
                    self._absent[name] = None
                    while len(self._absent) > CHUNK:
                        del self._absent[next(iter(self._absent))]
            return name in found

    # -- by the commit thread
    # ----------------------------------------------------------------------------------------------

    def matches(self, edge: Edge) -> bool:
        """Return True if the known names are exactly the names in the lines of *edge*."""
        known = self._edge
        if known is edge:
            return True
        return known is not None and known.size == edge.size and known.roots == edge.roots

    def catch_up(self, rows: TreeRows, edge: Edge) -> bool:
        """Read the names up to *edge*, the committed end of the log. Return False if that would
        take too long. Raises ``LedgerError``.
        """
        known = self._edge
        if known is None or edge.size - known.size > SHORT:
            return False
        if self.matches(edge):
            return True
        found: set[str] = set()
        grown = hash_lines(
            rows, known.copy(), edge.size, edge.encode(), lambda line: _collect(line, found)
        )
        self._publish(grown, found)
        return True

    def advance(self, edge: Edge, names: Iterable[str]) -> None:
        """Advance to *edge*, after this process added records with *names*. ``matches`` must have
        returned True for the previous end.
        """
        self._publish(edge, names)

    def _publish(self, edge: Edge | None, names: Iterable[str]) -> None:
        with self._lock:
            for name in names:
                if self._known is not None:
                    self._known.add(name)
                self._absent.pop(name, None)
                if self._added_meanwhile is not None:
                    self._added_meanwhile.add(name)
            if edge is not None and (self._edge is None or edge.size > self._edge.size):
                self._edge = edge
            if self._known is not None and len(self._known) > self._most:
                self._known = None


def _collect(line: bytes, found: set[str]) -> None:
    """Add the session of *line* to *found* if the record states a caller as the session's owner."""
    if _MARKS[0] in line or _MARKS[1] in line:
        name = session_of(_decoded(line))
        if name is not None:
            found.add(name)


def _decoded(line: bytes) -> dict[str, Any]:
    try:
        return decode(line)
    except RecordError:
        return {}
