"""Offsets of time zones: transitions, names that are no zones, and zone data that changes."""

from __future__ import annotations

import shutil
import sys
import zoneinfo
from collections.abc import Iterator
from pathlib import Path

import pytest

from guardrail.system.zones import ZoneTable, is_zone, known_zones


@pytest.mark.parametrize(
    ("zone", "moment", "before", "after"),
    [
        ("Europe/Berlin", "2026-03-29T01:00:00", 3600, 7200),
        ("Europe/Berlin", "2026-10-25T01:00:00", 7200, 3600),
        ("America/New_York", "2026-03-08T07:00:00", -18000, -14400),
        ("America/New_York", "2026-11-01T06:00:00", -14400, -18000),
        ("Australia/Lord_Howe", "2026-04-04T15:00:00", 39600, 37800),
        ("Pacific/Chatham", "2026-09-26T14:00:00", 45900, 49500),
    ],
)
def test_an_offset_changes_in_the_second_of_the_transition(
    zone: str, moment: str, before: int, after: int
) -> None:
    table = ZoneTable([zone])
    minute, second = divmod(int(moment[14:16]) * 60 + int(moment[17:19]) - 1, 60)
    hour, minute = divmod(int(moment[11:13]) * 60 + minute, 60)
    last = f"{moment[:11]}{hour:02}:{minute:02}:{second:02}.999999Z"
    assert table.at(last) == {zone: before}
    assert table.at(f"{moment}.000000Z") == {zone: after}
    assert table.at(last) == {zone: before}


def test_zones_without_daylight_saving_and_with_parts_of_hours() -> None:
    zones = {"Asia/Kathmandu": 20700, "Asia/Kolkata": 19800, "Etc/GMT+5": -18000, "UTC": 0}
    assert ZoneTable(zones).at("2026-07-01T00:00:00Z") == zones


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "../../etc/passwd",
        "/etc/localtime",
        "Europe",
        "Europe/",
        "Europe//Berlin",
        "Europe/../Europe/Berlin",
        "Europe/Berlin\0",
        "Europe/Berlin\n",
        "Europe/Bérlin",
        "Factory",
        "leapseconds",
        "localtime",
        "posix/Europe/Berlin",
        "posixrules",
        "right/Europe/Berlin",
        "tzdata.zi",
        "x" * 100_000,
    ],
)
def test_a_name_that_is_no_zone_is_never_read(name: str) -> None:
    assert not is_zone(name)
    assert name not in known_zones()
    assert ZoneTable([name, "UTC"]).at("2026-07-01T00:00:00Z") == {"UTC": 0}


@pytest.fixture
def zone_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with zone data instead of that of the machine."""
    monkeypatch.setitem(sys.modules, "tzdata", None)
    place = next(Path(folder) for folder in zoneinfo.TZPATH if Path(folder, "UTC").exists())
    folder = tmp_path / "zones"
    (folder / "Europe").mkdir(parents=True)
    shutil.copy(place / "Europe" / "Berlin", folder / "Europe" / "Berlin")
    shutil.copy(place / "Asia" / "Tokyo", tmp_path / "Tokyo")
    zoneinfo.reset_tzpath([folder])
    yield folder
    zoneinfo.reset_tzpath()


def test_new_zone_data_is_used_within_ten_minutes(zone_data: Path, tmp_path: Path) -> None:
    clock = [0.0]
    table = ZoneTable(["Europe/Berlin", "Europe/New"], clock=lambda: clock[0])
    moment = "2026-01-01T00:00:00Z"
    assert table.at(moment) == {"Europe/Berlin": 3600}
    (zone_data / "Europe" / "Berlin").unlink()
    shutil.copy(tmp_path / "Tokyo", zone_data / "Europe" / "New")
    clock[0] = 599.0
    assert table.at(moment) == {"Europe/Berlin": 3600}
    clock[0] = 600.0
    # The data of a zone whose file is gone stays in use.
    assert table.at(moment) == {"Europe/Berlin": 3600, "Europe/New": 32400}
    shutil.copy(tmp_path / "Tokyo", zone_data / "Europe" / "Berlin")
    clock[0] = 1200.0
    assert table.at(moment)["Europe/Berlin"] == 32400


def test_a_damaged_file_is_no_zone(zone_data: Path) -> None:
    raw = (zone_data / "Europe" / "Berlin").read_bytes()
    for content in (b"", b"TZif", raw[:60], b"x" * 50_000):
        (zone_data / "Europe" / "Berlin").write_bytes(content)
        assert not is_zone("Europe/Berlin")


def test_there_may_be_no_zone_data(zone_data: Path) -> None:
    shutil.rmtree(zone_data)
    assert not known_zones()
    assert ZoneTable(["Europe/Berlin"]).at("2026-07-01T00:00:00Z") == {}
