"""Finds the trace that a call belongs to, according to the program's own tracing."""

from __future__ import annotations

import os
import sys

from guardrail.core.call_context import is_traceparent

__all__ = ["current_trace"]

_VARIABLE = "TRACEPARENT"
"""Environment variable that passes a trace from one process to another, as specified by
OpenTelemetry.
"""


def current_trace() -> str | None:
    """Return the W3C traceparent of the current OpenTelemetry span, otherwise the traceparent in
    the environment variable ``TRACEPARENT``. Return None if neither is present and valid.

    OpenTelemetry is never imported: if the program has not imported it, there is no span.
    """
    tracing = sys.modules.get("opentelemetry.trace")
    if tracing is not None:
        span = tracing.get_current_span().get_span_context()
        if span.is_valid:
            return f"00-{span.trace_id:032x}-{span.span_id:016x}-{int(span.trace_flags):02x}"
    given = os.environ.get(_VARIABLE)
    return given if is_traceparent(given) else None
