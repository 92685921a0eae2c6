"""On a full disk every command says so in plain words, and those that only read go on reading."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from guardrail import Guard
from guardrail.errors import GuardrailError
from tests.support.command_line import Cli, command, environment
from tests.support.full_disk import fill, small_disk

SIZE = "16m"
READING = (
    ("sessions",),
    ("show", "last"),
    ("why", "last"),
    ("verify",),
    ("checkpoint",),
    ("keys",),
    ("approvals",),
    ("access",),
    ("retention", "status"),
    ("recover", "--dry-run"),
    ("doctor",),
)
WRITING = (
    ("init", "{disk}/other"),
    ("backup", "{disk}/copy.db"),
    ("export", "--jsonl", "-o", "{disk}/lines"),
    ("prove", "1", "--out", "{disk}/proof"),
    ("policy", "bundle", "-o", "{disk}/bundle.tar.gz"),
    ("witness", "init", "--db", "{disk}/w.db", "--key", "{disk}/w", "--name", "w/1"),
    ("seal",),
    ("archive",),
    ("retention", "run"),
    ("prune", "--policy", "--reason", "old"),
    ("hold", "add", "case-7", "--reason", "court"),
    ("policy", "reload"),
)


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project with some calls, on a volume on which nothing is free any more."""

    with small_disk(tmp_path_factory.mktemp("full") / "disk", SIZE) as disk:
        for args in (("init", disk), ("sessions", "--ledger", disk / "audit" / "ledger.db")):
            subprocess.run(
                command(*args), env=environment(), cwd=disk, check=True, capture_output=True
            )
        with (
            Guard.open(disk / "guardrail.toml") as guard,
            guard.session(principal="a@example.com", agent="bot"),
            pytest.raises(GuardrailError),
        ):
            guard.call("unknown", {}, run=lambda: "x")
        for left in disk.rglob("*-shm"):
            left.unlink()
        fill(disk / "filler")
        yield disk


def plain(text: str, disk: Path) -> None:
    """Make sure that *text* is in words: with the file and both figures, and no name of an
    error.
    """
    assert "SQLITE_" not in text
    assert "No space left on device" not in text
    assert "free" in text
    assert "needed" in text
    assert str(disk) in text


@pytest.mark.parametrize("args", READING, ids=" ".join)
def test_a_command_that_reads_goes_on_and_says_that_nobody_could_record_it(
    process: Cli, full: Path, args: tuple[str, ...]
) -> None:
    """The ledger is read as it stands, also if SQLite's shared memory can't be made; the access log
    is named as such.
    """
    ran = process(*args, cwd=full)
    assert ran.out or "no calls are waiting" in ran.err
    assert ran.code == (1 if args == ("doctor",) else 5 if args == ("verify",) else 0)
    warning = next(line for line in ran.err.splitlines() if line.startswith("warning:"))
    assert (
        f"not recorded in the access log {full / 'audit' / 'ledger.access.db'}: the disk is full"
        in warning
    )
    plain(warning, full)
    assert "ledger can't be opened" not in ran.err
    assert f"next:  make room on that disk: df -h {full / 'audit'}" in ran.err


@pytest.mark.parametrize("args", WRITING, ids=" ".join)
def test_a_command_that_writes_says_that_the_disk_is_full_and_leaves_nothing(
    process: Cli, full: Path, args: tuple[str, ...]
) -> None:
    """With the file, what is free and what is needed; half a file is taken away."""
    before = {path.name for path in full.rglob("*")}
    ran = process(*(arg.format(disk=full) for arg in args), cwd=full)
    assert (ran.code, ran.out) == (3, "")
    if args[0] == "archive":  # no archive is set: that is said first
        return
    error = next(line for line in ran.err.splitlines() if line.startswith("error:"))
    if args[0] == "witness":
        assert "the disk is full" in error
        return
    plain(error, full)
    left = {path.name for path in full.rglob("*")} - before
    assert not [name for name in left if not name.startswith("ledger.")]


def test_a_guard_that_opens_on_a_full_disk_has_the_documented_code(full: Path) -> None:
    """The same code as in a running guard; nothing is wrong with the ledger."""
    with pytest.raises(GuardrailError) as caught:
        Guard.open(full / "guardrail.toml")
    assert caught.value.code == "ledger.reserve"
    plain(caught.value.message, full)
    assert "make room" in caught.value.hint


def test_doctor_and_recover_say_that_room_is_what_is_missing(process: Cli, full: Path) -> None:
    """Neither says that a guard opens here, or that nothing has to be done."""
    ran = process("doctor", cwd=full)
    assert "a guard can open this ledger" not in ran.out
    assert "the disk is full" in ran.out
    ran = process("recover", "--dry-run", cwd=full)
    assert "There is nothing to do" not in ran.out
    assert "the disk is full" in ran.out.replace("\n", " ")


def test_with_a_megabyte_of_room_commands_record_their_reading_again(
    tmp_path: Path, process: Cli
) -> None:
    """What the message says is needed is enough."""
    with small_disk(tmp_path / "disk", SIZE) as disk:
        assert process("init", cwd=disk).code == 0
        assert process("sessions", cwd=disk).err.startswith("No sessions yet")
        fill(disk / "filler")
        assert "the disk is full" in process("keys", cwd=disk).err
        with (disk / "filler").open("r+b") as filler:
            filler.truncate((disk / "filler").stat().st_size - (1 << 20))
        assert shutil.disk_usage(disk).free <= 1 << 20
        assert "warning" not in process("keys", cwd=disk).err


@pytest.mark.parametrize("kilobytes", [8, 40, 100])
def test_a_new_log_for_which_there_is_no_room_leaves_no_keys(
    process: Cli, tmp_path: Path, kilobytes: int
) -> None:
    """They would look like those of a lost log. Once there is room, the log and the access log are
    created.
    """
    with small_disk(tmp_path / "disk", "6m") as disk:
        (disk / "policies").mkdir()
        (disk / "policies" / "p.rego").write_text("package guardrail.policy\n")
        config = disk / "guardrail.toml"
        config.write_text("[ledger]\nreserve_mb = 1\n")
        fill(disk / "filler")
        with (disk / "filler").open("r+b") as filler:
            filler.truncate((disk / "filler").stat().st_size - kilobytes * 1024)
        with pytest.raises(GuardrailError) as caught:
            Guard.open(config)
        assert caught.value.code in {"ledger.reserve", "keys.create", "ledger.folder"}
        assert "recover" not in caught.value.hint
        (disk / "filler").unlink()
        with Guard.open(config):
            pass
        fill(disk / "filler")
        assert "the disk is full" in process("sessions", "--config", config).err
        (disk / "filler").unlink()
        ran = process("sessions", "--config", config)
        assert ran.code == 0
        assert "not recorded" not in ran.err
