"""Governed functions: the bodies of tools that are created from functions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from langchain_core.tools import BaseTool

from guardrail.integrations.langchain.binding import KEY, Binding, binding_of
from guardrail.integrations.langchain.calls import aexecute, execute
from guardrail.integrations.langchain.injection import CALLABLES, config_names
from guardrail.integrations.signatures import dress, parameters

__all__ = ["govern_functions"]


def govern_functions(tool: BaseTool) -> None:
    """Replace the bodies of *tool* with governed functions, including bodies that were passed as
    updates when the tool was copied.
    """
    binding: Binding = tool.__dict__[KEY]
    raw: dict[Callable[..., Any], Callable[..., Any]] = {}
    for field in CALLABLES:
        found = tool.__dict__.get(field)
        if field in type(tool).model_fields and callable(found):
            body = binding.raw.get(found, found)
            governed = _governed_function(tool, body, awaited=field == "coroutine")
            raw[governed] = body
            tool.__dict__[field] = governed
    tool.__dict__[KEY] = replace(binding, raw=raw)


def _governed_function(
    tool: BaseTool, body: Callable[..., Any], *, awaited: bool
) -> Callable[..., Any]:
    """Return a function with the signature of *body* that runs *body* through the guard and does
    not expose *body*.
    """
    beside = frozenset(config_names(body) | {"run_manager", "callbacks"} & set(parameters(body)))
    if awaited:

        async def governed_async(*args: Any, **kwargs: Any) -> Any:
            return await aexecute(binding_of(tool), body, beside, args, kwargs)

        return dress(governed_async, body)

    def governed(*args: Any, **kwargs: Any) -> Any:
        return execute(binding_of(tool), body, beside, args, kwargs)

    return dress(governed, body)
