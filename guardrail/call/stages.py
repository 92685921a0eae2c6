"""The stages of a call: the data that is known after each of its steps.

Stages are immutable. Each step of ``guardrail.call.steps`` takes one stage and returns the next.
Stages are named tuples, because a frozen dataclass takes four times as long to create
(docs/adr/0018).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from guardrail.approvals.rules import ApprovalRequest, Grant
from guardrail.call.asserted import AssertedFacts
from guardrail.call.ended import Ended
from guardrail.call.options import CallOptions
from guardrail.core.call_context import CallContext
from guardrail.core.hidden import hidden
from guardrail.core.log.suspensions import Suspension
from guardrail.core.redaction.faults import FAULT
from guardrail.core.redaction.redactor import Inspection, View
from guardrail.core.schema.json_arguments import JsonArguments
from guardrail.core.state_reads import CallerStates
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

_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})
_NO_ZONES: Final[Mapping[str, int]] = MappingProxyType({})
_NO_OPTIONS: Final = CallOptions()
UNREDACTED: Final = frozenset({OVER_BUDGET, FAULT})
"""Codes of a ``RedactionError`` after which a record contains no arguments: redacting them would
cost too much, or the redactor failed.
"""


@functools.cache
def _known_by_results(log_output: bool) -> Tool:
    """Return the tool that replaces the real one after a call was handed over. *log_output*
    determines the recorded form of the result.
    """
    return Tool("tool", log_output=log_output)


__all__ = [
    "UNREDACTED",
    "Admitted",
    "Ahead",
    "Decided",
    "DeniedEarly",
    "Ended",
    "Prepared",
    "RecordedInput",
    "Request",
    "Settled",
]


@hidden
class Request(NamedTuple):
    """The call after step (1): its caller and its tool."""

    id: str
    """Call id (ULID)."""
    tool: Tool
    args: Mapping[str, Any] | JsonArguments
    """The caller's objects. Only step (2) reads them."""
    state: SessionState
    refusal: Callable[[], str]
    """Returns the reason that the caller's identity does not permit the call now (a detail of cause
    ``identity``), or an empty string if it does.
    """
    origin: Mapping[str, Any]
    """The record's field ``origin``, with the framework's call id in its current recorded form."""
    parent: str | None
    """Id of the governed call whose body makes this call."""
    enforcement: Enforcement
    started: float
    """Time at which the call started (``time.perf_counter()``)."""
    time: str
    """The same moment as wall-clock time (RFC 3339)."""
    options: CallOptions
    meter: Meter
    """CPU budget for the call's views."""
    approval: str | None
    """Id of the approval passed with the call."""
    until: float | None
    """Time at which the call stops waiting for an approval (``time.monotonic()``), or None if it
    does not wait.
    """
    asked: ApprovalRequired | None = None
    """The exception that requested an approval in an earlier attempt at this call, or None."""
    zones: Mapping[str, int] = _NO_ZONES
    """Offsets of the policies' time zones at ``time``, once step (4) has begun."""
    states: CallerStates | None = None
    """The states that the policies read, once step (4) has begun, or None if they read none."""
    outdated: int = 0
    """Number of earlier decisions of this call that read a state that had changed."""
    tries: int = 0
    """Number of earlier attempts at this call. An attempt is repeated if another record of the same
    approval or session was written first.
    """


@hidden
class RecordedInput(NamedTuple):
    """The policy input of a call as recorded."""

    document: bytes
    said: AssertedFacts
    """The parts of the input that come from the call's context."""
    texts: Sequence[str]
    """The texts of the recorded view that the final scan of the record must examine."""


@hidden
class Ahead(NamedTuple):
    """The parts of a decision record that were made while the policy was evaluated."""

    view: View
    """The recorded view. The parts apply only if the policy has not tightened it."""
    recorded: RecordedInput
    """Its texts are empty if a scan found nothing in them."""
    added: int
    """Number of values that the session had learned of. The parts apply only if it has not
    changed.
    """


@hidden
class Prepared(NamedTuple):
    """The call after steps (2) to (4): the input for the policy.

    If the call is denied before step (4), unknown fields have their defaults.
    """

    request: Request
    args: Json = None
    """The snapshot of the arguments, for policy and record."""
    encoded: bytes | None = None
    """Canonical bytes of the snapshot, or None if the arguments did not fit."""
    arguments: Mapping[str, Any] = {}
    """The arguments for the body."""
    inspection: Inspection | None = None
    """Locations of sensitive values in the snapshot."""
    document: bytes = b""
    """The policy input as sent to the engine."""
    presented: str | None = None
    """Recorded form of the id of the approval passed with the call."""
    grant: Grant | None = None
    """The grant of that approval, if it covers this call."""
    asked: ApprovalRequest | None = None
    """The request of the approval, if the approval does not cover this call."""
    differs: tuple[str, ...] | None = None
    """Locations of the arguments that differ from those in the request for approval, or None if
    they were not compared.
    """
    ahead: Ahead | None = None
    omitted: str | None = None
    """Reason for recording none of the arguments, if they could not be redacted."""

    def unredacted(self, why: str) -> Prepared:
        """Return the call without its arguments, so that it can be recorded. *why* is recorded as
        ``omitted``.

        The rest of the record is cheap to redact, so the call gets a new meter.
        """
        request = self.request._replace(meter=Meter())
        return self._replace(request=request, inspection=None, omitted=why)


@hidden
class Decided(NamedTuple):
    """The call after steps (5) and (6): the verdict."""

    prepared: Prepared
    verdict: Decision
    reply: EngineReply | None = None
    """The policy's reply, or None if the policy was not evaluated or did not reply."""
    misnamed: str = ""
    """Text about misnamed arguments, or the name of the tool, appended to the verdict's message for
    the agent. Never recorded.
    """
    suspension: Suspension | None = None
    """The suspension that denies the call, or None."""


@hidden
class Admitted(NamedTuple):
    """The call after step (7): allowed, and its decision is durable. Exactly one outcome must
    follow.
    """

    request: Request
    arguments: Mapping[str, Any]
    """The arguments for the body: the validated snapshot, not the caller's objects."""
    verdict: Decision
    origin: Mapping[str, Any]
    """The record's field ``origin``, as in the decision record."""
    seq: int
    """Sequence number of the decision record."""

    def handed_over(self) -> Admitted:
        """Return the call with only the data that its outcome record needs. Its arguments and its
        tool belong to the program now, and it may take the program an hour to report the result.
        """
        request = self.request
        context = request.options.context
        trace = None if context is None else context.trace
        kept = request._replace(
            tool=_known_by_results(request.tool.log_output),
            args=_NOTHING,
            refusal=str,
            started=0.0,
            time="",
            options=_NO_OPTIONS if trace is None else CallOptions(context=CallContext(trace=trace)),
            asked=None,
        )
        return self._replace(request=kept, arguments=_NOTHING)


@hidden
class Settled(NamedTuple):
    """The call after step (9): its outcome is durable, or queued if the settings say ``soon``."""

    receipt: Receipt | None
    """None if the result is released before the outcome is durable."""
    ended: Ended

    def release(self) -> Any:
        """Return the body's result, or raise its exception."""
        if self.ended.error is not None:
            try:
                raise self.ended.error
            finally:
                # the exception refers to this frame, so the frame must not refer to the exception
                del self
        return self.ended.result


class DeniedEarly(Exception):
    """Raised by a step to deny the call without a decision by the policy. ``decided`` is the next
    stage.
    """

    def __init__(self, decided: Decided) -> None:
        super().__init__()
        self.decided = decided
