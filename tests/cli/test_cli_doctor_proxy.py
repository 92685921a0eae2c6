"""``guardrail doctor`` names settings with which a proxy would not start, or could be misled."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from guardrail.cli.app import Exit
from guardrail.model_apis.requested_tools import RequestedTool
from guardrail.proxy.accepted_tools import write_accepted
from guardrail.proxy.seen_tools import SeenTools
from guardrail.system.caller_tokens import add_token
from tests.support.command_line import Cli
from tests.support.projects import new_project

SETTINGS = '[ledger]\npath = "audit.db"\n\n[policy]\npath = "policies"\n\n[proxy]\n'


@pytest.fixture
def project(tmp_path: Path) -> Path:
    made = new_project(tmp_path / "project", SETTINGS)
    write_accepted(made / "proxy-tools.json", [])
    (made / "proxy-tools.json").chmod(0o644)
    add_token(made / "callers", "ci")
    return made


def checked(cli: Cli, project: Path, lines: str) -> dict[str, str]:
    path = project / "guardrail.toml"
    path.write_text(SETTINGS + lines)
    shown = json.loads(cli("doctor", "--json", "--config", path).out)
    (found,) = [each for each in shown["checks"] if each["name"] == "proxy"]
    return dict(found)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("", "127.0.0.1:8290 to no upstream in the settings; 0 accepted tools"),
        ('upstream = "https://models.example.com/v1"', "to https://models.example.com/v1"),
        ('upstream = "http://127.0.0.1:4000"\ncallers = "callers"', "to http://127.0.0.1:4000"),
        ('peers = ["10.0.0.7"]\nidentity_header = "x-forwarded-user"', "accepted tools"),
    ],
)
def test_settings_of_a_sound_proxy_are_ok(cli: Cli, project: Path, lines: str, said: str) -> None:
    found = checked(cli, project, lines)
    assert (found["state"], said in found["found"]) == ("ok", True), found


def test_an_upstream_in_settings_that_were_only_found_is_noted(
    cli: Cli, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the command that uses it, because `guardrail proxy` alone refuses it."""
    monkeypatch.chdir(project)
    path = project / "guardrail.toml"
    path.write_text(SETTINGS + 'upstream = "http://127.0.0.1:4000/v1"\n')
    fix = f"guardrail proxy --config {path}"
    shown = json.loads(cli("doctor", "--json").out)["checks"]
    (found,) = [each for each in shown if each["name"] == "proxy"]
    assert (found["state"], found["fix"]) == ("note", fix)
    refused = cli("proxy")
    assert (refused.code, f"--config {path}" in refused.err) == (3, True), refused.err
    path.chmod(0o666)
    shown = json.loads(cli("doctor", "--json").out)["checks"]
    (found,) = [each for each in shown if each["name"] == "proxy"]
    assert (found["state"], found["fix"].startswith("read the file")) == ("fail", True), found


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ('upstream = "http://models.example.com"', "its URL must use https"),
        ('upstream = "models.example.com"', "must be a URL"),
        ('listen = "0.0.0.0:8290"', "would not be encrypted"),
        ('peers = ["10.0.0.7"]', "only useful together"),
        ('identity_header = "x-user"', "only useful together"),
        ('callers = "none"', "callers' tokens can't be used"),
        ('origins = ["*"]', "web origin"),
    ],
)
def test_settings_with_which_a_proxy_does_not_start_fail(
    cli: Cli, project: Path, lines: str, said: str
) -> None:
    found = checked(cli, project, lines)
    assert (found["state"], said in found["found"]) == ("fail", True), found
    assert found["fix"]


@pytest.mark.parametrize(
    ("name", "lines", "mode"),
    [
        ("proxy-tools.json", "", 0o666),
        ("callers", 'callers = "callers"', 0o660),
        ("key.pem", 'tls_cert = "key.pem"\ntls_key = "key.pem"', 0o644),
    ],
)
def test_a_file_that_others_can_change_or_read_fails(
    cli: Cli, project: Path, name: str, lines: str, mode: int
) -> None:
    (project / name).touch()
    (project / name).chmod(mode)
    found = checked(cli, project, lines)
    assert (found["state"], name in found["found"]) == ("fail", True), found
    assert found["fix"].startswith("chmod 6")


def test_tools_that_wait_to_be_accepted_are_counted(cli: Cli, project: Path) -> None:
    seen = SeenTools(project / "audit.proxy-seen.json")
    seen.note(RequestedTool("weather", "function", {"type": "object"}))
    seen.save()
    found = checked(cli, project, "")
    assert (found["state"], found["fix"]) == ("note", "guardrail proxy accept")
    assert "1 tool in requests is not accepted" in found["found"]


def test_an_accepted_tool_whose_schema_is_rejected_is_named(cli: Cli, project: Path) -> None:
    bad = {"type": "object", "properties": {"city": {"pattern": "(?<=a)b"}}}
    write_accepted(project / "proxy-tools.json", [RequestedTool("weather", "function", bad)])
    found = checked(cli, project, "")
    assert found["state"] == "note"
    assert (
        "1 accepted tool stays undeclared, because guardrail rejects the schema: weather "
        "(the pattern at /properties/city needs backtracking (look-around))" in found["found"]
    )


def test_accepted_tools_that_are_malformed_fail(cli: Cli, project: Path) -> None:
    (project / "proxy-tools.json").write_text("{}")
    found = checked(cli, project, "")
    assert (found["state"], "can't be used" in found["found"]) == ("fail", True)


def test_doctor_checks_the_proxy_once(cli: Cli, project: Path) -> None:
    ran = cli("doctor", "--config", project / "guardrail.toml")
    assert ran.code in {Exit.YES, Exit.NO}
    assert ran.out.count("  proxy ") == 1
