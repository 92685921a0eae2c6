"""Suspensions with several tenants, and of ids that are copied or mistyped."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from guardrail import Guard
from guardrail.cli.app import Exit
from tests.support.command_line import Cli
from tests.support.guards import Body, guarded
from tests.support.projects import ALLOW_ALL

NAMES = ["blue", "default", "red"]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli) -> Path:
    """A project in the working directory with the tenants blue, red and default, each with a
    ledger.
    """
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "policy.rego").write_text(ALLOW_ALL)
    (tmp_path / "guardrail.toml").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GUARDRAIL_TENANT", raising=False)
    for name in ("blue", "red"):
        assert cli("tenants", "add", name).code == Exit.YES
    with Guard.open("guardrail.toml"):
        pass
    return tmp_path


def stopped(cli: Cli) -> list[str]:
    """Return the tenants in which a suspension is in force."""
    each = {name: json.loads(cli("suspensions", "--tenant", name, "--json").out) for name in NAMES}
    assert [found["tenant"] for found in each.values()] == NAMES
    return [name for name, found in each.items() if found["total"]]


@pytest.mark.usefixtures("project")
def test_a_command_names_the_tenants_that_it_left_out(cli: Cli) -> None:
    done = cli("suspend", "agent:bot", "--reason", "x")
    assert done.code == Exit.YES
    assert "only in tenant default; not stopped: blue, red\n" in done.err
    assert "--tenant NAME or --all-tenants" in done.err
    assert stopped(cli) == ["default"]
    listed = cli("suspensions")
    assert "only in tenant default; not listed: blue, red" in listed.err
    assert "audit/ledger.db" in listed.err
    assert json.loads(cli("suspensions", "--json").out)["other_tenants"] == ["blue", "red"]
    assert "only in tenant default; not resumed: blue, red" in cli("resume", "agent:bot").err
    chosen = cli("suspend", "agent:bot", "--reason", "x", "--tenant", "blue")
    assert "only in" not in chosen.err
    assert stopped(cli) == ["blue"]


@pytest.mark.usefixtures("project")
def test_the_tenant_of_the_environment_is_named(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GUARDRAIL_TENANT", "red")
    done = cli("suspend", "all", "--reason", "x")
    assert "only in tenant red; not stopped: blue, default\n" in done.err


@pytest.mark.usefixtures("project")
def test_all_tenants_are_stopped_listed_and_resumed(cli: Cli) -> None:
    """Each has its own record in its own ledger, and its own record in its access log."""
    done = cli("suspend", "agent:bot", "--reason", "x", "--all-tenants")
    assert done.code == Exit.YES
    assert [line for line in done.out.splitlines() if line.startswith("tenant")] == [
        "tenant default",
        "tenant blue",
        "tenant red",
    ]
    assert done.out.count("suspended  agent:bot, by record") == 3
    assert "only in" not in done.err
    assert stopped(cli) == NAMES
    for name in NAMES:
        reads = json.loads(cli("access", "--tenant", name, "--json").out)["accesses"]
        assert "suspend" in [each["command"] for each in reads]
    listed = json.loads(cli("suspensions", "--all-tenants", "--json").out)
    assert [each["total"] for each in listed["tenants"]] == [1, 1, 1]
    assert {each["access_recorded"] for each in listed["tenants"]} == {True}
    assert "access_recorded" not in listed
    assert cli("resume", "agent:bot", "--all-tenants").code == Exit.YES
    assert stopped(cli) == []


def test_a_tenant_that_fails_hides_no_other(cli: Cli, project: Path) -> None:
    keys = project / "tenants" / "blue" / "audit" / "ledger.keys"
    keys.rename(project / "elsewhere")
    done = cli("suspend", "agent:bot", "--reason", "x", "--all-tenants")
    assert done.code == Exit.UNKNOWN
    assert "error: tenant blue: " in done.err
    assert "failed in 1 of 3 tenants: blue" in done.err
    assert done.out.count("suspended  agent:bot, by record") == 2
    again = cli("suspend", "agent:bot", "--reason", "x", "--all-tenants", "--json")
    made = {each["tenant"]: each for each in json.loads(again.out)["tenants"]}
    assert (again.code, made["blue"]["exit"]) == (Exit.UNKNOWN, Exit.UNKNOWN)
    assert made["blue"]["error"]["code"] == "ledger.half"
    assert made["red"]["suspended"]
    (project / "elsewhere").rename(keys)
    assert stopped(cli) == ["default", "red"]


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    "words",
    [
        ("agent:bot", "--reason", "x", "--tenant", "red"),
        ("agent:bot", "--reason", "x", "--ledger", "audit/ledger.db"),
        ("agent:bot",),
        ("robot:bot", "--reason", "x"),
    ],
)
def test_a_wrong_command_stops_no_tenant(cli: Cli, words: tuple[str, ...]) -> None:
    done = cli("suspend", "--all-tenants", *words)
    assert done.code == Exit.USAGE
    assert done.err.count("error:") == 1
    assert stopped(cli) == []


def test_without_tenants_nothing_is_said_about_them(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "guardrail.toml").write_text('[ledger]\npath = "audit.db"\n')
    with guarded(tmp_path):
        pass
    done = cli("suspend", "agent:bot", "--reason", "x")
    assert "only in" not in done.err
    assert "only in" not in cli("suspensions").err
    assert cli("resume", "agent:bot", "--all-tenants").code == Exit.YES


@pytest.fixture
def hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ledger that contains the principal alice as a token, and the agent support-bot."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "guardrail.toml").write_text(
        '[ledger]\npath = "audit.db"\n[identity]\nprincipal_form = "token"\n'
    )
    with (
        guarded(tmp_path, identity={"principal_form": "token"}) as guard,
        guard.session(principal="alice", agent="support-bot", id="one"),
    ):
        guard.call("pay", {}, run=Body())
    return tmp_path


@pytest.mark.usefixtures("hidden")
def test_a_displayed_token_is_refused_and_the_full_one_is_accepted(cli: Cli) -> None:
    (session,) = json.loads(cli("sessions", "--json").out)["sessions"]
    token = session["principal"]
    short = f"[principal {token.split(':')[-1][:6]}…]"
    assert short in cli("sessions").out
    for text in (short, short[:-1], short[1:-1], f"[{token}]", token[:-3], f"{token[:30]}…"):
        refused = cli("suspend", f"principal:{text}", "--reason", "x")
        assert refused.code == Exit.USAGE, text
        assert "guardrail show SESSION has the full token" in refused.err
    assert cli("suspensions").out == "No suspension is in force.\n"
    assert f"principal  {token} " in cli("show", "one").out
    done = cli("suspend", f"principal:{token}", "--reason", "x")
    assert (done.code, "names" in done.err) == (Exit.YES, False)


@pytest.mark.usefixtures("hidden")
def test_the_typed_name_is_repeated_with_its_token(cli: Cli) -> None:
    (session,) = json.loads(cli("sessions", "--json").out)["sessions"]
    done = cli("suspend", "principal:alice", "--reason", "x")
    assert done.out.startswith(
        f"suspended  principal:alice, recorded as {session['principal']}, by"
    )
    assert "no call" not in done.err


@pytest.mark.usefixtures("hidden")
def test_a_mistyped_id_names_the_nearest_one(cli: Cli) -> None:
    done = cli("suspend", "agent:suport-bot", "--reason", "x")
    assert done.code == Exit.YES
    assert "did you mean agent:support-bot?" in done.err
    made = json.loads(cli("suspend", "agent:Suport-b0t", "--reason", "x", "--json").out)
    assert (made["known"], made["nearest"]) == (False, "support-bot")
    other = json.loads(cli("suspend", "agent:reader", "--reason", "x", "--json").out)
    assert (other["known"], other["nearest"]) == (False, None)
    right = json.loads(cli("suspend", "agent:support-bot", "--reason", "x", "--json").out)
    assert (right["known"], right["nearest"]) == (True, None)


def test_an_id_in_the_form_of_a_displayed_token_can_be_stopped(cli: Cli, hidden: Path) -> None:
    """An agent can't escape suspension by its name."""
    with (
        guarded(hidden, identity={"principal_form": "token"}) as guard,
        guard.session(principal="alice", agent="[agent abcdef…]"),
    ):
        guard.call("pay", {}, run=Body())
    assert cli("suspend", "agent:[agent abcdef…]", "--reason", "x").code == Exit.YES


@pytest.mark.usefixtures("project")
def test_reads_of_a_tenant_are_readable(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log's name is above the table, not in each row, and no value is empty."""
    for width in ("150", "80"):
        monkeypatch.setenv("COLUMNS", width)
        cli("suspend", "agent:support-bot", "--reason", "x", "--tenant", "red")
        shown = cli("access", "--tenant", "red")
        assert "suspend agent:support-bot" in shown.out
        assert "null" not in shown.out
        log = json.loads(cli("suspensions", "--tenant", "red", "--json").out)["log"]
        assert f"these are reads of the log {log}." in shown.err
        assert log not in shown.out
    reads = json.loads(cli("access", "--tenant", "red", "--json").out)["accesses"]
    assert not any(None in each["selector"].values() for each in reads)


def test_ids_can_be_copied_from_the_list_of_sessions(
    cli: Cli, hidden: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token keeps its bracket if the column is narrow, and the tenant is shown only if there are
    several.
    """
    with (
        guarded(hidden, identity={"principal_form": "token"}) as guard,
        guard.session(principal="alice", agent="support-bot", id="a-session-with-a-long-name" * 3),
    ):
        guard.call("pay", {}, run=Body())
    monkeypatch.setenv("COLUMNS", "80")
    rows = cli("sessions").out.splitlines()
    (cut,) = {word for row in rows for word in row.split() if word.startswith("a-session")}
    assert cut.endswith("…")
    assert "a-session-with-a-long-name" * 3 in cli("show", cut).out
    assert cli("show", "b…").code == Exit.UNKNOWN
    assert all("…]" in row for row in rows if "[principal " in row)
    monkeypatch.setenv("COLUMNS", "200")
    assert "TENANT" not in cli("sessions").out
    with (
        guarded(hidden, identity={"principal_form": "token"}) as guard,
        guard.session(principal="alice", agent="support-bot", tenant="red"),
    ):
        guard.call("pay", {}, run=Body())
    assert "TENANT" in cli("sessions").out
