"""A log of format 2 gets the current format in its file: no record, hash or signature changes, and
whatever happens on the way, all of it is there afterwards.
"""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from guardrail.core.log.chain import Difference
from guardrail.core.log.merkle import inclusion_proof, verify_inclusion
from guardrail.errors import LedgerError, LedgerOpenError
from guardrail.ledger.maintenance.examine import examine
from guardrail.ledger.maintenance.upgrade import upgrade
from guardrail.ledger.reader import LedgerReader
from guardrail.ledger.sqlite.tables import SCHEMA
from guardrail.ledger.tree import node_reader
from guardrail.ledger.writing.writer import LedgerWriter
from guardrail.review.verify import VerifyState, verify_ledger
from guardrail.system.ids import new_ulid
from tests.support.format2 import as_format_2
from tests.support.ledgers import EPOCHS, FAST, KEYS, decision, make, whole_call

Rows = list[tuple[Any, ...]]


def kept(db: Path) -> dict[str, Rows]:
    """Return all rows that both formats have."""
    with closing(sqlite3.connect(db)) as connection:
        return {
            table: connection.execute(f"SELECT {columns} FROM {table} ORDER BY 1, 2").fetchall()
            for table, columns in (
                ("record", "seq, leaf, CAST(line AS BLOB)"),
                ("head", "*"),
                ("tile", "*"),
                ("epoch", "*"),
                ("pruned", "*"),
            )
        }


def statement(db: Path, sql: str) -> None:
    with closing(sqlite3.connect(db, isolation_level=None)) as connection:
        connection.execute(sql)


def change_line(db: Path, seq: int, line: str) -> None:
    """Set a line to the value of the SQL expression *line*, and leave the indexes as they are."""
    with closing(sqlite3.connect(db, isolation_level=None)) as connection:
        schema = connection.execute("SELECT rowid, * FROM sqlite_schema").fetchall()
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("DELETE FROM sqlite_schema WHERE type <> 'table' AND sql IS NOT NULL")
        connection.execute(
            "UPDATE sqlite_schema SET sql = ? WHERE name = 'record'", (SCHEMA["record"],)
        )
    with closing(sqlite3.connect(db, isolation_level=None)) as connection:
        connection.execute(f"UPDATE record SET line = {line} WHERE seq = {seq}")
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("DELETE FROM sqlite_schema")
        connection.executemany(
            "INSERT INTO sqlite_schema (rowid, type, name, tbl_name, rootpage, sql) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            schema,
        )


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A log of format 2 with 300 records, of which one call is open."""
    db = tmp_path / "a.db"
    with make(db, signing=EPOCHS) as writer:
        for _ in range(130):
            whole_call(writer)
        for effect in ("deny", "require_approval"):
            writer.append(decision(new_ulid(), writer.process, effect=effect))
        left = decision(new_ulid(), "0" * 26)
        writer.append(left)
    as_format_2(db)
    return db


def test_a_log_of_format_2_is_upgraded_and_goes_on(old: Path) -> None:
    """The same records, hashes, head and proofs, and the same open call."""
    before = kept(old)
    done = upgrade(old)
    assert (done.changed, done.format, done.records) == (True, 3, len(before["record"]))
    assert kept(old) == before
    report = verify_ledger(old, key=KEYS.public)
    assert (report.state, report.detail, report.live_calls) == (VerifyState.NOT_ANCHORED, "", 1)
    with LedgerReader.open(old) as reader:
        found = examine(reader)
        assert (found.report.first_bad, found.caches, found.whole) == (None, (), True)
        path = inclusion_proof(7, done.records, node_reader(reader.storage))
        leaf = reader.storage.leaf(7)
        assert leaf is not None
        assert verify_inclusion(leaf, 7, done.records, path, found.edge.root())
    with LedgerWriter.open(old, signing=EPOCHS, settings=FAST) as writer:
        whole_call(writer)
    assert verify_ledger(old, key=KEYS.public).state is VerifyState.NOT_ANCHORED


def test_an_upgraded_log_is_what_a_new_one_would_be(tmp_path: Path) -> None:
    """Every row of every table, and every object of the schema."""
    db = tmp_path / "a.db"
    with make(db, signing=EPOCHS) as writer:
        for _ in range(20):
            whole_call(writer)
        writer.append(decision(new_ulid(), "0" * 26))

    def everything() -> dict[str, Rows]:
        with closing(sqlite3.connect(db)) as connection:
            objects = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema")
            found = {"schema": sorted(objects.fetchall(), key=repr)}
            for table in ("record", "call", "place", "head", "tile", "epoch", "pruned"):
                found[table] = connection.execute(f"SELECT * FROM {table}").fetchall()
        return found

    right = everything()
    as_format_2(db)
    upgrade(db)
    assert everything() == right


def test_an_upgrade_that_is_run_twice_changes_nothing_more(old: Path) -> None:
    assert upgrade(old).changed
    before = old.read_bytes()
    assert not upgrade(old).changed
    assert old.read_bytes() == before


def test_four_processes_upgrade_a_log_once(old: Path) -> None:
    """Each of them upgrades it, finds it upgraded, or is told that it is locked."""
    before = kept(old)
    program = (
        "import sys; from pathlib import Path; from guardrail.errors import LedgerError\n"
        "from guardrail.ledger.maintenance.upgrade import upgrade\n"
        "sys.stdin.readline()\n"
        "try: print(upgrade(Path(sys.argv[1])).changed)\n"
        "except LedgerError as error: print(error.code)"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(old)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for each in started:
        assert each.stdin is not None
        each.stdin.write("go\n")
        each.stdin.flush()
    said = [each.communicate(timeout=60)[0].strip() for each in started]
    assert said.count("True") == 1
    assert set(said) <= {"True", "False", "ledger.timeout"}
    assert kept(old) == before
    assert verify_ledger(old, key=KEYS.public).live_calls == 1


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (
            "json_set(line, '$.call', 'other', '$.decision_seq', json('9223372036854775808'))",
            "",
        ),
        ("'[1'", ""),
        ("CAST(x'ff' AS TEXT)", ""),
        ("hex(zeroblob(600000))", "ledger.oversized"),
    ],
    ids=["number", "not JSON", "not UTF-8", "too long"],
)
def test_a_line_that_no_writer_wrote_is_left_to_verify_or_refused(
    old: Path, line: str, code: str
) -> None:
    change_line(old, 3, line)
    before = kept(old)
    if code:
        with pytest.raises(LedgerError) as caught:
            upgrade(old)
        assert caught.value.code == code
        assert "with the version" in (caught.value.hint or "")
    else:
        assert upgrade(old).changed
        assert verify_ledger(old, key=KEYS.public).first_bad == 3
    assert kept(old) == before


def test_whoever_opens_a_log_of_format_2_is_told_to_upgrade_it(old: Path) -> None:
    opened: list[Callable[[], object]] = [
        lambda: LedgerReader.open(old),
        lambda: LedgerWriter.open(old, signing=EPOCHS, settings=FAST),
    ]
    for each in opened:
        with pytest.raises(LedgerOpenError) as caught:
            each()
        assert (caught.value.code, caught.value.hint) == (
            "ledger.older_format",
            "guardrail upgrade",
        )


KILLED = """
import os, sqlite3, sys
from pathlib import Path
from guardrail.ledger.sqlite import format2
from guardrail.ledger.maintenance.upgrade import upgrade
left = int(sys.argv[2])
connect = sqlite3.connect
def counted(*args, **options):
    connection = connect(*args, **options)
    def run(sql):
        global left
        left -= 1
        if left < 0:
            os._exit(9)
    connection.set_trace_callback(run)
    return connection
format2.sqlite3.connect = counted
upgrade(Path(sys.argv[1]))
"""


@pytest.mark.parametrize("after", [0, 1, 3, 8, 12, 14, 16, 17, 18, 20, 25, 60, 300, 330])
def test_an_upgrade_that_is_killed_leaves_either_format_and_every_record(
    old: Path, after: int
) -> None:
    """Before any of its statements; the next run completes it."""
    before = kept(old)
    command = [sys.executable, "-c", KILLED, str(old), str(after)]
    killed = subprocess.run(command, check=False, timeout=60)
    assert killed.returncode in (0, 9)
    assert kept(old) == before
    with closing(sqlite3.connect(old)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone()[0] in (2, 3)
    upgrade(old)
    assert kept(old) == before
    assert verify_ledger(old, key=KEYS.public).live_calls == 1


def test_a_log_that_is_in_use_is_not_upgraded(old: Path) -> None:
    """A process that has it open would write what the old format asks for."""
    upgrade(old)
    with LedgerWriter.open(old, signing=EPOCHS, settings=FAST):
        with pytest.raises(LedgerError) as caught:
            upgrade(old)
        assert caught.value.code == "ledger.in_use"
    assert not upgrade(old).changed


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ("PRAGMA user_version = 1", "ledger.older_format"),
        ("PRAGMA user_version = 0", "ledger.not_a_ledger"),
        ("PRAGMA user_version = 9", "ledger.newer_format"),
        ("PRAGMA application_id = 1", "ledger.not_a_ledger"),
        ("CREATE TABLE zz (a)", "ledger.schema"),
        (
            "CREATE TRIGGER zz AFTER DELETE ON open_call BEGIN DELETE FROM epoch; END",
            "ledger.schema",
        ),
        ("DROP INDEX record_call", "ledger.schema"),
    ],
)
def test_a_file_that_is_not_exactly_a_log_of_format_2_is_left_as_it_is(
    old: Path, change: str, code: str
) -> None:
    """Nothing that somebody planted runs, and the error says what to do."""
    statement(old, change)
    before = kept(old)
    with pytest.raises(LedgerError) as caught:
        upgrade(old)
    assert caught.value.code == code
    assert kept(old) == before
    with closing(sqlite3.connect(old)) as connection:
        names = {row[0] for row in connection.execute("SELECT name FROM sqlite_schema")}
    assert "call" not in names


def test_a_missing_log_is_named(tmp_path: Path) -> None:
    with pytest.raises(LedgerOpenError) as caught:
        upgrade(tmp_path / "none.db")
    assert caught.value.code == "ledger.missing"


@pytest.mark.parametrize(
    ("changes", "differs"),
    [
        (["DELETE FROM open_call"], Difference.OPEN_CALLS),
        (["INSERT INTO open_call VALUES ('x', 9, 'p', 'h', 1)"], Difference.OPEN_CALLS),
        (["UPDATE open_call SET seq = 3"], Difference.OPEN_CALLS),
        (["UPDATE head SET leaf = zeroblob(32)"], Difference.HEAD),
        (["DELETE FROM tile WHERE level = 0"], Difference.TILE),
        (
            ["DELETE FROM epoch", "INSERT INTO epoch VALUES ('x', 1, 'p', 'h', 1)"],
            Difference.EPOCHS,
        ),
        (
            [
                "DROP TRIGGER record_no_update",
                "UPDATE record SET line = replace(line, '\"deny\"', '\"allow\"')",
                SCHEMA["record_no_update"],
            ],
            Difference.LEAF,
        ),
    ],
)
def test_a_difference_in_a_log_of_format_2_is_found_after_the_upgrade(
    old: Path, changes: list[str], differs: Difference
) -> None:
    """The upgrade proves nothing, and hides nothing."""
    for change in changes:
        statement(old, change)
    before = kept(old)
    assert upgrade(old).changed
    assert kept(old) == before
    report = verify_ledger(old, key=KEYS.public)
    assert (report.state, report.differs) == (VerifyState.TAMPERED, differs)
