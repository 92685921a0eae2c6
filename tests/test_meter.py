"""What one view of the redactor may cost, and what becomes of a call that costs more."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from guardrail import Guard, meter
from guardrail.errors import Denied, RedactionError
from guardrail.meter import Meter
from guardrail.testing import MemoryLedger, StaticPolicy, allow, memory_guard

OPEN = {"type": "object", "additionalProperties": True}


def _dense(size: int) -> dict[str, Any]:
    """Text of which every word is found."""
    return {f"k{index}": f"password: k9x{index:05d} " * 700 for index in range(size)}


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> tuple[Guard, MemoryLedger]:
    """A guard whose views get next to no time."""
    monkeypatch.setattr(meter, "SECONDS", 0.002)
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
    assert (record["status"], record["omitted"], record["result"]) == ("ok", "redactor", None)


def test_the_time_is_that_of_the_thread_and_begins_with_the_work() -> None:
    """Waiting costs nothing, and little work is never asked about the time."""
    metered = Meter()
    metered(100)
    time.sleep(0.3)
    for _ in range(200):
        metered(4_096)
    until = time.thread_time() + meter.SECONDS
    while time.thread_time() <= until:
        pass
    with pytest.raises(RedactionError) as caught:
        metered(4_096)
    assert caught.value.code == "redaction.budget"


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
