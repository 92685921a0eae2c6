"""Files of a ledger belong to whom the ledger belongs, and a missing right is named with owner and
fix.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from guardrail.system.ownership import find_denial, new_file, new_folder, open_or_make
from tests.support.other_users import AGENT, command, needs_root, open_folder, python, strangers

MAKE = """
from guardrail.config import Settings
from guardrail.wiring.opening import open_journal
from pathlib import Path
journal, _ = open_journal(Settings.load(Path("guardrail.toml")), epochs=True)
journal.admin("admin.start", {})
journal.close()
print("made")
"""
SETTINGS = """
[ledger]
path = "home/audit.db"
reserve_mb = 1
[anchors]
file = "heads/heads.jsonl"
memory = "memory/of/heads"
heartbeat_s = 0
[retention]
segments = "copies"
archive = "archive/of/copies"
"""


@pytest.fixture
def project() -> Iterator[Path]:
    """A folder in which the agent's user has made a ledger, and from which root can't tell what it
    made itself.
    """
    with open_folder() as folder:
        (folder / "guardrail.toml").write_text(SETTINGS)
        for name in ("home", "heads"):
            (folder / name).mkdir()
            os.chown(folder / name, AGENT, AGENT)
        assert python(AGENT, MAKE, cwd=folder) == (0, "made\n")
        yield folder


def forget(home: Path) -> None:
    """Remove what a program makes again where it is missing."""
    (home / "audit.db-lock").unlink()
    shutil.rmtree(home / "audit.db-leases")


@needs_root
@pytest.mark.parametrize(
    "commands",
    [
        [["verify"]],
        [["sessions"], ["export", "--jsonl"]],
        [["seal", "--reason", "nightly"], ["archive", "--reason", "nightly"]],
        [["retention", "run", "--reason", "nightly"]],
        [["anchor"], ["checkpoint"]],
        [["hold", "add", "case-1", "--reason", "asked"]],
        [["doctor"]],
    ],
)
def test_what_root_runs_leaves_nothing_that_the_agents_user_cannot_open(
    project: Path, commands: list[list[str]]
) -> None:
    forget(project / "home")
    for each in commands:
        code, told = command(0, *each, cwd=project)
        assert code in (0, 1, 5), told
    left = [each for each in strangers(project, AGENT) if not each.startswith("guardrail.toml")]
    assert left == []
    code, told = python(AGENT, MAKE, cwd=project)
    assert (code, told) == (0, "made\n")
    code, told = command(AGENT, "sessions", cwd=project)
    assert code == 0, told
    assert "warning" not in told, told


@needs_root
def test_a_ledger_that_root_recovers_is_still_the_agents(project: Path) -> None:
    db = project / "home" / "audit.db"
    with db.open("r+b") as out:
        out.seek(4096)
        out.write(b"\xff" * 4096)
    forget(project / "home")
    code, told = command(0, "recover", "--yes", "--reason", "torn", cwd=project)
    assert code in (0, 5), told
    assert strangers(project / "home", AGENT) == []
    assert python(AGENT, MAKE, cwd=project)[0] == 0


@needs_root
def test_a_ledger_of_another_user_is_refused_with_its_owner_and_the_fix(project: Path) -> None:
    home = project / "home"
    for each in (home, *home.rglob("*")):
        os.chown(each, 0, 0)
    home.chmod(0o755)
    code = """
import os
os.umask(0)
from guardrail.config import Settings
from guardrail.errors import GuardrailError
from guardrail.wiring.opening import open_journal
from pathlib import Path
try:
    open_journal(Settings.load(Path("guardrail.toml")), epochs=True)
except GuardrailError as error:
    print(error.code, error.message, error.hint, sep="|")
"""
    _, told = python(AGENT, code, cwd=project)
    name, what, hint = told.strip().split("|")
    assert name == "ledger.permission"
    assert "belongs to root" in what
    assert str(home) in what
    assert "sudo -u root" in hint
    for each in (
        ["show", "last"],
        ["sessions"],
        ["export", "--jsonl"],
        ["verify"],
        ["keys"],
        ["approvals"],
    ):
        code_, told = command(AGENT, *each, cwd=project)
        assert code_ == 3, told
        # The length of the path decides where a sentence is wrapped.
        assert f"{home}/audit.db belongs to root (mode 600)" in " ".join(told.split()), told
        assert "SQLITE" not in told


@needs_root
@pytest.mark.parametrize(
    "given",
    [
        ["sessions", "--ledger"],
        ["verify", "--ledger"],
        ["recover", "--dry-run", "--ledger"],
        ["verify", "--config"],
        ["show", "last", "--export"],
        ["verify", "--export"],
        ["verify", "--checkpoint"],
        ["verify", "--key"],
        ["check-proof", "--key", "0" * 64],
        ["policy", "check", "--tools"],
        ["prune", "--policy", "--reason", "x", "--checkpoint"],
    ],
)
def test_a_file_on_the_command_line_that_this_user_can_not_read_is_named_with_its_owner(
    project: Path, given: list[str]
) -> None:
    """Not as a mistake in the command line, and with the command that makes it readable."""
    (project / "policies").mkdir()
    (project / "policies" / "all.rego").write_text("package guardrail.policy\n")
    secret = project / "roots.file"
    secret.write_text("x")
    secret.chmod(0o600)
    code, told = command(AGENT, *given, str(secret), cwd=project)
    words = " ".join(told.split())
    assert code == 3, told
    assert f"{secret} belongs to root (mode 600)" in words, told
    assert f"sudo chown nobody {secret}" in words or "sudo -u root" in words, told
    assert "guardrail init" not in words


@needs_root
def test_recover_leaves_alone_what_this_user_can_not_read(project: Path) -> None:
    """Nothing is wrong with the file, so it is not set aside, nor is a new log begun."""
    db = project / "home" / "audit.db"
    os.chown(db, 0, 0)
    db.chmod(0o600)
    before = db.stat().st_ino
    code, told = command(AGENT, "recover", "--yes", "--reason", "it fails", cwd=project)
    assert code == 3, told
    assert f"permission denied: {db} belongs to root" in told, told
    assert "sudo chown" in told, told
    assert db.stat().st_ino == before
    assert not list(db.parent.glob("*broken*"))


@needs_root
@pytest.mark.parametrize(
    "left",
    ["audit.db-lock", "audit.db-leases", "audit.db-wal", "audit.db-shm", "audit.keys/log.key"],
)
def test_one_file_that_root_left_is_named_with_the_command_that_gives_it_back(
    project: Path, left: str
) -> None:
    place = project / "home" / left
    place.touch(mode=0o600)
    os.chown(place, 0, 0)
    code, told = command(AGENT, "hold", "add", "case", "--reason", "asked", cwd=project)
    assert code == 3, told
    assert f"{place} belongs to root" in told, told
    assert "sudo chown" in told, told
    assert told.strip().endswith(str(place)), told


@needs_root
def test_what_stands_where_a_file_is_to_be_made_is_never_given_away(tmp_path: Path) -> None:
    ledger = tmp_path / "audit.db"
    ledger.touch()
    os.chown(ledger, AGENT, AGENT)
    secret = tmp_path / "secret"
    secret.touch()
    os.close(open_or_make(secret, ledger, flags=os.O_RDWR))
    assert secret.stat().st_uid == 0
    (tmp_path / "link").symlink_to(secret)
    with pytest.raises(OSError, match="symbolic link"):
        open_or_make(tmp_path / "link", ledger, flags=os.O_RDWR)
    with pytest.raises(FileExistsError):
        new_file(secret, ledger)
    full = tmp_path / "full"
    full.mkdir()
    new_folder(full, ledger)
    assert full.stat().st_uid == 0
    os.close(open_or_make(tmp_path / "fresh", ledger, flags=os.O_RDWR))
    assert (tmp_path / "fresh").stat().st_uid == AGENT


def test_without_a_ledger_what_is_made_belongs_to_this_user(tmp_path: Path) -> None:
    os.close(new_file(tmp_path / "file", tmp_path / "audit.db"))
    new_folder(tmp_path / "a" / "b", None)
    assert (tmp_path / "file").stat().st_uid == os.geteuid()
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700
    (tmp_path / "plain").touch()
    with pytest.raises(FileExistsError):
        new_folder(tmp_path / "plain", None)
    assert find_denial([tmp_path / "file", tmp_path / "missing"]) is None


RESERVE = """
from pathlib import Path
from guardrail.config import Settings
from guardrail.ledger.reserve import Reserve
from guardrail.review.doctor.room import room
settings = Settings.load(Path("guardrail.toml"))
reserve = Reserve(settings.ledger.path, 1 << 20)
if not reserve.try_take():
    print(*reserve.obstacle)
check = room(settings)
print(check.state.value, check.found, check.fix)
"""


@needs_root
def test_a_reserve_that_this_user_can_not_make_is_no_full_disk(project: Path) -> None:
    """The error and ``doctor`` name the folder of somebody else, and the command that gives it
    back.
    """
    home = project / "home"
    (home / "audit.db-reserve").unlink(missing_ok=True)
    home.chmod(0o755)
    os.chown(home, 0, 0)
    code, told = python(AGENT, RESERVE, cwd=project)
    assert code == 0, told
    for line in told.splitlines():
        assert f"{home} belongs to root (mode 755)" in line
        assert "sudo chown" in line
    assert len(told.splitlines()) == 2
    assert "fail" in told
    os.chown(home, AGENT, AGENT)
    _, told = python(AGENT, RESERVE, cwd=project)
    assert "belongs to" not in told
