"""Waiting never cancels what is waited for."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future

import pytest

from guardrail.call.drivers import drive, drive_async
from guardrail.system import waiting
from guardrail.system.futures import BatchedFuture
from guardrail.system.waiting import (
    LARGE,
    Steps,
    Wait,
    Work,
    run_in_thread,
    wait_async,
)


def later(value: object, seconds: float = 0.02) -> Future[object]:
    """Return a future that another thread ends."""
    future: Future[object] = Future()

    def end() -> None:
        time.sleep(seconds)
        if isinstance(value, BaseException):
            future.set_exception(value)
        else:
            future.set_result(value)

    threading.Thread(target=end, daemon=True).start()
    return future


def steps() -> Steps[list[object]]:
    """Wait for a value, an error and a timeout, and tell what came."""
    seen: list[object] = [(yield Wait(later(1), None))]
    try:
        yield Wait(later(ValueError("x")), 5)
    except ValueError as error:
        seen.append(str(error))
    try:
        yield Wait(Future(), 0.01)
    except TimeoutError:
        seen.append("timeout")
    return seen


def test_steps_run_alike_in_a_thread_and_on_a_loop() -> None:
    """The procedure is written once."""
    assert drive(steps()) == [1, "x", "timeout"]
    assert asyncio.run(drive_async(steps())) == [1, "x", "timeout"]


def test_what_steps_raise_reaches_the_caller() -> None:
    """Without being taken for a wait."""

    def failing() -> Steps[None]:
        yield Wait(later(1), None)
        raise KeyError("x")

    with pytest.raises(KeyError):
        drive(failing())
    with pytest.raises(KeyError):
        asyncio.run(drive_async(failing()))


async def test_a_cancelled_wait_leaves_the_future_alone() -> None:
    """A record under way is not to be lost."""
    future: Future[int] = Future()
    task = asyncio.ensure_future(wait_async(future, None))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not future.cancelled()
    future.set_result(1)
    assert await wait_async(future, None) == 1


async def test_a_future_that_ends_after_the_wait_was_given_up_disturbs_nobody() -> None:
    """Its callback finds the waiter done."""
    future: Future[int] = Future()
    with pytest.raises(TimeoutError):
        await wait_async(future, 0.01)
    future.set_result(1)
    await asyncio.sleep(0.01)


def test_a_future_that_ends_after_its_loop_was_closed_disturbs_nobody() -> None:
    """call_soon_threadsafe on a closed loop raises, and that stays inside."""
    future: Future[int] = Future()

    async def give_up() -> None:
        with pytest.raises(TimeoutError):
            await wait_async(future, 0.01)

    asyncio.run(give_up())
    future.set_result(1)
    assert future.result() == 1


async def test_a_record_that_ends_while_a_waiter_is_added_is_not_slept_through() -> None:
    """Its waiters had been looked through already: whoever is added then finds it done."""

    class Ending(BatchedFuture[int]):
        def wake_on(self, loop: asyncio.AbstractEventLoop, waiter: asyncio.Future[None]) -> None:
            self.set_result(7)
            super().wake_on(loop, waiter)

    assert await wait_async(Ending(), 5) == 7


async def test_a_thread_is_waited_for_even_when_the_task_is_cancelled() -> None:
    """A thread can't be stopped; saying that it was would be untrue."""
    ended = threading.Event()

    def body() -> str:
        time.sleep(0.05)
        ended.set()
        return "done"

    task = asyncio.ensure_future(run_in_thread(body))
    await asyncio.sleep(0.01)
    task.cancel()
    result, stop = await task
    assert ended.is_set()
    assert result == "done"
    assert isinstance(stop, asyncio.CancelledError)


async def test_a_thread_hands_back_what_it_raised() -> None:
    """As if it had been called."""

    def body() -> None:
        raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        await run_in_thread(body)


PLACE: contextvars.ContextVar[str] = contextvars.ContextVar("place")


def working(size: int) -> Steps[tuple[int, str]]:
    """Tell in which thread, and in which context, work of *size* was done."""
    return (yield Work(lambda: (threading.get_ident(), PLACE.get()), size))


async def test_large_work_leaves_the_loop_and_keeps_the_context() -> None:
    """Small work does not: a thread costs more."""
    here = threading.get_ident()
    PLACE.set("here")
    assert drive(working(LARGE + 1)) == (here, "here")
    assert await drive_async(working(LARGE)) == (here, "here")
    where, place = await drive_async(working(LARGE + 1))
    assert (where != here, place) == (True, "here")


async def test_the_loop_goes_on_during_large_work() -> None:
    """The work waits for something that only the loop does."""
    reached = threading.Event()

    def steps() -> Steps[bool]:
        return (yield Work(lambda: reached.wait(30), LARGE + 1))

    asyncio.get_running_loop().call_later(0.01, reached.set)
    assert await drive_async(steps())


@pytest.mark.parametrize("size", [1, LARGE + 1])
def test_what_work_raises_is_thrown_where_it_was_asked_for(size: int) -> None:
    """Also a cancellation of its own, which is none of the task."""

    def fail(error: BaseException) -> None:
        raise error

    def steps() -> Steps[list[str]]:
        seen = []
        for error in (ValueError("one"), asyncio.CancelledError("two")):
            try:
                yield Work(lambda error=error: fail(error), size)  # type: ignore[misc]
            except (ValueError, asyncio.CancelledError) as caught:
                seen.append(str(caught))
        return seen

    assert drive(steps()) == ["one", "two"]
    assert asyncio.run(drive_async(steps())) == ["one", "two"]


@pytest.mark.parametrize("waits", [True, False])
async def test_a_cancellation_waits_for_large_work_and_is_thrown_at_the_next_wait(
    waits: bool,
) -> None:
    """Or raised at the end; what was done is not lost on the way."""
    begun, go_on = threading.Event(), threading.Event()
    seen: list[object] = []

    def steps() -> Steps[None]:
        def work() -> str:
            begun.set()
            go_on.wait(30)
            return "done"

        seen.append((yield Work(work, LARGE + 1)))
        if waits:
            try:
                yield Wait(Future(), None)
            except asyncio.CancelledError as stop:
                seen.append(type(stop))
                raise

    task = asyncio.ensure_future(drive_async(steps()))
    while not begun.is_set():
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0.01)
    assert not task.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == (["done", asyncio.CancelledError] if waits else ["done"])


async def test_large_work_is_done_on_the_loop_where_no_thread_can_be_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Late is better than not at all: it may be an outcome that is owed."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    PLACE.set("here")
    monkeypatch.setattr(waiting.BackgroundThread, "start", refuse)
    assert (await drive_async(working(LARGE + 1)))[0] == threading.get_ident()


@pytest.mark.parametrize("timeouts", [[0.001] * 3, [0.001 * number for number in range(1, 30)]])
def test_every_wait_ends_in_time_although_waits_share_timers(timeouts: list[float]) -> None:
    """Even if there are too many different timeouts."""

    async def run() -> list[object]:
        waits = [wait_async(BatchedFuture[int](), timeout) for timeout in timeouts]
        return await asyncio.gather(*waits, return_exceptions=True)

    assert [type(found) for found in asyncio.run(run())] == [TimeoutError] * len(timeouts)


def test_waits_with_the_same_timeout_share_one_timer() -> None:
    """In one loop. The next loop of the thread has its own."""

    async def run() -> int:
        loop, timers = asyncio.get_running_loop(), 0
        call_later = loop.call_later

        def counting(*args: object) -> asyncio.TimerHandle:
            nonlocal timers
            timers += 1
            return call_later(*args)  # type: ignore[arg-type]

        loop.call_later = counting  # type: ignore[method-assign,assignment]
        futures = [BatchedFuture[int]() for _ in range(20)]
        waits = [asyncio.ensure_future(wait_async(future, 60.0)) for future in futures]
        await asyncio.sleep(0)
        for future in futures:
            future.set_result(1)
        assert await asyncio.gather(*waits) == [1] * 20
        return timers

    assert [asyncio.run(run()), asyncio.run(run())] == [1, 1]


def test_a_shared_timer_is_set_again_for_the_waits_that_began_later() -> None:
    """Each wait ends at its own time, whatever the times of the others."""

    async def run() -> tuple[bool, bool, list[float]]:
        loop, now = asyncio.get_running_loop(), 100.0
        timers: list[Sequence[object]] = []
        set_again: list[float] = []
        loop.time = lambda: now  # type: ignore[method-assign]
        loop.call_later = lambda _, *timer: timers.append(timer)  # type: ignore[method-assign,assignment,misc]
        loop.call_at = lambda when, *_: set_again.append(when)  # type: ignore[method-assign,assignment,misc]
        waits = [asyncio.ensure_future(wait_async(BatchedFuture[int](), 5.0))]
        await asyncio.sleep(0)
        now = 102.0
        waits.append(asyncio.ensure_future(wait_async(BatchedFuture[int](), 5.0)))
        await asyncio.sleep(0)
        now = 105.0
        ((end, *arguments),) = timers
        assert callable(end)
        end(*arguments)
        with pytest.raises(TimeoutError):
            await waits[0]
        waits[1].cancel()
        return waits[0].done(), waits[1].done(), set_again

    assert asyncio.run(run()) == (True, False, [107.0])
