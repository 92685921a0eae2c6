"""A path to a ledger that was mistyped: nothing is made there, and what may have been meant is
named.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from guardrail.ledger.sqlite.signs import has_ledger_header, ledgers_near, was_ledger
from tests.support.command_line import Cli

COMMANDS = [
    ("sessions",),
    ("show", "last"),
    ("verify",),
    ("doctor",),
    ("keys",),
    ("access",),
    ("approvals",),
    ("checkpoint",),
    ("prove", "0"),
    ("backup", "copy.db"),
    ("retention", "status"),
    ("retention", "run"),
    ("policy", "reload"),
    ("recover", "--yes", "--reason", "x"),
]


@pytest.fixture
def project(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project, and files in it that are no ledger."""
    assert cli("init", tmp_path).code == 0
    (tmp_path / "empty.db").touch()
    (tmp_path / "notes.db").write_text("not a database")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def files(folder: Path) -> dict[str, bytes]:
    """Return every file below *folder* that no reader of the project's own ledger makes."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.endswith(("-shm", "-wal"))
    }


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_mistyped_ledger_leaves_nothing_and_names_the_one_that_is_there(
    cli: Cli, project: Path, command: tuple[str, ...]
) -> None:
    """No access log, no keys, no new log, nothing set aside; the next step leads to the ledger."""
    before = files(project)
    for path in (
        "audti.db",
        "audit/ledger",  # whose keys would be called as those of ledger.db are
        "audit/ledger.sqlite",
        "audit",
        "guardrail.toml",
        "empty.db",
        "notes.db",
        "nosuch/ledger.db",
        "policies",
    ):
        ran = cli(*command, "--ledger", path)
        assert ran.code not in {0, 4, 5}, path
        assert files(project) == before, path
        if path == "audit":
            assert "next:  repeat the command with --ledger audit/ledger.db" in ran.err
        elif command != ("doctor",):
            assert (
                "next:  repeat the command with --ledger audit/ledger.db, or without --ledger"
                in ran.err
            )
        elif path in {"audti.db", "nosuch/ledger.db"}:
            assert f"there is no ledger at {project / path}" in " ".join(ran.out.split())


def test_without_settings_the_most_similar_name_is_shown(
    cli: Cli, project: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Among ledgers alone; and if there is none, how one comes to be."""
    folder = tmp_path_factory.mktemp("copies")
    for name in ("agents.db", "nightly.db", "agent.access.db"):
        shutil.copy(project / "audit" / "ledger.db", folder / name)
    (folder / "agentt.db").write_text("not a database")
    (project / "guardrail.toml").unlink()
    (project / "audit" / "ledger.db").unlink()
    ran = cli("sessions", "--ledger", folder / "agent.db")
    assert f"with --ledger {folder / 'agents.db'}: that ledger exists" in ran.err
    ran = cli("sessions", "--ledger", folder / "agents.access.db")
    assert f"with --ledger {folder / 'agent.access.db'}: that ledger exists" in ran.err
    ran = cli("sessions", "--ledger", folder / "nosuch" / "agent.db")
    assert "next:  guardrail init creates a project" in ran.err


def test_a_ledger_that_is_gone_is_not_called_mistyped(cli: Cli, project: Path) -> None:
    """Its lock and its keys are there: what is left of it decides, and reading it is recorded."""
    assert cli("sessions").code == 0
    (project / "audit" / "ledger.db").rename(project / "away.db")
    ran = cli("sessions", "--ledger", "audit/ledger.db")
    assert "next:  guardrail doctor" in ran.err
    (project / "audit" / "ledger.db").write_text("overwritten")
    ran = cli("sessions")
    assert "not a guardrail ledger" in ran.err
    assert cli("recover", "--dry-run").code == 1


def test_signs_of_a_ledger_are_told_without_opening_it(project: Path) -> None:
    """By its header, its lock or its keys; a folder, a FIFO or a file of another program is
    none.
    """
    import os

    os.mkfifo(project / "fifo.db")
    assert has_ledger_header(project / "audit" / "ledger.db")
    for name in ("empty.db", "notes.db", "fifo.db", "policies", "none.db", "guardrail.toml"):
        assert not has_ledger_header(project / name), name
        assert not was_ledger(project / name), name
    (project / "audit" / "ledger.db").unlink()
    assert was_ledger(project / "audit" / "ledger.db")
    assert ledgers_near(project / "x" / "ledger.db") == []


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_the_folder_of_a_log_is_not_taken_for_its_ledger(
    project: Path, cli: Cli, command: tuple[str, ...]
) -> None:
    """The hint names the ledger in it; nothing is created, moved or recovered."""
    shutil.copytree(project / "audit", project / "copied")
    before = files(project)
    done = cli(*command, "--ledger", "copied")
    assert done.code == 2
    assert "--ledger copied/ledger.db" in done.err
    assert files(project) == before


def test_a_mistyped_file_is_to_be_corrected_not_fetched_again(cli: Cli, project: Path) -> None:
    """A copy, an export, and the folder of a new copy: the next step fits what was named."""
    ran = cli("verify", "--backup", "nope.db")
    assert (ran.code, ran.out.startswith("MISSING")) == (3, True)
    assert "next:  correct the path of the file; guardrail backup FILE makes one" in ran.err
    ran = cli("verify", "--export", "nope")
    assert "next:  correct the path of the file; guardrail export makes an export" in ran.err
    ran = cli("backup", "nope/copy.db")
    assert f"the folder {project / 'nope'} does not exist" in ran.err
    assert f"next:  mkdir -p {project / 'nope'}, or choose another path" in ran.err
    assert not (project / "nope").exists()


def test_a_file_that_is_no_ledger_is_not_called_torn(cli: Cli, project: Path) -> None:
    """With its own word for people, and the same state for programs."""
    for option in ("--ledger", "--backup"):
        ran = cli("verify", option, "guardrail.toml")
        assert (ran.code, ran.out.splitlines()[0]) == (3, "NOT A LEDGER")
        assert "guardrail doctor" not in ran.err
    assert '"state": "torn"' in cli("verify", "--ledger", "guardrail.toml", "--json").out


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("proxy", "--upstream", "http://127.0.0.1:9"), 3),
        (("run", "--", "true"), 125),
        (("policy", "test"), 3),
        (("show", "last"), 3),
    ],
)
def test_a_command_in_the_wrong_folder_says_where_it_looked(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], code: int
) -> None:
    """And how to continue; a ledger that was named says nothing about the folder."""
    monkeypatch.chdir(tmp_path)
    ran = cli(*words)
    assert ran.code == code, ran.err
    assert f"no guardrail.toml in {tmp_path} or a parent folder" in ran.err
    assert "next:  change to your project's folder" in ran.err
    assert "guardrail init" in ran.err
    named = cli("show", "last", "--ledger", tmp_path / "none.db")
    assert "guardrail.toml in" not in named.err
