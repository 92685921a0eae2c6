"""Policies and callers that misuse the states of sessions get clear answers. Nothing is lost."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from guardrail import Denied, Guard
from guardrail.core.times import record_time
from guardrail.ledger.sqlite import appending, batch
from tests.support.guards import OPEN, Body, records, ruled, verdicts, whole

LIMIT = 'allow contains "few" if input.context.principal_state.calls < 3'


def made(guard: Guard, tool: str = "pay", session: str | None = None, **arguments: Any) -> str:
    """Make a call of Alice; return the code of its denial, or nothing."""
    try:
        with guard.session(id=session, principal="alice", agent="bot"):
            guard.call(tool, arguments, run=Body())
    except Denied as error:
        return error.code
    return ""


def jump_clock(monkeypatch: pytest.MonkeyPatch, days: int) -> None:
    """Let the times of new records be wrong by so many days."""
    for module in (appending, batch):
        monkeypatch.setattr(
            module, "utc_timestamp", lambda: record_time(datetime.now(UTC) + timedelta(days=days))
        )


def test_a_label_rule_that_labels_every_call_is_followed(tmp_path: Path) -> None:
    """Every session is labelled after its first call, and ``guardrail why`` shows the label."""
    rule = """allow contains "any"

label contains "untrusted"

deny contains "after untrusted" if "untrusted" in input.context.session.labels
"""
    with ruled(tmp_path, rule) as guard:
        guard.declare("pay", schema=OPEN)
        for session in ("s", "t"):
            assert [made(guard, session=session) for _ in range(2)] == ["", "denied.policy"]
    found = records(tmp_path / "audit.db", "call.decision")
    assert {tuple(each["decision"]["labels"]) for each in found} == {("untrusted",)}
    whole(tmp_path / "audit.db")


def test_a_label_rule_with_endless_values_never_hides_a_label(tmp_path: Path) -> None:
    """More labels than a state holds become ``*``, which means that any label may be missing."""
    rule = """allow contains "any"

label contains sprintf("n%d", [input.action.properties.args.n])

deny contains "full" if "*" in input.context.principal_state.labels
"""
    with ruled(tmp_path, rule) as guard:
        guard.declare("pay", schema=OPEN)
        codes = [made(guard, n=number) for number in range(66)]
    assert codes == [""] * 65 + ["denied.policy"]
    whole(tmp_path / "audit.db")


@pytest.mark.parametrize("amount", ["1000", -5, True, None, [5], {"value": 5}, "NaN"])
def test_an_amount_that_is_no_amount_is_denied_and_adds_nothing(
    tmp_path: Path, amount: object
) -> None:
    rule = """allow contains "any" if {
	tools := input.context.principal_state.by_tool
	before := object.get(tools, ["pay", "amounts", "/amount"], 0)
	before + input.resource.properties.amounts["/amount"] <= 10
}
"""
    schema = {"type": "object", "properties": {"amount": {}}}
    with ruled(tmp_path, rule) as guard:
        guard.declare("pay", schema=schema, amounts=["/amount"])
        codes = [made(guard, amount=each) for each in (6, amount, 5, 4, 0.5)]
    assert codes == ["", "denied.arguments", "denied.policy", "", "denied.policy"]
    assert verdicts(tmp_path / "audit.db")[1] == ("deny", "arguments", "amount")
    whole(tmp_path / "audit.db")


@pytest.mark.parametrize(
    "ids", [["s", "t", "u", "v"], ["s", "S", "ｓ", "s "], ["alice", "bot", "default", "*"]]
)
def test_a_session_id_that_the_client_chooses_resets_no_limit_of_a_principal(
    tmp_path: Path, ids: list[str]
) -> None:
    with ruled(tmp_path, LIMIT) as guard:
        guard.declare("pay", schema=OPEN)
        assert [made(guard, session=each) for each in ids] == ["", "", "", "denied.policy"]
    with ruled(tmp_path, LIMIT) as guard:
        guard.declare("pay", schema=OPEN)
        assert made(guard, session="new") == "denied.policy"


@pytest.mark.parametrize("days", [1, -1])
def test_a_clock_that_jumps_a_day_resets_no_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: int
) -> None:
    """Counts follow the order of the records, not their times."""
    with ruled(tmp_path, LIMIT) as guard:
        guard.declare("pay", schema=OPEN)
        assert [made(guard) for _ in range(2)] == ["", ""]
        jump_clock(monkeypatch, days)
        assert [made(guard) for _ in range(2)] == ["", "denied.policy"]
    with ruled(tmp_path, LIMIT) as guard:
        guard.declare("pay", schema=OPEN)
        assert made(guard) == "denied.policy"
    times = [each["ts"] for each in records(tmp_path / "audit.db", "call.decision")]
    assert (times[1] < times[2]) is (days > 0)
    whole(tmp_path / "audit.db")
