"""Approvals under real policies, on the real engine and a real ledger."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from guardrail import ApprovalRequired, Denied, Guard
from guardrail.approvals.rules import Approver
from tests.support.approvals import BOB, CAROL, SCHEMA, Body, records

RULES = """
allow contains "known"

require_approval contains {
	"rule": "large",
	"message": "large ones need a person",
	"needs": ["/amount"],
} if {
	input.action.properties.args.amount > 1000
}

require_approval contains {"rule": "huge", "message": "huge ones need two", "approvers": 2} if {
	input.action.properties.args.amount > 100000
}

deny contains "this approver may not" if {
	some approver in input.context.approval.approvers
	approver.id == "dave"
}
"""
STOP = '\ndeny contains "payments are stopped"\n'


def write(folder: Path, rules: str) -> None:
    policies = folder / "policies"
    policies.mkdir(exist_ok=True)
    (policies / "pay.rego").write_text(f"package guardrail.policy\n{rules}")
    text = '[ledger]\npath = "audit.db"\n[approvals]\nunsafe_asserted_approvals = true\n'
    (folder / "guardrail.toml").write_text(text)


def call(guard: Guard, amount: int, body: Body, **how: Any) -> Any:
    with guard.session(principal="alice", agent="bot", id="s-1"):
        return guard.call("pay", {"amount": amount}, body, **how)


def ask(guard: Guard, amount: int) -> str:
    with pytest.raises(ApprovalRequired) as caught:
        call(guard, amount, Body())
    return caught.value.approval


def test_the_shipped_composition_asks_is_satisfied_and_can_be_stopped(tmp_path: Path) -> None:
    """One person or two as the rules say; a deny that was loaded meanwhile wins; what ran is
    reproducible.
    """
    write(tmp_path, RULES)
    body = Body()
    with Guard.open(tmp_path / "guardrail.toml") as guard:
        guard.declare("pay", schema=SCHEMA)
        assert call(guard, 5, body) == "paid"
        large, huge, other = ask(guard, 5000), ask(guard, 500_000), ask(guard, 6000)
        guard.approvals.approve(large, BOB, "yes")
        assert call(guard, 5000, body, approval=large) == "paid"
        guard.approvals.approve(huge, BOB, "yes")
        with pytest.raises(Denied) as caught:
            call(guard, 500_000, body, approval=huge)
        assert caught.value.code == "denied.approval.approvers_missing"
        guard.approvals.approve(huge, CAROL, "yes")
        write(tmp_path, RULES + STOP)
        guard.reload()
        with pytest.raises(Denied) as caught:
            call(guard, 500_000, body, approval=huge)
        assert caught.value.code == "denied.policy"
        write(tmp_path, RULES)
        guard.reload()
        assert call(guard, 500_000, body, approval=huge) == "paid"
        guard.approvals.approve(other, Approver("dave"), "yes")
        with pytest.raises(Denied) as caught:
            call(guard, 6000, body, approval=other)
        assert "this approver may not" in caught.value.message
    assert body.runs == 3
    decisions = records(tmp_path, "call.decision")
    used = [record for record in decisions if record["approval"]]
    assert [record["approval"]["rules"] for record in used] == [["large"], ["huge", "large"]]
    assert all(record["reproducible"] is True for record in used)
    assert {record["effect"] for record in used[1]["decision"]["rules"]} == {
        "allow",
        "require_approval",
    }


def test_a_policy_that_sees_only_what_is_recorded_sees_the_approval(tmp_path: Path) -> None:
    """With ``policy.input = "recorded"``, too."""
    write(tmp_path, RULES)
    with (tmp_path / "guardrail.toml").open("a") as settings:
        settings.write('[policy]\ninput = "recorded"\n')
    body = Body()
    with Guard.open(tmp_path / "guardrail.toml") as guard:
        guard.declare("pay", schema=SCHEMA)
        approval = ask(guard, 5000)
        guard.approvals.approve(approval, BOB, "yes")
        assert call(guard, 5000, body, approval=approval) == "paid"
    assert records(tmp_path, "call.decision")[-1]["input"]["context"]["approval"]["valid"] is True
