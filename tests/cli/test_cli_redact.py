"""``guardrail redact``: how a value would be recorded, and by which rules."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from guardrail.cli.app import Exit
from tests.support.command_line import Cli

CALL = {
    "iban": "DE89370400440532013000",
    "note": "mail bob@example.com, password=hunter2zz",
    "steps": [1, {"customer_name": "Bob Miller"}],
}
TOOLS = {
    "pay": {
        "type": "object",
        "properties": {
            "memo": {"type": "string", "x-guardrail": {"class": "health"}},
            "amount": {"type": "integer"},
        },
    }
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tools.json").write_text(json.dumps(TOOLS))
    return tmp_path


def given(folder: Path, value: object) -> Path:
    path = folder / "value.json"
    path.write_text(json.dumps(value))
    return path


def written(folder: Path, text: str) -> Path:
    path = folder / "value.json"
    path.write_text(text)
    return path


def test_each_removed_value_is_listed_with_its_class_and_every_rule(cli: Cli, folder: Path) -> None:
    ran = cli("redact", "--explain", given(folder, CALL))
    assert ran.code == Exit.YES
    assert "  /iban  payment: key:payment\n" in ran.out
    assert "  /note  secret: detector:email, detector:assignment\n" in ran.out
    assert "  /steps/1/customer_name  name: key:name\n" in ran.out
    assert "  3 places are redacted\n" in ran.out
    for value in ("DE89", "bob@", "hunter2", "Miller"):
        assert value not in ran.out + ran.err


def test_the_recorded_value_is_json_without_options(cli: Cli, folder: Path) -> None:
    ran = cli("redact", given(folder, CALL))
    assert json.loads(ran.out)["iban"].startswith("gr1:payment:sample:")


def test_nothing_is_written(cli: Cli, folder: Path) -> None:
    path = given(folder, CALL)
    before = sorted(os.listdir(folder))
    cli("redact", path)
    assert sorted(os.listdir(folder)) == before


def test_standard_input_is_read_if_no_file_is_named(
    cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with given(folder, "call +44 20 7946 0958").open() as source:
        monkeypatch.setattr("sys.stdin", source)
        ran = cli("redact", "--explain")
    assert "  (the whole value)  contact: detector:phone\n" in ran.out


def test_the_schema_of_the_tool_applies(cli: Cli, folder: Path) -> None:
    path = given(folder, {"memo": "flu", "amount": 3})
    ran = cli("redact", "--explain", "--tool", "pay", "--tools", "tools.json", path)
    assert "  /memo  health: schema:x-guardrail\n" in ran.out
    assert "  amount: 3\n" in ran.out


def test_a_schema_that_a_guard_rejects_concerns_only_its_tool(cli: Cli, folder: Path) -> None:
    """That tool counts as undeclared, as in a guard, and the command says why."""
    foreign = {"type": "object", "properties": {"code": {"type": "string", "pattern": "(?!x)"}}}
    both = {"foreign": foreign, "own": {"type": "object"}}
    (folder / "both.json").write_text(json.dumps(both))
    path = given(folder, {"code": "flu"})
    own, other = (
        cli("redact", "--explain", "--tool", tool, "--tools", "both.json", path)
        for tool in ("own", "foreign")
    )
    assert (own.code, other.code) == (Exit.YES, Exit.YES)
    assert '  code: "flu"\n' in own.out
    assert own.err == ""
    assert "  (the whole value)  undeclared: minimal\n" in other.out
    assert "rejects the schema of this tool: the pattern at /properties/code" in other.err
    assert "next:  correct the schema" in other.err


@pytest.mark.parametrize("how", [["--undeclared"], ["--tool", "other", "--tools", "tools.json"]])
def test_the_view_of_an_undeclared_tool_is_minimal(cli: Cli, folder: Path, how: list[str]) -> None:
    ran = cli("redact", "--explain", *how, given(folder, {"memo": "flu"}))
    assert "  (the whole value)  undeclared: minimal\n" in ran.out
    assert "flu" not in ran.out


def test_arguments_that_do_not_match_are_denied_and_their_view_is_minimal(
    cli: Cli, folder: Path
) -> None:
    path = given(folder, {"amount": "much"})
    ran = cli("redact", "--explain", "--tool", "pay", "--tools", "tools.json", path)
    assert ran.code == Exit.NO
    assert ran.out.startswith("DENIED  ")
    assert "  (the whole value)  unfit: minimal\n" in ran.out
    assert "much" not in ran.out


def test_lines_are_values_of_one_session(cli: Cli, folder: Path) -> None:
    lines = '{"api_key": "k9Xf2mQz81LpTr04"}\n\n{"text": "it is k9Xf2mQz81LpTr04"}\n'
    ran = cli("redact", "--lines", "--json", written(folder, lines))
    first, second = json.loads(ran.out)["values"]
    assert first["removed"] == {"/api_key": ["secret", "key:secret"]}
    assert second["removed"] == {"/text": ["secret", "known"]}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"a": 1,\n "a": "hunter2"}', "an object contains a key twice"),
        ('{"a": NaN}', "NaN and infinity are not JSON"),
        ('{"a": 1e999}', "a number is too large"),
        ('{"a": "\\ud800"}', "a string contains half of a surrogate pair"),
        ('{"a": 1,\n "b": hunter2}', "it is not JSON from line 2, character 7 on"),
        ("[" * 100_000, "it is nested too deeply"),
        ("", "the input is empty"),
    ],
)
def test_input_that_a_guard_would_refuse_is_refused_without_quoting_it(
    cli: Cli, folder: Path, text: str, why: str
) -> None:
    ran = cli("redact", written(folder, text))
    assert ran.code == Exit.UNKNOWN
    assert why in ran.err
    assert "next:" in ran.err
    assert "hunter2" not in ran.out + ran.err


def test_a_bad_line_is_named(cli: Cli, folder: Path) -> None:
    ran = cli("redact", "--lines", written(folder, '1\n{"a" 2}\n'))
    assert ran.code == Exit.UNKNOWN
    assert "line 2: it is not JSON from character 6 on" in ran.err


def test_a_file_that_is_not_regular_is_refused(cli: Cli, folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    assert cli("redact", "pipe").code == Exit.UNKNOWN


def test_a_tool_needs_the_file_of_schemas(cli: Cli, folder: Path) -> None:
    assert cli("redact", "--tool", "pay", given(folder, {})).code == Exit.USAGE


def test_the_example_of_the_page(cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[2] / "docs" / "redaction.md").read_text()
    block = re.search(r"^echo '(.*)' \| guardrail redact --explain$", page, re.MULTILINE)
    assert block is not None
    with written(folder, block.group(1)).open() as source:
        monkeypatch.setattr("sys.stdin", source)
        ran = cli("redact", "--explain")
    assert ran.code == Exit.YES
    assert "  /customer_name  name: key:name\n" in ran.out
    assert "  /note  secret: detector:assignment\n" in ran.out


def test_the_rules_of_the_settings_are_used_and_checked(cli: Cli, folder: Path) -> None:
    written(folder, '{"locker_no": "4711"}')
    settings = folder / "guardrail.toml"
    settings.write_text("[redaction.keys]\nemployee = 'locker no'\n")
    assert "/locker_no  employee: key:employee" in cli("redact", "--explain", "value.json").out
    settings.write_text("[redaction.patterns]\nemployee = '('\n")
    refused = cli("redact", "value.json")
    assert refused.code == Exit.UNKNOWN
    assert "next:" in refused.err
    doctor = cli("doctor")
    assert "[redaction.patterns] employee: '(' is rejected" in " ".join(doctor.out.split())
