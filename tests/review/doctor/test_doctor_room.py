"""What doctor says about the room on the ledger's disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from guardrail.config import Settings
from guardrail.ledger.files import reserve_path
from guardrail.review.doctor.result import CheckState
from guardrail.review.doctor.room import LEAST_MB, room
from tests.support.full_disk import small_disk
from tests.support.ledgers import FAST, driven, make, note


def at(folder: Path, **ledger: int) -> Settings:
    return Settings().override(ledger={"path": folder / "a.db", **ledger})


def test_a_disk_with_room_is_well(tmp_path: Path) -> None:
    """What is free is said."""
    check = room(at(tmp_path, warn_free_mb=LEAST_MB))
    assert check.state is CheckState.OK
    assert "MB free" in check.found


def test_less_than_is_to_be_free_is_a_note(tmp_path: Path) -> None:
    """With what to do about it."""
    check = room(at(tmp_path, warn_free_mb=10_000_000))
    assert (check.state, bool(check.fix)) == (CheckState.NOTE, True)


def test_a_disk_that_is_nearly_full_fails(tmp_path: Path) -> None:
    """Whatever the settings warn about."""
    with small_disk(tmp_path / "disk", "20m") as disk:
        check = room(at(disk, warn_free_mb=0))
        assert check.state is CheckState.FAIL
        assert "4 MB are needed before a guard accepts calls" in check.found


def test_a_reserve_that_was_given_back_fails_while_someone_uses_the_ledger(tmp_path: Path) -> None:
    """Calls are refused then; nobody's reserve is missed where nobody writes."""
    settings = at(tmp_path, warn_free_mb=0, reserve_mb=1)
    with make(settings.ledger.path, replace(FAST, reserve=1 << 20)) as writer:
        writer.append(note())
    assert room(settings).state is CheckState.OK
    with driven(settings.ledger.path):
        check = room(settings)
        assert (check.state, "refused" in check.found) == (CheckState.FAIL, True)
        reserve_path(settings.ledger.path).write_bytes(b"x" * (1 << 20))
        assert room(settings).state is CheckState.OK


def test_the_disk_of_a_folder_that_a_guard_would_create_is_measured(tmp_path: Path) -> None:
    """A folder that no guard can create is reported by the check of the folder."""
    assert room(at(tmp_path / "no", warn_free_mb=LEAST_MB)).state is CheckState.OK
    (tmp_path / "file").touch()
    assert room(at(tmp_path / "file" / "no")).state is CheckState.UNKNOWN


def test_a_folder_in_place_of_the_reserve_fails(tmp_path: Path) -> None:
    """A guard would open, but refuse every call."""
    (tmp_path / "a.db").touch()
    reserve_path(tmp_path / "a.db").mkdir()
    check = room(at(tmp_path))
    assert check.state is CheckState.FAIL
    assert "calls are refused" in check.found
    assert "move it away" in check.fix
    assert room(at(tmp_path, reserve_mb=0)).state is not CheckState.FAIL
