"""The text that a model reads about refused calls and failed bodies, and the tool that is recorded
for a name that a model made up.
"""

from __future__ import annotations

from guardrail.errors import ApprovalRequired, Denied, UsageError
from guardrail.tools.tool import Tool, undeclared

__all__ = ["error_text", "recorded_tool", "refusal_text"]

_LONGEST = 4_000
"""Longest text of an exception that a model gets, in characters."""
_UNNAMED = "(not a tool name)"
"""Tool name in records if the model's name for it can't be recorded."""


def refusal_text(refusal: Denied | ApprovalRequired, *, again: bool = False) -> str:
    """Return the reason that a call did not run: the public message, which contains no values.
    *again* is True if the model can request the call again.
    """
    if again:
        return (
            "not run: a person must approve this call; you can ask for it again after that:"
            f" {refusal}"
        )
    if isinstance(refusal, ApprovalRequired):
        return f"not run: a person must approve this call first: {refusal}"
    return str(refusal)


def error_text(error: Exception) -> str:
    """Return the text for a failed body: the class and the message of its exception."""
    name = type(error).__name__
    try:
        text = str(error)[:_LONGEST]
    except Exception:  # noqa: BLE001 - border: an exception's text is its program's own code
        text = ""
    return f"failed: {name}: {text}" if text else f"failed: {name}"


def recorded_tool(name: object, server: object = None) -> Tool:
    """Return the tool to record for *name*, which a model or a provider wrote. *name* can be any
    value.
    """
    try:
        return undeclared(name, server)  # type: ignore[arg-type]  # it checks the type
    except UsageError:  # it can't be shown or recorded
        return undeclared(_UNNAMED)
