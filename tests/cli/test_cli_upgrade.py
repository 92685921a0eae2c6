"""``guardrail upgrade``: a project of format 2 goes on in the current format, with all that belongs
to its ledger.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from guardrail import Guard
from guardrail.keys.log_key import Keys
from guardrail.ledger.sqlite.tables import SCHEMA
from guardrail.ledger.writing.writer import LedgerWriter
from tests.support.command_line import Cli
from tests.support.format2 import as_format_2
from tests.support.full_disk import fill, small_disk
from tests.support.ledgers import ACTOR
from tests.support.projects import new_project

SETTINGS = """
[ledger]
path = "audit.db"
reserve_mb = 1
"""
FILES = ("audit.db", "audit.access.db")


def age(folder: Path) -> None:
    for name in FILES:
        as_format_2(folder / name)


def use(folder: Path, calls: int = 3) -> None:
    """Make some calls with the settings of *folder*."""
    with Guard.open(folder / "guardrail.toml") as guard, guard.session(principal="alice"):
        for _ in range(calls):
            guard.call("f", {}, lambda: None)


def format_of(db: Path) -> int:
    with closing(sqlite3.connect(db)) as connection:
        found: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return found


def lines(db: Path) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(db)) as connection:
        return connection.execute("SELECT seq, leaf, line FROM record ORDER BY seq").fetchall()


def change(db: Path, *statements: str) -> None:
    with closing(sqlite3.connect(db, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def others(folder: Path) -> dict[str, bytes]:
    """Return the files that belong to the logs, except the databases and SQLite's own."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.endswith((".db", "-wal", "-shm"))
    }


@pytest.fixture
def project(tmp_path: Path, process: Cli, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose ledger and access log have format 2."""
    folder = new_project(tmp_path / "project", SETTINGS)
    use(folder)
    assert process("sessions", cwd=folder).code == 0
    age(folder)
    monkeypatch.chdir(folder)
    return folder


def test_a_ledger_and_its_access_log_are_upgraded_once(project: Path, cli: Cli) -> None:
    """Both go on with the same records; a second run says that nothing changed."""
    before = [lines(project / name) for name in FILES]
    ran = cli("upgrade")
    assert ran.code == 0
    assert [line.split(":")[0] for line in ran.out.splitlines()] == [
        f"upgraded  {project / name}" for name in FILES
    ]
    assert ran.err == "next:  guardrail verify\n"
    assert [lines(project / name) for name in FILES] == before
    assert [format_of(project / name) for name in FILES] == [3, 3]
    again = cli("upgrade")
    assert again.code == 0
    assert [line.split()[0] for line in again.out.splitlines()] == ["unchanged", "unchanged"]
    assert cli("verify").code == 5  # no anchor
    use(project)
    assert len(cli("sessions").out.splitlines()) == 3
    assert "not recorded" not in cli("sessions").err


def test_the_policies_and_the_keys_stay_with_the_ledger(project: Path, cli: Cli) -> None:
    """No file of the project changes except the two databases, and decisions can be derived
    again.
    """
    before = others(project)
    assert {Path(name).parts[0] for name in before} >= {
        "audit.db-policies",
        "audit.keys",
        "audit.access.keys",
    }
    assert cli("upgrade").code == 0
    assert others(project) == before
    ran = cli("rederive", "--json")
    assert ran.code == 0
    assert '"same": 3' in ran.out


def test_as_json_it_names_each_log(project: Path, cli: Cli) -> None:
    ran = cli("upgrade", "--json")
    found = json.loads(ran.out)["ledgers"]
    assert [(each["file"], each["changed"], each["format"]) for each in found] == [
        (str(project / name), True, 3) for name in FILES
    ]
    assert [each["records"] for each in found] == [len(lines(project / name)) for name in FILES]
    assert [each["changed"] for each in json.loads(cli("upgrade", "--json").out)["ledgers"]] == [
        False,
        False,
    ]


def test_an_upgrade_that_ended_between_the_two_logs_is_completed(project: Path, cli: Cli) -> None:
    """Until then, each read says that it is not recorded, and which command helps."""
    change(project / "audit.access.db", "PRAGMA user_version = 9")
    ran = cli("upgrade")
    assert ran.code == 3
    assert f"error: {project / 'audit.access.db'}: the ledger has format 9" in ran.err
    change(project / "audit.access.db", "PRAGMA user_version = 2")
    assert [format_of(project / name) for name in FILES] == [3, 2]
    ran = cli("sessions")
    assert ran.code == 0
    assert "not recorded in the access log" in ran.err
    assert "next:  guardrail upgrade\n" in ran.err
    ran = cli("upgrade")
    assert [line.split()[0] for line in ran.out.splitlines()] == ["unchanged", "upgraded"]
    assert "not recorded" not in cli("sessions").err


@pytest.mark.parametrize(
    "args",
    [
        ("sessions",), ("show", "last"), ("verify",), ("export", "--jsonl", "-o", "x"), ("keys",),
        ("recover", "--dry-run"), ("backup", "copy.db"), ("checkpoint",), ("seal",), ("access",),
        ("retention", "status"), ("prune", "--policy", "--reason", "old"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_every_command_says_that_the_ledger_must_be_upgraded(
    project: Path, cli: Cli, args: tuple[str, ...]
) -> None:
    ran = cli(*args)
    assert ran.code == 3
    assert "has format 2" in ran.err + ran.out
    if args != ("verify",):
        assert "next:  guardrail upgrade\n" in ran.err
    assert [format_of(project / name) for name in FILES] == [2, 2]


@pytest.mark.parametrize(
    ("number", "says", "hint"),
    [
        (9, "the ledger has format 9; this version of guardrail supports 3", "pip install"),
        (1, "the ledger has format 1, which was never released", "keep it, and begin"),
        (0, "the ledger has no format number", ""),
    ],
)
def test_another_format_is_refused_with_a_hint(
    project: Path, cli: Cli, number: int, says: str, hint: str
) -> None:
    change(project / "audit.db", f"PRAGMA user_version = {number}")
    before = lines(project / "audit.db")
    ran = cli("upgrade")
    assert (ran.code, ran.out) == (3, "")
    assert f"error: {project / 'audit.db'}: {says}" in ran.err
    assert hint in ran.err
    assert lines(project / "audit.db") == before
    assert [format_of(project / name) for name in FILES] == [number, 2]


@pytest.mark.parametrize("name", FILES)
def test_a_log_in_use_is_refused(project: Path, cli: Cli, name: str) -> None:
    """The error names the log that is in use."""
    assert cli("upgrade").code == 0
    db = project / name
    signing = Keys.load(db.with_suffix(".keys")).signing(actor=ACTOR, epochs=True)
    with LedgerWriter.open(db, signing=signing):
        ran = cli("upgrade")
    assert (ran.code, ran.out) == (3, "")
    assert f"error: {db}: 1 process has this ledger open" in ran.err
    assert "next:  stop these processes first" in ran.err


def test_an_edited_record_is_found_after_the_upgrade(project: Path, cli: Cli) -> None:
    """The upgrade changes no line, and tells people to verify the ledger."""
    change(
        project / "audit.db",
        "DROP TRIGGER record_no_update",
        "UPDATE record SET line = replace(line, 'alice', 'mallory') WHERE seq = 3",
        SCHEMA["record_no_update"],
    )
    before = lines(project / "audit.db")
    ran = cli("upgrade")
    assert (ran.code, ran.err) == (0, "next:  guardrail verify\n")
    assert lines(project / "audit.db") == before
    ran = cli("verify", "--json")
    found = json.loads(ran.out)
    assert ran.code == 1
    assert (found["state"], found["first_bad"]) == ("tampered", 3)


def test_a_planted_object_is_refused(project: Path, cli: Cli) -> None:
    change(project / "audit.db", "CREATE TABLE zz (a)")
    ran = cli("upgrade")
    assert ran.code == 3
    assert "tables, indexes or triggers were changed" in ran.err
    assert "with the version of guardrail that wrote this ledger" in ran.err
    assert format_of(project / "audit.db") == 2


def test_a_damaged_file_is_left_as_it_is(project: Path, cli: Cli) -> None:
    """A page of SQLite's is torn. The error does not name a command that refuses format 2."""
    db = project / "audit.db"
    with closing(sqlite3.connect(db)) as connection:
        (page,) = connection.execute(
            "SELECT rootpage FROM sqlite_schema WHERE name = 'record'"
        ).fetchone()
    with db.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xff" * 4096)
    before = db.read_bytes()
    ran = cli("upgrade")
    assert (ran.code, ran.out) == (3, "")
    assert "with the version of guardrail that wrote this ledger" in ran.err
    assert db.read_bytes() == before
    assert format_of(db) == 2


def test_a_full_disk_leaves_the_old_ledger(tmp_path: Path, process: Cli) -> None:
    """And says how much room it needs; with that room, the next run completes it."""
    with small_disk(tmp_path / "disk", "12m") as disk:
        folder = new_project(disk / "project", SETTINGS)
        use(folder, calls=200)
        assert process("sessions", cwd=folder).code == 0
        age(folder)
        before = lines(folder / "audit.db")
        fill(disk / "filler")
        for kilobytes in (0, 40, 64):
            with (disk / "filler").open("r+b") as filler:
                filler.truncate((disk / "filler").stat().st_size - kilobytes * 1024)
            ran = process("upgrade", cwd=folder)
            assert (ran.code, ran.out) == (3, ""), kilobytes
            assert f"error: the disk is full: there is no room for {folder / 'audit.db'}" in ran.err
            assert "needed" in ran.err
            assert f"next:  make room on that disk: df -h {folder}" in ran.err
            (disk / "filler").unlink()  # SQLite needs room for its shared memory
            assert lines(folder / "audit.db") == before
            assert format_of(folder / "audit.db") == 2
            fill(disk / "filler")
        needed = (1 << 20) + (folder / "audit.db").stat().st_size // 4
        with (disk / "filler").open("r+b") as filler:
            filler.truncate((disk / "filler").stat().st_size - needed)
        assert process("upgrade", cwd=folder).code == 0
        assert lines(folder / "audit.db") == before
        assert process("verify", cwd=folder).code == 5


def test_a_project_without_a_ledger_is_told_so(
    tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(new_project(tmp_path / "project", SETTINGS))
    ran = cli("upgrade")
    assert ran.code == 3
    assert "there is no ledger at this path" in ran.err


def test_the_help_says_what_stays_and_what_to_stop(cli: Cli) -> None:
    shown = " ".join(cli("upgrade", "--help").out.split())
    assert "Records, hashes and signatures do not change" in shown
    assert "Stop all processes that use the ledger first" in shown
    assert "upgrade" in cli("--help").out
