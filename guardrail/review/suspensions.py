"""Lists the suspensions of a log, and finds the calls that a suspension concerns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from guardrail.core.log.merkle import Edge
from guardrail.core.log.record import decode_or_none, dumps
from guardrail.core.log.suspensions import (
    CallNames,
    Subject,
    SubjectKind,
    Suspension,
    Suspensions,
)
from guardrail.core.look_alikes import look_alike
from guardrail.core.redaction.marks import is_mark
from guardrail.errors import LedgerError
from guardrail.ledger.reader import LedgerReader
from guardrail.ledger.steps import unproved
from guardrail.ledger.suspensions import read_suspensions

__all__ = [
    "MOST_COMPARED",
    "RECENT",
    "call_names",
    "has_called",
    "look_alikes",
    "nearest_name",
    "recorded_names",
    "running_calls",
    "suspension_document",
    "unproved_suspensions",
]

RECENT = 100_000
"""Number of the newest records that are searched for calls of a subject."""
MOST_COMPARED = 20_000
"""Number of the newest records whose names are compared with that of a subject."""
_SIMILAR = 0.75
"""Similarity above which a name may be meant by a mistyped one, in the measure of ``difflib``."""
_FIELDS = {SubjectKind.TOOL: "name"}


def unproved_suspensions(reader: LedgerReader) -> Suspensions:
    """Return the suspensions that the stored head names, without checking the head's MAC, which
    requires the log's keys. Raises ``LedgerError``.
    """
    with reader.snapshot():
        head = reader.storage.head()
        if head is None:
            raise unproved("the log has no head")
        try:
            edge = Edge.decode(head.size, head.edge)
        except ValueError:
            raise unproved("the log's head is malformed") from None
        return read_suspensions(reader.storage, edge, head.suspended)


def suspension_document(each: Suspension, now: str) -> dict[str, Any]:
    """Return *each* as a JSON document. *now* has the form of record times."""
    return {
        "subject": each.subject.document,
        "seq": each.seq,
        "begun": each.begun,
        "since": each.since,
        "until": each.until,
        "expired": not each.counts_at(now),
        "by": each.actor,
        "assurance": each.assurance,
        "reason": each.reason,
    }


def call_names(record: Mapping[str, Any]) -> CallNames:
    """Return the names in a record about a call that a suspension can match."""
    principals = [_part(record, "principal", "id")]
    delegation = record.get("delegation")
    steps = delegation if isinstance(delegation, list) else []
    principals += [str(step.get("sub", "")) for step in steps if isinstance(step, Mapping)]
    return CallNames(
        tuple(principals), (_part(record, "agent", "id"),), (_part(record, "tool", "name"),)
    )


def _part(record: Mapping[str, Any], field: str, name: str) -> str:
    value = record.get(field)
    part = value.get(name) if isinstance(value, Mapping) else None
    return part if isinstance(part, str) else ""


def has_called(reader: LedgerReader, subject: Subject) -> bool:
    """Return True if one of the newest records (``RECENT``) names *subject* in this spelling.
    Raises ``LedgerError``.
    """
    if subject.kind is SubjectKind.ALL:
        return True
    start = max(0, reader.storage.size() - RECENT)
    name = _FIELDS.get(subject.kind, "id")
    mark = f'"{name}":{dumps(subject.id).decode("utf-8")}'
    while True:
        rows = reader.storage.marked(mark, start=start)
        for seq, line in rows:
            record = decode_or_none(line) or {}
            if str(record.get("type", "")).startswith("call.") and subject.matches(
                call_names(record)
            ):
                return True
            start = seq + 1
        if not rows:
            return False


def recorded_names(reader: LedgerReader, subject: Subject) -> list[str]:
    """Return the names of the kind of *subject* in the newest records (``MOST_COMPARED``) that its
    suspension does not stop, sorted. Names recorded as tokens can't be compared, so there are none
    for a token. Raises ``LedgerError``.
    """
    if subject.kind is SubjectKind.ALL or subject.form == "token":
        return []
    names: set[str] = set()
    for _, _, line in reader.lines(max(0, reader.storage.size() - MOST_COMPARED)):
        record = decode_or_none(line) or {}
        if not str(record.get("type", "")).startswith("call."):
            continue
        called = call_names(record)
        names.update(
            {
                SubjectKind.PRINCIPAL: called.principals,
                SubjectKind.AGENT: called.agents,
                SubjectKind.TOOL: called.tools,
            }[subject.kind]
        )
    return sorted(each for each in names if subject._replace(id=each).key != subject.key)


def look_alikes(names: Iterable[str], subject: Subject) -> list[str]:
    """Return the *names* that can be confused with the id of *subject*."""
    return [each for each in names if look_alike(each, subject.id)]


def nearest_name(names: Iterable[str], subject: Subject) -> str | None:
    """Return that of *names* whose spelling is nearest to the id of *subject*, or None if none is
    similar. Tokens are not compared.
    """
    import difflib

    spelled = {each.casefold(): each for each in names if not is_mark(each)}
    near = difflib.get_close_matches(subject.id.casefold(), spelled, n=1, cutoff=_SIMILAR)
    return spelled[near[0]] if near else None


def running_calls(reader: LedgerReader, subject: Subject) -> int:
    """Return the number of open calls that *subject* would stop if they were made now. Raises
    ``LedgerError``.
    """
    count = 0
    for call in reader.storage.open_calls():
        try:
            line = reader.storage.line(call.seq)
        except LedgerError:
            continue
        count += line is not None and subject.matches(call_names(decode_or_none(line) or {}))
    return count
