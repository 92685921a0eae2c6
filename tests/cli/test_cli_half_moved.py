"""A log of which a move left a part in the old folder: every answer says what to move."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from guardrail import Guard
from guardrail.errors import LedgerOpenError
from guardrail.ledger.half_moved import left_behind
from tests.support.command_line import Cli

ALLOW = 'package guardrail.policy\n\nallow contains "any" if input.resource.type == "tool"\n'


@pytest.fixture
def project(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose log and access log are in the root, with an empty folder ``audit`` and
    settings that name it.
    """
    folder = tmp_path / "shop"
    (folder / "policies").mkdir(parents=True)
    (folder / "policies" / "all.rego").write_text(ALLOW)
    monkeypatch.chdir(folder)
    with Guard.open(policies="policies", ledger="audit.db") as guard, guard.session(principal="a"):
        guard.call("x", {}, lambda: None)
    assert cli("sessions", "--ledger", "audit.db").code == 0
    (folder / "audit").mkdir(mode=0o700)
    (folder / "guardrail.toml").write_text('[ledger]\npath = "audit/audit.db"\n')
    return folder


def move(folder: Path, *names: str) -> None:
    for name in names:
        shutil.move(folder / name, folder / "audit" / name)


def fix_of(out: str, check: str) -> str:
    """Return the fix that ``doctor`` printed for *check*, on one line."""
    lines = out.splitlines()
    begin = next(n for n, line in enumerate(lines) if line.split()[1:2] == [check])
    rest = [line.strip() for line in lines[begin + 1 :]]
    end = next(n for n, line in enumerate(rest) if line.startswith(("ok ", "fail ", "note ")))
    return " ".join(rest[:end]).partition("fix: ")[2]


def test_keys_that_were_left_behind_are_to_be_moved_not_recovered(cli: Cli, project: Path) -> None:
    """In the program, in ``doctor`` and in ``recover``, with the names of all remaining files."""
    move(project, *(each.name for each in project.glob("audit.db*")))
    with pytest.raises(LedgerOpenError) as caught:
        Guard.open("guardrail.toml")
    assert caught.value.code == "ledger.half"
    hint = caught.value.hint
    assert hint.startswith(f"move the remaining files from {project} to {project / 'audit'}: ")
    assert {"audit.keys", "audit.access.db", "audit.access.keys"} <= set(
        hint.partition(": ")[2].split(", ")
    )
    looked = cli("doctor")
    for check in ("keys", "opening", "access"):
        assert fix_of(looked.out, check) == hint
    planned = cli("recover", "--dry-run").out
    assert "Instead, move the remaining files" in planned
    assert "new keys are created" not in planned


def test_a_database_that_was_left_behind_is_to_be_moved(cli: Cli, project: Path) -> None:
    """No command suggests reading it where it is, or an answer of another command."""
    move(project, "audit.keys")
    for command in (("sessions",), ("verify",), ("keys",)):
        ran = cli(*command)
        assert ran.code == 3
        assert "next:  move the remaining files from" in ran.err
        assert "audit.db" in ran.err.partition("move the remaining")[2]
    with pytest.raises(LedgerOpenError) as caught:
        Guard.open("guardrail.toml")
    assert caught.value.hint.startswith("move the remaining files from")


def test_a_second_access_log_does_not_hide_the_one_that_was_left_behind(
    cli: Cli, project: Path
) -> None:
    """The read is not recorded, and both the command and ``doctor`` say what to move."""
    move(project, *(each.name for each in project.glob("audit.db*")), "audit.keys")
    ran = cli("sessions")
    assert ran.code == 0
    assert "the access log of this ledger is still in a different folder" in ran.err
    assert "audit.access.db" in ran.err.partition("move the remaining files")[2]
    assert not (project / "audit" / "audit.access.db").exists()
    assert fix_of(cli("doctor").out, "access").startswith("move the remaining files")
    move(project, *(each.name for each in project.glob("audit.access.*")))
    assert left_behind(project / "audit" / "audit.db") == ()
    assert cli("sessions").err == ""
    assert cli("doctor").code == 0


def test_keys_of_another_access_log_are_a_matter_of_the_access_settings(
    cli: Cli, project: Path
) -> None:
    """Not of ``[keys] path``, which names the keys of the ledger."""
    move(project, *(each.name for each in project.glob("audit.*")))
    with Guard.open(policies="policies", ledger="other.db"):
        pass
    assert cli("sessions", "--ledger", "other.db").code == 0
    shutil.rmtree(project / "audit" / "audit.access.keys")
    shutil.copytree(project / "other.access.keys", project / "audit" / "audit.access.keys")
    hint = cli("sessions").err
    assert "[access] keys" in hint
    assert "[keys] path" not in hint


KILLED = """
import os
from guardrail import Guard
guard = Guard.open(policies="policies", ledger="audit.db")
with guard.session(principal="a"):
    guard.call("x", {}, lambda: None)
os.kill(os.getpid(), 9)
"""


def test_a_database_without_its_wal_is_refused_although_it_opens(cli: Cli, project: Path) -> None:
    """The newest records are in the file that was left behind, even if a reader has made an empty
    one; they are there again once it is moved.
    """
    assert subprocess.run([sys.executable, "-c", KILLED], check=False).returncode == -9
    count = len(cli("export", "--jsonl", "--ledger", "audit.db").out.splitlines())
    move(project, "audit.db", "audit.keys")
    told = " ".join(cli("verify").out.split())
    assert "audit.db-wal was not moved with this ledger" in told
    with pytest.raises(LedgerOpenError) as caught:
        Guard.open("guardrail.toml")
    assert caught.value.code == "ledger.half"
    assert "audit.db-wal" in caught.value.hint
    assert fix_of(cli("doctor").out, "opening") == caught.value.hint
    assert caught.value.hint in cli("recover", "--dry-run").err
    for each in project.glob("audit.db-*"):
        os.rename(each, project / "audit" / each.name)
    with Guard.open("guardrail.toml"):
        pass
    assert len(cli("export", "--jsonl").out.splitlines()) > count


@pytest.mark.parametrize(
    "settings", ['[ledger]\npath = "audit.db"\n', ""], ids=["old path", "default"]
)
def test_a_log_that_was_moved_without_setting_its_path_is_found(
    cli: Cli, project: Path, settings: str
) -> None:
    """No second log begins, and every answer names the path to set."""
    move(project, *(each.name for each in project.glob("audit.*")))
    (project / "guardrail.toml").write_text(settings)
    before = sorted(project.rglob("*"))
    with pytest.raises(LedgerOpenError) as caught:
        Guard.open("guardrail.toml")
    assert caught.value.code == "ledger.earlier"
    assert 'path = "audit/audit.db"' in caught.value.hint
    assert fix_of(cli("doctor").out, "folder") == caught.value.hint
    assert cli("recover", "--dry-run").code == 3
    assert "audit/audit.db" in cli("verify").err
    (project / "guardrail.toml").rename(project / "kept")
    assert cli("init", ".").code in (2, 3)
    (project / "kept").rename(project / "guardrail.toml")
    assert sorted(project.rglob("*")) == before
    (project / "guardrail.toml").write_text('[ledger]\npath = "audit/audit.db"\n')
    with Guard.open("guardrail.toml"):
        pass


def test_a_log_that_was_moved_out_of_its_folder_is_found(
    project: Path,
) -> None:
    """Unless this machine remembers another log at the old path, which is then missing."""
    for each in project.glob("audit.*"):
        shutil.rmtree(each) if each.is_dir() else each.unlink()
    (project / "guardrail.toml").write_text('[anchors]\nmemory = "heads"\n')
    with Guard.open("guardrail.toml"):
        pass
    for each in (project / "audit").iterdir():
        os.rename(each, project / each.name)
    with pytest.raises(LedgerOpenError) as caught:
        Guard.open("guardrail.toml")
    assert caught.value.code == "ledger.earlier"
    assert 'path = "ledger.db"' in caught.value.hint
    for each in project.glob("ledger.*"):
        shutil.rmtree(each) if each.is_dir() else each.unlink()
    with Guard.open(policies="policies", ledger="ledger.db"):
        pass
    with pytest.raises(LedgerOpenError) as caught:
        Guard.open("guardrail.toml")
    assert caught.value.code == "ledger.missing"


def test_a_log_of_the_same_name_in_the_folder_above_is_another_log(tmp_path: Path) -> None:
    """Nor is a file that only tells the state of a process a part that was left behind."""
    inner = tmp_path / "audit"
    inner.mkdir()
    for name in ("audit.db", "audit.keys"):
        (tmp_path / name).touch()
    (inner / "audit.db").touch()
    assert left_behind(inner / "audit.db") == ()
    os.unlink(tmp_path / "audit.db")
    assert left_behind(inner / "audit.db") == (tmp_path / "audit.keys",)
    os.rename(tmp_path / "audit.keys", tmp_path / "audit.db-lock")
    assert left_behind(inner / "audit.db") == ()
    assert left_behind(tmp_path / "none" / "audit.db") == ()
