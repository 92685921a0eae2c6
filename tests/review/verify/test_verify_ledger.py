"""Verify on real files: every way of tampering, every state, every exit code that a chain alone can
reach.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from guardrail.anchors.lines import head_line
from guardrail.core.log.chain import Difference
from guardrail.core.log.checkpoint import Algorithm, Checkpoint, NoteKey, SignedNote
from guardrail.core.log.merkle import Edge
from guardrail.core.log.record import Draft, dumps, leaf_hash
from guardrail.errors import LedgerError, RecordError
from guardrail.keys.log_key import Keys
from guardrail.ledger.heads import head_signer, sign_head
from guardrail.ledger.lease import host_name
from guardrail.ledger.reader import LedgerReader
from guardrail.ledger.sqlite.storage import SQLiteStorage
from guardrail.ledger.sqlite.tree import SQLiteTreeWriter
from guardrail.ledger.tree import TILE
from guardrail.ledger.writing.writer import LedgerWriter
from guardrail.review.verify import (
    HeadError,
    OutsideHead,
    VerifyReport,
    VerifyState,
    load_heads,
    load_key,
    parts,
    verify_export,
    verify_ledger,
)
from guardrail.review.verify.run import silences_in
from guardrail.system.ids import new_ulid
from tests.support.full_disk import small_disk
from tests.support.ledgers import (
    EPOCHS,
    FAST,
    GENESIS,
    KEYS,
    LOG,
    SIGNING,
    common,
    decision,
    driven,
    head_at,
    make,
    note,
    outcome,
    reopen,
    whole_call,
)

Tamper = Callable[[sqlite3.Connection], object]


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """A closed ledger of 20 whole calls and one that is open: records 0 to 41."""
    with make(tmp_path / "a.db") as writer:
        for _ in range(20):
            whole_call(writer)
        writer.append(decision(new_ulid(), writer.process, session="open"))
    return tmp_path / "a.db"


def tamper(db: Path, *statements: str | Tamper) -> None:
    """Change *db* as someone with the file in hand would, and put the triggers back."""
    connection = sqlite3.connect(db, isolation_level=None)
    triggers = connection.execute(
        "SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'"
    ).fetchall()
    for name, _ in triggers:
        connection.execute(f"DROP TRIGGER {name}")
    for statement in statements:
        if isinstance(statement, str):
            connection.execute(statement)
        else:
            statement(connection)
    for _, sql in triggers:
        connection.execute(sql)
    connection.close()


def schema_as(change: Callable[[str], str], name: str) -> Tamper:
    """Change the stored SQL of *name*, not what was built from it."""

    def apply(connection: sqlite3.Connection) -> None:
        (sql,) = connection.execute(
            "SELECT sql FROM sqlite_schema WHERE name = ?", (name,)
        ).fetchone()
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("UPDATE sqlite_schema SET sql = ? WHERE name = ?", (change(sql), name))
        connection.execute("PRAGMA writable_schema = RESET")

    return apply


def head_of(db: Path, size: int) -> OutsideHead:
    """Return a head that was kept elsewhere."""
    return OutsideHead.parse("kept", head_at(db, size).encode())


def verified(db: Path, *heads: OutsideHead, **more: Any) -> VerifyReport:
    """Verify with the key of the tests' logs in hand."""
    return verify_ledger(db, key=KEYS.public, heads=heads, **more)


def rehash(connection: sqlite3.Connection, start: int) -> None:
    """Recompute every link and leaf from *start*, as an attacker without any outside head to fear
    would.
    """
    (prev,) = connection.execute("SELECT leaf FROM record WHERE seq = ?", (start - 1,)).fetchone()
    rows = connection.execute(
        "SELECT seq, line FROM record WHERE seq >= ? ORDER BY seq", (start,)
    ).fetchall()
    for seq, line in rows:
        record = json.loads(line)
        record["prev"] = prev.hex()
        text = json.dumps(record, sort_keys=True, separators=(",", ":"))
        prev = leaf_hash(text.encode())
        connection.execute("UPDATE record SET line = ?, leaf = ? WHERE seq = ?", (text, prev, seq))


def test_an_intact_ledger_is_not_anchored_without_a_head(ledger: Path) -> None:
    """Never plain OK: exit 5, and words for what is not proved."""
    report = verify_ledger(ledger)
    assert (report.state, report.exit_code) == (VerifyState.NOT_ANCHORED, 5)
    assert (report.records, report.last_seq, report.log) == (42, 41, LOG)
    assert report.note == str(head_at(ledger, 42))
    assert any("NOT ANCHORED" in sentence for sentence in report.not_proved)


def test_an_intact_ledger_that_contains_the_head_is_anchored(ledger: Path) -> None:
    """Exit 0, with the last record that is covered, and what came after it named as not covered."""
    report = verified(ledger, head_of(ledger, 42))
    assert (report.state, report.exit_code, report.anchored_to) == (VerifyState.ANCHORED, 0, 41)
    report = verified(ledger, head_of(ledger, 30))
    assert (report.state, report.exit_code, report.anchored_to) == (VerifyState.ANCHORED, 0, 29)
    assert any("30 to 41" in sentence for sentence in report.not_proved)


@pytest.mark.parametrize(
    ("statements", "seq", "differs"),
    [
        (
            ["UPDATE record SET line = replace(line, 'send_email', 'read_email') WHERE seq = 7"],
            7,
            Difference.LEAF,
        ),
        (["UPDATE record SET leaf = zeroblob(32) WHERE seq = 7"], 7, Difference.LEAF),
        (["DELETE FROM record WHERE seq = 7"], 7, Difference.SEQUENCE),
        (["DELETE FROM record WHERE seq = 0"], 0, Difference.SEQUENCE),
        (
            ["DELETE FROM record WHERE seq = 7", "UPDATE record SET seq = seq - 1 WHERE seq > 7"],
            7,
            Difference.NUMBER,
        ),
        (
            [
                """INSERT INTO record (seq, leaf, line)
                SELECT 42, leaf, '{}' FROM record WHERE seq = 0"""
            ],
            42,
            Difference.LEAF,
        ),
        (
            [
                "CREATE TEMP TABLE t AS SELECT * FROM record WHERE seq IN (15, 17)",
                "DELETE FROM record WHERE seq IN (15, 17)",
                "INSERT INTO record (seq, leaf, line) SELECT 32 - seq, leaf, line FROM t",
            ],
            15,
            Difference.NUMBER,
        ),
        (["DELETE FROM call WHERE open = 1"], 41, Difference.OPEN_CALLS),
        (["UPDATE call SET process = 'someone' WHERE open = 1"], 41, Difference.OPEN_CALLS),
        (["UPDATE call SET decision = 3 WHERE open = 1"], 41, Difference.OPEN_CALLS),
        (["INSERT INTO call VALUES (1, 'x', 9, NULL, 'p', 'h', 1)"], 9, Difference.OPEN_CALLS),
        (["DROP TABLE place"], None, Difference.SCHEMA),
        (["DELETE FROM place WHERE kind = 'session'"], 1, Difference.INDEX),
        (["UPDATE place SET seq = 3 WHERE kind = 'session'"], 1, Difference.INDEX),
        (["INSERT INTO place VALUES ('session', 'x', 0, 3)"], None, Difference.INDEX),
        (["DELETE FROM call WHERE outcome = 6"], 5, Difference.INDEX),
        (["UPDATE call SET outcome = 8 WHERE outcome = 6"], 6, Difference.INDEX),
        (["INSERT INTO call VALUES (0, 'x', 9, NULL, NULL, NULL, NULL)"], None, Difference.INDEX),
        (["CREATE TABLE more (a)"], None, Difference.SCHEMA),
        (["CREATE TRIGGER t AFTER INSERT ON record BEGIN SELECT 1; END"], None, Difference.SCHEMA),
        (
            ["DROP TRIGGER IF EXISTS record_no_update", "CREATE VIEW v AS SELECT 1"],
            None,
            Difference.SCHEMA,
        ),
    ],
)
def test_tampering_is_found_where_it_was_done(
    ledger: Path, statements: list[str], seq: int | None, differs: Difference
) -> None:
    """Exit 1, the first bad record, and what differs there."""
    tamper(ledger, *statements)
    report = verify_ledger(ledger)
    assert (report.state, report.exit_code) == (VerifyState.TAMPERED, 1)
    assert (report.first_bad, report.differs) == (seq, differs)
    assert report.detail


@pytest.mark.parametrize("place", [b'"send_email"', b'{"action"', b'"v":1}'])
def test_one_byte_changed_in_the_file_is_found(ledger: Path, place: bytes) -> None:
    """An edit of the file itself, past SQLite, whether the line stays JSON or not: the record is
    named.
    """
    with LedgerReader.open(ledger) as reader:
        seq, line = next((seq, line) for seq, _, line in reader.lines(19) if place in line)
    data = bytearray(ledger.read_bytes())
    data[data.index(line) + line.index(place)] ^= 1
    ledger.write_bytes(data)
    report = verify_ledger(ledger)
    assert (report.exit_code, report.first_bad, report.differs) == (1, seq, Difference.LEAF)


def test_a_view_that_shows_something_else_is_found(ledger: Path) -> None:
    """A view whose tool column reads another field answers people's queries wrongly: the text of
    the schema gives it away.
    """
    tamper(ledger, schema_as(lambda sql: sql.replace("'$.tool.name'", "'$.session'"), "records"))
    report = verify_ledger(ledger)
    assert (report.exit_code, report.differs) == (1, Difference.SCHEMA)


def test_a_table_that_leads_past_a_record_is_found(ledger: Path) -> None:
    """A reader that looks for the session finds its records in the lines nevertheless."""
    tamper(ledger, "DELETE FROM place WHERE kind = 'session'")
    with LedgerReader.open(ledger) as reader:
        assert list(reader.calls("s-1"))
    report = verify_ledger(ledger)
    assert (report.exit_code, report.differs) == (1, Difference.INDEX)


def test_duplicate_keys_do_not_hide_what_queries_see(tmp_path: Path) -> None:
    """SQLite reads the first of two equal keys, Python the last: a line that uses this is no
    line.
    """
    with make(tmp_path / "a.db") as writer:
        draft = decision(new_ulid(), writer.process)
        doubled = draft.segments[2].replace(b'"session":"s-1"', b'"session":"s-0","session":"s-1"')
        assert doubled != draft.segments[2]
        segments = (*draft.segments[:2], doubled, draft.segments[3])
        writer.append(Draft(draft.type, draft.call, draft.opens, draft.process, segments))
    report = verify_ledger(tmp_path / "a.db")
    assert (report.first_bad, report.differs) == (1, Difference.LINE)


def truncated(connection: sqlite3.Connection) -> None:
    connection.execute("DELETE FROM record WHERE seq > 20")
    connection.execute("DELETE FROM call WHERE open = 1")


def rewritten(connection: sqlite3.Connection) -> None:
    connection.execute(
        "UPDATE record SET line = replace(line, 'send_email', 'read_email') WHERE seq = 7"
    )
    rehash(connection, 7)


def wiped(connection: sqlite3.Connection) -> None:
    connection.execute("DELETE FROM record")
    connection.execute("DELETE FROM call WHERE open = 1")


@pytest.mark.parametrize("attack", [truncated, rewritten, wiped])
def test_a_consistent_rewrite_is_found_by_the_signed_head(ledger: Path, attack: Tamper) -> None:
    """Without the key nobody makes a head that fits: found without any head from outside, and with
    one as well.
    """
    head = head_of(ledger, 42)
    tamper(ledger, attack)
    for report in (verify_ledger(ledger), verified(ledger, head)):
        assert report.exit_code == 1
        assert report.state in (VerifyState.TAMPERED, VerifyState.TRUNCATED)
        assert report.anchored_to is None


def test_another_log_is_not_the_one_of_the_head(ledger: Path, tmp_path: Path) -> None:
    """A ledger put in the place of another."""
    head = head_of(ledger, 42)
    (tmp_path / "other").mkdir()
    with LedgerWriter.create(
        tmp_path / "other" / "a.db",
        log="other",
        genesis=GENESIS,
        signing=SIGNING,
        settings=FAST,
    ):
        pass
    report = verified(tmp_path / "other" / "a.db", head)
    assert (report.exit_code, report.state) == (1, VerifyState.REPLACED)


def test_an_older_copy_is_found_by_a_newer_head(ledger: Path, tmp_path: Path) -> None:
    """Rolled back: fewer records than the head covers."""
    shutil.copyfile(ledger, tmp_path / "older.db")
    with LedgerWriter.open(ledger, signing=SIGNING, settings=FAST) as writer:
        whole_call(writer)
    report = verified(tmp_path / "older.db", head_of(ledger, 44))
    assert (report.state, report.exit_code, report.differs) == (
        VerifyState.ROLLED_BACK,
        1,
        Difference.HEAD,
    )


def test_a_missing_ledger_is_exit_3_or_1_where_a_head_covers_it(
    ledger: Path, tmp_path: Path
) -> None:
    """Without a head nobody can say whether there ever was one."""
    head = head_of(ledger, 42)
    missing = tmp_path / "missing.db"
    assert (verify_ledger(missing).state, verify_ledger(missing).exit_code) == (
        VerifyState.MISSING,
        3,
    )
    assert verified(missing, head).exit_code == 1
    assert verified(missing, OutsideHead.parse("kept", b"none")).exit_code == 3


@pytest.mark.parametrize("keep", [100, 4096, 20_000])
def test_a_torn_file_is_exit_3_or_1_where_a_head_covers_it(ledger: Path, keep: int) -> None:
    """A file cut off in the middle can't be decoded."""
    head = head_of(ledger, 42)
    os.truncate(ledger, keep)
    report = verify_ledger(ledger)
    assert (report.state, report.exit_code) == (VerifyState.DAMAGED, 3)
    assert verified(ledger, head).exit_code == 1


def test_a_file_that_is_no_ledger_is_exit_3(tmp_path: Path) -> None:
    """It says that it can't tell, not that something was tampered with."""
    (tmp_path / "a.db").write_bytes(b"hello" * 1000)
    assert verify_ledger(tmp_path / "a.db").exit_code == 3


def test_a_sealed_ledger_that_lost_acknowledged_records_is_exit_1(tmp_path: Path) -> None:
    """The seal remembers what was acknowledged."""
    db = tmp_path / "a.db"
    with make(db) as writer:
        whole_call(writer)
    shutil.copyfile(db, tmp_path / "older.db")
    writer = LedgerWriter.open(db, signing=SIGNING, settings=FAST)
    whole_call(writer)
    (tmp_path / "older.db").replace(db)
    assert writer.submit(note()).exception(5) is not None
    writer.close()
    (tmp_path / "a.db-wal").unlink()
    (tmp_path / "a.db-shm").unlink()
    report = verify_ledger(db)
    assert (report.exit_code, report.differs) == (1, Difference.HEAD)
    assert any("sealed" in notice for notice in report.notices)


def test_open_calls_of_a_dead_process_are_a_reservation(tmp_path: Path) -> None:
    """Exit 5 although the head covers everything; those of a live process are none."""
    db = tmp_path / "a.db"
    with driven(db) as alive, driven(db) as dying:
        alive.ask("decide")
        assert verified(db, head_of(db, 2)).exit_code == 0
        call = dying.ask("decide")["call"]
        dying.kill()
        report = verified(db, head_of(db, 3))
        assert (report.state, report.exit_code) == (VerifyState.OPEN_CALLS, 5)
        assert [open_call.call for open_call in report.dead_calls] == [call]
        assert report.live_calls == 1


def test_whose_an_open_call_is_comes_from_its_line(tmp_path: Path) -> None:
    """The table alone can't make a process that died look like one of another host."""
    db, call = tmp_path / "a.db", new_ulid()
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    where = {"process": "died0000", "host": host_name(), "pid": gone.pid}
    record = {**common("call.decision", call, "died0000"), "origin": where}
    record["decision"] = {"effect": "allow"}
    with make(db) as writer:
        writer.append(Draft.build(record, opens=True, process="died0000"))
    tamper(db, "UPDATE call SET host = 'elsewhere', pid = 1 WHERE open = 1")
    report = verified(db)
    assert [each.call for each in report.dead_calls] == [call]


def test_a_live_ledger_is_verified_while_it_grows(tmp_path: Path) -> None:
    """Calls that open and close meanwhile are no difference between the lines and the table of open
    calls.
    """
    with make(tmp_path / "a.db") as writer:
        stop = threading.Event()

        def write() -> None:
            while not stop.is_set():
                whole_call(writer)

        threads = [threading.Thread(target=write) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(12):
                report = verify_ledger(tmp_path / "a.db")
                assert report.state is VerifyState.NOT_ANCHORED, report
        finally:
            stop.set()
            for thread in threads:
                thread.join()


def test_a_copy_in_a_folder_that_can_not_be_written_is_verified(tmp_path: Path) -> None:
    """Database with its ``-wal``, or the database alone, on a read-only mount; nothing is missing
    from the answer.
    """
    with small_disk(tmp_path / "disk", "4m") as disk, make(tmp_path / "a.db") as writer:
        for _ in range(5):
            whole_call(writer)
        shutil.copyfile(tmp_path / "a.db", disk / "with.db")
        shutil.copyfile(tmp_path / "a.db-wal", disk / "with.db-wal")
        writer.close()
        shutil.copyfile(tmp_path / "a.db", disk / "alone.db")
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        for name in ("with.db", "alone.db"):
            report = verify_ledger(disk / name)
            assert (report.state, report.records) == (VerifyState.NOT_ANCHORED, 11)


def test_progress_is_told(tmp_path: Path) -> None:
    """It rises to the number of records."""
    seen: list[tuple[int, int]] = []
    with make(tmp_path / "a.db") as writer:
        for future in [writer.submit(note()) for _ in range(1200)]:
            future.result(10)
    verify_ledger(tmp_path / "a.db", progress=lambda done, total: seen.append((done, total)))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1] == (1201, 1201)
    assert len(seen) == 3


def test_memory_does_not_grow_with_the_log(tmp_path: Path) -> None:
    """Ten times the records, the same peak."""
    import tracemalloc

    peaks = []
    with make(tmp_path / "a.db") as writer:
        for count in (2000, 8000):
            for future in [writer.submit(note()) for _ in range(count)]:
                future.result(20)
            verify_ledger(tmp_path / "a.db")  # what is loaded lazily is loaded now
            tracemalloc.start()
            verify_ledger(tmp_path / "a.db")
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    assert peaks[1] < peaks[0] * 1.5


def test_a_session_id_with_a_null_character_is_no_difference(tmp_path: Path) -> None:
    """SQLite ends such a string early; the line is what counts."""
    with make(tmp_path / "a.db") as writer:
        writer.append(decision(new_ulid(), writer.process, session="a\0b", effect="deny"))
    assert verify_ledger(tmp_path / "a.db").state is VerifyState.NOT_ANCHORED


# -- exports
# --------------------------------------------------------------------------------------------------


@pytest.fixture
def export(ledger: Path, tmp_path: Path) -> Path:
    """The lines of the ledger, byte for byte."""
    with LedgerReader.open(ledger) as reader, (tmp_path / "log.jsonl").open("wb") as file:
        for _, _, line in reader.lines():
            file.write(line + b"\n")
    return tmp_path / "log.jsonl"


def test_an_export_says_the_same_as_its_ledger(export: Path, ledger: Path) -> None:
    """Records, head, and what is not proved."""
    report, original = verify_export(export), verify_ledger(ledger)
    assert (report.records, report.root, report.exit_code) == (original.records, original.root, 5)
    assert verify_export(export, key=KEYS.public, heads=[head_of(ledger, 42)]).exit_code == 0


def test_a_changed_export_is_found(export: Path, ledger: Path) -> None:
    """Edited, shortened, reordered: exit 1; torn: exit 3, or 1 where a head covers it."""
    lines = export.read_bytes().splitlines(keepends=True)
    head = head_of(ledger, 42)

    def verdict(
        changed: list[bytes], *heads: OutsideHead
    ) -> tuple[int | None, Difference | None, int]:
        export.write_bytes(b"".join(changed))
        report = verify_export(export, key=KEYS.public, heads=heads)
        return report.first_bad, report.differs, report.exit_code

    edited = [*lines[:7], lines[7].replace(b"send_email", b"read_email"), *lines[8:]]
    assert verdict(edited) == (8, Difference.PREV, 1)
    assert verdict(lines[:7] + lines[8:]) == (7, Difference.NUMBER, 1)
    assert verdict([*lines[:7], lines[8], lines[7], *lines[9:]]) == (7, Difference.NUMBER, 1)
    assert verdict([*lines[:7], b"[]\n", *lines[8:]]) == (7, Difference.LINE, 1)
    assert verdict([*lines[:7], b"x" * 70_000 + b"\n", *lines[8:]]) == (7, Difference.LINE, 1)
    assert verdict(lines[:30]) == (None, None, 5)
    assert verdict(lines[:30], head) == (None, Difference.HEAD, 1)
    torn = [*lines[:-1], lines[-1][:-10]]
    assert verdict(torn) == (None, None, 3)
    assert verdict(torn, head) == (None, None, 1)
    assert verdict([]) == (None, None, 3)


def test_a_missing_export_is_exit_3(tmp_path: Path) -> None:
    """There is nothing to tell."""
    assert verify_export(tmp_path / "none.jsonl").exit_code == 3


def test_heads_are_read_from_notes_and_from_file_anchors(ledger: Path, tmp_path: Path) -> None:
    """One signed note; of many lines each head once; what is none is malformed; what is not there
    is an error.
    """
    file = tmp_path / "head"
    file.write_bytes(head_at(ledger, 3).encode())
    assert [each.head and each.head.size for each in load_heads(file)] == [3]
    lines = [head_line(head_at(ledger, size)) for size in (3, 7, 5)]
    file.write_bytes(b"".join(lines) + lines[0] + b"torn")
    assert [each.head and each.head.size for each in load_heads(file)] == [3, 7, 5]
    file.write_text("nonsense")
    assert [each.head for each in load_heads(file)] == [None]
    with pytest.raises(HeadError):
        load_heads(tmp_path / "none")


def test_keys_are_read_in_three_forms(tmp_path: Path) -> None:
    """Hex, a note key, or a file with either; anything else says where the key is."""
    key = SIGNING.log_key(LOG).key
    file = tmp_path / "log.pub"
    for text in (KEYS.public, KEYS.public.upper(), str(key)):
        assert load_key(text) == KEYS.public
        file.write_text(text + "\n")
        assert load_key(str(file)) == KEYS.public
    witness = NoteKey("w", key.public, Algorithm.COSIGNATURE_V1)
    for wrong in ("ab" * 31, "zz" * 32, str(witness), str(tmp_path)):
        with pytest.raises(HeadError) as caught:
            load_key(wrong)
        assert caught.value.hint


# -- signed heads, keys and the tree
# ----------------------------------------------------------------------------------------


@pytest.fixture
def signed(tmp_path: Path) -> Path:
    """A ledger of 300 whole calls whose writer had a key of its own: a tile and more."""
    with make(tmp_path / "s.db", signing=EPOCHS) as writer:
        for _ in range(2):
            waiting = []
            for _ in range(150):
                call = new_ulid()
                seq = writer.append(decision(call, writer.process)).seq
                waiting.append(writer.submit(outcome(call, seq, writer.process)))
            for each in waiting:
                each.result(20)
    return tmp_path / "s.db"


def test_without_a_key_from_outside_it_is_not_pinned(signed: Path) -> None:
    """Exit 5 however well it is anchored; with the key 0; with another key it is another log."""
    head = head_of(signed, 603)
    report = verify_ledger(signed, heads=[head])
    assert (report.state, report.exit_code, report.key_pinned) == (VerifyState.ANCHORED, 5, False)
    assert any("KEY NOT PINNED" in sentence for sentence in report.not_proved)
    assert verified(signed, head).exit_code == 0
    other = verify_ledger(signed, key="ab" * 32, heads=[head])
    assert (other.state, other.exit_code, other.anchored_to) == (VerifyState.REPLACED, 1, None)


def test_a_head_that_no_key_of_the_log_signed_is_key_unknown(signed: Path) -> None:
    """It fits, but nobody who counts vouches for it: exit 3; beside one that counts it is a
    notice.
    """
    stranger = OutsideHead.parse("s", head_at(signed, 603, Keys.ephemeral()).encode())
    report = verified(signed, stranger)
    assert (report.state, report.exit_code) == (VerifyState.KEY_UNKNOWN, 3)
    report = verified(signed, stranger, head_of(signed, 500))
    assert (report.state, report.anchored_to) == (VerifyState.ANCHORED, 499)
    assert any("no valid signature" in notice for notice in report.notices)
    report = verified(signed, OutsideHead.parse("s", b"x"))
    assert (report.state, report.exit_code) == (VerifyState.HEAD_MALFORMED, 3)


def test_a_head_over_other_records_is_a_fork(signed: Path, tmp_path: Path) -> None:
    """Two histories of one log, both with good signatures: an older copy that went on by itself."""
    shutil.copyfile(signed, tmp_path / "fork.db")
    for db in (signed, tmp_path / "fork.db"):
        with reopen(db) as writer:
            whole_call(writer)
    head = head_of(tmp_path / "fork.db", 605)
    assert verified(tmp_path / "fork.db", head).exit_code == 0
    report = verified(signed, head)
    assert (report.state, report.exit_code, report.first_bad) == (VerifyState.FORKED, 1, None)


@pytest.mark.parametrize(
    ("statements", "differs", "seq"),
    [
        (["DELETE FROM head"], Difference.HEAD, None),
        (["UPDATE head SET note = 'x'"], Difference.HEAD, None),
        (["UPDATE head SET size = 3"], Difference.HEAD, None),
        (["UPDATE head SET leaf = zeroblob(32)"], Difference.HEAD, None),
        (["UPDATE head SET edge = zeroblob(32)"], Difference.HEAD, None),
        (
            ["UPDATE tile SET hashes = zeroblob(8192) WHERE level = 0 AND number = 1"],
            Difference.TILE,
            511,
        ),
        (["UPDATE tile SET hashes = zeroblob(64) WHERE level = 1"], Difference.TILE, None),
        (["DELETE FROM tile WHERE level = 0 AND number = 0"], Difference.TILE, 255),
        (["INSERT INTO epoch VALUES ('ab', 9, 'p', 'h', 1)"], Difference.EPOCHS, 9),
        (["INSERT INTO pruned VALUES (0, 300)"], Difference.PRUNED, 1),
        (
            [
                "INSERT INTO pruned VALUES (0, 300)",
                "DELETE FROM record WHERE seq BETWEEN 1 AND 299",
            ],
            Difference.PRUNED,
            1,
        ),
    ],
)
def test_tampering_beside_the_lines_is_found(
    signed: Path, statements: list[str], differs: Difference, seq: int | None
) -> None:
    """The stored head, the tree, the keys and what is said to be pruned are compared with the
    lines.
    """
    tamper(signed, *statements)
    report = verified(signed)
    assert (report.exit_code, report.differs, report.first_bad) == (1, differs, seq)


def test_records_cut_off_below_the_stored_head_are_truncated(signed: Path) -> None:
    """The head that is left behind says what is missing."""
    tamper(signed, "DELETE FROM record WHERE seq > 580", "DELETE FROM epoch")
    report = verified(signed)
    assert (report.state, report.exit_code) in (
        (VerifyState.TRUNCATED, 1),
        (VerifyState.TAMPERED, 1),
    )


def test_what_is_appended_without_a_key_is_found_at_its_record(signed: Path) -> None:
    """Linked well, in a tree that fits, under the head that was there: the first record that nobody
    signed.
    """

    def append(connection: sqlite3.Connection) -> None:
        seq, leaf = connection.execute(
            "SELECT seq, leaf FROM record ORDER BY seq DESC LIMIT 1"
        ).fetchone()
        line = note().finish(seq=seq + 1, prev=leaf.hex(), ts="2030-01-01T00:00:00.000000Z")
        connection.execute(
            "INSERT INTO record (seq, leaf, line) VALUES (?, ?, ?)",
            (seq + 1, leaf_hash(line), line.decode()),
        )

    tamper(signed, append)
    report = verified(signed)
    assert (report.exit_code, report.differs, report.first_bad) == (1, Difference.HEAD, 603)


def test_only_new_records_can_be_read(signed: Path) -> None:
    """From a number on, the tree before it from its stored leaves: intact with a reservation, and
    edits behind it are found.
    """
    head = head_of(signed, 603)
    report = verified(signed, head, since=400)
    assert (report.state, report.exit_code, report.records) == (VerifyState.ANCHORED, 5, 603)
    assert any("before 400" in sentence for sentence in report.not_proved)
    tamper(signed, "UPDATE record SET line = replace(line, 'send', 'read') WHERE seq IN (100, 450)")
    assert verified(signed, head, since=400).first_bad == 450
    assert verified(signed, head, since=460).exit_code == 5
    assert verified(signed, head).first_bad == 100
    assert verified(signed, head, since=10_000).exit_code == 5


def test_a_head_of_records_that_were_not_read_is_not_compared_well(signed: Path) -> None:
    """What is stored of them can contradict a head, and is no word for one: it is not what the
    lines say.
    """
    report = verified(signed, head_of(signed, 300), since=400)
    assert (report.state, report.exit_code, report.anchored_to) == (
        VerifyState.NOT_ANCHORED,
        5,
        None,
    )
    key = KEYS.signing(actor={"id": "x"}, epochs=False).log_key(LOG)
    text = Checkpoint(LOG, 300, bytes(32)).text
    other = OutsideHead.parse("other", str(SignedNote.sign(text, key.key, key.sign)))
    assert verified(signed, other, since=400).state is VerifyState.FORKED


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize(
    "stale",
    [
        "INSERT INTO tile VALUES (0, 2, x'{partial}')",
        "UPDATE tile SET hashes = x'{whole}' WHERE level = 0 AND number = 1",
        "UPDATE tile SET hashes = x'{upper}' WHERE level = 1",
    ],
)
def test_hashes_that_records_had_before_do_not_stand_for_them(
    signed: Path, monkeypatch: pytest.MonkeyPatch, stale: str, jobs: int
) -> None:
    """Whoever has the keys makes everything anew, and leaves old hashes where verify might take
    them from.
    """
    monkeypatch.setattr(parts, "PART_LEVEL", 8)
    heads = [head_of(signed, size) for size in (520, 300, 257)]
    connection = sqlite3.connect(signed)
    leaves = [row[0] for row in connection.execute("SELECT leaf FROM record ORDER BY seq")]
    (upper,) = connection.execute("SELECT hashes FROM tile WHERE level = 1").fetchone()
    connection.close()
    tamper(signed, rewrite_from(260))
    old = {"partial": leaves[512:520], "whole": leaves[256:512], "upper": [upper]}
    tamper(signed, stale.format(**{name: b"".join(each).hex() for name, each in old.items()}))
    for head in heads[:2]:
        report = verified(signed, head, jobs=jobs)
        assert (report.exit_code, report.anchored_to) == (1, None)
    report = verified(signed, heads[2], jobs=jobs)
    assert (report.exit_code, report.differs) == (1, Difference.TILE)


def rewrite_from(seq: int) -> Tamper:
    """Change record *seq*, and make anew what follows from that: links, leaves, tree and head."""

    def rewrite(connection: sqlite3.Connection) -> None:
        query = "SELECT seq, leaf, line FROM record ORDER BY seq"
        rows = connection.execute(query).fetchall()
        connection.execute("DELETE FROM tile")
        edge, prev = Edge(), ""
        for number, stored, line in rows:
            leaf = stored
            if number >= seq:
                made = {**json.loads(line), "prev": prev}
                if number == seq:
                    made["origin"] = {**made["origin"], "adapter": "forged"}
                leaf = leaf_hash(dumps(made))
                row = (leaf, dumps(made).decode(), number)
                connection.execute("UPDATE record SET leaf = ?, line = ? WHERE seq = ?", row)
            prev = leaf.hex()
            grown = edge.append(leaf)
            if edge.size % TILE == 0:
                SQLiteTreeWriter(connection.execute).store_tile(edge.size, grown)
        key = SIGNING.log_key(LOG)
        SQLiteTreeWriter(connection.execute).write_head(
            sign_head(leaf, edge, head_signer(LOG, key), SIGNING)
        )

    return rewrite


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 400, 512, 513, 603])
def test_heads_of_any_size_are_compared_by_several_processes(
    signed: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """Wherever in a part it ends."""
    monkeypatch.setattr(parts, "PART_LEVEL", 8)
    report = verified(signed, head_of(signed, size), jobs=2)
    assert (report.exit_code, report.anchored_to) == (0, size - 1)


def test_several_processes_say_what_one_says(signed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an intact ledger, and of each way in which a part of it is not, wherever calls and keys
    cross the parts.
    """
    monkeypatch.setattr(parts, "PART_LEVEL", 8)
    head = head_of(signed, 603)
    seen: list[tuple[int, int]] = []
    report = verified(signed, head, jobs=2, progress=lambda done, total: seen.append((done, total)))
    assert report == verified(signed, head)
    assert report.exit_code == 0
    assert [done for done, _ in seen][:2] == [256, 512]
    for edit in (
        "UPDATE record SET line = replace(line, 'send', 'read') WHERE seq = 300",
        "UPDATE tile SET hashes = zeroblob(8192) WHERE level = 0 AND number = 0",
        "UPDATE record SET leaf = zeroblob(32) WHERE seq = 255",
        "DELETE FROM record WHERE seq = 400",
    ):
        tamper(signed, edit)
        report = verified(signed, head, jobs=2)
        assert report == verified(signed, head)
        assert report.exit_code == 1


def test_an_index_that_leads_past_records_is_found_beside_the_parts(
    signed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite compares the indexes while others read the records, and once; where that fails it
    is asked again.
    """
    monkeypatch.setattr(parts, "PART_LEVEL", 8)
    asked = []
    ask = SQLiteStorage.page_fault
    monkeypatch.setattr(SQLiteStorage, "page_fault", lambda one: asked.append(1) or ask(one))
    assert verified(signed, jobs=2).state is VerifyState.NOT_ANCHORED
    assert len(asked) == 1
    tamper(signed, "DELETE FROM place WHERE kind = 'session'")
    report = verified(signed, jobs=2)
    assert (report.exit_code, report.differs) == (1, Difference.INDEX)
    assert report == verified(signed)

    def once(one: SQLiteStorage) -> object:
        if not asked:
            return ask(one)
        asked.clear()
        raise LedgerError("busy", code="ledger.unreadable")

    monkeypatch.setattr(SQLiteStorage, "page_fault", once)
    assert verified(signed, jobs=2) == report


def test_calls_that_cross_the_parts_are_put_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Decided in one part, ended in another, or not at all; decided twice is found."""
    monkeypatch.setattr(parts, "PART_LEVEL", 8)
    db = tmp_path / "x.db"
    with make(db) as writer:
        calls = [new_ulid() for _ in range(300)]
        seqs = [
            each.result(20).seq
            for each in [writer.submit(decision(call, writer.process)) for call in calls]
        ]
        ends = [
            writer.submit(outcome(call, seq, writer.process))
            for call, seq in zip(calls[:290], seqs, strict=False)
        ]
        for each in ends:
            each.result(20)
        report = verified(db, jobs=2)
        assert report.live_calls == 10
        assert report == verified(db)
    tamper(db, "DELETE FROM call WHERE open = 1 AND decision = 300")
    report = verified(db, jobs=2)
    assert (report.first_bad, report.differs) == (300, Difference.OPEN_CALLS)


def test_gaps_between_heartbeats_are_told_and_not_explained(tmp_path: Path) -> None:
    """No writer was alive, or it was silenced: the log can't say which."""
    from guardrail.core.log import fields

    with make(tmp_path / "h.db") as writer:
        for interval in (1, 1, 60, 60):
            record = fields.admin(
                LOG, "heartbeat", actor={}, where={}, detail={"interval_s": interval, "anchors": []}
            )
            writer.append(Draft.build(record))
    report = verify_ledger(tmp_path / "h.db")
    assert (report.heartbeats, report.silences) == (4, 0)
    beats = [
        (1, "2026-01-01T00:00:00.000000Z", 60),
        (2, "2026-01-01T00:01:00.000000Z", 60),
        (9, "2026-01-01T01:01:00.000000Z", 60),
    ]
    count, words = silences_in(beats)
    assert count == 1
    assert "3600 s" in words[0]
    assert "records 2 and 9" in words[0]


def test_a_clock_set_back_a_day_is_a_notice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Records keep their order; time is what the clock said."""
    from guardrail.ledger.sqlite import appending

    with make(tmp_path / "c.db") as writer:
        whole_call(writer)
        monkeypatch.setattr(appending, "utc_timestamp", lambda: "2020-01-01T00:00:00.000000Z")
        whole_call(writer)
    report = verify_ledger(tmp_path / "c.db")
    assert report.state is VerifyState.NOT_ANCHORED
    assert any("Time went back" in notice for notice in report.notices)


def test_another_page_size_and_a_path_through_a_link_make_no_difference(
    signed: Path, tmp_path: Path
) -> None:
    """What SQLite keeps the lines in is not what is verified."""
    connection = sqlite3.connect(signed, isolation_level=None)
    connection.execute("PRAGMA journal_mode = DELETE")
    connection.execute("PRAGMA page_size = 16384")
    connection.execute("VACUUM")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.close()
    (tmp_path / "link.db").symlink_to(signed)
    report = verified(tmp_path / "link.db", head_of(signed, 603))
    assert report.exit_code == 0
    with reopen(signed) as writer:
        whole_call(writer)


def test_a_ledger_of_another_format_is_not_checked(signed: Path) -> None:
    """Older and newer ones: exit 3, with what to do."""
    for version in (1, 7):
        connection = sqlite3.connect(signed)
        connection.execute(f"PRAGMA user_version = {version}")
        connection.commit()
        connection.close()
        report = verified(signed)
        assert (report.state, report.exit_code) == (VerifyState.UNREADABLE, 3)
        assert str(version) in report.detail


def test_a_record_of_the_largest_size_is_verified(tmp_path: Path) -> None:
    """The largest that the writer takes, just below 65,535 bytes, is no trouble for anyone."""

    def fits(pad: int) -> bool:
        try:
            decision("x" * 26, "p" * 26, pad=pad, effect="deny")
        except RecordError:
            return False
        return True

    pad = max(filter(fits, range(64_000, 65_536, 1)))
    with make(tmp_path / "l.db") as writer:
        writer.append(decision(new_ulid(), writer.process, pad=pad, effect="deny"))
    with LedgerReader.open(tmp_path / "l.db") as reader:
        assert 65_500 < len(reader.record(1) or b"") <= 65_535
    assert verify_ledger(tmp_path / "l.db").records == 2
