"""The texts that a model reads about refused calls and failed bodies, and the tool that is recorded
for a name that a model invented.
"""

from __future__ import annotations

from guardrail.errors import ApprovalRequired, Denied, UsageError
from guardrail.tools.tool import Tool, undeclared

__all__ = ["error_text", "recorded_tool", "refusal_text"]

_LONGEST = 4_000
"""Maximum length of an exception's text in a message to the model, in characters."""
_UNNAMED = "(not a tool name)"
"""Tool name in records if the model's name for it can't be recorded."""


def refusal_text(refusal: Denied | ApprovalRequired, *, again: bool = False) -> str:
    """Return the reason why a call did not run: the public message, which does not contain values.
    *again* is True if the model can request the call again.
    """
    if again:
        return (
            "not run: a person must approve this call; after that, you can request it again: "
            f"{refusal}"
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
    """Return the tool to record for *name*, which comes from a model or a provider and can be any
    value.
    """
    try:
        return undeclared(name, server)  # type: ignore[arg-type]  # it checks the type
    except UsageError:  # the name can't be displayed or recorded
        return undeclared(_UNNAMED)
