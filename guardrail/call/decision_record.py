"""Builds the decision record of a call: the recorded view of the policy input, or a bare record if
the full one can't be written.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import orjson

from guardrail.approvals.rules import Grant
from guardrail.call.asserted import (
    AssertedFacts,
    as_facts,
    as_recorded,
    as_said,
    trace_of,
)
from guardrail.call.effects import effect_key
from guardrail.call.record_checks import recorded_amounts, scan, scan_said
from guardrail.call.stages import Decided, Prepared, RecordedInput, Request
from guardrail.call.state_reading import recorded_states
from guardrail.call.suspended import obeys_of
from guardrail.core.amounts import amounts_of
from guardrail.core.claims import Claim, refuses
from guardrail.core.log import fields
from guardrail.core.log.record import Draft, dumps
from guardrail.core.policy_input import SessionInput, build, targets, tool_input
from guardrail.core.redaction.marks import normalised
from guardrail.core.redaction.redactor import Inspection, View
from guardrail.core.state_changes import decided_call
from guardrail.core.state_reads import CallDecided, ReadStates, StateText
from guardrail.core.types import Effect, Enforcement, Json, PolicyIdentity, Rule
from guardrail.identity.session import SessionState
from guardrail.tools.tool import Tool

__all__ = ["Recorder", "common_fields"]

MAX_TOOLS = 10_000
_QUOTABLE = 4


class Recorder:
    """Builds policy inputs and decision records. Thread-safe."""

    def __init__(
        self,
        *,
        profile: str,
        raw_input: bool,
        identity: Callable[[], PolicyIdentity],
        soon: bool = False,
    ) -> None:
        """If *soon* is True, results are released before their outcomes are durable."""
        self._soon = soon
        self._profile = profile
        self.raw_input = raw_input
        """True if the policy sees the arguments themselves instead of their recorded form."""
        self._identity = identity
        self._ids: set[str] = set()
        """Strings that the policy used both as an id and as a message, and that do not quote an
        argument.
        """
        self._parts: dict[
            tuple[str, str | None, str | None, bool, tuple[str, ...], str],
            tuple[dict[str, Any], dict[str, Any]],
        ] = {}

    def policy_input(
        self, request: Request, args: Json, inspection: Inspection, grant: Grant | None = None
    ) -> bytes:
        """Return the input for the engine: either with the snapshot of the arguments, or exactly as
        it will be recorded.
        """
        state, context = request.state, request.options.context
        read = None if request.states is None else request.states.sections
        if self.raw_input:
            said, classes = as_said(context), inspection.arg_classes
            return self._input(request, state.raw, args, classes, grant, said=said, states=read)
        shown, known = inspection.facts()
        said, shown = as_facts(context, state), cast("Json", shown)
        return self._input(request, state.facts(), shown, known, grant, said=said, states=read)

    def _input(
        self,
        request: Request,
        who: SessionInput,
        args: Json,
        classes: Mapping[str, Sequence[str]],
        grant: Grant | None,
        *,
        said: AssertedFacts,
        name: str | None = None,
        states: Mapping[str, StateText] | None = None,
    ) -> bytes:
        tool = request.tool
        return dumps(
            build(
                who,
                tool_name=tool.name if name is None else name,
                tool=self.tool_views(tool)[0],
                target=targets(args, tool.target),
                amounts=amounts_of(args, tool.amounts),
                args=args,
                arg_classes=classes,
                time=request.time,
                zones=request.zones,
                adapter=str(request.options.adapter),
                states=states or {},
                approval=None if grant is None else grant.context(),
                model=said.model,
                framework=said.framework,
            )
        )

    def recorded_input(self, prepared: Prepared, view: View | None) -> RecordedInput:
        """Return the recorded form of the policy input."""
        request = prepared.request
        state, context, grant = request.state, request.options.context, prepared.grant
        # Other calls of the session can make it learn of values, or free its cache, at any time.
        who = state.recorded()
        name, said = _recorded_tool_name(request), as_recorded(context, state)
        read = None if request.states is None else request.states.sections
        shown = None if read is None else recorded_states(read, state)
        making = functools.partial(
            self._input, request, who, grant=grant, said=said, name=name, states=shown
        )
        if view is None:
            document = making(args={}, classes={})
            return RecordedInput(document, said, ())
        texts = fields.strings(view.value)
        unchanged = (
            self.raw_input
            and not view.changed
            and who is state.raw
            and shown is read
            and name == request.tool.name
            and (context is None or said == as_said(context))
        )
        if unchanged and prepared.document:
            return RecordedInput(prepared.document, said, texts)
        value = cast("Json", view.value)
        document = making(args=value, classes=view.classes)
        return RecordedInput(document, said, texts)

    def full(
        self,
        decided: Decided,
        view: View | None,
        recorded: RecordedInput,
        reproducible: bool | None,
    ) -> tuple[Draft, Mapping[str, Any]]:
        """Return the decision record and its ``origin``, which the outcome record repeats.

        Raises ``UnsafeRecordError`` if the final scan finds a sensitive value, and ``RecordError``
        if the record is too large.
        """
        prepared, verdict, request = decided.prepared, decided.verdict, decided.prepared.request
        state, tool = request.state, request.tool
        # The framework's id was recorded before any argument was known.
        origin = state.origin(request.origin)
        rules = [self._rule(prepared, entry) for entry in verdict.rules]
        labels = [state.supplied(label) for label in verdict.labels]
        name, value = _recorded_tool_name(request), {} if view is None else view.value
        supplied = [*tool.labels, *labels, *(entry["rule"] for entry in rules)]
        leaves = [entry["message"] for entry in rules if entry["message"] != entry["rule"]]
        # The model can make up any name for an undeclared tool.
        (supplied if tool.declared else leaves).extend((name, tool.server or ""))
        scan(request, [*leaves, *recorded.texts], supplied)
        scan_said(request, recorded.said)
        used = _used_grant(decided)
        record = fields.decision(
            common_fields(request, "call.decision", origin),
            verdict,
            rules=rules,
            labels=labels,
            tool=self.tool_views(tool)[1] | {"name": name},
            target=targets(cast("Json", value), tool.target),
            recorded_input=orjson.Fragment(recorded.document),
            redaction=self._redaction(state, view, truncated=view is not None and view.truncated),
            commitment=self.commitment(request, prepared.encoded),
            engine=self._decided_by(decided),
            reproducible=reproducible,
            enforcement=request.enforcement,
            milliseconds=_elapsed(decided),
            omitted=_omission_reason(prepared, view),
            approval=used.used() if used is not None else None,
            presented=prepared.presented if used is None else None,
            differs=prepared.differs,
            amounts=recorded_amounts(tool, value, verdict.effect),
            effect=effect_key(prepared),
            soon=self._soon and _releases(decided),
        )
        draft = Draft.build(
            record,
            opens=verdict.effect is Effect.ALLOW,
            process=str(origin["process"]),
            approval=None if used is None else used.request.id,
            judged=None if used is None else used.tree,
            claim=_claim(decided),
            obeys=obeys_of(decided),
            reads=_reads(decided),
            change=_change(decided, record, tool.labels),
        )
        return draft, origin

    def _rule(self, prepared: Prepared, entry: Rule) -> dict[str, Any]:
        """Return the recorded form of one rule, with its id and its message.

        The session's known values are never removed from an id. If a policy uses one string for
        both id and message, the string may quote an argument, so it is treated as a message, unless
        the policy has produced it before for a call without any of these arguments.
        """
        state = prepared.request.state
        name = state.supplied(entry.rule)
        message = None if entry.rule == entry.message else state.text(entry.message)
        if message is None and entry.rule not in self._ids:
            leaves = [text for text in fields.strings(prepared.args) if len(text) >= _QUOTABLE]
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

    def rejection_record(self, request: Request, reason: str) -> Draft:
        """Return the record of a call that a framework rejected before its body ran. It contains
        the tool's name but no values.
        """
        state, tool, server = request.state, request.tool, request.tool.server
        state.recorded()
        where = state.origin(request.origin)
        named = {
            "name": _recorded_tool_name(request),
            "server": server if server is None else _recorded_name(request, server),
        }
        record = fields.rejected(
            common_fields(request, "call.rejected", where),
            tool=self.tool_views(tool)[1] | named,
            reason=reason,
        )
        return Draft.build(record, claim=state.claim)

    def bare(self, decided: Decided, reason: str) -> Draft:
        """Return a record in which every id is a token and no text comes from the user. It always
        fits, needs no scan, and never allows the call.
        """
        prepared, verdict = decided.prepared, decided.verdict
        assert verdict.effect is Effect.DENY
        request = prepared.request
        state, tool = request.state, request.tool
        origin = fields.bare_origin(request.origin)
        record = fields.decision(
            common_fields(request, "call.decision", origin, bare=True),
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
            redaction=self._redaction(state, None, truncated=True),
            commitment=self.commitment(request, prepared.encoded),
            engine=self._decided_by(decided),
            reproducible=None,
            enforcement=request.enforcement,
            milliseconds=_elapsed(decided),
            omitted=reason,
            presented=prepared.presented,
        )
        return Draft.build(
            record,
            process=str(origin["process"]),
            claim=_claim(decided),
            obeys=obeys_of(decided),
            reads=_reads(decided),
            change=_change(decided, record, ()),
        )

    def identity(self) -> dict[str, Any]:
        """Return the recorded form of the current policy's identity."""
        return fields.policy(self._identity())

    def commitment(self, request: Request, encoded: bytes | None) -> str | None:
        """Return the commitment to the session, the people, the tool, its schema and the arguments,
        or None if the arguments did not fit the schema. *encoded* is the encoded snapshot of the
        arguments.
        """
        if encoded is None:
            return None
        tool = request.tool
        digest = "" if tool.schema is None else tool.schema.digest
        rest = ((tool.server or "").encode(), tool.name.encode(), digest.encode(), encoded)
        return request.state.commitment.extended(rest).hexdigest()

    def _redaction(
        self, state: SessionState, view: View | None, *, truncated: bool
    ) -> dict[str, Any]:
        return {
            "profile": self._profile,
            "removed": {} if view is None else view.removed,
            "truncated": truncated,
            "key": state.keys.kid,
            **({"unshown": list(view.unshown)} if view is not None and view.unshown else {}),
        }

    def _decided_by(self, decided: Decided) -> dict[str, Any]:
        reply = decided.reply
        if reply is None:
            return fields.policy(self._identity())
        decided_by = fields.policy(reply.policy)
        if reply.decision_id is not None:
            decided_by["decision_id"] = reply.decision_id
        return decided_by

    def tool_views(self, tool: Tool) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the views of the tool for the policy and for the record. Repeated calls return the
        same objects.
        """
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


def common_fields(
    request: Request, type_: str, where: Mapping[str, Any], *, bare: bool = False
) -> dict[str, Any]:
    """Return the fields that every record of *request* has."""
    state = request.state
    return (state.bare if bare else state.fields).common(
        type_,
        call=request.id,
        parent=request.parent,
        where=where,
        trace=trace_of(request.options.context, state, bare=bare),
    )


def _elapsed(decided: Decided) -> dict[str, float]:
    total = (time.perf_counter() - decided.prepared.request.started) * 1000
    asked = 0.0 if decided.reply is None else decided.reply.milliseconds
    return {"decide": round(asked, 3), "total": round(total, 3)}


def _claim(decided: Decided) -> Claim | None:
    """Return the claim of ownership to check when the record is written. Return None for a call
    that is denied in another caller's session.
    """
    verdict = decided.verdict
    if refuses(verdict.cause, verdict.detail):
        return None
    return decided.prepared.request.state.claim


def _used_grant(decided: Decided) -> Grant | None:
    """Return the approval that the call consumes: only a call that it allows consumes it."""
    return decided.prepared.grant if decided.verdict.effect is Effect.ALLOW else None


def _reads(decided: Decided) -> ReadStates | None:
    """Return the states that the decision has read, or None if no policy reads any."""
    states = decided.prepared.request.states
    if states is None:
        return None
    if decided.reply is None:  # the policy did not decide
        return states.reads._replace(compared=())
    return states.reads


def _change(
    decided: Decided, record: Mapping[str, Any], labels: Sequence[str]
) -> CallDecided | None:
    """Return the change that *record* makes to the states of the caller, or None if no policy reads
    any. *labels* are those of the tool in the recorded input.
    """
    return None if decided.prepared.request.states is None else decided_call(record, labels)


def _releases(decided: Decided) -> bool:
    """Return True if guardrail runs the body of the call and releases its result."""
    body = decided.prepared.request.enforcement is Enforcement.BODY
    return body and decided.verdict.effect is Effect.ALLOW


def _omission_reason(prepared: Prepared, view: View | None) -> str | None:
    if view is not None:
        return None
    return prepared.omitted or (None if prepared.encoded is not None else "arguments")


def _recorded_tool_name(request: Request) -> str:
    return _recorded_name(request, request.tool.name)


def _recorded_name(request: Request, text: str) -> str:
    """Return the recorded name of a tool or server. Names declared by the program and names chosen
    by a model are treated differently.
    """
    state = request.state
    return state.supplied(text) if request.tool.declared else state.text(text)
