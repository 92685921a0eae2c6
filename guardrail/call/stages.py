"""The stages of a call: everything that is known of it after each of its steps.

Nothing changes a stage. Each step of ``guardrail.call.steps`` takes one stage and returns the next.
They are tuples, since a frozen dataclass takes four times as long to build (docs/adr/0018).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, NamedTuple

from guardrail.approvals.rules import ApprovalRequest, Grant
from guardrail.call.options import CallOptions
from guardrail.core.redaction.redactor import Inspection
from guardrail.core.types import (
    Decision,
    Enforcement,
    EngineReply,
    Json,
    Receipt,
)
from guardrail.errors import ApprovalRequired
from guardrail.identity.session import SessionState
from guardrail.system.cpu_meter import OVER_BUDGET, Meter
from guardrail.tools.tool import Tool

if TYPE_CHECKING:
    from guardrail.policy.engine import Engine

__all__ = ["Admitted", "Decided", "DeniedEarly", "Ended", "Prepared", "Request", "Settled"]


class Request(NamedTuple):
    """After step (1): who calls which tool, and when."""

    id: str
    """Call id (ULID)."""
    tool: Tool
    args: Mapping[str, Any]
    """The caller's objects, which step (2) alone reads."""
    state: SessionState
    refusal: Callable[[], str]
    """Returns why the caller's identity is not enough now (a detail of cause ``identity``); empty
    if it is.
    """
    origin: Mapping[str, Any]
    """The record's field of that name, with the framework's id of the call as known now."""
    parent: str | None
    """Id of the governed call whose body makes this one."""
    enforcement: Enforcement
    started: float
    """``time.perf_counter()`` at its start."""
    time: str
    """The same moment (RFC 3339)."""
    options: CallOptions
    meter: Meter
    """Total cost allowed for its views."""
    approval: str | None
    """Id of the approval that comes with it."""
    until: float | None
    """When it stops waiting for an approval (``time.monotonic()``), if it waits for one."""
    asked: ApprovalRequired | None = None
    """How the attempt before this one ended, if this one was made because of its answer."""
    tries: int = 0
    """Attempts before this one that another step of the same approval or session overtook."""


class Prepared(NamedTuple):
    """After steps (2) to (4): what the policy is asked about.

    If the call is denied before it gets there, the fields that are not known have their defaults.
    """

    request: Request
    args: Json = None
    """The snapshot of the arguments, for policy and record."""
    encoded: bytes | None = None
    """Canonical bytes of the snapshot, or None if the arguments did not fit."""
    arguments: Mapping[str, Any] = {}
    """The arguments of the body."""
    inspection: Inspection | None = None
    """Where sensitive values are in the snapshot."""
    document: bytes = b""
    """The policy input as sent to the engine."""
    presented: str | None = None
    """Id of the approval that came with it, as recorded."""
    grant: Grant | None = None
    """The grant of that approval, if it covers this call."""
    asked: ApprovalRequest | None = None
    """The request of an approval that does not cover this call."""
    differs: tuple[str, ...] | None = None
    """Where the arguments differ from that request's, if they do."""
    omitted: str | None = None
    """Why none of its arguments are recorded, if redacting them would cost too much."""

    def over_budget(self) -> Prepared:
        """Return it as a call that is recorded without its arguments.

        The rest of the record (who called which tool) costs little, so it gets a new meter.
        """
        request = self.request._replace(meter=Meter())
        return self._replace(request=request, inspection=None, omitted=OVER_BUDGET)


class Decided(NamedTuple):
    """After steps (5) and (6): the verdict about a call."""

    prepared: Prepared
    verdict: Decision
    reply: EngineReply | None = None
    """The policy's reply; None if there is none."""
    engine: Engine | None = None
    """The engine that gave it."""
    misnamed: str = ""
    """Text for the agent about names of arguments that do not fit, after the verdict's message.
    Never recorded.
    """


class Admitted(NamedTuple):
    """After step (7): an allowed call, whose decision is durable. It owes exactly one outcome."""

    request: Request
    arguments: Mapping[str, Any]
    """The arguments of the body: the validated snapshot, not the caller's objects."""
    verdict: Decision
    origin: Mapping[str, Any]
    """The record's field of that name, as in the decision."""
    seq: int
    """Sequence number of the decision."""
    again: Future[EngineReply] | None
    """The decision derived from the recorded input, if that is not known to be the same."""


class Ended(NamedTuple):
    """After step (8): how the body ended."""

    result: object
    error: BaseException | None
    """The exception that it raised."""
    seconds: float | None
    """How long it took, if that is known."""


class Settled(NamedTuple):
    """After step (9): a call whose outcome is durable."""

    receipt: Receipt
    ended: Ended

    def release(self) -> Any:
        """Return the body's result, or raise its exception."""
        if self.ended.error is not None:
            try:
                raise self.ended.error
            finally:
                del self  # the exception holds this frame, which must not hold the exception
        return self.ended.result


class DeniedEarly(Exception):
    """The call is denied, without an answer of the policy; ``decided`` is its next stage."""

    def __init__(self, decided: Decided) -> None:
        super().__init__()
        self.decided = decided
