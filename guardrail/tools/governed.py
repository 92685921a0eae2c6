"""Wraps callables as governed tools, which are called like the originals, but every call goes
through a guard.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from guardrail.errors import UsageError
from guardrail.tools.functions import innermost, returns_coroutine, visible_signature
from guardrail.tools.tool import Tool

__all__ = ["Calls", "GovernedMethod", "governed"]


class Calls(NamedTuple):
    """A guard's sync and async methods for calls."""

    call: Callable[[Tool, dict[str, Any], Callable[..., Any]], Any]
    acall: Callable[[Tool, dict[str, Any], Callable[..., Any]], Awaitable[Any]]


def governed(tool: Tool, function: Callable[..., Any], calls: Calls) -> Callable[..., Any]:
    """Return a function that has the signature of *function* and runs it through the guard. It is a
    coroutine function if *function* is one.
    """
    made = _governed(tool, function, visible_signature(function), calls)
    if not inspect.isroutine(function):
        # *function* may be a class, a partial or a callable object, which lacks a function's
        # attributes.
        inner = innermost(function)
        made.__name__ = made.__qualname__ = getattr(inner, "__name__", tool.name)
        if made.__name__ == "__call__":
            made.__name__ = made.__qualname__ = tool.name
        made.__doc__ = tool.description or None
        made.__module__ = inner.__module__
        made.__signature__ = visible_signature(function)  # type: ignore[attr-defined]
    return made


def _governed(
    tool: Tool, function: Callable[..., Any], signature: inspect.Signature, calls: Calls
) -> Callable[..., Any]:
    def arguments(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        try:
            return dict(signature.bind(*args, **kwargs).arguments)
        except TypeError:
            # The call is recorded and denied like any call with invalid arguments, because a schema
            # can't describe positional arguments.
            return {**{str(place): value for place, value in enumerate(args)}, **kwargs}

    if returns_coroutine(function):

        async def awaited(*args: Any, **kwargs: Any) -> Any:
            return await calls.acall(tool, arguments(args, kwargs), function)

        return _dressed(awaited, tool, function)

    def plain(*args: Any, **kwargs: Any) -> Any:
        return calls.call(tool, arguments(args, kwargs), function)

    return _dressed(plain, tool, function)


def _dressed(
    made: Callable[..., Any], tool: Tool, function: Callable[..., Any]
) -> Callable[..., Any]:
    """Return *made* with the name and the docstring of *function*."""
    if inspect.isroutine(function):
        functools.update_wrapper(made, function)
    else:
        made.__wrapped__ = function  # type: ignore[attr-defined]
    made.__guardrail_tool__ = tool  # type: ignore[attr-defined]
    return made


class GovernedMethod:
    """A descriptor for a governed method. Access on an object (or on the class, for a class method)
    returns a governed function. The object is not an argument of the tool.
    """

    def __init__(self, tool: Tool, function: Callable[..., Any], calls: Calls) -> None:
        """*function* is the method as defined in the class."""
        functools.update_wrapper(self, function)
        signature = inspect.signature(function)
        self._signature = signature.replace(parameters=list(signature.parameters.values())[1:])
        self._tool = self.__guardrail_tool__ = tool
        self._function = function
        self._calls = calls

    def __get__(self, owner: object, kind: type | None = None) -> Any:
        """Return the governed method of *owner*."""
        if owner is None:
            return self
        method = self._function.__get__(owner, kind)
        return _governed(self._tool, method, self._signature, self._calls)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the method with its object as the first argument, as in ``Orders.find(orders)``."""
        if not args:
            raise UsageError(
                "an unbound method was called without its object",
                code="usage.method",
                hint=(
                    "call it on the object, as in orders.find(...), or make a tool from the "
                    "bound method: find = guard.tool(orders.find)"
                ),
            )
        return self.__get__(args[0], type(args[0]))(*args[1:], **kwargs)
