"""A call that a framework makes again is refused if the ledger shows that it has succeeded, or that
it still runs: also after a restart, and whatever somebody without a key does to the file.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from guardrail import Denied, Guard, LedgerError, ToolTimeoutError
from guardrail.testing import StaticPolicy, allow, ask, deny, memory_guard
from tests.support.guards import guarded, records
from tests.support.hidden_records import hidden
from tests.support.waiting import until


class Body:
    """A body that counts its runs."""

    def __init__(self, work: Callable[[], object] = lambda: "done") -> None:
        self.runs = 0
        self.work = work

    def __call__(self) -> object:
        self.runs += 1
        return self.work()


def make(guard: Guard, body: Body, call_id: str = "c-1", **options: Any) -> object:
    session = guard.session("alice", id=options.pop("session", "s-1"))
    options.setdefault("replayed", True)
    return guard.call("pay", {}, body, call_id=call_id, session=session, **options)


def refused(guard: Guard, body: Body, call_id: str = "c-1", **options: Any) -> Denied:
    runs = body.runs
    with pytest.raises(Denied) as caught:
        make(guard, body, call_id, **options)
    assert (body.runs, caught.value.code) == (runs, "denied.duplicate")
    return caught.value


def fails() -> object:
    raise ValueError("no")


class Paused(Exception):
    """A framework's interrupt."""


def pauses() -> object:
    raise Paused


@pytest.fixture
def guard() -> Guard:
    return memory_guard(StaticPolicy(allow()))[0]


def test_a_call_that_succeeded_is_refused_and_recorded() -> None:
    """The message tells the agent why; the policy is not asked again."""
    policy = StaticPolicy(allow())
    guard, ledger = memory_guard(policy)
    body = Body()
    make(guard, body)
    denied = refused(guard, body)
    assert denied.message == ("denied: this call has already succeeded, so it does not run again")
    decision = ledger.of("call.decision")[-1]["decision"]
    assert (decision["effect"], decision["cause"], decision["detail"]) == (
        "deny",
        "duplicate",
        "succeeded",
    )
    assert (len(policy.inputs), len(ledger.of("call.outcome"))) == (1, 1)


@pytest.mark.parametrize("other", ["session", "call", "tenant", "first", "none"])
def test_another_call_is_not_refused(other: str) -> None:
    """Another session, another id, one that is no repetition, and one without an id."""
    guard, _ = memory_guard(StaticPolicy(allow()))
    body = Body()
    make(guard, body)
    if other == "session":
        make(guard, body, session="s-2")
    elif other == "call":
        make(guard, body, "c-2")
    elif other == "first":
        make(guard, body, replayed=False)
    elif other == "tenant":
        session = guard.session("alice", tenant="acme", id="s-3")
        guard.call("pay", {}, body, call_id="c-1", session=session, replayed=True)
    else:
        session = guard.session("alice", id="s-1")
        guard.call("pay", {}, body, session=session, replayed=True)
    assert body.runs == 2


@pytest.mark.parametrize(
    "call_id", ["AKIAIOSFODNN7EXAMPLE", "x password=hunter2hunter2", "x" * 900]
)
@pytest.mark.parametrize("restart", [False, True])
def test_a_call_whose_id_is_not_recorded_as_it_is_runs_once(
    tmp_path: Path, call_id: str, *, restart: bool
) -> None:
    """Its recorded form is the same each time."""
    body = Body()
    with guarded(tmp_path) as guard:
        make(guard, body, call_id)
        if not restart:
            refused(guard, body, call_id)
    if restart:
        with guarded(tmp_path) as guard:
            refused(guard, body, call_id)
    assert body.runs == 1
    assert call_id not in str(records(tmp_path / "audit.db"))


@pytest.mark.parametrize("first", ["plain", "learned"])
def test_a_call_id_that_a_session_learned_to_be_secret_is_recognised(
    tmp_path: Path, first: str
) -> None:
    """Whether it was recorded before the session knew the value, or after."""
    body, value = Body(), "call-Zx81-quiet-river"
    with guarded(tmp_path) as guard:
        session = guard.session("alice", id="s-1")
        learn = {"password": value}
        if first == "plain":
            make(guard, body, value)
            guard.call("log_in", learn, lambda password: None, session=session)
            refused(guard, body, value)
        else:
            guard.call("log_in", learn, lambda password: None, session=session)
            guard.call("pay", {}, body, call_id=value, session=session)
    with guarded(tmp_path) as guard:
        refused(guard, body, value)


def test_a_call_that_is_being_decided_is_not_made_a_second_time() -> None:
    """Two resumed runs may both look before either is recorded. Once the first is denied, it can be
    made again.
    """
    body, asked = Body(), []

    def judge(_: object) -> dict[str, Any]:
        asked.append(body.runs)
        if len(asked) == 1:
            assert refused(guard, body).message == (
                "denied: this call is still running, so it does not run again"
            )
            make(guard, body, "c-2")
            return deny("no")
        return allow()

    guard, _ = memory_guard(StaticPolicy(judge))
    with pytest.raises(Denied, match="no"):
        make(guard, body)
    make(guard, body)
    refused(guard, body)
    assert body.runs == 2


@pytest.mark.parametrize(("work", "error"), [(fails, ValueError), (pauses, Paused)])
def test_a_call_that_did_not_succeed_runs_again(
    guard: Guard, work: Callable[[], object], error: type[Exception]
) -> None:
    """A failed one and an interrupted one; and then no more."""
    body = Body(work)
    with pytest.raises(error):
        make(guard, body, interrupts=(Paused,))
    body.work = lambda: "done"
    assert make(guard, body) == "done"
    refused(guard, body)


def test_a_call_that_still_runs_is_refused(guard: Guard) -> None:
    """A framework may resume before a sibling has ended."""
    started, end = threading.Event(), threading.Event()

    def work() -> object:
        started.set()
        assert end.wait(60)
        return "done"

    body = Body(work)
    thread = threading.Thread(target=make, args=(guard, body))
    thread.start()
    assert started.wait(60)
    assert "still running" in refused(guard, body).message
    end.set()
    thread.join()
    assert "succeeded" in refused(guard, body).message


def test_a_call_that_was_denied_or_needs_approval_is_judged_again() -> None:
    """Nothing ran."""
    policy = StaticPolicy(ask("far_away"))
    guard, _ = memory_guard(policy)
    body = Body()
    for _ in range(2):
        with pytest.raises(Exception, match="far_away"):
            make(guard, body, replayed=False)
    assert body.runs == 0


async def test_an_awaited_call_and_an_admitted_one_are_refused_too(guard: Guard) -> None:
    body = Body()
    session = guard.session("alice", id="s-1")
    make(guard, body)
    with pytest.raises(Denied) as caught:
        await guard.acall("pay", {}, body, call_id="c-1", session=session, replayed=True)
    assert caught.value.code == "denied.duplicate"
    assert body.runs == 1


# -- on disk


def test_a_restart_forgets_no_call(tmp_path: Path) -> None:
    """What succeeded in one process is refused in the next; what was killed is not."""
    body = Body()
    with guarded(tmp_path) as guard:
        make(guard, body, replayed=False)
    with guarded(tmp_path) as guard:
        refused(guard, body)
        make(guard, body, "c-2")
    with guarded(tmp_path) as guard:
        refused(guard, body)
        refused(guard, body, "c-2")
    assert [
        item["decision"]["cause"] for item in records(tmp_path / "audit.db", "call.decision")
    ] == [
        "policy",
        "duplicate",
        "policy",
        "duplicate",
        "duplicate",
    ]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"call_id":"c-1"', '"call_id":"c-9"'),
        ('"session":"s-1"', '"session":"s-9"'),
        ('"status":"ok"', '"status":"no"'),
    ],
)
def test_a_success_that_somebody_hides_seals_the_guard(tmp_path: Path, old: str, new: str) -> None:
    """For a moment, without a key: no body runs twice."""
    body = Body()
    with guarded(tmp_path) as guard:
        make(guard, body, replayed=False)
    with guarded(tmp_path) as guard:
        with (
            hidden(tmp_path / "audit.db", "type LIKE 'call.%'", old, new),
            pytest.raises(LedgerError),
        ):
            make(guard, body)
        with pytest.raises(LedgerError):
            make(guard, body)
    assert body.runs == 1


def test_arguments_that_look_like_a_record_hide_nothing(tmp_path: Path) -> None:
    """A model chooses them."""
    body = Body()
    told = {"call_id": None, "type": "call.outcome", "origin": {"call_id": None}, "status": "error"}

    def run(guard: Guard, **options: Any) -> None:
        session = guard.session("alice", id="s-1")
        guard.call("pay", told, lambda **_: body(), call_id="c-1", session=session, **options)

    with guarded(tmp_path) as guard:
        run(guard)
        with pytest.raises(Denied):
            run(guard, replayed=True)
    assert body.runs == 1


def test_an_outcome_in_its_bare_form_counts(tmp_path: Path) -> None:
    """It names neither session nor id, and its decision does."""
    body = Body(lambda: ["line of a letter, in clear"] * 1350)
    chain = [{"sub": f"step-{n}", "note": "plain words " * 300} for n in range(8)]
    with guarded(tmp_path) as guard:
        tool = guard.declare("pay", log_output=True)
        session = guard.session("alice", id="s-1", delegation=chain)
        guard.call(tool, {}, body, call_id="c-1", session=session)
        outcome = records(tmp_path / "audit.db", "call.outcome")[-1]
        assert (outcome["omitted"], outcome["origin"]["call_id"]) == ("size", None)
        with pytest.raises(Denied):
            guard.call(tool, {}, body, call_id="c-1", session=session, replayed=True)
    assert body.runs == 1


def test_a_call_whose_body_succeeded_after_its_timeout_is_refused(tmp_path: Path) -> None:
    """The claim says so."""
    gate = threading.Event()
    body = Body(gate.wait)
    with guarded(tmp_path) as guard:
        guard.declare("pay", timeout=0.05)
        with pytest.raises(ToolTimeoutError):
            make(guard, body)
        gate.set()
        until(lambda: records(tmp_path / "audit.db", "call.claim"))
        refused(guard, body)
