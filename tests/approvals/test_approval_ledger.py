"""Approvals on a real ledger: across processes, killed processes, races, and while a call waits."""

from __future__ import annotations

import asyncio
import atexit
import functools
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from guardrail.approvals.rules import ApprovalTerms, RejectionReason
from guardrail.errors import ApprovalRequired, Denied, LedgerError
from guardrail.guard import Guard
from guardrail.ledger.reader import LedgerReader
from tests.support.approvals import BOB, CAROL, Asks, Body, guarded, records
from tests.support.forked import ForkedProgram
from tests.support.guards import journal_of
from tests.support.paths import PROGRAMS

PROGRAM = PROGRAMS / "approval_step.py"


def start(folder: Path, what: str, point: str, *words: str, **env: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(PROGRAM), str(folder), what, point, *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **env},
    )


@functools.cache
def program() -> ForkedProgram:
    """Return the program of the steps. It ends with this process."""
    made = ForkedProgram("tests.support.programs.approval_step")
    atexit.register(made.close)
    return made


def step(folder: Path, what: str, *words: str, point: str = "-") -> dict[str, Any]:
    """Take one step in a process of its own."""
    output = folder / "step-output"
    assert program().run(str(folder), what, point, *words, output=output) == 0
    answer: dict[str, Any] = json.loads(output.read_text())
    return answer


def killed(folder: Path, what: str, point: str, *words: str) -> None:
    """Take one step in a process that kills itself at *point*."""
    assert program().run(str(folder), what, point, *words) == -signal.SIGKILL


def bodies(folder: Path) -> int:
    """Return how often the body ran."""
    path = folder / "bodies"
    return len(path.read_text()) if path.exists() else 0


def ask(guard: Guard, body: Any = None, **how: Any) -> str:
    """Make a call that a person must approve; return the approval's id."""
    scope = guard.session(principal="alice", agent="bot", id="s-1")
    with scope, pytest.raises(ApprovalRequired) as caught:
        guard.call("pay", {"amount": 5}, body or Body(), **how)
    return caught.value.approval


def test_an_approval_lives_across_processes_and_restarts(tmp_path: Path) -> None:
    """Asked in one, approved in another, used in a third: all of it is in the ledger."""
    approval = step(tmp_path, "ask")["approval"]
    assert step(tmp_path, "use", approval) == {"denied": "denied.approval.pending"}
    assert step(tmp_path, "approve", approval, "bob") == {"done": "answered"}
    assert step(tmp_path, "use", approval) == {"done": "paid"}
    assert step(tmp_path, "use", approval) == {"denied": "denied.approval.already_used"}
    assert bodies(tmp_path) == 1
    kinds = [
        record["type"] for record in records(tmp_path) if not record["type"].startswith("admin")
    ]
    assert kinds == [
        "genesis",
        "call.decision",
        "call.decision",
        "approval.granted",
        "call.decision",
        "call.outcome",
        "call.decision",
    ]


def test_a_kill_while_asking_leaves_a_request_or_nothing(tmp_path: Path) -> None:
    """Before the commit nothing is there; after it the request can be approved and used."""
    killed(tmp_path, "ask", "before:decision")
    assert records(tmp_path, "call.decision") == []
    killed(tmp_path, "ask", "after:decision")
    (request,) = records(tmp_path, "call.decision")
    assert step(tmp_path, "approve", request["call"], "bob") == {"done": "answered"}
    assert step(tmp_path, "use", request["call"]) == {"done": "paid"}


@pytest.mark.parametrize(("what", "kind"), [("approve", "granted"), ("refuse", "refused")])
def test_a_kill_while_answering_leaves_an_answer_or_nothing(
    tmp_path: Path, what: str, kind: str
) -> None:
    """Never half of one: what is not there can be said again, what is there holds."""
    approval = step(tmp_path, "ask")["approval"]
    killed(tmp_path, what, f"before:{kind}", approval, "bob")
    assert step(tmp_path, "use", approval) == {"denied": "denied.approval.pending"}
    killed(tmp_path, what, f"after:{kind}", approval, "bob")
    late = "already_decided" if kind == "granted" else "refused"
    assert step(tmp_path, "approve", approval, "carol") == {"done": late}
    expected = {"done": "paid"} if kind == "granted" else {"denied": "denied.approval.refused"}
    assert step(tmp_path, "use", approval) == expected


@pytest.mark.parametrize(
    ("point", "used"),
    [
        ("before:decision", False),
        ("after:decision", True),
        ("in:body", True),
        ("after:outcome", True),
    ],
)
def test_a_kill_while_using_never_loses_an_approval_and_never_uses_it_twice(
    tmp_path: Path, point: str, used: bool
) -> None:
    """Before the decision is durable it can still be used; from then on it is used, whether the
    body ran or not.
    """
    approval = step(tmp_path, "ask")["approval"]
    step(tmp_path, "approve", approval, "bob")
    killed(tmp_path, "use", point, approval)
    before = bodies(tmp_path)
    expected = {"denied": "denied.approval.already_used"} if used else {"done": "paid"}
    assert step(tmp_path, "use", approval) == expected
    assert bodies(tmp_path) == (before if used else 1)
    assert bodies(tmp_path) <= 1
    outcomes = [record["status"] for record in records(tmp_path, "call.outcome")]
    assert outcomes == (["ok"] if not used or point == "after:outcome" else ["unknown"])


def race(folder: Path, *steps: tuple[str, ...], **env: str) -> list[dict[str, Any]]:
    """Take steps at the same moment, each in a process of its own."""
    running = [start(folder, what, "-", *words, "go", **env) for what, *words in steps]
    for process in running:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in running:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = []
    for process in running:
        out, errors = process.communicate(timeout=60)
        assert out, errors
        answers.append(json.loads(out))
    return answers


def test_of_four_processes_that_use_one_approval_one_does(tmp_path: Path) -> None:
    """The others are denied, on the record."""
    approval = step(tmp_path, "ask")["approval"]
    step(tmp_path, "approve", approval, "bob")
    answers = race(tmp_path, *[("use", approval)] * 4)
    assert sorted(map(str, answers)) == sorted(
        [str({"done": "paid"})] + [str({"denied": "denied.approval.already_used"})] * 3
    )
    assert bodies(tmp_path) == 1
    verdicts = [record["decision"]["detail"] for record in records(tmp_path, "call.decision")[1:]]
    assert sorted(verdicts) == ["", *["already_used"] * 3]


def test_of_four_people_that_approve_at_once_one_does(tmp_path: Path) -> None:
    """One was needed; the others learn that it is decided."""
    approval = step(tmp_path, "ask")["approval"]
    answers = race(tmp_path, *[("approve", approval, name) for name in ("b", "c", "d", "e")])
    assert sorted(answer["done"] for answer in answers) == ["already_decided"] * 3 + ["answered"]
    assert len(records(tmp_path, "approval.granted")) == 1
    assert len(records(tmp_path, "approval.rejected")) == 3


def test_of_four_people_two_complete_a_rule_for_two(tmp_path: Path) -> None:
    """And the same person in two processes counts once."""
    approval = step(tmp_path, "ask")["approval"]
    with guarded(tmp_path, Asks(approvers=2)) as guard:
        approval = ask(guard)
    names = ("b", "b", "c", "d")
    answers = race(tmp_path, *[("approve", approval, name) for name in names], APPROVERS="2")
    assert sum(answer["done"] == "answered" for answer in answers) == 2
    grants = records(tmp_path, "approval.granted")
    assert [grant["approval"]["ordinal"] for grant in grants] == [0, 1]
    assert len({grant["approver"]["id"] for grant in grants}) == 2


def test_a_refusal_and_a_use_at_once_never_both_hold(tmp_path: Path) -> None:
    """Whichever is first in the log decides about the other."""
    approval = step(tmp_path, "ask")["approval"]
    step(tmp_path, "approve", approval, "bob")
    used, refused = race(tmp_path, ("use", approval), ("refuse", approval, "carol"))
    if used == {"done": "paid"}:
        assert refused == {"done": "already_used"}
    else:
        assert (used, refused) == ({"denied": "denied.approval.refused"}, {"done": "answered"})
        assert bodies(tmp_path) == 0


def test_a_refusal_that_comes_while_the_policy_is_asked_is_not_overlooked(tmp_path: Path) -> None:
    """The use is judged again by what is there when it is written."""
    policy = Asks()
    with guarded(tmp_path, lambda asked: late(asked)) as guard:
        refused = []

        def late(asked: dict[str, Any]) -> Any:
            if asked["context"]["approval"] and not refused:
                refused.append(guard.approvals.refuse(approval, CAROL, "stop"))
            return policy(asked)

        approval = ask(guard)
        guard.approvals.approve(approval, BOB, "yes")
        body = Body()
        with (
            guard.session(principal="alice", agent="bot", id="s-1"),
            pytest.raises(Denied) as caught,
        ):
            guard.call("pay", {"amount": 5}, body, approval=approval)
    assert caught.value.code == "denied.approval.refused"
    assert body.runs == 0
    assert [r["decision"]["effect"] for r in records(tmp_path, "call.decision")] == [
        "require_approval",
        "deny",
    ]


def test_an_approval_that_keeps_changing_gives_up(tmp_path: Path) -> None:
    """A use that never gets its turn ends in an error; nothing ran."""
    policy = Asks(approvers=1)
    with guarded(tmp_path, lambda asked: busy(asked)) as guard:

        def busy(asked: dict[str, Any]) -> Any:
            approval = asked["context"]["approval"]
            if approval:
                # Someone whose approval has run out gives it again and again.
                with LedgerReader.open(tmp_path / "audit.db") as reader:
                    count = len(reader.approval(approval["id"]))
                service = guard.approvals
                kept, service.terms = service.terms, ApprovalTerms(ttl=-1, unsafe_asserted=True)
                service.approve(approval["id"], BOB, f"again {count}")
                service.terms = kept
            return policy(asked)

        approval = ask(guard)
        guard.approvals.approve(approval, BOB, "yes")
        body = Body()
        with (
            guard.session(principal="alice", agent="bot", id="s-1"),
            pytest.raises(LedgerError) as caught,
        ):
            guard.call("pay", {"amount": 5}, body, approval=approval)
        assert caught.value.code == "ledger.approval_taken"
        assert body.runs == 0


def test_the_database_itself_refuses_a_second_use(tmp_path: Path) -> None:
    """Whatever a program thinks, a step is taken once."""
    with guarded(tmp_path) as guard:
        approval = ask(guard)
        guard.approvals.approve(approval, BOB, "yes")
        with guard.session(principal="alice", agent="bot", id="s-1"):
            guard.call("pay", {"amount": 5}, Body(), approval=approval)
    connection = sqlite3.connect(tmp_path / "audit.db")
    try:
        for kind in ("step", "use"):
            with pytest.raises(sqlite3.IntegrityError, match="place"):
                connection.execute(
                    "INSERT INTO place SELECT kind, name, number, seq + 100 FROM place "
                    f"WHERE kind = '{kind}'"
                )
    finally:
        connection.close()


# -- waiting
# --------------------------------------------------------------------------------------------------


def answer_soon(
    guard: Guard, folder: Path, say: str = "approve", count: int = 1
) -> threading.Thread:
    """Answer the next *count* open requests from another thread, as soon as they are there."""

    def answering() -> None:
        done: set[str] = set()
        until = time.monotonic() + 30
        while len(done) < count and time.monotonic() < until:
            with LedgerReader.open(folder / "audit.db") as reader:
                waiting = [item for item in reader.requests() if item not in done]
            for approval in waiting:
                getattr(guard.approvals, say)(approval, BOB, "quick")
                done.add(approval)
            time.sleep(0.02)

    thread = threading.Thread(target=answering, daemon=True)
    thread.start()
    return thread


def test_a_call_can_wait_for_its_approval(tmp_path: Path) -> None:
    """And goes on by itself; the request is recorded once."""
    with guarded(tmp_path) as guard:
        body = Body()
        thread = answer_soon(guard, tmp_path)
        with guard.session(principal="alice", agent="bot", id="s-1"):
            assert guard.call("pay", {"amount": 5}, body, wait_for_approval=30) == "paid"
        thread.join()
    decisions = records(tmp_path, "call.decision")
    assert [r["decision"]["effect"] for r in decisions] == ["require_approval", "allow"]
    assert body.runs == 1
    assert decisions[1]["input"]["context"]["time"] > decisions[0]["ts"], "it is dated when it runs"


def test_a_call_that_waits_learns_of_a_refusal(tmp_path: Path) -> None:
    """Denied, on the record, long before its time is over."""
    with guarded(tmp_path) as guard:
        body = Body()
        thread = answer_soon(guard, tmp_path, "refuse")
        with (
            guard.session(principal="alice", agent="bot", id="s-1"),
            pytest.raises(Denied) as caught,
        ):
            guard.call("pay", {"amount": 5}, body, wait_for_approval=30)
        thread.join()
    assert caught.value.code == "denied.approval.refused"
    assert body.runs == 0


def test_a_wait_ends_with_the_request_still_open(tmp_path: Path) -> None:
    """ApprovalRequired, no second request; and the same call may wait for it again."""
    with guarded(tmp_path) as guard:
        body = Body()
        approval = ask(guard, body, wait_for_approval=0.05)
        assert len(records(tmp_path, "call.decision")) == 1
        thread = threading.Thread(
            target=lambda: (time.sleep(0.1), guard.approvals.approve(approval, BOB, "late"))
        )
        thread.start()
        with guard.session(principal="alice", agent="bot", id="s-1"):
            how = {"approval": approval, "wait_for_approval": 30}
            assert guard.call("pay", {"amount": 5}, body, **how) == "paid"
        thread.join()


def test_a_wait_for_an_approval_that_does_not_come_is_denied_on_the_record(tmp_path: Path) -> None:
    """With the id of a request that is still open."""
    with guarded(tmp_path) as guard:
        approval = ask(guard)
        with (
            guard.session(principal="alice", agent="bot", id="s-1"),
            pytest.raises(Denied) as caught,
        ):
            guard.call("pay", {"amount": 5}, Body(), approval=approval, wait_for_approval=0.05)
        assert caught.value.code == "denied.approval.pending"
        with (
            guard.session(principal="alice", agent="bot", id="s-1"),
            pytest.raises(Denied) as caught,
        ):
            guard.call("pay", {"amount": 5}, Body(), approval="no id", wait_for_approval=5)
        assert caught.value.code == "denied.approval.unknown"


def test_nobody_waits_for_what_nobody_can_approve(tmp_path: Path) -> None:
    """Where the approver must see what is hidden, the call is denied at once."""
    with guarded(tmp_path, Asks(needs=("/card",))) as guard:
        args = {"amount": 5, "card": "4111111111111111"}
        with (
            guard.session(principal="alice", agent="bot", id="s-1"),
            pytest.raises(Denied) as caught,
        ):
            guard.call("pay", args, Body(), wait_for_approval=600)
    assert caught.value.code == "denied.approval.needs_hidden"


def test_a_waiting_call_asks_anew_where_the_policy_asks_for_more(tmp_path: Path) -> None:
    """And waits for that as well."""
    policy = Asks()
    seen: list[dict[str, Any]] = []

    def stricter(asked: dict[str, Any]) -> Any:
        seen.append(asked)
        if asked["context"]["approval"]:
            policy.rules = ("large", "foreign")
        return policy(asked)

    with guarded(tmp_path, stricter) as guard:
        thread = answer_soon(guard, tmp_path, count=2)
        with guard.session(principal="alice", agent="bot", id="s-1"):
            assert guard.call("pay", {"amount": 5}, Body(), wait_for_approval=30) == "paid"
        thread.join()
    effects = [r["decision"]["effect"] for r in records(tmp_path, "call.decision")]
    assert effects == ["require_approval", "require_approval", "allow"]


async def requests(guard: Guard, task: asyncio.Task[Any]) -> list[str]:
    """Wait until *task* has asked, or ended."""
    while not (waiting := journal_of(guard).requests.of_session("s-1")) and not task.done():
        await asyncio.sleep(0.01)
    return waiting


async def test_waiting_does_not_block_the_loop(tmp_path: Path) -> None:
    """Others run meanwhile; one of them is who approves."""
    with guarded(tmp_path) as guard:
        body = Body()

        async def caller() -> Any:
            async with guard.session(principal="alice", agent="bot", id="s-1"):
                return await guard.acall("pay", {"amount": 5}, body, wait_for_approval=30)

        task = asyncio.create_task(caller())
        waiting = await requests(guard, task)
        guard.approvals.approve(waiting[0], BOB, "from the loop")
        assert await task == "paid"
        assert body.runs == 1


async def test_a_cancelled_wait_leaves_the_request_open(tmp_path: Path) -> None:
    """Nothing is lost: it can be approved and used later."""
    with guarded(tmp_path) as guard:
        body = Body()
        async with guard.session(principal="alice", agent="bot", id="s-1"):
            task = asyncio.create_task(
                guard.acall("pay", {"amount": 5}, body, wait_for_approval=30)
            )
            waiting = await requests(guard, task)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            guard.approvals.approve(waiting[0], BOB, "later")
            assert await guard.acall("pay", {"amount": 5}, body, approval=waiting[0]) == "paid"


def test_a_ledger_that_cannot_be_read_stops_the_call(tmp_path: Path) -> None:
    """An approval that can't be looked up is none: LedgerError, and nothing runs."""

    class Broken:
        def case(self, approval: str) -> Any:
            raise LedgerError("gone", code="ledger.unreadable")

        def of_session(self, session: str) -> list[str]:
            return []

    with guarded(tmp_path) as guard:
        approval = ask(guard)
        journal_of(guard).requests = Broken()
        body = Body()
        with guard.session(principal="alice", agent="bot", id="s-1"), pytest.raises(LedgerError):
            guard.call("pay", {"amount": 5}, body, approval=approval)
        assert body.runs == 0


def test_a_ledger_that_hangs_when_it_is_read_stops_the_call(tmp_path: Path) -> None:
    """After the deadline, not for ever."""
    release = threading.Event()

    class Hanging:
        def case(self, approval: str) -> Any:
            release.wait(30)

        def of_session(self, session: str) -> list[str]:
            return []

    with guarded(tmp_path, ledger={"append_deadline_ms": 200}) as guard:
        approval = ask(guard)
        journal_of(guard).requests = Hanging()
        body = Body()
        with guard.session(principal="alice", agent="bot", id="s-1"), pytest.raises(LedgerError):
            guard.call("pay", {"amount": 5}, body, approval=approval)
        assert body.runs == 0
        release.set()


def test_a_record_that_cannot_be_read_approves_nothing(tmp_path: Path) -> None:
    """To leave a damaged refusal out would be to approve: the whole request counts as unknown."""
    from guardrail.approvals.rules import case_of

    with guarded(tmp_path) as guard:
        approval = ask(guard)
        guard.approvals.approve(approval, BOB, "yes")
        guard.approvals.refuse(approval, CAROL, "no")
    with LedgerReader.open(tmp_path / "audit.db") as reader:
        lines, newest = reader.approval(approval), reader.newest()
    assert newest is not None
    assert case_of(lines, newest) is not None
    for damaged in (b"{}", b"null", b"\xff", lines[2].replace(b"asserted", b"sure"), lines[2][:-9]):
        assert case_of([*lines[:2], damaged], newest) is None
    assert case_of([], newest) is None
    assert case_of(lines, None) is None
    assert case_of([b"[]"], newest) is None
    assert RejectionReason.UNKNOWN == "unknown"
