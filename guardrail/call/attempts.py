"""Creates new attempts at a call, and records the ids that frameworks assign to calls."""

from __future__ import annotations

import time
from typing import Any

from guardrail.call.options import CallOptions
from guardrail.call.stages import Request
from guardrail.identity.session import SessionState
from guardrail.ledger.files import utc_timestamp
from guardrail.system.cpu_meter import Meter
from guardrail.system.ids import new_ulid

__all__ = ["add_framework_ids", "new_attempt"]

_MAX_ID = 512


def new_attempt(request: Request, **changes: Any) -> Request:
    """Return *request* as a new call, without a decision or a record."""
    return request._replace(
        id=new_ulid(), started=time.perf_counter(), time=utc_timestamp(), meter=Meter(), **changes
    )


def add_framework_ids(origin: dict[str, Any], options: CallOptions, state: SessionState) -> None:
    """Add the framework's ids for the call and its conversation to *origin*, in recorded form."""
    if options.call_id is not None:
        origin["call_id"] = _recorded_id(options.call_id, state)
    if options.thread is not None:
        origin["thread"] = _recorded_id(options.thread, state)


def _recorded_id(id_: str, state: SessionState) -> str:
    """Return the recorded form of *id_*, an id that a framework chose."""
    # Only a limited part of a text is searched. Ids are short, so a long one is recorded as a
    # token.
    if len(id_) > _MAX_ID:
        return state.keys.token("call", id_)
    return state.foreign_id(id_)
