"""Reads records for reviewers: a decision and its outcome become one call. No content in a record
causes an error.

A line may come from a later version, or from anyone who has had the file, so nothing is assumed
about its content: a field that is missing or has the wrong type counts as absent. ``verify``
decides whether lines are genuine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from guardrail.approvals.kinds import StepKind
from guardrail.core.log.record import decode
from guardrail.core.words import agree, numbers
from guardrail.errors import GuardrailError, RecordError
from guardrail.review.terminal import clock
from guardrail.review.values import integer, moment, number, obj, text

__all__ = [
    "NotFoundError",
    "PrunedError",
    "PrunedRange",
    "RecordReader",
    "RecordedAnswer",
    "RecordedCall",
    "RecordedOutcome",
    "RecordedPerson",
    "RuleHit",
    "SessionKey",
    "call_of",
    "load",
    "missing_record",
    "outcome_of",
    "parse",
    "people_of",
    "person_of",
    "pruned_range",
    "rule_hits",
]


class RecordReader(Protocol):
    """The ledger reads that the reading side needs. ``guardrail.ledger.reader.LedgerReader``
    implements them.
    """

    @property
    def log(self) -> str:
        """Origin name of the log."""

    def size(self) -> int:
        """Return the current number of records."""

    def first(self) -> int:
        """Return the lowest existing number above 0, or 1 if there is none."""

    def record(self, seq: int) -> bytes | None:
        """Return the line of *seq*, byte for byte."""

    def lines(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, bytes, bytes]]:
        """Yield (seq, leaf, line) from *start* up to *stop*."""

    def by_call(self, call: str) -> Iterator[bytes]:
        """Yield every line about *call*, oldest first."""

    def calls(self, session: str) -> Iterator[bytes]:
        """Yield the line of each decision and rejection in the sessions with the id *session*,
        oldest first.
        """

    def find_calls(self, prefix: str, limit: int = 20) -> list[str]:
        """Return at most *limit* call ids that begin with *prefix*, sorted."""

    def find_sessions(self, prefix: str, limit: int = 20) -> list[str]:
        """Return at most *limit* session ids that begin with *prefix*, sorted."""

    def admin(self, type_: str) -> list[tuple[int, bytes]]:
        """Return (seq, line) of each record of the ``admin.*`` type *type_*, oldest first."""

    def approval(self, approval: str) -> list[bytes]:
        """Return the decision about the call *approval*, followed by all steps of the approval."""


class NotFoundError(GuardrailError):
    """No record, session or call matches, or more than one does. ``hint`` lists the candidates."""

    default_code = "review.not_found"
    lost: PrunedRange | None = None
    """The deleted records, if the requested record may have been among them."""
    seq: int | None = None
    """The number of the requested record, if it is one of the deleted records."""


class PrunedError(NotFoundError):
    """The record was deleted under the retention policy, according to this log."""

    default_code = "review.pruned"

    def __init__(self, seq: int, lost: PrunedRange) -> None:
        super().__init__(
            f"record {seq} was pruned: {lost.sentence}",
            hint=f"guardrail show {seq} --segment FILE, with FILE the copy of the segment that"
            " contains the record",
        )
        self.seq = seq
        self.lost = lost


@dataclass(frozen=True, slots=True)
class PrunedRange:
    """Records 1 to ``last`` have been deleted from this log, according to one of its records."""

    last: int
    seq: int
    """Number of the ``admin.pruned`` record."""
    ts: str
    """Its timestamp."""

    @property
    def sentence(self) -> str:
        """A sentence that describes the deletion."""
        which = f"{numbers(1, self.last)} {agree(self.last, 'is')}"
        when = f" (pruned {clock(self.ts)})" if moment(self.ts) is not None else ""
        return f"{which} no longer in this log{when}, according to record {self.seq}"


def pruned_range(records: RecordReader) -> PrunedRange | None:
    """Return the range of pruned records, or None if no record says that records were pruned."""
    before = records.first()
    if before < 2 or records.record(0) is None:
        return None
    for seq, line in reversed(records.admin("admin.pruned")):
        record = parse(line, seq)
        if integer(record, "detail", "before") == before:
            return PrunedRange(before - 1, seq, text(record, "ts"))
    return None


def missing_record(records: RecordReader, seq: int, shown: str = "") -> NotFoundError:
    """Return the error for a record that does not exist: pruned, out of range, or missing."""
    lost = pruned_range(records)
    if lost is not None and 0 < seq <= lost.last:
        return PrunedError(seq, lost)
    size, begin = records.size(), 0
    if records.record(0) is None:
        begin = records.first()
    span = f"it holds {numbers(begin, size - 1)}" if size else "it is empty"
    place = "this part of the log" if begin else "this ledger"
    return NotFoundError(
        f"no record {shown or seq} in {place}: {span}",
        hint="guardrail sessions lists the sessions; write session:ID for one whose id is a number",
    )


def load(records: RecordReader, seq: int) -> dict[str, Any]:
    """Return the decoded record *seq*. Raises ``NotFoundError`` if there is none."""
    line = records.record(seq)
    if line is None:
        raise missing_record(records, seq)
    return parse(line, seq)


def parse(line: bytes, seq: int | None = None) -> dict[str, Any]:
    """Return the decoded *line*. Raises ``RecordError``, with the location, if it is not a
    record.
    """
    try:
        return decode(line)
    except RecordError:
        raise RecordError(
            f"record {seq} is not a JSON object: the ledger was damaged or changed"
            if seq is not None
            else "a record is not a JSON object: the ledger was damaged or changed",
            code="record.undecodable",
            hint="guardrail verify",
        ) from None


@dataclass(frozen=True, slots=True, order=True)
class SessionKey:
    """Key of a session: an id belongs to one tenant, principal and agent."""

    tenant: str
    principal: str
    agent: str
    id: str

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> SessionKey:
        """Return the session key of a ``call.*`` record."""
        return cls(
            tenant=text(record, "tenant"),
            principal=text(record, "principal", "id"),
            agent=text(record, "agent", "id"),
            id=text(record, "session"),
        )


@dataclass(frozen=True, slots=True)
class RuleHit:
    """A policy rule that fired, from a record."""

    rule: str
    message: str
    effect: str
    severity: str
    needs: tuple[str, ...]
    approvers: int


@dataclass(frozen=True, slots=True)
class RecordedOutcome:
    """The recorded end of a call, or a later claim about that end."""

    seq: int
    ts: str
    status: str
    ms: float | None
    result: Mapping[str, Any]
    error: Mapping[str, Any]
    reproducible: bool | None
    omitted: str
    body: str
    """``running`` if the body could not be stopped when the call ended, otherwise an empty
    string.
    """


@dataclass(frozen=True, slots=True)
class RecordedPerson:
    """A person who answered, from a record."""

    id: str
    assurance: str
    method: str


@dataclass(frozen=True, slots=True)
class RecordedAnswer:
    """One answer to a request, or the use of an approval by a call."""

    kind: StepKind
    seq: int
    ts: str
    people: tuple[RecordedPerson, ...]
    """The people who answered. For a use, the people under whose approvals the call was allowed."""
    expires: str = ""
    """Expiry of an approval, or an empty string for other kinds."""


def people_of(record: Mapping[str, Any]) -> tuple[RecordedPerson, ...]:
    """Return the approvers that allowed a call, or an empty tuple if the call used no approval."""
    entries = obj(record, "approval").get("approvers")
    found = entries if isinstance(entries, list) else []
    return tuple(person_of(each) for each in found if isinstance(each, Mapping))


def person_of(who: Mapping[str, Any]) -> RecordedPerson:
    """Return the person in a record."""
    return RecordedPerson(text(who, "id"), text(who, "assurance"), text(who, "method"))


@dataclass(frozen=True, slots=True)
class RecordedCall:
    """One governed call: its decision, and its outcome if there is one."""

    seq: int
    """Number of the decision, or of the rejection."""
    type: str
    ts: str
    call: str
    parent: str
    key: SessionKey
    tool: str
    server: str
    declared: bool | None
    refused: str
    """Error code if the tool's schema was refused, ``NOT_REQUESTED`` if the model was not offered
    the tool, otherwise an empty string.
    """
    args: object
    """The recorded view, or None if the record contains none."""
    removed: Mapping[str, Any]
    """The class and the rules of each removed value, by pointer into the arguments."""
    truncated: bool
    effect: str
    """The effect, or an empty string for a call that a framework rejected."""
    cause: str
    detail: str
    message: str
    """The message that the agent received about an argument that does not fit the schema. Empty for
    other causes.
    """
    rules: tuple[RuleHit, ...]
    reproducible: bool | None
    enforcement: str
    adapter: str
    """The adapter that made the call, or an empty string."""
    ms: float | None
    """Milliseconds from the arrival of the call to its decision record."""
    omitted: str
    approval: str
    """Id of the approval that allowed the call, or an empty string if it used none."""
    approvers: tuple[RecordedPerson, ...]
    """The approvers that allowed the call."""
    presented: str
    """Id of an approval that was passed with the call and was not accepted, or an empty string if
    none was passed.
    """
    model: Mapping[str, Any]
    """``name``, ``response`` and ``assurance`` of the model that requested the call. Empty if the
    framework named no model.
    """
    framework: Mapping[str, Any]
    """``name``, ``version`` and ``assurance`` of the framework. Empty if the framework did not name
    itself.
    """
    trace: str
    """The traceparent of the call. If the call has none, the trace id of its session."""
    differs: tuple[str, ...] | None = None
    """The locations at which the arguments differ from those in the request for approval. None if
    they are equal or were not compared.
    """
    soon: bool = False
    """True if the call's result was released before its outcome was durable."""
    outcome: RecordedOutcome | None = None
    claims: tuple[RecordedOutcome, ...] = ()
    answers: tuple[RecordedAnswer, ...] = ()
    """If the call is a request for approval, the answers to it and its use, oldest first."""

    @property
    def admitted(self) -> bool:
        """True if the body was allowed to run."""
        return self.effect == "allow"

    @property
    def open(self) -> bool:
        """True if the call was allowed and has no recorded end."""
        return self.admitted and self.outcome is None

    @property
    def denied(self) -> bool:
        """True if the decision was a denial. A rejected call was never decided."""
        return self.effect == "deny"

    @property
    def failed(self) -> bool:
        """True if the call ran and its recorded end is an error."""
        return self.outcome is not None and self.outcome.status == "error"


def rule_hits(decision: Mapping[str, Any]) -> tuple[RuleHit, ...]:
    """Return the rules in a decision, whatever else it contains."""
    entries = decision.get("rules")
    if not isinstance(entries, list):
        return ()
    hits = []
    for entry in entries:
        rule = entry if isinstance(entry, Mapping) else {}
        needs = rule.get("needs")
        hits.append(
            RuleHit(
                rule=text(rule, "rule"),
                message=text(rule, "message"),
                effect=text(rule, "effect"),
                severity=text(rule, "severity"),
                needs=tuple(item for item in needs if isinstance(item, str))
                if isinstance(needs, list)
                else (),
                approvers=integer(rule, "approvers") or 1,
            )
        )
    return tuple(hits)


def _flag(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def _pointers(value: object) -> tuple[str, ...] | None:
    if not isinstance(value, list):
        return None
    return tuple(entry for entry in value if isinstance(entry, str))


def call_of(record: Mapping[str, Any]) -> RecordedCall:
    """Return the call that began with a ``call.decision`` or ``call.rejected`` record, without an
    outcome.
    """
    decision = obj(record, "decision")
    return RecordedCall(
        seq=integer(record, "seq") or 0,
        type=text(record, "type"),
        ts=text(record, "ts"),
        call=text(record, "call"),
        parent=text(record, "parent"),
        key=SessionKey.of(record),
        tool=text(record, "tool", "name"),
        server=text(record, "tool", "server"),
        declared=_flag(obj(record, "tool").get("declared")),
        refused=text(record, "tool", "refused"),
        args=obj(record, "input", "action", "properties").get("args"),
        removed=obj(record, "redaction", "removed"),
        truncated=obj(record, "redaction").get("truncated") is True,
        effect=text(decision, "effect"),
        cause=text(decision, "cause"),
        detail=text(decision, "detail") or text(record, "reason"),
        message=text(decision, "message"),
        rules=rule_hits(decision),
        reproducible=_flag(record.get("reproducible")),
        enforcement=text(record, "enforcement"),
        adapter=text(record, "origin", "adapter"),
        ms=number(record, "ms", "total"),
        omitted=text(record, "omitted"),
        approval=text(record, "approval", "id"),
        approvers=people_of(record),
        presented=text(record, "presented"),
        model=obj(record, "input", "context", "model"),
        framework=obj(record, "input", "context", "origin", "framework"),
        trace=text(record, "trace"),
        differs=_pointers(record.get("differs")),
        soon=record.get("outcome") == "soon",
    )


def outcome_of(record: Mapping[str, Any]) -> RecordedOutcome:
    """Return the contents of a ``call.outcome`` or ``call.claim`` record."""
    return RecordedOutcome(
        seq=integer(record, "seq") or 0,
        ts=text(record, "ts"),
        status=text(record, "status"),
        ms=number(record, "ms"),
        result=obj(record, "result"),
        error=obj(record, "error"),
        reproducible=_flag(record.get("reproducible")),
        omitted=text(record, "omitted"),
        body=text(record, "body"),
    )
