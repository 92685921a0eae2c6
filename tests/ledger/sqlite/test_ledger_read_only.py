"""A ledger beside which nothing can be written is read by every command that reads."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from guardrail.errors import LedgerOpenError
from guardrail.ledger.reader import LedgerReader
from guardrail.ledger.sqlite import read_only
from tests.support.full_disk import small_disk
from tests.support.ledgers import driven, make, note

COMMANDS = [
    ["verify"],
    ["sessions"],
    ["show", "0"],
    ["export", "--jsonl"],
    ["keys"],
    ["approvals"],
    ["checkpoint"],
    ["backup", "copy.db"],
]


def ran(command: list[str], db: Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command on *db*, as a user would."""
    start = "from guardrail.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", start, *command, "--ledger", str(db)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("wal", [False, True], ids=["a bare file", "with its -wal"])
def test_commands_that_read_work_on_a_read_only_mount(tmp_path: Path, wal: bool) -> None:
    with small_disk(tmp_path / "disk", "8m") as disk:
        with driven(tmp_path / "a.db") as driver:
            assert "ok" in driver.ask("call")
            driver.kill()
        if not wal:
            with sqlite3.connect(tmp_path / "a.db") as connection:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            connection.close()
        for suffix in ("", "-wal") if wal else ("",):
            shutil.copy(tmp_path / f"a.db{suffix}", disk / f"a.db{suffix}")
        with LedgerReader.open(tmp_path / "a.db") as reader:
            size = reader.size()
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        for command in COMMANDS:
            done = ran(command, disk / "a.db", tmp_path)
            assert done.returncode in (0, 5), (command, done.stdout, done.stderr)
        with LedgerReader.open(disk / "a.db") as reader, reader.snapshot():
            assert reader.size() == size
        with LedgerReader.open(tmp_path / "copy.db") as reader:
            assert reader.size() == size


def test_the_private_copy_that_is_read_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if it is asked again after it was closed."""
    db = standing(tmp_path, monkeypatch, wal=True)
    reader = LedgerReader.open(db)
    assert len(list((tmp_path / "tmp").iterdir())) == 1
    reader.close()
    assert list((tmp_path / "tmp").iterdir()) == []
    assert reader.size() > 0
    del reader
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_ledger_that_is_written_meanwhile_is_not_read_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is read without shared memory may be half of a commit."""
    db = standing(tmp_path, monkeypatch, wal=False)
    with LedgerReader.open(db) as reader:
        assert reader.size() > 0
        with db.open("ab") as out:
            out.write(b"\0" * 4096)
        with pytest.raises(LedgerOpenError, match="another user is writing") as caught:
            reader.size()
    assert caught.value.code == "ledger.unreadable"


def standing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, wal: bool) -> Path:
    """A ledger in a folder that this process may not write to; root may write to any, and is told
    otherwise.
    """
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    with make(tmp_path / "a.db") as writer:
        writer.append(note())
        folder = tmp_path / "folder"
        folder.mkdir()
        for suffix in ("", "-wal") if wal else ("",):
            shutil.copy(tmp_path / f"a.db{suffix}", folder / f"a.db{suffix}")
    # A link to itself in the place of the -shm is what SQLite can't open, whoever runs this.
    (folder / "a.db-shm").symlink_to("a.db-shm")
    access = os.access
    monkeypatch.setattr(
        read_only.os,
        "access",
        lambda path, mode, **how: (
            not (path == folder and mode & os.W_OK) and access(path, mode, **how)
        ),
    )
    return folder / "a.db"
