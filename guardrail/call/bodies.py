"""The body of a governed call: the request to run it, and the checks on the body and its result."""

from __future__ import annotations

import asyncio
import inspect
import types
from collections.abc import Callable, Generator, Mapping
from contextvars import ContextVar
from typing import Any, NamedTuple, TypeVar

from guardrail.call.timed_bodies import TimedBody
from guardrail.core.hidden import hidden
from guardrail.core.schema.names import shows
from guardrail.errors import UsageError
from guardrail.system.waiting import Shielded, Wait, Work
from guardrail.tools.tool import Tool

__all__ = [
    "CURRENT",
    "CallGenerator",
    "Run",
    "check_body",
    "check_result",
    "is_async",
    "is_awaitable",
]

R = TypeVar("R")

CURRENT: ContextVar[str | None] = ContextVar("guardrail_call", default=None)
"""Id of the governed call whose body runs in this context."""


@hidden
class Run(NamedTuple):
    """A request to run a body. The driver runs it and sends ``Ended`` back."""

    call: str
    """Call id: the parent of the governed calls that the body makes."""
    tool: Tool
    run: Callable[..., Any]
    arguments: Mapping[str, Any]
    extra: Mapping[str, Any] | None
    """Arguments that the program injects."""
    timed: TimedBody | None = None
    """Runs the body if the tool has a timeout."""


_DONE = frozenset(map(id, (types.NoneType, bool, int, float, str, bytes, list, tuple, dict)))
"""Ids of common result types that leave no work pending. Types are compared by identity, because a
hostile type could claim equality or have no hash.
"""
_LAZY = (types.GeneratorType, types.AsyncGeneratorType, map, filter)


CallGenerator = Generator[Wait | Shielded | Work | Run, Any, R]
"""Steps that may also run a body. ``guardrail.call.drivers`` drives them."""


def is_async(run: Callable[..., Any]) -> bool:
    """Return True if calling *run* returns a coroutine."""
    if (
        type(run) is types.FunctionType and not run.__dict__
    ):  # the usual case: no wrapper and no attributes
        return bool(run.__code__.co_flags & inspect.CO_COROUTINE)
    # An object whose __call__ is a coroutine function counts as one.
    return inspect.iscoroutinefunction(run) or inspect.iscoroutinefunction(type(run).__call__)


def is_awaitable(result: object) -> bool:
    """Return True if *result* must be awaited. Only the type is examined, so that no code of a
    hostile object runs.
    """
    return any(
        "__await__" in type.__getattribute__(base, "__dict__") for base in type(result).__mro__
    )


def check_body(tool: Tool, run: object, extra: Mapping[str, Any] | None, *, awaited: bool) -> None:
    """Check, before the call is decided, that *run* can be the body of *tool* and that no injected
    argument is one that the schema shows to the model. Raises ``UsageError``.
    """
    if not callable(run):
        raise UsageError(f"run must be a callable, not {type(run).__name__}", code="usage.run")
    if getattr(run, "__guardrail_tool__", None) is not None:
        # The governed function would make a second call, without the approval of the first.
        raise UsageError(
            "run is itself a governed tool, so the call would be decided twice",
            code="usage.governed",
            hint="pass the function that @guard.tool decorates: run=FUNCTION.__wrapped__",
        )
    if not awaited and is_async(run):
        raise UsageError("run is a coroutine function", code="usage.run", hint="use acall")
    if not tool.unsafe_stream and (
        inspect.isgeneratorfunction(run) or inspect.isasyncgenfunction(run)
    ):
        raise UsageError(
            "run is a generator function: its body would run after the outcome is recorded",
            code="usage.generator",
            hint="return a list, or declare the tool with unsafe_stream=True",
        )
    if extra and tool.schema is not None:
        for name in extra:
            if shows(tool.schema.schema, name) or name in tool.parameters.values():
                raise UsageError(
                    f"{tool.name}: the model can see the argument {name}, so it can't be injected",
                    code="usage.injected",
                    hint="rename it, or remove it from the schema",
                )


def check_result(tool: Tool, result: object, *, awaited: bool) -> None:
    """Check that *result* is a finished value, not a lazy iterator or an unawaited coroutine.
    Raises ``UsageError`` if it is not; the outcome is then recorded as ``error``.
    """
    kind = type(result)  # never isinstance: a hostile object may lie about its class, or raise
    if id(kind) in _DONE:
        return
    if any(kind is lazy for lazy in _LAZY):
        if tool.unsafe_stream:
            return
        if isinstance(result, types.GeneratorType):
            result.close()
        raise UsageError(
            "the body returned a generator or a lazy iterator, which would run after the "
            "outcome is recorded",
            code="usage.generator",
            hint="return a list, or declare the tool with unsafe_stream=True",
        )
    if not awaited and any(
        base is types.CoroutineType or base is asyncio.Future for base in kind.__mro__
    ):
        if isinstance(result, types.CoroutineType):
            result.close()
        raise UsageError(
            "the body returned an awaitable that was not awaited",
            code="usage.run",
            hint="use acall",
        )
