"""Wraps functions as governed tools. They are called as before, but each call goes through a
guard.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from guardrail.tools.tool import Tool

__all__ = ["governed"]


def governed(
    tool: Tool,
    function: Callable[..., Any],
    call: Callable[[Tool, dict[str, Any], Callable[..., Any]], Any],
    acall: Callable[[Tool, dict[str, Any], Callable[..., Any]], Awaitable[Any]],
) -> Callable[..., Any]:
    """Return a function that looks like *function* and runs it through *call*, or through *acall*
    if it is a coroutine function.
    """
    signature = inspect.signature(function)

    def arguments(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        try:
            return dict(signature.bind(*args, **kwargs).arguments)
        except TypeError:
            # The call is recorded and denied like any call with bad arguments, because a schema has
            # no names for positions.
            return {**{str(place): value for place, value in enumerate(args)}, **kwargs}

    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def awaited(*args: Any, **kwargs: Any) -> Any:
            return await acall(tool, arguments(args, kwargs), function)

        awaited.__guardrail_tool__ = tool  # type: ignore[attr-defined]
        return awaited

    @functools.wraps(function)
    def plain(*args: Any, **kwargs: Any) -> Any:
        return call(tool, arguments(args, kwargs), function)

    plain.__guardrail_tool__ = tool  # type: ignore[attr-defined]
    return plain
