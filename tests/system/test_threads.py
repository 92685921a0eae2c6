"""Threads and events: Ctrl-C at any place of a start or a wait leaves them in a known state."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest

import guardrail
from guardrail.system.threads import BackgroundThread, OnceEvent
from tests.support.interrupts import Interrupt, renamed_threads

PARTS = ("system/threads.py",)


@renamed_threads()
def test_a_thread_whose_start_was_interrupted_runs_or_never_will() -> None:
    """At every place, `join` returns and says the truth: nothing runs after it."""
    fates = set()
    for place in itertools.count(1):
        ran: list[int] = []
        thread = BackgroundThread(ran.append, "guardrail-test", place)
        interrupted = True
        try:
            with Interrupt(place, PARTS, threads=True):
                thread.start()
            interrupted = False
        except KeyboardInterrupt:
            will = thread.will_run()
            thread.join()
            assert thread.will_run() is thread.has_begun is will
            assert ran == [place] * will
            if not will:
                thread.run()  # as if the system had started it only now
                assert ran == []
            fates.add(will)
        if not interrupted:
            thread.join()
            break
    assert ran == [place]
    assert False in fates
    assert place > 4


def test_a_thread_does_not_wait_for_itself_or_for_one_that_was_not_started() -> None:
    made: list[BackgroundThread] = []
    made.append(BackgroundThread(lambda: made[0].join(), "guardrail-test"))
    made[0].start()
    made[0].join()
    assert not made[0].is_alive()
    BackgroundThread(list, "guardrail-test").join()


@renamed_threads()
def test_an_event_whose_wait_was_interrupted_is_still_set_and_seen() -> None:
    for place in itertools.count(1):
        event = OnceEvent()
        setter = BackgroundThread(event.set, "guardrail-test")
        try:
            with Interrupt(place, PARTS, threads=True):
                event.wait(0)
        except KeyboardInterrupt:
            pass
        else:
            break
        setter.start()
        setter.join()
        assert event.wait(0)
        assert event.is_set()
        event.set()
    assert place > 2
    assert not event.is_set()


def test_an_event_wakes_every_thread_that_waits() -> None:
    event = OnceEvent()
    woken: list[bool] = []
    threads = [
        BackgroundThread(lambda: woken.append(event.wait()), "guardrail-test") for _ in range(3)
    ]
    for each in threads:
        each.start()
    event.set()
    for each in threads:
        each.join()
    assert woken == [True] * 3


def test_every_thread_of_guardrail_can_be_interrupted_while_it_starts() -> None:
    root = Path(guardrail.__file__).parent
    made = re.compile(r"\bThread\($|\bThread\([^)]", re.MULTILINE)
    found = [
        str(path.relative_to(root))
        for path in root.rglob("*.py")
        if made.search(path.read_text(encoding="utf-8").replace("BackgroundThread(", ""))
    ]
    assert found == ["guard.py"]  # in a docstring


@pytest.mark.parametrize("timeout", [0, -1, 0.001])
def test_an_event_that_is_not_set_is_reported_in_time(timeout: float) -> None:
    assert OnceEvent().wait(timeout) is False
