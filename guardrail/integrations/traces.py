"""The trace that a call belongs to, as the program's own tracing says it."""

from __future__ import annotations

import os
import sys

from guardrail.core.call_context import is_traceparent

__all__ = ["current_trace"]

_VARIABLE = "TRACEPARENT"
"""How a process passes its trace on to another one, as in OpenTelemetry's specification."""


def current_trace() -> str | None:
    """Return the W3C traceparent of the current OpenTelemetry span, else of the environment
    variable ``TRACEPARENT``; None if neither is there and valid.

    OpenTelemetry is never loaded: if the program has not done so, there is no span.
    """
    tracing = sys.modules.get("opentelemetry.trace")
    if tracing is not None:
        span = tracing.get_current_span().get_span_context()
        if span.is_valid:
            return f"00-{span.trace_id:032x}-{span.span_id:016x}-{int(span.trace_flags):02x}"
    given = os.environ.get(_VARIABLE)
    return given if is_traceparent(given) else None
