"""Ctrl-C at any instant of a call: its outcome is recorded, and the next call is made."""

from __future__ import annotations

import itertools
import signal
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, cast

import pytest

from guardrail import Guard
from guardrail.call.anchor_lag import Unanchored
from guardrail.call.bodies import CallGenerator
from guardrail.call.drivers import drive
from guardrail.call.options import CallOptions
from guardrail.core.log.record import Draft
from guardrail.errors import LedgerError
from guardrail.testing import StaticPolicy, allow, memory_guard
from tests.support.guards import guarded, records, ruled
from tests.support.interrupts import Interrupt, renamed_threads

CALL_PATH = ("call/", "ledger/writing/", "system/f", "policy/embedded/")
"""The parts of guardrail in which a call can be interrupted."""


@pytest.mark.parametrize(
    ("timeout", "opened"),
    [
        (None, guarded),
        (60, guarded),
        (None, lambda folder: ruled(folder, 'allow contains "all"')),
        (None, lambda folder: guarded(folder, ledger={"outcome": "soon"})),
    ],
    ids=["without", "timeout", "embedded", "soon"],
)
@renamed_threads()
def test_ctrl_c_at_any_place_of_a_call_leaves_one_outcome(
    tmp_path: Path, timeout: float | None, opened: Callable[[Path], AbstractContextManager[Guard]]
) -> None:
    """Also between the end of the body and the submission of its outcome, and while a body with a
    timeout runs in its thread, or while the caller reads the answer of the policy's worker; and
    the next call is not refused.
    """
    ran: list[str] = []

    def body(place: int) -> str:
        ran.append(f"c{place}")
        return "done"

    with opened(tmp_path) as guard:
        guard.declare("send", timeout=timeout)
        guard.call("send", {}, lambda: None)
        for place in itertools.count():
            try:
                with Interrupt(place + 1, CALL_PATH, threads=True):
                    guard.call("send", {"place": place}, body, call_id=f"c{place}")
            except KeyboardInterrupt:
                assert guard.call("send", {}, lambda: "next") == "next"
            else:
                break
    db = tmp_path / "audit.db"
    made = {record["call"]: record["origin"]["call_id"] for record in records(db, "call.decision")}
    ended = Counter(made[record["call"]] for record in records(db, "call.outcome"))
    assert len(ran) > 5
    assert {call: ended[call] for call in ran} == dict.fromkeys(ran, 1)
    assert set(ran) <= set(made.values())


class InterruptedSteps:
    """Steps whose driver gets a Ctrl-C before it sends its first value."""

    def __init__(self, steps: Any) -> None:
        self._steps = steps
        self._interrupted = False

    def __next__(self) -> Any:
        return next(self._steps)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._steps, name)

    def send(self, value: object) -> Any:
        if not self._interrupted:
            self._interrupted = True
            raise KeyboardInterrupt
        return self._steps.send(value)


def test_ctrl_c_in_the_driver_is_raised_at_the_step_of_the_call() -> None:
    """The body does not run."""
    guard, ledger = memory_guard(StaticPolicy(allow()))
    ran: list[int] = []
    tool = guard.declare("send")
    steps: Any = guard.calls.steps(tool, {}, CallOptions(), lambda: ran.append(1))
    with pytest.raises(KeyboardInterrupt):
        drive(cast("CallGenerator[Any]", InterruptedSteps(steps)))
    assert ran == []
    assert ledger.of("call.outcome") == []


def test_ctrl_c_while_the_ledger_takes_an_outcome_does_not_record_it_twice() -> None:
    """The ledger refuses the second one, and the interrupt is raised."""
    guard, ledger = memory_guard(StaticPolicy(allow()))
    submit = ledger.submit

    def interrupt(draft: Draft) -> Future[Any]:
        taken = bool(ledger.of("call.outcome"))
        if draft.type == "call.outcome" and taken:
            ledger.fail = lambda _: LedgerError("closed", code="ledger.closed_call")
        future = submit(draft)
        if draft.type == "call.outcome" and not taken:
            raise KeyboardInterrupt
        return future

    ledger.submit = interrupt  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        guard.call("send", {}, lambda: None)
    assert [each["status"] for each in ledger.of("call.outcome")] == ["ok"]


class Telling(Exception):
    """An exception of a tool, whose text is made by *tell*."""

    def __init__(self, tell: Callable[[], None]) -> None:
        super().__init__()
        self._tell = tell

    def __str__(self) -> str:
        self._tell()
        return "told"


def test_ctrl_c_while_an_outcome_is_redacted_reaches_the_program(tmp_path: Path) -> None:
    """Once the outcome is durable, with what the body raised as its cause."""
    wrong = Telling(lambda: signal.raise_signal(signal.SIGINT))

    def body() -> None:
        raise wrong

    with guarded(tmp_path) as guard:
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            with pytest.raises(KeyboardInterrupt) as caught:
                guard.call("send", {}, body)
        finally:
            signal.signal(signal.SIGINT, before)
        (outcome,) = records(tmp_path / "audit.db", "call.outcome")
        assert (outcome["status"], outcome["omitted"]) == ("error", "redactor")
        assert caught.value.__cause__ is wrong
        assert guard.call("send", {}, lambda: "next") == "next"


def test_ctrl_c_while_an_outcome_is_written_keeps_the_exception_of_the_body() -> None:
    """It is the cause of the interrupt, so that nobody has to look for it in the ledger."""
    guard, ledger = memory_guard(StaticPolicy(allow()))
    submit = ledger.submit

    class Interrupted(Future[Any]):
        def result(self, timeout: float | None = None) -> Any:
            raise KeyboardInterrupt

    def hold(draft: Draft) -> Future[Any]:
        future = submit(draft)
        if draft.type != "call.outcome":
            return future
        interrupted = Interrupted()
        interrupted.set_result(None)
        return interrupted

    ledger.submit = hold  # type: ignore[method-assign]
    ledger.expired = lambda _: LedgerError("late")  # type: ignore[method-assign]
    wrong = ValueError("wrong")

    def body() -> None:
        raise wrong

    with pytest.raises(KeyboardInterrupt) as caught:
        guard.call("send", {}, body)
    assert caught.value.__cause__ is wrong


def test_ctrl_c_while_an_admitted_call_is_settled_leaves_its_outcome(tmp_path: Path) -> None:
    """The program that ran the body can't settle it a second time."""
    with guarded(tmp_path) as guard:
        admission = guard.admit("send", {})
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            with pytest.raises(KeyboardInterrupt):
                admission.settle(error=Telling(lambda: signal.raise_signal(signal.SIGINT)))
        finally:
            signal.signal(signal.SIGINT, before)
        assert len(records(tmp_path / "audit.db", "call.outcome")) == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt(), LedgerError("full")], ids=repr)
def test_an_outcome_that_was_submitted_is_not_submitted_again(error: BaseException) -> None:
    """If waiting for it ends with an error, that is raised."""
    guard, ledger = memory_guard(StaticPolicy(allow()))
    submit = ledger.submit
    outcomes: list[Draft] = []

    def fail(draft: Draft) -> Future[Any]:
        future = submit(draft)
        if draft.type != "call.outcome":
            return future
        outcomes.append(draft)
        failed: Future[Any] = Future()
        failed.set_exception(error)
        return failed

    ledger.submit = fail  # type: ignore[method-assign]
    ledger.expired = lambda _: LedgerError("late")  # type: ignore[method-assign]
    admission = guard.admit("send", {})
    with pytest.raises(type(error)) as caught:
        admission.settle()
    assert caught.value is error
    assert len(outcomes) == 1


def test_a_guard_that_is_closed_while_an_outcome_is_made_waits_for_it(tmp_path: Path) -> None:
    """The body has ended: nothing but its record is missing."""
    with guarded(tmp_path) as guard:
        closing = threading.Thread(target=guard.close)

        def close() -> None:
            closing.start()
            closing.join(0.5)

        def body() -> None:
            raise Telling(close)

        with pytest.raises((Telling, LedgerError)):
            guard.call("send", {}, body)
        closing.join()
        assert len(records(tmp_path / "audit.db", "call.outcome")) == 1


def test_ctrl_c_between_the_decision_and_the_body_closes_the_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The decision is durable, and the body never runs."""
    guard, ledger = memory_guard(StaticPolicy(allow()))
    ran: list[int] = []

    @guard.tool
    def pay(amount: int) -> str:
        ran.append(amount)
        return "paid"

    def interrupt(_: Unanchored, __: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Unanchored, "note_size", interrupt)
        with pytest.raises(KeyboardInterrupt):
            pay(amount=5)
    (outcome,) = ledger.of("call.outcome")
    assert (outcome["status"], outcome["error"]["class"]) == ("cancelled", "not_started")
    assert pay(amount=6) == "paid"
    assert ran == [6]
