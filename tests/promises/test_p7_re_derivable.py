"""P7: a record says by digest what its decision depended on, and ``reproducible: true`` only where
that is so.
"""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from guardrail import Guard
from guardrail.core import decision as decisions
from guardrail.core.log.record import dumps
from guardrail.core.types import Cause, Decision, Effect, Rule
from guardrail.errors import ApprovalRequired, Denied, PolicyError
from guardrail.testing import StaticPolicy, allow, deny
from guardrail.wiring.opening import load_engine
from tests.support.guards import OPEN, Body, guarded, records, ruled, settings, write_policy

PAYMENTS = """
# Reads the card number itself, which no record holds.
allow contains "own-card" if {
	input.resource.id == "pay"
	input.action.properties.args.card == "4111111111111111"
}

# Reads only what is recorded.
allow contains "small" if {
	input.resource.id == "pay"
	input.action.properties.args.amount < 10
}

deny contains "foreign" if {
	input.resource.id == "pay"
	startswith(input.action.properties.args.card, "5555")
}

deny contains "large" if {
	input.resource.id == "pay"
	input.action.properties.args.amount > 1000
}

require_approval contains {"rule": "medium", "message": "ask"} if {
	input.resource.id == "pay"
	input.action.properties.args.amount > 100
}
"""
CARD = {
    "type": "object",
    "properties": {
        "card": {"type": "string", "x-guardrail": {"class": "payment"}},
        "amount": {"type": "integer"},
    },
    "additionalProperties": True,
}
OWN, FOREIGN, OTHER = "4111111111111111", "5555555555554444", "4222222222222220"

CASES: list[tuple[dict[str, Any], type[Exception] | None, bool]] = [
    ({"card": OWN, "amount": 50}, None, False),
    ({"card": OTHER, "amount": 5}, None, True),
    ({"card": OWN, "amount": 5}, None, False),
    ({"card": FOREIGN, "amount": 5}, Denied, False),
    ({"card": OTHER, "amount": 5000}, Denied, True),
    ({"card": OTHER, "amount": 50}, Denied, True),
    ({"card": OWN, "amount": 500}, ApprovalRequired, False),
    ({"amount": 5}, None, True),
    ({"amount": 5000}, Denied, True),
    ({"amount": 5, "note": "x " * 600}, None, True),
]
"""Arguments, what is raised, and whether the decision follows from the recorded input."""


def said(folder: Path) -> list[tuple[dict[str, Any], bool | None]]:
    """Return every decision record with what it, or else its outcome, says about being
    reproducible.
    """
    outcomes = {r["call"]: r["reproducible"] for r in records(folder / "audit.db", "call.outcome")}
    return [
        (
            record,
            outcomes.get(record["call"])
            if record["reproducible"] is None
            else record["reproducible"],
        )
        for record in records(folder / "audit.db", "call.decision")
    ]


def test_a_decision_that_follows_from_its_record_is_the_only_one_called_reproducible(
    tmp_path: Path,
) -> None:
    """Policies that read what is redacted, and others; then every record that says true is
    replayed.
    """
    with ruled(tmp_path, PAYMENTS) as guard:
        guard.declare("pay", schema=CARD)
        with guard.session(principal="alice", agent="bot"):
            for args, error, _ in CASES:
                if error is None:
                    guard.call("pay", args, Body())
                else:
                    with pytest.raises(error):
                        guard.call("pay", args, Body())
    found = said(tmp_path)
    assert [answer for _, answer in found] == [expected for _, _, expected in CASES]
    replay(tmp_path, [record for record, answer in found if answer])
    # And those that say false do differ.
    with pytest.raises(AssertionError):
        replay(tmp_path, [record for record, answer in found if answer is False])


def replay(folder: Path, found: list[dict[str, Any]]) -> None:
    """Decide each recorded input with a fresh engine; effect and rules must be those of the
    record.
    """
    assert found
    engine = load_engine(settings(folder))
    try:
        for record in found:
            assert record["policy"]["digest"] == engine.identity.digest
            assert record["policy"]["version"] == engine.identity.version
            reply = engine.decide(dumps(record["input"]), shard="replay", deadline=5.0).result(10)
            again = decisions.parse(reply.document)
            assert (str(again.effect), str(again.cause)) == (
                record["decision"]["effect"],
                record["decision"]["cause"],
            )
            assert {rule.rule for rule in again.rules} == {
                rule["rule"] for rule in record["decision"]["rules"]
            }
    finally:
        engine.close()


def test_a_policy_that_saw_only_what_is_recorded_is_always_reproducible(tmp_path: Path) -> None:
    """``policy.input = "recorded"``: nothing that was removed can have decided anything."""
    with ruled(tmp_path, PAYMENTS, policy={"input": "recorded"}) as guard:
        guard.declare("pay", schema=CARD)
        guard.call("pay", {"card": OTHER, "amount": 5}, Body())
        with pytest.raises(Denied):
            guard.call("pay", {"card": OWN, "amount": 50}, Body())
    found = said(tmp_path)
    assert [answer for _, answer in found] == [True, True]
    replay(tmp_path, [record for record, _ in found])


def test_truncated_arguments_are_never_reproducible(tmp_path: Path) -> None:
    """What does not fit in a record is not there to decide on again."""
    with ruled(tmp_path, PAYMENTS) as guard:
        guard.declare("pay", schema=CARD)
        guard.call("pay", {"amount": 5, "note": "words and " * 20_000}, Body())
    ((record, answer),) = said(tmp_path)
    assert (record["redaction"]["truncated"], answer) == (True, False)


@pytest.mark.parametrize("cause", ["timeout", "undefined", "crashed", "error", "unreachable"])
def test_a_failure_to_decide_is_not_called_reproducible(tmp_path: Path, cause: str) -> None:
    """Nobody knows what the policy would have said."""
    engine = StaticPolicy(PolicyError("x", cause=cause, detail="y"))
    with guarded(tmp_path, engine) as guard, pytest.raises(Denied):
        guard.call("send", {}, Body())
    ((_, answer),) = said(tmp_path)
    assert answer is None


@pytest.mark.parametrize("second", ["fails", "never"])
def test_a_second_derivation_that_fails_is_not_known(tmp_path: Path, second: str) -> None:
    """The decision stands, the outcome is written, and says null."""

    class Once(StaticPolicy):
        asked = 0

        def decide(self, policy_input: bytes, *, shard: str, deadline: float) -> Any:
            self.asked += 1
            if self.asked == 1:
                return super().decide(policy_input, shard=shard, deadline=deadline)
            if second == "never":
                return Future()
            raise PolicyError("x", cause="crashed", detail="y")

    with guarded(tmp_path, Once(allow())) as guard:
        guard.declare("pay", schema=CARD)
        guard.call("pay", {"card": OWN}, Body())
    ((_, answer),) = said(tmp_path)
    assert answer is None


def test_a_reload_under_a_call_does_not_mix_two_policies(tmp_path: Path) -> None:
    """Decided by the old policy, the call is derived again from the old one too: its record names
    it.
    """
    guard: Guard

    def exchange(_: dict[str, Any]) -> dict[str, Any]:
        guard._engine = after
        return allow("old")

    before = StaticPolicy(exchange, digest="aa" * 32)
    after = StaticPolicy(deny("new"), digest="bb" * 32)
    with guarded(tmp_path, before) as guard:
        guard.declare("pay", schema=CARD)
        guard.call("pay", {"card": OWN}, Body())
    ((record, answer),) = said(tmp_path)
    assert record["policy"]["digest"] == "aa" * 32
    assert answer is True


def test_the_digest_names_policies_and_data(tmp_path: Path) -> None:
    """Another rule or other data is another digest; a reload is recorded between the decisions that
    it parts.
    """
    with ruled(tmp_path, PAYMENTS) as guard:
        guard.declare("pay", schema=CARD)
        guard.call("pay", {"amount": 5}, Body())
        write_policy(tmp_path, PAYMENTS + '\nallow contains "more" if input.resource.id == "more"')
        guard.call("pay", {"amount": 5}, Body())
        guard.reload()
        guard.call("pay", {"amount": 5}, Body())
        (tmp_path / "policies" / "data.json").write_text('{"limits": {"most": 5}}')
        guard.reload()
        guard.call("pay", {"amount": 5}, Body())
    found = records(tmp_path / "audit.db")
    parts = [
        (r["policy"]["digest"], r["policy"]["data"]) if r["type"] == "call.decision" else r["type"]
        for r in found
        if r["type"] in ("call.decision", "admin.policy_loaded")
    ]
    first, same, loaded, third, loaded_again, fourth = parts
    assert first == same
    assert loaded == loaded_again == "admin.policy_loaded"
    assert third[0] != first[0]
    assert fourth[1] != third[1]


def test_the_order_of_rules_is_no_difference_and_anything_else_is() -> None:
    """What counts as the same decision."""

    def decided(effect: Effect, *rules: str) -> Decision:
        return Decision(effect, Cause.POLICY, "", tuple(Rule(r, r, effect) for r in rules))

    first = decided(Effect.ALLOW, "a", "b")
    assert decisions.same_verdict(first, allow("b", "a"))
    assert not decisions.same_verdict(first, allow("a"))
    assert not decisions.same_verdict(first, allow("a", "b", "c"))
    assert not decisions.same_verdict(first, deny("a", "b"))
    assert not decisions.same_verdict(first, None)


def test_the_recorded_input_is_complete(tmp_path: Path) -> None:
    """Every documented key is in it, so that nothing is undefined when it is decided again."""
    seen: list[dict[str, Any]] = []

    def reply(asked: dict[str, Any]) -> dict[str, Any]:
        seen.append(asked)
        return allow()

    with guarded(tmp_path, StaticPolicy(reply)) as guard:
        guard.declare("pay", schema=CARD, target=["/card"], labels=["money"])
        guard.declare("send", schema=OPEN)
        with guard.session(principal="alice", agent="bot", attributes={"x": 1}):
            guard.call("pay", {"card": OWN, "amount": 5}, Body())
            guard.call("send", {"amount": 5}, Body())

    def keys(value: Any) -> Any:
        return {k: keys(v) for k, v in value.items()} if isinstance(value, dict) else None

    decided = records(tmp_path / "audit.db", "call.decision")
    assert [keys(record["input"]) for record in decided] == [keys(seen[0]), keys(seen[2])]
    assert decided[1]["input"] == seen[2]
