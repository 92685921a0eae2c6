"""``guardrail.lib.session``: complete tests, the same answers on both engines, and the examples of
the documentation.
"""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

from guardrail.authoring.check import check
from guardrail.authoring.test import run_tests
from guardrail.policy.cross_check.generated import generated_inputs
from guardrail.policy.embedded.compiled import compile_policies
from guardrail.policy.embedded.workbench import Workbench
from guardrail.policy.opa.program import OpaProgram
from guardrail.policy.sources import installed_folder, load_policies
from tests.support.policies import write
from tests.support.rego.comparison import Reference
from tests.support.rego.libraries import coverage, surviving_conditions
from tests.support.rego.unusual_values import value

IMPLIED = {"is_number(value)", "is_number(most)", "is_number(seconds)"}
"""Conditions that are false only where a later condition is false as well, or raises an error."""
ASKED = """package guardrail.policy

import data.guardrail.lib.session

tools := ["refund", "/amount"]

answers := [
	session.calls(input.scope, input.tools),
	session.before(input.scope, input.tools),
	session.succeeded(input.scope, input.tools),
	session.within(input.scope, input.tools, input.seconds),
	session.since(input.scope, input.tools, tools),
	session.spent(input.scope, input.tools, "/amount"),
	session.spent_within(input.scope, input.tools, "/amount", input.seconds),
	session.distinct_targets(input.scope, input.tools, input.seconds),
	session.over_rate(input.scope, input.tools, input.most, input.seconds),
	session.over_budget(input.scope, input.tools, "/amount", input.most),
	session.over_budget_within(input.scope, input.tools, "/amount", input.most, input.seconds),
	session.labelled(input.scope, input.label),
	session.maybe_labelled(input.scope, input.label),
	session.same_target(input.scope, input.tools),
	session.maybe_same_target(input.scope, input.tools, input.seconds),
	session.first_seen(input.tools),
]
"""
INPUTS = 1_500
SECTIONS = ("session", "principal_state", "agent_state")


def unusual(r: random.Random, text: str) -> dict[str, Any]:
    """Return a call in which parts of the state may be missing or have any value."""
    asked: dict[str, Any] = json.loads(text)
    context = asked["context"]
    for _ in range(r.choice([0, 0, 1, 2])):
        section = r.choice(SECTIONS)
        state = context[section]
        if not isinstance(state, dict) or r.random() < 0.1:
            context[section] = value(r)
        elif r.random() < 0.5 and isinstance(state.get("recent"), list) and state["recent"]:
            call = r.choice(state["recent"])
            place = call if isinstance(call, dict) else {}
            name = r.choice(["time", "tool", "effect", "outcome", "target", "labels", "amounts"])
            if name != "amounts":  # a sum of unusual numbers is refused by one engine
                place[name] = value(r)
        else:
            name = r.choice(["recent", "recent_complete", "labels", "since", "by_tool"])
            state[name] = value(r)
            if r.random() < 0.3:
                del state[name]
    asked["scope"] = r.choice(["session", "principal", "agent", "principal", "team"])
    asked["tools"] = r.choice(
        [["refund"], ["refund", "x", "/amount", ""], "refund", [], {"a": "x"}]
    )
    asked["seconds"] = r.choice([1, 1800, 3600, 86_400, 1_000_000, 0, 1.5, "1", None])
    asked["most"] = r.choice([0, 1, 2, 3, 150, 2000, "9", None])
    asked["label"] = r.choice(["x", "refund", "", 5])
    return asked


def test_both_engines_have_the_same_answers_which_are_never_undefined(
    tmp_path: Path, reference: Reference
) -> None:
    """Nor errors."""
    loaded = load_policies([write(tmp_path, {"p.rego": ASKED})])
    r = random.Random(12)
    seen: list[set[str]] = [set() for _ in range(ASKED.count("\t"))]
    with Workbench() as bench:
        compiled = compile_policies(loaded, bench)
        bench.load(compiled.texts, compiled.data)
        for name in ("identity", "session"):
            source = next(each for each in loaded.modules if each.key.endswith(f"/{name}.rego"))
            assert reference.put(f"lib-{name}", source.text) == ""
        assert reference.put("asked", ASKED) == ""
        for text in generated_inputs(compiled.parsed, INPUTS, "session"):
            document = json.dumps(unusual(r, text))
            there = reference.rule("data.guardrail.policy.answers", document)
            assert isinstance(there, list), document
            assert bench.rule("data.guardrail.policy.answers", document) == there, document
            for known, answer in zip(seen, there, strict=True):
                known.add(json.dumps(answer))
    # Every question had more than one answer.
    assert [len(known) > 1 for known in seen] == [True] * len(seen)


def test_the_tests_of_the_library_cover_every_line(opa_program: Path) -> None:
    assert coverage(opa_program, "session") == (100, None)


def test_a_test_of_the_library_fails_without_any_one_of_its_conditions(
    tmp_path: Path, opa_program: Path
) -> None:
    assert surviving_conditions(opa_program, "session", tmp_path, ("identity",)) <= IMPLIED


def test_an_answer_that_is_not_known_denies() -> None:
    """Each function with a fallback says in its name which of its answers is safe."""
    text = (installed_folder() / "lib" / "session.rego").read_text("utf-8")
    fallbacks = dict(re.findall(r"^default (\w+)\([_, ]+\) := (\S+)$", text, re.MULTILINE))
    assert fallbacks.pop("state") == "{}"
    assert len(fallbacks) == ASKED.count("\t")
    for name, fallback in fallbacks.items():
        denying = name.startswith(("maybe_", "over_")) or name == "first_seen"
        assert fallback in ({"true"} if denying else {"false", "9000000000000000"}), name


def test_the_example_passes_its_tests_and_is_shown_in_the_documentation(opa_program: Path) -> None:
    folder = installed_folder() / "examples"
    paths = [folder / "session_limits.rego", folder / "session_limits_test.rego"]
    program = OpaProgram(opa_program)
    for opa in (None, program):
        report = run_tests(paths, opa=opa)
        assert report.ok
        assert len(report.results) == 5
    report = check(paths, opa=program)
    assert (report.findings, report.lints) == ((), ())
    assert load_policies(paths).state_reads == {"recent", "session", "principal_state"}
    shown = (installed_folder().parent / "docs" / "writing-policies.md").read_text("utf-8")
    rules = re.findall(
        r"^(?:deny|label) contains .*?(?:\n\}|\n(?=\n))",
        paths[0].read_text("utf-8"),
        re.MULTILINE | re.DOTALL,
    )
    assert len(rules) == 4
    for rule in rules:
        assert rule.strip() in shown
