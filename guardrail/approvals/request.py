"""Represents an approval request with all of its recorded answers, and the view that approvers see.
Performs no I/O.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from guardrail.approvals.kinds import StepKind
from guardrail.core.log.record import MALFORMED, decode, leaf_hash
from guardrail.core.redaction.marks import MARK_PREFIX, is_mark_key
from guardrail.core.types import Assurance, Effect, Json
from guardrail.errors import RecordError

__all__ = [
    "ApprovalCase",
    "ApprovalRequest",
    "ApprovalStep",
    "Approver",
    "AskedRule",
    "StepKind",
    "case_of",
    "is_approval_id",
]

_DIGITS = 10
"""An index with this many digits is beyond the end of any recorded list."""
_ULID = frozenset("0123456789ABCDEFGHJKMNPQRSTVWXYZ")


@dataclass(frozen=True, slots=True)
class Approver:
    """A person who answers a request."""

    id: str
    assurance: Assurance = Assurance.ASSERTED
    method: str = "os_user"
    issuer: str | None = None
    """The issuer of the token with which the person answers, or None without a token."""

    def document(self) -> dict[str, Json]:
        """Return the approver's recorded form."""
        found: dict[str, Json] = {
            "id": self.id,
            "assurance": str(self.assurance),
            "method": self.method,
        }
        return found if self.issuer is None else {**found, "issuer": self.issuer}


@dataclass(frozen=True, slots=True)
class AskedRule:
    """A policy rule that requires approval."""

    rule: str
    message: str
    needs: tuple[str, ...] = ()
    approvers: int = 1
    severity: str = "info"


@dataclass(frozen=True, slots=True)
class ApprovalRequest:
    """The request for a person's approval of a call, as recorded."""

    id: str
    seq: int
    leaf: str
    """Leaf hash of the record. An answer repeats the hash, so that the answer can't apply to a
    different request.
    """
    asked: datetime
    session: str
    tenant: str
    principal: Mapping[str, Any]
    agent: Mapping[str, Any]
    delegation: Sequence[Mapping[str, Any]]
    tool: Mapping[str, Any]
    origin: Mapping[str, Any]
    commitment: str
    """Binds the request to the session, the people, the tool, the schema and every byte of the
    arguments (docs/record-format.md section 5).
    """
    rules: tuple[AskedRule, ...]
    args: Json
    removed: Mapping[str, Sequence[str]]
    truncated: bool
    classes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Removals in the recorded arguments, by pointer."""
    policy: Mapping[str, Any] = field(default_factory=dict)
    """Identity of the policy that required approval."""

    @property
    def needed(self) -> int:
        """Number of people who must approve."""
        return max((rule.approvers for rule in self.rules), default=1)

    @property
    def hidden_needs(self) -> tuple[str, ...]:
        """Locations of the values that a rule requires the approver to see, but that the recorded
        view hides.
        """
        wanted = sorted({need for rule in self.rules for need in rule.needs})
        return tuple(need for need in wanted if not self.shows(need))

    def shows(self, need: str) -> bool:
        """Return True if the recorded view shows the value at the pointer *need*, or if the call
        has no value there.
        """
        if need and not need.startswith("/"):
            return False
        path = need.split("/")
        if any(_touches(pointer.split("/"), path) for pointer in self.removed):
            return False
        return not self.truncated or _is_shown_whole(self.args, path[1:])


@dataclass(frozen=True, slots=True)
class ApprovalStep:
    """An answer to a request, or the use of an approval by a call."""

    kind: StepKind
    seq: int
    ordinal: int
    at: datetime
    approver: Approver | None = None
    """The person who answered, or None if the step is a use."""
    expires: datetime | None = None
    leaf: str = ""
    """Leaf hash of the answered request."""
    approvers: tuple[Approver, ...] = ()
    """For a use, the approvers recorded with the allowed call."""


@dataclass(frozen=True, slots=True)
class ApprovalCase:
    """A request with all of its recorded steps."""

    request: ApprovalRequest
    steps: tuple[ApprovalStep, ...]
    newest: datetime
    """Timestamp of the newest record in the log."""
    tree: tuple[int, bytes] | None = None
    """Size and tree of the log for which the steps were proved to be complete, or None if nothing
    was proved.
    """

    @property
    def next_ordinal(self) -> int:
        """The ordinal of the next step."""
        return max((step.ordinal for step in self.steps), default=-1) + 1

    def has(self, kind: StepKind) -> bool:
        """Return True if a step of this kind is recorded."""
        return any(step.kind is kind for step in self.steps)


# -- from records ----------------------------------------------------------------------------------


def is_approval_id(value: object) -> bool:
    """Return True if *value* has the form of an approval id, which is the form of a call id."""
    return isinstance(value, str) and len(value) == 26 and _ULID.issuperset(value)


def case_of(lines: Sequence[bytes], newest: bytes | None) -> ApprovalCase | None:
    """Parse *lines*: the request, followed by its steps. *newest* is the last line of the log.

    Return None if the first line is not a request or if any line can't be parsed: omitting an
    unreadable refusal would approve the call.
    """
    if not lines or newest is None:
        return None
    try:
        request = _request(lines[0])
        if request is None:
            return None
        steps = tuple(_step(decode(line)) for line in lines[1:])
        return ApprovalCase(request, steps, _parse_time(decode(newest)["ts"]))
    except (*MALFORMED, RecordError):
        return None


def _request(line: bytes) -> ApprovalRequest | None:
    record = decode(line)
    decision = record["decision"]
    # In a bare record, or in a record whose arguments did not fit, there is nothing for a person to
    # judge.
    if decision["effect"] != str(Effect.REQUIRE_APPROVAL) or record["input"] is None:
        return None
    if not record["commitment"]:
        return None
    rules = tuple(
        AskedRule(
            entry["rule"],
            entry["message"],
            tuple(map(_text, entry["needs"])),
            int(entry["approvers"]),
            str(entry["severity"]),
        )
        for entry in decision["rules"]
        if entry["effect"] == str(Effect.REQUIRE_APPROVAL)
    )
    redaction, called = record["redaction"], record["input"]["action"]["properties"]
    return ApprovalRequest(
        id=record["call"],
        seq=record["seq"],
        leaf=leaf_hash(line).hex(),
        asked=_parse_time(record["ts"]),
        session=record["session"],
        tenant=record["tenant"],
        principal=record["principal"],
        agent=record["agent"],
        delegation=record["delegation"],
        tool=record["tool"],
        origin=record["origin"],
        commitment=record["commitment"],
        rules=rules,
        args=called["args"],
        removed=dict(redaction["removed"]),
        truncated=redaction["truncated"] is not False,
        classes=called["arg_classes"],
        policy=record["policy"] or {},
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _step(record: Mapping[str, Any]) -> ApprovalStep:
    approval = record["approval"]
    at = _parse_time(record["ts"])
    if record["type"] == "call.decision":
        people = _approvers(approval.get("approvers"))
        return ApprovalStep(StepKind.USED, record["seq"], approval["ordinal"], at, approvers=people)
    kind = StepKind(record["type"].removeprefix("approval."))
    who = record["approver"]
    return ApprovalStep(
        kind=kind,
        seq=record["seq"],
        ordinal=approval["ordinal"],
        at=at,
        approver=Approver(who["id"], Assurance(who["assurance"]), who["method"], who.get("issuer")),
        expires=_parse_time(record["expires"]) if kind is StepKind.GRANTED else None,
        leaf=record["request"]["leaf"],
    )


def _approvers(people: object) -> tuple[Approver, ...]:
    """Return the people in the list. Entries that can't be parsed are omitted, because the list is
    only displayed.
    """
    found = []
    for who in people if isinstance(people, list) else ():
        try:
            issuer = None if who.get("issuer") is None else str(who["issuer"])
            assurance, method = Assurance(who["assurance"]), str(who["method"])
            found.append(Approver(str(who["id"]), assurance, method, issuer))
        except MALFORMED:
            continue
    return tuple(found)


def _parse_time(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


# -- the approver's view --------------------------------------------------------------------------


def _touches(removed: Sequence[str], wanted: Sequence[str]) -> bool:
    """Return True if a removed value is at, above or below the wanted location, or may be there
    under a different name.
    """
    shorter = min(len(removed), len(wanted))
    for index in range(shorter):
        one, other = removed[index], wanted[index]
        if one == other or "*" in (one, other):
            continue
        # A sensitive key is recorded as a mark, which may stand for any key of that object.
        return is_mark_key(one)
    return True


def _is_shown_whole(args: Json, path: Sequence[str]) -> bool:
    """Return True if a view that shortens values shows the complete value at *path*.

    A text, an object or a list is shortened to an object, never to another text or list.
    """
    value: Json = args
    for part in path:
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict) and name in value:
            value = value[name]
        elif (
            isinstance(value, list)
            and name.isascii()
            and name.isdigit()
            and len(name) < _DIGITS
            and int(name) < len(value)
        ):
            value = value[int(name)]
        else:
            return False
    return _is_complete(value)


def _is_complete(value: Json) -> bool:
    if isinstance(value, dict):
        return "$t" not in value and all(
            not is_mark_key(name) and _is_complete(member) for name, member in value.items()
        )
    if isinstance(value, list):
        return all(map(_is_complete, value))
    # A JSON string can contain a token, or an object in the place of a value.
    return not isinstance(value, str) or (MARK_PREFIX not in value and "$t" not in value)
