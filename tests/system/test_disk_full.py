"""A disk without room is told in plain words: for which file, how much is free, and how much is
needed.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path

import pytest

from guardrail.system.disk import WORK, is_full, make_room, no_room, sized, why_not_written
from tests.support.full_disk import fill, small_disk


def test_a_full_disk_is_told_with_file_and_figures(tmp_path: Path) -> None:
    """In the words of the system there is neither."""
    with small_disk(tmp_path / "disk", "2m") as disk:
        error = fill(disk / "filler")
        path = disk / "below" / "audit.db"
        assert is_full(error, path)
        figures = "4.0 MB are needed, 0.0 MB are free"
        assert (
            no_room(path, 4 << 20) == f"the disk is full: there is no room for {path} ({figures})"
        )
        assert why_not_written(error, path, 4 << 20) == f"the disk is full: {figures}"
        assert why_not_written(error, path, 12_000, most=True).endswith(
            "up to 12 KB are needed, 0.0 MB are free"
        )
        assert why_not_written(error, path) == "the disk is full: 0.0 MB are free"
        assert make_room(path) == f"make room on that disk: df -h {disk}"


def test_a_disk_without_another_inode_is_told_as_such(tmp_path: Path) -> None:
    """There are bytes enough, and no name for a new file."""
    with small_disk(tmp_path / "disk", "8m,nr_inodes=3") as disk:
        for number in range(2):
            (disk / str(number)).touch()
        with pytest.raises(OSError, match="No space left on device") as caught:
            (disk / "more").mkdir()
        path = disk / "audit.db"
        assert is_full(caught.value, path)
        assert "the disk accepts no more files" in no_room(path, WORK)
        assert make_room(path) == f"make room on that disk: df -i {disk}"


def test_a_quota_is_not_taken_for_a_full_disk(tmp_path: Path) -> None:
    """Much is free, and this user may not have it."""
    error = OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))
    assert is_full(error, tmp_path)
    assert why_not_written(error, tmp_path / "x", 1).startswith(
        "a quota or a file size limit was reached: "
    )


def test_other_reasons_stay_what_the_system_says(tmp_path: Path) -> None:
    """Only a full disk and missing rights are told in other words."""
    error = OSError(errno.EIO, os.strerror(errno.EIO))
    assert why_not_written(error, tmp_path / "x") == "Input/output error"
    denied = OSError(errno.EACCES, os.strerror(errno.EACCES))
    assert f"{tmp_path / 'x'} can't be opened by user " in why_not_written(denied, tmp_path / "x")
    unknown = sqlite3.OperationalError("x")
    unknown.sqlite_errorname = "SQLITE_CANTOPEN"
    assert not is_full(unknown, tmp_path / "x")
    assert not is_full(ValueError("x"), tmp_path / "x")


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        (0, "0.0 MB"),
        (1, "1 KB"),
        (12_000, "12 KB"),
        (200 << 10, "0.2 MB"),
        (4 << 20, "4.0 MB"),
        (3 << 30, "3.0 GB"),
    ],
)
def test_a_size_has_the_unit_in_which_it_can_be_read(size: int, shown: str) -> None:
    """Never 0.0 for something."""
    assert sized(size) == shown
