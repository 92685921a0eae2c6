"""The sync and async drivers of a call's steps. No other module runs a tool.

The drivers differ only in how they wait. The steps themselves are in ``guardrail.call.steps``.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import time
from collections.abc import Awaitable
from typing import Any, TypeVar

from guardrail.call.bodies import CURRENT, CallGenerator, Run, check_result, is_async, is_awaitable
from guardrail.call.stages import Ended
from guardrail.call.timed_bodies import TimedBody
from guardrail.errors import LedgerError
from guardrail.system.waiting import (
    Shielded,
    Wait,
    Work,
    run_in_thread,
    wait_async,
    wait_shielded,
    work_async,
)

__all__ = ["drive", "drive_async"]

R = TypeVar("R")


def drive(steps: CallGenerator[R]) -> R:
    """Run *steps* to completion in this thread and return their value.

    Ctrl-C raises ``KeyboardInterrupt`` in the current step, whatever this thread is doing.
    """
    stop: BaseException | None = None
    while True:
        try:
            return _drive(steps, stop)
        except BaseException as error:
            if inspect.getgeneratorstate(steps) == inspect.GEN_CLOSED:
                raise  # the steps have ended
            stop = error


def _drive(steps: CallGenerator[R], stop: BaseException | None) -> R:
    try:
        step = next(steps) if stop is None else steps.throw(stop)
        while True:
            try:
                kind = type(step)
                if kind is Wait or kind is Shielded:
                    value: Any = step.future.result(step.timeout)  # type: ignore[union-attr]
                elif kind is Run:
                    value = _run(step)  # type: ignore[arg-type]
                else:
                    value = step.run()  # type: ignore[union-attr]
            except BaseException as error:  # noqa: BLE001 - handed on to the step, which decides
                step = steps.throw(error)
            else:
                step = steps.send(value)
    except StopIteration as done:
        # Do not store the result in a variable: an exception of the body refers to this frame.
        return done.value  # type: ignore[no-any-return]


async def drive_async(steps: CallGenerator[R]) -> R:
    """Run *steps* as ``drive`` does, on the running event loop.

    A cancellation that arrives during a ``Work`` is thrown at the next ``Wait``. A cancellation
    that arrives during a ``Shielded``, or while the body runs in a thread, is raised at the end.

    If the coroutine is closed while it awaits a body, or later, the outcome is submitted. A body
    that runs in a thread continues, so its call stays open until the process ends.
    """
    stops: list[asyncio.CancelledError] = []
    try:
        step = next(steps)
        while True:
            try:
                if isinstance(step, Wait):
                    if stops:
                        raise stops.pop()
                    value: Any = await wait_async(step.future, step.timeout)
                elif isinstance(step, Shielded):
                    value = await wait_shielded(step.future, step.timeout, stops)
                elif isinstance(step, Run):
                    value = await _run_async(step, stops)
                else:
                    value = await work_async(step, stops)
            except GeneratorExit as closed:
                _close(steps, step, closed)
                raise
            except BaseException as error:  # noqa: BLE001 - handed on to the step, which decides
                step = steps.throw(error)
            else:
                step = steps.send(value)
    except StopIteration as done:
        if stops:
            raise stops.pop(0) from None
        return done.value  # type: ignore[no-any-return]


def _close(steps: CallGenerator[Any], step: Any, closed: GeneratorExit) -> None:
    """End *steps*, currently at *step*, without waiting, because the loop has ended or the task was
    dropped.

    Steps that still have to record an outcome submit it as if no time were left, and the ledger
    writes it.
    """
    if isinstance(step, Run) and step.timed is not None:
        step = steps.send(step.timed.interrupted(closed))
    elif isinstance(step, Run) and is_async(step.run):
        step = steps.send(Ended(None, closed, None))
    elif not isinstance(step, Shielded):
        # this raises the exception, unless the steps still have to record an outcome
        step = steps.throw(closed)
    with contextlib.suppress(StopIteration, LedgerError):
        while True:
            try:
                value = step.run() if isinstance(step, Work) else step.future.result(0)
            except BaseException as error:  # noqa: BLE001 - handed on to the step, which decides
                step = steps.throw(error)
            else:
                step = steps.send(value)


def _run(step: Run) -> Ended:
    """Run a body in this thread, or in its own thread if its tool has a timeout."""
    if step.timed is not None:
        return step.timed.run(functools.partial(_run_here, step, awaited=False))
    return _run_here(step, awaited=False)


def _run_here(step: Run, *, awaited: bool) -> Ended:
    began = time.perf_counter()
    try:
        before = CURRENT.get()
        try:
            CURRENT.set(step.call)  # inside the try block: a Ctrl-C must not leave it set
            result = step.run(**step.arguments, **(step.extra or {}))  # (8) the body
        finally:
            CURRENT.set(before)
        check_result(step.tool, result, awaited=awaited)
    except BaseException as error:  # noqa: BLE001 - recorded, and raised when that is durable
        return Ended(None, error, time.perf_counter() - began)
    return Ended(result, None, time.perf_counter() - began)


async def _run_async(step: Run, stops: list[asyncio.CancelledError]) -> Ended:
    """Run a body on the event loop, or in a thread if it is not a coroutine function."""
    if step.timed is not None:
        return await _run_timed(step, step.timed, stops)
    began = time.perf_counter()
    stop: asyncio.CancelledError | None = None
    try:
        token = CURRENT.set(step.call)
        try:
            if is_async(step.run):
                result = await step.run(**step.arguments, **(step.extra or {}))  # (8) the body
            else:
                body = functools.partial(step.run, **step.arguments, **(step.extra or {}))
                result, stop = await run_in_thread(body)  # (8)
                if is_awaitable(result):
                    result = await result
        finally:
            CURRENT.reset(token)
        check_result(step.tool, result, awaited=True)
    except BaseException as error:  # noqa: BLE001 - recorded, and raised when that is durable
        return Ended(None, error, time.perf_counter() - began)
    if stop is not None:
        stops.append(stop)
    return Ended(result, None, time.perf_counter() - began)


async def _run_timed(step: Run, timed: TimedBody, stops: list[asyncio.CancelledError]) -> Ended:
    """Run the body of a tool with a timeout, as a task or in a thread."""
    coroutine = step._replace(timed=None)
    if not is_async(step.run):
        ended = await timed.run_async(functools.partial(_run_here, step, awaited=True), stops)
        if ended.error is not None or not is_awaitable(ended.result):
            return ended
        coroutine = coroutine._replace(
            run=_await, arguments={"awaitable": ended.result}, extra=None
        )
    return await timed.run_task(functools.partial(_run_async, coroutine, []), stops)


async def _await(awaitable: Awaitable[Any]) -> Any:
    return await awaitable
