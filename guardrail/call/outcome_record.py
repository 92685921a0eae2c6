"""Builds the outcome record of an admitted call: the recorded form of its result or exception, or a
bare record if the full one can't be written.
"""

from __future__ import annotations

import asyncio
import functools
import os
from typing import Any

from guardrail.call.decision_record import common_fields
from guardrail.call.stages import Admitted, Ended
from guardrail.core.log import fields
from guardrail.core.log.record import Draft
from guardrail.core.types import Status
from guardrail.errors import LedgerError, RecordError, RedactionError
from guardrail.system.cpu_meter import OVER_BUDGET

__all__ = ["build_claim", "build_outcome", "check_process", "status_of"]

TIMEOUT = "timeout"
"""``error.class`` of a call that its tool's timeout ended."""

_Parts = tuple[dict[str, Any] | None, dict[str, str] | None, str | None]


def status_of(admitted: Admitted, error: BaseException | None) -> Status:
    """Return the outcome status of a body that returned, or that raised *error*."""
    if error is None:
        return Status.RETURNED if admitted.request.tool.unsafe_stream else Status.OK
    interrupts = admitted.request.options.interrupts
    if interrupts and isinstance(error, interrupts):
        return Status.INTERRUPTED
    if isinstance(error, asyncio.CancelledError | KeyboardInterrupt):
        return Status.CANCELLED
    return Status.ERROR


def check_process(admitted: Admitted) -> None:
    """Raise ``LedgerError`` in a child process that the body forked. Only the process that admitted
    the call may record its outcome.
    """
    if os.getpid() != admitted.request.origin["pid"]:
        raise LedgerError(
            "a forked child process can't record the outcome of this call; only the parent process "
            "can",
            code="ledger.forked",
            hint="end the child process with os._exit, or use subprocess",
        )


def build_outcome(
    admitted: Admitted,
    status: Status,
    ended: Ended,
    *,
    omitted: str | None = None,
) -> Draft:
    """Return the outcome record. Raises only ``KeyboardInterrupt``, no matter what the tool
    returned.

    *omitted* is the recorded reason for omitting the result. Unless it is None, the result is not
    examined.
    """
    took = None if ended.seconds is None else round(ended.seconds * 1000, 3)

    def draft(
        shown: dict[str, Any] | None, failure: dict[str, str] | None, omitted: str | None
    ) -> Draft:
        record = fields.outcome(
            _common(admitted, "call.outcome", bare=omitted is not None),
            status,
            decision_seq=admitted.seq,
            result=shown,
            error=failure,
            reproducible=None,
            milliseconds=took,
            omitted=omitted,
            running=ended.early is not None and ended.early.running,
        )
        return Draft.build(record)

    if omitted is not None:
        return draft(None, None, omitted)
    try:
        return draft(*_parts(admitted, ended))
    except RecordError as problem:
        reason = "size" if problem.code == "record.too_large" else "record"
    # This always fits, because nothing in it comes from the tool or the user.
    return draft(None, None, reason)


def build_claim(admitted: Admitted, status: Status, ended: Ended) -> Draft:
    """Return the record of an outcome that arrives after its call was closed as ``unknown``, or
    after its timeout. Raises only ``KeyboardInterrupt``.
    """
    took = None if ended.seconds is None else round(ended.seconds * 1000, 3)

    def draft(
        shown: dict[str, Any] | None, failure: dict[str, str] | None, *, bare: bool = False
    ) -> Draft:
        record = fields.claim(
            _common(admitted, "call.claim", bare=bare),
            status,
            decision_seq=admitted.seq,
            result=shown,
            error=failure,
            milliseconds=took,
        )
        return Draft.build(record)

    shown, failure, _omitted = _parts(admitted, ended)
    try:
        return draft(shown, failure)
    except RecordError:
        return draft(None, None, bare=True)


def _common(admitted: Admitted, type_: str, *, bare: bool = False) -> dict[str, Any]:
    request = admitted.request
    if bare:
        return common_fields(request, type_, fields.bare_origin(admitted.origin), bare=True)
    return common_fields(request, type_, request.state.origin(admitted.origin))


def _parts(admitted: Admitted, ended: Ended) -> _Parts:
    """Return the recorded form of the result and of the error, and the value of ``omitted``. Raises
    only ``KeyboardInterrupt``.
    """
    try:
        return admitted.request.meter.section(functools.partial(_recorded_value, admitted, ended))
    except RedactionError as problem:
        return None, None, OVER_BUDGET if problem.code == OVER_BUDGET else "redactor"
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001 - the tool boundary: a hostile object may raise anything
        return None, None, "redactor"


def _recorded_value(admitted: Admitted, ended: Ended) -> _Parts:
    state, tool = admitted.request.state, admitted.request.tool
    redactor, memory = state.redactor, state.memory
    shown: dict[str, Any] | None = None
    failure: dict[str, str] | None = None
    if ended.error is not None:
        failure = redactor.error(ended.error, memory)
        if ended.early is not None and ended.early.timed_out:
            failure["class"] = TIMEOUT
        leaves = list(failure.values())
    else:
        shown = redactor.result(ended.result, log_output=tool.log_output, memory=memory)
        # Except for a logged value, only the name of the type comes from the tool.
        leaves = fields.strings(shown) if tool.log_output else [str(shown["type"])]
    # The result may show that values in the session attributes are sensitive too.
    state.recorded()
    hit = redactor.gate(leaves, memory)
    return (shown, failure, None) if hit is None else (None, None, f"gate:{hit}")
