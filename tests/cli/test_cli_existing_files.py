"""Commands that make a file, a folder or a hold: what is there already stays, and the exit code is
the same everywhere.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from guardrail.cli.app import Exit
from tests.support.command_line import Cli

MADE = {
    "init": ("shop/guardrail.toml", ["init", "shop"]),
    "init: keys": ("shop/audit/ledger.keys", ["init", "shop"]),
    "init: a policy": ("shop/policies/mail.rego", ["init", "shop"]),
    "backup": ("copy.db", ["backup", "copy.db"]),
    "backup: a name of the ledger's own": (
        "audit/ledger.db-copy",
        ["backup", "audit/ledger.db-copy"],
    ),
    "export": ("lines", ["export", "--jsonl", "-o", "lines"]),
    "export: the head": ("head", ["export", "--jsonl", "-o", "new", "--head", "head"]),
    "prove": ("proof", ["prove", "0", "--out", "proof"]),
    "witness init": ("w.db", ["witness", "init", "--db", "w.db", "--key", "w", "--name", "w/1"]),
    "witness init: key": (
        "w.keys",
        ["witness", "init", "--db", "w2.db", "--key", "w.keys", "--name", "w/1"],
    ),
}


@pytest.fixture
def project(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project, and this folder is it."""
    monkeypatch.chdir(tmp_path)
    assert cli("init").code == 0
    return tmp_path


@pytest.mark.parametrize("case", MADE)
def test_what_is_there_already_stays_and_the_exit_code_is_that_of_wrong_use(
    cli: Cli, project: Path, case: str
) -> None:
    """One code for all commands: what was asked for can't be right, whatever the ledger holds."""
    name, args = MADE[case]
    there = project / name
    there.parent.mkdir(parents=True, exist_ok=True)
    if there.suffix == ".keys":
        there.mkdir()
        there = there / "something"
    there.write_text("mine")
    ran = cli(*args)
    assert (ran.code, ran.out) == (Exit.USAGE, "")
    assert there.read_text() == "mine"
    assert "error:" in ran.err
    assert "next:" in ran.err


def test_a_hold_that_stands_is_not_begun_again(cli: Cli, project: Path) -> None:
    """The name is taken, as a file would be; a hold that there is not can't be found."""
    assert project.is_dir()
    assert cli("hold", "add", "case-7", "--reason", "court").code == Exit.YES
    assert cli("hold", "add", "case-7", "--reason", "court").code == Exit.USAGE
    assert cli("hold", "release", "case-8", "--reason", "over").code == Exit.UNKNOWN
