"""A caller that waits alone reads its answer itself: under every limit, after every fault, and
whatever happens to it, it gets its own answer or an error, and no other caller waits for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import itertools
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import FrameType

import pytest

from guardrail.core.decision import parse
from guardrail.core.types import EngineReply
from guardrail.errors import PolicyError
from guardrail.policy.embedded.compiled import CompiledPolicies
from guardrail.policy.embedded.engine import EmbeddedEngine
from guardrail.policy.embedded.lane import Lane
from guardrail.policy.embedded.request import EngineRequest
from guardrail.system.waiting import wait_async
from tests.support.interrupts import Interrupt
from tests.support.paths import PROGRAMS
from tests.support.policies import ALLOW, call_input, compiled, write
from tests.support.waiting import until

FAULTY = PROGRAMS / "faulty_worker.py"
NAMED = (
    "\ndeny contains lower(input.action.properties.args.own) if input.action.properties.args.own\n"
)
"""A denial that repeats the argument ``own``, so that an answer shows to which call it belongs."""
numbers = itertools.count()


@pytest.fixture(scope="module")
def policies(tmp_path_factory: pytest.TempPathFactory) -> CompiledPolicies:
    """Policies that name the call in the answer."""
    return compiled(write(tmp_path_factory.mktemp("policies"), {"p.rego": ALLOW + NAMED}))


Start = Callable[..., EmbeddedEngine]


@pytest.fixture
def start(policies: CompiledPolicies) -> Iterator[Start]:
    """Starts engines, and closes them."""
    started: list[EmbeddedEngine] = []

    def start_one(**options: object) -> EmbeddedEngine:
        engine = EmbeddedEngine(policies, worker_script=FAULTY, **options)  # type: ignore[arg-type]
        started.append(engine)
        return engine

    yield start_one
    for engine in started:
        engine.close()


class Asked:
    """A question of a principal of its own, and the answer that belongs to it."""

    def __init__(self, engine: EmbeddedEngine, deadline: float = 10, **args: object) -> None:
        self.own = f"call {next(numbers)}"
        self.future: Future[EngineReply] = engine.decide(
            call_input(own=self.own, **args), shard=f"t\0{self.own}\0agent", deadline=deadline
        )

    def is_mine(self, reply: EngineReply) -> bool:
        """Return True if *reply* is the answer to this question."""
        return parse(reply.document).rules[0].rule == self.own

    def answered(self) -> bool:
        """Wait in this thread, and return True if the answer is the right one."""
        return self.is_mine(self.future.result(20))

    def failure(self) -> tuple[str, str]:
        """Wait in this thread for an error; return its cause and detail."""
        with pytest.raises(PolicyError) as caught:
            self.future.result(20)
        return caught.value.cause, caught.value.detail


def answered(engine: EmbeddedEngine, **args: object) -> bool:
    """Ask, and return True if the right answer comes."""
    return Asked(engine, **args).answered()  # type: ignore[arg-type]


def lane(engine: EmbeddedEngine) -> Lane:
    """Return the lane that serves."""
    return engine._lanes[0]


def reading(engine: EmbeddedEngine) -> None:
    """Wait until a caller reads."""
    until(lambda: lane(engine)._pipe.reader is not None, "a caller that reads")


def idle(engine: EmbeddedEngine) -> None:
    """Wait until the thread sleeps, as it does while only single callers come."""
    until(lambda: not lane(engine)._pipe.served, "the thread to sleep")


def test_a_single_caller_completes_its_own_call(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No other thread is woken for it."""
    engine = start()
    idle(engine)
    threads: list[int] = []
    complete = EngineRequest.set_result

    def note(self: EngineRequest, reply: EngineReply) -> None:
        threads.append(threading.get_ident())
        complete(self, reply)

    monkeypatch.setattr(EngineRequest, "set_result", note)
    assert all(answered(engine) for _ in range(20))
    assert threads == [threading.get_ident()] * 20


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("hang", ("timeout", "eval_limit")),
        ("exit", ("crashed", "exited")),
        ("kill", ("crashed", "killed")),
        ("wrong_id", ("crashed", "wrong_id")),
        ("huge", ("crashed", "bad_frame")),
        ("garbage", ("crashed", "bad_frame")),
        ("stall", ("timeout", "eval_limit")),
    ],
)
def test_a_fault_of_the_worker_has_the_same_cause_for_a_single_caller(
    start: Start, fault: str, expected: tuple[str, str]
) -> None:
    """As if the thread had read; the next call is answered."""
    engine = start(eval_limit=0.5)
    idle(engine)
    assert Asked(engine, fault=fault).failure() == expected
    assert answered(engine)


def test_a_worker_that_dies_at_any_byte_of_its_answer_fails_that_call(start: Start) -> None:
    """Only a complete answer counts, however little of it is missing."""
    engine = start()
    size = 0
    while True:
        asked, pid = Asked(engine, fault="cut", at=size), lane(engine).pid
        error = asked.future.exception(20)
        if error is None:
            break
        assert isinstance(error, PolicyError)
        assert (error.cause, error.detail) == ("crashed", "exited")
        assert answered(engine)
        size += 1 if size < 24 else 25
    assert size > 100
    assert asked.answered()
    until(lambda: lane(engine).pid not in {None, pid}, "the next worker")
    assert answered(engine)


def test_a_worker_that_dies_while_nobody_asks_costs_no_call(start: Start) -> None:
    """Whether the thread or the next caller notices first."""
    engine = start()
    for _ in range(5):
        idle(engine)
        pid = lane(engine).pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):  # it was waited for
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert answered(engine)


def test_an_answer_that_comes_twice_answers_no_other_call(start: Start) -> None:
    """The next worker answers it."""
    engine = start()
    for _ in range(4):
        worker = lane(engine)._pipe.worker
        assert worker is not None
        assert answered(engine, fault="twice", at=30)
        until(lambda w=worker: lane(engine)._pipe.worker is not w or not w.is_silent())
        assert answered(engine)


def test_an_answer_that_comes_during_the_next_call_is_not_used_for_it(start: Start) -> None:
    """The worker is not trusted any more: the call fails."""
    engine = start()
    assert answered(engine, fault="twice", at=100)
    assert Asked(engine, fault="slow").failure() == ("crashed", "wrong_id")
    assert answered(engine)


@pytest.mark.parametrize("deadline", [0.0, 0.05])
def test_an_answer_after_the_deadline_does_not_count_for_a_single_caller(
    start: Start, deadline: float
) -> None:
    """Nor for the calls after it."""
    engine = start()
    for _ in range(3):
        idle(engine)
        late = Asked(engine, deadline, **({"fault": "slow"} if deadline else {}))
        assert late.failure() == ("timeout", "deadline")
        assert answered(engine)


def test_a_caller_that_stops_waiting_leaves_its_call_to_the_thread(start: Start) -> None:
    """The call is completed, and the next one is answered meanwhile."""
    engine = start()
    idle(engine)
    asked = Asked(engine, fault="slow")
    with pytest.raises(TimeoutError):
        asked.future.result(0.02)
    assert answered(engine)
    assert asked.answered()


@pytest.mark.parametrize("ask", ["done", "callback", "exception", "loop"])
def test_a_call_is_completed_however_somebody_asks_for_it(start: Start, ask: str) -> None:
    """Also if nobody waits in a thread."""
    engine = start()
    idle(engine)
    asked = Asked(engine)
    if ask == "done":
        until(asked.future.done, "the reply")
    elif ask == "callback":
        called = threading.Event()
        asked.future.add_done_callback(lambda _: called.set())
        assert called.wait(20)
    elif ask == "exception":
        assert asked.future.exception(20) is None
    else:
        assert asked.is_mine(asyncio.run(wait_async(asked.future, 20)))
    assert asked.answered()


def test_calls_behind_a_caller_that_reads_are_answered(start: Start) -> None:
    """By the thread, once that caller has its answer; each gets its own."""
    engine = start()
    for _ in range(10):
        idle(engine)
        with ThreadPoolExecutor(5) as pool:
            first = pool.submit(answered, engine, fault="slow")
            reading(engine)
            others = [pool.submit(answered, engine) for _ in range(4)]
            assert all(each.result(20) for each in (first, *others))


def test_calls_that_one_caller_made_at_once_are_answered(start: Start) -> None:
    """Also those that were not sent at once, although the caller reads the first answers itself."""
    engine = start()
    for _ in range(30):
        idle(engine)
        futures = [
            engine.decide(call_input(), shard="t\0alice\0agent", deadline=5) for _ in range(6)
        ]
        assert all(future.result(20) for future in futures)


def test_threads_and_tasks_get_their_own_answers(start: Start) -> None:
    """While workers die and answers come twice."""
    engine = start()
    bad = {7: "exit", 19: "twice", 31: "kill", 43: "wrong_id"}

    def calls(count: int) -> int:
        wrong = 0
        for index in range(count):
            asked = Asked(engine, **({"fault": bad[index]} if index in bad else {}))  # type: ignore[arg-type]
            try:
                wrong += not asked.answered()
            except PolicyError as error:
                assert error.cause == "crashed"  # noqa: PT017 - in a thread
        return wrong

    async def task(count: int) -> int:
        wrong = 0
        for _ in range(count):
            asked = Asked(engine)
            try:
                wrong += not asked.is_mine(await wait_async(asked.future, 20))
            except PolicyError as error:
                assert error.cause == "crashed"  # noqa: PT017 - in a task
        return wrong

    async def tasks() -> int:
        return sum(await asyncio.gather(*(task(50) for _ in range(8))))

    with ThreadPoolExecutor(4) as pool:
        found = [pool.submit(calls, 50) for _ in range(3)]
        found.append(pool.submit(asyncio.run, tasks()))
        assert [each.result(120) for each in found] == [0] * 4


def test_a_task_that_is_cancelled_while_it_waits_delays_nobody(start: Start) -> None:
    """Its answer is taken from the pipe nevertheless."""
    engine = start()

    async def run() -> bool:
        asked = Asked(engine, fault="slow")
        waiting = asyncio.ensure_future(wait_async(asked.future, 20))
        await asyncio.sleep(0.01)
        waiting.cancel()
        other = Asked(engine)
        return other.is_mine(await wait_async(other.future, 20))

    assert asyncio.run(run())
    assert answered(engine)


@pytest.mark.parametrize("alone", [True, False])
def test_ctrl_c_at_any_place_of_a_caller_that_reads_delays_nobody(
    start: Start, *, alone: bool
) -> None:
    """Another caller, who asks at the same time or later, gets its own answer; so does the one that
    was interrupted, the next time.
    """
    engine = start()
    interrupted = 0
    with ThreadPoolExecutor(1) as pool:
        for place in itertools.count(1):
            idle(engine)
            other = None if alone else pool.submit(answered, engine)
            try:
                with Interrupt(place, ("policy/", "system/f")):
                    answered(engine)
            except KeyboardInterrupt:
                interrupted += 1
            else:
                break
            finally:
                assert other is None or other.result(20)
            assert pool.submit(answered, engine).result(20)
            assert answered(engine)
    assert interrupted > 40


def test_a_caller_that_does_not_read_is_replaced(start: Start) -> None:
    """Its thread is in a signal handler, which asks as well, and waits for another thread that
    asks.
    """
    engine = start()
    found: list[bool] = []

    def handler(_number: int, _frame: FrameType | None) -> None:
        found.append(answered(engine))
        with ThreadPoolExecutor(1) as pool:
            found.append(pool.submit(answered, engine).result(20))

    before = signal.signal(signal.SIGALRM, handler)
    try:
        for _ in range(3):
            idle(engine)
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            assert answered(engine, fault="slow")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert found == [True] * 6


class Stop(Exception):
    """Raised in another thread."""


@pytest.mark.usefixtures("untraced")
def test_a_caller_whose_thread_ends_while_it_reads_is_replaced(start: Start) -> None:
    """By an exception that another thread raises in it."""
    engine = start()
    for _ in range(3):
        idle(engine)
        with ThreadPoolExecutor(1) as pool:
            ids: list[int] = []

            def read(ids: list[int] = ids) -> bool:
                ids.append(threading.get_ident())
                return answered(engine, fault="slow")

            stopped = pool.submit(read)
            reading(engine)
            ctypes.pythonapi.PyThreadState_SetAsyncExc(
                ctypes.c_ulong(ids[0]), ctypes.py_object(Stop)
            )
            assert answered(engine)
            assert isinstance(stopped.exception(20), Stop)
        assert answered(engine)


class Interrupted(threading.Thread):
    """Asks *count* times, although another thread raises ``Stop`` in it at any instant."""

    def __init__(self, engine: EmbeddedEngine, count: int) -> None:
        super().__init__()
        self.found: list[bool] = []
        """For each answer, True if it was the right one."""
        self.stops = 0
        """Number of exceptions that were raised in this thread."""
        self._engine = engine
        self._count = count
        self._gate = threading.Lock()
        self._asks = True

    def run(self) -> None:
        """Ask until all answers are there."""
        while True:
            try:
                while len(self.found) < self._count:
                    self.found.append(answered(self._engine))
                with self._gate:
                    self._asks = False
                for _ in range(1000):
                    pass  # an exception that was raised before the last line arrives here
            except Stop:
                self.stops += 1
            else:
                return

    def stop(self) -> None:
        """Raise ``Stop`` in this thread while it asks."""
        with self._gate:
            if self._asks and self.ident is not None:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(
                    ctypes.c_ulong(self.ident), ctypes.py_object(Stop)
                )


@pytest.fixture
def untraced() -> Iterator[None]:
    """Trace neither this thread nor those that it starts. While an exception waits for a thread that
    sleeps, CPython 3.11 runs a traced thread in a circle at the begin of a function.
    """
    here, others = sys.gettrace(), threading.gettrace()
    sys.settrace(None)
    threading.settrace(None)  # type: ignore[arg-type]
    yield
    threading.settrace(others)  # type: ignore[arg-type]
    sys.settrace(here)


@pytest.mark.usefixtures("untraced")
def test_callers_that_are_interrupted_all_the_time_delay_nobody(start: Start) -> None:
    """Each gets its own answers, although the worker is replaced again and again."""
    engine = start()
    threads = [Interrupted(engine, 300) for _ in range(4)]
    for thread in threads:
        thread.start()
    for turn in itertools.count():
        if not any(thread.is_alive() for thread in threads):
            break
        threads[turn % 4].stop()
        threads[turn % 4].join(0.01)
    assert [thread.found for thread in threads] == [[True] * 300] * 4
    assert sum(thread.stops for thread in threads) > 5
    assert answered(engine)


def child_succeeds(work: Callable[[], bool]) -> int:
    """Fork; return the child's process id. Its exit code is 0 if *work* returned True."""
    child = os.fork()
    if child == 0:  # pragma: no cover - the child
        code = 1
        try:
            code = 0 if work() else 2
        finally:
            os._exit(code)
    return child


def ended_well(child: int) -> bool:
    """Wait for *child* and return True if it succeeded."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_fork_while_a_caller_reads_leaves_both_processes_usable(start: Start) -> None:
    """The child has workers of its own, and the caller in the parent gets its answer."""
    engine = start()
    for _ in range(3):
        idle(engine)
        with ThreadPoolExecutor(1) as pool:
            slow = pool.submit(answered, engine, fault="slow")
            reading(engine)
            child = child_succeeds(lambda: answered(engine) and answered(engine))
            assert slow.result(20)
        assert ended_well(child)
        assert answered(engine)


def test_a_fork_by_the_caller_that_reads_leaves_both_processes_usable(start: Start) -> None:
    """In a signal handler; four processes then ask at the same time."""
    engine = start()
    children: list[int] = []

    def handler(_number: int, _frame: FrameType | None) -> None:
        children.extend(
            child_succeeds(lambda: all(answered(engine) for _ in range(10))) for _ in range(3)
        )

    before = signal.signal(signal.SIGALRM, handler)
    try:
        idle(engine)
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        assert answered(engine, fault="slow")
    finally:
        signal.signal(signal.SIGALRM, before)
    assert all(answered(engine) for _ in range(10))
    assert len(children) == 3
    assert all(ended_well(child) for child in children)


def test_closing_ends_the_call_of_a_caller_that_reads(start: Start) -> None:
    """It does not wait for the worker."""
    engine = start(eval_limit=30.0)
    idle(engine)
    with ThreadPoolExecutor(1) as pool:
        failed = pool.submit(Asked(engine, fault="hang").failure)
        reading(engine)
        engine.close()
        assert failed.result(20) == ("unreachable", "closed")


def test_a_single_caller_with_a_large_input_is_answered(start: Start) -> None:
    """Also if the pipe does not take it at once."""
    engine = start()
    for _ in range(3):
        idle(engine)
        assert answered(engine, text="x" * 200_000)


def test_the_worker_is_not_read_by_a_caller_of_an_earlier_worker(
    start: Start, tmp_path: Path
) -> None:
    """The descriptor that it waits for can be another file's by then."""
    engine = start(eval_limit=0.2)
    idle(engine)
    with ThreadPoolExecutor(1) as pool:
        hanging = pool.submit(Asked(engine, fault="hang").failure)
        reading(engine)
        pid = lane(engine).pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        files = [os.open(tmp_path / str(index), os.O_CREAT | os.O_RDWR) for index in range(20)]
        assert hanging.result(20) == ("crashed", "killed")
        assert all(answered(engine) for _ in range(3))
        for file in files:
            assert os.lseek(file, 0, os.SEEK_CUR) == 0
            os.close(file)
