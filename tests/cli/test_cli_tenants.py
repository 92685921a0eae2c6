"""``guardrail tenants``: the settings file keeps its comments, and a change that is not valid
changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from guardrail.config import Settings
from tests.support.command_line import Ran
from tests.support.guards import records
from tests.support.projects import ALLOW_ALL

Cli = Callable[..., Ran]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project without a ledger yet, in the working directory."""
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "policy.rego").write_text(ALLOW_ALL)
    (tmp_path / "guardrail.toml").write_text("# ours\n[limits]\ncalls_per_minute = 9 # few\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def states(cli: Cli) -> dict[str, str]:
    """Return the state of each tenant."""
    listed = json.loads(cli("tenants", "list", "--json").out)["tenants"]
    return {each["tenant"]: each["state"] for each in listed}


def test_a_tenant_is_added_disabled_and_enabled(cli: Cli, project: Path) -> None:
    """Each step is in the tenant's own ledger, with the reason."""
    file = project / "guardrail.toml"
    file.chmod(0o640)
    assert "All tenants share this ledger" in cli("tenants", "list").err
    added = cli("tenants", "add", "acme", "--policies", "policies")
    assert (added.code, added.out.split()[:2]) == (0, ["added", "acme"])
    assert cli("tenants", "add", "b.c").code == 0
    assert file.read_text().startswith("# ours\n[limits]\ncalls_per_minute = 9 # few\n")
    assert file.stat().st_mode & 0o777 == 0o640
    assert states(cli) == {"acme": "ok", "b.c": "ok", "default": "no ledger"}
    for name in ("acme", "b.c"):
        assert cli("tenants", "disable", name, "--reason", "they left").code == 0
        assert cli("tenants", "disable", name, "--reason", "they left").code == 0
    assert states(cli) == {"acme": "disabled", "b.c": "disabled", "default": "no ledger"}
    assert "disabled" in cli("tenants", "list").out
    assert cli("tenants", "enable", "acme", "--reason", "they are back").code == 0
    assert states(cli)["acme"] == "ok"
    made = Settings.load(file, environment={})
    assert made.of_tenant("acme").policy.path == (project / "policies",)
    found = [
        (each["type"], each["detail"].get("reason"))
        for each in records(made.of_tenant("acme").ledger.path)
        if each["type"].startswith("admin.tenant_")
    ]
    assert found == [
        ("admin.tenant_added", None),
        ("admin.tenant_disabled", "they left"),
        ("admin.tenant_disabled", "they left"),
        ("admin.tenant_enabled", "they are back"),
    ]


@pytest.mark.parametrize("command", ["disable", "enable"])
def test_a_tenant_that_requires_verified_identities_is_changed_only_with_a_token(
    cli: Cli, project: Path, command: str
) -> None:
    """Although the settings outside its table do not require them."""
    cli("tenants", "add", "acme")
    file = project / "guardrail.toml"
    file.write_text(file.read_text() + '[tenants.acme.identity]\nrequire = "verified"\n')
    before = file.read_text()
    ran = cli("tenants", command, "acme", "--reason", "x")
    assert (ran.code, "--token-file" in ran.err) == (3, True)
    assert file.read_text() == before


def test_a_change_that_can_not_be_recorded_says_that_it_was_made(cli: Cli, project: Path) -> None:
    """The settings file is changed before the ledger is opened."""
    cli("tenants", "add", "acme")
    keys = Settings.load(project / "guardrail.toml", environment={}).of_tenant("acme").key_path
    keys.rename(keys.with_name("elsewhere"))
    ran = cli("tenants", "disable", "acme", "--reason", "x")
    assert (ran.code, "acme: disabled, but not recorded: " in ran.err) == (3, True)
    assert states(cli)["acme"] == "disabled"


def test_the_use_of_a_limited_ledger_is_listed(cli: Cli, project: Path) -> None:
    """In MB for people, and in bytes for programs."""
    cli("tenants", "add", "acme")
    file = project / "guardrail.toml"
    file.write_text(file.read_text() + "[tenants.acme.limits]\nledger_mb = 5\n")
    with file.open("a") as more:
        more.write("tenant_calls = 70\n")
    heading, first, second = cli("tenants", "list").out.splitlines()
    assert heading.split() == ["TENANT", "STATE", "CALLS/MIN", "SIZE", "LEDGER"]
    assert "of 5 MB" in first
    assert first.split()[:3] == ["acme", "ok", "70"]
    assert second.startswith("default  no ledger  no limit")
    listed = json.loads(cli("tenants", "list", "--json").out)["tenants"]
    (acme, default) = listed
    assert (acme["ledger_mb"], default["ledger_mb"]) == (5, 0)
    assert (acme["tenant_calls"], default["tenant_calls"]) == (70, 0)
    assert 0 < acme["used_bytes"] < 200_000
    assert default["used_bytes"] is None


@pytest.mark.parametrize(
    "table",
    [
        "[tenants.acme]\ndisabled = false # for now\n[tenants.acme.limits]\n",
        '[ tenants . "acme" ] # ours\n\n[tenants.other]\ndisabled = true\n',
        "[tenants.acme.limits]\ncalls_per_minute = 5\n",
        "[tenants.acme]",
    ],
)
def test_only_the_tenants_own_line_changes(cli: Cli, project: Path, table: str) -> None:
    """However its table is written."""
    file = project / "guardrail.toml"
    file.write_text(table)
    before = Settings.load(file, environment={})
    assert cli("tenants", "disable", "acme", "--reason", "x").code == 0
    made = Settings.load(file, environment={})
    assert made.of_tenant("acme").disabled
    assert {name: each.disabled for name, each in made.tenants.items() if name != "acme"} == {
        name: each.disabled for name, each in before.tenants.items() if name != "acme"
    }
    assert made.of_tenant("acme").limits == before.of_tenant("acme").limits
    assert cli("tenants", "enable", "acme", "--reason", "x").code == 0
    assert Settings.load(file, environment={}).tenants.keys() == before.tenants.keys()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ("add", "Acme")),
        ("", ("add", "default")),
        ("", ("add", "acme", "--policies", "missing")),
        ("[tenants.acme]\n", ("add", "acme")),
        ("", ("disable", "acme", "--reason", "x")),
        ("", ("disable", "default", "--reason", "x")),
        ("[tenants]\nacme = {}\n", ("disable", "acme", "--reason", "x")),
        ("[tenants]\nacme = {}\n", ("disable", "acme")),
        ("tenants = 5\n", ("add", "acme")),
    ],
)
def test_a_change_that_is_not_possible_changes_nothing(
    cli: Cli, project: Path, text: str, words: tuple[str, ...]
) -> None:
    """The error has a next step, and no other file is left behind."""
    (project / "guardrail.toml").write_text(text)
    before = sorted(project.rglob("*"))
    ran = cli("tenants", *words)
    assert ran.code in {2, 3}, ran
    assert "next:" in ran.err
    assert (project / "guardrail.toml").read_text() == text
    assert sorted(project.rglob("*")) == before


def test_without_a_settings_file_there_are_no_tenants(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hint says how to get one."""
    monkeypatch.chdir(tmp_path)
    ran = cli("tenants", "add", "acme")
    assert ran.code == 3
    assert "guardrail init" in ran.err


def test_commands_select_a_tenant(cli: Cli, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With --tenant or GUARDRAIL_TENANT; --ledger selects a ledger by itself."""
    cli("tenants", "add", "acme")
    assert "tenants/acme/audit/ledger.db" in cli("verify", "--tenant", "acme").out
    assert "there is no tenant 'nobody'" in cli("verify", "--tenant", "nobody").err
    own = "tenants/acme/audit/ledger.db"
    both = cli("verify", "--tenant", "acme", "--ledger", own)
    assert (both.code, "use only one of --ledger and --tenant" in both.err) == (2, True)
    monkeypatch.setenv("GUARDRAIL_TENANT", "acme")
    assert own in cli("verify").out
    assert "tenants/acme/audit/ledger.keys" in cli("doctor").out
    monkeypatch.setenv("GUARDRAIL_TENANT", "nobody")
    # The ledger's own settings apply: its access log is the tenant's.
    assert "tenants/acme/audit/ledger.access.db" in cli("verify", "--ledger", own).out
    assert "there is no tenant 'nobody'" in cli("doctor").out


def checks(cli: Cli, *words: str) -> list[tuple[str, str]]:
    """Return the state and the finding of each check of tenants."""
    found = json.loads(cli("doctor", *words, "--json").out)["checks"]
    return [(each["state"], each["found"]) for each in found if each["name"] == "tenants"]


def test_doctor_names_the_tenants_that_can_not_work(cli: Cli, project: Path) -> None:
    """And says that it did not examine everything for the others."""
    for name in ("blue", "green", "red", "off"):
        cli("tenants", "add", name)
    assert cli("doctor").code == 0
    cli("tenants", "disable", "off", "--reason", "x")
    file = project / "guardrail.toml"
    file.write_text(file.read_text() + '[tenants.blue.policy]\npath = "nowhere"\n')
    (project / "tenants" / "red" / "audit" / "ledger.keys").rename(project / "elsewhere")
    assert cli("doctor").code == 1
    blue, red, others = checks(cli)
    assert blue[0] == red[0] == "fail"
    assert blue[1].startswith("tenant blue: policies: there are no policies at")
    assert red[1].startswith("tenant red: keys: ")
    rest = "only folder, keys, policies, seal examined for tenants green; disabled: 1 tenant"
    assert others == ("note", rest)
    assert checks(cli, "--tenant", "green") == []
    found = json.loads(cli("doctor", "--json").out)["checks"]
    (stops,) = [each["found"] for each in found if each["name"] == "suspensions"]
    assert stops in {"there is no ledger yet", "no call is suspended in tenant default"}


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ("calls_per_minute = 5", "move it below [tenants.pink.limits]"),
        ("limits = 5", "write its keys below the line [tenants.pink.limits]"),
        ("limits.calls_per_minute = -1", "correct calls_per_minute under [tenants.pink.limits]"),
        ("limits.calls_per_minut = 1", "[tenants.pink.limits] has no key 'calls_per_minut'"),
        ("limit.calls_per_minute = 1", "unknown section [tenants.pink.limit]"),
        ("limits.calls_per_minute = true", "tenants.pink.limits.calls_per_minute: expected"),
    ],
)
def test_errors_in_a_table_name_the_table(cli: Cli, project: Path, line: str, part: str) -> None:
    (project / "guardrail.toml").write_text(f"[tenants.pink]\n{line}\n")
    assert part in cli("verify").err


def test_a_missing_reason_is_named_first(cli: Cli, project: Path) -> None:
    (project / "guardrail.toml").write_text("[tenants.acme]\n")
    assert "next:  add --reason TEXT" in cli("tenants", "disable", "acme").err
