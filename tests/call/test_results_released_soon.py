"""``[ledger] outcome = "soon"``: a result is released once its outcome is queued. No later body of
the guard runs before that outcome is durable.
"""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from guardrail import Denied, Guard, LedgerError, ToolTimeoutError
from guardrail.call.drivers import drive
from guardrail.call.options import CallOptions
from guardrail.call.released import ReleasedOutcomes, at_exit
from guardrail.core.types import Receipt
from guardrail.errors import LedgerPoisonedError, LedgerSealedError
from guardrail.ledger.sqlite.appending import Store
from guardrail.ledger.writing import work
from guardrail.ledger.writing.outcomes import unknown
from guardrail.testing import StaticPolicy, allow, deny
from tests.support.guards import OPEN, Body, guarded, journal_of, lines, records, whole

SOON = {"outcome": "soon"}


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let outcomes wait for the next record for an hour, so that none is written by itself."""
    monkeypatch.setattr(work, "LONGEST_DELAY", 3600.0)


@pytest.fixture
def guard(tmp_path: Path) -> Iterator[Guard]:
    """Yield a guard on a real ledger that releases results soon."""
    with guarded(tmp_path, ledger=SOON) as opened:
        opened.declare("send", schema=OPEN)
        yield opened


def types(folder: Path) -> list[str]:
    """Return the types of the records about calls, in order, without ``call.``."""
    found = [record["type"] for record in records(folder / "audit.db")]
    return [each.removeprefix("call.") for each in found if each.startswith("call.")]


async def forever(**_: Any) -> str:
    await asyncio.sleep(3600)
    return "never"


async def later(**_: Any) -> str:
    return "done"


@pytest.mark.parametrize("how", ["call", "coroutine", "thread"])
def test_a_result_is_released_while_its_outcome_waits_for_the_next_commit(
    tmp_path: Path, guard: Guard, how: str
) -> None:
    """The next decision is written together with the outcome, and after it."""

    def call() -> Any:
        if how == "call":
            return guard.call("send", {}, Body())
        return asyncio.run(guard.acall("send", {}, later if how == "coroutine" else Body()))

    assert call() == "done"
    assert types(tmp_path) == ["decision"]
    assert call() == "done"
    assert types(tmp_path) == ["decision", "outcome", "decision"]
    guard.close()
    assert types(tmp_path) == ["decision", "outcome"] * 2
    whole(tmp_path / "audit.db")


def test_an_exception_of_the_body_is_released_in_the_same_way(tmp_path: Path, guard: Guard) -> None:
    """It is the result of that body."""
    with pytest.raises(ValueError, match="wrong"):
        guard.call("send", {}, Body(ValueError("wrong")))
    assert types(tmp_path) == ["decision"]
    guard.close()
    (record,) = records(tmp_path / "audit.db", "call.outcome")
    assert record["status"] == "error"


def test_no_second_body_runs_before_the_first_outcome_is_durable(
    tmp_path: Path, guard: Guard
) -> None:
    """P1 and P2 hold as always, and the outcome of an earlier call is older than any later body."""

    def body(**_: Any) -> list[str]:
        return types(tmp_path)

    guard.call("send", {}, Body())
    assert guard.call("send", {}, body) == ["decision", "outcome", "decision"]


class Paused(Exception):
    """A framework pauses the body."""


@pytest.mark.parametrize("error", [Paused(), KeyboardInterrupt(), SystemExit(), "timeout"])
def test_what_ends_or_pauses_a_run_is_raised_once_the_outcome_is_durable(
    tmp_path: Path, guard: Guard, error: Any
) -> None:
    """The program often continues in another process, or ends."""
    if error == "timeout":
        guard.declare("slow", timeout=0.001)
        with pytest.raises(ToolTimeoutError):
            asyncio.run(guard.acall("slow", {}, forever))
    else:
        options = CallOptions(interrupts=(Paused,))
        steps = guard.calls.steps(guard.find_tool("send", None), {}, options, Body(error))
        with pytest.raises(type(error)):
            drive(steps).release()
    assert types(tmp_path)[:2] == ["decision", "outcome"]


def test_a_cancelled_call_ends_once_its_outcome_is_durable(tmp_path: Path, guard: Guard) -> None:
    """The cancellation of a task is recorded before it is raised."""

    async def main() -> None:
        began = asyncio.Event()

        async def body(**_: Any) -> str:
            began.set()
            return await forever()

        task = asyncio.create_task(guard.acall("send", {}, body))
        await began.wait()
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    asyncio.run(main())
    assert types(tmp_path) == ["decision", "outcome"]


def test_a_settled_admission_is_durable(tmp_path: Path, guard: Guard) -> None:
    """``settle`` returns a receipt, and a receipt is never given for a record that only waits."""
    receipt = guard.admit("send", {}).settle()
    assert types(tmp_path) == ["decision", "outcome"]
    assert receipt.seq == records(tmp_path / "audit.db", "call.outcome")[0]["seq"]


def test_the_records_say_which_setting_applied(tmp_path: Path) -> None:
    """Only those of calls whose result guardrail releases, and none under the default."""
    for folder, setting in ((tmp_path / "soon", SOON), (tmp_path / "default", {})):
        folder.mkdir()
        engine = StaticPolicy(
            lambda asked: deny() if asked["resource"]["id"] == "denied" else allow()
        )
        with guarded(folder, engine, ledger=setting) as guard:
            guard.call("send", {}, lambda: None)
            guard.admit("send", {}).settle()
            with pytest.raises(Denied):
                guard.call("denied", {}, lambda: None)
    found = records(tmp_path / "soon" / "audit.db", "call.decision")
    assert [each.get("outcome") for each in found] == ["soon", None, None]
    made = [records(each / "audit.db", "call.decision")[0] for each in sorted(tmp_path.iterdir())]
    assert set(made[1]) - set(made[0]) == {"outcome"}


# -- outcomes that can't be written ----------------------------------------------------------------


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Return a function that makes each commit of this process fail, or succeed again."""
    real = Store.commit
    state = {"broken": False}

    def commit(store: Store) -> None:
        if state["broken"]:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(store)

    monkeypatch.setattr(Store, "commit", commit)
    return lambda value: state.update(broken=value)


def test_an_outcome_that_fails_after_the_release_blocks_the_next_call(
    tmp_path: Path, guard: Guard, broken: Callable[[bool], None]
) -> None:
    """Until the ledger is writable: then it is written before the next decision."""
    guard.call("send", {}, Body())
    broken(True)
    body = Body()
    for _ in range(2):
        with pytest.raises(LedgerPoisonedError):
            guard.call("send", {}, body)
    assert body.runs == 0
    broken(False)
    guard.call("send", {}, body)
    assert body.runs == 1
    guard.close()
    found = whole(tmp_path / "audit.db")
    ends = [each for each in found if each["type"] == "call.outcome"]
    assert [each["status"] for each in ends if each["decision_seq"] == 1] == ["ok"]
    assert next(each["type"] for each in found[2:] if "call" in each) == "call.outcome"


def test_closing_raises_if_an_outcome_cannot_be_written(
    tmp_path: Path, broken: Callable[[bool], None]
) -> None:
    """The call stays open, and counts as ``unknown`` after the process."""
    with guarded(tmp_path, ledger=SOON) as guard:
        guard.call("send", {}, lambda: None)
        broken(True)
        with pytest.raises(LedgerPoisonedError):
            guard.close()
    broken(False)
    whole(tmp_path / "audit.db", still_open=1)


def test_closing_raises_if_the_ledger_is_sealed_after_the_release(tmp_path: Path) -> None:
    """Nobody else would tell."""
    with guarded(tmp_path, ledger=SOON) as guard:
        guard.call("send", {}, lambda: None)
        (tmp_path / "audit.db").rename(tmp_path / "elsewhere.db")
        with pytest.raises(LedgerSealedError):
            guard.close()


def test_an_outcome_that_comes_after_another_is_recorded_as_a_claim(tmp_path: Path) -> None:
    """If someone closed the call as ``unknown`` while its body ran."""
    with guarded(tmp_path, ledger=SOON) as guard:
        journal = journal_of(guard)

        def body() -> str:
            journal.append(unknown(lines(tmp_path / "audit.db")[-1]))
            return "done"

        assert guard.call("send", {}, body) == "done"
    assert types(tmp_path) == ["decision", "outcome", "claim"]
    assert records(tmp_path / "audit.db", "call.claim")[0]["status"] == "ok"


def test_a_result_is_withheld_while_the_guard_is_closed(tmp_path: Path) -> None:
    """Or if its outcome could not even be queued."""
    guard: Guard
    with guarded(tmp_path, ledger=SOON) as guard:
        guard.call("send", {}, lambda: journal_of(guard).released.stop())
        assert types(tmp_path) == ["decision", "outcome"]
        with pytest.raises(LedgerError, match="closed"):
            guard.call("send", {}, guard.close)


# -- reading what waits ----------------------------------------------------------------------------


@pytest.mark.parametrize(("first", "runs"), [(ValueError("wrong"), 2), ("done", 1)])
def test_a_repeated_call_sees_the_outcome_that_waits(guard: Guard, first: Any, runs: int) -> None:
    """A call that failed runs again, and one that succeeded is denied because of that."""
    body = Body(first)

    answers: list[str] = []
    with guard.session(principal="alice", agent="bot"):
        for _ in range(2):
            try:
                answers.append(guard.call("send", {}, body, call_id="c-1", replayed=True))
            except (ValueError, Denied) as error:
                answers.append(str(error))
    assert body.runs == runs
    assert answers[0] == str(first)
    assert ("already succeeded" in answers[1]) is (runs == 1)


# -- the end of a process --------------------------------------------------------------------------


def test_the_interpreter_writes_the_outcomes_of_guards_that_are_open(
    tmp_path: Path, broken: Callable[[bool], None]
) -> None:
    """And prints the error of one that can't be written."""
    for name in ("sound", "broken"):
        folder = tmp_path / name
        folder.mkdir()
        with guarded(folder, ledger=SOON) as guard:
            guard.call("send", {}, lambda: None)
            broken(name == "broken")
            with pytest.raises(LedgerPoisonedError) if name == "broken" else nullcontext():
                at_exit()
            assert types(folder) == ["decision", "outcome"][: 1 + (name == "sound")]
            broken(False)
        whole(folder / "audit.db")


EXITS = """
import os
import sys
from pathlib import Path
from guardrail import Guard
from guardrail.ledger.writing import work
from guardrail.testing import StaticPolicy, allow
from guardrail.wiring.opening import open_journal
from tests.support.guards import settings
work.LONGEST_DELAY = 3600.0
chosen = settings(Path(sys.argv[1]), ledger={"outcome": "soon"})
journal, keys = open_journal(chosen, epochs=True)
guard = Guard(settings=chosen, engine=StaticPolicy(allow()), journal=journal, keys=keys)
guard.call("send", {}, lambda: None)
if os.fork() == 0:  # the outcome remains with the parent
    guard.call("send", {}, lambda: None)
    sys.exit(0)
os.wait()
sys.exit(3)
"""


def test_a_program_that_ends_without_closing_its_guard_leaves_no_unknown_call(
    tmp_path: Path,
) -> None:
    """Nor does a child that it has forked while an outcome was waiting."""
    done = subprocess.run(
        [sys.executable, "-c", EXITS, str(tmp_path)], check=False, capture_output=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (3, b"")
    found = whole(tmp_path / "audit.db")
    ends = [each["status"] for each in found if each["type"] == "call.outcome"]
    assert ends == ["ok", "ok"]


# -- the outcomes themselves -----------------------------------------------------------------------


class Owing:
    """A writer that completes no outcome by itself."""

    owed = 0

    def hurry(self) -> None:
        pass


def test_an_error_that_the_ledger_does_not_mend_is_raised_once() -> None:
    """By the next call, or at the end."""
    released = ReleasedOutcomes(Owing(), 5.0, soon=False)
    outcome: Future[Receipt] = Future()
    assert released.add(outcome, lambda _: False)
    outcome.set_exception(LedgerError("refused", code="ledger.no_open_call"))
    with pytest.raises(LedgerError, match="refused"):
        released.raise_problem()
    released.raise_problem()
    failed: Future[Receipt] = Future()
    failed.set_exception(LedgerError("at once"))
    assert not released.add(failed, lambda _: False)
    released.raise_problem()


def test_a_forked_child_waits_for_no_outcome_of_its_parent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And raises no error of one."""
    released = ReleasedOutcomes(Owing(), 0.0, soon=False)
    outcome: Future[Receipt] = Future()
    released.add(outcome, lambda _: False)
    assert not released.stop()
    pid = os.getpid()
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: pid + 1)
        assert released.stop()
        assert list(released.wait_for_all()) == []
    outcome.set_exception(LedgerError("refused"))
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: pid + 1)
        released.raise_problem()
    with pytest.raises(LedgerError):
        released.raise_problem()


def test_a_search_of_the_ledger_waits_no_longer_than_a_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An outcome that does not become durable is an error then, and at exit."""
    released = ReleasedOutcomes(Owing(), 0.0, soon=True)
    outcome: Future[Receipt] = Future()
    released.add(outcome, lambda _: False)
    with pytest.raises(LedgerPoisonedError, match="could not be written in time"):
        drive(released.wait_for_all())
    with pytest.raises(LedgerPoisonedError, match="could not be written in time"):
        at_exit()
    outcome.set_result(Receipt(1, b"", ""))
    at_exit()


def test_ctrl_c_while_an_outcome_is_added_leaves_nothing_to_wait_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The outcome is queued, and the ledger writes it."""
    released = ReleasedOutcomes(Owing(), 5.0, soon=False)
    outcome: Future[Receipt] = Future()

    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(outcome, "add_done_callback", interrupted)
    with pytest.raises(KeyboardInterrupt):
        released.add(outcome, lambda _: False)
    assert released.stop()
