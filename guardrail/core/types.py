"""The values that travel through one governed call. Frozen, slotted, without behaviour."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

__all__ = [
    "Agent",
    "Assurance",
    "Cause",
    "Decision",
    "Effect",
    "Enforcement",
    "EngineReply",
    "Json",
    "JsonObject",
    "Origin",
    "PolicyIdentity",
    "Principal",
    "Receipt",
    "Rule",
    "Session",
    "Status",
]

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
JsonObject: TypeAlias = "dict[str, Json]"


class Effect(StrEnum):
    """What is to happen with a call."""

    ALLOW = "allow"
    DENY = "deny"
    REQUIRE_APPROVAL = "require_approval"


class Cause(StrEnum):
    """Why a decision came out as it did. ``policy`` means that the rules said so; every other one, that they could
    not be asked or were not asked."""

    POLICY = "policy"
    ARGUMENTS = "arguments"
    UNDEFINED = "undefined"
    MALFORMED = "malformed"
    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    CRASHED = "crashed"
    ERROR = "error"
    OBLIGATION = "obligation"
    REDACTOR = "redactor"
    IDENTITY = "identity"
    APPROVAL = "approval"
    REVISION = "revision"
    PINNED = "pinned"
    QUOTA = "quota"
    ANCHOR = "anchor"
    CONTENTION = "contention"
    DUPLICATE = "duplicate"


class Status(StrEnum):
    """How an admitted call ended."""

    OK = "ok"
    ERROR = "error"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"
    """A framework paused it; a resume is a new call."""
    UNKNOWN = "unknown"
    """The process died between the decision and the outcome."""
    RETURNED = "returned"
    """Only a return was seen, not whether it succeeded."""
    INPUT_REQUIRED = "input_required"


class Assurance(StrEnum):
    """How far an identity can be believed."""

    VERIFIED = "verified"
    ASSERTED = "asserted"
    ABSENT = "absent"


class Enforcement(StrEnum):
    """What the promises of this call speak of."""

    BODY = "body"
    """guardrail ran the body itself."""
    RELEASE = "release"
    """guardrail handed the call to someone else."""


@dataclass(frozen=True, slots=True)
class Principal:
    """For whom the agent acts."""

    id: str
    """As the host gave it; empty if absent."""
    type: str = "user"
    """``user`` or ``service``."""
    issuer: str | None = None
    """Who vouches for the id."""
    assurance: Assurance = Assurance.ASSERTED
    method: str = "context"
    """How it was established: ``context``, later ``oidc_jwt`` and others."""
    roles: tuple[str, ...] = ()
    """For the policy: ``subject.properties.roles``."""
    attributes: Mapping[str, Json] = field(default_factory=dict)
    """Further ``subject.properties``, as the host gave them."""


@dataclass(frozen=True, slots=True)
class Agent:
    """Which program acts."""

    id: str
    version: str | None = None
    framework: str | None = None
    assurance: Assurance = Assurance.ASSERTED
    method: str = "context"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a call came from."""

    host: str
    pid: int
    process: str
    """Random name of this process's lease: tells a dead process from a slow one."""
    adapter: str = "python"
    """Which integration brought the call."""
    address: str | None = None
    call_id: str | None = None
    """The framework's own id of this call."""


@dataclass(frozen=True, slots=True)
class Session:
    """One conversation or run, keyed by (tenant, principal, agent, id)."""

    id: str
    tenant: str
    principal: Principal
    agent: Agent
    delegation: tuple[Mapping[str, Json], ...] = ()
    """Who acted through whom, outermost first (RFC 8693 ``act``)."""
    attributes: Mapping[str, Json] = field(default_factory=dict)
    """What the host told about the session; recorded redacted."""
    trace: str | None = None
    """W3C trace id, where the host has one."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of the policy that fired."""

    rule: str
    message: str
    effect: Effect
    severity: str = "info"
    needs: tuple[str, ...] = ()
    """Pointers that an approver must see."""
    approvers: int = 1


@dataclass(frozen=True, slots=True)
class Decision:
    """The verdict about one call. Only ``core.decision`` builds one with ``Effect.ALLOW``."""

    effect: Effect
    cause: Cause
    detail: str = ""
    """Stable sub-code; empty for a plain policy verdict."""
    rules: tuple[Rule, ...] = ()
    redact: tuple[str, ...] = ()
    """RFC 6901 pointers into the arguments, ``*`` for any key or index."""
    labels: tuple[str, ...] = ()
    message: str = ""
    """Text for the agent besides the cause's own: guardrail's words and declared names, never a value."""


@dataclass(frozen=True, slots=True)
class PolicyIdentity:
    """What a decision was derived from: the record's ``policy`` field."""

    engine: str
    """``regorus`` or ``opa``."""
    version: str
    digest: str | None
    """SHA-256 over the loaded modules, 64 hex characters."""
    revision: str | None = None
    data: str | None = None
    """SHA-256 over the data document."""


@dataclass(frozen=True, slots=True)
class EngineReply:
    """What an engine answered, before anyone judged it."""

    document: object
    """The decoded value of ``data.guardrail.main.decision``; nothing about it has been checked."""
    policy: PolicyIdentity
    milliseconds: float
    """From dispatch to reply, as the caller saw it."""
    decision_id: str | None = None
    """The server's own name for this decision, where it logs decisions."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """A record is durable: committed and synced."""

    seq: int
    leaf: bytes
    """SHA-256(0x00 || line), 32 bytes."""
    ts: str
    """Time stamp in the record."""
