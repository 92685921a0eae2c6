"""P7: a record says by digest what its decision depended on, these sources are kept, and
``reproducible: true`` means that the policy decided on exactly the recorded input.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from guardrail import Guard
from guardrail.core import decision as decisions
from guardrail.core.log.record import dumps
from guardrail.errors import ApprovalRequired, Denied, PolicyError
from guardrail.ledger.kept_policies import KeptPolicies
from guardrail.ledger.reader import LedgerReader
from guardrail.review.rederive import NotDerived, Rederivation, decided_lines, rederive
from guardrail.testing import StaticPolicy, allow
from guardrail.wiring.engines import load_engine
from guardrail.wiring.opening import open_guard
from tests.support.guards import (
    OPEN,
    Body,
    guarded,
    lines,
    records,
    ruled,
    settings,
    write_policy,
)

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
    """Return every decision record with what it says about being reproducible. No outcome says
    anything about it.
    """
    assert all(r["reproducible"] is None for r in records(folder / "audit.db", "call.outcome"))
    found = records(folder / "audit.db", "call.decision")
    return [(record, record["reproducible"]) for record in found]


def derived(folder: Path) -> Rederivation:
    """Derive every decision in *folder* again from the kept policies."""
    db = folder / "audit.db"
    with LedgerReader.open(db) as reader:
        return rederive(decided_lines(reader.lines()), KeptPolicies(db).read)


def test_a_record_says_true_only_if_nothing_was_removed_and_the_rest_can_be_derived(
    tmp_path: Path,
) -> None:
    """Policies that read what is redacted, and others. The policy files are gone by then."""
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
    assert [answer for _, answer in found] == [
        None if "card" in args else True for args, _, _ in CASES
    ]
    replay(tmp_path, [record for record, answer in found if answer])
    (tmp_path / "policies" / "policy.rego").unlink()
    before = lines(tmp_path / "audit.db")
    report = derived(tmp_path)
    assert lines(tmp_path / "audit.db") == before
    different = [
        record["seq"] for (record, _), case in zip(found, CASES, strict=True) if not case[2]
    ]
    assert [each.call.seq for each in report.differences] == different
    assert (report.same, report.different, report.gaps) == (6, 4, {})
    assert (report.recorded, report.other_engines) == (0, 0)


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


@pytest.mark.parametrize("keep", [True, False])
def test_without_the_data_a_decision_is_not_derived_and_the_report_says_so(
    tmp_path: Path, keep: bool
) -> None:
    """``keep_data = false``: the policy of these calls is kept, and its data is not."""
    policies = write_policy(tmp_path, PAYMENTS)
    (policies / "data.json").write_text('{"people": ["carol"]}')
    chosen = settings(tmp_path, policy={"keep_data": keep})
    with open_guard(Guard, chosen, None) as guard:
        guard.declare("pay", schema=CARD)
        guard.call("pay", {"card": OTHER, "amount": 5}, Body())
    report = derived(tmp_path)
    assert report.calls == 1
    assert list(report.gaps) == ([] if keep else [NotDerived.DATA_NOT_KEPT])


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
    report = derived(tmp_path)
    assert (report.calls, report.not_decided, report.derived) == (1, 1, 0)


def test_each_decision_is_derived_from_the_policy_that_made_it(tmp_path: Path) -> None:
    """Two policies and two data documents, with a reload in between."""
    limited = """
allow contains "small" if {
	input.action.properties.args.amount < data.limits.most
}
"""
    policies = write_policy(tmp_path, limited)
    (policies / "data.json").write_text('{"limits": {"most": 5}}')
    args = {"card": OWN, "amount": 7}
    with open_guard(Guard, settings(tmp_path), None) as guard:
        guard.declare("pay", schema=CARD)
        with pytest.raises(Denied):
            guard.call("pay", args, Body())
        (policies / "data.json").write_text('{"limits": {"most": 10}}')
        guard.reload()
        guard.call("pay", args, Body())
        write_policy(tmp_path, 'deny contains "closed" if true')
        guard.reload()
        with pytest.raises(Denied):
            guard.call("pay", args, Body())
    report = derived(tmp_path)
    assert (report.same, report.different, report.gaps) == (3, 0, {})
    assert len(report.policies) == 3


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
    assert [keys(record["input"]) for record in decided] == [keys(each) for each in seen]
    assert decided[1]["input"] == seen[1]
