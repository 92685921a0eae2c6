"""Recover: what it finds, what it does, what it leaves alone."""

from __future__ import annotations

import os
import sqlite3
import stat
from pathlib import Path

import pytest

from guardrail.core.log import chain
from guardrail.core.log.record import decode
from guardrail.errors import LedgerError, LedgerSealedError
from guardrail.ledger.maintenance.recover import recover, successor
from guardrail.ledger.maintenance.recovery_plan import Action, inspect
from guardrail.ledger.reader import LedgerReader
from guardrail.ledger.sqlite.database import SCHEMA
from guardrail.ledger.writing.writer import LedgerWriter
from guardrail.system.ids import new_ulid
from tests.support.ledgers import (
    ACTOR,
    FAST,
    GENESIS,
    LOG,
    SIGNING,
    decision,
    driven,
    make,
    note,
    whole_call,
)


def _sealed(db: Path) -> int:
    """Make a ledger that lost its tail and is sealed; return how many records are left."""
    writer = make(db)
    whole_call(writer)
    writer.close()
    writer = LedgerWriter.open(db, signing=SIGNING, settings=FAST)
    whole_call(writer)
    os.truncate(f"{db}-wal", 0)
    for _ in range(20):
        with pytest.raises(LedgerError) as caught:
            writer.append(note())
        if isinstance(caught.value, LedgerSealedError):
            break
    writer.close()
    return 3


def test_a_sealed_log_with_an_intact_chain_goes_on(tmp_path: Path) -> None:
    """The seal is lifted, the log says who did it, why, and what is lost."""
    db = tmp_path / "a.db"
    left = _sealed(db)
    plan = inspect(db)
    assert plan.action is Action.CONTINUE
    assert plan.lost == 2
    assert plan.intact is not None
    assert plan.intact.size == left
    report = recover(db, who=ACTOR, signing=SIGNING, reason="the disk was exchanged")
    assert report.receipt is not None
    assert not (tmp_path / "a.db-sealed").exists()
    with (
        LedgerWriter.open(db, signing=SIGNING, settings=FAST) as writer,
        LedgerReader.open(db) as reader,
    ):
        whole_call(writer)
        record = decode(reader.record(report.receipt.seq) or b"")
        assert record["type"] == "admin.recovered"
        assert record["actor"] == ACTOR
        assert record["detail"]["reason"] == "the disk was exchanged"
        assert record["detail"]["lost"] == 2
        assert record["detail"]["acknowledged"]["seq"] == 4
        assert chain.verify(reader.lines()).first_bad is None


def test_a_record_whose_commit_is_no_longer_whole_is_kept_beside_the_log(tmp_path: Path) -> None:
    """Its line stands in the -wal, but SQLite does not see it, and what is written next goes over
    it.
    """
    db = tmp_path / "a.db"
    writer = make(db)
    receipt = writer.append(decision(new_ulid(), writer.process, pad=1000))
    with LedgerReader.open(db) as reader:
        line = reader.record(receipt.seq) or b""
    os.truncate(f"{db}-wal", os.stat(f"{db}-wal").st_size - 100)  # the last frame ends the commit
    for _ in range(20):
        with pytest.raises(LedgerError) as caught:
            writer.append(note())
        if isinstance(caught.value, LedgerSealedError):
            break
    writer.close()
    assert line in Path(f"{db}-wal").read_bytes()
    report = recover(db, who=ACTOR, signing=SIGNING, reason="the -wal was cut")
    (kept,) = report.set_aside
    assert line in kept.read_bytes()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    with LedgerWriter.open(db, signing=SIGNING, settings=FAST) as writer:
        whole_call(writer)


def test_looking_changes_nothing(tmp_path: Path) -> None:
    """``inspect`` leaves seal, files and content as they are."""
    db = tmp_path / "a.db"
    _sealed(db)
    before = {
        item.name: item.read_bytes()
        for item in tmp_path.iterdir()
        if item.is_file() and item.name != "a.db-shm"
    }
    inspect(db)
    after = {
        item.name: item.read_bytes()
        for item in tmp_path.iterdir()
        if item.is_file() and item.name != "a.db-shm"
    }
    assert after == before


def test_nothing_is_done_about_a_healthy_log(tmp_path: Path) -> None:
    """No record, no new file."""
    with make(tmp_path / "a.db") as writer:
        report = recover(tmp_path / "a.db", who=ACTOR, signing=SIGNING, reason="curiosity")
        assert report.plan.action is Action.NOTHING
        assert report.receipt is None
        assert writer.append(note()).seq == 1


def test_a_broken_log_is_set_aside_and_named_by_its_successor(tmp_path: Path) -> None:
    """The old file stays as it is; the new log's genesis names the last head up to which it was
    intact.
    """
    db = tmp_path / "a.db"
    with make(db) as writer:
        for _ in range(3):
            whole_call(writer)
    raw = sqlite3.connect(db)
    raw.execute("DROP TRIGGER record_no_update")
    raw.execute("""UPDATE record SET line = replace(line, '"ok"', '"ko"') WHERE seq = 4""")
    raw.execute(SCHEMA["record_no_update"])
    raw.commit()
    raw.close()
    with LedgerReader.open(db) as reader:
        leaves = [leaf.hex() for _, leaf, _ in reader.lines()]
    report = recover(db, who=ACTOR, signing=SIGNING, reason="someone edited it")
    assert report.plan.first_bad == 4
    assert [item.exists() for item in report.set_aside] == [True] * len(report.set_aside)
    with LedgerReader.open(report.set_aside[0]) as old, LedgerReader.open(db) as new:
        assert old.size() == 7
        assert new.log == f"{LOG}~2", "whoever keeps heads of the old log must not take it for that"
        assert new.genesis["predecessor"] == {"log": LOG, "size": 4, "leaf": leaves[3]}
        assert new.genesis["key"] == GENESIS["key"]
        assert new.genesis["nonce"] != old.genesis["nonce"]
        assert decode(new.record(1) or b"")["type"] == "admin.recovered"
        assert chain.verify(new.lines()).first_bad is None
    LedgerWriter.open(db, signing=SIGNING, settings=FAST).close()


def test_a_lost_database_gets_a_successor_from_the_seal(tmp_path: Path) -> None:
    """With the file gone, the marker knows which log it was and what was acknowledged last."""
    db = tmp_path / "a.db"
    writer = make(db)
    whole_call(writer)
    last = writer.append(note())
    db.unlink()
    with pytest.raises(LedgerSealedError):
        writer.append(note())
    writer.close()
    report = recover(db, who=ACTOR, signing=SIGNING, reason="deleted by accident")
    assert report.plan.action is Action.RESTART
    with LedgerReader.open(db) as reader:
        assert reader.genesis["predecessor"] == {
            "log": LOG,
            "size": last.seq + 1,
            "leaf": last.leaf.hex(),
        }
        assert reader.log == f"{LOG}~2"


def test_a_file_that_is_no_database_is_set_aside(tmp_path: Path) -> None:
    """Overwritten from its beginning, nothing can be read: a name and a key have to be given."""
    db = tmp_path / "a.db"
    make(db).close()
    db.write_bytes(b"overwritten" * 1000)
    with pytest.raises(LedgerError) as caught:
        recover(db, who=ACTOR, signing=SIGNING, reason="overwritten")
    assert caught.value.code == "ledger.no_genesis"
    assert db.read_bytes().startswith(b"overwritten")
    report = recover(
        db, who=ACTOR, signing=SIGNING, reason="overwritten", genesis=GENESIS, log="test/new"
    )
    assert report.log == "test/new"
    assert report.set_aside[0].read_bytes().startswith(b"overwritten")
    with LedgerReader.open(db) as reader:
        assert reader.genesis["predecessor"] is None


def test_where_nothing_is_left_a_new_log_is_begun(tmp_path: Path) -> None:
    """Keys without any file of the log: recover makes one from what it is given, and says so in
    it.
    """
    report = recover(
        tmp_path / "a.db",
        who=ACTOR,
        signing=SIGNING,
        reason="the disk was lost",
        genesis=GENESIS,
        log=LOG,
    )
    assert report.plan.action is Action.RESTART
    with LedgerReader.open(tmp_path / "a.db") as reader:
        assert decode(reader.record(1) or b"")["detail"]["found"] == "nothing is left of the ledger"


def test_other_processes_must_end_first(tmp_path: Path) -> None:
    """While another process has the ledger open, nothing is exchanged under it."""
    db = tmp_path / "a.db"
    _sealed(db)
    seal = (tmp_path / "a.db-sealed").read_bytes()
    (tmp_path / "a.db-sealed").unlink()
    with driven(db) as other:
        other.ask("call")
        (tmp_path / "a.db-sealed").write_bytes(seal)
        with pytest.raises(LedgerError) as caught:
            recover(db, who=ACTOR, signing=SIGNING, reason="impatience")
        assert caught.value.code == "ledger.in_use"
        other.kill()
    recover(db, who=ACTOR, signing=SIGNING, reason="patience")


def test_calls_of_which_nobody_can_tell_are_closed_by_a_person(tmp_path: Path) -> None:
    """No lease and another host's process: no sweep touches the call, recover does."""
    db = tmp_path / "a.db"
    with make(db) as writer:
        call = new_ulid()
        writer.append(decision(call, "0" * 26))
    raw = sqlite3.connect(db)
    raw.execute("UPDATE call SET host = 'elsewhere' WHERE open = 1")
    raw.commit()
    raw.close()
    with LedgerWriter.open(db, signing=SIGNING, settings=FAST) as writer:
        assert writer.sweep() == 0
    report = recover(db, who=ACTOR, signing=SIGNING, reason="that host is gone")
    assert report.plan.action is Action.CLOSE_CALLS
    assert report.closed == 1
    with LedgerReader.open(db) as reader:
        assert decode(list(reader.by_call(call))[1])["status"] == "unknown"
        assert reader.open_calls() == []


@pytest.mark.parametrize(
    ("log", "next_one"),
    [
        ("a/b", "a/b~2"),
        ("a/b~2", "a/b~3"),
        ("a~9/b", "a~9/b~2"),
        ("a~x", "a~x~2"),
        ("a~99", "a~100"),
    ],
)
def test_a_new_log_has_a_name_of_its_own(log: str, next_one: str) -> None:
    """And so has the one after that."""
    assert successor(log) == next_one
