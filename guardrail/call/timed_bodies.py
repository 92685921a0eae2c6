"""Runs bodies that have a timeout, each in its own thread or task, so that the call can end before
the body.

At the timeout, a task is cancelled. A thread can't be stopped: its call ends, and the end of the
thread is later recorded as a claim (``guardrail.call.settling``).
"""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any

from guardrail.call.ended import Early, Ended
from guardrail.errors import ToolTimeoutError
from guardrail.system.futures import BatchedFuture
from guardrail.system.threads import BackgroundThread
from guardrail.system.waiting import wait_async
from guardrail.tools.tool import Tool

__all__ = ["TimedBody"]

_CLEANUP = 2.0
"""Number of seconds that a cancelled coroutine may take to end. After that, it counts as still
running.
"""

_TASKS: set[asyncio.Task[None]] = set()
"""The tasks that have not ended, kept here because an event loop alone does not keep a task
alive.
"""


class TimedBody:
    """The body of one call of a tool that has a timeout."""

    def __init__(self, tool: Tool) -> None:
        """Prepare to run the body, without starting it."""
        self._tool = tool
        self._ended: BatchedFuture[Ended] = BatchedFuture()
        self._began: float | None = None
        self._thread: BackgroundThread | None = None
        self._task: asyncio.Task[None] | None = None

    def run(self, body: Callable[[], Ended]) -> Ended:
        """Run *body* in a thread. Return how it ended, or that it timed out.

        If Ctrl-C interrupts the wait, ``KeyboardInterrupt`` is raised and *body* keeps running;
        ``interrupted`` then returns how the call ended.
        """
        self._start_thread(body)
        try:
            return self._ended.result(self._left())
        except TimeoutError:
            return self._timed_out()

    async def run_async(
        self, body: Callable[[], Ended], stops: list[asyncio.CancelledError]
    ) -> Ended:
        """Async version of ``run``. A cancellation is delayed until *body* ends, or until the
        timeout if that is earlier, and is added to *stops*.
        """
        self._start_thread(body)
        await self._wait(self._left(), stops)
        return self._timed_out()

    async def run_task(
        self,
        body: Callable[[], Coroutine[Any, Any, Ended]],
        stops: list[asyncio.CancelledError],
    ) -> Ended:
        """Run *body* as a task. Return how it ended, or that it timed out.

        A cancellation is passed on to *body*. If *body* does not end before the timeout, the
        cancellation is added to *stops*.
        """
        task = self._start_task(body)
        passed: list[asyncio.CancelledError] = []
        while not self._ended.done():
            try:
                await wait_async(self._ended, self._left())
            except TimeoutError:
                break
            except asyncio.CancelledError as stop:
                (stops if self._ended.done() else passed).append(stop)
                task.cancel(*stop.args)
        if self._ended.done():
            return self._ended.result()
        stops += passed
        task.cancel()
        await self._wait(_CLEANUP, stops)
        return self._timed_out()

    def interrupted(self, stop: BaseException) -> Ended:
        """Return the outcome of a call whose wait for its body was interrupted by *stop*."""
        if self._began is None:
            return Ended(None, stop, None)
        if self._thread is not None and not self._thread.will_run():
            return Ended(None, stop, None)  # the interrupt prevented the start of the thread
        if self._ended.done():
            return self._ended.result()
        early = Early(timed_out=False, running=True, body=self._ended)
        return Ended(None, stop, time.perf_counter() - self._began, early)

    def _start_thread(self, body: Callable[[], Ended]) -> None:
        """Run *body* in a thread that does not keep the process alive. Raises ``RuntimeError`` if
        no thread can be started.
        """
        context, ended = contextvars.copy_context(), self._ended

        def run() -> None:
            ended.set_result(context.run(body))

        self._thread = BackgroundThread(run, "guardrail-body")
        self._began = time.perf_counter()
        try:
            self._thread.start()
        except RuntimeError:
            self._began = None
            raise

    def _start_task(self, body: Callable[[], Coroutine[Any, Any, Ended]]) -> asyncio.Task[None]:
        ended = self._ended = BatchedFuture()

        async def run() -> None:
            ended.set_result(await body())

        def end(task: asyncio.Task[None]) -> None:
            _TASKS.discard(task)
            if not ended.done():  # cancelled before its first step
                ended.set_result(Ended(None, asyncio.CancelledError(), None))

        if self._began is None:
            self._began = time.perf_counter()
        self._task = task = asyncio.get_running_loop().create_task(run())
        _TASKS.add(task)
        task.add_done_callback(end)
        return task

    async def _wait(self, timeout: float, stops: list[asyncio.CancelledError]) -> None:
        """Wait at most *timeout* seconds for the body to end, even if the caller is cancelled."""
        end = time.perf_counter() + timeout
        while not self._ended.done():
            try:
                await wait_async(self._ended, max(0.0, end - time.perf_counter()))
            except TimeoutError:
                return
            except asyncio.CancelledError as stop:
                stops.append(stop)

    def _left(self) -> float:
        assert self._tool.timeout is not None
        assert self._began is not None
        return max(0.0, self._began + self._tool.timeout - time.perf_counter())

    def _timed_out(self) -> Ended:
        """Return the end of a call that timed out. If its thread ended just in time, return the end
        of the body.
        """
        done = self._ended.done()
        late: Future[Ended] | None = self._ended
        if done:
            ended = self._ended.result()
            if self._task is None:
                return ended
            if isinstance(ended.error, asyncio.CancelledError):
                late = None
        assert self._began is not None
        state = "was cancelled" if done else "may still be running"
        error = ToolTimeoutError(
            f"{self._tool.name} timed out after {self._tool.timeout} s and {state}: it "
            "may have had side effects",
            running=not done,
        )
        early = Early(timed_out=True, running=not done, body=late)
        return Ended(None, error, time.perf_counter() - self._began, early)
