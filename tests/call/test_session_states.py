"""Policies see the state of the session, and each decision is made on the state before it."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

import orjson
import pytest

from guardrail import Denied, Guard
from guardrail.call import state_reading, steps
from guardrail.core import session_state
from guardrail.errors import LedgerSealedError
from guardrail.testing import StaticPolicy, allow, deny
from tests.support.guards import (
    OPEN,
    Body,
    guarded,
    journal_of,
    lines,
    records,
    ruled,
    verdicts,
    whole,
    write_policy,
)
from tests.support.hidden_records import hidden

SECTIONS = ("session", "principal_state", "agent_state")
EVERYTHING = (*SECTIONS, "recent")


def limited(most: int, section: str = "principal_state", **options: Any) -> StaticPolicy:
    """Return a policy that admits *most* calls."""

    def decide(document: dict[str, Any]) -> dict[str, Any]:
        return allow("ok") if document["context"][section]["calls"] < most else deny("too-many")

    return StaticPolicy(decide, state_reads=EVERYTHING, **options)


def call(guard: Guard, tool: str = "pay", session: str | None = None, **who: str) -> bool:
    """Make a call; return True if it was allowed."""
    identity = {"principal": "alice", "agent": "bot", **who}
    try:
        with guard.session(id=session, **identity):
            guard.call(tool, {}, run=Body())
    except Denied:
        return False
    return True


def test_a_policy_sees_the_calls_before(tmp_path: Path) -> None:
    engine = limited(2)
    with guarded(tmp_path, engine) as guard:
        guard.declare("pay", schema=OPEN)
        assert [call(guard) for _ in range(4)] == [True, True, False, False]
    seen = [document["context"] for document in engine.inputs]
    assert [each["principal_state"]["calls"] for each in seen] == [0, 1, 2, 2]
    assert [each["principal_state"]["denied"] for each in seen] == [0, 0, 0, 1]
    assert [each["session"]["calls"] for each in seen] == [0, 0, 0, 0]
    assert seen[1]["session"]["id"]
    assert seen[1]["agent_state"]["recent"][0]["outcome"] == "ok"
    recorded = [
        record["input"]["context"] for record in records(tmp_path / "audit.db", "call.decision")
    ]
    assert recorded == seen
    whole(tmp_path / "audit.db")


def test_a_policy_that_reads_no_state_gets_none(tmp_path: Path) -> None:
    engine = StaticPolicy(allow())
    with guarded(tmp_path, engine) as guard:
        call(guard)
        assert not journal_of(guard).ledger.states.is_followed
    assert set(engine.inputs[0]["context"]["session"]) == {"id"}
    assert "principal_state" not in engine.inputs[0]["context"]


def test_the_state_outlives_the_process(tmp_path: Path) -> None:
    """It is computed from the records, so a new guard knows it."""
    with guarded(tmp_path, limited(3)) as guard:
        assert call(guard)
        assert call(guard)
    with guarded(tmp_path, limited(3)) as guard:
        assert [call(guard), call(guard)] == [True, False]


def test_a_process_knows_its_own_records_as_others_read_them(tmp_path: Path) -> None:
    """It takes them from its drafts, and does not read their lines."""

    def decide(document: dict[str, Any]) -> dict[str, Any]:
        denied = document["action"]["properties"]["args"]["amount"] == 3
        return deny("three") if denied else {**allow("ok"), "labels": ["seen"]}

    def known(guard: Guard) -> Any:
        journal_of(guard).requests.read_states()
        keys = {
            "session": [("session", "default", "s")],
            "principal_state": [("principal_state", "default", "", "alice")],
            "agent_state": [("agent_state", "default", "bot")],
        }
        texts, versions, _ = journal_of(guard).ledger.states.read(keys, recent=True)
        return {name: text.json for name, text in texts.items()}, versions

    def opened() -> AbstractContextManager[Guard]:
        return guarded(tmp_path, StaticPolicy(decide, state_reads=EVERYTHING))

    def pay(guard: Guard, amount: int, body: Body) -> None:
        schema = {"type": "object", "properties": {"amount": {"type": "number"}, "to": {}}}
        guard.declare("pay", schema=schema, amounts=["/amount"], target=["/to"], labels=["money"])
        with guard.session(id="s", principal="alice", agent="bot"), suppress(Denied, OSError):
            guard.call("pay", {"amount": amount, "to": f"caf\u00e9 {amount}"}, run=body)

    with opened() as guard, opened() as other:
        for amount in range(6):
            pay(guard, amount, Body(OSError()) if amount == 4 else Body())
        pay(other, 1, Body())
        pay(guard, 2, Body())
        with opened() as fresh:
            assert known(guard) == known(other) == known(fresh)
            document = orjson.loads(known(fresh)[0]["session"])
    assert (document["calls"], document["denied"], document["labels"]) == (7, 1, ["money", "seen"])
    assert [each["outcome"] for each in document["recent"]] == [
        *("ok", "ok", "ok", "", "error", "ok", "ok", "ok")
    ]


def test_no_budget_is_reset_by_making_up_principals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_state, "MOST_UNPACKED", 1)
    monkeypatch.setattr(session_state, "MOST_SUBJECTS", 5)
    for _ in range(2):  # also after a restart
        with guarded(tmp_path, limited(1)) as guard:
            call(guard)
            for number in range(10):
                call(guard, principal=f"made-up-{number}", agent=f"made-up-{number}")
            with (
                guard.session(principal="alice", agent="bot"),
                pytest.raises(Denied, match="no longer has the earlier calls"),
            ):
                guard.call("pay", {}, run=Body())
            assert verdicts(tmp_path / "audit.db")[-1] == ("deny", "contention", "displaced")


def test_calls_of_other_guards_count(tmp_path: Path) -> None:
    with guarded(tmp_path, limited(3)) as one, guarded(tmp_path, limited(3)) as other:
        made = [call(guard) for guard in (one, other, one, other, one)]
    assert made == [True, True, True, False, False]


def test_parallel_calls_never_exceed_a_limit(tmp_path: Path) -> None:
    with guarded(tmp_path, limited(10)) as guard, ThreadPoolExecutor(16) as pool:
        made = list(pool.map(lambda _: call(guard), range(64)))
    assert sum(made) == 10
    assert {cause for _, cause, _ in verdicts(tmp_path / "audit.db")} <= {"policy", "contention"}
    whole(tmp_path / "audit.db")


@pytest.mark.parametrize("section", SECTIONS)
def test_of_three_parallel_transfers_two_fit_into_the_budget(tmp_path: Path, section: str) -> None:
    """All three are decided before one of them is recorded."""
    together = threading.Barrier(3)

    def decide(document: dict[str, Any]) -> dict[str, Any]:
        state = document["context"][section]
        if not state["calls"] and not together.broken:
            try:
                together.wait(2)
            except threading.BrokenBarrierError:
                pass
            together.abort()
        return allow("ok") if state["calls"] * 2_000 + 2_000 <= 5_000 else deny("budget")

    engine = StaticPolicy(decide, state_reads={section}, delay=0.001)
    with guarded(tmp_path, engine) as guard, ThreadPoolExecutor(3) as pool:
        made = list(pool.map(lambda _: call(guard, session="s"), range(3)))
    assert sorted(made) == [False, True, True]


def test_a_call_that_is_decided_five_times_is_denied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with guarded(tmp_path, limited(100)) as other:
        decisions: list[int] = []

        def decide(_: dict[str, Any]) -> dict[str, Any]:
            decisions.append(1)
            assert call(other)  # another process is always faster
            return allow("ok")

        engine = StaticPolicy(decide, state_reads={"principal_state"})
        with guarded(tmp_path, engine) as guard:
            assert not call(guard)
    assert len(decisions) == state_reading.MOST_DECISIONS
    assert verdicts(tmp_path / "audit.db")[-1] == ("deny", "contention", "state")


def test_a_denial_is_not_decided_again_because_of_other_denials(tmp_path: Path) -> None:
    with guarded(tmp_path, limited(0)) as other:
        decisions: list[int] = []

        def decide(_: dict[str, Any]) -> dict[str, Any]:
            decisions.append(1)
            assert not call(other)
            return deny("no")

        engine = StaticPolicy(decide, state_reads={"principal_state"})
        with guarded(tmp_path, engine) as guard:
            assert not call(guard)
    assert len(decisions) == 1


def test_a_process_that_is_far_behind_reads_the_records_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("guardrail.ledger.session_states.SHORT", 3)
    with guarded(tmp_path, limited(8)) as one, guarded(tmp_path, limited(8)) as other:
        assert call(one)
        assert all(call(other) for _ in range(7))
        assert not call(one)
        assert not call(one)


def test_a_changed_record_is_found_before_a_decision_uses_the_state(tmp_path: Path) -> None:
    db = tmp_path / "audit.db"
    with guarded(tmp_path, limited(2)) as guard:
        assert call(guard)
        assert call(guard)
    with guarded(tmp_path, limited(2)) as guard:
        changed = hidden(db, "seq = 1", '"id":"alice"', '"id":"mallo"')
        with changed, pytest.raises(LedgerSealedError):
            call(guard)


def test_a_record_of_another_process_that_was_changed_seals_the_ledger(tmp_path: Path) -> None:
    db = tmp_path / "audit.db"
    with guarded(tmp_path, limited(3)) as guard, guarded(tmp_path, limited(3)) as other:
        assert call(guard)
        assert call(other)
        changed = hidden(db, "seq = 3", '"id":"alice"', '"id":"mallo"')
        with changed, pytest.raises(LedgerSealedError):
            call(guard)


def test_calls_that_are_denied_early_count_as_denied(tmp_path: Path) -> None:
    engine = limited(5)
    with guarded(tmp_path, engine) as guard:
        guard.declare(
            "pay", schema={"type": "object", "properties": {}, "additionalProperties": False}
        )
        with guard.session(principal="alice", agent="bot"), pytest.raises(Denied):
            guard.call("pay", {"more": 1}, run=Body())
        assert call(guard)
    assert engine.inputs[-1]["context"]["agent_state"]["denied"] == 1


def test_a_value_that_became_known_as_secret_leaves_the_recorded_state(tmp_path: Path) -> None:
    """The policy still sees the target; records from then on do not."""
    secret = "zq9-hunter2-vX7"
    engine = limited(9)
    schema = {
        "type": "object",
        "properties": {
            "account": {"type": "string"},
            "pin": {"type": "string", "writeOnly": True},
        },
    }
    with guarded(tmp_path, engine) as guard:
        guard.declare("pay", schema=schema, target=["/account"])
        with guard.session(principal="alice", agent="bot"):
            guard.call("pay", {"account": secret}, run=Body())
            before = len(lines(tmp_path / "audit.db"))
            guard.call("pay", {"pin": secret}, run=Body())
            guard.call("pay", {}, run=Body())
    assert engine.inputs[-1]["context"]["session"]["recent"][0]["target"] == [secret]
    assert not any(secret.encode() in line for line in lines(tmp_path / "audit.db")[before:])


@pytest.mark.parametrize("form", ["clear", "token"])
def test_the_form_of_principals_in_records_does_not_reset_the_state(
    tmp_path: Path, form: str
) -> None:
    for now, allowed in (("clear", True), (form, True), ("token", False)):
        identity = {"require": "any", "principal_form": now}
        with guarded(tmp_path, limited(2), identity=identity) as guard:
            assert call(guard) is allowed


def test_a_child_process_computes_the_state_again(tmp_path: Path) -> None:
    with guarded(tmp_path, limited(2)) as guard:
        assert call(guard)
        child = os.fork()
        if child == 0:
            os._exit(10 * call(guard) + call(guard))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 10
        assert not call(guard)


def test_a_call_does_not_wait_forever_for_its_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with guarded(tmp_path, limited(2)) as guard:
        monkeypatch.setattr(journal_of(guard), "deadline", 0.05)
        queues = guard.calls.states.queues
        with guard.session(principal="alice", agent="bot") as scope:
            key = state_reading.widest_subject(scope.state, SECTIONS)
            assert key is not None
            place = queues.join(key, always=True)
            assert place is not None
            assert call(guard)  # it stops waiting
            queues.leave(key, place)
            queues.leave(key, place)
            assert not queues.waiting


def test_a_policy_that_names_no_recent_calls_gets_none(tmp_path: Path) -> None:
    engine = limited(2)
    engine.state_reads = frozenset(SECTIONS)
    with guarded(tmp_path, engine) as guard:
        assert call(guard)
        assert call(guard)
    state = engine.inputs[-1]["context"]["principal_state"]
    assert (state["calls"], state["recent"], state["recent_complete"]) == (1, [], False)


def test_a_real_policy_reads_the_state(tmp_path: Path) -> None:
    """On the embedded engine: three lines for a budget."""
    rego = """allow contains "small" if input.context.principal_state.calls < 2

deny contains "after web" if "web" in input.context.session.labels

label contains "web" if input.resource.id == "browse"
"""
    with ruled(tmp_path, rego) as guard:
        guard.declare("pay", schema=OPEN)
        guard.declare("browse", schema=OPEN)
        with guard.session(principal="alice", agent="bot"):
            guard.call("browse", {}, run=Body())
            with pytest.raises(Denied):
                guard.call("pay", {}, run=Body())
        assert [call(guard), call(guard)] == [True, False]
    whole(tmp_path / "audit.db")


def test_a_policy_that_is_loaded_meanwhile_never_decides_without_its_states(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The call was prepared for a policy that reads none."""
    with ruled(tmp_path, 'allow contains "any"') as guard:
        guard.declare("pay", schema=OPEN)
        repeated = steps.refuse_repeated

        def reload_first(*arguments: Any) -> Any:
            rego = 'allow contains "any"\n\ndeny contains "all" if input.context.session.calls >= 0'
            write_policy(tmp_path, rego)
            guard.reload()
            return repeated(*arguments)

        monkeypatch.setattr(steps, "refuse_repeated", reload_first)
        assert not call(guard)
    assert verdicts(tmp_path / "audit.db")[-1][1] == "policy"


def test_a_tool_whose_name_would_be_hidden_is_denied_because_its_calls_could_not_be_counted(
    tmp_path: Path,
) -> None:
    name = "export-customers9-vX7"
    with guarded(tmp_path, limited(9)) as guard:
        pin = {"pin": {"type": "string", "writeOnly": True}}
        guard.declare("login", schema={"type": "object", "properties": pin})
        with guard.session(principal="alice", agent="bot"):
            guard.call(name, {}, run=Body())
            guard.call("login", {"pin": name}, run=Body())
            with pytest.raises(Denied):
                guard.call(name, {}, run=Body())
    assert verdicts(tmp_path / "audit.db")[-1] == ("deny", "redactor", "tool")


def test_denials_of_others_do_not_hold_up_the_calls_of_an_agent(tmp_path: Path) -> None:
    with guarded(tmp_path, limited(0)) as other:
        decisions: list[int] = []

        def decide(_: dict[str, Any]) -> dict[str, Any]:
            decisions.append(1)
            assert not call(other, principal="mallory")
            return allow("ok")

        engine = StaticPolicy(decide, state_reads={"agent_state"})
        with guarded(tmp_path, engine) as guard:
            assert call(guard)
    assert len(decisions) == 1
