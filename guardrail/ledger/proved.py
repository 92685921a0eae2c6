"""Reads records for decisions and answers. Returns only lines proved by the log's signed head.

A row by itself proves nothing: anyone who can write the file can replace a line, wait until it has
been read, and restore the original. guardrail therefore hashes each line that it reads, checks that
the hash leads to a head through the tree, and checks the head's MAC, which only holders of the
log's keys can compute. If a result must be complete, such as the steps of an approval, guardrail
hashes every line from the request to the end of the log, and the hashes must form exactly the tree
of that head. No index, generated column or tile is trusted; they only show where to look. Proved
results are cached, so the next read hashes only the lines added since then.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self, TypeVar

from guardrail.core.claims import owner_of
from guardrail.core.log.effects import EffectStep, KeyHolder
from guardrail.core.log.merkle import Edge
from guardrail.core.log.record import decode
from guardrail.core.log.suspensions import Suspensions
from guardrail.core.repeats import Repeat
from guardrail.errors import LedgerError
from guardrail.ledger.effects import EffectKeys
from guardrail.ledger.finished import FinishedCalls
from guardrail.ledger.heads import HeadRow, Signing, head_problem
from guardrail.ledger.kept_states import kept_below
from guardrail.ledger.names import LogPosition, SessionNames, hash_existing_lines, hash_lines_from
from guardrail.ledger.reader import LedgerReader
from guardrail.ledger.session_states import FollowedStates
from guardrail.ledger.steps import UNPROVED, Steps, asking_decision, is_start, misplaced, unproved
from guardrail.ledger.storage import LineRow, Storage
from guardrail.ledger.suspensions import read_suspensions
from guardrail.ledger.tree import check_included, edge_at, node_reader

__all__ = ["Proofs", "ProvedReader"]

R = TypeVar("R")

LONGEST_GAP = 100_000
"""Maximum number of lines to hash in order to continue from the cached state. Otherwise, hashing
starts at the approval's own request.
"""
_TRIES = 5
MOST_STEPS = 65_536
"""Maximum number of cached steps. Beyond that, hashing starts at the approval's own request."""


class Proofs:
    """The state of one log that was proved in this process. Thread-safe, and usable in a forked
    child.
    """

    def __init__(
        self,
        signing: Signing,
        log: str,
        acknowledged: Callable[[], int] = lambda: -1,
    ) -> None:
        """*acknowledged* returns the number of the newest record that this process knows. The log
        must contain that record.
        """
        self._signing = signing
        self._log = log
        self._acknowledged = acknowledged
        self._head: HeadRow | None = None
        """The largest head that was authenticated."""
        self._steps: Steps | None = None
        self._lock = threading.Lock()
        self._pid = os.getpid()

    def least(self) -> int:
        """Return the minimum number of records that the log must have.

        Call this before a transaction begins, and check the result with ``head`` inside the
        transaction.
        """
        return max(self._acknowledged() + 1, self._head.size if self._head is not None else 0)

    def head(self, storage: Storage, least: int) -> HeadRow:
        """Return the head stored in *storage*.

        Raises ``LedgerError`` if no key holder wrote the head, or if it is older than a head seen
        before.
        """
        row = storage.head()
        if row is None:
            raise unproved("the log has no head")
        known = self._head
        if row != known:
            fault = head_problem(row, self._log, self._signing)
            if fault:
                raise unproved(fault)
        if row.size < least:
            raise unproved(f"record {least - 1}, which this process has read before, is missing")
        if known is None or row.size > known.size:
            self._head = row
        return row

    @staticmethod
    def require_included(storage: Storage, head: HeadRow, seq: object, line: object) -> None:
        """Raise ``LedgerError`` unless *line* is record *seq* of the log with this *head*.
        Call it inside a snapshot.
        """
        try:
            # The row of the head, whose MAC was checked, contains the roots of the perfect
            # subtrees.
            edge = Edge.decode(head.size, head.edge)
        except (ValueError, TypeError):
            raise unproved("the log's head is malformed") from None
        check_included(edge, node_reader(storage), seq, line)

    def steps(
        self, storage: Storage, approval: str, begin: int
    ) -> tuple[list[bytes], tuple[int, bytes]]:
        """Return every step of *approval* from record *begin* on, oldest first, and the size and
        the tree of the log at that time.

        Raises ``LedgerError``.
        """
        with self._turn():
            least = self.least()
            with storage.snapshot():
                head = self.head(storage, least)
                found = self._steps
                if found is None or not found.start <= begin <= found.edge.size + LONGEST_GAP:
                    try:
                        found = Steps(edge_at(min(begin, head.size), node_reader(storage)))
                    except (ValueError, TypeError):
                        raise unproved("hashes of the log are missing") from None
            self._steps = None  # this is set again only if everything succeeds
            # Lines are read in short transactions, because records never change and the head
            # determines them.
            found.reach(storage, head.size, head.edge)
            if found.kept < MOST_STEPS:
                self._steps = found
            # Rows outside the tree are not checked, but no code acts on them either.
            return list(found.of(approval)), (head.size, head.edge)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if self._pid != os.getpid():
            # In a forked child, a thread of the parent may hold this lock, but does not exist here
            # to release it.
            self._lock, self._steps, self._pid = threading.Lock(), None, os.getpid()
        with self._lock:
            yield


class ProvedReader:
    """Reads one log as ``LedgerReader`` does, but raises ``LedgerError`` (``ledger.unproved``) if a
    line is not proved.
    """

    def __init__(self, reader: LedgerReader, proofs: Proofs) -> None:
        self._storage = reader.storage
        self._proofs = proofs
        self._requests: dict[str, int] = {}
        """The requests in the lines, with the numbers of their decisions."""
        self.tree: tuple[int, bytes] | None = None
        """Size and tree of the log for which the result of the last ``approval`` call is
        complete.
        """

    @contextmanager
    def snapshot(self) -> Iterator[Self]:
        """Do nothing. A head proves each line, so reads are consistent without a snapshot."""
        yield self

    def decision(self, call: str) -> bytes | None:
        """Return the line of the decision about *call*, or None."""
        found = self._decision(call)
        return None if found is None else found[1]

    def approval(self, approval: str) -> list[bytes]:
        """Return the decision about the call *approval*, followed by all recorded steps of the
        approval. The result is proved to be complete.
        """
        found = self._decision(approval)
        if found is None:
            return []
        seq, line = found
        try:
            steps, self.tree = self._proofs.steps(self._storage, approval, seq + 1)
            return [line, *steps]
        except LedgerError as error:
            if error.code == UNPROVED and self._storage.line(seq) is None:
                return []  # it was pruned meanwhile, with all records before it
            raise

    def newest(self) -> bytes | None:
        """Return the last line of the log."""
        found = self._line(lambda head: self._numbered(head.size - 1))
        return None if found is None else found[1]

    def record(self, seq: int) -> bytes | None:
        """Return line *seq*, or None."""
        found = self._line(lambda _: self._numbered(seq))
        return None if found is None else found[1]

    def requests(self, session: str | None = None) -> list[str]:
        """Return the ids of the calls (of *session*, or all) that needed a person's approval,
        oldest first.

        With *session*, the ids come from rows that are not authenticated: some may be missing, and
        ``approval`` must confirm each of them. Without *session*, every line is hashed, so the
        result is proved to be complete.
        """
        if session is not None:
            return self._storage.requests(session)
        return self._retry_if_pruned(self._every_request)

    def _every_request(self) -> list[str]:
        found: dict[str, int] = {}

        def look(line: bytes) -> None:
            asked = asking_decision(line)
            if asked is not None:
                found[asked.call] = asked.seq

        hash_existing_lines(self._storage, self._place(), look)
        self._requests = found
        return list(found)

    def first_of_session(self, session: Sequence[str], names: SessionNames) -> bytes | None:
        """Return the line of the first record that states the session's owner, or None if
        provably no such record exists.

        *session* holds the names that the session can have in the log. *names* caches the sessions
        that this process has found in the log, so that each line is hashed only once.
        """
        return self._retry_if_pruned(lambda: self._first_of_session(session, names))

    def _retry_if_pruned(self, look: Callable[[], R]) -> R:
        """Return the result of *look*. Calls it again if records were pruned while it ran."""
        begin = self._first()
        for _ in range(_TRIES):
            try:
                return look()
            except LedgerError as error:
                before, begin = begin, self._first()
                if error.code != UNPROVED or begin == before:
                    raise
        return look()

    def _first_of_session(self, session: Sequence[str], names: SessionNames) -> bytes | None:
        for known in (False, True):
            for name in session:
                found = self._claim(name)
                if found is None:
                    continue
                if owner_of(decode(found[1])) is None:
                    raise misplaced(found[0])
                return found[1]
            if not known:
                names.read_up_to(self._storage, self._place())
                if all(map(names.is_absent, session)):
                    return None
        # The log contains the session, or contained it before pruning, or has too many sessions to
        # keep track of.
        for name in session:
            if not names.is_absent(name) and names.search(self._storage, self._place, name):
                raise unproved("an index omits the first record of a session")
        return None

    def repeat(self, names: Sequence[str], calls: FinishedCalls) -> Repeat | None:
        """Return the state of an earlier call with one of *names* (``names_of``), or None if it is
        proved that no such call is running or has succeeded.

        *calls* holds the calls that this process has found in the log; each line is hashed once.
        """
        return self._retry_if_pruned(lambda: calls.look(self._storage, self._place(), names))

    def effect_holder(self, step: EffectStep, keys: EffectKeys) -> KeyHolder | None:
        """Return the call because of which *step* may not be written, or None if it is proved that
        no call holds the effect key. A step that resolves a key gets the call that holds it.

        *keys* holds the keys that this process has found in the log; each line is hashed once.
        """
        look = keys.blocking if step.resolves is None else keys.holding
        return self._retry_if_pruned(lambda: look(self._storage, self._place(), step))

    def effect_holders(self, before: int) -> list[KeyHolder]:
        """Return every call that holds an effect key and was decided below record *before*, oldest
        first. The result is proved to be complete.
        """
        keys = EffectKeys()
        return self._retry_if_pruned(lambda: keys.below(self._storage, self._place(), before))

    def _place(self) -> LogPosition:
        least = self._proofs.least()
        with self._storage.snapshot():
            head = self._proofs.head(self._storage, least)
            return LogPosition(self._first(), head.size, head.edge)

    def suspensions(self, known: Suspensions | None = None) -> Suspensions:
        """Return the suspensions in force. The result is proved to be complete. *known* is an
        earlier result.
        """
        least = self._proofs.least()
        with self._storage.snapshot():
            head = self._proofs.head(self._storage, least)
            edge = Edge.decode(head.size, head.edge)
            return read_suspensions(self._storage, edge, head.suspended, known)

    def read_states(self, states: FollowedStates) -> None:
        """Advance *states* to the end of the log. Each line is hashed once."""
        self._retry_if_pruned(lambda: states.read_up_to(self._storage, self._place()))

    def kept_states(self, before: int) -> list[dict[str, Any]]:
        """Return the details of the records to write before the records below *before* are deleted,
        so that their calls still count.
        """
        return self._retry_if_pruned(lambda: kept_below(self._storage, self._place(), before))

    def last_start(self) -> tuple[bytes | None, LogPosition]:
        """Return the line of the last start of a guard, or None, and the position of the log up to
        which there is no later start.

        This is proved by the lines after that start (by all lines if there is no start), unless
        there are more than 100,000 of them.
        """
        for _ in range(_TRIES):
            last = self._retry_if_pruned(self._last_start)
            if last is not None:
                return last
        raise LedgerError("too many guards started during the search", code="ledger.unreadable")

    def _last_start(self) -> tuple[bytes | None, LogPosition] | None:
        """Return the result of ``last_start``, or None if a guard started meanwhile."""
        found, place = self._start(), self._place()
        if self._starts_behind(found, place) == 0:
            return (None if found is None else found[1]), place
        if self._start() == found:
            raise unproved("an index omits the last start of a guard")
        return None

    def _starts_behind(self, found: tuple[int, bytes] | None, place: LogPosition) -> int:
        starts = 0

        def look(line: bytes) -> None:
            nonlocal starts
            starts += is_start(line)

        begin = place.begin if found is None else found[0] + 1
        if place.size - begin > LONGEST_GAP:
            return 0
        if found is None:
            hash_existing_lines(self._storage, place, look)
        else:
            hash_lines_from(self._storage, begin, place, look)
        return starts

    def _claim(self, session: str) -> LineRow | None:
        return self._line(lambda _: self._storage.first_claim(session), session=session)

    def _start(self) -> LineRow | None:
        return self._line(lambda _: self._storage.last_admin("admin.start"), type="admin.start")

    def _decision(self, call: str) -> LineRow | None:
        def find(_: HeadRow) -> LineRow | None:
            known = self._requests.get(call)
            return self._storage.decision(call) if known is None else self._numbered(known)

        return self._line(find, call=call, type="call.decision")

    def _first(self) -> int:
        """Return the number of the first record after line 0, or 1 if there is none. The number is
        not authenticated.
        """
        return self._storage.first() or 1

    def _numbered(self, seq: int) -> LineRow | None:
        line = self._storage.line(seq)
        return None if line is None else (seq, line)

    def _line(self, find: Callable[[HeadRow], LineRow | None], **says: str) -> LineRow | None:
        """Return the record that *find* returns, proved by the head, or None.

        The record must have the field values *says*.
        """
        least = self._proofs.least()
        with self._storage.snapshot():
            head = self._proofs.head(self._storage, least)
            found = find(head)
            if found is None:
                return None
            seq, line = found
            self._proofs.require_included(self._storage, head, seq, line)
        if says:
            record = decode(line)
            # An index is only a copy; the line itself shows whether the right record was found.
            if any(record.get(name) != value for name, value in says.items()):
                raise misplaced(seq)
        return seq, line
