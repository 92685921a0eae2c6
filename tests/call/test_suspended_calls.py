"""Suspensions stop the next call of every guard, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from guardrail import ApprovalRequired, Denied, Guard
from guardrail.approvals.service import system_user
from guardrail.errors import LedgerError
from guardrail.testing import StaticPolicy, allow, ask
from tests.support.guards import OPEN, Body, guarded, records, settings, verdicts, whole
from tests.support.suspensions import FUTURE, PAST, Responder, responder


class Scene:
    """A guard, and a person who opened the same ledger."""

    def __init__(self, guard: Guard, person: Responder, folder: Path) -> None:
        self.guard, self.person, self.folder = guard, person, folder
        self.body = Body()
        guard.declare("pay", schema=OPEN)

    def call(
        self, principal: str = "alice", agent: str = "bot", tool: str = "pay", **more: Any
    ) -> str:
        """Make a call; return the detail of its denial, or the result of the body."""
        try:
            with self.guard.session(principal=principal, agent=agent, **more):
                return self.guard.call(tool, {}, run=self.body)
        except Denied as denied:
            if denied.code != "denied.suspended" or not denied.reason:
                raise
            return f"denied by {records(self.folder / 'audit.db')[-1]['decision']['detail']}"


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with guarded(tmp_path) as guard, responder(tmp_path) as person:
        yield Scene(guard, person, tmp_path)


def test_the_next_call_is_denied_and_the_one_after_the_resumption_runs(scene: Scene) -> None:
    """The other process wrote the record; this guard has not read it before the call."""
    assert scene.call() == "done"
    made = scene.person.suspend("agent:bot")
    assert made.receipt is not None
    assert scene.call() == f"denied by {made.receipt.seq}"
    assert scene.call(agent="other") == "done"
    assert scene.person.resume("agent:bot") == 0
    assert scene.call() == "done"
    assert scene.body.runs == 3
    whole(scene.folder / "audit.db")


@pytest.mark.parametrize(
    ("name", "stopped"),
    [
        ("all", {"alice", "bob", "pay"}),
        ("principal:alice", {"alice"}),
        ("principal: ＡLICE", {"alice"}),
        ("principal:boss:7", set()),
        ("principal:al*", set()),
        ("tool:pay", {"alice", "bob", "pay"}),
        ("tool:send", set()),
        ("agent:BOT", {"alice", "bob", "pay"}),
        ("agent:alice", set()),
    ],
)
def test_a_suspension_stops_exactly_its_subject(scene: Scene, name: str, stopped: set[str]) -> None:
    scene.person.suspend(name)
    assert scene.call("alice").startswith("denied") is ("alice" in stopped)
    assert scene.call("bob").startswith("denied") is ("bob" in stopped)


def test_spellings_that_look_the_same_are_one_subject(scene: Scene) -> None:
    scene.person.suspend("principal:alice")
    assert scene.call(principal="Ａｌｉｃｅ ").startswith("denied")
    assert scene.call(principal="\u0430lice").startswith("denied")  # a Cyrillic letter


def test_a_principal_is_also_stopped_in_a_delegation(scene: Scene) -> None:
    scene.person.suspend("principal:svc-mail")
    chain = [{"sub": "svc-mail", "iss": "x"}]
    assert scene.call("alice", delegation=chain).startswith("denied")
    assert scene.call("alice") == "done"


def test_the_agent_reads_no_reason_and_the_program_does(scene: Scene) -> None:
    scene.person.suspend("all", reason="insider at work")
    with scene.guard.session(principal="alice", agent="bot"), pytest.raises(Denied) as found:
        scene.guard.call("pay", {"to": "x"}, run=scene.body)
    denied = found.value
    assert denied.reason == "insider at work"
    assert "insider" not in f"{denied}{denied!r}{denied.args}{denied.hint}"
    assert str(denied) == "denied: an operator has suspended these calls"
    record = records(scene.folder / "audit.db")[-1]
    assert record["decision"]["cause"] == "suspended"
    assert record["decision"]["rules"] == []
    assert scene.body.runs == 0


def test_a_suspension_ends_at_its_time(scene: Scene) -> None:
    """Each call compares the time. The expired suspension is still listed."""
    scene.person.suspend("agent:bot", until=PAST, now=lambda: "2000-01-01T00:00:00.000000Z")
    assert scene.call() == "done"
    assert len(scene.person.state()) == 1
    scene.person.suspend("agent:bot", until=FUTURE)
    assert scene.call().startswith("denied")


def test_a_decision_that_was_made_before_the_suspension_is_not_recorded_as_allowed(
    tmp_path: Path,
) -> None:
    """The suspension is written while the policy is evaluated. No policy sees the call again."""
    names: list[str] = []

    def decide(asked: dict[str, Any]) -> dict[str, Any]:
        names.append(asked["resource"]["id"])
        if len(names) == 1:
            person.suspend("tool:pay")
        return allow()

    body = Body()
    with (
        guarded(tmp_path, StaticPolicy(decide)) as guard,
        responder(tmp_path) as person,
        guard.session(principal="alice", agent="bot"),
        pytest.raises(Denied) as denied,
    ):
        guard.call("pay", {}, run=body)
    assert denied.value.code == "denied.suspended"
    assert (body.runs, len(names)) == (0, 1)
    assert [effect for effect, _, _ in verdicts(tmp_path / "audit.db")] == ["deny"]


def test_a_call_that_was_to_be_denied_runs_if_it_is_resumed_in_time(scene: Scene) -> None:
    """The guard's memory is older than the head, in the other direction as well."""
    scene.person.suspend("agent:bot")
    assert scene.call().startswith("denied")
    scene.person.resume("agent:bot")
    assert scene.call() == "done"


FORMS = [("clear", "default"), ("clear", "acme"), ("token", "default"), ("token", "acme")]
"""Forms of principals in records, each with the tenant of a call. No tenant has a table."""


@pytest.mark.parametrize(("form", "tenant"), FORMS)
@pytest.mark.parametrize("subject", ["agent:bot", f"principal:{system_user().id}"])
def test_an_approved_call_of_a_suspended_agent_or_approver_is_denied(
    tmp_path: Path, subject: str, form: str, tenant: str
) -> None:
    """A suspension stops a person in every tenant of the ledger."""
    policy = StaticPolicy(
        lambda asked: allow("large") if asked["context"]["approval"] else ask("large")
    )
    chosen = {
        "approvals": {"unsafe_asserted_approvals": True},
        "identity": {"require": "any", "principal_form": form},
    }
    with (
        guarded(tmp_path, policy, **chosen) as guard,
        responder(tmp_path, settings(tmp_path, **chosen)) as person,
        guard.session(principal="alice", agent="bot", tenant=tenant),
    ):
        with pytest.raises(ApprovalRequired) as asked:
            guard.call("pay", {}, run=Body())
        guard.approvals.approve(asked.value.approval, system_user(), "fine")
        person.suspend(subject)
        with pytest.raises(Denied) as denied:
            guard.call("pay", {}, run=Body(), approval=asked.value.approval)
        assert denied.value.code == "denied.suspended"
        person.resume(subject)
        body = Body()
        assert guard.call("pay", {}, run=body, approval=asked.value.approval) == "done"
    assert body.runs == 1


@pytest.mark.parametrize(("form", "tenant"), FORMS)
def test_an_approver_who_is_suspended_while_the_policy_decides_does_not_count(
    tmp_path: Path, form: str, tenant: str
) -> None:
    """The suspension is compared again in the transaction that writes the decision."""
    approver = f"principal:{system_user().id}"
    chosen = {
        "approvals": {"unsafe_asserted_approvals": True},
        "identity": {"require": "any", "principal_form": form},
    }

    def decide(asked: dict[str, Any]) -> Any:
        if not asked["context"]["approval"]:
            return ask("large")
        person.suspend(approver)
        return allow("large")

    with (
        guarded(tmp_path, StaticPolicy(decide), **chosen) as guard,
        responder(tmp_path, settings(tmp_path, **chosen)) as person,
        guard.session(principal="alice", agent="bot", tenant=tenant),
    ):
        with pytest.raises(ApprovalRequired) as asked:
            guard.call("pay", {}, run=Body())
        guard.approvals.approve(asked.value.approval, system_user(), "fine")
        body = Body()
        with pytest.raises(Denied) as denied:
            guard.call("pay", {}, run=body, approval=asked.value.approval)
        assert denied.value.code == "denied.suspended"
    assert body.runs == 0


def test_a_running_call_ends_with_its_outcome(scene: Scene) -> None:
    def body() -> str:
        scene.person.suspend("all")
        return "done"

    with scene.guard.session(principal="alice", agent="bot"):
        assert scene.guard.call("pay", {}, run=body) == "done"
    assert records(scene.folder / "audit.db")[-1]["status"] == "ok"


def test_every_way_to_call_obeys(scene: Scene) -> None:
    scene.person.suspend("all")

    async def later() -> Any:
        return await scene.guard.acall("pay", {}, run=scene.body)

    with scene.guard.session(principal="alice", agent="bot"):
        for call in (
            lambda: scene.guard.admit("pay", {}),
            lambda: scene.guard.call("unknown", {"x": 1}, run=scene.body),
            lambda: asyncio.run(later()),
        ):
            with pytest.raises(Denied) as denied:
                call()
            assert denied.value.code == "denied.suspended"
    assert scene.body.runs == 0


def test_a_principal_that_is_recorded_as_a_token_is_stopped_too(tmp_path: Path) -> None:
    chosen = {"identity": {"require": "any", "principal_form": "token"}}
    with (
        guarded(tmp_path, **chosen) as guard,
        responder(tmp_path, settings(tmp_path, **chosen)) as person,
    ):
        made = person.suspend("principal:alice")
        assert made.receipt is not None
        scene = Scene(guard, person, tmp_path)
        assert scene.call("alice") == f"denied by {made.receipt.seq}"
        assert scene.call("bob") == "done"
        person.resume("principal:alice")
        token = records(tmp_path / "audit.db", "call.decision")[0]["principal"]["id"]
        person.suspend(f"principal:{token}")
        assert scene.call("alice").startswith("denied")
    assert b"alice" not in (tmp_path / "audit.db").read_bytes()


def test_a_delegating_principal_that_is_suspended_as_a_token_is_stopped(tmp_path: Path) -> None:
    """The delegation contains the id as given, and the suspension contains its token."""
    chosen = {"identity": {"require": "any", "principal_form": "token"}}
    with (
        guarded(tmp_path, **chosen) as guard,
        responder(tmp_path, settings(tmp_path, **chosen)) as person,
    ):
        person.suspend("principal:alice")
        scene = Scene(guard, person, tmp_path)
        assert scene.call("bob", delegation=[{"sub": "alice"}]).startswith("denied")
        assert scene.call("bob", delegation=[{"sub": "carol"}]) == "done"


@pytest.mark.parametrize("kind", ["tool", "agent", "principal"])
def test_an_id_that_contains_a_secret_is_stopped(scene: Scene, kind: str) -> None:
    """The server of a tool chooses its name, which the suspension must not repeat."""
    secret = "ghp_16C7e42F292c6912E7710c838347Ae178B4a"
    scene.guard.declare(secret, schema=OPEN)
    assert scene.call(**{kind: secret}) == "done"
    made = scene.person.suspend(f"{kind}:{secret}")
    assert made.receipt is not None
    assert scene.call(**{kind: secret}) == f"denied by {made.receipt.seq}"
    assert scene.call() == "done"


def test_a_guard_opened_later_obeys_and_each_guard_reads_the_records_once(tmp_path: Path) -> None:
    with guarded(tmp_path) as first, responder(tmp_path) as person, ExitStack() as others:
        for number in range(20):
            person.suspend(f"agent:bot-{number}")
        for number in range(19):
            person.resume(f"agent:bot-{number}")
        for guard in (first, others.enter_context(guarded(tmp_path))):
            scene = Scene(guard, person, tmp_path)
            assert scene.call(agent="bot-19").startswith("denied")
            assert scene.call(agent="bot-3") == "done"


def test_a_change_is_repeated_if_another_process_was_faster(scene: Scene) -> None:
    """Two people read the same state. The second one writes nothing that contradicts the first."""
    read, other = scene.person.read, []

    def slow(known: Any) -> Any:
        state = read(known)
        if not other:
            other.append(1)
            with responder(scene.folder) as second:
                second.suspend("tool:pay")
        return state

    scene.person.read = slow
    scene.person.suspend("agent:bot")
    assert [each.subject.name for each in scene.person.state().in_force] == [
        "tool:pay",
        "agent:bot",
    ]
    whole(scene.folder / "audit.db")


def test_nothing_is_half_done_if_the_ledger_cannot_be_written(scene: Scene) -> None:
    journal_error = LedgerError("no room", code="ledger.poisoned")

    def fail(*_: Any) -> Any:
        raise journal_error

    record, scene.person.record = scene.person.record, fail
    with pytest.raises(LedgerError) as found:
        scene.person.suspend("all")
    assert found.value is journal_error
    assert scene.call() == "done"
    scene.person.record = record
    scene.person.suspend("all")
    assert scene.call().startswith("denied")
