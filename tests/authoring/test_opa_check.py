"""What a real OPA says in ``policy check``, beside the embedded engine."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from guardrail.authoring.bundle import make_bundle
from guardrail.authoring.check import EngineState, check
from guardrail.authoring.evaluate import call_input, evaluate
from guardrail.authoring.test import run_tests
from guardrail.errors import PolicyLoadError
from guardrail.policy.opa.program import OpaProgram
from guardrail.policy.sources import installed_folder
from tests.support.lints import ALLOW, write

PRINTS_TEST = """package guardrail.policy_test

import data.guardrail.main

test_a if main.decision.effect == "allow" with input as {"resource": {"id": "a"}}
"""


@pytest.mark.parametrize("folder", ["starter", "examples"])
def test_both_engines_accept_the_shipped_policies(opa: OpaProgram, folder: str) -> None:
    """With the schema of the input, and nothing but pure functions."""
    report = check([installed_folder() / folder], opa=opa)
    assert [(said.engine, said.state) for said in report.engines] == [
        ("embedded", EngineState.ACCEPTED),
        ("opa", EngineState.ACCEPTED),
        ("both", EngineState.ACCEPTED),
    ]
    assert report.engines[2].about.startswith("same decisions: ")
    assert report.ok


@pytest.mark.parametrize(
    ("body", "code", "embedded"),
    [
        ('deny contains "d" if input.resource.name == "x"\n', "rego_type_error", EngineState.ACCEPTED),
        ('deny contains "d" if {\n\tunused := 5\n\tinput.resource.id == "x"\n}\n', "rego_compile_error", EngineState.ACCEPTED),
        ('deny contains "d" if time.now_ns() > 5\n', "rego_type_error", EngineState.REFUSED),
    ],
)  # fmt: skip
def test_each_engine_says_its_own(
    tmp_path: Path, opa: OpaProgram, body: str, code: str, embedded: EngineState
) -> None:
    """At the author's file and line; the report refuses what one of them refuses."""
    folder = write(tmp_path, {"a b.rego": ALLOW + body})
    report = check([folder], opa=opa)
    own, real = report.engines
    assert own.state is embedded
    assert real.state is EngineState.REFUSED
    assert {(finding.file, finding.code) for finding in real.findings} == {
        (str(folder / "a b.rego"), code)
    }
    assert all(5 <= finding.line <= 6 for finding in real.findings)
    assert report.findings == (own.findings or real.findings)
    assert not report.ok


def test_no_finding_names_a_folder_that_is_gone(tmp_path: Path, opa: OpaProgram) -> None:
    """Where OPA names two places, both are the author's."""
    body = "default x := 1\n\nx := 2 if false\n"
    folder = write(
        tmp_path, {"a.rego": ALLOW + body, "b.rego": "package guardrail.policy\n\ndefault x := 3\n"}
    )
    report = check([folder], opa=opa)
    text = " ".join(finding.message for finding in report.engines[1].findings)
    assert str(folder / "b.rego") in text
    assert "guardrail-opa-" not in text


def test_an_opa_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    """And changes no verdict."""
    report = check([write(tmp_path, {"a.rego": ALLOW})])
    assert report.engines[1].state is EngineState.NOT_FOUND
    assert "GUARDRAIL_OPA" in report.engines[1].about
    assert (report.ok, report.answered) == (True, True)


def test_an_opa_that_gives_no_answer_is_no_yes(tmp_path: Path) -> None:
    """A program that fails without a finding."""
    false = shutil.which("false")
    assert false is not None
    report = check([write(tmp_path, {"a.rego": ALLOW})], opa=OpaProgram(Path(false)))
    assert report.engines[1].state is EngineState.FAILED
    assert (report.ok, report.answered) == (True, False)


@pytest.mark.parametrize(
    ("text", "line", "code"),
    [
        ("x := 1\n\nx contains 2\n", 5, "mixed-rule"),
        ("default allow := false\n", 3, "set-form"),
        ("default x := 1\n\ndefault x := 2\n", 5, "mixed-rule"),
        ("x := startwith(input.resource.id)\n", 3, "builtin"),
        ('x := trace("x")\n', 3, "impure-builtin"),
        ('deny[msg] {\n\tmsg := "x"\n}\n', 3, "syntax"),
        ('allow contains "d" if input.resource.id == nosuch\n', 3, "evaluation"),
    ],
)
def test_one_fault_that_both_engines_see_is_named_once(
    tmp_path: Path, opa: OpaProgram, text: str, line: int, code: str
) -> None:
    """At the author's line, with advice; each engine's own words stay with that engine."""
    folder = write(tmp_path, {"p.rego": "package guardrail.policy\n\n" + text})
    report = check([folder], opa=opa)
    assert [(finding.file, finding.line, finding.code) for finding in report.findings] == [
        (str(folder / "p.rego"), line, code)
    ]
    assert report.findings[0].hint
    assert report.engines[1].state is EngineState.REFUSED
    assert report.engines[1].findings


PRINTS = """package guardrail.policy

allow contains "x" if {
	name := input.resource.id
	print("called", name, input.action.properties.args.missing)
	name == "a"
}
"""


def test_both_engines_drop_print(tmp_path: Path, opa: OpaProgram) -> None:
    """Only a bundle can't contain it, whichever engine checks the bundle."""
    folder = write(tmp_path, {"p.rego": PRINTS, "p_test.rego": PRINTS_TEST})
    report = check([folder], opa=opa)
    assert [said.state for said in report.engines] == [EngineState.ACCEPTED] * 3
    assert [(each.line, each.code) for each in report.remarks] == [(5, "print")]
    tested = run_tests([folder], opa=opa)
    assert [each.outcome for each in tested.results] == ["pass"], tested
    call = call_input("a", {}, principal="p", now="2026-01-01T00:00:00Z")
    decided = evaluate([folder], call, opa=opa)
    assert [each.effect for each in decided.engines] == ["allow", "allow"]
    findings = []
    for program in (opa, None):
        with pytest.raises(PolicyLoadError) as caught:
            make_bundle([folder], opa=program)
        findings.append(caught.value.findings)
    assert findings[0] == findings[1]
    assert [(each.line, each.code) for each in findings[0]] == [(5, "print")]


def test_a_variable_that_is_printed_too_early_is_explained(tmp_path: Path, opa: OpaProgram) -> None:
    """OPA's own message does not mention print."""
    text = PRINTS.replace("name := input.resource.id", "some i").replace("name, ", "i, ")
    folder = write(tmp_path, {"p.rego": text.replace("name ==", '["a"][i] ==')})
    [finding] = check([folder], opa=opa).findings
    assert finding.line == 5
    assert "remove print" in finding.hint


def test_without_opa_nothing_is_refused_that_only_opa_judges(tmp_path: Path) -> None:
    """With ``[policy] engine = "opa"``, the embedded engine's own reasons do not count."""
    folder = write(tmp_path, {"p.rego": ALLOW + 'deny contains "d" if time.now_ns() > 5\n'})
    report = check([folder], opa_serves=True)
    assert (report.ok, report.answered) == (True, False)
    assert report.engines[1].hint
    assert not check([folder]).ok


def test_policies_that_can_not_be_read_are_no_reason_to_hide_opa(
    tmp_path: Path, opa: OpaProgram
) -> None:
    (tmp_path / "p.rego").write_bytes(b"\xff")
    states = [said.state for said in check([tmp_path], opa=opa).engines]
    assert states == [EngineState.REFUSED, EngineState.NOT_ASKED]


def test_both_engines_accept_what_the_host_adds_to_the_subject(
    tmp_path: Path, opa: OpaProgram
) -> None:
    """Session attributes have any name; other unknown places are still refused."""
    told = "input.subject.properties.team.lead == input.subject.properties.assurance"
    assert check([write(tmp_path, {"p.rego": f'{ALLOW}deny contains "d" if {told}\n'})], opa=opa).ok
    wrong = f'{ALLOW}deny contains "d" if input.subject.team == "x"\n'
    assert not check([write(tmp_path, {"p.rego": wrong})], opa=opa).ok


def test_old_syntax_that_only_opa_refuses_comes_with_advice(
    tmp_path: Path, opa: OpaProgram
) -> None:
    folder = write(tmp_path, {"p.rego": ALLOW + 'deny["x"]\n'})
    hints = [found.hint for found in check([folder], opa=opa).findings]
    assert any(f"run opa fmt --v0-v1 -w {folder / 'p.rego'}" in hint for hint in hints)


def test_two_values_for_one_rule_are_named_once_with_both_lines(tmp_path: Path) -> None:
    """Not once for each sample call, and never at a line of the merged text."""
    text = ALLOW + "x := 1 if input.resource.id\n\nx := 2 if input.resource.id\n"
    text += '\ndeny contains "d" if x == 3\n'
    folder = write(tmp_path, {"p.rego": text})
    start = ALLOW.count("\n") + 1
    (finding,) = check([folder]).findings
    assert (finding.file, finding.line) == (str(folder / "p.rego"), start + 2)
    assert f"at {folder / 'p.rego'}, line {start}" in finding.message
    assert "use else" in finding.hint
