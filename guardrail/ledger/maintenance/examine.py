"""Examines a whole log in one pass, and compares the rest of the database with its lines.

Used before a log is copied, or reopened after a recovery. ``guardrail verify`` checks more, and
also compares the log with external checkpoints.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from guardrail.core.log import chain
from guardrail.core.log.audit import Audit, Pruned
from guardrail.core.log.checkpoint import Checkpoint, SignedNote, Verify
from guardrail.core.log.key_epochs import TYPE
from guardrail.core.log.merkle import Edge
from guardrail.core.log.suspensions import (
    RESUMED,
    SUSPENDED,
    SuspensionChange,
    Suspensions,
    change_of,
)
from guardrail.core.words import agree, counted, numbers
from guardrail.errors import LedgerError, NoteError, RecordError
from guardrail.ledger.heads import HeadRow, Signing
from guardrail.ledger.locators import LocatorWalk
from guardrail.ledger.reader import LedgerReader
from guardrail.ledger.rows import Cache
from guardrail.ledger.tiles import TileWalk, WrongTile

__all__ = ["Examination", "examine"]

_LOOK_UP = 512
"""Number of rows of calls and places that are looked up together."""

Owner = tuple[str, int, str, str, int]
"""An open call or an active key: its name, the number of its record, process, host and pid."""


@dataclass(slots=True)
class Examination:
    """The result of one pass. ``report`` covers only the lines."""

    report: chain.Report
    edge: Edge
    """The tree of the good records."""
    pruned: int = 0
    """Number of the first record after line 0 if records were pruned, otherwise 0."""
    kept: bool = True
    """True if the stored hashes of pruned records match the record of the pruning."""
    head: str = ""
    """Problem with the stored head, or an empty string if there is none."""
    vouched: int = 0
    """Number of good records, counted from the first, that are proved by a head that a key holder
    signed, or 0 if unknown.
    """
    signed_size: int = 0
    """Size of the stored head if a holder of the log's keys signed it, regardless of the lines;
    otherwise 0.
    """
    caches: tuple[Cache, ...] = ()
    outside: str = ""
    """Description of the rows before line 0, or an empty string if there are none."""
    schema: str = ""
    """Description of the first wrong or foreign object in the database, or an empty string if there
    is none.
    """
    mendable: tuple[tuple[tuple[str, str], ...], tuple[str, ...]] | None = None
    """(type, name) of the objects to drop, and names of the objects to create, if that repairs the
    schema.
    """
    values: str = ""
    """Name of a table with values that the schema forbids, or an empty string if there is none."""
    whole: bool = True
    """True if SQLite does not find a fault in its pages, indexes or free list."""
    roots: Mapping[int, bytes] = field(default_factory=dict)
    """Roots of the requested sizes, over good and pruned records."""
    changes: Sequence[SuspensionChange] = ()
    """The changes of suspensions in the good records."""
    unreadable: str = ""
    """Reason that reading stopped before the end, if it did. ``report`` then covers the records
    before that point.
    """

    def suspensions(self, size: int | None = None) -> Suspensions:
        """Return the suspensions in force according to the good records, or to the first *size* of
        them.
        """
        taken = [each for each in self.changes if size is None or each.seq < size]
        return Suspensions(unknown=self.pruned).after(taken)


class _Owners:
    """The owners of the open calls and active keys, according to the lines."""

    def __init__(self) -> None:
        self._calls: dict[str, Owner] = {}
        self._keys: dict[str, Owner] = {}

    def take(self, seq: int, record: Mapping[str, Any]) -> None:
        type_ = record["type"]
        if type_ == "call.decision" and record["decision"]["effect"] == "allow":
            self._calls[record["call"]] = _owner(record["call"], seq, record)
        elif type_ == "call.outcome":
            self._calls.pop(record["call"], None)
        elif type_ == TYPE:
            detail = record["detail"]
            for each in detail["ended"]:
                self._keys.pop(each["public"], None)
            if detail.get("key") is not None:
                self._keys.setdefault(
                    detail["key"]["public"], _owner(detail["key"]["public"], seq, record)
                )

    def wrong(self, reader: LedgerReader, located: Collection[str]) -> Iterator[Cache]:
        """Yield the tables that differ from the lines. *located* contains ``call`` and ``place`` if
        these tables differ. Raises ``LedgerError``.
        """
        calls = reader.storage.open_calls(limit=len(self._calls) + 1)
        differ = _rows_differ([(row.call, row.seq, row.process) for row in calls], self._calls)
        if differ or "call" in located:
            yield Cache("call", list(self._calls.values()))
        if "place" in located:
            yield Cache("place", [])
        keys = reader.storage.epochs(limit=len(self._keys) + 1)
        if _rows_differ([(row.public, row.seq, row.process) for row in keys], self._keys):
            yield Cache("epoch", list(self._keys.values()))


def _rows_differ(there: Sequence[tuple[object, ...]], right: Mapping[str, Owner]) -> bool:
    """Return True if the rows *there* differ from *right*. Hosts and pids are not compared."""
    return sorted(there, key=repr) != sorted((row[:3] for row in right.values()), key=repr)


def _owner(name: str, seq: int, record: Mapping[str, Any]) -> Owner:
    origin = record.get("origin")
    where = origin if isinstance(origin, Mapping) else {}
    pid = where.get("pid")
    return (
        name,
        seq,
        str(where.get("process", "")),
        str(where.get("host", "")),
        pid if type(pid) is int else 0,
    )


class _Pass:
    """One pass over the lines. Updates the tree, the calls and the keys with each line."""

    def __init__(
        self,
        reader: LedgerReader,
        audit: Audit,
        pruned: Pruned | None,
        each: Callable[[int, Mapping[str, Any]], None],
    ) -> None:
        self._reader = reader
        self._pruned = pruned
        self._each = each
        self.roots: dict[int, bytes] = {}
        self.audit = audit
        self.tiles: TileWalk | None = TileWalk(reader.storage)
        self.wrong: list[WrongTile] = []
        self.owners = _Owners()
        self._locators = LocatorWalk(reader.storage)
        self.located: set[str] = set()
        """The tables of calls and places that lack a row, or have one too many."""
        self.changes: list[SuspensionChange] = []
        self._suspensions = Suspensions(unknown=audit.pruned)
        self._next = 0
        self._ended = False

    def run(self, stop: int | None = None) -> None:
        """Process every line from the last position up to *stop* (or the end), or up to the first
        bad line.

        If *stop* is not given, all lines are read in one transaction. Raises ``LedgerError``.
        """
        if self._ended:
            return
        for seq, leaf, line in self._reader.lines(self._next, stop):
            self._next = seq + 1
            record = self.audit.take(seq, leaf, line)
            if record is None:
                self._ended = True
                break
            self.owners.take(seq, record)
            if record["type"] in (SUSPENDED, RESUMED):
                self._take_change(record)
            self._locators.take(seq, record, self.audit.pruned)
            if self._locators.waiting >= _LOOK_UP:
                self._look_up()
            self._each(seq, record)
            if seq == 0 and self.audit.pruned:
                self._kept_leaves()
            elif self.tiles is not None:
                self.wrong += self.tiles.take(self.audit.edge.size, self.audit.made)
        self._look_up()
        if self._ended:
            return
        if stop is None:
            self.located.add(self._locators.surplus())
        if self.tiles is not None and stop is None:
            self.wrong += self.tiles.end(self.audit.edge.size, self.audit.pruned)

    def _take_change(self, record: Mapping[str, Any]) -> None:
        """Remember the change in *record*, unless it contradicts the earlier ones."""
        with contextlib.suppress(RecordError):
            change = change_of(record)
            self._suspensions = self._suspensions.after([change])
            self.changes.append(change)

    def _look_up(self) -> None:
        self.located.update(table for _, table in self._locators.missed())

    def _kept_leaves(self) -> None:
        """Add the leaf hashes of pruned records to the tree. If they do not match the record of the
        pruning, the tree can't be compared.
        """
        assert self._pruned is not None
        assert self.tiles is not None
        kept = self.tiles.kept(self._pruned, self.audit.watched(0, self._pruned.before - 1))
        self.wrong += kept.wrong
        self.roots = kept.roots
        if kept.problem:
            self.tiles = None


def examine(
    reader: LedgerReader,
    *,
    signing: Signing | None = None,
    verify: Verify | None = None,
    watch: Collection[int] = (),
    each: Callable[[int, Mapping[str, Any]], None] = lambda *_: None,
    ahead: bool = False,
) -> Examination:
    """Read every record once, and compare the rest of the database with the records. The result
    includes the roots of the trees whose sizes are in *watch*; *each* is called with the number and
    the content of every good record. If *signing* is given, a holder of its keys must have written
    the head; if *verify* is given, the head's signature and the certificates must be valid.
    Problems are returned, never raised.

    If *ahead* is True, the records that exist at first are read in short transactions, so that the
    ``-wal`` of a log in use stays small. Only the records added meanwhile, and all comparisons,
    share one transaction. No records may be deleted during this time.
    """
    found = Examination(chain.Chain().report(), Edge())
    done: _Pass | None = None
    row: HeadRow | None = None
    check = verify if verify is not None else _accept_any
    try:
        if ahead:
            pruned = _pruning(reader)
            done = _Pass(reader, Audit(check, pruned=pruned, watch=watch), pruned, each)
            done.run(reader.size())
        with reader.snapshot():
            found.schema = reader.storage.schema_fault()
            if found.schema:
                mendable = reader.storage.to_mend()
                found.mendable = mendable and (tuple(mendable[0]), tuple(mendable[1]))
            found.outside = reader.storage.place_fault()
            bad = reader.storage.value_fault()
            found.values = f"table {bad[0]} holds values that the schema forbids" if bad else ""
            row = reader.storage.head()
            if done is None:
                pruned = _pruning(reader)
                done = _Pass(reader, Audit(check, pruned=pruned, watch=watch), pruned, each)
            if row is not None:
                done.audit.watch({row.size})
            done.run()
            # The lines can be intact even if indexes and free pages are not, and further writes
            # would spread the damage.
            found.whole = reader.storage.page_fault() is None
            if done.audit.chain.report().first_bad is None:
                found.head = _head(row, done.audit, signing, verify)
                found.vouched = _proved_count(row, done.audit, signing, verify)
                found.caches = tuple(_wrong(reader, done))
    except LedgerError as error:
        found.unreadable = found.schema or error.message
        with contextlib.suppress(LedgerError):
            row = row or reader.storage.head()
    found.signed_size = _signed_size(row, done.audit if done else None, signing, verify)
    if done is not None:
        found.report, found.edge = done.audit.chain.report(), done.audit.edge
        found.pruned, found.kept = done.audit.pruned, done.tiles is not None
        found.roots, found.changes = {**done.roots, **done.audit.roots}, done.changes
    return found


def _accept_any(*_: bytes) -> bool:
    return True


def _pruning(reader: LedgerReader) -> Pruned | None:
    """Return the record that explains why records after line 0 are missing, or None if no records
    are missing, or if no record explains their absence.
    """
    first = reader.first()
    if first == 1:
        return None
    return reader.pruned(first)


def _wrong(reader: LedgerReader, done: _Pass) -> Iterator[Cache]:
    if done.wrong and done.tiles is not None:
        yield Cache("tile", [(each.level, each.number, each.right) for each in done.wrong])
    yield from done.owners.wrong(reader, done.located)


def _proved_count(
    row: HeadRow | None, audit: Audit, signing: Signing | None, verify: Verify | None
) -> int:
    """Return the number of records that the stored head covers. More records may follow."""
    if row is None or signing is None or not row.has_valid_mac(signing):
        return 0
    try:
        note = SignedNote.parse(row.note)
        head = Checkpoint.parse(note.text)
    except NoteError:
        return 0
    if head.origin != audit.chain.report().log or head.size != row.size:
        return 0
    signed = audit.keys is not None and (
        verify is None or audit.keys.signer_of(note, head.size) is not None
    )
    return head.size if signed and audit.roots.get(head.size) == head.root else 0


def _head(row: HeadRow | None, audit: Audit, signing: Signing | None, verify: Verify | None) -> str:
    """Return the problem with the stored head, or an empty string if there is none."""
    if row is None:
        return "the signed head is missing or malformed"
    if signing is not None and not row.has_valid_mac(signing):
        return "the signed head was written by someone who does not hold this log's keys"
    fault = _contradiction(row, audit)
    keys = audit.keys if verify is not None and not fault else None
    if keys is not None and keys.signer_of(SignedNote.parse(row.note), row.size) is None:
        fault = "no key of this log signed the head"
    return fault


def _signed_size(
    row: HeadRow | None, audit: Audit | None, signing: Signing | None, verify: Verify | None
) -> int:
    """Return the size of the stored head if a holder of the log's keys signed it, regardless of the
    lines; otherwise 0.

    At least that many records were acknowledged. A signature by a key that the good lines certify
    is sufficient, because the keys in *signing* are new if the log's keys were lost.
    """
    if row is None:
        return 0
    try:
        note = SignedNote.parse(row.note)
        head = Checkpoint.parse(note.text)
    except NoteError:
        return 0
    log, edge = (audit.chain.report().log, audit.edge) if audit is not None else ("", Edge())
    other = head.size == edge.size and head.root != edge.root()
    if head.size != row.size or (log and head.origin != log) or other:
        return 0
    if signing is not None and row.has_valid_mac(signing):
        return head.size
    keys = audit.keys if audit is not None and verify is not None else None
    return head.size if keys is not None and keys.signer_of(note, head.size) is not None else 0


def _contradiction(row: HeadRow, audit: Audit) -> str:
    edge, last = audit.edge, audit.chain.next_seq - 1
    if row.size < edge.size:
        return (
            f"{numbers(row.size, last)} {agree(last - row.size + 1, 'is')} not covered by the "
            "signed head: someone without this log's keys added data"
        )
    if row.size > edge.size:
        return (
            f"the signed head covers {counted(row.size, 'record')}, but the log ends at record "
            f"{last}: the records after it are gone"
        )
    try:
        text = SignedNote.parse(row.note).text
    except NoteError:
        return "the signed head is malformed"
    right = Checkpoint(audit.chain.report().log, edge.size, edge.root()).text
    if row.leaf != audit.chain.leaf or row.edge != edge.encode() or text != right:
        return "the signed head does not match the records"
    return ""
