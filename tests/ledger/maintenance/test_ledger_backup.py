"""Backup: one file, consistent, verified, while writers run."""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from guardrail.errors import LedgerError
from guardrail.keys.log_key import verify_signature
from guardrail.ledger.maintenance.backup import Backup, backup
from guardrail.ledger.maintenance.examine import examine
from guardrail.ledger.reader import LedgerReader
from guardrail.ledger.sqlite.database import SCHEMA
from guardrail.ledger.tree import TILE
from guardrail.system.ids import new_ulid
from tests.support.full_disk import small_disk
from tests.support.ledgers import EPOCHS, SIGNING, decision, driven, make, note, reopen, whole_call


def problem(path: Path) -> str:
    """Say what is wrong with a ledger."""
    with LedgerReader.open(path) as reader:
        found = examine(reader, signing=SIGNING, verify=verify_signature)
    return (
        found.report.detail
        or found.unreadable
        or found.head
        or ", ".join(each.table for each in found.caches)
        or ("" if found.whole else "pages")
    )


def copied(ledger: Path, target: Path) -> Backup:
    return backup(ledger, target, check=problem)


def test_a_copy_holds_all_that_was_acknowledged_and_stands_alone(tmp_path: Path) -> None:
    """Also what is in the ``-wal`` alone; one file, for its owner, that opens as a ledger."""
    db, target = tmp_path / "a.db", tmp_path / "kept" / "b.db"
    target.parent.mkdir()
    with make(db, signing=EPOCHS) as writer:
        whole_call(writer)
        receipt = writer.append(decision(new_ulid(), writer.process))
        done = copied(db, target)
        assert (done.records, done.leaf) == (receipt.seq + 1, receipt.leaf.hex())
        writer.append(note())
    assert [item.name for item in target.parent.iterdir()] == ["b.db"]
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert target.stat().st_nlink == 1
    assert done.bytes == target.stat().st_size
    assert problem(target) == ""
    with reopen(target) as writer:
        whole_call(writer)
    assert problem(target) == ""


def test_writers_go_on_while_a_copy_is_made_and_each_copy_is_consistent(tmp_path: Path) -> None:
    """Two processes write; every copy has a head over exactly its records."""
    db = tmp_path / "a.db"
    with make(db) as writer:
        for future in [writer.submit(note()) for _ in range(TILE)]:
            future.result()
    with driven(db) as other, reopen(db) as writer:
        stop = threading.Event()
        written = [0]

        def work() -> None:
            while not stop.is_set():
                whole_call(writer)
                other.ask("call")
                written[0] += 1

        worker = threading.Thread(target=work)
        worker.start()
        try:
            sizes = []
            for number in range(6):
                before = written[0]
                sizes.append(copied(db, tmp_path / f"{number}.db").records)
                while written[0] == before and worker.is_alive():
                    stop.wait(0.01)
        finally:
            stop.set()
            worker.join()
        assert written[0] >= 6
    assert sizes == sorted(sizes)
    assert sizes[0] > TILE
    assert sizes[-1] > sizes[0]


@pytest.mark.parametrize("there", ["file", "link", "folder"])
def test_what_is_there_is_never_overwritten(tmp_path: Path, there: str) -> None:
    """Not even a link that leads nowhere."""
    db, target = tmp_path / "a.db", tmp_path / "b.db"
    make(db).close()
    if there == "file":
        target.write_text("kept")
    elif there == "link":
        target.symlink_to(tmp_path / "nowhere")
    else:
        target.mkdir()
    with pytest.raises(LedgerError) as caught:
        copied(db, target)
    assert caught.value.code == "ledger.exists"
    assert not (tmp_path / "nowhere").exists()
    if there == "file":
        assert target.read_text() == "kept"
    assert len(list(tmp_path.glob(".b.db*"))) == 0


def test_a_name_that_is_taken_while_the_copy_is_made_stays_as_it_is(tmp_path: Path) -> None:
    """The copy gets its name last, and by a call that does not replace."""
    db, target = tmp_path / "a.db", tmp_path / "b.db"
    make(db).close()

    def late(path: Path) -> str:
        target.write_text("kept")
        return problem(path)

    with pytest.raises(LedgerError) as caught:
        backup(db, target, check=late)
    assert caught.value.code == "ledger.exists"
    assert target.read_text() == "kept"
    assert sorted(item.name for item in tmp_path.glob("*b.db*")) == ["b.db"]


def _no_head(db: Path) -> None:
    _sql(db, "DELETE FROM head")


def _other_line(db: Path) -> None:
    drop, change = "DROP TRIGGER record_no_update", "UPDATE record SET line = '{}' WHERE seq = 1"
    _sql(db, drop, change, SCHEMA["record_no_update"])


def _torn(db: Path) -> None:
    with db.open("r+b") as out:
        out.seek(4096 * 3)
        out.write(os.urandom(4096 * 6))


def _sql(db: Path, *statements: str) -> None:
    connection = sqlite3.connect(db, isolation_level=None)
    for each in statements:
        connection.execute(each)
    connection.close()


@pytest.mark.parametrize("spoil", [_no_head, _other_line, _torn])
def test_a_copy_that_is_not_right_is_no_copy(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    """Whoever keeps backups learns that the ledger was spoilt when the next one is made."""
    db, target = tmp_path / "a.db", tmp_path / "b.db"
    with make(db) as writer:
        for _ in range(20):
            whole_call(writer)
    spoil(db)
    with pytest.raises(LedgerError) as caught:
        copied(db, target)
    assert caught.value.code == "ledger.damaged"
    assert caught.value.hint
    assert list(tmp_path.glob("*b.db*")) == []


def test_a_disk_without_room_for_the_copy_leaves_nothing_there(tmp_path: Path) -> None:
    """And the ledger as it was."""
    db = tmp_path / "a.db"
    with make(db) as writer:
        for _ in range(60):
            writer.append(decision(new_ulid(), writer.process, pad=30_000))
    with small_disk(tmp_path / "disk", "1m") as disk:
        with pytest.raises(LedgerError) as caught:
            copied(db, disk / "b.db")
        assert caught.value.hint
        assert list(disk.iterdir()) == []
    assert problem(db) == ""


def test_there_is_nothing_to_copy_where_there_is_no_ledger(tmp_path: Path) -> None:
    """Nor where the folder for the copy is missing."""
    with pytest.raises(LedgerError) as caught:
        copied(tmp_path / "no.db", tmp_path / "b.db")
    assert caught.value.code == "ledger.missing"
    make(tmp_path / "a.db").close()
    with pytest.raises(LedgerError) as caught:
        copied(tmp_path / "a.db", tmp_path / "no" / "b.db")
    assert caught.value.code == "ledger.backup"


@pytest.mark.parametrize(
    "name",
    [
        "-wal",
        "-shm",
        "-journal",
        "-sealed",
        "-reserve",
        "-anchors.json",
        "-segments",
        "-x",
        "-leases/x",
    ],
)
def test_a_copy_never_takes_a_name_of_the_ledgers_own_files(tmp_path: Path, name: str) -> None:
    """It would be taken for a seal, or deleted as a journal; also where a link leads to the same
    folder.
    """
    db = tmp_path / "here" / "a.db"
    db.parent.mkdir()
    make(db).close()
    (tmp_path / "there").symlink_to(db.parent)
    for folder in (db.parent, tmp_path / "there"):
        with pytest.raises(LedgerError) as caught:
            backup(db, folder / f"a.db{name}", check=lambda _: "")
        assert caught.value.code == "ledger.exists"
    assert [each.name for each in db.parent.glob("*")] == ["a.db"] or not (
        db.parent / f"a.db{name}"
    ).is_file()


def test_a_copy_is_put_into_no_file_or_folder_that_is_in_use(tmp_path: Path) -> None:
    """Keys and an access log may be anywhere: their names, and all names below them, are
    refused.
    """
    make(tmp_path / "a.db").close()
    keys, readers = tmp_path / "k", tmp_path / "readers.db"
    keys.mkdir()
    for target in (
        keys / "b.db",
        tmp_path / "a.keys" / "b.db",
        readers,
        tmp_path / "readers.db-wal",
    ):
        with pytest.raises(LedgerError) as caught:
            backup(tmp_path / "a.db", target, check=lambda _: "", taken=(keys, readers))
        assert caught.value.code == "ledger.exists"
    assert sorted(each.name for each in tmp_path.iterdir()) == [
        "a.db",
        "a.db-leases",
        "a.db-lock",
        "k",
    ]
    backup(tmp_path / "a.db", tmp_path / "b.db", check=lambda _: "", taken=(keys, readers))
