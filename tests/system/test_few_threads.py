"""Jobs in a few threads: all of them end, and the number of threads is bounded."""

from __future__ import annotations

import os
import threading

import pytest

from guardrail.system.few_threads import FewThreads
from guardrail.system.futures import BatchedFuture
from guardrail.system.threads import BackgroundThread


def test_jobs_run_in_order_in_at_most_that_many_threads() -> None:
    few = FewThreads(2, most_waiting=3, name="guardrail-test")
    gate, names = threading.Event(), set[int]()
    begun = threading.Semaphore(0)

    def job(number: int) -> int:
        names.add(threading.get_ident())
        begun.release()
        gate.wait(30)
        return number

    futures = [BatchedFuture[int]() for _ in range(6)]
    for number in range(2):
        assert few.run(lambda number=number: job(number), futures[number])  # type: ignore[misc]
        assert begun.acquire(timeout=30)
    for number in range(2, 5):
        assert few.run(lambda number=number: job(number), futures[number])  # type: ignore[misc]
    assert not few.run(lambda: job(5), futures[5])
    gate.set()
    assert [each.result(30) for each in futures[:5]] == [0, 1, 2, 3, 4]
    assert len(names) == 2
    assert not futures[5].done()


def test_an_error_of_a_job_reaches_whoever_waits_and_the_thread_goes_on() -> None:
    few = FewThreads(1, most_waiting=9, name="guardrail-test")
    failed, done, ended = (BatchedFuture[int]() for _ in range(3))
    ended.cancel()  # by someone who was interrupted
    assert few.run(lambda: 1 // 0, failed)
    assert few.run(lambda: 2, ended)
    assert few.run(lambda: 3, done)
    assert isinstance(failed.exception(30), ZeroDivisionError)
    assert done.result(30) == 3


def test_without_a_thread_nothing_is_promised(monkeypatch: pytest.MonkeyPatch) -> None:
    few = FewThreads(1, most_waiting=9, name="guardrail-test")

    def fail(_: BackgroundThread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(BackgroundThread, "start", fail)
        assert not few.run(lambda: 1, BatchedFuture[int]())
    later = BatchedFuture[int]()
    assert few.run(lambda: 2, later)
    assert later.result(30) == 2


def test_a_forked_child_runs_its_own_jobs() -> None:
    few = FewThreads(1, most_waiting=1, name="guardrail-test")
    begun, gate, first = threading.Event(), threading.Event(), BatchedFuture[bool]()

    def job() -> bool:
        begun.set()
        return gate.wait(30)

    assert few.run(job, first)
    assert begun.wait(30)
    assert few.run(lambda: True, BatchedFuture[bool]())  # it waits
    child = os.fork()
    if child == 0:
        own = BatchedFuture[bool]()
        os._exit(0 if few.run(lambda: True, own) and own.result(30) else 1)
    gate.set()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert first.result(30)
