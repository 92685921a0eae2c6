"""Reads a ledger with the help of an index: the index locates lines, and every line comes from the
ledger.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from itertools import islice
from typing import Any, NamedTuple, Self, TypeVar

from guardrail.core.log.record import leaf_hash
from guardrail.core.log.suspensions import Suspensions
from guardrail.errors import LedgerError
from guardrail.ledger.reader import LedgerReader
from guardrail.review.index.file import IndexFile
from guardrail.review.index.lines import search_lines
from guardrail.review.index.rows import locators_of, row_of
from guardrail.review.index.rows import tokens_of as tokens_of_line
from guardrail.review.index.store import (
    About,
    Found,
    IndexStore,
    ReplacedIndexError,
    StaleIndexError,
    UnusableIndexError,
)
from guardrail.review.lookup import TokenHits, TokensOf
from guardrail.review.records import SessionKey, parse
from guardrail.review.sessions import TOKENS_REFUSED, refused_in
from guardrail.review.suspensions import unproved_suspensions

__all__ = ["IndexedRecords"]

CHUNK = 1024
"""Maximum number of records that are added in one transaction."""
_LINES = 256
"""Maximum number of lines that are read in one transaction."""
_TRIES = 3

T = TypeVar("T")
Tell = Callable[[str], None]
Progress = Callable[[int, int], None]


class _LocatedLine(NamedTuple):
    """A line of the ledger that a row of the index led to."""

    seq: int
    row: tuple[object, ...]
    line: bytes
    record: Mapping[str, Any]


class IndexedRecords:
    """The records of a ledger. It implements ``guardrail.review.records.RecordReader``. Used by one
    thread.

    The index is opened and brought up to date when it is first needed. If it contradicts the
    ledger, it is rebuilt; if it can't be used, every line is read once instead, and *tell* is
    called with a sentence that says so.
    """

    def __init__(
        self,
        reader: LedgerReader,
        file: IndexFile | None,
        *,
        tell: Tell = lambda _: None,
        progress: Progress | None = None,
    ) -> None:
        """If *file* is None, no index is used, and *tell* is not called."""
        self._reader = reader
        self._file = file
        self._tell = tell
        self._progress = progress
        self._store: IndexStore | None = None
        self._inode = 0

    def close(self) -> None:
        """Close the index and the ledger. Idempotent."""
        if self._store is not None:
            self._store.close()
            self._store = None
        self._reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # -- reads without the index -------------------------------------------------------------------

    @property
    def log(self) -> str:
        """Origin name of the log."""
        return self._reader.log

    def size(self) -> int:
        """Return the current number of records."""
        return self._reader.size()

    def first(self) -> int:
        """Return the lowest existing number above 0, or 1 if there is none."""
        return self._reader.first()

    def record(self, seq: int) -> bytes | None:
        """Return the line of *seq*, byte for byte, or None."""
        return self._reader.record(seq)

    def lines(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, bytes, bytes]]:
        """Yield (seq, leaf, line) from *start* up to *stop*."""
        return self._reader.lines(start, stop)

    def suspensions(self) -> Suspensions:
        """Return the suspensions in force, without the proof that requires the log's keys. Raises
        ``LedgerError``.
        """
        return unproved_suspensions(self._reader)

    # -- reads with the index ----------------------------------------------------------------------

    def by_call(self, call: str) -> Iterator[bytes]:
        """Yield every line about *call*, oldest first."""
        return iter(self._lines(lambda store: store.of_call(call)))

    def calls(self, session: str) -> Iterator[bytes]:
        """Yield the line of each decision and rejection in the sessions with the id *session*,
        oldest first.
        """
        return iter(self._lines(lambda store: store.of_session(session)))

    def find_calls(self, prefix: str, limit: int = 20) -> list[str]:
        """Return at most *limit* ids of calls that begin with *prefix*, sorted."""
        return self._column(3, lambda store: store.calls_from(prefix, limit))

    def find_sessions(self, prefix: str, limit: int = 20) -> list[str]:
        """Return at most *limit* ids of sessions that begin with *prefix*, sorted."""
        return self._column(4, lambda store: store.sessions_from(prefix, limit))

    def admin(self, type_: str) -> list[tuple[int, bytes]]:
        """Return (seq, line) of each record of the ``admin.*`` type *type_*, oldest first."""
        return self._located(lambda store: store.of_type(type_))

    def approval(self, approval: str) -> list[bytes]:
        """Return the decision about the call *approval*, followed by all steps of the approval, in
        order.
        """
        request = self._located(
            lambda store: [row for row in store.of_call(approval) if row[1][2] == "call.decision"]
        )
        steps = self._lines(lambda store: store.of_approval(approval))
        return [*(line for _, line in request[:1]), *steps]

    def session_keys(self, limit: int | None) -> tuple[list[SessionKey], int]:
        """Return the keys of the last *limit* sessions, oldest first, and the number of all
        sessions.
        """
        rows, count = self._answer(lambda store: (store.sessions(limit), store.session_count()))
        keys = [SessionKey(tenant, principal, agent, id_) for id_, tenant, principal, agent in rows]
        return keys[::-1], count

    def of_session(self, key: SessionKey) -> list[tuple[int, Mapping[str, Any]]]:
        """Return the number and the content of every record of the session *key*, oldest first."""
        values = (key.id, key.tenant, key.principal, key.agent)
        return self._answer(
            lambda store: [
                (each.seq, each.record) for each in self._compared(store.in_session(*values))
            ]
        )

    def throttled(self) -> list[int]:
        """Return the numbers of the records that count calls over a limit, in order."""
        return [seq for seq, _ in self._located(lambda store: store.of_type("call.throttled"))]

    def refused_tokens(self) -> list[tuple[int, int]]:
        """Return the number of each record that counts refused tokens, and how many it counts."""
        found = self._located(lambda store: store.of_type(TOKENS_REFUSED))
        return [(seq, refused_in(parse(line, seq))) for seq, line in found]

    def not_a_record(self) -> tuple[int, bytes] | None:
        """Return the first line that is not a record, with its number, or None."""
        found = self._located(IndexStore.not_records)
        return found[0] if found else None

    def with_tokens(
        self, tokens_of: TokensOf, *, before: int | None, limit: int | None
    ) -> TokenHits:
        """Return the latest records with a number below *before* that contain one of the tokens
        that *tokens_of* returns: those of *limit* calls, or all of them. Without an index, every
        line is read.
        """
        return self._answer(lambda store: self._with_tokens(store, tokens_of, before, limit))

    def _with_tokens(
        self, store: IndexStore, tokens_of: TokensOf, before: int | None, limit: int | None
    ) -> TokenHits:
        tenants = store.tenants()
        below = self.size() if before is None else min(before, self.size())
        if store.whole:
            kinds: Collection[str] = store.token_kinds()
            tokens = list(tokens_of(kinds, tenants))
            total = store.count_tokens(tokens)

            def latest(below: int, count: int) -> list[Found]:
                return store.of_tokens(tokens, below, count)

        else:
            kinds, tokens, seqs = search_lines(self._reader.lines(), tokens_of, tenants)
            total = len(seqs)

            def latest(below: int, count: int) -> list[Found]:
                left = [seq for seq in seqs if seq < below][::-1]
                return store.of_numbers(left if count < 0 else left[:count])

        lines, more = self._page(latest, below, limit, tokens)
        return TokenHits(total, lines, kinds, more, tenants)

    def _page(
        self,
        latest: Callable[[int, int], list[Found]],
        below: int,
        limit: int | None,
        tokens: Sequence[str],
    ) -> tuple[list[tuple[int, Mapping[str, Any]]], bool]:
        """Return the lines of the latest records until they belong to *limit* calls, latest first,
        and True if there are earlier ones. Raises ``StaleIndexError`` if a line does not contain
        one of *tokens*.
        """
        lines: list[tuple[int, Mapping[str, Any]]] = []
        calls: set[object] = set()
        wanted = set(tokens)
        count = -1 if limit is None else 4 * limit
        while True:
            found = latest(below, count)
            for each in self._compared(found):
                if not any(token in wanted for token, _ in tokens_of_line(each.line)):
                    raise StaleIndexError(f"its tokens differ from record {each.seq} of the ledger")
                call = each.row[3] or each.row[8] or each.seq
                if limit is not None and call not in calls and len(calls) == limit:
                    return lines, True
                calls.add(call)
                lines.append((each.seq, each.record))
            if count < 0 or len(found) < count:
                return lines, False
            below = found[-1][0]

    def _lines(self, find: Callable[[IndexStore], list[Found]]) -> list[bytes]:
        return [line for _, line in self._located(find)]

    def _column(self, at: int, find: Callable[[IndexStore], list[Found]]) -> list[str]:
        return self._answer(
            lambda store: [str(each.row[at]) for each in self._compared(find(store))]
        )

    def _located(self, find: Callable[[IndexStore], list[Found]]) -> list[tuple[int, bytes]]:
        return self._answer(
            lambda store: [(each.seq, each.line) for each in self._compared(find(store))]
        )

    def _compared(self, found: Sequence[Found]) -> list[_LocatedLine]:
        """Return the line of each of the *found* rows. Raises ``StaleIndexError`` if a row differs
        from its line.
        """
        lines: list[_LocatedLine] = []
        for start in range(0, len(found), _LINES):
            # Lines that are read in one transaction take half the time.
            with self._reader.snapshot():
                for seq, row in found[start : start + _LINES]:
                    line = self._reader.record(seq)
                    if line is None:
                        if 0 < seq < self._reader.first():
                            continue  # it was pruned meanwhile
                        raise StaleIndexError(f"record {seq} is missing from the ledger")
                    values, record = locators_of(seq, line)
                    if values != row:
                        raise StaleIndexError(f"it differs from record {seq} of the ledger")
                    lines.append(_LocatedLine(seq, row, line, record))
        return lines

    # -- the index ---------------------------------------------------------------------------------

    @property
    def file(self) -> IndexFile | None:
        """The location of the index, or None if there is no index or if it can't be used."""
        return self._file

    def refresh(self) -> About:
        """Bring the index up to date now, and return the records from which it was built."""
        found = self._answer(IndexStore.about)
        if found is None:
            raise LedgerError("the ledger has no records", code="ledger.empty")
        return found

    def rebuild(self) -> None:
        """Rebuild the index, beginning with the first record, when it is next needed."""
        self._drop()
        if self._file is not None:
            try:
                self._file.replace().close()
            except (StaleIndexError, UnusableIndexError) as error:
                self._do_without(str(error))

    def _answer(self, ask: Callable[[IndexStore], T]) -> T:
        """Return the result of *ask* for an index that is up to date and agrees with the ledger."""
        for _ in range(_TRIES):
            try:
                return ask(self._current())
            except ReplacedIndexError:
                self._drop()
            except StaleIndexError as error:
                self._renew(str(error))
            except UnusableIndexError as error:
                self._do_without(str(error))
        raise LedgerError(
            "the ledger was changed while it was read", code="review.index", hint="guardrail verify"
        )

    def _current(self) -> IndexStore:
        if self._store is None:
            if self._file is None:
                self._store = IndexStore.temporary()
            else:
                self._store = self._file.open()
                self._inode = self._store.inode
            self._update(self._store)
        return self._store

    def _renew(self, reason: str) -> None:
        if self._file is not None:
            self._tell(f"the index {self._file.path} is being rebuilt: {reason}")
        self.rebuild()

    def _do_without(self, reason: str) -> None:
        self._drop()
        if self._file is None:
            import tempfile

            raise LedgerError(
                f"the records can't be sorted in a temporary file: {reason}",
                code="review.index",
                hint=f"make room in {tempfile.gettempdir()}, or set TMPDIR to another folder",
            )
        self._tell(
            f"the index {self._file.path} can't be used: {reason}; every record is read instead"
        )
        self._file = None

    def _drop(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None

    # -- bringing it up to date --------------------------------------------------------------------

    def _update(self, store: IndexStore) -> None:
        """Remove the rows of pruned records from *store*, and add the rows of new records."""
        about = self._checked(store.about())
        if about is not None and about.next == self.size() and about.first == self.first():
            return
        total, complete = self.size(), False
        while not complete:
            with self._file.locked() if self._file is not None else nullcontext():
                if self._file is not None and self._file.inode() != self._inode:
                    raise ReplacedIndexError
                with store.transaction():
                    # Another process may have added records meanwhile.
                    about = self._checked(store.about())
                    about, complete = self._add(store, about)
            if self._progress is not None and about is not None:
                self._progress(min(about.next, total), max(about.next, total))

    def _checked(self, about: About | None) -> About | None:
        """Return *about*. Raises ``StaleIndexError`` if the ledger does not extend the records
        described in *about*.
        """
        if about is None:
            return None
        if self._leaf(0) != about.genesis:
            raise StaleIndexError("it belongs to a different ledger")
        last, first = about.next - 1, self.first()
        if about.first > first:
            raise StaleIndexError("records that were pruned are in the ledger again")
        if 0 < last < first:
            return about  # all of its records were pruned
        found = self._leaf(last)
        if not found:
            raise StaleIndexError(f"record {last} is missing from the ledger")
        if found != about.leaf:
            raise StaleIndexError(f"it differs from record {last} of the ledger")
        return about

    def _leaf(self, seq: int) -> str:
        line = self._reader.record(seq)
        return "" if line is None else leaf_hash(line).hex()

    def _add(self, store: IndexStore, about: About | None) -> tuple[About | None, bool]:
        """Add the next chunk of new records. Return the new description, and True if no new records
        are left.
        """
        first = self.first()
        start = 0 if about is None else about.next
        count = 0 if about is None else about.records
        if about is not None and about.first < first:
            count -= store.remove_before(first)
        lines = list(islice(self._reader.lines(start), CHUNK))
        store.add([row_of(seq, line, full=store.whole) for seq, _, line in lines])
        if about is None and not lines:
            return None, True
        seq, _, line = lines[-1] if lines else (start - 1, b"", b"")
        made = About(
            ledger=str(self._reader.path),
            log=self._reader.log,
            genesis=self._leaf(0) if about is None else about.genesis,
            first=first,
            next=seq + 1,
            leaf=leaf_hash(line).hex() if lines or about is None else about.leaf,
            records=count + len(lines),
            updated=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        )
        store.describe(made)
        return made, len(lines) < CHUNK
