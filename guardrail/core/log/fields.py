"""Builds the fields of each record type (docs/record-format.md) from the values of a call. Pure:
ids and times are parameters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from guardrail.core.log.record import FORMAT_VERSION
from guardrail.core.types import (
    Decision,
    Enforcement,
    PolicyIdentity,
    Rule,
    Session,
    Status,
)

__all__ = [
    "CallFields",
    "admin",
    "call_fields",
    "claim",
    "decision",
    "genesis",
    "origin",
    "outcome",
    "policy",
    "rejected",
    "rule",
    "strings",
    "throttled",
]

PROFILE = "sha256-json-lines/1"
_ATOMS = frozenset({int, float, bool, type(None)})


@dataclass(frozen=True, slots=True)
class CallFields:
    """The recorded fields that all ``call.*`` records of one session share."""

    log: str
    session: str
    tenant: str
    principal: Mapping[str, Any]
    agent: Mapping[str, Any]
    delegation: Sequence[Mapping[str, Any]]
    trace: str | None

    def common(
        self,
        type_: str,
        *,
        call: str,
        parent: str | None,
        where: Mapping[str, Any],
        trace: str | None = None,
    ) -> dict[str, Any]:
        """Return the fields of section 4.2 plus ``v``, ``log`` and ``type``. *trace* is the call's
        own trace, or None.
        """
        return {
            "v": FORMAT_VERSION,
            "log": self.log,
            "type": type_,
            "call": call,
            "parent": parent,
            "session": self.session,
            "tenant": self.tenant,
            "principal": self.principal,
            "agent": self.agent,
            "delegation": self.delegation,
            "origin": where,
            "trace": self.trace if trace is None else trace,
        }


def call_fields(
    log: str,
    session: Session,
    *,
    principal_id: str,
    principal_form: str,
    agent_id: str,
    delegation: Sequence[Mapping[str, Any]],
    session_id: str,
) -> CallFields:
    """Return the common fields of *session*, with its ids in recorded form."""
    principal, agent = session.principal, session.agent
    return CallFields(
        log=log,
        session=session_id,
        tenant=session.tenant,
        principal={
            "id": principal_id,
            "form": principal_form,
            "type": principal.type,
            "issuer": principal.issuer,
            "assurance": str(principal.assurance),
            "method": principal.method,
            **_vouched(None, principal.authenticated_at),
        },
        agent={
            "id": agent_id,
            "form": "clear" if agent_id == agent.id else "token",
            "version": agent.version,
            "framework": agent.framework,
            "assurance": str(agent.assurance),
            "method": agent.method,
            **_vouched(agent.issuer, agent.authenticated_at),
            **_named(agent.instance, agent.charter),
        },
        delegation=[dict(step) for step in delegation],
        trace=session.trace,
    )


def _vouched(issuer: str | None, authenticated_at: str | None) -> dict[str, str]:
    """Return the fields that only some identities have."""
    found = {"issuer": issuer, "authenticated_at": authenticated_at}
    return {name: value for name, value in found.items() if value is not None}


def _named(instance: str | None, charter: str | None) -> dict[str, str]:
    """Return the fields that only some agents have. *charter* is a token or a digest."""
    found = {"instance": instance, "charter": charter}
    return {name: value for name, value in found.items() if value is not None}


def strings(value: object) -> list[str]:
    """Return every string in a JSON value, including keys, in no particular order."""
    found: list[str] = []
    stack: list[Any] = [value]
    while stack:
        item = stack.pop()
        kind = type(item)
        if kind is str:
            found.append(item)
        elif kind is dict:
            found.extend(item)
            stack.extend(item.values())
        elif kind is list:
            stack.extend(item)
        elif kind not in _ATOMS:
            if isinstance(item, str):
                found.append(item)
            elif isinstance(item, Mapping):
                found.extend(item)
                stack.extend(item.values())
            elif isinstance(item, tuple | list):
                stack.extend(item)
    return found


def origin(
    *, host: str, pid: int, process: str, adapter: str = "guardrail", call_id: str | None = None
) -> dict[str, Any]:
    """Return the field ``origin`` of a record: the process that made it, and the framework's id for
    the call.
    """
    return {
        "host": host,
        "pid": pid,
        "process": process,
        "adapter": adapter,
        "address": None,
        "call_id": call_id,
    }


def bare_origin(where: Mapping[str, Any]) -> dict[str, Any]:
    """Return *where*, a call's ``origin``, without ids from a framework."""
    return {name: value for name, value in where.items() if name != "thread"} | {"call_id": None}


def policy(identity: PolicyIdentity) -> dict[str, Any]:
    """Return the ``policy`` field."""
    return {
        "engine": identity.engine,
        "version": identity.version,
        "digest": identity.digest,
        "revision": identity.revision,
        "data": identity.data,
    }


def rule(entry: Rule, message: str) -> dict[str, Any]:
    """Return the recorded form of one rule, with *message* as its message."""
    return {
        "rule": entry.rule,
        "message": message,
        "severity": entry.severity,
        "effect": str(entry.effect),
        "needs": list(entry.needs),
        "approvers": entry.approvers,
    }


def decision(
    common: dict[str, Any],
    verdict: Decision,
    *,
    rules: Sequence[Mapping[str, Any]],
    labels: Sequence[str],
    tool: Mapping[str, Any],
    target: Sequence[Any],
    recorded_input: object,
    redaction: Mapping[str, Any],
    commitment: str | None,
    engine: Mapping[str, Any] | None,
    reproducible: bool | None,
    enforcement: Enforcement,
    milliseconds: Mapping[str, float],
    omitted: str | None,
    approval: Mapping[str, Any] | None = None,
    presented: str | None = None,
    differs: Sequence[str] | None = None,
    amounts: Mapping[str, Any] | None = None,
    effect: str | None = None,
    soon: bool = False,
) -> dict[str, Any]:
    """Return the fields of a ``call.decision``. *approval* is the approval that the call used;
    *presented* is one that was passed but not used. *differs* lists the arguments that differ from
    those in the request for approval. *amounts* and *effect*, the effect key, are None if the tool
    declares none. *soon* is True if the result is released before the outcome is durable.
    """
    common.update(
        tool=tool,
        target=target,
        input=recorded_input,
        redaction=redaction,
        commitment=commitment,
        decision={
            "effect": str(verdict.effect),
            "cause": str(verdict.cause),
            "detail": verdict.detail,
            "rules": rules,
            "labels": labels,
            **({"message": verdict.message} if verdict.message else {}),
        },
        policy=engine,
        reproducible=reproducible,
        enforcement=str(enforcement),
        approval=approval,
        ms=milliseconds,
        omitted=omitted,
    )
    if presented is not None:
        common["presented"] = presented
    if differs is not None:
        common["differs"] = list(differs)
    if amounts is not None:
        common["amounts"] = amounts
    if effect is not None:
        common["effect"] = {"key": effect}
    if soon:
        common["outcome"] = "soon"
    return common


def outcome(
    common: dict[str, Any],
    status: Status,
    *,
    decision_seq: int,
    result: Mapping[str, Any] | None,
    error: Mapping[str, str] | None,
    reproducible: bool | None,
    milliseconds: float | None,
    omitted: str | None,
    running: bool = False,
) -> dict[str, Any]:
    """Return the fields of a ``call.outcome``. *running* is True if the body may still run."""
    common.update(
        decision_seq=decision_seq,
        status=str(status),
        result=result,
        error=error,
        reproducible=reproducible,
        ms=milliseconds,
        omitted=omitted,
    )
    if running:
        common["body"] = "running"
    return common


def claim(
    common: dict[str, Any],
    status: Status,
    *,
    decision_seq: int,
    result: Mapping[str, Any] | None,
    error: Mapping[str, str] | None,
    milliseconds: float | None,
) -> dict[str, Any]:
    """Return the fields of a ``call.claim``."""
    common.update(
        decision_seq=decision_seq, status=str(status), result=result, error=error, ms=milliseconds
    )
    return common


def rejected(common: dict[str, Any], *, tool: Mapping[str, Any], reason: str) -> dict[str, Any]:
    """Return the fields of a ``call.rejected``: no values, only the tool and a stable reason."""
    common.update(tool=tool, reason=reason)
    return common


def throttled(
    log: str,
    *,
    tenant: str | None,
    principal: Mapping[str, Any] | None,
    where: Mapping[str, Any],
    since: str,
    limit: Mapping[str, int | None],
    count: int,
    tools: Mapping[str, int],
    begun: int,
) -> dict[str, Any]:
    """Return the fields of a ``call.throttled``: the number of one principal's calls that were
    denied in one minute. *limit* contains ``calls_per_minute``, and ``ledger_mb`` if that limit was
    reached.
    """
    return {
        "v": FORMAT_VERSION,
        "log": log,
        "type": "call.throttled",
        "tenant": tenant,
        "principal": principal,
        "origin": where,
        "since": since,
        **limit,
        "count": count,
        "tools": tools,
        "begun": begun,
    }


def genesis(
    *,
    nonce: str,
    public_key: str,
    config_digest: str,
    predecessor: Mapping[str, Any] | None,
    tenant: str | None = None,
) -> dict[str, Any]:
    """Return the fields of a new log's line 0, except ``v``, ``log`` and ``type``. *tenant* is the
    only tenant of the log, or None if several can share it.
    """
    return {
        **({} if tenant is None else {"tenant": tenant}),
        "profile": PROFILE,
        "nonce": nonce,
        "key": {"type": "ed25519", "public": public_key},
        "config": {"digest": config_digest},
        "predecessor": predecessor,
    }


def admin(
    log: str,
    type_: str,
    *,
    actor: Mapping[str, Any],
    where: Mapping[str, Any],
    detail: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the fields of an ``admin.*`` record."""
    return {
        "v": FORMAT_VERSION,
        "log": log,
        "type": f"admin.{type_}",
        "actor": actor,
        "origin": where,
        "detail": detail,
    }
