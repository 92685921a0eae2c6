"""Calls of tests with one argument changed."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from guardrail.authoring import mutate as module
from guardrail.authoring.mutate import mutate
from guardrail.core.types import Json
from guardrail.policy.cross_check.mutants import Mutation, mutants
from guardrail.policy.sources import installed_folder
from tests.support.lints import write

LEAKY = """package guardrail.policy

allow contains "transfer" if input.resource.id == "transfer"

# as in a tutorial
deny contains "too-much" if {
	input.action.properties.args.amount > 100
}

deny contains {"rule": "stranger", "message": "not to strangers"} if {
	not input.action.properties.args.to == "bob"
}
"""
TIGHT = LEAKY.replace("\tinput.action.properties.args.amount > 100", "\tnot small").replace(
    "# as in", "small if data.guardrail.lib.args.number_within(\"amount\", 0, 100)\n\n# not as in"
)  # fmt: skip
TESTS = """package guardrail.policy_test

effect(args) := found if {
	found := data.guardrail.main.decision.effect with input as {
		"resource": {"id": "transfer"},
		"action": {"properties": {"args": args}},
	}
}

test_large if effect({"amount": 500, "to": "bob"}) == "deny"

test_stranger if effect({"amount": 5, "to": "eve"}) == "deny"

test_small if effect({"amount": 5, "to": "bob"}) == "allow"
"""


def holes(report: module.MutationReport) -> set[tuple[str, str, str]]:
    """Return rule, pointer and mutation of each hole."""
    return {(hole.rule, hole.pointer, str(hole.mutation)) for hole in report.holes}


def test_what_no_longer_denies_is_reported(tmp_path: Path) -> None:
    """Without an amount, or with null, there is no denial; a text is more than any number."""
    report = mutate([write(tmp_path, {"p.rego": LEAKY, "p_test.rego": TESTS})])
    assert holes(report) == {("too-much", "/amount", "deleted"), ("too-much", "/amount", "null")}
    assert not report.ok
    assert (report.rules, report.calls, report.untried, report.complete) == (2, 2, (), True)
    assert report.tried > 20
    hole = next(hole for hole in report.holes if hole.mutation is Mutation.DELETED)
    assert (hole.effect, Path(hole.file).name, hole.line) == ("deny", "p.rego", 6)
    assert (hole.tool, hole.test) == ("transfer", "guardrail.policy_test.test_large")
    assert hole.args == {"to": "bob"}
    assert hole.input["action"] == {"properties": {"args": {"to": "bob"}}}


def test_a_denial_that_holds_whatever_comes_is_no_hole(tmp_path: Path) -> None:
    """Negated rules that say what is right."""
    report = mutate([write(tmp_path, {"p.rego": TIGHT, "p_test.rego": TESTS})])
    assert (report.ok, report.holes, report.rules) == (True, (), 2)


def test_approvals_are_tried_too(tmp_path: Path) -> None:
    """What no longer asks for one, and is allowed."""
    policy = LEAKY.replace("deny contains", "require_approval contains")
    tests = TESTS.replace('"deny"', '"require_approval"')
    report = mutate([write(tmp_path, {"p.rego": policy, "p_test.rego": tests})])
    assert ("too-much", "/amount", "deleted") in holes(report)
    assert {hole.effect for hole in report.holes} == {"require_approval"}


def test_what_a_schema_refuses_is_not_tried(tmp_path: Path) -> None:
    """It never reaches the policy; the policy sees arguments with their defaults."""
    schema: dict[str, Any] = {
        "type": "object",
        "required": ["amount", "to"],
        "properties": {"amount": {"type": "number"}, "to": {"type": "string"}},
    }
    folder = write(tmp_path, {"p.rego": LEAKY, "p_test.rego": TESTS})
    report = mutate([folder], tools={"transfer": schema})
    assert (report.holes, report.ok) == ((), True)
    assert report.unfit > 10
    schema["required"] = ["to"]
    assert holes(mutate([folder], tools={"transfer": schema})) == {
        ("too-much", "/amount", "deleted")
    }
    schema["properties"]["amount"]["default"] = 1000
    assert holes(mutate([folder], tools={"transfer": schema})) == set()


def test_a_rule_that_fires_in_no_test_is_listed(tmp_path: Path) -> None:
    """There is nothing to change; it is no hole."""
    rule = '\ndeny contains "never-seen" if input.resource.id == "other"\n'
    report = mutate([write(tmp_path, {"p.rego": TIGHT + rule, "p_test.rego": TESTS})])
    assert [(item.rule, item.effect) for item in report.untried] == [("never-seen", "deny")]
    assert report.ok


@pytest.mark.parametrize(
    ("comment", "left", "ignored"),
    [
        ("# guardrail:ignore mutation no amount, no transfer", 0, 2),
        ("# guardrail:ignore mutation:/amount no amount, no transfer", 0, 2),
        ("# guardrail:ignore mutation:/to nobody is no stranger", 2, 0),
        ("# guardrail:ignore mutation", 2, 0),
    ],
)
def test_a_comment_with_a_reason_answers_for_holes(
    tmp_path: Path, comment: str, left: int, ignored: int
) -> None:
    """All of a rule's, or those of one argument."""
    policy = LEAKY.replace("# as in a tutorial", comment)
    report = mutate([write(tmp_path, {"p.rego": policy, "p_test.rego": TESTS})])
    assert (len(report.holes), report.ignored) == (left, ignored)


def test_data_that_a_test_puts_in_place_is_in_place(tmp_path: Path) -> None:
    """The changed call is judged by the data of its test, and not by what lies beside the
    policy.
    """
    policy = LEAKY.replace("> 100", "> data.limit")
    tests = TESTS.replace("\n\t}\n", "\n\t} with data.limit as 100\n", 1)
    (tmp_path / "data.json").write_text('{"limit": 1, "other": 1}')
    report = mutate([write(tmp_path, {"p.rego": policy, "p_test.rego": tests})])
    assert holes(report) == {("too-much", "/amount", "deleted"), ("too-much", "/amount", "null")}


def test_policies_that_are_refused_are_not_tried(tmp_path: Path) -> None:
    """The report says why."""
    report = mutate(
        [write(tmp_path, {"p.rego": "package guardrail.policy\n\nx := time.now_ns()\n"})]
    )
    assert [finding.code for finding in report.findings] == ["impure-builtin"]
    assert not report.ok


def test_the_time_for_all_is_limited(tmp_path: Path) -> None:
    """What was not tried is not said to be well."""
    report = mutate([write(tmp_path, {"p.rego": TIGHT, "p_test.rego": TESTS})], total=0.0)
    assert (report.tried, report.complete) == (0, False)


def test_the_number_of_calls_is_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Likewise."""
    monkeypatch.setattr(module, "MAX_MUTANTS", 7)
    report = mutate([write(tmp_path, {"p.rego": TIGHT, "p_test.rego": TESTS})])
    assert (report.tried, report.complete) == (7, False)


def test_a_changed_call_that_takes_too_long_is_denied(tmp_path: Path) -> None:
    """As it would be by a guard; the next one is tried."""
    slow = """
deny contains "slow" if {
	is_string(input.action.properties.args.to)
	count([1 | some a in numbers.range(1, 5000); some b in numbers.range(1, 5000); some c in numbers.range(1, 5000); a == b; b == c]) == 0
}
"""
    policy = (
        TIGHT.replace(
            'not input.action.properties.args.to == "bob"',
            'input.action.properties.args.to == ["eve"]',
        )
        + slow
    )
    tests = (
        'package guardrail.policy_test\n\ntest_x if data.guardrail.main.decision.effect == "deny"'
        ' with input as {"resource": {"id": "transfer"}, "action": {"properties": {"args":'
        ' {"amount": 5, "to": ["eve"]}}}}\n'
    )
    report = mutate([write(tmp_path, {"p.rego": policy, "p_test.rego": tests})], time_limit=0.4)
    assert ("stranger", "/to", "deleted") in holes(report)
    assert ("stranger", "/to", "empty-text") not in holes(report)


def test_progress_is_told(tmp_path: Path) -> None:
    """After each call, of how many."""
    told: list[tuple[int, int]] = []
    report = mutate(
        [write(tmp_path, {"p.rego": TIGHT, "p_test.rego": TESTS})],
        progress=lambda done, total: told.append((done, total)),
    )
    assert told == [(number + 1, report.tried) for number in range(report.tried)]


def test_reports_become_json(tmp_path: Path) -> None:
    """For ``--json``."""
    report = mutate([write(tmp_path, {"p.rego": LEAKY, "p_test.rego": TESTS})])
    assert json.loads(json.dumps(asdict(report)))["holes"][0]["mutation"] == "deleted"


@pytest.mark.parametrize("folder", ["starter", "examples", "demo"])
def test_the_shipped_policies_have_no_hole_that_is_not_answered_for(folder: str) -> None:
    """And each of their rules fires in a test."""
    import guardrail.demo

    where = (
        Path(guardrail.demo.__file__).parent if folder == "demo" else installed_folder() / folder
    )
    report = mutate([where])
    assert (report.ok, report.untried, report.complete) == (True, (), True)


def changes(args: dict[str, Json]) -> dict[tuple[str, str], dict[str, Json]]:
    """Return arguments by pointer and mutation."""
    return {(mutant.pointer, str(mutant.mutation)): mutant.args for mutant in mutants(args)}


def test_each_key_at_any_depth_is_changed() -> None:
    """One at a time; members of lists are no keys, what is in them has some."""
    args: dict[str, Json] = {"a": {"b~/c": 1}, "l": [{"d": True}, 5]}
    assert {pointer for pointer, _ in changes(args)} == {"/a", "/a/b~0~1c", "/l", "/l/0/d"}
    assert changes(args)["/l/0/d", "deleted"] == {"a": {"b~/c": 1}, "l": [{}, 5]}
    assert changes(args)["/a/b~0~1c", "as-text"] == {"a": {"b~/c": "1"}, "l": [{"d": True}, 5]}
    assert args == {"a": {"b~/c": 1}, "l": [{"d": True}, 5]}


@pytest.mark.parametrize(
    ("value", "others"),
    [
        (5, {"null", "empty-text", "empty-list", "empty-object", "as-text", "in-list", "in-object"}),
        (False, {"null", "empty-text", "empty-list", "empty-object", "as-text", "in-list", "in-object"}),
        ("x", {"null", "empty-text", "empty-list", "empty-object", "in-list", "in-object"}),
        ("", {"null", "empty-list", "empty-object", "in-list", "in-object"}),
        (["x"], {"null", "empty-text", "empty-list", "empty-object", "in-object"}),
        ({"x": 1}, {"null", "empty-text", "empty-list", "empty-object", "in-list", "in-object"}),
        (None, {"empty-text", "empty-list", "empty-object"}),
    ],
)  # fmt: skip
def test_a_value_becomes_everything_that_it_is_not(value: Json, others: set[str]) -> None:
    """And is deleted."""
    found = {mutation for pointer, mutation in changes({"a": value}) if pointer == "/a"}
    assert found == others | {"deleted"}
