"""At most one call runs with an effect key, whatever became of it."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from guardrail import Guard
from guardrail.errors import Denied, LedgerError, UsageError
from guardrail.ledger.effects import EFFECT_BEHIND
from guardrail.testing import StaticPolicy, allow, memory_guard
from guardrail.tools.tool import declare
from tests.support.guards import PAYMENT, Body, child, guarded, records, whole


class Paused(Exception):
    """The framework's own exception."""


def paying(guard: Guard) -> Guard:
    guard.declare("pay", schema=PAYMENT, effect_key=["/invoice"])
    return guard


def pay(guard: Guard, invoice: Any, run: Any = None, **more: Any) -> Any:
    return guard.call("pay", {"invoice": invoice, **more}, run or Body())


def refused(guard: Guard, invoice: Any, **more: Any) -> str:
    """Return the agent's message of a call that must not run."""
    body = Body()
    with pytest.raises(Denied) as caught:
        pay(guard, invoice, body, **more)
    assert (caught.value.code, body.runs) == ("denied.effect", 0)
    return str(caught.value)


def test_a_second_call_with_the_key_is_denied() -> None:
    """The detail names the record that holds the key; the values are not in it."""
    guard, ledger = memory_guard(StaticPolicy(allow()))
    paying(guard)
    assert pay(guard, "INV-77") == "done"
    assert "/invoice has run or may have run" in refused(guard, "INV-77", amount=5)
    assert pay(guard, "INV-78") == "done"
    first, second, third = ledger.of("call.decision")
    assert first["effect"] == second["effect"] != third["effect"]
    assert (second["decision"]["cause"], second["decision"]["detail"]) == ("effect", "1")
    assert "INV-77" not in first["effect"]["key"]
    assert first["effect"]["key"].startswith("gr1:effect:")


def test_a_failed_call_holds_its_key(tmp_path: Path) -> None:
    """An exception proves nothing about what the body did before."""

    def fails(**_: Any) -> None:
        raise ValueError("the bank did not answer")

    with guarded(tmp_path) as guard:
        paying(guard)
        with pytest.raises(ValueError, match="bank"):
            pay(guard, 1, fails)
        refused(guard, 1)
        refused(guard, 1.0)
    with guarded(tmp_path) as guard:
        refused(paying(guard), 1)
    whole(tmp_path / "audit.db")


def test_an_interrupted_call_runs_again_only_as_the_same_call(tmp_path: Path) -> None:
    """A framework paused it before its effect, and resumes it."""

    def pauses(**_: Any) -> None:
        raise Paused

    with guarded(tmp_path) as guard:
        paying(guard)
        args = {"invoice": 1}
        with guard.session(principal="alice", agent="bot", id="s"):
            with pytest.raises(Paused):
                guard.call("pay", args, pauses, interrupts=(Paused,), call_id="a")
            refused(guard, 1, other=5)
        with guard.session(principal="alice", agent="bot"):
            refused(guard, 1)
        with guard.session(principal="alice", agent="bot", id="s"):
            with pytest.raises(Denied):
                guard.call("pay", args, Body(), call_id="b")
            assert guard.call("pay", args, Body(), call_id="a") == "done"
            with pytest.raises(Denied):
                guard.call("pay", args, Body(), call_id="a")
    whole(tmp_path / "audit.db")


def test_threads_race_on_one_key(tmp_path: Path) -> None:
    """One of them runs."""
    body, denied = Body(), []

    def work(guard: Guard) -> None:
        try:
            pay(guard, 7, body)
        except Denied as error:
            denied.append(error.code)

    with guarded(tmp_path) as guard:
        paying(guard)
        threads = [threading.Thread(target=work, args=(guard,)) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert (body.runs, denied) == (1, ["denied.effect"] * 15)
    whole(tmp_path / "audit.db")


def test_four_processes_race_on_each_key(tmp_path: Path) -> None:
    """Each invoice is paid exactly once, by one of them, and all others are denied."""
    children = [child(tmp_path) for _ in range(4)]
    with children[0] as a, children[1] as b, children[2] as c, children[3] as d:
        running = (a, b, c, d)
        for each in running:
            each.send("pay", 0, 25)
        answers = [each.answer() for each in running]
    paid = sorted(invoice for answer in answers for invoice in answer["paid"])
    assert paid == list(range(25))
    assert {code for answer in answers for code in answer["codes"]} == {"denied.effect"}
    whole(tmp_path / "audit.db")


def test_a_payment_whose_process_was_killed_is_not_made_again(tmp_path: Path) -> None:
    """The next process closes the call as unknown, and its key stays held."""
    with child(tmp_path) as first:
        first.send("pay_and_die", 5)
        first.died()
    with child(tmp_path) as second:
        assert second.ask("pay", 4, 7) == {"paid": [4, 6], "codes": ["denied.effect"]}
    found = records(tmp_path / "audit.db", "call.outcome")
    assert "unknown" in {record["status"] for record in found}


def test_tenants_do_not_share_keys() -> None:
    """Neither the hold nor the token."""
    guard, ledger = memory_guard(StaticPolicy(allow()))
    paying(guard)
    keys = set()
    for tenant in ("acme", "globex"):
        state = guard.session(principal="alice", tenant=tenant)
        with state:
            assert pay(guard, 1) == "done"
        keys.add(ledger.of("call.decision")[-1]["effect"]["key"])
    assert len(keys) == 2


def test_a_call_without_the_value_is_denied() -> None:
    """Otherwise, all such calls would be one."""
    guard, ledger = memory_guard(StaticPolicy(allow()))
    paying(guard)
    with pytest.raises(Denied):
        guard.call("pay", {}, Body())
    (record,) = ledger.of("call.decision")
    assert (record["decision"]["cause"], record["decision"]["detail"]) == (
        "arguments",
        "effect_key",
    )
    assert "effect" not in record


def test_a_race_that_is_lost_in_the_ledger_is_decided_again() -> None:
    """The new decision sees the other call."""
    guard, ledger = memory_guard(StaticPolicy(allow()))
    paying(guard)
    errors = [LedgerError("x", code=EFFECT_BEHIND)]
    ledger.fail = lambda draft: errors.pop() if draft.effect and errors else None
    assert pay(guard, 1) == "done"
    assert errors == []


@pytest.mark.parametrize("wrong", ["/invoice", ["invoice"], ["/other"]])
def test_other_keys_are_refused_at_declaration(wrong: Any) -> None:
    """A pointer to nothing would deny every call."""
    schema = {"type": "object", "properties": {"invoice": {"type": "string"}}}
    assert declare("pay", schema=schema, effect_key=["/invoice"]).effect_key == ("/invoice",)
    with pytest.raises(UsageError) as caught:
        declare("pay", schema=schema, effect_key=wrong)
    assert caught.value.code == "usage.effect_key"
