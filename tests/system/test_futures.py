"""Futures of one batch: one wake-up per event loop, and nobody is disturbed by who has gone."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, InvalidStateError, ThreadPoolExecutor
from typing import Any

import pytest

from guardrail.call.drivers import drive
from guardrail.system.futures import BatchedFuture, WakeUpBatch
from guardrail.system.waiting import Steps, Wait, wait_async


class CountingLoop(asyncio.SelectorEventLoop):
    """An event loop that counts how often another thread wakes it."""

    woken = 0

    def call_soon_threadsafe(
        self, callback: Callable[..., object], *args: Any, context: Any = None
    ) -> asyncio.Handle:
        """As of any loop, counted."""
        self.woken += 1
        return super().call_soon_threadsafe(callback, *args, context=context)


def on_a_loop(
    futures: list[BatchedFuture[int]], ready: threading.Barrier
) -> tuple[list[object], int]:
    """Wait for *futures* by as many tasks of one loop; return what they got and how often the loop
    was woken.
    """
    loop = CountingLoop()

    async def main() -> list[object]:
        tasks = [asyncio.ensure_future(wait_async(future, 10)) for future in futures]
        await asyncio.sleep(0)
        before = loop.woken
        ready.wait(10)
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        loop.woken -= before
        return answers

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        answers = runner.run(main())
        woken = loop.woken
    return answers, woken


def end(futures: list[BatchedFuture[int]], handover: WakeUpBatch | None) -> None:
    """End each with its index."""
    for number, future in enumerate(futures):
        future.handover = handover
        future.set_result(number)


def test_each_loop_is_woken_once_for_all_futures_of_a_batch() -> None:
    """Two loops with 20 waiters each: two wake-ups, and everyone has their own result."""
    futures = [BatchedFuture[int]() for _ in range(40)]
    ready = threading.Barrier(3)
    with ThreadPoolExecutor(2) as pool:
        loops = [pool.submit(on_a_loop, half, ready) for half in (futures[:20], futures[20:])]
        ready.wait(10)
        with WakeUpBatch() as handover:
            end(futures, handover)
        assert [loop.result(10) for loop in loops] == [
            (list(range(20)), 1),
            (list(range(20, 40)), 1),
        ]


def test_a_future_that_ends_alone_wakes_its_waiters_itself() -> None:
    """Outside a batch nobody has to remember to wake."""
    futures = [BatchedFuture[int]() for _ in range(3)]
    ready = threading.Barrier(2)
    with ThreadPoolExecutor(1) as pool:
        loop = pool.submit(on_a_loop, futures, ready)
        ready.wait(10)
        end(futures, None)
        assert loop.result(10) == ([0, 1, 2], 3)


def test_of_a_batch_each_waiter_gets_its_own_error() -> None:
    """A failure among receipts reaches the one that it belongs to."""
    futures = [BatchedFuture[int]() for _ in range(3)]
    ready = threading.Barrier(2)
    with ThreadPoolExecutor(1) as pool:
        loop = pool.submit(on_a_loop, futures, ready)
        ready.wait(10)
        with WakeUpBatch() as handover:
            for future in futures:
                future.handover = handover
            futures[0].set_result(0)
            futures[1].set_exception(ValueError("x"))
            futures[2].set_result(2)
        answers, woken = loop.result(10)
    assert (answers[0], answers[2], woken) == (0, 2, 1)
    assert isinstance(answers[1], ValueError)


def test_a_loop_that_was_closed_does_not_keep_others_from_being_woken() -> None:
    """Its waiters are gone; another loop and a thread, of the same batch, get their results."""
    futures = [BatchedFuture[int]() for _ in range(3)]

    async def give_up() -> None:
        with pytest.raises(TimeoutError):
            await wait_async(futures[0], 0.01)

    asyncio.run(give_up())
    ready = threading.Barrier(2)
    with ThreadPoolExecutor(2) as pool:
        loop = pool.submit(on_a_loop, futures[1:2], ready)
        thread = pool.submit(futures[2].result, 10)
        ready.wait(10)
        with WakeUpBatch() as handover:
            end(futures, handover)
        assert loop.result(10) == ([1], 1)
        assert thread.result(10) == 2
    assert futures[0].result(0) == 0


async def test_who_was_cancelled_or_timed_out_disturbs_no_other_of_the_batch() -> None:
    """They are gone when the batch ends; the one who still waits gets its result."""
    futures = [BatchedFuture[int]() for _ in range(3)]
    with pytest.raises(TimeoutError):
        await wait_async(futures[0], 0.01)
    # Without a limit, which would find the result as well, only later.
    cancelled, waiting = (asyncio.ensure_future(wait_async(one, None)) for one in futures[1:])
    await asyncio.sleep(0)
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    with WakeUpBatch() as handover:
        end(futures, handover)
    assert await asyncio.wait_for(waiting, 10) == 2
    assert [future.result(0) for future in futures] == [0, 1, 2]


async def test_a_future_that_has_ended_is_not_waited_for() -> None:
    """Its result is there at once, in a thread and on a loop."""
    future = BatchedFuture[int]()
    future.set_result(1)
    assert future.result(0) == 1
    assert await wait_async(future, 0) == 1


async def test_several_tasks_and_a_wait_that_is_begun_again_get_the_result() -> None:
    """A future may be waited for as often as one likes."""
    future = BatchedFuture[int]()
    with pytest.raises(TimeoutError):
        await wait_async(future, 0.01)
    tasks = [asyncio.ensure_future(wait_async(future, 10)) for _ in range(3)]
    await asyncio.sleep(0)
    await asyncio.to_thread(future.set_result, 7)
    assert await asyncio.gather(*tasks) == [7, 7, 7]


def test_threads_that_wait_for_one_future_all_get_its_result() -> None:
    """Waiting leaves the gate open for the next one."""
    future = BatchedFuture[int]()
    with ThreadPoolExecutor(4) as pool:
        threads = [pool.submit(future.result, 10) for _ in range(4)]
        future.set_result(7)
        assert [thread.result(10) for thread in threads] == [7] * 4


def test_a_wait_that_runs_out_of_time_leaves_the_future_alone() -> None:
    """In a thread as well: the record may be on its way."""
    future = BatchedFuture[int]()
    for timeout in (0.01, 0, -1):
        with pytest.raises(TimeoutError):
            future.result(timeout)
    assert not future.done()
    future.set_result(1)
    assert future.result() == 1


def test_a_cancelled_future_wakes_a_thread_that_waits_for_it() -> None:
    """However it ends, nobody waits for ever."""
    future = BatchedFuture[int]()
    with ThreadPoolExecutor(1) as pool:
        thread = pool.submit(future.result, 10)
        assert future.cancel()
        assert future.cancel()  # once more changes nothing
        assert isinstance(thread.exception(10), CancelledError)


def test_steps_wait_for_a_future_of_a_batch() -> None:
    """A procedure in a thread gets the result, and the error, where it stands."""
    futures = [BatchedFuture[int](), BatchedFuture[int]()]

    def steps() -> Steps[tuple[int, str]]:
        value = yield Wait(futures[0], 10)
        try:
            yield Wait(futures[1], 10)
        except ValueError as error:
            return value, str(error)
        return value, ""

    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(drive, steps())
        futures[0].set_result(1)
        futures[1].set_exception(ValueError("x"))
        assert answer.result(10) == (1, "x")


def test_of_cancelling_and_beginning_to_run_only_one_succeeds() -> None:
    """Whoever is first, the other is told; 2,000 futures, two threads that start together."""
    futures = [BatchedFuture[int]() for _ in range(2_000)]
    ready = threading.Barrier(2)

    def cancel() -> list[bool]:
        ready.wait(10)
        return [future.cancel() for future in futures]

    def run() -> list[bool]:
        ready.wait(10)
        return [future.set_running_or_notify_cancel() for future in reversed(futures)]

    with ThreadPoolExecutor(2) as pool:
        cancelled, ran = pool.submit(cancel), pool.submit(run)
        pairs = list(zip(cancelled.result(10), reversed(ran.result(10)), strict=True))
    assert all(was_cancelled != did_run for was_cancelled, did_run in pairs)
    assert [future.cancelled() for future in futures] == [first for first, _ in pairs]
    assert [future.running() for future in futures] == [second for _, second in pairs]


def test_a_future_ends_once() -> None:
    """Neither a second result nor a result after a cancellation replaces the first end."""
    future, other = BatchedFuture[int](), BatchedFuture[int]()
    future.set_result(1)
    other.cancel()
    for ended in (future, other):
        with pytest.raises(InvalidStateError):
            ended.set_result(2)
        with pytest.raises(InvalidStateError):
            ended.set_exception(ValueError("x"))
    assert (future.result(0), future.exception(0), future.cancel()) == (1, None, False)
    with pytest.raises(CancelledError):
        other.exception(0)


def test_callbacks_run_once_each_however_and_whenever_the_future_ends() -> None:
    """Also those that are added later, and those behind one that fails."""
    for end_it in (
        lambda future: future.set_result(1),
        lambda future: future.set_exception(ValueError("x")),
        lambda future: future.cancel(),
    ):
        future, seen = BatchedFuture[int](), []
        future.add_done_callback(lambda _, seen=seen: seen.append("first"))  # type: ignore[misc]
        future.add_done_callback(lambda _: 1 / 0)
        future.add_done_callback(lambda _, seen=seen: seen.append("second"))  # type: ignore[misc]
        assert seen == []
        end_it(future)
        future.add_done_callback(lambda _, seen=seen: seen.append("late"))  # type: ignore[misc]
        assert seen == ["first", "second", "late"]


async def test_asyncio_can_wrap_it_like_any_future() -> None:
    """``asyncio.wrap_future`` uses only the public methods."""
    future = BatchedFuture[int]()
    wrapped = asyncio.wrap_future(future)
    await asyncio.to_thread(future.set_result, 3)
    assert await asyncio.wait_for(wrapped, 10) == 3
