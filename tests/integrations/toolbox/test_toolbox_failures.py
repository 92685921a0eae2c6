"""No body runs without a record, and each allowed call has one outcome, whatever fails."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from guardrail import LedgerError, UsageError
from guardrail.errors import LedgerPoisonedError
from tests.support.adapters import Bench
from tests.support.guards import guarded, whole
from tests.support.model_server import Call, Turn
from tests.support.paths import PROGRAMS, ROOT
from tests.support.toolboxes import RESPONSES, Api, asking, run_either, weather
from tests.support.waiting import until

CITIES = [f"city {number}" for number in range(50)]


def move(folder: Path, away: Path) -> None:
    """Move the files of a ledger away, or back: they stay the same files."""
    away.mkdir(exist_ok=True)
    for path in folder.glob("audit.db*"):
        if path.is_file():
            path.rename(away / path.name)


@pytest.mark.parametrize("awaited", [False, True], ids=["functions", "coroutines"])
def test_a_ledger_that_fails_while_fifty_calls_are_in_flight(
    tmp_path: Path, api: Api, *, awaited: bool
) -> None:
    """The program gets the error, every body that ran is on record, and when the ledger is back,
    each allowed call gets its outcome.
    """
    runs: list[str] = []
    gone = threading.Event()
    folder, away = tmp_path / "here", tmp_path / "away"
    folder.mkdir()
    with guarded(folder) as guard:
        box = api.box(guard)

        def begin(city: str) -> None:
            runs.append(city)
            if len(runs) == 10:
                move(folder, away)
                gone.set()

        if awaited:

            @box.tool(name="weather")
            async def told(city: str) -> str:
                begin(city)
                while not gone.is_set():
                    await asyncio.sleep(0.01)
                return f"sun in {city}"
        else:

            @box.tool(name="weather")
            def told_by_function(city: str) -> str:
                begin(city)
                assert gone.wait(60)
                return f"sun in {city}"

        response = api.ask(asking(*CITIES))
        with pytest.raises(LedgerError):
            run_either(box, response, "arun" if awaited else "run")
        assert 10 <= len(runs) <= 50
        before = list(runs)
        move(away, folder)
        until(lambda: works(api, box))
    found = whole(folder / "audit.db")
    decided = [
        each["input"]["action"]["properties"]["args"]["city"]
        for each in found
        if each["type"] == "call.decision" and each["decision"]["effect"] == "allow"
    ]
    assert sorted(before) == sorted(set(before))
    assert set(runs) <= set(decided)
    ended = [each for each in found if each["type"] == "call.outcome"]
    assert len([each for each in ended if each["status"] == "ok"]) == len(runs)


def works(api: Api, box: Any) -> bool:
    """Return True once a call goes through."""
    try:
        response = api.ask(asking("Oslo"))
        return api.texts(run_either(box, response, "arun")) == ["sun in Oslo"]
    except LedgerError:
        return False


def test_a_ledger_error_is_raised_when_the_other_calls_have_ended(
    bench: Bench, api: Api, how: str
) -> None:
    """And they are recorded: the program may end now."""
    ended: list[str] = []

    box = api.box(bench.guard)
    others = threading.Barrier(4, timeout=60)

    @box.tool(name="weather")
    def told(city: str) -> str:
        others.wait()
        ended.append(city)
        return city

    bench.ledger.fail = lambda draft: (
        LedgerPoisonedError("gone") if _is_decision_of(draft, "id3") else None
    )
    response = api.ask(asking("a", "b", "c", "Rome", "e"))
    with pytest.raises(LedgerPoisonedError):
        run_either(box, response, how)
    assert sorted(ended) == ["a", "b", "c", "e"]
    assert [each["status"] for each in bench.outcomes] == ["ok"] * 4
    assert len(bench.decisions) == 4


def _is_decision_of(draft: Any, call_id: str) -> bool:
    line = draft.finish(seq=0, prev="0" * 64, ts="2026-01-01T00:00:00.000000Z")
    return draft.type == "call.decision" and f'"call_id":"{call_id}"'.encode() in line


def test_a_refusal_that_can_t_be_recorded_is_a_ledger_error(
    bench: Bench, api: Api, how: str
) -> None:
    """Also a call of an unknown tool is not to vanish while the ledger is gone."""
    box = api.box(bench.guard)
    box.tool(weather)
    bench.ledger.fail = lambda _: LedgerPoisonedError("gone")
    with pytest.raises(LedgerPoisonedError):
        run_either(box, api.ask(asking("Bern", name="nope")), how)


def test_a_ledger_error_of_a_call_that_a_body_makes_reaches_the_program(
    bench: Bench, api: Api, how: str
) -> None:
    """It is no failure of the tool, which the model would work around."""
    box = api.box(bench.guard)

    @box.tool
    def plan(city: str) -> str:
        bench.ledger.fail = lambda draft: LedgerPoisonedError("gone")
        try:
            return str(bench.guard.call("book", {}, run=lambda: "booked"))
        finally:
            bench.ledger.fail = lambda _: None

    with pytest.raises(LedgerPoisonedError):
        run_either(box, api.ask(asking("Bern", name="plan")), how)
    assert [each["status"] for each in bench.outcomes] == ["error"]


def test_a_ledger_error_in_a_group_of_exceptions_reaches_the_program(
    bench: Bench, api: Api, how: str
) -> None:
    """A body that makes its calls in a task group raises such a group. Other groups are told to the
    model.
    """
    box = api.box(bench.guard)
    inner = [ExceptionGroup("more", [LedgerError("gone")])]

    @box.tool(name="weather")
    def told(city: str) -> str:
        raise ExceptionGroup("both", [ValueError("no"), *inner])

    with pytest.raises(LedgerError, match="gone"):
        run_either(box, api.ask(asking("Bern")), how)
    inner.clear()
    (text,) = api.texts(run_either(box, api.ask(asking("Bern")), how))
    assert text.startswith("failed: ExceptionGroup: both")


def test_a_ledger_error_comes_before_another_error_of_the_program(
    bench: Bench, api: Api, how: str
) -> None:
    """Whichever call it belongs to."""
    box = api.box(bench.guard)
    box.tool(lambda: (each for each in "abc"), name="lazy")
    box.tool(weather)
    bench.ledger.fail = lambda draft: (
        LedgerPoisonedError("gone") if _is_decision_of(draft, "last") else None
    )
    turn = Turn(calls=[Call("lazy", {}), Call("weather", {"city": "x"}, id="last")])
    with pytest.raises(LedgerPoisonedError):
        run_either(box, api.ask(turn), how)
    bench.ledger.fail = lambda _: None
    with pytest.raises(UsageError, match="generator"):
        run_either(box, api.ask(turn), how)


def test_a_cancelled_arun_records_every_outcome(bench: Bench, api: Api) -> None:
    """Before it ends: of coroutines, which are cancelled, and of functions, which can't be."""
    release = threading.Event()
    begun: list[str] = []

    async def main() -> None:
        box = api.box(bench.guard)

        @box.tool
        async def coroutine(city: str) -> None:
            begun.append(city)
            await asyncio.Event().wait()

        @box.tool
        def function(city: str) -> None:
            begun.append(city)
            assert release.wait(60)

        @box.tool
        async def stubborn(city: str) -> str:
            begun.append(city)
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                await asyncio.sleep(0)
            return "done"

        names = ["coroutine", "function", "coroutine", "stubborn"]
        calls = [Call(name, {"city": str(n)}, id=f"id{n}") for n, name in enumerate(names)]
        task = asyncio.ensure_future(box.arun(api.ask(Turn(calls=calls))))
        while len(begun) < 4:
            await asyncio.sleep(0.005)
        task.cancel()
        for _ in range(20):
            await asyncio.sleep(0)
        assert not task.done()
        task.cancel()
        release.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        statuses = {each["origin"]["call_id"]: each["status"] for each in bench.outcomes}
        assert statuses == {"id0": "cancelled", "id1": "ok", "id2": "cancelled", "id3": "ok"}

    asyncio.run(main())


def test_an_exit_that_a_body_asks_for_reaches_the_program(bench: Bench, api: Api) -> None:
    """It is no answer for the model; the other calls are recorded."""
    box = api.box(bench.guard)

    @box.tool
    def leave(city: str) -> str:
        if city == "a":
            raise SystemExit(3)
        return city

    with pytest.raises(SystemExit):
        box.run(api.ask(asking("a", "b", name="leave")))
    assert sorted(each["status"] for each in bench.outcomes) == ["error", "ok"]


def test_a_response_that_is_run_again_repeats_no_success(
    tmp_path: Path, api: Api, how: str
) -> None:
    """Also in another guard; the call that had failed runs."""
    runs: list[str] = []
    response = api.ask(asking("Bern", "Rome"))
    for attempt in range(2):
        with guarded(tmp_path) as guard, guard.session(id="conversation"):
            box = api.box(guard)

            @box.tool(name="weather")
            def told(city: str, fails: bool = attempt == 0) -> str:
                runs.append(city)
                if fails and city == "Rome":
                    raise OSError("no connection")
                return f"sun in {city}"

            given = {"replayed": attempt == 1}
            if how == "run":
                texts = api.texts(box.run(response, **given))
            else:
                texts = api.texts(asyncio.run(box.arun(response, **given)))
        if attempt == 0:
            assert texts == ["sun in Bern", "failed: OSError: no connection"]
    assert texts == [
        "denied: this call has already succeeded, so it does not run again",
        "sun in Rome",
    ]
    assert sorted(runs) == ["Bern", "Rome", "Rome"]


def test_a_body_that_takes_too_long_is_told_to_the_model(bench: Bench, api: Api, how: str) -> None:
    """A timeout is the tool's failure: the other calls and the program go on."""
    release = threading.Event()
    box = api.box(bench.guard)

    @box.tool(timeout=0.05)
    def slow(city: str) -> str:
        release.wait(60)
        return city

    box.tool(weather)
    calls = [Call("slow", {"city": "Bern"}, id="id0"), Call("weather", {"city": "Rome"}, id="id1")]
    try:
        late, told = api.told(run_either(box, api.ask(Turn(calls=calls)), how))
    finally:
        release.set()
    assert late.text.startswith("failed: ToolTimeoutError: ")
    assert late.failed in (None, True)
    assert told.text == "sun in Rome"
    until(lambda: bench.ledger.of("call.claim"))
    statuses = {each["origin"]["call_id"]: each["status"] for each in bench.outcomes}
    assert statuses == {"id0": "error", "id1": "ok"}


@pytest.mark.slow
@pytest.mark.parametrize("how", ["run", "arun"])
def test_a_killed_process_leaves_one_outcome_for_each_call(tmp_path: Path, how: str) -> None:
    """The bodies that had ended have theirs, the next process closes the others as unknown."""
    process = subprocess.Popen(
        [sys.executable, str(PROGRAMS / "toolbox_batch.py"), str(tmp_path), how],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        until(lambda: len(list(tmp_path.glob("body-*"))) == 20)
    finally:
        process.kill()
        process.wait()
    with guarded(tmp_path) as guard:
        box = RESPONSES.box(guard)
        box.tool(weather)
        assert RESPONSES.texts(box.run(RESPONSES.ask(asking("Oslo")))) == ["sun in Oslo"]
    found = whole(tmp_path / "audit.db")
    decisions = [each for each in found if each["type"] == "call.decision"]
    numbers = [each["input"]["action"]["properties"]["args"].get("n") for each in decisions]
    assert sorted(number for number in numbers if number is not None) == list(range(20))
    unknown = [each for each in found if each.get("status") == "unknown"]
    assert len(unknown) >= 10


def test_a_tool_that_times_out_tells_the_model_and_not_the_program(
    bench: Bench, api: Api, how: str
) -> None:
    """The other calls of the response have their results, and each has one outcome."""
    awaited = how == "arun"
    box, gate = api.box(bench.guard), threading.Event()

    def slow(city: str) -> str:
        gate.wait()
        return city

    async def aslow(city: str) -> str:
        await asyncio.Event().wait()
        return city

    box.tool(aslow if awaited else slow, name="slow", timeout=0.05)
    box.tool(weather)
    calls = [Call("slow", {"city": "Bern"}), Call("weather", {"city": "Bern"})]
    late, told = api.texts(run_either(box, api.ask(Turn(calls=calls)), how))
    state = "was cancelled" if awaited else "may still be running"
    assert late == (
        f"failed: ToolTimeoutError: slow timed out after 0.05 s and {state}: "
        "it may have had side effects"
    )
    assert told == "sun in Bern"
    found = sorted((each["status"], each.get("body")) for each in bench.outcomes)
    assert found == [("error", None if awaited else "running"), ("ok", None)]
    gate.set()
