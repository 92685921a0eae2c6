"""Commands in a folder that somebody sent: its settings start nothing and show no secret, and the
reason is said.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from guardrail import Guard
from guardrail.keys.log_key import Keys
from guardrail.policy.opa.program import find_opa
from tests.support.command_line import Cli
from tests.support.projects import new_project


@pytest.fixture
def sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a ledger, its keys, and settings whose signer leaves a mark; it is the current
    folder.
    """
    monkeypatch.chdir(new_project(tmp_path))
    with (
        Guard.open(policies="policies", ledger="audit.db") as guard,
        guard.session(principal="a", agent="b"),
    ):
        guard.call("f", {}, lambda: None)
    public = Keys.load(tmp_path / "audit.keys").public
    command = json.dumps(["sh", "-c", f"touch {tmp_path}/started"])
    (tmp_path / "guardrail.toml").write_text(
        f'[ledger]\npath = "audit.db"\n[keys]\nsigner = {command}\nsigner_public = "{public}"\n'
        f'[anchors]\nfile = "{tmp_path.parent}/{tmp_path.name}-heads"\n'
    )
    return tmp_path


@pytest.mark.parametrize(
    "line",
    [
        *("checkpoint", "prove 1", "anchor", "approve last", "hold add x", "seal", "backup b.db"),
        *("keys", "doctor", "verify", "policy reload", "recover --yes"),
    ],
)
def test_no_command_starts_a_signer_of_settings_that_were_found(
    sent: Path, cli: Cli, line: str
) -> None:
    """Whatever else the command answers."""
    cli(*line.split())
    assert not (sent / "started").exists()


def test_the_refusal_says_why_and_what_to_do(sent: Path, cli: Cli) -> None:
    """And the named file is used."""
    ran = cli("checkpoint")
    assert ran.code != 0
    assert "[keys] signer is ignored" in ran.err
    assert "--config" in ran.err
    assert not (sent / "started").exists()
    cli("checkpoint", "--config", sent / "guardrail.toml")
    assert (sent / "started").exists()


def test_the_environment_names_settings_by_their_whole_path(
    sent: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative path would be another file in each folder."""
    monkeypatch.setenv("GUARDRAIL_CONFIG", "guardrail.toml")
    cli("checkpoint")
    assert not (sent / "started").exists()
    monkeypatch.setenv("GUARDRAIL_CONFIG", str(sent / "guardrail.toml"))
    cli("checkpoint")
    assert (sent / "started").exists()


def test_no_secret_goes_to_a_server_of_settings_that_were_found(sent: Path, cli: Cli) -> None:
    """A token file of this user, sent to whoever the settings name."""
    token = sent / "token"
    token.write_text("secret")
    token.chmod(0o600)
    (sent / "guardrail.toml").write_text(
        '[policy]\nengine = "opa"\n[opa]\nurl = "http://127.0.0.1:1"\ntoken_file ='
        f' "{token}"\nrevisions = ["x"]\n'
    )
    ran = cli("doctor")
    assert "token_file, cert or key is ignored" in " ".join(ran.out.split())
    ran = cli("policy", "push")
    assert "token_file, cert or key is ignored" in ran.err


def test_opa_is_started_by_its_whole_path_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name relative to the current folder is another program in each."""
    program = tmp_path / "opa"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    for environment in (
        {"GUARDRAIL_OPA": "opa", "PATH": ""},
        {"GUARDRAIL_OPA": "./opa", "PATH": ""},
        {"PATH": "."},
        {"PATH": os.pathsep},
    ):
        assert find_opa(environment) is None
    for environment in ({"GUARDRAIL_OPA": str(program), "PATH": ""}, {"PATH": str(tmp_path)}):
        found = find_opa(environment)
        assert found is not None
        assert found.path == program
