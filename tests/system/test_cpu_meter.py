"""What redacting one call may cost, and what becomes of a call that costs more."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest

from guardrail import Guard
from guardrail.call.decision_record import Recorder
from guardrail.core.redaction.clean_texts import CleanTexts
from guardrail.core.redaction.redactor import Inspection, Redactor
from guardrail.core.types import EngineReply
from guardrail.errors import Denied, PolicyError, RedactionError
from guardrail.system import cpu_meter
from guardrail.system.cpu_meter import Meter
from guardrail.testing import MemoryLedger, StaticPolicy, allow, deny, memory_guard
from tests.support.guards import OPEN


def _dense(size: int) -> dict[str, Any]:
    """Text of which every word is found."""
    return {f"k{index}": f"password: k9x{index:05d} " * 700 for index in range(size)}


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> tuple[Guard, MemoryLedger]:
    """A guard whose views get next to no time."""
    monkeypatch.setattr(cpu_meter, "SECONDS", 0.002)
    guard, ledger = memory_guard(StaticPolicy(allow("any")))
    for name in ("send", "ping"):
        guard.declare(name, schema=OPEN, log_output=True)
    return guard, ledger


def test_a_call_that_costs_too_much_is_denied_and_recorded_bare(
    hurried: tuple[Guard, MemoryLedger],
) -> None:
    """By its own cause, without its arguments; the body does not run and the next call works."""
    guard, ledger = hurried
    with guard.session(principal="eve", agent="bot"):
        with pytest.raises(Denied) as caught:
            guard.call("send", _dense(40), lambda **_: pytest.fail("the body ran"))
        assert guard.call("ping", {}, lambda: "pong") == "pong"
    first, second = ledger.of("call.decision")
    assert caught.value.code == "denied.redactor"
    assert (first["decision"]["cause"], first["decision"]["detail"]) == (
        "redactor",
        "redaction.budget",
    )
    assert first["input"]["action"]["properties"]["args"] == {}
    assert "k9x" not in str(first)
    assert second["decision"]["effect"] == "allow"


def test_an_outcome_that_costs_too_much_is_recorded_bare(
    hurried: tuple[Guard, MemoryLedger],
) -> None:
    """The body ran, so its outcome is there, and the result is released."""
    guard, ledger = hurried
    result = _dense(5)
    with guard.session(principal="eve", agent="bot"):
        assert guard.call("send", {}, lambda: result) is result
    (record,) = ledger.of("call.outcome")
    assert (record["status"], record["omitted"], record["result"]) == (
        "ok",
        "redaction.budget",
        None,
    )


class _Late(StaticPolicy):
    """Whoever asked it has no time left."""

    def __init__(self, reply: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(reply)
        self._monkeypatch = monkeypatch

    def decide(self, document: bytes, *, shard: str, deadline: float) -> Future[EngineReply]:
        self._monkeypatch.setattr(cpu_meter, "SECONDS", -1.0)
        return super().decide(document, shard=shard, deadline=deadline)


TEXT = {"text": "what people write to each other, password: k9x-1234-zq " * 40}


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (allow("any"), ("redactor", "redaction.budget")),
        (deny("no"), ("policy", "")),
        (PolicyError("x", cause="timeout", detail="y"), ("timeout", "y")),
    ],
)
def test_a_view_that_costs_too_much_is_left_out_and_the_record_says_so(
    reply: Any, said: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who called which tool is recorded all the same, and a denial keeps its own cause."""
    guard, ledger = memory_guard(_Late(reply, monkeypatch))
    guard.declare("send", schema=OPEN)
    with guard.session(principal="eve", agent="bot"), pytest.raises(Denied):
        guard.call("send", TEXT, lambda **_: pytest.fail("the body ran"))
    (record,) = ledger.of("call.decision")
    assert (record["decision"]["cause"], record["decision"]["detail"]) == said
    assert record["omitted"] == "redaction.budget"
    assert record["input"]["action"]["properties"]["args"] == {}
    assert (record["principal"]["id"], record["tool"]["name"]) == ("eve", "send")


def _late_at(method: str, monkeypatch: pytest.MonkeyPatch, owner: type = Redactor) -> None:
    """Let the time be used up when *method* begins."""
    original: Callable[..., Any] = getattr(owner, method)

    def late(*args: Any, **named: Any) -> Any:
        monkeypatch.setattr(cpu_meter, "SECONDS", -1.0)
        return original(*args, **named)

    monkeypatch.setattr(owner, method, late)


def test_time_that_ends_at_the_last_gate_costs_the_view_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What was decided is judged again without it: nothing runs."""
    guard, ledger = memory_guard(StaticPolicy(allow("any")))
    guard.declare("send", schema=OPEN)
    _late_at("gate", monkeypatch)
    # No text is remembered as clean, so the gate scans each of them again.
    monkeypatch.setattr(CleanTexts, "update", lambda *_: None)
    with guard.session(principal="eve", agent="bot"), pytest.raises(Denied):
        guard.call("send", TEXT, lambda **_: pytest.fail("the body ran"))
    (record,) = ledger.of("call.decision")
    assert record["decision"]["detail"] == record["omitted"] == "redaction.budget"
    assert record["principal"]["id"] == "eve"


def test_a_record_that_costs_too_much_even_without_the_view_is_bare(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Say, because of what the policy says about the call."""
    reply = deny("no")
    reply["rules"][0]["message"] = TEXT["text"]
    guard, ledger = memory_guard(StaticPolicy(reply))
    guard.declare("send", schema=OPEN)
    _late_at("full", monkeypatch, Recorder)
    with guard.session(principal="eve", agent="bot"), pytest.raises(Denied):
        guard.call("send", TEXT, lambda **_: pytest.fail("the body ran"))
    (record,) = ledger.of("call.decision")
    assert (record["decision"]["cause"], record["decision"]["detail"]) == (
        "redactor",
        "redaction.budget",
    )
    assert (record["omitted"], record["input"]) == ("redaction.budget", None)


def test_arguments_of_nobody_that_cost_too_much_are_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The denial is for what they lack, and says what else is missing."""
    guard, ledger = memory_guard(StaticPolicy(allow("any")))
    guard.declare("send", schema={"type": "object", "required": ["to"]})
    monkeypatch.setattr(cpu_meter, "SECONDS", -1.0)
    with guard.session(principal="eve", agent="bot"), pytest.raises(Denied):
        guard.call("send", TEXT, lambda **_: pytest.fail("the body ran"))
    (record,) = ledger.of("call.decision")
    assert (record["decision"]["cause"], record["omitted"]) == ("arguments", "redaction.budget")


def test_all_views_of_a_call_share_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Arguments and result; what is said to the caller has time of its own."""
    used: list[object] = []
    inspect, result = Redactor.inspect, Redactor.result

    def inspecting(self: Redactor, *args: Any, **named: Any) -> Inspection:
        used.append(cpu_meter.current())
        return inspect(self, *args, **named)

    def resulting(self: Redactor, *args: Any, **named: Any) -> dict[str, Any]:
        used.append(cpu_meter.current())
        return result(self, *args, **named)

    monkeypatch.setattr(Redactor, "inspect", inspecting)
    monkeypatch.setattr(Redactor, "result", resulting)
    guard, _ = memory_guard(StaticPolicy(allow("any")))
    guard.declare("send", schema=OPEN)
    for _ in range(2):
        guard.call(
            "send", {}, lambda: cpu_meter.current() is cpu_meter.current() or used.append(None)
        )
    one, nothing, other, second, *_rest = used
    assert nothing is None, "a body is no part of it"
    assert one is other is not second


def _burn(seconds: float) -> None:
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


def test_the_time_is_that_of_the_thread_and_begins_with_the_work() -> None:
    """Waiting costs nothing, and little work is never asked about the time."""
    metered = Meter()
    metered(100)
    _burn(cpu_meter.SECONDS)
    time.sleep(0.3)
    for _ in range(200):
        metered(4_096)
    _burn(cpu_meter.SECONDS)
    with pytest.raises(RedactionError) as caught:
        metered(4_096)
    assert caught.value.code == "redaction.budget"


def test_sections_in_different_threads_add_up_and_what_is_between_them_does_not_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On an event loop other tasks use the same thread."""
    monkeypatch.setattr(cpu_meter, "SECONDS", 0.1)
    metered = Meter()

    def half() -> None:
        _burn(0.06)
        metered(4_096)

    metered.section(half)
    _burn(0.1)
    metered.section(lambda: metered(4_096))
    problems: list[BaseException] = []

    def elsewhere() -> None:
        try:
            metered.section(half)
        except RedactionError as error:
            problems.append(error)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert [type(problem) for problem in problems] == [RedactionError]


def _spend(meter: Meter, seconds: float) -> None:
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        meter(512)


@pytest.mark.parametrize("full", [True, False])
def test_the_time_starts_anew_once_if_all_garbage_was_collected(
    full: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The collection of a large heap may take longer than a call may use."""
    monkeypatch.setattr(cpu_meter, "SECONDS", 0.02)
    gc.disable()
    try:
        meter = Meter()
        meter.section(lambda: _spend(meter, 0.01))
        gc.collect(2 if full else 1)
        if full:
            meter.section(lambda: _spend(meter, 0.015))  # 0.025 s in total
            gc.collect()
        with pytest.raises(RedactionError):
            meter.section(lambda: _spend(meter, 0.021))
    finally:
        gc.enable()


def test_only_a_call_with_much_to_redact_gives_way_and_in_proportion(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not before its first milliseconds, and not for less than a turn."""
    given: list[float] = []

    def give_way(seconds: float) -> float:
        given.append(seconds)
        return 3 * seconds

    monkeypatch.setattr(cpu_meter, "yield_processor", give_way)
    metered = Meter()

    def work() -> None:
        metered(4_096)
        assert not given
        _burn(cpu_meter.FREE + 0.004)
        metered(4_096)
        metered(4_096)
        assert len(given) == 1
        _burn(1.5 * cpu_meter.TURN)
        metered(4_096)  # which the long pause has paid for
        assert len(given) == 1

    metered.section(work)
    assert given[0] >= 0.008


async def test_an_event_loop_is_not_made_to_wait_in_the_line() -> None:
    """Its other tasks would wait as well; threads wait, one after the other."""
    with cpu_meter._LINE.lock:
        cpu_meter.yield_processor(0.001)
        thread = threading.Thread(target=cpu_meter.yield_processor, args=(0.000_1,))
        thread.start()
        thread.join(0.05)
        assert thread.is_alive()
    thread.join()


def test_a_child_process_does_not_wait_for_a_thread_of_its_parent() -> None:
    """The line is empty after a fork."""
    program = """
import os
from guardrail.system import cpu_meter as meter
meter._LINE.lock.acquire()
pid = os.fork()
if pid == 0:
    os._exit(0 if meter._LINE.lock.acquire(timeout=5) else 1)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize("size", [1, 400])
async def test_what_is_large_is_redacted_off_the_event_loop(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Arguments, the record, and the result; what is small costs no thread."""
    loop = threading.get_ident()
    apart: dict[str, bool] = {}

    def watch(owner: type, method: str) -> None:
        original: Callable[..., Any] = getattr(owner, method)

        def watched(*args: Any, **named: Any) -> Any:
            apart[method] = threading.get_ident() != loop
            return original(*args, **named)

        monkeypatch.setattr(owner, method, watched)

    watch(Redactor, "inspect")
    watch(Redactor, "result")
    watch(Inspection, "view")
    watch(Recorder, "full")
    guard, ledger = memory_guard(StaticPolicy(allow("any")))
    guard.declare("send", schema=OPEN, log_output=True)

    async def body(text: str) -> str:
        assert threading.get_ident() == loop
        return text

    with guard.session(principal="eve", agent="bot"):
        text = "words of no weight " * size
        assert await guard.acall("send", {"text": text}, body) == text
    assert apart == dict.fromkeys(("inspect", "result", "view", "full"), size > 1)
    assert ledger.of("call.outcome")[0]["status"] == "ok"


async def test_arguments_that_do_not_fit_are_looked_at_off_the_event_loop_if_they_are_large(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody has measured them before."""
    loop, threads = threading.get_ident(), []
    inspect = Redactor.inspect

    def watched(self: Redactor, *args: Any, **named: Any) -> Inspection:
        threads.append(threading.get_ident())
        return inspect(self, *args, **named)

    monkeypatch.setattr(Redactor, "inspect", watched)
    guard, ledger = memory_guard(StaticPolicy(allow("any")))
    guard.declare("send", schema={"type": "object", "required": ["to"]})
    with guard.session(principal="eve", agent="bot"):
        for size in (1, 400):
            with pytest.raises(Denied):
                await guard.acall("send", {"text": "words of no weight " * size}, lambda **_: None)
    assert [thread == loop for thread in threads] == [True, False]
    assert [entry["decision"]["cause"] for entry in ledger.of("call.decision")] == ["arguments"] * 2


async def test_a_cancelled_call_whose_result_is_large_has_its_outcome(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The cancellation comes while the result is redacted in a thread, and goes on when the outcome
    is there.
    """
    begun, go_on = threading.Event(), threading.Event()
    result = Redactor.result

    def slow(self: Redactor, *args: Any, **named: Any) -> dict[str, Any]:
        begun.set()
        go_on.wait(30)
        return result(self, *args, **named)

    monkeypatch.setattr(Redactor, "result", slow)
    guard, ledger = memory_guard(StaticPolicy(allow("any")))
    guard.declare("send", schema=OPEN)

    async def body() -> str:
        return "words of no weight " * 400

    with guard.session(principal="eve", agent="bot"):
        task = asyncio.ensure_future(guard.acall("send", {}, body))
        while not begun.is_set():
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0.01)
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert [entry["status"] for entry in ledger.of("call.outcome")] == ["ok"]


async def test_other_tasks_run_while_a_hostile_call_is_redacted() -> None:
    """The loop takes many turns during one call; otherwise there would be a turn for each wait."""
    guard, _ = memory_guard(StaticPolicy(allow("any")))
    guard.declare("send", schema=OPEN)
    turns, done = 0, False

    async def others() -> None:
        nonlocal turns
        while not done:
            turns += 1
            await asyncio.sleep(0.001)

    other = asyncio.ensure_future(others())
    with guard.session(principal="eve", agent="bot"), pytest.raises(Denied):
        await guard.acall("send", _dense(60), lambda **_: None)
    done = True
    await other
    assert turns > 50


def test_another_session_gets_its_turn_while_much_is_redacted() -> None:
    """Not only every 5 ms, as Python itself hands over."""
    guard, _ = memory_guard(StaticPolicy(allow("any")))
    for name in ("send", "ping"):
        guard.declare(name, schema=OPEN)
    turns = 0
    stop = threading.Event()

    def ping() -> None:
        nonlocal turns
        with guard.session(principal="bob", agent="other"):
            while not stop.is_set():
                guard.call("ping", {}, lambda: None)
                turns += 1

    thread = threading.Thread(target=ping)
    thread.start()
    try:
        with guard.session(principal="eve", agent="bot"):
            start, before = time.perf_counter(), turns
            with pytest.raises(Denied):
                guard.call("send", _dense(60), lambda **_: None)
            passed = time.perf_counter() - start
    finally:
        stop.set()
        thread.join()
    # One call needs several turns: with 5 ms for each there would be at most forty in a second.
    assert (turns - before) / passed > 40
