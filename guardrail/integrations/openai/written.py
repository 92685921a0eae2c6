"""Arguments as a model wrote them."""

from __future__ import annotations

from guardrail.core.schema.json_arguments import JsonArguments

__all__ = ["arguments_of"]


def arguments_of(given: object) -> object:
    """Return the arguments of a function call for the guard, which parses them strictly."""
    return JsonArguments(given) if isinstance(given, str) else given
