"""Determines from a tool's result whether the tool failed, and creates the message that the model
receives for a refusal.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_core.messages import ToolMessage
from langchain_core.tools import BaseTool

from guardrail.errors import ApprovalRequired, Denied, ToolTimeoutError
from guardrail.model_apis.denials import error_text, refusal_text

__all__ = ["ReportedError", "checked", "refusal_message"]


class ReportedError(Exception):
    """A tool returned a ``ToolMessage`` with status ``error``. This exception is recorded as the
    tool's error, and never leaves a governed tool.
    """

    def __init__(self, result: object, text: str) -> None:
        super().__init__(text)
        self.result = result


def checked(result: Any) -> Any:
    """Return *result*. Raises ``ReportedError`` if the result reports that the tool failed."""
    text = _reported(result)
    if text is not None:
        raise ReportedError(result, text)
    return result


def _reported(result: Any) -> str | None:
    if isinstance(result, str):
        return None
    if isinstance(result, ToolMessage):
        return str(result.text) if result.status == "error" else None
    if isinstance(result, list | tuple):
        # A list of messages and commands, or (content, artifact).
        return next((text for text in map(_message_error, result) if text is not None), None)
    return _message_error(result)


def _message_error(item: Any) -> str | None:
    if isinstance(item, ToolMessage):
        return str(item.text) if item.status == "error" else None
    if type(item).__name__ == "Command" and isinstance(getattr(item, "update", None), Mapping):
        messages = item.update.get("messages", ())
        if isinstance(messages, list | tuple):
            for message in messages:
                if isinstance(message, ToolMessage) and message.status == "error":
                    return str(message.text)
    return None


def refusal_message(
    tool: BaseTool, refusal: Denied | ApprovalRequired | ToolTimeoutError, call_id: str
) -> ToolMessage:
    """Return the message that the model receives instead of a result."""
    if isinstance(refusal, ToolTimeoutError):
        text, artifact = error_text(refusal), None
    else:
        text, artifact = refusal_text(refusal), {"guardrail": {"seq": refusal.seq}}
    return ToolMessage(
        text, name=tool.name, tool_call_id=call_id, status="error", artifact=artifact
    )
