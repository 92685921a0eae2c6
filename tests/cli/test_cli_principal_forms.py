"""Principals that are recorded as tokens: every command that takes an id computes the token, in
every tenant of the ledger, under old and new keys, and if the settings change later.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from guardrail import Agent, Denied
from guardrail.cli.app import Exit
from guardrail.keys.log_key import TOKENS_FILE, Keys
from guardrail.system.durable import replace_file
from tests.support.command_line import Cli, Ran
from tests.support.guards import Body, guarded, records

ALICE, DESK = "alice@example.com", "desk-17"
CHARTER = "You are a support bot. The code is 4711."
FORMS = ("clear", "token")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "token")


def write(folder: Path, form: str) -> None:
    """Write the settings of the commands."""
    (folder / "guardrail.toml").write_text(
        f'[ledger]\npath = "audit.db"\n[identity]\nrequire = "any"\nprincipal_form = "{form}"\n'
        '[review]\nfinds_per_minute = 100\nindex = "index"\n'
    )


def call(folder: Path, form: str = "token", **session: Any) -> str:
    """Make a call with a guard whose settings name *form*; return ``done`` or the cause."""
    chosen = {"identity": {"require": "any", "principal_form": form}}
    with guarded(folder, **chosen) as guard:
        try:
            with guard.session(**{"principal": ALICE, "agent": "bot", **session}):
                return str(guard.call("pay", {}, run=Body()))
        except Denied as denied:
            return denied.code


def rotate(folder: Path) -> None:
    """Make a new key current, as ``guardrail keys rotate`` does."""
    secrets = Keys.load(folder / "audit.keys").secrets.prepared().advanced()
    replace_file(folder / "audit.keys" / TOKENS_FILE, secrets.text(), private=True)


@pytest.fixture
def find(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ran]:
    def run(value: str, *words: str) -> Ran:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(value.encode())))
        return cli("find", "--value", "-", "--json", *words)

    return run


def test_no_id_of_a_principal_is_written_also_in_the_delegation(tmp_path: Path) -> None:
    """The agent is no person: its id stays in the clear."""
    chain = [{"sub": DESK, "iss": "https://sts.example.com"}, {"sub": ALICE}]
    assert call(tmp_path, principal="bob", delegation=chain) == "done"
    (made,) = records(tmp_path / "audit.db", "call.decision")
    assert [step["sub"][:14] for step in made["delegation"]] == ["gr1:principal:"] * 2
    assert made["delegation"][0]["iss"] == "https://sts.example.com"
    assert made["input"]["context"]["delegation"] == made["delegation"]
    assert made["agent"]["id"] == "bot"
    for path in tmp_path.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert ALICE.encode() not in data
            assert DESK.encode() not in data


@pytest.mark.parametrize("value", [ALICE, DESK, CHARTER])
def test_calls_are_found_by_name_in_every_tenant_and_under_every_key(
    tmp_path: Path, find: Callable[..., Ran], value: str
) -> None:
    """Principals, actors and charters."""
    told: dict[str, Any] = {"delegation": [{"sub": DESK}], "agent": Agent("bot", charter=CHARTER)}
    call(tmp_path, id="s1", **told)
    call(tmp_path, id="s2", tenant="acme", **told)
    rotate(tmp_path)
    call(tmp_path, id="s3", **told)
    call(tmp_path, id="other", principal="bob")
    found = json.loads(find(value).out)
    assert [each["session"] for each in found["calls"]] == ["s1", "s2", "s3"]
    one = json.loads(find(value, "--only-tenant", "acme").out)
    assert [each["session"] for each in one["calls"]] == ["s2"]


@pytest.mark.parametrize("subject", ["principal:" + ALICE, "principal:" + DESK])
@pytest.mark.parametrize("tenant", [None, "acme"])
def test_a_suspension_by_name_holds_in_every_tenant_and_under_every_key(
    tmp_path: Path, cli: Cli, subject: str, tenant: str | None
) -> None:
    """Also in a tenant that had made no call before."""
    told: dict[str, Any] = {"tenant": tenant, "delegation": [{"sub": DESK}]}
    assert call(tmp_path) == "done"
    cli("suspend", subject, "--reason", "x")
    assert call(tmp_path, **told) == "denied.suspended"
    rotate(tmp_path)
    assert call(tmp_path, **told) == "denied.suspended"
    assert call(tmp_path, principal="bob", tenant=tenant) == "done"
    assert cli("resume", subject).code == Exit.YES
    assert call(tmp_path, **told) == "done"


@pytest.mark.parametrize("first", FORMS)
def test_a_suspension_holds_and_can_be_ended_if_the_form_changes(
    tmp_path: Path, cli: Cli, first: str
) -> None:
    second = FORMS[FORMS.index(first) - 1]
    write(tmp_path, first)
    assert call(tmp_path, first) == "done"
    cli("suspend", f"principal:{ALICE}", "--reason", "x")
    write(tmp_path, second)
    for form in FORMS:
        assert call(tmp_path, form) == "denied.suspended"
    assert cli("resume", f"principal:{ALICE}").code == Exit.YES
    for form in FORMS:
        assert call(tmp_path, form) == "done"


def test_a_name_that_is_suspended_in_no_form_is_not_resumed(tmp_path: Path, cli: Cli) -> None:
    assert call(tmp_path) == "done"
    cli("suspend", "principal:bob", "--reason", "x")
    assert cli("resume", f"principal:{ALICE}").code == Exit.UNKNOWN
    assert cli("resume", "agent:bot").code == Exit.UNKNOWN


@pytest.mark.parametrize("form", FORMS)
def test_the_access_log_has_subjects_in_the_form_of_the_records(
    tmp_path: Path, cli: Cli, form: str
) -> None:
    """Also those that are mistyped; agents and tools stay in the clear."""
    write(tmp_path, form)
    assert call(tmp_path, form) == "done"
    for command in (("suspend", "--reason", "x"), ("resume",)):
        for subject in (f"principal:{ALICE}", ALICE, f"Principal:{ALICE}", f"user: {ALICE}"):
            cli(*command, subject)
        for subject in ("agent:bot", "tool:pay", "all"):
            assert cli(*command, subject).code == Exit.YES
    reads = records(tmp_path / "audit.access.db", "access.read")
    asked = [each["selector"]["subject"] for each in reads]
    assert asked[4:7] == asked[11:] == ["agent:bot", "tool:pay", "all"]
    assert asked[:4] == asked[7:11]
    if form == "clear":
        assert asked[0] == f"principal:{ALICE}"
        return
    keys = Keys.load(tmp_path / "audit.access.keys").tenant("default")
    assert asked[0] == "principal:" + keys.token("principal", ALICE)
    assert all(each.startswith("gr1:principal:") for each in asked[1:4])
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert ALICE.encode() not in path.read_bytes(), path
    cli("resume", asked[0])
    assert (
        records(tmp_path / "audit.access.db", "access.read")[-1]["selector"]["subject"] == asked[0]
    )


@pytest.mark.parametrize("form", FORMS)
def test_the_sessions_of_a_principal_are_listed_under_every_key_and_in_every_tenant(
    form: str, tmp_path: Path, cli: Cli
) -> None:
    """Also if the settings changed since, and without the sessions of others. A token belongs to
    one spelling.
    """
    for session, who, tenant in (
        ("s1", ALICE, "acme"),
        ("s2", "bob", "acme"),
        ("s3", ALICE, "globex"),
    ):
        assert call(tmp_path, form, id=session, principal=who, tenant=tenant) == "done"
        if form == "token":
            rotate(tmp_path)
    other = next(each for each in FORMS if each != form)
    assert call(tmp_path, other, id="s4", principal=ALICE, tenant="acme") == "done"
    found = json.loads(cli("sessions", f"principal:{ALICE}", "--json").out)
    assert [each["session"] for each in found["sessions"]] == ["s1", "s3", "s4"]
    assert found["total"] == 3
    found = json.loads(cli("sessions", f"principal:{ALICE.upper()}", "--json").out)
    in_clear = ["s1", "s3"] if form == "clear" else ["s4"]
    assert [each["session"] for each in found["sessions"]] == in_clear
    limited = json.loads(cli("sessions", f"principal:{ALICE}", "--limit", "1", "--json").out)
    assert [each["session"] for each in limited["sessions"]] == ["s4"]
    assert limited["total"] == 3
    assert len(json.loads(cli("sessions", "agent:bot", "--json").out)["sessions"]) == 4


def test_the_access_log_has_the_subject_of_sessions_as_records_have_it(
    tmp_path: Path, cli: Cli
) -> None:
    assert call(tmp_path) == "done"
    assert cli("sessions", f"principal:{ALICE}").code == Exit.YES
    listed = cli("access", "--json").out
    assert "gr1:principal:" in listed
    assert ALICE not in listed


def test_sessions_says_if_tokens_can_not_be_compared(tmp_path: Path, cli: Cli) -> None:
    assert call(tmp_path) == "done"
    assert cli("export", "--jsonl", "-o", "copy.jsonl").code == Exit.YES
    ran = cli("sessions", f"principal:{ALICE}", "--export", "copy.jsonl")
    assert "ids recorded as tokens are not compared: the records come from a file" in ran.err
    assert "No session of this subject" in ran.err
    (tmp_path / "audit.keys").rename(tmp_path / "away")
    ran = cli("sessions", f"principal:{ALICE}")
    assert "ids recorded as tokens are not compared: the keys can't be read" in ran.err


@pytest.mark.parametrize("subject", ["tool:pay", "all", "alice", "principal:"])
def test_sessions_refuses_other_subjects(subject: str, tmp_path: Path, cli: Cli) -> None:
    assert call(tmp_path) == "done"
    ran = cli("sessions", subject)
    assert ran.code == Exit.USAGE
    assert "guardrail sessions" in ran.err
