"""The context of a call: the facts that a framework asserts in addition to the tool and the
arguments.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from guardrail.errors import UsageError

__all__ = ["CallContext", "is_traceparent"]

_TRACEPARENT: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")
_NO_VERSION: Final = "ff"
_HINT: Final = (
    "pass VERSION-TRACE-PARENT-FLAGS, with 2, 32, 16 and 2 lower-case hex digits, not all zeros"
    " (W3C Trace Context); omit malformed headers"
)


def is_traceparent(value: object) -> bool:
    """Return True if *value* is a traceparent as W3C Trace Context defines it."""
    if not isinstance(value, str):
        return False
    found = _TRACEPARENT.fullmatch(value)
    if found is None:
        return False
    version, trace, parent = found.groups()
    return version != _NO_VERSION and trace.strip("0") != "" and parent.strip("0") != ""


@dataclass(frozen=True, slots=True)
class CallContext:
    """The facts that a framework asserts about one call: the model that requested it, the response
    that contained it, and the trace.

    guardrail does not verify them: policies and records see them as ``asserted``. ``model`` and
    ``response`` come from a model's response and can have any value: a value that is not text
    counts as missing, and text is shortened, redacted and scanned before it is recorded. Raises
    ``UsageError`` if another field has the wrong type, or if ``trace`` is malformed.
    """

    model: str | None = None
    """Name of the model, as stated in its response."""
    response: str | None = None
    """Id of the model's response that requested the call."""
    trace: str | None = None
    """W3C traceparent of the span that makes the call. Records contain it instead of the session's
    trace.
    """
    framework: str | None = None
    """Name of the framework that makes the call."""
    framework_version: str | None = None

    def __post_init__(self) -> None:
        for name in ("model", "response"):
            object.__setattr__(self, name, _text(getattr(self, name)))
        for name in ("framework", "framework_version"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, str):
                raise UsageError(
                    f"context: {name} must be a str, not {type(value).__name__}",
                    code="usage.context",
                )
            object.__setattr__(self, name, _text(value))
        if self.trace is None:
            return
        if not is_traceparent(self.trace):
            raise UsageError(
                "context: trace is not a W3C traceparent", code="usage.traceparent", hint=_HINT
            )
        object.__setattr__(self, "trace", str.__str__(self.trace))


def _text(value: object) -> str | None:
    """Return *value* as text, or None if it is empty or not text."""
    # issubclass instead of isinstance, because an object can lie about its __class__.
    return (str.__str__(value) or None) if issubclass(type(value), str) else None
