"""Build the decision record of a call: the recorded view of the policy input, or the bare form if
that can't be written.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import orjson

from guardrail.approvals.rules import Grant, Request
from guardrail.core.claims import Claim, refuses
from guardrail.core.log import fields
from guardrail.core.log.record import Draft, dumps
from guardrail.core.policy_input import SessionInput, build, targets, tool_input
from guardrail.core.redaction.marks import normalised
from guardrail.core.redaction.redactor import Inspection, View
from guardrail.core.schema.snapshot import copy_json
from guardrail.core.types import (
    Decision,
    Effect,
    Enforcement,
    EngineReply,
    Json,
    PolicyIdentity,
    Rule,
)
from guardrail.errors import ArgumentsError, RedactionError
from guardrail.identity.session import SessionState
from guardrail.system.cpu_meter import OVER_BUDGET, Meter
from guardrail.tools.tool import Tool

if TYPE_CHECKING:
    from guardrail.policy.engine import Engine

__all__ = ["Call", "Recorder", "UnsafeRecordError", "outline"]

MAX_TOOLS = 10_000
_QUOTABLE = 4


class UnsafeRecordError(Exception):
    """The finished record still holds a sensitive value. ``reason`` is the value of ``omitted``."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(slots=True, eq=False)
class Call:
    """One call on its way through steps (1) to (7)."""

    id: str
    tool: Tool
    state: SessionState
    origin: Mapping[str, Any]
    parent: str | None
    enforcement: Enforcement
    started: float
    time: str
    arguments: Mapping[str, Any]
    """The arguments of the body."""
    beside: frozenset[str] = frozenset()
    """Names of the injected arguments."""
    encoded: bytes | None = None
    """Canonical bytes of the snapshot, or None if the arguments did not fit."""
    args: Json = None
    presented: str | None = None
    """Id of the approval that came with it."""
    replayed: bool = False
    """The framework reruns the call from its start after a pause, so an open request for it is not
    recorded twice.
    """
    grant: Grant | None = None
    """The grant of that approval, once it was judged."""
    asked: Request | None = None
    """The request of an approval that does not cover this call."""
    differs: tuple[str, ...] | None = None
    """Where the arguments differ from that request's, if they do."""
    refusal: Callable[[], str] = lambda: ""
    """Returns why the caller's identity is not enough now (a detail of cause ``identity``); empty
    if it is.
    """
    meter: Meter = field(default_factory=Meter)
    """Total cost allowed for its views."""
    omitted: str | None = None
    """Why none of its arguments are recorded, if redacting them would cost too much."""
    misnamed: str = ""
    """Text for the agent about names of arguments that do not fit, after the verdict's message.
    Never recorded.
    """
    inspection: Inspection | None = None
    raw: bytes = b""
    """The policy input as sent to the engine."""
    engine: Engine | None = None
    """The engine that was asked."""
    reply: EngineReply | None = None

    def over_budget(self) -> None:
        """Mark it as recorded without its arguments.

        The rest of the record (who called which tool) costs little, so it gets a new meter.
        """
        self.omitted, self.inspection, self.meter = OVER_BUDGET, None, Meter()


class Recorder:
    """Makes policy inputs and decision records. Thread-safe."""

    def __init__(
        self,
        *,
        profile: str,
        raw_input: bool,
        identity: Callable[[], PolicyIdentity],
        process: Callable[[], str],
    ) -> None:
        self._profile = profile
        self.raw_input = raw_input
        """True if the policy sees the arguments themselves, not their recorded form."""
        self._identity = identity
        self._process = process
        self._ids: set[str] = set()
        """Strings that the policy used both as id and as message, and that quote no argument."""
        self._parts: dict[
            tuple[str, str | None, str | None, bool, tuple[str, ...], str],
            tuple[dict[str, Any], dict[str, Any]],
        ] = {}

    def policy_input(self, call: Call) -> bytes:
        """Return the input for the engine: with the snapshot, or exactly as it will be recorded."""
        assert call.inspection is not None
        if self.raw_input:
            return self._input(call, call.state.raw, call.args, call.inspection.arg_classes)
        args, classes = call.inspection.facts()
        return self._input(call, call.state.facts(), cast("Json", args), classes)

    def _input(
        self,
        call: Call,
        who: SessionInput,
        args: Json,
        classes: Mapping[str, Sequence[str]],
        name: str | None = None,
    ) -> bytes:
        tool = call.tool
        return dumps(
            build(
                who,
                tool_name=tool.name if name is None else name,
                tool=self.tool_parts(tool)[0],
                target=targets(args, tool.target),
                args=args,
                arg_classes=classes,
                time=call.time,
                adapter=str(call.origin["adapter"]),
                approval=None if call.grant is None else call.grant.context(),
            )
        )

    def recorded_input(self, call: Call, view: View | None) -> bytes:
        """Return the input as recorded."""
        call.state.refresh()
        state, name = call.state, _name(call)
        if view is None:
            return self._input(call, state.recorded, {}, {}, name)
        unchanged = (
            self.raw_input
            and not view.changed
            and state.recorded is state.raw
            and name == call.tool.name
        )
        if unchanged and call.raw:
            return call.raw
        return self._input(call, state.recorded, cast("Json", view.value), view.classes, name)

    def full(
        self,
        call: Call,
        verdict: Decision,
        view: View | None,
        recorded: bytes,
        reproducible: bool | None,
    ) -> Draft:
        """Return the decision record. Raises ``UnsafeRecordError`` if the final scan finds a
        sensitive value, and ``RecordError`` if it is too large.
        """
        state = call.state
        # The framework's id was set before any argument was known. The outcome repeats this form.
        call.origin = state.origin(call.origin)
        rules = [self._rule(call, entry) for entry in verdict.rules]
        labels = [state.supplied(label) for label in verdict.labels]
        name = _name(call)
        value = {} if view is None else view.value
        told = [*call.tool.labels, *labels, *(entry["rule"] for entry in rules)]
        leaves = [entry["message"] for entry in rules if entry["message"] != entry["rule"]]
        # The name of an undeclared tool can be anything that the model made up.
        (told if call.tool.declared else leaves).extend((name, call.tool.server or ""))
        _scan(call, [*leaves, *fields.strings(value)], told)
        # An approval is used up only by the call that it allowed.
        used = call.grant if verdict.effect is Effect.ALLOW else None
        record = fields.decision(
            state.fields.common(
                "call.decision", call=call.id, parent=call.parent, where=call.origin
            ),
            verdict,
            rules=rules,
            labels=labels,
            tool=self.tool_parts(call.tool)[1] | {"name": name},
            target=targets(cast("Json", value), call.tool.target),
            recorded_input=orjson.Fragment(recorded),
            redaction={
                "profile": self._profile,
                "removed": {} if view is None else view.removed,
                "truncated": False if view is None else view.truncated,
                "key": state.keys.kid,
            },
            commitment=self.commitment(call),
            engine=self._decided_by(call),
            reproducible=reproducible,
            enforcement=call.enforcement,
            milliseconds=self._elapsed(call),
            omitted=_omitted(call, view),
            approval=used.used() if used is not None else None,
            presented=call.presented if used is None else None,
            differs=call.differs,
        )
        return Draft.build(
            record,
            opens=verdict.effect is Effect.ALLOW,
            process=self._process(),
            approval=None if used is None else used.request.id,
            judged=None if used is None else used.tree,
            claim=_claim(call, verdict),
        )

    def _rule(self, call: Call, entry: Rule) -> dict[str, Any]:
        """Return one rule with its id and its message as recorded.

        The session's known values are never removed from an id. If a policy used one string for
        both, it may quote an argument, so it counts as a message. It counts as an id if it was once
        produced without any of the arguments.
        """
        state, name = call.state, call.state.supplied(entry.rule)
        message = None if entry.rule == entry.message else state.text(entry.message)
        if message is None and entry.rule not in self._ids:
            leaves = [text for text in fields.strings(call.args) if len(text) >= _QUOTABLE]
            if any(text in entry.rule for text in leaves):
                known = [] if name != entry.rule else state.memory.find(normalised(entry.rule))
                if any(hit.value in normalised(text) for hit in known for text in leaves):
                    name = state.text(entry.rule)
            elif len(self._ids) < MAX_TOOLS:
                self._ids.add(entry.rule)
        return fields.rule(entry, name if message is None else message) | {
            "rule": name,
            "severity": state.supplied(entry.severity),
            "needs": [state.supplied(need) for need in entry.needs],
        }

    def rejected(self, call: Call, reason: str) -> Draft:
        """Return the record of a call that a framework refused before its body: the tool, but no
        values.
        """
        state = call.state
        state.refresh()
        where = state.origin(call.origin)
        server = call.tool.server
        named = {
            "name": _name(call),
            "server": server if server is None else _shown(call, server),
        }
        record = fields.rejected(
            state.fields.common("call.rejected", call=call.id, parent=call.parent, where=where),
            tool=self.tool_parts(call.tool)[1] | named,
            reason=reason,
        )
        return Draft.build(record, claim=state.claim)

    def bare(self, call: Call, verdict: Decision, reason: str) -> Draft:
        """Return the record with every id as a token and no user text. It always fits, is never
        scanned, and never allows.
        """
        assert verdict.effect is Effect.DENY
        state, tool = call.state, call.tool
        origin = {**call.origin, "call_id": None}
        record = fields.decision(
            state.bare.common("call.decision", call=call.id, parent=call.parent, where=origin),
            verdict,
            rules=[],
            labels=[],
            tool={
                "name": state.keys.token("tool", tool.name),
                "server": None if tool.server is None else state.keys.token("server", tool.server),
                "schema": None if tool.schema is None else tool.schema.digest,
                "declared": tool.declared,
            },
            target=[],
            recorded_input=None,
            redaction={
                "profile": self._profile,
                "removed": {},
                "truncated": True,
                "key": state.keys.kid,
            },
            commitment=self.commitment(call),
            engine=self._decided_by(call),
            reproducible=None,
            enforcement=call.enforcement,
            milliseconds=self._elapsed(call),
            omitted=reason,
            presented=call.presented,
        )
        return Draft.build(record, process=self._process(), claim=_claim(call, verdict))

    def identity(self) -> dict[str, Any]:
        """Return the identity of the policy that decides calls now, as recorded."""
        return fields.policy(self._identity())

    def commitment(self, call: Call) -> str | None:
        """Return the commitment to session, people, tool, schema and arguments, or None if the
        arguments did not fit.
        """
        if call.encoded is None:
            return None
        tool = call.tool
        digest = "" if tool.schema is None else tool.schema.digest
        rest = ((tool.server or "").encode(), tool.name.encode(), digest.encode(), call.encoded)
        return call.state.commitment.extended(rest).hexdigest()

    def _decided_by(self, call: Call) -> dict[str, Any]:
        if call.reply is None:
            return fields.policy(self._identity())
        decided_by = fields.policy(call.reply.policy)
        if call.reply.decision_id is not None:
            decided_by["decision_id"] = call.reply.decision_id
        return decided_by

    def _elapsed(self, call: Call) -> dict[str, float]:
        total = (time.perf_counter() - call.started) * 1000
        asked = 0.0 if call.reply is None else call.reply.milliseconds
        return {"decide": round(asked, 3), "total": round(total, 3)}

    def tool_parts(self, tool: Tool) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the tool's policy view and its recorded view, the same objects each time."""
        digest = None if tool.schema is None else tool.schema.digest
        key = (tool.name, tool.server, digest, tool.declared, tool.labels, tool.refused)
        found = self._parts.get(key)
        if found is None:
            found = (
                tool_input(
                    declared=tool.declared,
                    server=tool.server,
                    schema_digest=digest,
                    labels=tool.labels,
                ),
                {
                    "name": tool.name,
                    "server": tool.server,
                    "schema": digest,
                    "declared": tool.declared,
                    **({"refused": tool.refused} if tool.refused else {}),
                },
            )
            if len(self._parts) < MAX_TOOLS:
                self._parts[key] = found
        return found


def _claim(call: Call, verdict: Decision) -> Claim | None:
    """Return the claim that the record is checked against; a denial in somebody else's session
    claims nothing.
    """
    return None if refuses(verdict.cause, verdict.detail) else call.state.claim


def _omitted(call: Call, view: View | None) -> str | None:
    if view is not None:
        return None
    return call.omitted or (None if call.encoded is not None else "arguments")


def _name(call: Call) -> str:
    return _shown(call, call.tool.name)


def _shown(call: Call, text: str) -> str:
    """Return the recorded name of a tool or server: names that the host declared are treated
    differently from a model's.
    """
    return call.state.supplied(text) if call.tool.declared else call.state.text(text)


def outline(call: Call, args: object, why: str) -> Inspection | None:
    """Return the minimal view (keys, types, lengths, tokens) of *args*, or None if they are not
    JSON.

    *why* is the class that it names for a declared tool: ``unfit`` or ``undecided``.
    """
    state = call.state
    try:
        copied = copy_json(args)
        if not isinstance(copied, dict):
            return None
        return state.redactor.inspect(
            copied,
            schema=None,
            declared=False,
            memory=state.memory,
            minimal=why if call.tool.declared else "undeclared",
        )
    except ArgumentsError:
        return None
    except RedactionError as error:
        if error.code == OVER_BUDGET:
            call.over_budget()
        return None


def _scan(call: Call, texts: list[str], supplied: list[str]) -> None:
    """Raise ``UnsafeRecordError`` if the finished record of *call* holds a sensitive value."""
    state, schema = call.state, call.tool.schema
    hit = state.redactor.gate(
        texts,
        state.memory,
        supplied=supplied,
        schema=None if schema is None else schema.schema,
    )
    if hit is not None:
        raise UnsafeRecordError(f"gate:{hit}")
