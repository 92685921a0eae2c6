"""``policy check`` and ``policy test --mutate`` as commands."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from guardrail.review.terminal import width
from guardrail.testing import StaticPolicy, allow, memory_guard
from tests.support.command_line import Cli

LEAKY = """package guardrail.policy

allow contains "transfer" if input.resource.id == "transfer"

deny contains "too-much" if input.action.properties.args.amount > 100
"""
TEST = """package guardrail.policy_test

test_large if data.guardrail.main.decision.effect == "deny" with input as {
	"resource": {"id": "transfer"},
	"action": {"properties": {"args": {"amount": 500}}},
}

test_small if data.guardrail.main.decision.effect == "allow" with input as {
	"resource": {"id": "transfer"},
	"action": {"properties": {"args": {"amount": 5}}},
}
"""


@pytest.fixture
def leaky(tmp_path: Path) -> Path:
    """A folder with a policy from a tutorial, and its test."""
    folder = tmp_path / "policies"
    folder.mkdir()
    (folder / "limit.rego").write_text(LEAKY)
    (folder / "limit_test.rego").write_text(TEST)
    return folder


def test_warnings_are_shown_and_count_when_asked(cli: Cli, leaky: Path) -> None:
    """File, line, code and what to write; exit 0, and 1 with --strict."""
    ran = cli("policy", "check", leaky)
    assert ran.code == 0
    assert "limit.rego:5: the argument amount may be missing" in " ".join(ran.out.split())
    assert "[warning: optional-argument]" in ran.out
    assert "2 warnings" in ran.out
    assert cli("policy", "check", leaky, "--strict").code == 1


def test_schemas_make_warnings_go_away(cli: Cli, leaky: Path, tmp_path: Path) -> None:
    """Where they say what the warning asks for."""
    schema = {
        "type": "object",
        "required": ["amount"],
        "properties": {"amount": {"type": "number"}},
    }
    tools = tmp_path / "tools.json"
    tools.write_text(json.dumps({"transfer": schema}))
    ran = cli("policy", "check", leaky, "--tools", tools, "--strict")
    assert ran.code == 0, ran
    assert ", 1 tool, 0 findings" in ran.out
    ran = cli("policy", "test", leaky, "--mutate", "--tools", tools)
    assert ran.code == 0, ran
    assert "that a schema refuses" in ran.out
    tools.write_text("[]")
    ran = cli("policy", "check", leaky, "--tools", tools)
    assert (ran.code, ran.out) == (3, "")


def test_the_tools_of_a_program_make_warnings_go_away(
    cli: Cli, leaky: Path, tmp_path: Path
) -> None:
    """As `guard.tools_json` writes them; a rule about an argument that none has is found."""
    guard, _ = memory_guard(StaticPolicy(allow()))
    tools = tmp_path / "tools.json"

    @guard.tool
    def transfer(amount: float, to: str = "") -> None:
        """Transfer an amount."""

    guard.tools_json(tools)
    ran = cli("policy", "check", leaky, "--tools", tools, "--strict")
    assert ran.code == 0, ran
    rule = '\ndeny contains "limit" if input.action.properties.args.ammount > 5\n'
    (leaky / "limit.rego").write_text(LEAKY + rule)
    ran = cli("policy", "check", leaky, "--tools", tools, "--strict")
    assert ran.code == 1
    printed = " ".join(ran.out.split())
    assert "[warning: undeclared-argument]" in printed
    assert "did you mean 'amount'?" in printed


def test_the_document_holds_warnings_and_engines(cli: Cli, leaky: Path) -> None:
    """For programs; the exit code stands in it."""
    document = json.loads(cli("policy", "check", leaky, "--json", "--strict").out)
    assert (document["exit"], document["ok"], document["ignored"]) == (1, True, 0)
    assert {lint["code"] for lint in document["lints"]} == {
        "optional-argument",
        "untyped-comparison",
    }
    assert {"file", "line", "code", "message", "hint", "severity"} == set(document["lints"][0])
    assert [said["engine"] for said in document["engines"]] == [
        "embedded",
        "opa",
        "both",
    ]
    assert document["engines"][0]["state"] == "accepted"


def test_it_is_said_where_there_is_no_opa(
    cli: Cli, leaky: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one line; a GUARDRAIL_OPA that can't be run is not taken for that."""
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("GUARDRAIL_OPA", raising=False)
    ran = cli("policy", "check", leaky)
    assert ran.code == 0
    assert sum("PATH does not contain opa" in line for line in ran.out.splitlines()) == 1
    monkeypatch.setenv("GUARDRAIL_OPA", str(leaky / "none"))
    ran = cli("policy", "check", leaky)
    assert (ran.code, ran.out) == (3, "")
    assert "GUARDRAIL_OPA" in ran.err


def test_changed_calls_that_are_allowed_are_shown(cli: Cli, leaky: Path) -> None:
    """With rule, place, change and call; exit 1."""
    ran = cli("policy", "test", leaky, "--mutate")
    assert ran.code == 1
    assert "limit.rego:5: deny too-much no longer stops" in " ".join(ran.out.split())
    assert "/amount deleted: transfer {}" in ran.out
    assert "HOLES" in ran.out
    document = json.loads(cli("policy", "test", leaky, "--mutate", "--json").out)
    assert (document["exit"], document["ok"]) == (1, True)
    assert {hole["mutation"] for hole in document["mutation"]["holes"]} == {"deleted", "null"}
    assert json.loads(cli("policy", "test", leaky, "--json").out)["mutation"] is None


def test_rules_that_could_not_be_tried_are_a_reservation(cli: Cli, leaky: Path) -> None:
    """Nothing was found, and not everything was looked at: 5."""
    tight = LEAKY.replace("input.action.properties.args.amount > 100", "not small")
    tight += '\nsmall if data.guardrail.lib.args.number_within("amount", 0, 100)\n'
    (leaky / "limit.rego").write_text(tight)
    assert cli("policy", "test", leaky, "--mutate").code == 0
    (leaky / "limit.rego").write_text(
        tight + '\ndeny contains "other" if input.resource.id == "x"\n'
    )
    ran = cli("policy", "test", leaky, "--mutate")
    assert (ran.code, "does not fire in any test" in " ".join(ran.out.split())) == (5, True), ran


def test_a_verdict_says_what_it_does_not_judge(cli: Cli, leaky: Path) -> None:
    """Warnings are part of it, and tests that fail keep a guard from loading what `policy check`
    accepts.
    """
    out = " ".join(cli("policy", "check", leaky).out.split())
    assert (
        "OK, WITH WARNINGS 2 files, 0 findings, 2 warnings A guard loads policies with warnings"
    ) in out
    assert "tests not run: 1 test file; run guardrail policy test" in out
    with (leaky / "limit_test.rego").open("a") as out_:
        out_.write("\ntest_wrong := false\n")
    assert "not run: 1 test file" in cli("policy", "check", leaky).out
    assert cli("policy", "test", leaky).code == 1
    assert json.loads(cli("policy", "check", leaky, "--json").out)["tests"] == 1
    (leaky / "limit_test.rego").unlink()
    (leaky / "limit.rego").write_text(
        'package guardrail.policy\n\n# guardrail:ignore untested-rule\nallow contains "x" if'
        ' input.resource.id == "x"\n'
    )
    ran = cli("policy", "check", leaky)
    assert "not run" not in ran.out
    (leaky / "limit.rego").write_text("package guardrail.policy\n\nallow contains x if y\n")
    ran = cli("policy", "check", leaky)
    assert ran.out.count("REFUSED") == 1
    assert "WITH WARNINGS" not in ran.out


def test_what_strict_refuses_is_not_called_ok(cli: Cli, leaky: Path) -> None:
    """The verdict and the exit code say the same."""
    ran = cli("policy", "check", leaky, "--strict")
    assert (ran.code, "REFUSED BY --strict" in ran.out, "OK" in ran.out) == (1, True, False)


def test_a_bundle_says_that_tests_were_not_run_and_what_it_replaced(
    cli: Cli, leaky: Path, tmp_path: Path
) -> None:
    """Its OK is about what is in it."""
    output = tmp_path / "b.tar.gz"
    first = cli("policy", "bundle", leaky, "-o", output)
    assert "tests    not run: 1 test file; run guardrail policy test" in first.out
    assert "replacing" not in first.out
    again = cli("policy", "bundle", leaky, "-o", output)
    assert "replacing the existing file" in " ".join(again.out.split())
    document = json.loads(cli("policy", "bundle", leaky, "-o", output, "--json").out)
    assert (document["tests"], document["replaced"]) == (1, True)
    (leaky / "limit_test.rego").unlink()
    assert "not run" not in cli("policy", "bundle", leaky, "-o", output).out


def test_findings_and_tests_fit_the_terminal_in_whole_words(
    cli: Cli, leaky: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At 80 columns nothing is cut, and only a path that is longer than a line makes one wider."""
    with (leaky / "limit_test.rego").open("a") as out:
        out.write(
            '\ntest_wrong if {\n\tdata.guardrail.main.decision.effect == "deny" with input as'
            " {}\n\tfalse\n}\n"
        )
    monkeypatch.chdir(leaky.parent)
    for words in (("check",), ("test", "-v"), ("test", "--mutate")):
        monkeypatch.setenv("COLUMNS", "400")
        whole = cli("policy", *words, "policies").out
        monkeypatch.setenv("COLUMNS", "80")
        narrow = cli("policy", *words, "policies").out
        assert all(width(line) <= 80 for line in narrow.splitlines()), narrow
        took = re.compile(r"[\d.,]+ ms|policies/policies")
        assert took.sub("", narrow).split() == took.sub("", whole).split()
        assert "\x1b" not in narrow


def test_calls_of_failing_tests_are_not_changed(cli: Cli, leaky: Path) -> None:
    """They say nothing about what the policy is meant to stop."""
    with (leaky / "limit_test.rego").open("a") as out:
        out.write("\ntest_wrong := false\n")
    ran = cli("policy", "test", leaky, "--mutate")
    assert ran.code == 1
    assert "no longer stops" not in ran.out


def test_hostile_text_in_policies_and_calls_does_not_reach_the_terminal_raw(
    cli: Cli, leaky: Path
) -> None:
    """Argument names and values in what is shown of a changed call."""
    name = "x\\u001b[31m\\u202e"
    (leaky / "limit_test.rego").write_text(
        TEST.replace('"amount": 500', f'"amount": 500, "{name}": "{name}"')
    )
    ran = cli("policy", "test", leaky, "--mutate")
    assert ran.code == 1
    assert "\x1b" not in ran.out
    assert "\u202e" not in ran.out


def test_policy_check_says_not_ok_if_an_engine_gave_no_answer(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The verdict and the exit code say the same."""
    program = tmp_path / "opa"
    program.write_text("#!/bin/sh\nkill -9 $$\n")
    program.chmod(0o755)
    monkeypatch.setenv("GUARDRAIL_OPA", str(program))
    policies = tmp_path / "policies"
    policies.mkdir()
    (policies / "a.rego").write_text(
        'package guardrail.policy\n\nallow contains "a" if input.resource.id == "a"\n'
    )
    ran = cli("policy", "check", policies)
    assert ran.code == 3
    assert "NOT ANSWERED" in ran.out
    assert not any(line.startswith("OK") for line in ran.out.splitlines())


BOOLEAN = 'package guardrail.policy\n\nallow if input.resource.id == "x"\n'


def test_mechanical_findings_are_fixed_when_asked(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hint says so, --dry-run only shows the changes, and the fixed files are checked."""
    monkeypatch.delenv("GUARDRAIL_OPA", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    policy = tmp_path / "p.rego"
    policy.write_text(BOOLEAN)
    ran = cli("policy", "check", tmp_path)
    assert (ran.code, "guardrail policy check --fix" in " ".join(ran.out.split())) == (1, True)
    ran = cli("policy", "check", tmp_path, "--fix", "--dry-run")
    assert (ran.code, policy.read_text()) == (1, BOOLEAN)
    assert '+allow contains "allow-1" if input.resource.id == "x"' in ran.out
    assert "0 findings would remain" in ran.out
    ran = cli("policy", "check", tmp_path, "--fix", "--json")
    made = json.loads(ran.out)
    assert (ran.code, made["ok"], made["findings"]) == (0, True, [])
    assert [(each["written"], len(each["fixed"])) for each in made["fix"]["files"]] == [(True, 1)]
    assert policy.read_text() == BOOLEAN.replace("allow if", 'allow contains "allow-1" if')
    ran = cli("policy", "check", tmp_path, "--fix")
    assert (ran.code, ran.out.startswith("nothing to fix")) == (0, True)
    assert cli("policy", "check", tmp_path, "--dry-run").code == 2


def test_a_dry_run_lists_the_findings_that_would_remain(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And no others. The numbers agree: those found and those hidden are fixed or remain."""
    monkeypatch.delenv("GUARDRAIL_OPA", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    entry = 'deny contains {"rule": "a", "message": 4} if input.resource.id == "q"\n'
    (tmp_path / "p.rego").write_text(BOOLEAN + entry)
    ran = cli("policy", "check", tmp_path, "--fix", "--dry-run")
    before, after = ran.out.split("1 finding would remain:")
    assert "1 finding" in before
    assert "[set-entry]" in after
    assert "[set-form]" not in ran.out
    made = json.loads(cli("policy", "check", tmp_path, "--fix", "--dry-run", "--json").out)["fix"]
    fixed = sum(len(each["fixed"]) for each in made["files"])
    hidden = "finding appears only after" in ran.out
    assert made["found"] + hidden == fixed + len(made["remaining"]) == 2
