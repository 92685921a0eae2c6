"""Suspensions: records that stop the calls of a principal, an agent or a tool, and the state that
follows from them.

Each ``admin.suspended`` and ``admin.resumed`` record names the previous one by number and leaf
hash, and the oldest suspension that is still in force. The newest record therefore leads to every
suspension in force, and no suspension can be left out. The log's head names the newest record
(``ledger.heads``).
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple, Self

from guardrail.core.folding import folded
from guardrail.errors import RecordError

__all__ = [
    "MOST_SUSPENSIONS",
    "NO_SUSPENSION",
    "RESUMED",
    "SUSPENDED",
    "CallNames",
    "ObeyedSuspension",
    "Subject",
    "SubjectKind",
    "Suspension",
    "SuspensionChange",
    "SuspensionLink",
    "Suspensions",
    "change_of",
    "link_of",
]

SUSPENDED = "admin.suspended"
RESUMED = "admin.resumed"
NO_SUSPENSION = -1
"""The version of a log in which no suspension is in force."""
MOST_SUSPENSIONS = 10_000
"""Maximum number of suspensions in force."""

# Spellings of an id that look the same are one subject. This can only deny more calls.
_folded = functools.lru_cache(4_096)(folded)

_MALFORMED = (LookupError, TypeError, ValueError, AttributeError)


class SubjectKind(StrEnum):
    """The kind of subject that a suspension stops."""

    ALL = "all"
    """Every call of the log."""
    PRINCIPAL = "principal"
    """The calls on behalf of a principal, and those with this principal in their delegation."""
    AGENT = "agent"
    TOOL = "tool"


class Subject(NamedTuple):
    """The subject of a suspension."""

    kind: SubjectKind
    id: str = ""
    """Id as recorded; empty for ``all``."""
    form: str = "clear"
    """``clear``, or ``token`` if the id is a token."""

    @property
    def key(self) -> tuple[SubjectKind, str]:
        """The value that equal subjects share: the kind, and the visible form of the id."""
        return self.kind, _folded(self.id) or self.id

    @property
    def name(self) -> str:
        """The subject as the command line takes it."""
        return str(self.kind) if self.kind is SubjectKind.ALL else f"{self.kind}:{self.id}"

    def matches(self, names: CallNames) -> bool:
        """Return True if a suspension of this subject stops the calls of *names*."""
        return any(self.key == key for key in _keys_of(names))

    @property
    def document(self) -> dict[str, Any]:
        """The subject as recorded."""
        everything = self.kind is SubjectKind.ALL
        return {
            "kind": str(self.kind),
            "id": None if everything else self.id,
            "form": None if everything else self.form,
        }


class CallNames(NamedTuple):
    """The names of a call that a suspension can match."""

    principals: tuple[str, ...]
    """Ids of the principal and of the identities in its delegation, as given and as recorded."""
    agents: tuple[str, ...]
    tools: tuple[str, ...]


class ObeyedSuspension(NamedTuple):
    """The suspension that a decision obeys."""

    names: CallNames
    seq: int
    """Number of the suspension that denied the call, or ``NO_SUSPENSION`` if none stopped it."""


class SuspensionLink(NamedTuple):
    """The position of a record among the records of suspensions."""

    follows: int
    """Number of the previous record, or ``NO_SUSPENSION``."""
    stands: bool
    """True if a suspension is in force after the record."""


@dataclass(frozen=True, slots=True)
class Suspension:
    """One suspension in force."""

    seq: int
    """Number of its record."""
    ts: str
    """Time of its record."""
    subject: Subject
    until: str | None
    """Time from which the suspension no longer counts, in the form of record times, or None."""
    reason: str
    actor: str
    """Id of the person who suspended the subject."""
    assurance: str
    """The degree to which this identity was established, or an empty string if unknown."""
    begun: int
    """Number of the first record of this suspension, which may have been repeated before records
    were pruned.
    """
    since: str
    """Time of that record."""

    def counts_at(self, now: str) -> bool:
        """Return True unless the suspension has expired. *now* has the form of record times."""
        return self.until is None or now < self.until


@dataclass(frozen=True, slots=True)
class SuspensionChange:
    """The content of one ``admin.suspended`` or ``admin.resumed`` record."""

    seq: int
    previous: tuple[int, str] | None
    """Number and leaf hash of the previous record, or None if no suspension was in force."""
    first: int | None
    """Number of the oldest suspension that was in force before the record and still is."""
    added: Suspension | None
    """The new suspension, or None if the record only ends one."""
    subject: Subject
    ended: int | None
    """Number of the suspension that the record ends or replaces, or None."""

    @property
    def stands(self) -> bool:
        """True if a suspension is in force after the record."""
        return self.added is not None or self.first is not None


class Suspensions:
    """The suspensions in force after one record. Not changed once it is shared."""

    __slots__ = ("_by_key", "_by_seq", "leaf", "unknown", "version")

    def __init__(self, *, unknown: int = 0) -> None:
        """Start without suspensions. If records below *unknown* are missing, changes may refer to
        suspensions among them.
        """
        self.version = NO_SUSPENSION
        """Number of the newest record of a suspension, or ``NO_SUSPENSION`` if none is in force."""
        self.leaf = ""
        """Leaf hash of that record in hex, if the state was read from a log."""
        self.unknown = unknown
        self._by_seq: dict[int, Suspension] = {}
        self._by_key: dict[tuple[SubjectKind, str], Suspension] = {}

    @property
    def in_force(self) -> list[Suspension]:
        """The suspensions that nobody has ended, oldest first, including expired ones."""
        return list(self._by_seq.values())

    def __len__(self) -> int:
        return len(self._by_seq)

    def first_besides(self, other: Suspension | None = None) -> int | None:
        """Return the number of the oldest suspension in force besides *other*, or None."""
        skipped = NO_SUSPENSION if other is None else other.seq
        return next((seq for seq in self._by_seq if seq != skipped), None)

    @property
    def first(self) -> int | None:
        """Number of the oldest suspension in force, or None."""
        return next(iter(self._by_seq), None)

    def of(self, subject: Subject) -> Suspension | None:
        """Return the suspension of exactly this subject, or None."""
        return self._by_key.get(subject.key)

    def find(self, names: CallNames, now: str) -> Suspension | None:
        """Return a suspension that stops a call named *names* at the time *now*, or None."""
        if not self._by_key:
            return None
        for key in _keys_of(names):
            found = self._by_key.get(key)
            if found is not None and found.counts_at(now):
                return found
        return None

    def after(self, changes: Iterable[SuspensionChange]) -> Self:
        """Return the suspensions in force after *changes*. Raises ``RecordError`` if a change
        contradicts this state.
        """
        new = type(self)(unknown=self.unknown)
        new.version = self.version
        new._by_seq, new._by_key = dict(self._by_seq), dict(self._by_key)
        for change in changes:
            new.take(change)
        return new

    def take(self, change: SuspensionChange) -> None:
        """Apply *change*. Only for a state that is not shared. Raises ``RecordError`` if *change*
        contradicts this state, which may then be half changed.
        """
        named = NO_SUSPENSION if change.previous is None else change.previous[0]
        if named != self.version and (named >= self.unknown or self.version >= self.unknown):
            raise _wrong("does not name the previous change of a suspension")
        ended = change.ended
        before = self._by_key.get(change.subject.key)
        if ended is not None and ended >= self.unknown and (before is None or before.seq != ended):
            raise _wrong("ends a suspension that is not in force")
        if before is not None and before.seq != ended:
            raise _wrong("suspends a subject that is already suspended")
        if before is not None:
            del self._by_seq[before.seq], self._by_key[change.subject.key]
        first = change.first
        if (first is None or first >= self.unknown) and first != self.first:
            raise _wrong("does not name the oldest suspension in force")
        if change.added is not None:
            self._by_seq[change.seq] = self._by_key[change.subject.key] = change.added
        self.version = change.seq if change.stands else NO_SUSPENSION


def _keys_of(call: CallNames) -> Iterator[tuple[SubjectKind, str]]:
    yield SubjectKind.ALL, ""
    for kind, ids in (
        (SubjectKind.PRINCIPAL, call.principals),
        (SubjectKind.AGENT, call.agents),
        (SubjectKind.TOOL, call.tools),
    ):
        for id_ in ids:
            if id_:
                yield kind, _folded(id_) or id_


def _wrong(what: str) -> RecordError:
    return RecordError(f"the record {what}", code="record.suspension")


def change_of(record: Mapping[str, Any]) -> SuspensionChange:
    """Return the change in *record*, an ``admin.suspended`` or ``admin.resumed`` record. Raises
    ``RecordError`` if a field is missing or malformed.
    """
    try:
        return _change_of(record)
    except _MALFORMED:
        raise _wrong("has missing or malformed fields") from None


def _change_of(record: Mapping[str, Any]) -> SuspensionChange:
    detail, seq = record["detail"], _number(record["seq"])
    subject, named = _subject_of(detail["subject"]), detail["previous"]
    previous = None if named is None else (_number(named["seq"]), _text(named["leaf"]))
    first = _number_or_none(detail["first"])
    if record["type"] == RESUMED:
        ended = _number(detail["suspension"])
        return SuspensionChange(seq, previous, first, None, subject, ended)
    begun, ts = detail["begun"], _text(record["ts"])
    who = record["actor"] if begun is None else begun["actor"]
    added = Suspension(
        seq=seq,
        ts=ts,
        subject=subject,
        until=None if detail["until"] is None else _text(detail["until"]),
        reason=_text(detail["reason"]),
        actor=_text(who["id"]),
        # An earlier version did not repeat the assurance.
        assurance=_text(who.get("assurance", "")),
        begun=seq if begun is None else _number(begun["seq"]),
        since=ts if begun is None else _text(begun["ts"]),
    )
    replaced = _number_or_none(detail["replaces"])
    return SuspensionChange(seq, previous, first, added, subject, replaced)


def _subject_of(value: Any) -> Subject:
    kind = SubjectKind(value["kind"])
    if kind is SubjectKind.ALL:
        return Subject(kind)
    return Subject(kind, _text(value["id"]), _text(value["form"]))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _number(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 1 << 63:
        raise ValueError
    return value


def _number_or_none(value: Any) -> int | None:
    return None if value is None else _number(value)


def link_of(fields: Mapping[str, Any]) -> SuspensionLink | None:
    """Return the position of the record with *fields* among the records of suspensions, or None if
    it is not one of them.
    """
    type_ = fields.get("type")
    if type_ not in (SUSPENDED, RESUMED):
        return None
    detail = fields["detail"]
    previous = detail["previous"]
    follows = NO_SUSPENSION if previous is None else int(previous["seq"])
    return SuspensionLink(follows, type_ == SUSPENDED or detail["first"] is not None)
