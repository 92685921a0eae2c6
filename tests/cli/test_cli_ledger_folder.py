"""The folder of a ledger: everything about a log is in it, it is private, and no second log begins
next to an older one.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from guardrail import Guard
from guardrail.errors import LedgerOpenError
from guardrail.ledger.reader import LedgerReader
from tests.support.command_line import Ran, environment
from tests.support.other_users import AGENT, command, needs_root, open_folder, python

Cli = Callable[..., Ran]
ALLOW = 'package guardrail.policy\n\nallow contains "any" if input.resource.type == "tool"\n'
OPEN = """
from pathlib import Path
from guardrail.config import Settings
from guardrail.wiring.opening import open_journal
open_journal(Settings.load(Path("guardrail.toml")), epochs=True)[0].close()
print("opened")
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with policies and without settings; it is the current folder."""
    folder = tmp_path / "shop"
    (folder / "policies").mkdir(parents=True)
    (folder / "policies" / "all.rego").write_text(ALLOW)
    monkeypatch.chdir(folder)
    return folder


def call(**where: object) -> None:
    """Open a guard, make a call, close it."""
    with Guard.open(**where) as guard, guard.session(principal="alice"):  # type: ignore[arg-type]
        guard.call("x", {}, lambda: None)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def old_log(folder: Path) -> None:
    """Create a log as versions without the folder did."""
    call(policies="policies", ledger="audit.db")
    assert {"audit.db", "audit.keys"} <= names(folder)


def test_whatever_belongs_to_a_log_is_in_one_folder(cli: Cli, project: Path) -> None:
    """Reading and closing segments leave nothing next to it, and only its owner gets in."""
    os.umask(0o022)
    call(policies="policies")
    assert cli("sessions").code == 0
    assert cli("seal").code == 0
    call(policies="policies")
    assert names(project) == {"policies", "audit"}
    assert stat.S_IMODE((project / "audit").stat().st_mode) == 0o700
    inside = names(project / "audit")
    assert {"ledger.db", "ledger.keys", "ledger.access.db", "ledger.access.keys"} <= inside
    assert {"ledger.db-lock", "ledger.db-leases", "ledger.db-segments"} <= inside
    assert all(name.startswith("ledger.") for name in inside)


def test_the_name_of_the_folder_is_on_the_disk_before_its_log_is(project: Path) -> None:
    """A loss of power may not take the folder of acknowledged records with it."""
    program = (
        "import os\n"
        "real, synced = os.fsync, []\n"
        "def fsync(descriptor):\n"
        "    real(descriptor)\n"
        "    path = os.readlink(f'/proc/self/fd/{descriptor}')\n"
        "    synced.append((path, os.path.exists('a/audit/ledger.db')))\n"
        "os.fsync = fsync\n"
        "from guardrail import Guard\n"
        "Guard.open(policies='policies', ledger='a/audit/ledger.db').close()\n"
        "early = [path for path, made in synced if not made]\n"
        "print(os.path.realpath('.') in early, os.path.realpath('a') in early)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program],
        cwd=project,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.stdout == "True True\n", ran.stderr


def test_an_existing_folder_is_used_as_it_is(project: Path) -> None:
    """Whoever prepared it, with a mode or as another disk, decided that."""
    (project / "audit").mkdir(mode=0o750)
    call(policies="policies")
    assert stat.S_IMODE((project / "audit").stat().st_mode) == 0o750


@pytest.mark.parametrize(
    ("plant", "code", "found"),
    [
        (lambda path: path.write_text("mine"), "ledger.folder", "is not a folder"),
        (lambda path: os.mkfifo(path), "ledger.folder", "is not a folder"),
        (lambda path: path.symlink_to("nowhere"), "ledger.linked", "symbolic link"),
        (lambda path: path.symlink_to("audit"), "ledger.linked", "symbolic link"),
        (lambda path: path.symlink_to("../outside"), "ledger.linked", "symbolic link"),
    ],
    ids=["file", "pipe", "dangling link", "circle", "link to a folder"],
)
def test_what_is_in_the_place_of_the_folder_is_named(
    cli: Cli, project: Path, plant: Callable[[Path], object], code: str, found: str
) -> None:
    """By a guard, by ``init`` and by ``doctor``; nothing is written where a link leads."""
    outside = project.parent / "outside"
    outside.mkdir()
    plant(project / "audit")
    with pytest.raises(LedgerOpenError, match=found) as caught:
        Guard.open(policies="policies")
    assert (caught.value.code, bool(caught.value.hint)) == (code, True)
    (project / "policies").rename(project / "rules")
    ran = cli("init", ".")
    assert ran.code in (2, 3)
    assert found in " ".join(ran.err.split())
    assert names(project) == {"rules", "audit"}
    assert cli("doctor").code == 1
    assert cli("sessions").code == 3
    assert list(outside.iterdir()) == []


def test_a_log_behind_a_link_goes_on(project: Path) -> None:
    """Its folder was moved to another disk; only a new log is not created behind a link."""
    call(policies="policies")
    (project / "audit").rename(project.parent / "disk")
    (project / "audit").symlink_to("../disk")
    call(policies="policies")
    with LedgerReader.open(project / "audit" / "ledger.db") as reader:
        assert reader.size() > 10


# -- a log that an earlier version created in the root ---------------------------------------------


@pytest.mark.parametrize("left", ["all", "keys", "lock"])
def test_no_second_log_begins_next_to_one_in_the_root(cli: Cli, project: Path, left: str) -> None:
    """Nor if only its keys or its lock are left; the log, and what to do, are named."""
    old_log(project)
    for path in project.glob("audit*"):
        if left != "all" and not path.name.endswith(left):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    before = names(project)
    with pytest.raises(
        LedgerOpenError, match=("audit\\.db is a log that an earlier version created")
    ) as caught:
        Guard.open(policies="policies")
    assert caught.value.code == "ledger.earlier"
    assert 'path = "audit.db" under [ledger]' in caught.value.hint
    assert "docs/moving.md" in caught.value.hint
    ran = cli("init", ".")
    assert ran.code == 3
    assert "create guardrail.toml with path" in " ".join(ran.err.split())
    assert "audit.db is a log that an earlier version created" in " ".join(ran.err.split())
    found = " ".join(cli("doctor").out.split())
    assert "audit.db is a log that an earlier version created" in found
    assert names(project) == before


def test_reading_names_the_log_in_the_root(cli: Cli, project: Path) -> None:
    """It is not called a missing one, and ``recover`` begins none."""
    old_log(project)
    for line in ("sessions", "verify", "recover --yes --reason x"):
        ran = cli(*line.split())
        assert ran.code == 3, ran
        assert "audit.db" in ran.err, line
    assert not (project / "audit").exists()
    assert cli("sessions", "--ledger", "audit.db").code == 0


def test_a_setting_goes_on_with_the_log_in_the_root(
    cli: Cli, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In guardrail.toml, by the environment, or from the program."""
    old_log(project)
    call(policies="policies", ledger="audit.db")
    (project / "guardrail.toml").write_text('[ledger]\npath = "audit.db"\n')
    call(config="guardrail.toml")
    assert cli("sessions").code == 0
    (project / "guardrail.toml").unlink()
    monkeypatch.setenv("GUARDRAIL_LEDGER", "audit.db")
    call(policies="policies")
    assert not (project / "audit").exists()


def test_settings_with_todays_default_do_not_hide_the_log_in_the_root(project: Path) -> None:
    """A new guardrail.toml that came with a pull names the new place; the old log is there."""
    old_log(project)
    (project / "guardrail.toml").write_text('[ledger]\npath = "audit/ledger.db"\n')
    with pytest.raises(LedgerOpenError) as caught:
        Guard.open("guardrail.toml")
    assert caught.value.code == "ledger.earlier"


def test_a_file_of_another_program_is_no_log(cli: Cli, project: Path) -> None:
    """Its name alone says nothing, and a log that was created in the folder stays in use."""
    (project / "audit.db").write_text("of another program")
    call(policies="policies")
    (project / "audit.db").unlink()
    old_log(project)
    call(policies="policies")
    assert cli("sessions").code == 0


# -- init ------------------------------------------------------------------------------------------


def test_init_takes_an_empty_folder_and_makes_it_private(cli: Cli, tmp_path: Path) -> None:
    """An empty folder holds nothing that could be overwritten."""
    (tmp_path / "audit").mkdir()
    (tmp_path / "audit").chmod(0o755)
    assert cli("init", tmp_path).code == 0
    assert stat.S_IMODE((tmp_path / "audit").stat().st_mode) == 0o700


def test_init_takes_no_folder_that_is_in_use(cli: Cli, tmp_path: Path) -> None:
    """A package of that name would be kept out of the repository, with a ledger in its middle."""
    (tmp_path / "audit").mkdir()
    (tmp_path / "audit" / "__init__.py").touch()
    ran = cli("init", tmp_path)
    assert ran.code == 2
    assert "already contains __init__.py" in " ".join(ran.err.split())
    assert names(tmp_path) == {"audit"}


def test_init_twice_changes_nothing(cli: Cli, tmp_path: Path) -> None:
    """The second one says that this is a project."""
    assert cli("init", tmp_path).code == 0
    before = (tmp_path / "audit" / "ledger.db").read_bytes()
    ran = cli("init", tmp_path)
    assert (ran.code, "it is a project" in " ".join(ran.err.split())) == (2, True)
    assert (tmp_path / "audit" / "ledger.db").read_bytes() == before


def test_init_in_a_project_looks_for_the_ledger_that_its_settings_name(
    cli: Cli, project: Path
) -> None:
    """With that ledger there, no program has to make one; nothing is made at the default place."""
    (project / "guardrail.toml").write_text('[ledger]\npath = "var/log.db"\n')
    assert "create the keys and the ledger" in " ".join(cli("init", ".").err.split())
    call(config="guardrail.toml")
    ran = cli("init", ".")
    assert ran.code == 2
    assert "create the keys and the ledger" not in " ".join(ran.err.split())
    assert not (project / "audit").exists()


def test_the_folder_is_kept_out_of_a_repository(cli: Cli, tmp_path: Path) -> None:
    """As git itself sees it, also if lines for it were there and were taken back."""
    git = shutil.which("git")
    if git is None:
        pytest.skip("NOT RUN: no git")
    (tmp_path / ".gitignore").write_text("/audit/\n!/audit/\n")
    assert cli("init", tmp_path).code == 0
    subprocess.run([git, "init", "-q"], cwd=tmp_path, check=True, capture_output=True)
    told = subprocess.run(
        [git, "status", "--porcelain", "-uall"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert "guardrail.toml" in told
    assert "audit/" not in told


# -- permissions -----------------------------------------------------------------------------------


@needs_root
def test_who_may_not_enter_the_folder_is_told_whose_it_is() -> None:
    """Another user's guard, commands and ``init``: none says that there is no ledger."""
    with open_folder() as folder:
        (folder / "policies").mkdir()
        (folder / "policies" / "all.rego").write_text(ALLOW)
        (folder / "guardrail.toml").write_text("[anchors]\nmemory = false\n")
        assert python(0, OPEN, cwd=folder) == (0, "opened\n")
        for line in ("sessions", "verify", "export --jsonl", "recover --dry-run", "keys", "anchor"):
            code, told = command(AGENT, *line.split(), cwd=folder)
            words = " ".join(told.split())
            assert code in (1, 3), (line, told)
            assert "belongs to root (mode 700)" in words, (line, told)
            assert "guardrail init" not in words, (line, told)
        code, told = command(AGENT, "doctor", cwd=folder)
        assert code in (1, 3), told
        assert "Traceback" not in told
        code, told = python(AGENT, OPEN, cwd=folder)
        assert (code, "belongs to root (mode 700)" in told) == (1, True), told


@needs_root
def test_a_folder_of_another_user_is_not_taken_by_init() -> None:
    """Its owner could replace the ledger and the keys in it."""
    with open_folder() as folder:
        (folder / "audit").mkdir()
        os.chown(folder / "audit", AGENT, AGENT)
        code, told = command(0, "init", ".", cwd=folder)
        assert code == 2, told
        assert "could replace the ledger and the keys in it" in " ".join(told.split())
        assert names(folder) == {"audit"}


@needs_root
def test_a_folder_of_another_user_is_not_taken_by_a_guard() -> None:
    """As by ``init``: a guard creates no log there, and ``doctor`` says the same."""
    with open_folder() as folder:
        (folder / "policies").mkdir()
        (folder / "policies" / "all.rego").write_text(ALLOW)
        (folder / "guardrail.toml").write_text("[anchors]\nmemory = false\n")
        (folder / "audit").mkdir()
        os.chown(folder / "audit", AGENT, AGENT)
        code, told = python(0, OPEN, cwd=folder)
        assert (code, "could replace the ledger and the keys" in told) == (1, True), told
        assert names(folder / "audit") == set()
        code, told = command(0, "doctor", cwd=folder)
        assert "could replace the ledger and the keys" in " ".join(told.split()), told


@pytest.mark.parametrize("made", ["before", "after"])
def test_a_folder_that_everyone_can_write_to_is_not_used(
    cli: Cli, project: Path, made: str
) -> None:
    """Neither for a new log nor for one that is there."""
    if made == "after":
        call(policies="policies")
    else:
        (project / "audit").mkdir()
    (project / "audit").chmod(0o777)
    with pytest.raises(LedgerOpenError, match="everyone can write to it") as caught:
        call(policies="policies")
    assert caught.value.code == "ledger.folder"
    assert "could replace the ledger" in " ".join(str(cli("doctor")).split())
    (project / "audit").chmod(0o700)
    call(policies="policies")


@needs_root
def test_a_project_that_can_not_be_written_gets_no_folder() -> None:
    """The folder above it is named, with its owner."""
    with open_folder() as folder:
        (folder / "policies").mkdir()
        (folder / "policies" / "all.rego").write_text(ALLOW)
        (folder / "guardrail.toml").write_text("[anchors]\nmemory = false\n")
        code, told = python(AGENT, OPEN, cwd=folder)
        assert code == 1
        assert "belongs to root (mode 755)" in told, told
        assert "[ledger.permission]" in told or "permission denied" in told
