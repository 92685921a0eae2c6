"""The decisions of both engines on one policy set are compared.

A guard never loads policies that are known to get different decisions, so these tests give each
engine its own policies.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from guardrail import Guard
from guardrail.authoring.check import check
from guardrail.config import Settings
from guardrail.errors import ConfigError, PolicyLoadError
from guardrail.policy.cross_check.comparison import CrossCheck, cross_check
from guardrail.policy.cross_check.generated import generated_inputs
from guardrail.policy.cross_check.stricter import stricter
from guardrail.policy.embedded.compiled import compile_policies
from guardrail.policy.embedded.workbench import EngineRefusal, Workbench
from guardrail.policy.opa.program import OpaProgram
from guardrail.policy.sources import load_policies

RULES = """package guardrail.policy

allow contains "small" if {
	is_number(input.action.properties.args.amount)
	input.action.properties.args.amount < %d
}

hide contains "pay" if input.resource.id == "%s"
"""
TEST = """package guardrail.policy_test

call(amount) := {"action": {"name": "tools/call", "properties": {"args": {"amount": amount}}}}

test_small if "small" in data.guardrail.policy.allow with input as call(9)

test_large if not "small" in data.guardrail.policy.allow with input as call(5000)
"""


def compared(
    tmp_path: Path, program: Path, *, embedded: str, opa: str, test: str = ""
) -> CrossCheck:
    """Compare the policy *embedded* on the embedded engine with the policy *opa* on OPA."""
    sets = []
    for name, text in (("embedded", embedded), ("opa", opa)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "a.rego").write_text(text)
        if test:
            (folder / "a_test.rego").write_text(test)
        sets.append(load_policies([folder]))
    with Workbench() as bench:
        compiled = compile_policies(sets[0], bench)
        return cross_check(sets[1], compiled, bench, OpaProgram(program))


def test_equal_decisions_are_counted(opa_program: Path, tmp_path: Path) -> None:
    text = RULES % (100, "pay")
    found = compared(tmp_path, opa_program, embedded=text, opa=text, test=TEST)
    assert found.findings == ()
    assert (found.tests, found.calls, found.skipped) == (2, 2, 0)
    assert found.mutants > 10
    assert found.generated > 200


def test_a_difference_in_one_unit_is_found_without_any_test(
    opa_program: Path, tmp_path: Path
) -> None:
    found = compared(
        tmp_path, opa_program, embedded=RULES % (1000, "pay"), opa=RULES % (999, "pay")
    )
    assert found.tests == 0
    assert [each.code for each in found.findings] == ["engines-differ"]
    message = found.findings[0].message
    assert "embedded allow (small), OPA deny (guardrail.no_allow)" in message
    args = json.loads(message.partition("the arguments are ")[2])
    assert 998 < args["amount"] < 1000


@pytest.mark.parametrize("seed", range(50))
def test_no_seed_misses_a_literal_or_the_number_beside_it(seed: int, tmp_path: Path) -> None:
    (tmp_path / "a.rego").write_text(RULES % (1000, "pay"))
    with Workbench() as bench:
        modules = compile_policies(load_policies([tmp_path]), bench).parsed
    inputs = [json.loads(text) for text in generated_inputs(modules, 60, str(seed))]
    amounts = [each["action"]["properties"].get("args", {}).get("amount") for each in inputs]
    for value in (999, 1000, 1001, "small", "pay"):
        assert value in amounts


def test_calls_that_differ_in_one_way_are_one_finding_at_the_line(
    opa_program: Path, tmp_path: Path
) -> None:
    """With their number, and with all of the input only if the arguments are not enough."""
    rule = 'package guardrail.policy\n\nallow contains "a" if {\n\t%s\n}\n'
    failing = 'count({"k": v | some v in [1, 2]}) > 0'
    found = compared(tmp_path, opa_program, embedded=rule % failing, opa=rule % "true")
    (finding,) = found.findings
    assert (Path(finding.file).name, finding.line) == ("a.rego", 4)
    reason = r"embedded an error \([^)]+\), OPA allow"
    assert re.search(rf" \(\d+ calls in all\): {reason}", finding.message)
    assert "the tool is " in finding.message
    assert "subject" not in finding.message
    other = tmp_path / "other"
    other.mkdir()
    agent = rule % 'input.context.agent.id == "x"; input.action.name == "tools/call"'
    found = compared(other, opa_program, embedded=agent, opa=rule % "false")
    assert all("the input is" in each.message for each in found.findings)
    assert found.findings


def test_a_difference_in_a_listing_is_found(opa_program: Path, tmp_path: Path) -> None:
    found = compared(tmp_path, opa_program, embedded=RULES % (5, "pay"), opa=RULES % (5, "buy"))
    assert any("tools/list" in finding.message for finding in found.findings)


def test_a_test_with_two_results_is_named(opa_program: Path, tmp_path: Path) -> None:
    found = compared(
        tmp_path, opa_program, embedded=RULES % (100, "pay"), opa=RULES % (6000, "pay"), test=TEST
    )
    finding = found.findings[0]
    assert finding.message == (
        "guardrail.policy_test.test_large passes on the embedded engine, but fails on OPA"
    )
    assert (Path(finding.file).name, finding.line) == ("a_test.rego", 7)


def test_calls_with_replaced_data_are_left_to_the_tests(opa_program: Path, tmp_path: Path) -> None:
    text = 'package guardrail.policy\n\nallow contains "a" if data.limits.open\n'
    test = """package guardrail.policy_test

test_open if "a" in data.guardrail.policy.allow with data.limits as {"open": true} with input as {}
"""
    found = compared(tmp_path, opa_program, embedded=text, opa=text, test=test)
    assert (found.tests, found.calls, found.skipped) == (1, 0, 1)
    assert found.findings == ()


def test_generated_inputs_use_the_policies_own_words(tmp_path: Path) -> None:
    (tmp_path / "a.rego").write_text(RULES % (100, "pay"))
    with Workbench() as bench:
        parsed = compile_policies(load_policies([tmp_path]), bench).parsed
    texts = list(generated_inputs(parsed, 200, "seed"))
    assert texts == list(generated_inputs(parsed, 200, "seed"))
    assert texts != list(generated_inputs(parsed, 200, "other"))
    documents = [json.loads(text) for text in texts]
    assert {"pay"} < {document["resource"]["id"] for document in documents}
    amounts = [
        document["action"]["properties"]["args"].get("amount", "missing") for document in documents
    ]
    assert {"missing", 99, 100, 101, "100"} <= {each for each in amounts if not isinstance(each, list | dict)}  # fmt: skip


def test_a_guard_can_require_agreement(opa_program: Path, tmp_path: Path) -> None:
    folder = tmp_path / "policies"
    folder.mkdir()
    (folder / "a.rego").write_text(RULES % (100, "pay"))
    settings = Settings().override(
        policy={"path": [folder], "cross_check": True}, opa={"program": opa_program}
    )
    assert settings.governed()["policy"]["cross_check"] is True
    with Guard.open(settings, ledger=tmp_path / "ledger.db") as guard, guard.session(principal="a"):
        assert guard.call("pay", {"amount": 1}, lambda amount: amount) == 1
    missing = settings.override(opa={"program": tmp_path / "none"})
    with pytest.raises(ConfigError, match="there is no program"):
        Guard.open(missing, ledger=tmp_path / "other.db")
    (folder / "b.rego").write_text("package guardrail.policy\n\nallow contains 1 / 0 if true\n")
    with pytest.raises(PolicyLoadError):
        Guard.open(settings, ledger=tmp_path / "third.db")


ERRORS = """package guardrail.policy

allow contains "path" if startswith(input.action.properties.args.path, "/srv/")

allow contains "price" if {
	is_number(input.action.properties.args.price)
	input.action.properties.args.price * 1.2 <= 200
}
"""


def test_errors_that_only_the_embedded_engine_raises_are_remarks(
    opa_program: Path, tmp_path: Path
) -> None:
    (tmp_path / "a.rego").write_text(ERRORS)
    report = check([tmp_path], opa=OpaProgram(opa_program))
    assert report.ok
    found = [(each.line, each.code, each.hint) for each in sorted(report.remarks, key=str)]
    assert [each[:2] for each in found] == [(3, "wrong-type"), (7, "long-decimal")]
    assert "is_string" in found[0][2]
    assert "a * 12 <= 2000" in found[1][2]
    assert report.engines[-1].about.startswith("same decisions, apart from errors: ")
    served = check([tmp_path], opa=OpaProgram(opa_program), opa_serves=True)
    assert served.ok
    assert served.remarks == ()


def test_only_known_kinds_of_errors_are_remarks(tmp_path: Path) -> None:
    (tmp_path / "a.rego").write_text(ERRORS)
    with Workbench() as bench:
        compiled = compile_policies(load_policies([tmp_path]), bench)
    module = next(each for each in compiled.modules if "/srv/" in each.text)
    row = module.text[: module.text.index("/srv/")].count("\n") + 1

    def code(message: str, name: str = module.name) -> str | None:
        text = f"--> {name}:{row}:1\nerror: {message}"
        found = stricter(EngineRefusal(text), compiled)
        return None if found is None else found.code

    raised = "extension 'x' raises Python error: "
    assert code("`startswith` expects string argument. Got `5` instead") == "wrong-type"
    assert code(raised + "ValueError: not an array or set") == "wrong-type"
    assert code(raised + "ValueError: a fraction with more digits than the engine supports") == (
        "long-decimal"
    )
    assert code(raised + "JSONDecodeError: Expecting value: line 1") == "limit"
    assert code(raised + "ZeroDivisionError: division by zero") is None
    assert code("complete rules should not produce multiple outputs") is None
    assert code("`startswith` expects string argument.", "elsewhere") is None
