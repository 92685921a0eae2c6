"""guardrail keys rotate and retire, as a user runs them."""

from __future__ import annotations

import base64
import io
import json
import sys
from pathlib import Path

import pytest

from guardrail.keys.log_key import Keys
from tests.support.command_line import Cli
from tests.support.guards import OPEN, guarded, records

BOB = "bob@example.com"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a ledger and settings, which is the current one."""
    call(tmp_path)
    (tmp_path / "guardrail.toml").write_text(
        '[ledger]\npath = "audit.db"\n[review]\nindex = "index"\n'
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(folder: Path) -> None:
    with guarded(folder) as guard, guard.session(principal="alice"):
        guard.declare("send", schema=OPEN)
        guard.call("send", {"to": BOB}, lambda **_: 1)


def test_values_are_found_before_and_after_a_rotation(
    project: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under every live key. What was destroyed is named."""
    before = Keys.load(project / "audit.keys").secrets.epoch
    ran = cli("keys", "rotate", "--reason", "yearly", "--json")
    assert ran.code == 0
    assert json.loads(ran.out)["previous"] == before.kid
    call(project)

    def found() -> dict[str, object]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(BOB.encode())))
        answer: dict[str, object] = json.loads(cli("find", "--value", "-", "--json").out)
        return answer

    assert found()["records"] == 2
    ran = cli("keys", "retire", "--reason", "yearly")
    assert ran.code == 5
    assert f"kept  {before.kid}  record 2 names it" in ran.out.replace("kept   ", "kept  ")
    assert "[keys] lookup_days after it was replaced" in ran.err
    ran = cli("keys", "retire", "--reason", "yearly", "--json")
    assert json.loads(ran.out)["kept"][0]["key"] == before.kid
    assert found()["records"] == 2


def test_a_key_that_no_record_names_is_destroyed(project: Path, cli: Cli) -> None:
    """With the next step for backups."""
    assert cli("keys", "rotate", "--reason", "one").code == 0
    unused = Keys.load(project / "audit.keys").secrets.epoch.kid
    assert cli("keys", "rotate", "--reason", "two").code == 0
    ran = cli("keys", "retire", "--reason", "three")
    assert f"destroyed  {unused}" in ran.out
    assert "backups" in ran.err
    (record,) = records(project / "audit.db", "admin.token_key_destroyed")
    assert record["detail"] == {"token_key": unused, "rule": "unnamed", "reason": "three"}
    assert record["actor"]["id"]
    assert cli("verify").code == 5  # not anchored


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["keys", "rotate"], "a reason"),
        (["keys", "retire"], "a reason"),
        (["keys", "--reason", "x"], "only guardrail keys rotate"),
        (["keys", "melt"], "melt"),
    ],
)
def test_wrong_uses_change_nothing(project: Path, cli: Cli, words: list[str], text: str) -> None:
    """They are usage errors."""
    before = (project / "audit.keys" / "tokens.key").read_bytes()
    ran = cli(*words)
    assert ran.code == 2
    assert text in ran.err
    assert (project / "audit.keys" / "tokens.key").read_bytes() == before


def test_exposed_keys_are_not_rotated(project: Path, cli: Cli) -> None:
    """With the command that mends it."""
    (project / "audit.keys" / "tokens.key").chmod(0o644)
    ran = cli("keys", "rotate", "--reason", "x")
    assert ran.code == 3
    assert "chmod 600" in ran.err


def test_no_command_shows_or_writes_a_key(project: Path, cli: Cli) -> None:
    """Outside of the key folders."""
    shown = b""
    for words in (
        ["keys", "rotate", "--reason", "a"],
        ["keys", "rotate", "--reason", "b", "--json"],
        ["keys"],
        ["keys", "--json"],
        ["show", "last"],
        ["doctor"],
        ["access"],
        ["index"],
        ["export", "--jsonl", "-o", "out.jsonl"],
        ["keys", "retire", "--reason", "c"],
        ["keys", "retire", "--reason", "d", "--json"],
    ):
        ran = cli(*words)
        shown += (ran.out + ran.err).encode()
    secrets = Keys.load(project / "audit.keys").secrets
    files = [
        path for path in project.rglob("*") if path.is_file() and path.parent.suffix != ".keys"
    ]
    assert len(files) > 4
    written = [shown, *(path.read_bytes() for path in files)]
    for key in (secrets.master, *(each.key for each in secrets.epochs)):
        forms = (key, key.hex().encode(), base64.b64encode(key)[:42], repr(key)[2:40].encode())
        assert not any(form in data for form in forms for data in written)
