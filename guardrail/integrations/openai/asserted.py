"""Creates the context that the installed OpenAI client asserts for a call."""

from __future__ import annotations

import openai

from guardrail.core.call_context import CallContext

__all__ = ["client_context"]


def client_context(model: str | None = None, response: str | None = None) -> CallContext:
    """Return the context of a call that *model* requests in the response with the id *response*."""
    return CallContext(
        model=model,
        response=response,
        framework="openai",
        framework_version=openai.__version__,
    )
