"""Folders for temporary files: those of a killed process are removed by the next one."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from guardrail.system.temporary import PREFIX, hold, remove_abandoned, temporary_folder


def folder_in(base: Path, name: str, *, mode: int = 0o700, owner: bool = True) -> Path:
    """Create a folder as a process would leave it that was killed."""
    folder = base / f"{PREFIX}{name}"
    folder.mkdir()
    folder.chmod(mode)
    (folder / "p.rego").write_text("package p\n")
    if owner:
        lock = hold(folder)
        assert lock is not None
        os.close(lock)
    return folder


def test_the_folder_of_a_killed_process_is_removed_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    left = folder_in(tmp_path, "01234567")
    with temporary_folder() as own:
        assert not left.exists()
        assert own.stat().st_mode & 0o777 == 0o700
        with temporary_folder() as second:
            assert {own, second} == set(tmp_path.iterdir())
    assert list(tmp_path.iterdir()) == []


def test_only_folders_of_ended_processes_of_this_user_are_removed(tmp_path: Path) -> None:
    """A folder in use, one that others can enter, one of something else, a link, and a file."""
    used = folder_in(tmp_path, "used0000")
    lock = hold(used)
    target = folder_in(tmp_path / "..", tmp_path.name.replace("-", "_")[-20:].rjust(20, "0"))
    kept = {
        used,
        folder_in(tmp_path, "open0000", mode=0o755),
        folder_in(tmp_path, "new00000", owner=False),
        folder_in(tmp_path, "NOT-OURS"),
        tmp_path / f"{PREFIX}link0000",
        tmp_path / f"{PREFIX}file0000",
    }
    (tmp_path / f"{PREFIX}link0000").symlink_to(target)
    (tmp_path / f"{PREFIX}file0000").write_text("x")
    gone = folder_in(tmp_path, "gone0000")
    remove_abandoned(tmp_path)
    assert set(tmp_path.iterdir()) == kept
    assert (target / "p.rego").exists()
    assert not gone.exists()
    assert lock is not None
    os.close(lock)
    remove_abandoned(tmp_path)
    assert set(tmp_path.iterdir()) == kept - {used}
