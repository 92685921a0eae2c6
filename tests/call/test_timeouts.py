"""Tools with a timeout: a coroutine is cancelled, a thread runs on, and the call ends."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from guardrail import Admission, ToolTimeoutError
from guardrail.call.bodies import Run
from guardrail.call.ended import Ended
from guardrail.call.options import CallOptions
from guardrail.errors import ConfigError, GuardrailError, LedgerError, UsageError
from guardrail.system.threads import BackgroundThread
from guardrail.system.waiting import Work
from guardrail.testing import StaticPolicy, allow, memory_guard
from tests.support.guards import guarded, journal_of, records, whole
from tests.support.waiting import until

SHORT = 0.05
"""A timeout for bodies that end only after it."""
LONG = 60.0
"""A timeout that no test waits for."""


class Setting:
    """A guard in memory, and a gate at which bodies wait."""

    def __init__(self) -> None:
        self.guard, self.ledger = memory_guard(StaticPolicy(allow()))
        self.gate = threading.Event()

    def outcome(self) -> dict[str, Any]:
        """Return the one outcome."""
        (record,) = self.ledger.of("call.outcome")
        return record

    def claim(self) -> dict[str, Any]:
        """Return the one claim, once it is there, and compare it with its call."""
        until(lambda: self.ledger.of("call.claim"))
        (record,) = self.ledger.of("call.claim")
        (decision,) = self.ledger.of("call.decision")
        assert (record["call"], record["decision_seq"]) == (decision["call"], decision["seq"])
        assert record["seq"] > self.outcome()["seq"]
        return record


@pytest.fixture
def setting() -> Iterator[Setting]:
    made = Setting()
    yield made
    made.gate.set()


def check_timed_out(outcome: dict[str, Any], *, running: bool) -> None:
    """Compare *outcome* with that of a call which its tool's timeout ended."""
    assert (outcome["status"], outcome["error"]["class"]) == ("error", "timeout")
    assert outcome.get("body") == ("running" if running else None)
    assert outcome["result"] is None
    assert outcome["ms"] >= SHORT * 1000


# -- threads ---------------------------------------------------------------------------------------


def test_a_thread_runs_on_after_its_timeout_and_its_end_is_a_claim(setting: Setting) -> None:
    """The program gets one clear exception, which a model may read."""
    guard, gate = setting.guard, setting.gate

    @guard.tool(timeout=SHORT)
    def pay(amount: int) -> str:
        began.append(time.perf_counter())
        gate.wait()
        return f"paid {amount}"

    began: list[float] = []
    with pytest.raises(ToolTimeoutError) as caught:
        pay(amount=5)
    error = caught.value
    assert isinstance(error, TimeoutError)
    assert isinstance(error, GuardrailError)
    assert (error.code, error.running) == ("tool.timeout", True)
    assert str(error) == (
        "pay timed out after 0.05 s and may still be running: it may have had side effects"
    )
    check_timed_out(setting.outcome(), running=True)
    assert setting.outcome()["error"]["message"] == str(error)
    assert setting.ledger.of("call.claim") == []
    # The timeout is counted from a little before the body begins in its thread.
    until(lambda: time.perf_counter() - began[0] >= SHORT)
    gate.set()
    claim = setting.claim()
    assert (claim["status"], claim["result"]["type"], claim["error"]) == ("ok", "str", None)
    assert claim["ms"] >= SHORT * 1000
    assert "body" not in claim


def test_ctrl_c_before_the_thread_of_a_body_begins_runs_no_body(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The call is closed as one whose body never began."""

    def interrupted(_: BackgroundThread) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(BackgroundThread, "start", interrupted)
    ran: list[None] = []
    setting.guard.declare("pay", timeout=SHORT)
    with pytest.raises(KeyboardInterrupt):
        setting.guard.call("pay", {}, lambda: ran.append(None))
    monkeypatch.undo()
    assert not ran
    assert setting.outcome()["status"] == "cancelled"
    assert setting.outcome()["ms"] is None


def test_a_late_exception_is_claimed_as_an_error(setting: Setting) -> None:
    """Its text is recorded as that of any body."""

    def fail() -> None:
        setting.gate.wait()
        raise ValueError("too late")

    setting.guard.declare("fail", timeout=SHORT)
    with pytest.raises(ToolTimeoutError):
        setting.guard.call("fail", {}, fail)
    setting.gate.set()
    claim = setting.claim()
    assert (claim["status"], claim["error"]["class"]) == ("error", "ValueError")
    assert claim["error"]["message"] == "too late"


def test_a_late_result_that_can_not_be_recorded_leaves_a_bare_claim(setting: Setting) -> None:
    """As the outcome would be: a logged result beside a long chain of delegation is too large."""
    setting.guard.declare("send", timeout=SHORT, log_output=True)

    def body() -> list[str]:
        setting.gate.wait()
        return ["line of a letter, in clear"] * 1350

    chain = [{"sub": f"step-{n}", "note": "plain words " * 300} for n in range(8)]
    with (
        setting.guard.session(principal="alice", delegation=chain),
        pytest.raises(ToolTimeoutError),
    ):
        setting.guard.call("send", {}, body)
    setting.gate.set()
    claim = setting.claim()
    assert (claim["status"], claim["result"], claim["delegation"]) == ("ok", None, [])
    assert claim["principal"]["form"] == "token"


def test_a_body_that_is_fast_enough_is_unchanged(setting: Setting) -> None:
    """Result, exception, and record; its own TimeoutError is no timeout of the call."""
    guard, ledger = setting.guard, setting.ledger
    guard.declare("send", timeout=LONG)
    result = object()
    assert guard.call("send", {}, lambda: result) is result
    own = TimeoutError("of the body")

    def fail() -> None:
        raise own

    with pytest.raises(TimeoutError) as caught:
        guard.call("send", {}, fail)
    assert caught.value is own
    good, bad = ledger.of("call.outcome")
    assert (good["status"], bad["status"], bad["error"]["class"]) == ("ok", "error", "TimeoutError")
    assert "body" not in good
    assert "body" not in bad
    assert ledger.of("call.claim") == []


def test_the_body_has_the_context_of_its_caller(setting: Setting) -> None:
    """Session, parent call, and the program's own variables."""
    guard, ledger = setting.guard, setting.ledger
    guard.declare("outer", timeout=LONG)

    def outer() -> str | None:
        guard.call("inner", {}, lambda: None)
        return Admission.current_call()

    with guard.session(principal="alice"):
        call = guard.call("outer", {}, outer)
    first, second = ledger.of("call.decision")
    assert (first["call"], second["parent"]) == (call, call)
    assert second["principal"]["id"] == "alice"
    assert first["session"] == second["session"]
    assert Admission.current_call() is None


def test_a_timeout_inside_a_body_is_an_error_of_the_outer_call(setting: Setting) -> None:
    """Only the call that ran out of time has class `timeout`."""
    guard = setting.guard
    guard.declare("inner", timeout=SHORT)
    with pytest.raises(ToolTimeoutError):
        guard.call("outer", {}, lambda: guard.call("inner", {}, setting.gate.wait))
    inner, outer = setting.ledger.of("call.outcome")
    check_timed_out(inner, running=True)
    assert outer["error"]["class"] == "guardrail.errors.ToolTimeoutError"
    assert "body" not in outer


def test_a_body_whose_thread_can_not_be_started_did_not_run(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The outcome says so, and the next call runs."""
    refuse_threads(monkeypatch, "guardrail-body")
    setting.guard.declare("send", timeout=LONG)
    ran: list[int] = []
    with pytest.raises(RuntimeError, match="no more threads"):
        setting.guard.call("send", {}, lambda: ran.append(1))
    assert ran == []
    assert (setting.outcome()["status"], "body" in setting.outcome()) == ("error", False)
    monkeypatch.undo()
    setting.guard.call("send", {}, lambda: ran.append(1))
    assert ran == [1]


def test_a_claim_is_made_in_the_thread_of_the_body_if_no_other_can_be_started(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not lost."""
    setting.guard.declare("send", timeout=SHORT)
    with pytest.raises(ToolTimeoutError):
        setting.guard.call("send", {}, setting.gate.wait)
    refuse_threads(monkeypatch, "guardrail-look")
    setting.gate.set()
    assert setting.claim()["status"] == "ok"


def refuse_threads(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Make threads of that name fail to start, as they do if there are too many."""
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == name:
            raise RuntimeError("no more threads")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)


def test_ctrl_c_ends_the_call_and_the_thread_runs_on(setting: Setting) -> None:
    """The outcome is `cancelled`, and the end of the body a claim."""
    waiting = threading.main_thread().ident
    assert waiting is not None

    def body() -> str:
        signal.pthread_kill(waiting, signal.SIGINT)
        setting.gate.wait()
        return "done"

    setting.guard.declare("send", timeout=LONG)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            setting.guard.call("send", {}, body)
    finally:
        signal.signal(signal.SIGINT, before)
    outcome = setting.outcome()
    assert (outcome["status"], outcome["body"]) == ("cancelled", "running")
    assert outcome["error"]["class"] == "KeyboardInterrupt"
    setting.gate.set()
    assert setting.claim()["status"] == "ok"


def test_ctrl_c_that_comes_with_the_end_of_the_body_keeps_its_outcome(setting: Setting) -> None:
    """Between the end of the thread and the moment at which its caller looks."""
    tool = setting.guard.declare("send", timeout=LONG)
    steps = setting.guard.calls.steps(tool, {}, CallOptions(), lambda: "done")
    step: Any = next(steps)
    while not isinstance(step, Run):
        done = step.run() if isinstance(step, Work) else step.future.result(LONG)
        step = steps.send(done)
    assert step.timed is not None
    step.timed.run(lambda: Ended("done", None, 0.5))
    waiting: Any = steps.throw(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        steps.send(waiting.future.result(LONG))
    outcome = setting.outcome()
    assert (outcome["status"], outcome["ms"]) == ("ok", 500)
    assert "body" not in outcome


# -- coroutines ------------------------------------------------------------------------------------


async def test_a_coroutine_is_cancelled_at_its_timeout(setting: Setting) -> None:
    """It cleans up, and there is nothing to claim."""
    ended: list[str] = []

    @setting.guard.tool(timeout=SHORT)
    async def fetch(url: str) -> str:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(url)
        return "never"

    with pytest.raises(ToolTimeoutError) as caught:
        await fetch(url="x")
    assert ended == ["x"]
    assert not caught.value.running
    assert str(caught.value) == (
        "fetch timed out after 0.05 s and was cancelled: it may have had side effects"
    )
    check_timed_out(setting.outcome(), running=False)
    await asyncio.sleep(0)
    assert setting.ledger.of("call.claim") == []


async def test_a_coroutine_that_ends_otherwise_when_it_is_cancelled_is_claimed(
    setting: Setting,
) -> None:
    """It may have finished its work: the record says how."""

    async def stubborn() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "finished"
        raise AssertionError

    setting.guard.declare("send", timeout=SHORT)
    with pytest.raises(ToolTimeoutError) as caught:
        await setting.guard.acall("send", {}, stubborn)
    assert not caught.value.running
    check_timed_out(setting.outcome(), running=False)
    claim = await asyncio.to_thread(setting.claim)
    assert (claim["status"], claim["result"]["type"]) == ("ok", "str")


async def test_a_coroutine_that_ignores_its_cancellation_runs_on(setting: Setting) -> None:
    """The call does not wait for it. A cancellation meanwhile is raised."""
    release = asyncio.Event()

    async def deaf() -> str:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                asyncio.get_running_loop().call_soon(task.cancel)
        return "done"

    setting.guard.declare("send", timeout=SHORT)
    task = asyncio.ensure_future(setting.guard.acall("send", {}, deaf))
    with pytest.raises(asyncio.CancelledError):
        await task
    check_timed_out(setting.outcome(), running=True)
    release.set()
    claim = await asyncio.to_thread(setting.claim)
    assert (claim["status"], claim["result"]["type"]) == ("ok", "str")


async def test_a_cancellation_is_passed_on_to_the_coroutine(setting: Setting) -> None:
    """As without a timeout: the body may clean up, or go on and return."""
    begun = asyncio.Event()
    messages: list[Any] = []

    async def body(*, go_on: bool) -> str:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError as stop:
            messages.append(stop.args)
            if not go_on:
                raise
        return "went on"

    setting.guard.declare("send", timeout=LONG)

    async def cancelled(*, go_on: bool) -> Any:
        begun.clear()
        task = asyncio.ensure_future(setting.guard.acall("send", {"go_on": go_on}, body))
        await begun.wait()
        task.cancel("enough")
        return await task

    assert await cancelled(go_on=True) == "went on"
    with pytest.raises(asyncio.CancelledError):
        await cancelled(go_on=False)
    assert messages == [("enough",), ("enough",)]
    statuses = [record["status"] for record in setting.ledger.of("call.outcome")]
    assert statuses == ["ok", "cancelled"]


async def test_a_cancellation_before_the_first_step_of_a_coroutine_keeps_it_from_running(
    setting: Setting,
) -> None:
    """It is `cancelled`, and no body ran."""
    ran: list[int] = []

    async def body() -> None:
        ran.append(1)

    setting.guard.declare("send", timeout=LONG)
    task = asyncio.ensure_future(setting.guard.acall("send", {}, body))
    # The next thing that runs on the loop after the body's task was made, and before its first
    # step, is what was scheduled before that.
    for _ in range(100):
        await asyncio.sleep(0)
        if len(asyncio.all_tasks()) > 2:
            break
    made = [each for each in asyncio.all_tasks() if each not in {task, asyncio.current_task()}]
    for each in made:
        each.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert setting.outcome()["status"] == "cancelled"


async def test_a_cancellation_that_comes_with_the_end_of_a_coroutine_is_raised(
    setting: Setting,
) -> None:
    """The outcome is that of the body."""

    async def body() -> str:
        asyncio.get_running_loop().call_soon(task.cancel)
        return "done"

    setting.guard.declare("send", timeout=LONG)
    task = asyncio.ensure_future(setting.guard.acall("send", {}, body))
    with pytest.raises(asyncio.CancelledError):
        await task
    assert setting.outcome()["status"] == "ok"


async def test_a_cancelled_coroutine_that_does_not_end_times_out(setting: Setting) -> None:
    """Both are told: the outcome is `timeout`, and the cancellation is raised."""

    async def body() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.Event().wait()

    setting.guard.declare("send", timeout=SHORT)
    task = asyncio.ensure_future(setting.guard.acall("send", {}, body))
    while not setting.ledger.of("call.decision"):
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert setting.outcome()["status"] in {"error", "cancelled"}


def test_a_coroutine_that_outlives_its_loop_is_not_waited_for(setting: Setting) -> None:
    """The loop cancels it at its end, which is recorded."""

    async def deaf() -> None:
        stops = 0
        while stops < 2:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                stops += 1

    setting.guard.declare("send", timeout=SHORT)

    async def main() -> None:
        await setting.guard.acall("send", {}, deaf)

    with pytest.raises(ToolTimeoutError):
        asyncio.run(main())
    check_timed_out(setting.outcome(), running=True)
    assert setting.claim()["status"] == "ok"


# -- functions that run in a thread of `acall` -----------------------------------------------------


async def test_a_function_awaited_in_a_thread_times_out(setting: Setting) -> None:
    """And runs on."""
    setting.guard.declare("send", timeout=SHORT)
    with pytest.raises(ToolTimeoutError) as caught:
        await setting.guard.acall("send", {}, setting.gate.wait)
    assert caught.value.running
    check_timed_out(setting.outcome(), running=True)
    setting.gate.set()
    assert (await asyncio.to_thread(setting.claim))["status"] == "ok"


@pytest.mark.parametrize("timeout", [SHORT, LONG])
async def test_a_cancellation_waits_for_a_thread_at_most_until_its_timeout(
    setting: Setting, timeout: float
) -> None:
    """Then it is raised."""
    setting.guard.declare("send", timeout=timeout)
    begun = threading.Event()

    def body() -> str:
        begun.set()
        setting.gate.wait()
        return "done"

    task = asyncio.ensure_future(setting.guard.acall("send", {}, body))
    while not begun.is_set():
        await asyncio.sleep(0)
    task.cancel()
    if timeout == LONG:
        await asyncio.sleep(0)
        setting.gate.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    if timeout == LONG:
        assert setting.outcome()["status"] == "ok"
    else:
        check_timed_out(setting.outcome(), running=True)


async def test_the_time_of_a_function_that_returns_an_awaitable_includes_it(
    setting: Setting,
) -> None:
    """It is awaited on the event loop, for the rest of the time."""

    async def later(wait: Callable[[], Awaitable[Any]]) -> str:
        await wait()
        return "done"

    setting.guard.declare("fast", timeout=LONG)
    assert await setting.guard.acall("fast", {}, lambda: later(lambda: asyncio.sleep(0))) == "done"
    setting.guard.declare("slow", timeout=SHORT)
    with pytest.raises(ToolTimeoutError) as caught:
        await setting.guard.acall("slow", {}, lambda: later(asyncio.Event().wait))
    assert not caught.value.running

    def fail() -> None:
        raise ValueError("no awaitable")

    with pytest.raises(ValueError, match="no awaitable"):
        await setting.guard.acall("fast", {}, fail)


async def test_an_awaitable_that_comes_too_late_is_an_error(setting: Setting) -> None:
    """Nobody awaits it: its work is not done, and the claim says so."""

    async def work() -> None:
        raise AssertionError

    def body() -> Awaitable[None]:
        setting.gate.wait()
        return work()

    setting.guard.declare("send", timeout=SHORT)
    with pytest.raises(ToolTimeoutError):
        await setting.guard.acall("send", {}, body)
    setting.gate.set()
    claim = await asyncio.to_thread(setting.claim)
    assert (claim["status"], claim["error"]["class"]) == ("error", "guardrail.errors.UsageError")


async def test_a_coroutine_that_is_closed_while_its_thread_runs_leaves_an_outcome(
    setting: Setting,
) -> None:
    """And the end of the thread a claim."""
    setting.guard.declare("send", timeout=LONG)
    begun = threading.Event()

    def body() -> None:
        begun.set()
        setting.gate.wait()

    call = setting.guard.acall("send", {}, body)
    call.send(None)
    assert await asyncio.to_thread(begun.wait, LONG)
    call.close()
    outcome = setting.outcome()
    assert (outcome["status"], outcome["error"]["class"]) == ("error", "GeneratorExit")
    assert outcome["body"] == "running"
    setting.gate.set()
    assert (await asyncio.to_thread(setting.claim))["status"] == "ok"


# -- the ledger, the guard and the process ---------------------------------------------------------


def test_an_outcome_that_can_not_be_written_now_is_no_lost_timeout(setting: Setting) -> None:
    """The program gets the ledger's error, with the timeout as its cause."""
    setting.guard.declare("send", timeout=SHORT)
    setting.ledger.fail = lambda draft: (
        LedgerError("full") if draft.type == "call.outcome" else None
    )
    with pytest.raises(LedgerError) as caught:
        setting.guard.call("send", {}, setting.gate.wait)
    assert isinstance(caught.value.__cause__, ToolTimeoutError)


def test_outcome_and_claim_are_written_once_the_ledger_can_be(tmp_path: Path) -> None:
    """A process that is stuck in a commit holds its lock for longer than a call waits."""
    gate = threading.Event()
    with guarded(tmp_path, ledger={"append_deadline_ms": 200}) as guard:
        guard.declare("send", timeout=SHORT)
        writer: Any = journal_of(guard).ledger
        lock = os.open(f"{writer.path}-lock", os.O_RDWR)

        def body() -> str:
            fcntl.flock(lock, fcntl.LOCK_EX)
            gate.wait()
            return "done"

        with pytest.raises(LedgerError) as caught:
            guard.call("send", {}, body)
        assert isinstance(caught.value.__cause__, ToolTimeoutError)
        gate.set()
        until(lambda: not journal_of(guard).unsent)
        time.sleep(0.3)  # the claim, too, has waited for longer than that
        os.close(lock)
        until(lambda: len(records(tmp_path / "audit.db", "call.claim")) == 1)
    found = whole(tmp_path / "audit.db")
    (outcome,) = (each for each in found if each["type"] == "call.outcome")
    check_timed_out(outcome, running=True)
    (claim,) = (each for each in found if each["type"] == "call.claim")
    assert (claim["status"], claim["call"]) == ("ok", outcome["call"])


class Slow(Exception):
    """Takes a while to be looked at: `close` runs meanwhile."""

    def __init__(self, close: Callable[[], None]) -> None:
        super().__init__()
        self._close = close

    def __str__(self) -> str:
        self._close()
        return "told"


def test_a_guard_that_is_closed_waits_for_the_claim_of_a_body_that_has_ended(
    tmp_path: Path,
) -> None:
    """But for no body that still runs."""
    gate, never = threading.Event(), threading.Event()
    with guarded(tmp_path) as guard:
        closing = threading.Thread(target=guard.close)

        def close() -> None:
            closing.start()
            closing.join(0.5)

        def body() -> None:
            gate.wait()
            raise Slow(close)

        guard.declare("send", timeout=SHORT)
        for each in (never.wait, body):
            with pytest.raises(ToolTimeoutError):
                guard.call("send", {}, each)
        gate.set()
        until(lambda: closing.ident is not None)
        closing.join()
        found = records(tmp_path / "audit.db")
        never.set()
        until(lambda: not journal_of(guard).unsent)
    assert [each["error"]["message"] for each in found if each["type"] == "call.claim"] == ["told"]
    outcomes = [each for each in found if each["type"] == "call.outcome"]
    assert [each["body"] for each in outcomes] == ["running", "running"]
    assert len(whole(tmp_path / "audit.db")) == len(found)


HANGING = """
import sys, threading, time
from pathlib import Path
from tests.support.guards import guarded
with guarded(Path(sys.argv[1])) as guard:
    guard.declare("send", timeout={timeout})
    def body():
        print("begun", flush=True)
        threading.Event().wait()
    try:
        guard.call("send", {{}}, body)
    except TimeoutError as error:
        print(error.code, flush=True)
"""


def hanging(folder: Path, timeout: float) -> subprocess.Popen[str]:
    """Start a process whose body never ends."""
    return subprocess.Popen(
        [sys.executable, "-c", HANGING.format(timeout=timeout), str(folder)],
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_body_that_never_ends_does_not_keep_the_process_alive(tmp_path: Path) -> None:
    """The interpreter ends, with the outcome on disk."""
    with hanging(tmp_path, SHORT) as process:
        assert process.communicate(timeout=120)[0].split() == ["begun", "tool.timeout"]
    assert process.returncode == 0
    (outcome,) = (each for each in whole(tmp_path / "audit.db") if each["type"] == "call.outcome")
    check_timed_out(outcome, running=True)


def test_a_process_that_is_killed_before_the_timeout_leaves_unknown(tmp_path: Path) -> None:
    """One outcome, as for any body."""
    with hanging(tmp_path, LONG) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        process.kill()
    with guarded(tmp_path):
        pass
    found = whole(tmp_path / "audit.db")
    assert [each["status"] for each in found if each["type"] == "call.outcome"] == ["unknown"]


def test_a_child_that_a_late_body_forks_claims_nothing(tmp_path: Path) -> None:
    """The process that admitted the call says how its body ended."""
    gate, children = threading.Event(), list[int]()

    def body() -> str:
        gate.wait()
        children.append(os.fork())
        return "done"

    with guarded(tmp_path) as guard:
        guard.declare("send", timeout=SHORT)
        with pytest.raises(ToolTimeoutError):
            guard.call("send", {}, body)
        gate.set()
        until(lambda: len(records(tmp_path / "audit.db", "call.claim")) == 1)
        try:
            until(lambda: os.waitpid(children[0], os.WNOHANG)[0] == children[0])
        except AssertionError:
            os.kill(children[0], signal.SIGKILL)
            raise
    claims = [each for each in whole(tmp_path / "audit.db") if each["type"] == "call.claim"]
    assert [each["origin"]["pid"] for each in claims] == [os.getpid()]


# -- declaring it ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "timeout", [0, -1, float("nan"), float("inf"), 10**9, 10**400, True, "5", b"5"]
)
def test_a_timeout_is_a_number_of_seconds(setting: Setting, timeout: Any) -> None:
    """Said when the tool is declared."""
    for declare in (
        lambda: setting.guard.declare("send", timeout=timeout),
        lambda: setting.guard.tool(name="wait", timeout=timeout)(lambda: None),
    ):
        with pytest.raises(UsageError) as caught:
            declare()
        assert caught.value.code == "usage.timeout"


def test_two_declarations_of_a_tool_have_one_timeout(setting: Setting) -> None:
    """As for its other options."""
    assert setting.guard.declare("send", timeout=5).timeout == 5.0
    setting.guard.declare("send", timeout=5.0)
    with pytest.raises(ConfigError):
        setting.guard.declare("send")


def test_the_exception_survives_a_pickle() -> None:
    """For programs that run agents in other processes."""
    error = ToolTimeoutError("late", running=True, hint="wait")
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.code, again.running, again.hint) == (
        "late",
        "tool.timeout",
        True,
        "wait",
    )


def test_an_admitted_call_has_no_timeout(setting: Setting) -> None:
    """The program runs its body."""
    setting.guard.declare("send", timeout=SHORT)
    admission = setting.guard.admit("send", {})
    time.sleep(SHORT * 2)
    admission.settle("ok")
    assert setting.outcome()["status"] == "ok"
