"""Records for tests of the reading side, built with the real record code; kept in memory or written
out as a log.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import HealthCheck, settings

from guardrail.core.log import fields
from guardrail.core.log.record import GENESIS_PREV, Draft, decode, leaf_hash
from guardrail.core.types import (
    Agent,
    Cause,
    Decision,
    Effect,
    Enforcement,
    Principal,
    Session,
    Status,
)
from guardrail.keys.log_key import Keys
from guardrail.system.ids import new_ulid

KEYS = Keys.ephemeral(b"the seed of the keys of tests...")
SIGNING = KEYS.signing(
    actor={"id": "tester", "assurance": "asserted", "method": "os_user"}, epochs=False
)
LOG = "test-host/audit.db"
START = datetime(2026, 11, 24, 9, 0, 0, tzinfo=UTC)
POLICY = {
    "engine": "regorus",
    "version": "0.13.0",
    "digest": "ab" * 32,
    "revision": None,
    "data": None,
}
WHERE = {
    "host": "web-1",
    "pid": 4711,
    "process": "P" * 26,
    "adapter": "python",
    "address": None,
    "call_id": None,
}
SECRET_MARK = "gr1:secret:-:" + "q" * 24
TOKEN = "gr1:payment:k1:" + "x7k2q9" + "a" * 18


def genesis(public: str = KEYS.public) -> dict[str, Any]:
    """Fields of a line 0."""
    return fields.genesis(
        nonce="0" * 32, public_key=public, config_digest="2" * 64, predecessor=None
    )


def call_fields(
    principal: str = "alice@example.com",
    agent: str = "support-bot",
    session: str = "S-1",
    tenant: str = "acme",
):
    """Common fields of a session."""
    return fields.call_fields(
        LOG,
        Session(
            id=session, tenant=tenant, principal=Principal(id=principal), agent=Agent(id=agent)
        ),
        principal_id=principal,
        principal_form="clear",
        agent_id=agent,
        delegation=[],
        session_id=session,
    )


def decision(
    tool: str = "send_email",
    args: object = None,
    *,
    effect: Effect = Effect.ALLOW,
    cause: Cause = Cause.POLICY,
    detail: str = "",
    rules: list[dict[str, Any]] | None = None,
    removed: dict[str, list[str]] | None = None,
    truncated: bool = False,
    reproducible: bool | None = True,
    omitted: str | None = None,
    call: str | None = None,
    declared: bool = True,
    **who: str,
) -> dict[str, Any]:
    """Fields of one decision record; by default an allowed call with one rule."""
    common = call_fields(**who).common(
        "call.decision", call=call or new_ulid(), parent=None, where=WHERE
    )
    if rules is None:
        rules = (
            [rule("r-" + effect.value, f"because of {effect.value}", effect)]
            if cause is Cause.POLICY
            else []
        )
    recorded = {
        "action": {
            "name": "tools/call",
            "properties": {"args": args if args is not None else {}, "arg_classes": {}},
        }
    }
    return fields.decision(
        common,
        Decision(effect, cause, detail),
        rules=rules,
        labels=[],
        tool={"name": tool, "server": None, "schema": None, "declared": declared},
        target=[],
        recorded_input=None if omitted else recorded,
        redaction={
            "profile": "standard/1",
            "removed": removed or {},
            "truncated": truncated,
            "key": "k1",
        },
        commitment="c" * 64,
        engine=POLICY if cause is Cause.POLICY else None,
        reproducible=reproducible,
        enforcement=Enforcement.BODY,
        milliseconds={"decide": 0.4, "total": 1.2},
        omitted=omitted,
    )


def rule(name: str, message: str, effect: Effect, **more: Any) -> dict[str, Any]:
    """One rule as recorded."""
    return {
        "rule": name,
        "message": message,
        "severity": "info",
        "effect": effect.value,
        "needs": [],
        "approvers": 1,
        **more,
    }


def outcome(
    of: dict[str, Any],
    seq: int,
    status: Status = Status.OK,
    *,
    error: dict[str, str] | None = None,
    ms: float | None = 12.5,
    reproducible: bool | None = None,
) -> dict[str, Any]:
    """Fields of the outcome of decision *of*, which is record *seq*."""
    names = (
        "v",
        "log",
        "call",
        "parent",
        "session",
        "tenant",
        "principal",
        "agent",
        "delegation",
        "origin",
        "trace",
    )
    common = {name: of[name] for name in names} | {"type": "call.outcome"}
    return fields.outcome(
        common,
        status,
        decision_seq=seq,
        result={"type": "str", "bytes": 12, "token": TOKEN, "items": None},
        error=error,
        reproducible=reproducible,
        milliseconds=ms,
        omitted=None,
    )


def rejected(
    tool: str = "no_such_tool", reason: str = "unknown_tool", **who: str
) -> dict[str, Any]:
    """Fields of a call that the framework refused."""
    common = call_fields(**who).common("call.rejected", call=new_ulid(), parent=None, where=WHERE)
    return fields.rejected(
        common,
        tool={"name": tool, "server": None, "schema": None, "declared": False},
        reason=reason,
    )


@dataclass
class MemoryRecords:
    """A log in memory that chains what is added to it."""

    rows: list[bytes] = field(default_factory=list)
    log: str = LOG

    def __post_init__(self) -> None:
        if not self.rows:
            self.add({"v": 1, "log": LOG, "type": "genesis", **genesis()})

    def add(self, record: dict[str, Any], *, after: float = 0.5) -> int:
        """Append *record* half a second later; return its seq."""
        seq = len(self.rows)
        prev = leaf_hash(self.rows[-1]).hex() if self.rows else GENESIS_PREV
        ts = (START + timedelta(seconds=after * seq)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        self.rows.append(Draft.build(record).finish(seq=seq, prev=prev, ts=ts))
        return seq

    def call(
        self,
        *args: Any,
        status: Status | None = Status.OK,
        error: dict[str, str] | None = None,
        **more: Any,
    ) -> int:
        """Append a decision and, where it is allowed and *status* is given, its outcome; return the
        decision's seq.
        """
        made = decision(*args, **more)
        seq = self.add(made)
        if made["decision"]["effect"] == "allow" and status is not None:
            self.add(outcome(made, seq, status, error=error))
        return seq

    def size(self) -> int:
        """How many records."""
        return len(self.rows)

    def first(self) -> int:
        """The number behind line 0."""
        return 1

    def admin(self, type_: str) -> list[tuple[int, bytes]]:
        """Records of one type."""
        found = [(seq, decode(line)["type"], line) for seq, line in enumerate(self.rows)]
        return [(seq, line) for seq, kind, line in found if kind == type_]

    def approval(self, approval: str) -> list[bytes]:
        """A request and its steps."""
        steps = []
        for line in self.rows:
            step = decode(line).get("approval")
            if isinstance(step, dict) and step.get("id") == approval:
                steps.append((step["ordinal"], line))
        requests = [
            line for line in self.by_call(approval) if decode(line)["type"] == "call.decision"
        ]
        return requests[:1] + [line for _, line in sorted(steps)]

    def record(self, seq: int) -> bytes | None:
        """One line."""
        return self.rows[seq] if 0 <= seq < len(self.rows) else None

    def lines(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, bytes, bytes]]:
        """Lines with their leaves."""
        for seq, line in enumerate(self.rows[start:stop], start):
            yield seq, leaf_hash(line), line

    def by_call(self, call: str) -> Iterator[bytes]:
        """Lines of one call."""
        return (line for line in self.rows if decode(line).get("call") == call)

    def calls(self, session: str) -> Iterator[bytes]:
        """Decisions and rejections of one session id."""
        for line in self.rows:
            record = decode(line)
            if record.get("session") == session and record["type"] in {
                "call.decision",
                "call.rejected",
            }:
                yield line

    def find_calls(self, prefix: str, limit: int = 20) -> list[str]:
        """Call ids that begin so."""
        return self._find("call", prefix)[:limit]

    def find_sessions(self, prefix: str, limit: int = 20) -> list[str]:
        """Session ids that begin so."""
        return self._find("session", prefix)[:limit]

    def _find(self, name: str, prefix: str) -> list[str]:
        found = {decode(line).get(name) for line in self.rows if b'"type":"call.' in line}
        return sorted(
            value for value in found if isinstance(value, str) and value.startswith(prefix)
        )


STEADY = settings(deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
"""For property tests on a machine that does other things too."""
