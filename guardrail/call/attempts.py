"""Creates further attempts at a call, and records the ids that frameworks give to calls."""

from __future__ import annotations

import time
from typing import Any

from guardrail.call.stages import Request
from guardrail.identity.session import SessionState
from guardrail.ledger.files import utc_timestamp
from guardrail.system.cpu_meter import Meter
from guardrail.system.ids import new_ulid

__all__ = ["new_attempt", "recorded_id"]

_MAX_CALL_ID = 512


def new_attempt(request: Request, **changes: Any) -> Request:
    """Return *request* as a new call, with nothing decided or recorded."""
    return request._replace(
        id=new_ulid(), started=time.perf_counter(), time=utc_timestamp(), meter=Meter(), **changes
    )


def recorded_id(call_id: str, state: SessionState) -> str:
    """Return the recorded form of *call_id*, a framework's id of a call or of a conversation."""
    # Text is searched only up to a limit, and ids are short, so a long one is recorded as a token.
    if len(call_id) > _MAX_CALL_ID:
        return state.keys.token("call", call_id)
    return state.redactor.text(call_id, state.memory)
