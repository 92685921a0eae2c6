"""The policy's input document: AuthZEN 1.0, with every documented key present.

It is built at most twice per call: from the snapshot for the engine, and from the recorded view for
the record.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import cast

from guardrail.core.decision import CONTRACT
from guardrail.core.hidden import hidden
from guardrail.core.log.record import JsonText, dumps
from guardrail.core.state_reads import SESSION, StateText
from guardrail.core.types import Assurance, Json, JsonObject, Session

__all__ = [
    "SessionInput",
    "build",
    "framework_input",
    "model_input",
    "resolve",
    "session_input",
    "targets",
    "tool_input",
]

_NO_ZONES: Mapping[str, int] = MappingProxyType({})
_NO_STATES: Mapping[str, StateText] = MappingProxyType({})


@hidden
@dataclass(frozen=True, slots=True)
class SessionInput:
    """The part of the policy input that all calls of one session share.

    It is shared between inputs and never mutated.
    """

    subject: JsonObject
    agent: JsonObject
    delegation: list[Json]
    session: JsonObject


def session_input(
    session: Session,
    *,
    principal_id: str,
    agent_id: str,
    attributes: Mapping[str, Json],
    delegation: Sequence[Mapping[str, Json]],
) -> SessionInput:
    """Return the parts of the policy input that are constant for *session*. The ids and attributes
    passed are either raw or in their recorded form. The agent's charter is a token or a digest.
    """
    principal, agent = session.principal, session.agent
    return SessionInput(
        subject={
            "type": principal.type,
            "id": principal_id,
            # Values from the program never override guardrail's own values about the identity.
            "properties": {
                **attributes,
                "assurance": str(principal.assurance),
                "authenticated_at": principal.authenticated_at,
                "issuer": principal.issuer,
                "method": principal.method,
                "roles": list(principal.roles),
                "tenant": session.tenant,
            },
        },
        agent={
            "id": agent_id,
            "version": agent.version,
            "framework": agent.framework,
            "instance": agent.instance,
            "charter": agent.charter,
            "assurance": str(agent.assurance),
            "method": agent.method,
            "issuer": agent.issuer,
        },
        delegation=[dict(step) for step in delegation],
        session={"id": session.id},
    )


def tool_input(
    *, declared: bool, server: str | None, schema_digest: str | None, labels: Sequence[str]
) -> JsonObject:
    """Return ``resource.properties`` without ``target`` and ``amounts``; it is constant for a
    tool.
    """
    return {
        "declared": declared,
        "server": server,
        "schema_digest": schema_digest,
        "labels": list(labels),
    }


def model_input(name: str | None, response: str | None) -> JsonObject | None:
    """Return ``context.model`` as a framework asserts it, or None if the framework asserts
    nothing.
    """
    if name is None and response is None:
        return None
    return {"name": name, "response": response, "assurance": str(Assurance.ASSERTED)}


def framework_input(name: str | None, version: str | None) -> JsonObject | None:
    """Return ``context.origin.framework`` as the framework asserts it, or None if it asserts
    nothing.
    """
    if name is None and version is None:
        return None
    return {"name": name, "version": version, "assurance": str(Assurance.ASSERTED)}


def build(
    session: SessionInput,
    *,
    tool_name: str,
    tool: JsonObject,
    target: list[Json],
    amounts: JsonObject,
    args: Json,
    arg_classes: Mapping[str, Sequence[str]],
    time: str,
    adapter: str,
    approval: JsonObject | None = None,
    model: JsonObject | None = None,
    framework: JsonObject | None = None,
    action: str = "tools/call",
    zones: Mapping[str, int] = _NO_ZONES,
    states: Mapping[str, StateText] = _NO_STATES,
) -> JsonObject:
    """Return the whole input document, for ``dumps``. *time* is RFC 3339 UTC; *model* and
    *framework* come from ``model_input`` and ``framework_input``. *zones* maps the names of time
    zones to the seconds by which they are ahead of UTC at *time*. *states* holds the states that
    the policy reads, by the name of their section (``core.session_state``).
    """
    document: JsonObject = {
        "subject": session.subject,
        "action": {
            "name": action,
            "properties": {
                "args": args,
                "arg_classes": {key: list(value) for key, value in arg_classes.items()},
            },
        },
        "resource": {
            "type": "tool",
            "id": tool_name,
            "properties": {**tool, "target": target, "amounts": amounts},
        },
        "context": {
            "agent": session.agent,
            "delegation": session.delegation,
            "session": session.session,
            "time": time,
            "zones": dict(zones),
            "model": model,
            "approval": approval,
            "origin": {"adapter": adapter, "framework": framework},
            "contract": CONTRACT,
        },
    }
    if states:
        context = cast("dict[str, object]", document["context"])
        for name, state in states.items():
            text = state.json_of(dumps(session.session["id"])) if name == SESSION else state.json
            context[name] = JsonText(text)
    return document


def resolve(document: Json, pointer: str) -> Json:
    """Return the value at an RFC 6901 *pointer*, or None if there is none."""
    value = document
    for part in pointer.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict):
            if name not in value:
                return None
            value = value[name]
        elif isinstance(value, list):
            if not name.isascii() or not name.isdigit() or int(name) >= len(value):
                return None
            value = value[int(name)]
        else:
            return None
    return value


def targets(args: Json, pointers: Sequence[str]) -> list[Json]:
    """Return the values at *pointers*, in that order."""
    return [resolve(args, pointer) for pointer in pointers]
