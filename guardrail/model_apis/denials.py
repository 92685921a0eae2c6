"""Refused calls and failed bodies: the text that a model reads, and the tool that is recorded."""

from __future__ import annotations

from guardrail.errors import ApprovalRequired, Denied, UsageError
from guardrail.tools.tool import Tool, undeclared

__all__ = ["error_text", "recorded_tool", "refusal_text"]

_LONGEST = 4_000
"""Characters of an exception's text that a model gets."""
_UNNAMED = "(not a tool name)"
"""Name of the tool in records, if a model gave one that can't be recorded."""


def refusal_text(refusal: Denied | ApprovalRequired, *, again: bool = False) -> str:
    """Return why a call did not run: the public message, which holds no values. *again* says that
    the model can ask for it again.
    """
    if again:
        return f"not run: a person must approve this call; then it can be asked again: {refusal}"
    if isinstance(refusal, ApprovalRequired):
        return f"not run: a person must approve this call first: {refusal}"
    return str(refusal)


def error_text(error: Exception) -> str:
    """Return how a body failed: the class of its exception and the exception's own text."""
    name = type(error).__name__
    try:
        text = str(error)[:_LONGEST]
    except Exception:  # noqa: BLE001 - border: an exception's text is its program's own code
        text = ""
    return f"failed: {name}: {text}" if text else f"failed: {name}"


def recorded_tool(name: object, server: object = None) -> Tool:
    """Return the tool to record for a name that a model or a provider wrote, whatever it is."""
    try:
        return undeclared(name, server)  # type: ignore[arg-type]  # it checks the type
    except UsageError:  # it can't be shown or recorded
        return undeclared(_UNNAMED)
