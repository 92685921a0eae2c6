"""The value types of a governed call: frozen, slotted, without behaviour."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from guardrail.core.hidden import hidden

__all__ = [
    "NOT_REQUESTED",
    "Agent",
    "Assurance",
    "Cause",
    "Decision",
    "Effect",
    "Enforcement",
    "EngineReply",
    "Json",
    "JsonObject",
    "PolicyIdentity",
    "Principal",
    "Receipt",
    "Rule",
    "Session",
    "Status",
]

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
JsonObject: TypeAlias = "dict[str, Json]"


NOT_REQUESTED = "not_requested"
"""``Tool.refused`` for a tool that the model called although the request to the model did not offer
it.
"""


class Effect(StrEnum):
    """The effect of a decision on a call."""

    ALLOW = "allow"
    DENY = "deny"
    REQUIRE_APPROVAL = "require_approval"


class Cause(StrEnum):
    """The reason for a decision.

    ``policy`` means that the rules decided. Any other cause means that the rules could not be
    evaluated or were not evaluated.
    """

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
    SUSPENDED = "suspended"
    EFFECT = "effect"


class Status(StrEnum):
    """How an admitted call ended."""

    OK = "ok"
    ERROR = "error"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"
    """A framework paused the call; when it resumes, it makes a new call."""
    UNKNOWN = "unknown"
    """The process died between the decision and the outcome."""
    RETURNED = "returned"
    """The call returned, but its success is unknown."""
    INPUT_REQUIRED = "input_required"


class Assurance(StrEnum):
    """The degree to which an identity was established."""

    VERIFIED = "verified"
    ASSERTED = "asserted"
    ABSENT = "absent"


class Enforcement(StrEnum):
    """Who runs the body. This determines guardrail's guarantees for the call."""

    BODY = "body"
    """guardrail ran the body itself."""
    RELEASE = "release"
    """guardrail passed the call to another program."""


@dataclass(frozen=True, slots=True)
class Principal:
    """The principal for whom the agent acts."""

    id: str
    """The id supplied by the program, or an empty string if absent."""
    type: str = "user"
    """``user`` or ``service``."""
    issuer: str | None = None
    """The issuer that vouches for the id."""
    assurance: Assurance = Assurance.ASSERTED
    method: str = "context"
    """How the identity was established: ``context`` (by the program), ``oidc_jwt``, ``spiffe_jwt``
    and others.
    """
    roles: tuple[str, ...] = ()
    """The roles, which the policy sees as ``subject.properties.roles``."""
    attributes: Mapping[str, Json] = field(default_factory=dict, repr=False)
    """Further ``subject.properties``, supplied by the program."""
    authenticated_at: str | None = None
    """Of a verified identity: the time at which the issuer authenticated the principal, or at which
    it issued the token (RFC 3339). Only guardrail sets it.
    """


@dataclass(frozen=True, slots=True)
class Agent:
    """The program that acts."""

    id: str
    version: str | None = None
    framework: str | None = None
    assurance: Assurance = Assurance.ASSERTED
    method: str = "context"
    issuer: str | None = None
    """The issuer that vouches for the id."""
    authenticated_at: str | None = None
    """Of a verified identity: the time at which its token was issued. Only guardrail sets it."""
    instance: str | None = None
    """The running copy of the program, such as a pod or a process."""
    charter: str | None = field(default=None, repr=False)
    """The agent's instructions (its system prompt), of which only a token is recorded; or their
    digest, ``sha256:`` and 64 hex digits, which is recorded as it is.
    """


@dataclass(frozen=True, slots=True)
class Session:
    """One conversation or run, keyed by (tenant, principal, agent, id)."""

    id: str
    tenant: str
    principal: Principal
    agent: Agent
    delegation: tuple[Mapping[str, Json], ...] = field(default=(), repr=False)
    """The chain of actors, outermost first (RFC 8693 ``act``)."""
    attributes: Mapping[str, Json] = field(default_factory=dict, repr=False)
    """The program's data about the session, recorded in redacted form."""
    trace: str | None = None
    """W3C trace id, if the program has one."""


@hidden
@dataclass(frozen=True, slots=True)
class Rule:
    """One policy rule that fired. A policy can build each of its texts from an argument."""

    rule: str
    message: str
    effect: Effect
    severity: str = "info"
    needs: tuple[str, ...] = ()
    """Pointers to the arguments that an approver must see."""
    approvers: int = 1


@dataclass(frozen=True, slots=True)
class Decision:
    """The verdict on one call. Only ``core.decision`` builds one with ``Effect.ALLOW``."""

    effect: Effect
    cause: Cause
    detail: str = ""
    """Stable sub-code, or an empty string for a plain policy verdict."""
    rules: tuple[Rule, ...] = ()
    redact: tuple[str, ...] = field(default=(), repr=False)
    """RFC 6901 pointers into the arguments, ``*`` for any key or index."""
    labels: tuple[str, ...] = field(default=(), repr=False)
    message: str = ""
    """Text for the agent in addition to the text of the cause: guardrail's words and declared
    names, never a value.
    """


@dataclass(frozen=True, slots=True)
class PolicyIdentity:
    """The policy and data behind a decision: the record's ``policy`` field."""

    engine: str
    """``regorus`` or ``opa``."""
    version: str
    digest: str | None
    """SHA-256 over the loaded modules, 64 hex characters."""
    revision: str | None = None
    data: str | None = None
    """SHA-256 over the data document."""


@hidden
@dataclass(frozen=True, slots=True)
class EngineReply:
    """An engine's reply before it is checked."""

    document: object
    """The decoded value of ``data.guardrail.main.decision`` or ``listing``, unchecked."""
    policy: PolicyIdentity
    milliseconds: float
    """Time from dispatch to reply, measured by the caller."""
    decision_id: str | None = None
    """The server's own id of this decision, if it logs decisions."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """Proof that a record is durable: committed and synced."""

    seq: int
    leaf: bytes
    """SHA-256(0x00 || line), 32 bytes."""
    ts: str
    """Timestamp in the record."""
