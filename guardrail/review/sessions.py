"""Lists sessions, shows a session call by call, and resolves ids from the command line."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

from guardrail.review.approval_answers import answers_of
from guardrail.review.records import (
    NotFoundError,
    RecordedCall,
    RecordReader,
    SessionKey,
    call_of,
    load,
    missing_record,
    outcome_of,
    parse,
    pruned_range,
)
from guardrail.review.terminal import clip, escape, name, quote
from guardrail.review.values import integer, obj, text

__all__ = [
    "TOKENS_REFUSED",
    "RecordRef",
    "SessionFinder",
    "SessionList",
    "SessionRef",
    "SessionSummary",
    "Timeline",
    "find",
    "last_call",
    "list_sessions",
    "recent_sessions",
    "refused_in",
    "timeline",
    "who",
    "with_outcome",
]

_IN_COPIES = (
    "guardrail sessions lists the sessions that are here, and the copies to read with --segment "
    "FILE"
)
_CUT = "…"
"""Ends an id that a table has cut."""
TOKENS_REFUSED = "admin.tokens_refused"
"""Type of the records that count refused tokens. They belong to no session."""
_MAX_NAMED = 5
"""Maximum number of candidates listed for an ambiguous id."""


@dataclass(frozen=True, slots=True)
class SessionSummary:
    """Summary of one session."""

    key: SessionKey
    started: str
    """``ts`` of its first record."""
    ended: str
    """``ts`` of its latest record."""
    first_seq: int
    last_seq: int
    calls: int
    allowed: int
    denied: int
    approvals: int
    """Number of calls that required an approval."""
    errors: int
    unknown: int
    """Number of calls that had no recorded end when their process died."""
    open: int
    """Number of calls that were allowed and have no recorded end."""
    rejected: int
    """Number of calls that were refused before the policy was asked."""


@dataclass(slots=True)
class _SessionCounter:
    key: SessionKey
    started: str
    first_seq: int
    ended: str = ""
    last_seq: int = 0
    allowed: int = 0
    denied: int = 0
    approvals: int = 0
    errors: int = 0
    unknown: int = 0
    rejected: int = 0
    other: int = 0
    running: set[str] = field(default_factory=set)

    def add(self, record: Mapping[str, Any], seq: int) -> None:
        self.ended, self.last_seq = text(record, "ts"), seq
        kind = text(record, "type")
        if kind == "call.decision":
            effect = text(record, "decision", "effect")
            if effect == "allow":
                self.allowed += 1
                self.running.add(text(record, "call"))
            elif effect == "deny":
                self.denied += 1
            elif effect == "require_approval":
                self.approvals += 1
            else:
                self.other += 1
        elif kind == "call.outcome":
            self.running.discard(text(record, "call"))
            status = text(record, "status")
            self.errors += status == "error"
            self.unknown += status == "unknown"
        elif kind == "call.rejected":
            self.rejected += 1

    def row(self) -> SessionSummary:
        return SessionSummary(
            key=self.key,
            started=self.started,
            ended=self.ended,
            first_seq=self.first_seq,
            last_seq=self.last_seq,
            calls=self.allowed + self.denied + self.approvals + self.rejected + self.other,
            allowed=self.allowed,
            denied=self.denied,
            approvals=self.approvals,
            errors=self.errors,
            unknown=self.unknown,
            open=len(self.running),
            rejected=self.rejected,
        )


def refused_in(record: Mapping[str, Any]) -> int:
    """Return the number of tokens that an ``admin.tokens_refused`` record counts."""
    return integer(record, "detail", "count") or 0


def _relevant_records(records: RecordReader) -> Iterator[tuple[int, dict[str, Any]]]:
    for seq, _, line in records.lines():
        record = parse(line, seq)
        if text(record, "type").startswith("call.") or text(record, "type") == TOKENS_REFUSED:
            yield seq, record


def list_sessions(
    records: RecordReader,
    *,
    progress: Callable[[int, int], None] | None = None,
    throttled: list[int] | None = None,
    refused: list[tuple[int, int]] | None = None,
) -> list[SessionSummary]:
    """Return every session, oldest first. *progress* is called with the number of records read and
    the total number.

    A ``call.throttled`` record counts a principal's calls and belongs to no session. The sequence
    number of each such record is added to *throttled*. The sequence number of each
    ``admin.tokens_refused`` record and the number of tokens that it counts are added to *refused*.
    """
    counts: dict[SessionKey, _SessionCounter] = {}
    total = records.size()
    for seq, record in _relevant_records(records):
        if progress is not None and seq % 256 == 0:
            progress(seq, total)
        if text(record, "type") == "call.throttled":
            if throttled is not None:
                throttled.append(seq)
            continue
        if text(record, "type") == TOKENS_REFUSED:
            if refused is not None:
                refused.append((seq, refused_in(record)))
            continue
        key = SessionKey.of(record)
        count = counts.get(key)
        if count is None:
            count = counts[key] = _SessionCounter(
                key=key, started=text(record, "ts"), first_seq=seq
            )
        count.add(record, seq)
    return [count.row() for count in counts.values()]


@dataclass(frozen=True, slots=True)
class SessionList:
    """The last sessions of a ledger, oldest first."""

    rows: tuple[SessionSummary, ...]
    total: int
    """Number of all sessions, or of all chosen ones."""
    throttled: tuple[int, ...]
    """Numbers of the ``call.throttled`` records, which belong to no session."""
    refused: tuple[tuple[int, int], ...]
    """The number of each ``admin.tokens_refused`` record, and the number of tokens it counts."""


@runtime_checkable
class SessionFinder(RecordReader, Protocol):
    """Provides records session by session. ``guardrail.review.index.records`` implements it."""

    def session_keys(self, limit: int | None) -> tuple[list[SessionKey], int]:
        """Return the keys of the last *limit* sessions, oldest first, and the number of all
        sessions.
        """

    def of_session(self, key: SessionKey) -> list[tuple[int, Mapping[str, Any]]]:
        """Return the number and the content of every record of the session *key*, oldest first."""

    def throttled(self) -> list[int]:
        """Return the numbers of the ``call.throttled`` records."""

    def refused_tokens(self) -> list[tuple[int, int]]:
        """Return the number of each ``admin.tokens_refused`` record, and the number of tokens that
        it counts.
        """

    def not_a_record(self) -> tuple[int, bytes] | None:
        """Return the first line that is not a record, with its number, or None."""


def recent_sessions(
    records: RecordReader,
    limit: int | None = None,
    *,
    chosen: Callable[[SessionKey], bool] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> SessionList:
    """Return the last *limit* sessions, oldest first, of those for which *chosen* returns True. If
    *records* is a ``SessionFinder``, only their lines are read. Raises ``RecordError`` if a line of
    the log is not a record.
    """
    throttled: list[int] = []
    refused: list[tuple[int, int]] = []
    if not isinstance(records, SessionFinder):
        rows = list_sessions(records, progress=progress, throttled=throttled, refused=refused)
        if chosen is not None:
            rows = [row for row in rows if chosen(row.key)]
        shown = rows if limit is None else rows[-limit:]
        return SessionList(tuple(shown), len(rows), tuple(throttled), tuple(refused))
    wrong = records.not_a_record()
    if wrong is not None:
        parse(wrong[1], wrong[0])
    keys, total = records.session_keys(limit if chosen is None else None)
    if chosen is not None:
        keys = [key for key in keys if chosen(key)]
        total, keys = len(keys), keys if limit is None else keys[-limit:]
    found = []
    for done, key in enumerate(keys):
        if progress is not None:
            progress(done, len(keys))
        count: _SessionCounter | None = None
        for seq, record in records.of_session(key):
            if count is None:
                count = _SessionCounter(key=key, started=text(record, "ts"), first_seq=seq)
            count.add(record, seq)
        if count is not None:  # otherwise the session's records were pruned meanwhile
            found.append(count.row())
    return SessionList(
        tuple(found), total, tuple(records.throttled()), tuple(records.refused_tokens())
    )


@dataclass(frozen=True, slots=True)
class SessionRef:
    """A reference to a session."""

    key: SessionKey


@dataclass(frozen=True, slots=True)
class RecordRef:
    """A reference to one record."""

    seq: int


def find(records: RecordReader, ref: str) -> SessionRef | RecordRef:
    """Resolve *ref*: a sequence number, ``last`` (the session of the latest call), a session id, or
    a call id.

    Ids may be shortened to a unique prefix, which may end with ``…``; ``session:ID`` selects a
    session whose id is a number or ``last``. Raises ``NotFoundError`` if there is no match, or more
    than one; the hint lists the candidates.
    """
    if ref.isascii() and ref.isdigit():
        return _find_by_number(records, ref)
    if ref == "last":
        return SessionRef(last_call(records).key)
    return _find_by_name(records, ref)


def _find_by_number(records: RecordReader, ref: str) -> RecordRef:
    seq = int(ref) if len(ref) <= 18 else records.size()
    if records.record(seq) is None:
        raise missing_record(records, seq, clip(ref, 24))
    return RecordRef(seq)


def _find_by_name(records: RecordReader, ref: str) -> SessionRef | RecordRef:
    wanted = ref.removeprefix("session:")
    if wanted.endswith(_CUT) and not records.find_sessions(wanted):
        ref, wanted = ref.removesuffix(_CUT), wanted.removesuffix(_CUT)  # as a table shows it
    shown = clip(quote(wanted), 60)
    sessions, calls = _candidates(records, ref, wanted)
    if len(sessions) == 1 and not calls:
        return SessionRef(sessions[0])
    if len(calls) == 1 and not sessions:
        first = next(iter(records.by_call(calls[0])))
        return RecordRef(integer(parse(first), "seq") or 0)
    if not sessions and not calls:
        lost = pruned_range(records)
        also = f" ({lost.sentence})" if lost is not None else ""
        missing = NotFoundError(
            f"no session or call {shown} in this ledger{also}",
            hint="guardrail sessions" if lost is None else _IN_COPIES,
        )
        missing.lost = lost
        raise missing
    names = [
        f"{clip(name(key.id), 40)} (tenant {clip(name(key.tenant), 20)},"
        f" {clip(name(key.principal), 40)}, {clip(name(key.agent), 30)})"
        for key in sessions
    ] + [f"call {clip(name(call), 30)}" for call in calls]
    more = len(names) - _MAX_NAMED
    listed = "; ".join(names[:_MAX_NAMED]) + ("; and more" if more > 0 else "")
    raise NotFoundError(
        f"{shown} is ambiguous: {listed}",
        code="review.ambiguous",
        hint=(
            "specify more characters of the id, or the sequence number of a call (guardrail "
            "sessions --json has those of each session)"
        ),
    )


def _candidates(records: RecordReader, ref: str, wanted: str) -> tuple[list[SessionKey], list[str]]:
    """Return the sessions and calls that match *ref*. If *ref* is a complete id, nothing else
    matches.
    """
    try:
        wanted.encode("utf-8")
    except UnicodeEncodeError:
        return [], []  # no record contains a lone surrogate
    if not wanted:
        return [], []
    ids = records.find_sessions(wanted)
    whole = wanted in ids
    keys: dict[SessionKey, None] = {}
    for session in [wanted] if whole else ids[: _MAX_NAMED + 1]:
        for line in records.calls(session):
            keys[SessionKey.of(parse(line))] = None
    if whole or ref.startswith("session:"):
        return list(keys), []
    return list(keys), records.find_calls(wanted.upper())


def last_call(records: RecordReader) -> RecordedCall:
    """Return the latest call that was decided or rejected. Raises ``NotFoundError`` if there is
    none.
    """
    latest = None
    for seq in range(records.size() - 1, records.first() - 1, -1):
        line = records.record(seq)
        if line is None:
            continue
        record = parse(line, seq)
        if text(record, "type") in {"call.decision", "call.rejected"}:
            latest = call_of(record)
            break
    if latest is None:
        raise NotFoundError(
            "no calls are recorded in this ledger yet",
            hint="make a governed call (guardrail demo shows one), then try again",
        )
    return latest


@dataclass(frozen=True, slots=True)
class Timeline:
    """One session, call by call, oldest first."""

    key: SessionKey
    header: Mapping[str, Any]
    """The session's first record: principal, agent, delegation and origin at that time."""
    calls: tuple[RecordedCall, ...]

    @property
    def started(self) -> str:
        """``ts`` of the first call."""
        return self.calls[0].ts if self.calls else ""

    @property
    def ended(self) -> str:
        """``ts`` of the latest record."""
        return max(
            (call.outcome.ts if call.outcome else call.ts for call in self.calls), default=""
        )


def timeline(records: RecordReader, key: SessionKey) -> Timeline:
    """Return the session with this *key*. Raises ``NotFoundError`` if no call belongs to it."""
    header: Mapping[str, Any] = {}
    calls: list[RecordedCall] = []
    for line in records.calls(key.id):
        record = parse(line)
        if SessionKey.of(record) == key:
            header = header or record
            calls.append(_with_later_records(records, call_of(record)))
    if not calls:
        raise NotFoundError(f"no session {clip(quote(key.id), 60)}", hint="guardrail sessions")
    return Timeline(key=key, header=header, calls=tuple(calls))


def with_outcome(records: RecordReader, seq: int) -> RecordedCall:
    """Return the call that was decided at *seq*, with its outcome and claims. Raises
    ``NotFoundError``.
    """
    return _with_later_records(records, call_of(load(records, seq)))


def _with_later_records(records: RecordReader, call: RecordedCall) -> RecordedCall:
    """Return *call* with its outcome and claims, and, if it requires approval, the answers."""
    if call.effect == "require_approval" and call.call:
        call = replace(call, answers=answers_of(records.approval(call.call)))
    for line in records.by_call(call.call) if call.call else ():
        later = parse(line)
        kind = text(later, "type")
        if integer(later, "decision_seq") != call.seq:
            continue
        if kind == "call.claim":
            call = replace(call, claims=(*call.claims, outcome_of(later)))
        elif kind == "call.outcome" and call.outcome is None:
            call = replace(call, outcome=outcome_of(later))
    return call


def who(record: Mapping[str, Any], field_name: str, *, short: bool = True) -> str:
    """Describe an identity in *record*: its id, its assurance and, unless it is a user, its
    type. A token is shortened if *short* is True.
    """
    identity = obj(record, field_name)
    assurance, method = text(identity, "assurance") or "absent", text(identity, "method")
    shown = name(text(identity, "id"), "nobody", short=short)
    how = (
        f"{escape(assurance)} by {escape(method)}"
        if method and assurance != "absent"
        else escape(assurance)
    )
    return f"{shown} ({how})"
