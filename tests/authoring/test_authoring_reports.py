"""Checking and testing policies without a guard."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from guardrail import authoring
from guardrail.authoring import check, run_tests
from guardrail.policy.embedded.rehearsal import TestOutcome as Outcome
from guardrail.policy.sources import installed_folder

POLICY = 'package guardrail.policy\n\nallow contains "a" if input.resource.id == "a"\n'
TESTS = """package guardrail.policy_test

test_passes if data.guardrail.main.decision.effect == "allow" with input as {"resource": {"id": "a"}}

test_is_false := false

test_is_undefined if input.nothing

test_is_a_number := 1

test_raises if lower(input.n) == "x" with input as {"n": 5}

todo_test_later if true

helper := 1

test_uses_data if data.known == [1] with data.known as [1]

test_sees_no_input_of_another_test if not input.resource
"""


def write(folder: Path, **files: str) -> Path:
    """Write *files*, named with ``_rego`` for ``.rego``, and return the folder."""
    for name, text in files.items():
        (folder / name.replace("_rego", ".rego")).write_text(text, encoding="utf-8")
    return folder


def outcomes(report: authoring.TestReport) -> dict[str, str]:
    """Return how each test ended, by its short name."""
    return {result.name.rpartition(".")[2]: str(result.outcome) for result in report.results}


def test_each_test_rule_is_run_and_reported(tmp_path: Path) -> None:
    """True passes; false, undefined and any other value fail; an error is an error; todo is
    skipped.
    """
    report = run_tests([write(tmp_path, a_rego=POLICY, a_test_rego=TESTS)])
    assert outcomes(report) == {
        "test_passes": "pass",
        "test_is_false": "fail",
        "test_is_undefined": "fail",
        "test_is_a_number": "fail",
        "test_raises": "error",
        "todo_test_later": "skip",
        "test_uses_data": "pass",
        "test_sees_no_input_of_another_test": "pass",
    }
    assert not report.ok
    assert report.count(Outcome.FAIL) == 3


def test_a_result_names_its_place(tmp_path: Path) -> None:
    """The author's file and line, for an editor to jump to."""
    report = run_tests([write(tmp_path, a_rego=POLICY, a_test_rego=TESTS)])
    result = next(result for result in report.results if result.name.endswith("test_is_undefined"))
    assert result.file.endswith("a_test.rego")
    assert result.line == TESTS.splitlines().index("test_is_undefined if input.nothing") + 1
    assert result.message == "it is undefined"
    assert result.milliseconds >= 0


def test_an_endless_test_costs_only_itself(tmp_path: Path) -> None:
    """It is ended, and the next one runs."""
    slow = """package guardrail.policy_test

test_slow if {
	count([1 | some a in numbers.range(1, 5000); some b in numbers.range(1, 5000); some c in numbers.range(1, 5000); a == b; b == c]) == 0
}

test_after if 1 == 1
"""
    report = run_tests([write(tmp_path, a_rego=POLICY, a_test_rego=slow)], time_limit=0.5)
    assert outcomes(report) == {"test_slow": "error", "test_after": "pass"}


def test_policies_that_are_refused_are_not_tested(tmp_path: Path) -> None:
    """The findings say why."""
    report = run_tests([write(tmp_path, a_rego=POLICY + "x := time.now_ns()\n", a_test_rego=TESTS)])
    assert not report.ok
    assert report.results == ()
    assert [finding.code for finding in report.findings] == ["impure-builtin"]


def test_a_policy_without_tests_has_an_empty_report(tmp_path: Path) -> None:
    """Which is for the caller to judge."""
    report = run_tests([write(tmp_path, a_rego=POLICY)])
    assert report.ok
    assert report.results == ()


def test_a_good_policy_has_no_findings(tmp_path: Path) -> None:
    """And the digest that records will show."""
    report = check([write(tmp_path, a_rego=POLICY, a_test_rego=TESTS)])
    assert report.ok
    assert (report.files, report.findings, report.remarks) == (2, (), ())
    assert len(report.digest or "") == 64


@pytest.mark.parametrize(
    ("text", "code", "line"),
    [
        ("x := {\n", "syntax", 5),
        ('deny contains "d" if time.now_ns() > 1\n', "impure-builtin", 4),
        ('deny contains "d" if nowhere == 1\n', "evaluation", 4),
        ("deny contains 5\n", "set-entry", 4),
        ('deny contains {"rule": "r", "massage": "m"}\n', "set-entry", 4),
        ("deny contains count([1])\n", "contract", 0),
    ],
)
def test_a_bad_policy_is_reported_and_not_raised(
    tmp_path: Path, text: str, code: str, line: int
) -> None:
    """Parse, preflight, evaluation, contract."""
    report = check([write(tmp_path, a_rego=POLICY + text)])
    assert not report.ok
    assert {(finding.code, finding.line) for finding in report.findings} == {(code, line)}


def test_a_missing_folder_is_reported(tmp_path: Path) -> None:
    """Not raised either."""
    report = check([tmp_path / "nowhere"])
    assert [finding.code for finding in report.findings] == ["missing"]
    assert report.digest is None


def test_a_misspelt_set_is_remarked_on(tmp_path: Path) -> None:
    """It is valid Rego that nobody reads; a set that a rule uses is not remarked on."""
    text = (
        POLICY
        + 'denny contains "d" if true\n\nused contains 1 if true\n\ndeny contains "u" if 1 in'
        " used\n"
    )
    report = check([write(tmp_path, a_rego=text)])
    assert report.ok
    assert [(finding.code, finding.line) for finding in report.remarks] == [("unread-set", 4)]


def test_a_failed_test_shows_the_decision_that_it_got(tmp_path: Path) -> None:
    """With the rules that fired: an author otherwise adds prints, which are refused."""
    test = """package guardrail.policy_test

test_wrong if {
	decision := data.guardrail.main.decision with input as {"resource": {"id": "nothing"}, "context": {"approval": null}}
	decision.effect == "allow"
}

test_asks_nobody if 1 == 2
"""
    folder = write(tmp_path, a_rego=POLICY, a_test_rego=test)
    shown = {
        result.name.rpartition(".")[2]: result.message for result in run_tests([folder]).results
    }
    assert "the decision was deny (" in shown["test_wrong"]
    assert "deny 'guardrail.no_allow'" in shown["test_wrong"]
    assert "the decision was" not in shown["test_asks_nobody"]


def test_reports_become_json(tmp_path: Path) -> None:
    """For ``--json``."""
    folder = write(tmp_path, a_rego=POLICY, a_test_rego=TESTS)
    shown = json.loads(json.dumps([asdict(check([folder])), asdict(run_tests([folder]))]))
    assert shown[1]["results"][0]["outcome"] == "pass"


def test_the_starter_policies_pass_their_tests() -> None:
    """What newcomers get is accepted, without remarks, and tested."""
    folder = installed_folder() / "starter"
    assert check([folder]).ok
    assert check([folder]).remarks == ()
    report = run_tests([folder])
    assert report.ok, [result for result in report.results if result.message]
    assert report.count(Outcome.PASS) >= 15
