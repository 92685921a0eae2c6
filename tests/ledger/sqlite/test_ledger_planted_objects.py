"""A ledger file that somebody without keys has put things into: tables, views, triggers, indexes,
rows, values of any size.
"""

from __future__ import annotations

import json
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from guardrail.core.log import chain
from guardrail.core.log.chain import Difference
from guardrail.core.log.record import decode, leaf_hash
from guardrail.errors import LedgerError, LedgerSealedError
from guardrail.keys.log_key import verify_signature
from guardrail.ledger.maintenance.backup import backup
from guardrail.ledger.maintenance.recover import recover
from guardrail.ledger.maintenance.recovery_plan import Action, inspect
from guardrail.ledger.reader import LedgerReader
from guardrail.ledger.sqlite.tables import SCHEMA
from guardrail.ledger.writing.writer import LedgerWriter
from guardrail.review.verify import VerifyState, verify_ledger
from guardrail.system.ids import new_ulid
from tests.support.ledgers import (
    ACTOR,
    EPOCHS,
    FAST,
    KEYS,
    SIGNING,
    decision,
    make,
    outcome,
    whole_call,
)

REPLACES = """CREATE TRIGGER zz AFTER INSERT ON record WHEN new.line LIKE '%send_email%' BEGIN
INSERT OR REPLACE INTO record (seq, leaf, line)
VALUES (new.seq, new.leaf, replace(new.line, 'send_', 'read_')); END"""
ENDLESS = """CREATE VIEW record AS WITH RECURSIVE n(seq, leaf, line) AS (
SELECT 1, x'00', 'a' UNION ALL SELECT seq + 1, leaf, line FROM n)
SELECT seq, leaf, line, 'a' AS type, '' AS ts, '' AS call, '' AS session FROM n"""
HUGE = """CREATE VIEW record AS SELECT 0 AS seq, zeroblob(32) AS leaf,
CAST(zeroblob(900000000) AS TEXT) AS line, 'a' AS type, '' AS ts, '' AS call, '' AS session"""

OBJECTS = {
    "trigger": [REPLACES],
    "trigger on another table": [
        "CREATE TRIGGER zz AFTER DELETE ON call BEGIN DELETE FROM epoch; END"
    ],
    "view": ["CREATE VIEW zz AS SELECT 1"],
    "index": ["CREATE INDEX zz ON record (leaf)"],
    "unique index": ["CREATE UNIQUE INDEX zz ON call (pid)"],
    "table": ["CREATE TABLE zz (a)"],
    "statistics": ["ANALYZE"],
    "trigger of ours that does nothing": [
        "DROP TRIGGER record_no_update",
        "CREATE TRIGGER record_no_update BEFORE UPDATE ON record BEGIN SELECT 1; END",
    ],
    "view of ours that hides records": [
        "DROP VIEW records",
        "CREATE VIEW records AS SELECT seq, line FROM record WHERE seq > 3",
    ],
    "missing trigger": ["DROP TRIGGER record_no_delete"],
}
TABLES = {
    "endless view": ["ALTER TABLE record RENAME TO zz", ENDLESS],
    "huge view": ["ALTER TABLE record RENAME TO zz", HUGE],
    "table without rules": [
        "ALTER TABLE record RENAME TO zz",
        "CREATE TABLE record (seq INTEGER PRIMARY KEY, leaf, line, type, ts, call, session)",
    ],
    "another column": ["ALTER TABLE tile ADD COLUMN zz TEXT"],
    "view for the head": ["ALTER TABLE head RENAME TO zz", "CREATE VIEW head AS SELECT * FROM zz"],
}


def plant(db: Path, *statements: str) -> None:
    """Run *statements* as whoever can write the file may, past every constraint."""
    with closing(sqlite3.connect(db, isolation_level=None)) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        for each in statements:
            connection.execute(each)


def plant_row(db: Path, seq: int, line: str) -> None:
    """Put a row at *seq*, with the hash that belongs to *line*."""
    with closing(sqlite3.connect(db, isolation_level=None)) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        values = (seq, leaf_hash(line.encode()), line)
        connection.execute("INSERT INTO record (seq, leaf, line) VALUES (?, ?, ?)", values)


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """A ledger with calls, which is closed."""
    with make(tmp_path / "a.db", signing=EPOCHS) as writer:
        for _ in range(4):
            whole_call(writer)
    return tmp_path / "a.db"


def refused(db: Path) -> str:
    """Return the code with which every reader refuses the ledger; all must give the same."""

    def copied() -> None:
        backup(db, db.with_name("copy.db"), check=lambda path: verify_ledger(path).detail)

    codes = set()
    for reads in (lambda: LedgerReader.open(db), copied):
        with pytest.raises(LedgerError) as caught:
            reads()
        codes.add(caught.value.code)
        assert caught.value.hint == "guardrail verify"
    assert not db.with_name("copy.db").exists()
    (code,) = codes
    return code


@pytest.mark.parametrize(
    "statements", [*OBJECTS.values(), *TABLES.values()], ids=[*OBJECTS, *TABLES]
)
def test_every_reader_refuses_a_file_that_holds_more_than_a_log(
    db: Path, statements: list[str]
) -> None:
    """In no time and without running any of it; verify says that somebody changed the schema."""
    plant(db, *statements)
    began = time.process_time()
    assert refused(db) == "ledger.schema"
    report = verify_ledger(db, key=KEYS.public)
    assert time.process_time() - began < 5
    assert (report.state, report.exit_code, report.differs) == (
        VerifyState.TAMPERED,
        1,
        Difference.SCHEMA,
    )


@pytest.mark.parametrize(
    "statements", [*OBJECTS.values(), *TABLES.values()], ids=[*OBJECTS, *TABLES]
)
def test_no_writer_opens_a_file_that_holds_more_than_a_log(db: Path, statements: list[str]) -> None:
    """A trigger would change what it writes."""
    plant(db, *statements)
    with pytest.raises(LedgerError) as caught:
        LedgerWriter.open(db, signing=SIGNING, settings=FAST)
    assert caught.value.code == "ledger.schema"


@pytest.mark.parametrize("statements", OBJECTS.values(), ids=OBJECTS)
def test_what_is_planted_under_a_writer_seals_the_ledger(
    tmp_path: Path, statements: list[str]
) -> None:
    """In the transaction in which it is met: nothing that a trigger made of a record was ever
    acknowledged.
    """
    with make(tmp_path / "a.db") as writer:
        whole_call(writer)
        plant(writer.path, *statements)
        with pytest.raises(LedgerSealedError) as caught:
            writer.append(decision(new_ulid(), writer.process))
        assert caught.value.hint == "guardrail recover"
        assert writer.sealed
    assert (tmp_path / "a.db-sealed").exists()
    with closing(sqlite3.connect(tmp_path / "a.db")) as raw:
        assert raw.execute("SELECT count(*) FROM record").fetchone() == (3,)


def test_a_schema_that_is_written_anew_and_the_same_seals_nothing(tmp_path: Path) -> None:
    """VACUUM, and a trigger that came and went between two records, change only SQLite's number of
    it.
    """
    with make(tmp_path / "a.db") as writer, LedgerReader.open(tmp_path / "a.db") as reader:
        whole_call(writer)
        plant(writer.path, "VACUUM")
        whole_call(writer)
        plant(writer.path, REPLACES, "DROP TRIGGER zz")
        whole_call(writer)
        assert reader.size() == 7


def test_a_reader_that_is_open_refuses_what_is_planted_later(tmp_path: Path) -> None:
    """It looks in each transaction in which something has changed."""
    with make(tmp_path / "a.db") as writer, LedgerReader.open(tmp_path / "a.db") as reader:
        whole_call(writer)
        assert reader.size() == 3
        plant(writer.path, "ALTER TABLE record RENAME TO zz", ENDLESS)
        for ask in (reader.size, reader.newest, reader.requests, lambda: list(reader.lines())):
            with pytest.raises(LedgerError) as caught:
                ask()
            assert caught.value.code == "ledger.schema"
        with pytest.raises(LedgerError), reader.snapshot():
            pass


# -- rows
# --------------------------------------------------------------------------------------------------


def _copy_of(db: Path, seq: int, at: int) -> str:
    with LedgerReader.open(db) as reader:
        record = decode(reader.record(seq) or b"")
    return json.dumps({**record, "seq": at, "call": new_ulid()}, separators=(",", ":"))


@pytest.mark.parametrize("at", [-1, -(2**62), 11, 2**62], ids=["-1", "least", "next", "most"])
def test_every_reader_refuses_rows_outside_the_signed_tree(db: Path, at: int) -> None:
    """Before line 0, where SQLite tests no constraint for a reader, and behind the last record that
    is signed.
    """
    plant_row(db, at, _copy_of(db, 2, at))
    assert refused(db) == "ledger.rows"
    report = verify_ledger(db, key=KEYS.public)
    assert (report.state, report.exit_code) == (VerifyState.TAMPERED, 1)


@pytest.mark.parametrize(
    ("statement", "differs"),
    [
        ("UPDATE head SET id = 7", Difference.HEAD),
        ("INSERT INTO head SELECT 7, size, leaf, edge, note, mac FROM head", Difference.ROWS),
        ("INSERT INTO pruned VALUES (7, 1)", Difference.PRUNED),
        ("INSERT INTO pruned VALUES (0, -1)", Difference.ROWS),
        (
            (
                "INSERT INTO call WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM"
                " n WHERE i < 50000) SELECT 1, 'c' || i, i, NULL, 'p', 'h', 1 FROM n"
            ),
            Difference.ROWS,
        ),
        (
            (
                "INSERT INTO tile WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n"
                " WHERE i < 50000) SELECT 9, i, zeroblob(32) FROM n"
            ),
            Difference.ROWS,
        ),
    ],
)
def test_rows_that_no_log_has_beside_its_records_are_found(
    db: Path, statement: str, differs: Difference
) -> None:
    """Verify names them, by no more memory than the records need."""
    plant(db, statement)
    report = verify_ledger(db, key=KEYS.public)
    assert (report.state, report.exit_code, report.differs) == (VerifyState.TAMPERED, 1, differs)


def _loosely(db: Path, *statements: str) -> None:
    """Run *statements* while the tables allow values of any type, then put the schema back as it
    was.
    """
    with closing(sqlite3.connect(db, isolation_level=None)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("PRAGMA ignore_check_constraints = ON")
        right = connection.execute("SELECT sql, name FROM sqlite_schema").fetchall()
        for strict in ("STRICT, WITHOUT ROWID", "STRICT"):
            loose = strict.removeprefix("STRICT").removeprefix(", ")
            connection.execute(
                "UPDATE sqlite_schema SET sql = replace(sql, ?, ?) WHERE type = 'table'",
                (f") {strict}", f") {loose}"),
            )
        for type_ in ("TEXT", "BLOB", "INTEGER NOT", "NOT NULL"):
            connection.execute(
                "UPDATE sqlite_schema SET sql = replace(sql, ?, ?) WHERE type = 'table' AND"
                " name IN ('call', 'place', 'epoch', 'tile', 'head')",
                (f" {type_}", " NOT" if type_ == "INTEGER NOT" else ""),
            )
        connection.execute(
            "UPDATE sqlite_schema SET sql = replace(sql, 'leaf BLOB', 'leaf') WHERE name = 'record'"
        )
        connection.execute("DELETE FROM sqlite_schema WHERE type = 'trigger'")
        connection.execute("PRAGMA schema_version = 900")
    plant(db, *statements)
    with closing(sqlite3.connect(db, isolation_level=None)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        for sql, name in right:
            connection.execute("UPDATE sqlite_schema SET sql = ? WHERE name = ?", (sql, name))
        connection.execute("PRAGMA schema_version = 901")
    with closing(sqlite3.connect(db, isolation_level=None)) as connection:
        for sql in SCHEMA.values():
            if sql.startswith("CREATE TRIGGER"):
                connection.execute(sql)


@pytest.mark.parametrize(
    ("statement", "seq"),
    [
        ("UPDATE record SET line = CAST(line AS BLOB) WHERE seq = 3", 3),
        ("UPDATE record SET leaf = hex(leaf) WHERE seq = 3", 3),
        ("UPDATE record SET leaf = leaf || x'00' WHERE seq = 3", 3),
        ("INSERT INTO call VALUES (1, x'00', 3, NULL, 'p', 'h', 1)", None),
        ("INSERT INTO epoch VALUES ('p', 'three', 'p', 'h', 1)", None),
        ("INSERT INTO tile VALUES (0, 7, 'text')", None),
        ("INSERT INTO tile VALUES (0, 7, zeroblob(33))", None),
        ("UPDATE head SET note = CAST(note AS BLOB)", None),
    ],
)
def test_values_that_the_schema_forbids_are_found(
    db: Path, statement: str, seq: int | None
) -> None:
    """By query: the file says how its columns are to be read, and who wrote it may have changed
    that for a moment.
    """
    _loosely(db, statement)
    with LedgerReader.open(db) as reader:
        assert reader.storage.schema_fault() == ""
    report = verify_ledger(db, key=KEYS.public)
    assert (report.state, report.exit_code) == (VerifyState.TAMPERED, 1)
    if seq is not None:
        assert report.first_bad == seq
    plan = inspect(db, signing=EPOCHS, verify=verify_signature)
    assert plan.action in (Action.RESTART, Action.CONTINUE)


@pytest.mark.parametrize(
    "statement",
    [
        (
            "INSERT INTO record (seq, leaf, line) VALUES (11, zeroblob(32), "
            "'[\"' || replace(hex(zeroblob(40000000)), '0', 'a') || '\"]')"
        ),
        "UPDATE head SET note = replace(hex(zeroblob(40000000)), '0', 'a')",
        "INSERT INTO tile VALUES (0, 0, zeroblob(80000000))",
    ],
    ids=["line", "head", "tile"],
)
def test_a_value_that_is_too_long_is_not_even_loaded(db: Path, statement: str) -> None:
    """Its length is enough to know that no writer made it."""
    import tracemalloc

    plant(db, statement)
    tracemalloc.start()
    report = verify_ledger(db, key=KEYS.public)
    inspect(db, signing=EPOCHS, verify=verify_signature)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (report.state, report.exit_code) == (VerifyState.TAMPERED, 1)
    assert peak < 30_000_000


def test_a_line_that_is_too_long_is_named_and_those_before_it_are_read(db: Path) -> None:
    """Where it stands as another would: an investigator reads on around it."""
    plant(
        db,
        "DROP TRIGGER record_no_update",
        "UPDATE record SET line = '[\"' || hex(zeroblob(2000000)) || '\"]' WHERE seq = 5",
        SCHEMA["record_no_update"],
    )
    with LedgerReader.open(db) as reader:
        rows = list(reader.lines())
    assert [seq for seq, _, _ in rows] == list(range(11))
    assert chain.verify(rows).first_bad == 5
    plan = inspect(db, signing=EPOCHS, verify=verify_signature)
    assert (plan.action, plan.first_bad) == (Action.RESTART, 5)


_LONG = "'[\"' || replace(hex(zeroblob({})), '0', 'a') || '\"]'"


@pytest.mark.parametrize(
    ("at", "size"),
    [(0, 800_000), (5, 33_000), (5, 400_000), (5, 20_000_000), (10, 800_000), (11, 800_000)],
)
def test_verify_names_the_record_whose_line_is_too_long(db: Path, at: int, size: int) -> None:
    """However long: in the database its number is known without the line, and the records before it
    are verified.
    """
    import tracemalloc

    long = _LONG.format(size)
    plant(
        db,
        "DROP TRIGGER record_no_update",
        f"INSERT INTO record (seq, leaf, line) VALUES ({at}, zeroblob(32), {long})"
        f" ON CONFLICT DO UPDATE SET line = {long}",
        SCHEMA["record_no_update"],
    )
    with closing(sqlite3.connect(db, isolation_level=None)) as connection:
        connection.create_function("leaf", 1, lambda line: leaf_hash(line.encode()))
        connection.execute("DROP TRIGGER record_no_update")
        connection.execute("UPDATE record SET leaf = leaf(line) WHERE seq = ?", (at,))
        connection.execute(SCHEMA["record_no_update"])
    tracemalloc.start()
    began = time.process_time()
    report = verify_ledger(db, key=KEYS.public)
    assert time.process_time() - began < 5
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (report.state, report.exit_code, report.differs) == (
        VerifyState.TAMPERED,
        1,
        Difference.LINE,
    )
    assert (report.first_bad, report.records) == (at, at)
    assert "longer than any record" in report.detail
    assert peak < 30_000_000


@pytest.mark.parametrize("since", [3, 8])
def test_verify_since_names_a_line_before_it_that_is_too_long(db: Path, since: int) -> None:
    """It is met where keys and recoveries are looked up, before any record is read."""
    with LedgerReader.open(db) as reader:
        (at, _), *_ = reader.admin("admin.key_rotated")
    plant(
        db,
        "DROP TRIGGER record_no_update",
        'UPDATE record SET line = \'{"type":"admin.key_rotated","x":"\' || hex(zeroblob(2000000))'
        f" || '\"}}' WHERE seq = {at}",
        SCHEMA["record_no_update"],
        "REINDEX",
    )
    report = verify_ledger(db, key=KEYS.public, since=since)
    assert (report.exit_code, report.first_bad, report.differs) == (1, at, Difference.LINE)


@pytest.mark.parametrize("at", [0, 2, 5, 7])
@pytest.mark.parametrize("type_", ["call.decision", "admin.heartbeat", "admin.recovered", ""])
@pytest.mark.parametrize("indexed", [True, False])
def test_verify_since_names_a_line_of_any_type_that_is_too_long(
    db: Path, at: int, type_: str, *, indexed: bool
) -> None:
    """Also where no query asks for such records, and SQLite meets it where it compares its indexes
    with the lines.
    """
    plant(
        db,
        "DROP TRIGGER record_no_update",
        f'UPDATE record SET line = \'{{"type":"{type_}","x":"\' || hex(zeroblob(2000000)) ||'
        f" '\"}}' WHERE seq = {at}",
        SCHEMA["record_no_update"],
        *(["REINDEX"] if indexed else []),
    )
    report = verify_ledger(db, key=KEYS.public, since=8)
    assert (report.exit_code, report.first_bad, report.differs) == (1, at, Difference.LINE)


@pytest.mark.parametrize(
    ("table", "statement"),
    [
        ("head", "UPDATE head SET note = hex(zeroblob(2000000))"),
        ("head", "UPDATE head SET mac = zeroblob(2000000)"),
        ("call", "INSERT INTO call VALUES (1, hex(zeroblob(2000000)), 3, NULL, 'p', 'h', 1)"),
        ("epoch", "INSERT INTO epoch VALUES (hex(zeroblob(2000000)), 3, 'p', 'h', 1)"),
    ],
)
def test_verify_names_the_table_that_holds_a_value_that_is_too_long(
    db: Path, table: str, statement: str
) -> None:
    """Such a value belongs to no record."""
    plant(db, statement)
    report = verify_ledger(db, key=KEYS.public)
    assert (report.exit_code, report.first_bad, report.differs) == (1, None, Difference.ROWS)
    assert f"table {table} contains a value that is longer" in report.detail


# -- what becomes of it
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("statements", OBJECTS.values(), ids=OBJECTS)
def test_recover_mends_the_schema_where_the_tables_are_whole(
    db: Path, statements: list[str]
) -> None:
    """What was planted is kept in a file, dropped, and named in a record; the log goes on."""
    plant(db, *statements)
    done = recover(db, who=ACTOR, reason="somebody put it there", signing=EPOCHS)
    assert done.plan.action is Action.CONTINUE
    assert verify_ledger(db, key=KEYS.public).state is VerifyState.NOT_ANCHORED
    with LedgerWriter.open(db, signing=SIGNING, settings=FAST) as writer:
        whole_call(writer)
    with LedgerReader.open(db) as reader:
        assert done.receipt is not None
        record = decode(reader.record(done.receipt.seq) or b"")
        assert record["detail"]["schema"]
        assert reader.size() == 11 + 1 + 2


@pytest.mark.parametrize("statements", TABLES.values(), ids=TABLES)
def test_recover_begins_a_new_log_where_a_table_is_another(db: Path, statements: list[str]) -> None:
    """Its rows need not be those of the log, so nothing is built on them."""
    with LedgerReader.open(db) as reader:
        genesis = {each: reader.genesis[each] for each in ("profile", "key", "config")}
    plant(db, *statements)
    done = recover(
        db, who=ACTOR, reason="spoilt", signing=SIGNING, genesis=genesis, log="test/log~2"
    )
    assert done.plan.action is Action.RESTART
    LedgerWriter.open(db, signing=SIGNING, settings=FAST).close()


def test_recover_takes_rows_from_before_line_0_out_of_the_log(db: Path) -> None:
    """They are kept in a file; the record says how many there were."""
    plant_row(db, -1, _copy_of(db, 2, -1))
    plant_row(db, -9, "{}")
    done = recover(db, who=ACTOR, reason="somebody put it there", signing=EPOCHS)
    (kept,) = done.set_aside
    assert [row["seq"] for row in json.loads(kept.read_text())["record"]] == [-9, -1]
    with LedgerReader.open(db) as reader:
        assert done.receipt is not None
        assert decode(reader.record(done.receipt.seq) or b"")["detail"]["outside"] == 2
    assert verify_ledger(db, key=KEYS.public).state is VerifyState.NOT_ANCHORED


@pytest.mark.parametrize("named", [-1, 0, 1, 7])
def test_a_row_that_takes_the_place_of_an_outcome_seals_and_the_outcome_is_kept(
    tmp_path: Path, named: int
) -> None:
    """A planted outcome must not pass for the call's own: the writer does not say that the call was
    closed before.
    """
    with make(tmp_path / "a.db") as writer:
        call = new_ulid()
        seq = writer.append(decision(call, writer.process)).seq
        line = json.dumps({"type": "call.outcome", "call": call, "seq": -1, "status": "ok"})
        plant_row(writer.path, -1, line)
        plant(
            writer.path,
            "DELETE FROM call WHERE open = 1",
            "INSERT INTO call (open, call, decision, outcome) "
            f"VALUES (0, '{call}', {seq}, {named})",
        )
        with pytest.raises(LedgerSealedError):
            writer.append(outcome(call, seq, writer.process))
        assert writer.owed == 1


def test_a_planted_row_that_is_in_nobodys_way_stops_no_call(tmp_path: Path) -> None:
    """Readers refuse it and the next opening does; records that were to be written are."""
    with make(tmp_path / "a.db") as writer:
        whole_call(writer)
        plant_row(writer.path, -1, "{}")
        whole_call(writer)
    with pytest.raises(LedgerSealedError):
        LedgerWriter.open(tmp_path / "a.db", signing=SIGNING, settings=FAST)


def test_a_query_that_leads_in_circles_is_ended(db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the processor time that it takes, not by the time that a slow disk does."""
    from guardrail.ledger.sqlite.limits import Budget

    monkeypatch.setattr(Budget, "_BASE", 0.05)
    with LedgerReader.open(db) as reader:
        endless = f"SELECT count(*) FROM {', '.join(f'record AS r{each}' for each in range(9))}"
        with pytest.raises(LedgerError) as caught:
            reader.storage.ask(endless)
        assert caught.value.code == "ledger.endless"
        assert reader.size() == 11


def test_no_connection_runs_anything_but_what_it_is_for(db: Path) -> None:
    """Neither a reader nor a writer makes tables, attaches files or loads code, whoever asks."""
    with LedgerReader.open(db) as reader:
        for sql in (
            "CREATE TABLE t (a)",
            "ATTACH ':memory:' AS m",
            "DELETE FROM record",
            "CREATE TEMP TABLE t (a)",
        ):
            with pytest.raises(LedgerError):
                reader.storage.ask(sql)


def test_many_objects_of_others_take_no_time(db: Path) -> None:
    """The first one is enough."""
    plant(db, "BEGIN", *(f"CREATE TABLE x{number} (a)" for number in range(5000)), "COMMIT")
    began = time.process_time()
    assert refused(db) == "ledger.schema"
    assert verify_ledger(db).exit_code == 1
    assert time.process_time() - began < 5


def hot_journal(db: Path, victim: Path) -> None:
    """Put a rollback journal beside *db* that SQLite would play back, and that names *victim* as
    its super-journal.

    The format: https://www.sqlite.org/fileformat2.html#the_rollback_journal.
    """
    data = db.read_bytes()
    size = int.from_bytes(data[16:18], "big")
    page, nonce = data[:size], 0x01020304
    magic = bytes.fromhex("d9d505f920a163d7")
    counts = (1, nonce, len(data) // size, 512, size)
    header = (magic + b"".join(each.to_bytes(4, "big") for each in counts)).ljust(512, b"\0")
    checksum = (nonce + sum(page[at] for at in range(size - 200, 0, -200))) & 0xFFFFFFFF
    record = (1).to_bytes(4, "big") + page + checksum.to_bytes(4, "big")
    name = str(victim).encode()
    total = sum(each if each < 128 else each - 256 for each in name) & 0xFFFFFFFF
    lock_page = 0x40000000 // size + 1
    trailer = lock_page.to_bytes(4, "big") + name
    trailer += len(name).to_bytes(4, "big") + total.to_bytes(4, "big") + magic
    db.with_name(db.name + "-journal").write_bytes(header + record + trailer)


def test_a_planted_journal_deletes_nothing_of_whoever_opens_the_ledger(tmp_path: Path) -> None:
    """SQLite rolls a hot journal back when it opens the file, and deletes what the journal names:
    an auditor's own file.
    """
    db, victim = tmp_path / "audit.db", tmp_path / "precious"
    make(db).close()
    victim.write_text("the auditor's own file")
    hot_journal(db, victim)
    with pytest.raises(LedgerError) as caught:
        LedgerWriter.open(db, signing=SIGNING, settings=FAST)
    assert caught.value.code == "ledger.journal"
    with pytest.raises(LedgerError) as caught:
        LedgerReader.open(db)
    assert caught.value.code == "ledger.journal"
    assert victim.exists()
    db.with_name("audit.db-journal").unlink()
    LedgerWriter.open(db, signing=SIGNING, settings=FAST).close()
    # The harness can fail: SQLite itself deletes the file.
    hot_journal(db, victim)
    with closing(sqlite3.connect(db)) as connection:
        connection.execute("SELECT count(*) FROM record").fetchone()
    assert not victim.exists()
