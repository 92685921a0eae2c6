"""Waiting never cancels what is waited for."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import Future

import pytest

from guardrail.handover import Handed
from guardrail.waiting import Steps, Wait, drive, drive_async, run_in_thread, wait_async


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

    class Ending(Handed[int]):
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
