"""The model APIs that guardrail supports."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["Api"]


class Api(StrEnum):
    """A model API whose responses can contain tool calls."""

    CHAT = "chat"
    """OpenAI's chat completions."""
    RESPONSES = "responses"
    """OpenAI's Responses API."""
    MESSAGES = "messages"
    """Anthropic's Messages API."""
