"""``policy eval``: one call, its decision, and the conditions that failed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from guardrail import Guard
from guardrail.cli.app import Exit
from tests.support.command_line import Cli

POLICY = """package guardrail.policy

allow contains "transfer" if input.resource.id == "transfer"

deny contains {"rule": "far", "message": "too far"} if {
	city := input.action.properties.args.city
	home := "Oslo"
	city != home; count(city) > 5
}

require_approval contains "large" if {
	input.resource.id == "transfer"
	is_number(input.action.properties.args.amount)
	input.action.properties.args.amount > limits.amount # kroner
}

limits := {"amount": 100}
"""


@pytest.fixture
def policies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "policies"
    folder.mkdir()
    (folder / "p.rego").write_text(POLICY)
    monkeypatch.chdir(tmp_path)
    return folder


def args(folder: Path, value: object) -> Path:
    path = folder.parent / "args.json"
    path.write_text(json.dumps(value))
    return path


def test_the_first_failed_condition_is_shown_with_its_values(cli: Cli, policies: Path) -> None:
    given = args(policies, {"amount": 100, "city": "Bergen"})
    ran = cli(
        "policy", "eval", policies, "--tool", "transfer", "--args", given, "--principal", "ana"
    )
    assert ran.code == Exit.YES
    assert ran.out.startswith("DENIED  embedded (regorus ")
    assert "  deny: far - too far\n  allow: transfer\n" in ran.out
    title = f"require_approval: large, {policies / 'p.rego'}:14: 2 of 3 conditions held"
    assert title in " ".join(ran.out.split())
    assert "    fails: input.action.properties.args.amount > limits.amount\n" in ran.out
    assert "    input.action.properties.args.amount is 100\n" in ran.out
    assert "    limits.amount is 100\n" in ran.out
    assert 'id: "ana"' in ran.out


def test_conditions_on_one_line_are_told_apart(cli: Cli, policies: Path) -> None:
    given = args(policies, {"city": "Rome"})
    ran = cli("policy", "eval", policies, "--tool", "transfer", "--args", given, "--json")
    found = json.loads(ran.out)
    missed = {each["rule"]: each for each in found["missed"]}
    far = missed["far"]
    assert (far["condition"], far["held"], far["conditions"]) == ("count(city) > 5", 3, 4)
    assert far["values"] == {"city": "Rome"}
    # A reference without a value is absent.
    assert missed["large"]["condition"] == "is_number(input.action.properties.args.amount)"
    assert missed["large"]["values"] == {}
    assert found["engines"][0]["effect"] == "allow"


def test_both_engines_are_asked(cli: Cli, policies: Path) -> None:
    ran = cli("policy", "eval", policies, "--tool", "other", "--engine", "both", "--json")
    found = json.loads(ran.out)
    assert ran.code == Exit.YES
    assert found["agreed"] is True
    assert [(said["engine"], said["effect"]) for said in found["engines"]] == [
        ("embedded", "deny"),
        ("opa", "deny"),
    ]


def test_policies_that_only_opa_loads_are_evaluated_by_opa(cli: Cli, policies: Path) -> None:
    (policies / "q.rego").write_text(
        "package guardrail.policy\n\n"
        'allow contains "q" if count(strings.render_template("x", {})) == 1\n'
    )
    both = cli("policy", "eval", policies, "--tool", "other", "--engine", "both")
    assert both.code == Exit.NO
    assert both.out.startswith("REFUSED  embedded")
    assert "ALLOWED  opa (OPA 1." in both.out
    alone = cli("policy", "eval", policies, "--tool", "other", "--engine", "opa")
    assert alone.code == Exit.YES
    assert alone.out.startswith("ALLOWED  opa (OPA 1.")


def test_a_recorded_call_is_evaluated(cli: Cli, policies: Path, tmp_path: Path) -> None:
    db = tmp_path / "ledger.db"
    with Guard.open(policies=policies, ledger=db) as guard, guard.session(principal="ana"):
        guard.declare("transfer", schema={"type": "object"})
        guard.call("transfer", {"amount": 5}, lambda **_: None)
    ran = cli("policy", "eval", policies, "--from", "last", "--ledger", db, "--json")
    assert ran.code == Exit.YES, ran.err
    found = json.loads(ran.out)
    assert found["input"]["action"]["properties"]["args"] == {"amount": 5}
    assert found["input"]["subject"]["id"] == "ana"
    assert found["engines"][0]["effect"] == "allow"
    assert found["access_recorded"] is True


def test_a_record_without_an_input_is_refused(cli: Cli, policies: Path, ledger: Path) -> None:
    ran = cli("policy", "eval", policies, "--from", "last", "--ledger", ledger)
    assert ran.code == Exit.UNKNOWN
    assert "contains no input" in ran.err
    assert "--tool and --args" in ran.err


def test_arguments_are_checked_against_the_schema(cli: Cli, policies: Path) -> None:
    schema = {
        "type": "object",
        "properties": {"amount": {"type": "number", "default": 500}},
        "additionalProperties": False,
    }
    tools = policies.parent / "tools.json"
    tools.write_text(json.dumps({"transfer": schema}))
    filled = cli("policy", "eval", policies, "--tool", "transfer", "--tools", tools, "--json")
    found = json.loads(filled.out)
    assert found["engines"][0]["effect"] == "require_approval"
    assert found["input"]["action"]["properties"]["args"] == {"amount": 500}
    given = args(policies, {"amount": "many"})
    refused = cli(
        "policy", "eval", policies, "--tool", "transfer", "--tools", tools, "--args", given
    )
    assert refused.code == Exit.NO
    assert "a guard denies this call without asking the policy" in refused.out


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("[1]", Exit.UNKNOWN, "not a JSON object"),
        ("{", Exit.UNKNOWN, "it is not JSON from line 1, character 2 on"),
        ('{"a": 1, "a": 2}', Exit.UNKNOWN, "an object contains a key twice"),
        ('{"a": NaN}', Exit.UNKNOWN, "NaN and infinity are not JSON"),
        ('{"a": "\\ud800"}', Exit.UNKNOWN, "half of a surrogate pair"),
        (None, Exit.UNKNOWN, "can't be read"),
    ],
)
def test_arguments_that_are_not_an_object_are_refused(
    cli: Cli, policies: Path, text: str | None, code: int, words: str
) -> None:
    path = policies.parent / "args.json"
    if text is not None:
        path.write_text(text)
    ran = cli("policy", "eval", policies, "--tool", "transfer", "--args", path)
    assert ran.code == code
    assert words in ran.err
    assert "next:" in ran.err or text is None


def test_a_call_must_be_named_in_one_way(cli: Cli, policies: Path) -> None:
    for options in ((), ("--tool", "x", "--from", "3")):
        assert cli("policy", "eval", policies, *options).code == Exit.USAGE
    for option in ("--principal", "--agent", "--role", "--args", "--tools"):
        ran = cli("policy", "eval", policies, "--from", "3", option, "x")
        assert ran.code == Exit.USAGE
        assert option in ran.err


@pytest.mark.parametrize(
    ("options", "given", "code", "words"),
    [
        (("--tool", ""), {}, Exit.USAGE, "a tool name must be a non-empty string"),
        (("--tool", "a\nb"), {}, Exit.USAGE, "a tool name contains line breaks"),
        (("--tool", "other", "--principal", ""), {}, Exit.UNKNOWN, "--principal must have from 1"),
        (("--tool", "other", "--agent", "x" * 513), {}, Exit.UNKNOWN, "--agent must have from 1"),
        (("--tool", "other"), {"a": 10**30}, Exit.NO, "outside the 64-bit range"),
        (("--tool", "other"), {"a": "x" * 2_100_000}, Exit.NO, "arguments are too large"),
    ],
    ids=range(6),
)
def test_calls_that_no_guard_passes_to_a_policy_are_not_evaluated(
    cli: Cli, policies: Path, options: tuple[str, ...], given: object, code: int, words: str
) -> None:
    ran = cli("policy", "eval", policies, *options, "--args", args(policies, given))
    assert ran.code == code
    assert words in ran.out + ran.err
    assert "ALLOWED" not in ran.out


def test_a_tool_that_the_tools_file_does_not_contain_is_undeclared(
    cli: Cli, policies: Path
) -> None:
    """As in a guard to which these tools were declared."""
    tools = policies.parent / "tools.json"
    tools.write_text(json.dumps({"transfer": {"type": "object"}}))
    declared = {}
    for tool in ("transfer", "tranfser"):
        ran = cli("policy", "eval", policies, "--tool", tool, "--tools", tools, "--json")
        declared[tool] = json.loads(ran.out)["input"]["resource"]["properties"]["declared"]
    assert declared == {"transfer": True, "tranfser": False}


def test_policies_that_fail_for_a_sample_call_are_refused(cli: Cli, policies: Path) -> None:
    """As by a guard, although this call does not make them fail."""
    rule = 'deny contains "q" if { input.context.session.id == "sample"; lower(5) == "x" }\n'
    (policies / "q.rego").write_text(f"package guardrail.policy\n\n{rule}")
    ran = cli("policy", "eval", policies, "--tool", "other")
    assert ran.code == Exit.NO
    assert ran.out.startswith("REFUSED  embedded")


def test_a_failing_policy_is_not_a_decision(cli: Cli, policies: Path) -> None:
    condition = 'input.resource.id == "text"; lower(input.action.properties.args.n) == "x"'
    (policies / "q.rego").write_text(
        f'package guardrail.policy\n\ndeny contains "q" if {{ {condition} }}\n'
    )
    given = args(policies, {"n": 5})
    call = ("--tool", "text", "--args", given, "--engine", "both", "--json")
    ran = cli("policy", "eval", policies, *call)
    found = json.loads(ran.out)
    assert ran.code == Exit.RESERVED
    assert [said["effect"] for said in found["engines"]] == ["error", "error"]
    finding = found["engines"][0]["findings"][0]
    assert (Path(finding["file"]).name, finding["line"]) == ("q.rego", 3)
    given = args(policies, {"n": "x" * 300_000})
    ran = cli("policy", "eval", policies, "--tool", "text", "--args", given, "--json")
    assert "the limit is" in json.loads(ran.out)["engines"][0]["findings"][0]["message"]


def test_a_call_at_any_time_gets_the_offsets_of_that_time(cli: Cli, policies: Path) -> None:
    (policies / "p.rego").write_text(
        "package guardrail.policy\n\n"
        'allow contains "summer" if data.guardrail.lib.time.offset("Europe/Berlin") == 7200\n'
    )

    def ran_at(time: str) -> tuple[int, str]:
        ran = cli("policy", "eval", policies, "--tool", "t", "--time", time)
        return ran.code, (ran.out or ran.err).partition(" ")[0]

    assert ran_at("2026-03-29T00:59:59Z") == (Exit.YES, "DENIED")
    assert ran_at("2026-03-29T03:00:00+02:00") == (Exit.YES, "ALLOWED")
    for time in ("2026-03-29T01:00", "noon", "0001-01-01T00:00+01:00"):
        assert ran_at(time)[0] == Exit.USAGE


def test_policies_are_not_accepted_with_a_zone_in_the_settings_that_does_not_exist(
    cli: Cli, policies: Path
) -> None:
    settings = policies.parent / "guardrail.toml"
    settings.write_text('[policy]\npath = ["policies"]\ntime_zones = ["Asia/Tokio"]\n')
    ran = cli("policy", "check")
    assert (ran.code, '"Asia/Tokyo"' in ran.err) == (Exit.UNKNOWN, True)
