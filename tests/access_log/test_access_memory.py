"""The access log that belongs to a ledger: one that was removed, cut or exchanged is noticed."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from guardrail.access_log.log import PlannedRead, RecordedRead, UnrecordedRead, record_read
from guardrail.access_log.memory import LOST, AccessMemory
from guardrail.config import Settings
from guardrail.errors import AccessError
from guardrail.review.doctor.access import access_log
from guardrail.review.doctor.result import CheckState
from tests.support.access_log import accesses, ledger


def files(settings: Settings) -> list[Path]:
    """Return every file of the access log, and the folder of its keys."""
    found = settings.ledger.path.parent.glob("audit.access.*")
    return sorted(each for each in found if not each.name.endswith(("-wal", "-shm")))


def remove(settings: Settings, _: Path) -> None:
    for path in settings.ledger.path.parent.glob("audit.access.*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def exchange(settings: Settings, other: Path) -> None:
    other.mkdir()
    record_read(ledger(other), PlannedRead("show"))
    remove(settings, other)
    for path in other.glob("audit.access.*"):
        (shutil.copytree if path.is_dir() else shutil.copy)(
            path, settings.ledger.path.with_name(path.name)
        )


def go_back(settings: Settings, other: Path) -> None:
    shutil.copytree(settings.ledger.path.parent, other)
    record_read(settings, PlannedRead("show"))
    remove(settings, other)
    for path in other.glob("audit.access.*"):
        (shutil.copytree if path.is_dir() else shutil.copy)(
            path, settings.ledger.path.with_name(path.name)
        )


@pytest.mark.parametrize(
    ("change", "code"),
    [(remove, "access.missing"), (exchange, "access.replaced"), (go_back, "access.rolled_back")],
    ids=["removed", "exchanged", "cut"],
)
def test_an_access_log_that_is_not_the_one_that_was_here_is_noticed(
    tmp_path: Path, change: Callable[[Settings, Path], None], code: str
) -> None:
    """By who reads next, who is refused if every reading must be recorded, and by doctor; nothing
    is made in its place.
    """
    folder = tmp_path / "project"
    folder.mkdir()
    settings = ledger(folder)
    assert isinstance(record_read(settings, PlannedRead("show")), RecordedRead)
    assert isinstance(record_read(settings, PlannedRead("show")), RecordedRead)
    assert access_log(settings).state is CheckState.OK
    change(settings, tmp_path / "other")
    before = files(settings)
    size = len(accesses(settings.access_path))
    for _ in range(2):
        done = record_read(settings, PlannedRead("show"))
        assert isinstance(done, UnrecordedRead)
        assert done.code == code
        assert done.code in LOST
    with pytest.raises(AccessError):
        record_read(settings.override(access={"required": True}), PlannedRead("show"))
    assert access_log(settings).state is CheckState.FAIL
    assert files(settings) == before
    assert len(accesses(settings.access_path)) == size
    assert f"guardrail anchor forget {settings.access_path}" in done.hint
    assert AccessMemory(settings, settings.access_path).forget()
    assert isinstance(record_read(settings, PlannedRead("show")), RecordedRead)


def test_the_memory_on_this_machine_tells_it_too(tmp_path: Path) -> None:
    """Whoever removes what is remembered next to the ledger has not removed that."""
    folder = tmp_path / "project"
    folder.mkdir()
    settings = ledger(folder).override(anchors={"memory": tmp_path / "heads"})
    record_read(settings, PlannedRead("show"))
    remove(settings, folder)
    shutil.rmtree(folder / "audit.db-access")
    done = record_read(settings, PlannedRead("show"))
    assert isinstance(done, UnrecordedRead)
    assert done.code == "access.missing"


def test_a_memory_that_somebody_spoiled_is_said(tmp_path: Path) -> None:
    """It does not count as none."""
    settings = ledger(tmp_path)
    record_read(settings, PlannedRead("show"))
    (file,) = (tmp_path / "audit.db-access").iterdir()
    file.write_text("{}")
    done = record_read(settings, PlannedRead("show"))
    assert isinstance(done, UnrecordedRead)
    assert done.code == "access.memory"


def test_a_memory_that_somebody_locks_stops_no_reader(tmp_path: Path) -> None:
    """The record is there; what is remembered is older."""
    settings = ledger(tmp_path)
    record_read(settings, PlannedRead("show"))
    descriptor = os.open(tmp_path / "audit.db-access", os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    assert isinstance(record_read(settings, PlannedRead("show")), RecordedRead)
    os.close(descriptor)


def test_reading_the_access_log_itself_is_compared_as_well(tmp_path: Path) -> None:
    """It is read to find out who read."""
    settings = ledger(tmp_path)
    record_read(settings, PlannedRead("show"))
    itself = settings.override(
        ledger={"path": settings.access_path},
        access={"path": settings.access_path, "keys": settings.access_key_path},
    )
    assert isinstance(record_read(itself, PlannedRead("access")), RecordedRead)
    exchange(settings, tmp_path / "other")
    done = record_read(itself, PlannedRead("access"))
    assert isinstance(done, UnrecordedRead)
    assert done.code == "access.replaced"


def test_through_a_link_the_access_log_of_the_file_itself_is_used(tmp_path: Path) -> None:
    """Else whoever makes a link reads without a trace in it."""
    settings = ledger(tmp_path)
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "x.db").symlink_to(settings.ledger.path)
    linked = Settings().override(ledger={"path": tmp_path / "there" / "x.db"})
    done = record_read(linked, PlannedRead("show"))
    assert isinstance(done, RecordedRead)
    assert done.path == settings.access_path
    assert [each.name for each in (tmp_path / "there").iterdir()] == ["x.db"]
