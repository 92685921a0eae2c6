"""An index that is damaged, foreign, edited, newer, or in a place that can't be used: answers stay
those of the ledger, and the reader is told.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from guardrail.core.log.record import decode
from guardrail.errors import LedgerError, RecordError
from guardrail.ledger.reader import LedgerReader
from guardrail.review.index.build import FORMAT
from guardrail.review.index.file import IndexFile
from guardrail.review.index.records import IndexedRecords
from guardrail.review.sessions import recent_sessions
from tests.review.index.conftest import Indexed, all_answers, assert_same
from tests.support.command_line import build, edit
from tests.support.full_disk import fill, small_disk


def same_as_scan(indexed: Indexed) -> list[str]:
    """Compare all answers with those of a scan; return what the reader was told."""
    indexed.notes.clear()
    with indexed.read() as records, indexed.read(file=False) as scanned:
        assert_same(all_answers(records), all_answers(scanned))
    return indexed.notes


def change(indexed: Indexed, *statements: str) -> None:
    """Change the index as someone would who can write it."""
    with sqlite3.connect(indexed.file.path) as db:
        for statement in statements:
            db.execute(statement)
    db.close()


def _overwrite(start: int) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        size = path.stat().st_size
        with path.open("r+b") as file:
            file.seek(start)
            file.write(os.urandom(size - start))

    return damage


@pytest.mark.parametrize(
    "damage",
    [
        _overwrite(0),
        _overwrite(4096),
        _overwrite(100),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"not a database at all" * 1000),
        lambda path: os.truncate(path, path.stat().st_size // 2),
    ],
    ids=["all", "after-page-1", "after-header", "empty", "text", "half"],
)
def test_a_damaged_index_is_built_again(indexed: Indexed, damage: Callable[[Path], None]) -> None:
    """The reader is told once, and the next one is told nothing."""
    indexed.write(40)
    indexed.refresh()
    damage(indexed.file.path)
    (note,) = same_as_scan(indexed)
    assert note.startswith(f"the index {indexed.file.path} is being rebuilt: ")
    assert same_as_scan(indexed) == []


def test_another_database_at_its_place_is_replaced(indexed: Indexed) -> None:
    """A file without guardrail's mark holds no index."""
    indexed.refresh()
    indexed.file.path.unlink()
    change(indexed, "CREATE TABLE record (seq INTEGER PRIMARY KEY)")
    indexed.file.path.chmod(0o600)
    assert same_as_scan(indexed) == [
        f"the index {indexed.file.path} is being rebuilt: it is not a guardrail index"
    ]


def test_the_index_of_another_ledger_is_built_again(indexed: Indexed, tmp_path: Path) -> None:
    """Also if the other ledger has as many records: line 0 tells them apart."""
    (tmp_path / "other").mkdir()
    other = Indexed(build(tmp_path / "other" / "audit.db"), tmp_path / "state" / "index")
    other.refresh()
    indexed.refresh()
    shutil.copy(other.file.path, indexed.file.path)
    (note,) = same_as_scan(indexed)
    assert note.endswith("it belongs to a different ledger")


def test_a_ledger_that_was_rolled_back_is_indexed_again(indexed: Indexed, tmp_path: Path) -> None:
    """The reader learns that records are missing which were indexed before."""
    shutil.copy(indexed.ledger, tmp_path / "before.db")
    with LedgerReader.open(indexed.ledger) as reader:
        size = reader.size()
    indexed.write(1)
    indexed.refresh()
    os.replace(tmp_path / "before.db", indexed.ledger)
    (note,) = same_as_scan(indexed)
    assert note.endswith(f"record {size + 1} is missing from the ledger")


def test_a_ledger_that_was_rewritten_is_indexed_again(indexed: Indexed, tmp_path: Path) -> None:
    """A log with the same line 0 and as many records, but other ones, is noticed at its end."""
    shutil.copy(indexed.ledger, tmp_path / "before.db")
    indexed.write(1, text="one")
    indexed.refresh()
    os.replace(tmp_path / "before.db", indexed.ledger)
    indexed.write(2, text="two")
    (note,) = same_as_scan(indexed)
    assert "it differs from record" in note


def test_a_record_that_was_changed_after_it_was_indexed_is_noticed(indexed: Indexed) -> None:
    """The index keeps the hash of each line, and compares it when the line is read."""
    indexed.write(1)
    indexed.refresh()
    edit(
        indexed.ledger,
        "UPDATE record SET line = replace(line, 'read_file', 'rm_file') WHERE seq = 1",
    )
    with indexed.read() as records:
        (found,) = [row for row in recent_sessions(records).rows if row.first_seq == 1]
        assert found.key.id == "S-1"
        line = records.record(1)
        assert line is not None
        assert decode(line)["tool"]["name"] == "rm_file"
    assert [note.split(": ")[1] for note in indexed.notes] == [
        "it differs from record 1 of the ledger"
    ]


def test_a_line_that_is_not_a_record_is_reported(indexed: Indexed) -> None:
    """As in a scan: the list of sessions ends with its number."""
    edit(indexed.ledger, "UPDATE record SET line = '[4]' WHERE seq = 4")
    with indexed.read() as records, pytest.raises(RecordError, match="record 4 is not"):
        recent_sessions(records)


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM record WHERE seq = 1",
        "INSERT INTO record (seq, call) SELECT 10000, call FROM record WHERE seq = 1",
        "UPDATE record SET leaf = hex(randomblob(32)) WHERE seq = 1",
        "UPDATE record SET seq = 10000 WHERE seq = 1",
        "UPDATE record SET call = (SELECT call FROM record WHERE seq = 3) WHERE seq = 1",
        "UPDATE record SET session = 'T-2' WHERE seq = 1",
        "CREATE TRIGGER t AFTER INSERT ON record BEGIN DELETE FROM record; END",
        "CREATE TABLE more (x)",
        "DROP VIEW calls",
        "DROP INDEX record_by_call",
        "UPDATE about SET records = 'x'",
        "UPDATE about SET next = 3",
        "UPDATE about SET genesis = ''",
        "UPDATE about SET leaf = ''",
        "UPDATE about SET first = 5",
        "DELETE FROM about",
        "PRAGMA user_version = 0",
    ],
)
def test_an_edited_index_is_noticed_when_its_rows_are_used(
    indexed: Indexed, statement: str
) -> None:
    """Rows that are missing, added, or say something else than their line; other tables."""
    indexed.refresh()
    change(indexed, statement)
    notes = same_as_scan(indexed)
    assert len(notes) >= 1
    assert all(" is being rebuilt: " in note for note in notes)
    assert same_as_scan(indexed) == []


def test_an_edited_index_never_shows_anything_that_is_not_in_the_ledger(indexed: Indexed) -> None:
    """Whoever can write the index can hide a call from a search by session, until the index is
    built again, but no row shows a record under another name.
    """
    indexed.refresh()
    change(
        indexed,
        "UPDATE record SET session = 'nobody' WHERE seq = 1",
        "UPDATE record SET tool = 'rm', args = '{}', message = 'forged' WHERE seq = 3",
    )
    with indexed.read() as records:
        shown = list(records.calls("S-1"))
        assert indexed.notes == []
        assert [decode(line)["seq"] for line in shown][:2] == [3, 4]
        assert decode(shown[0])["tool"]["name"] == "send_email"
        assert list(records.calls("nobody")) == []
    assert indexed.notes[0].endswith("it differs from record 1 of the ledger")
    assert same_as_scan(indexed) == []


def test_an_index_of_a_later_version_is_neither_used_nor_changed(indexed: Indexed) -> None:
    """Every line is read instead, and the reader is told why."""
    indexed.refresh()
    change(indexed, f"PRAGMA user_version = {FORMAT + 1}")
    before = indexed.file.path.read_bytes()
    (note,) = same_as_scan(indexed)
    assert "a later version of guardrail made it" in note
    assert note.endswith("; every record is read instead")
    assert indexed.file.path.read_bytes() == before


@pytest.mark.parametrize("how", ["link", "hard link", "mode", "folder", "file", "owner"])
def test_a_file_that_others_may_have_made_is_neither_used_nor_deleted(
    indexed: Indexed, tmp_path: Path, how: str
) -> None:
    """Links, other modes, other owners, and folders that anyone can write to."""
    if how == "owner" and os.geteuid() != 0:
        pytest.skip("needs root, to act as two users")
    indexed.refresh()
    path = indexed.file.path
    if how == "link":
        path.rename(tmp_path / "elsewhere")
        path.symlink_to(tmp_path / "elsewhere")
    elif how == "hard link":
        os.link(path, tmp_path / "elsewhere")
    elif how == "mode":
        path.chmod(0o640)
    elif how == "folder":
        indexed.folder.chmod(0o777)
    elif how == "file":
        shutil.rmtree(indexed.folder)
        indexed.folder.write_text("a file")
    else:
        os.chown(path, 65534, -1)
    (note,) = same_as_scan(indexed)
    assert " can't be used: " in note
    assert path.exists() is (how != "file")


def test_a_read_only_state_folder_makes_readers_scan(indexed: Indexed, tmp_path: Path) -> None:
    """An index that can't be brought up to date is not used."""
    with small_disk(tmp_path / "small", "8m") as disk:
        kept = Indexed(indexed.ledger, disk / "index")
        kept.refresh()
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        assert same_as_scan(kept) == []  # nothing is new, so nothing is written
        kept.write(1)
        (note,) = same_as_scan(kept)
        assert " can't be used: " in note
        absent = Indexed(indexed.ledger, disk / "none")
        (note,) = same_as_scan(absent)
        assert " can't be used: " in note


def test_a_full_state_folder_makes_readers_scan(indexed: Indexed, tmp_path: Path) -> None:
    """Records that were indexed before stay, and the index continues when there is room."""
    with small_disk(tmp_path / "small", "1m") as disk:
        kept = Indexed(indexed.ledger, disk / "index")
        kept.refresh()
        fill(disk / "filler")
        kept.write(200)
        (note,) = same_as_scan(kept)
        assert "room" in note or "space" in note
        (disk / "filler").unlink()
        assert same_as_scan(kept) == []


def test_without_room_for_a_scan_the_error_says_so(
    indexed: Indexed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A temporary index that can't be written is an error, not an empty answer."""
    from guardrail.review.index.store import IndexStore, UnusableIndexError

    def full(*_: object) -> None:
        raise UnusableIndexError("there is no room for it")

    monkeypatch.setattr(IndexStore, "add", full)
    with indexed.read(file=False) as records, pytest.raises(LedgerError, match="no room"):
        records.find_calls("")


def test_a_locked_index_makes_readers_scan(
    indexed: Indexed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that keeps the lock delays a reader for a limited time."""
    from guardrail.review.index import file as files
    from guardrail.review.index import store as stores

    monkeypatch.setattr(files, "PATIENCE", 0.1)
    monkeypatch.setattr(stores, "PATIENCE", 0.1)
    indexed.refresh()
    indexed.write(1)
    with IndexFile(indexed.folder, indexed.ledger).locked():
        (note,) = same_as_scan(indexed)
    assert "another process keeps it locked" in note
    holder = sqlite3.connect(indexed.file.path, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    (note,) = same_as_scan(indexed)
    assert "another program has locked it" in note
    holder.close()
    assert same_as_scan(indexed) == []


def test_an_index_that_was_replaced_meanwhile_is_opened_again(indexed: Indexed) -> None:
    """A reader never writes to a file that another process has taken away."""
    indexed.refresh()
    with indexed.read() as first:
        assert first.find_sessions("S-1") == ["S-1"]
        indexed.file.replace().close()
        assert first.find_sessions("S-1") == ["S-1"]
    assert same_as_scan(indexed) == []


def test_readers_do_not_replace_each_others_index(
    indexed: Indexed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader that finds a new file in place of the one that it has opened continues with the new
    one, and says nothing.
    """
    indexed.refresh()
    indexed.write(1)
    locked, replaced = IndexFile.locked, []

    def locked_after_another(self: IndexFile) -> object:
        if not replaced:
            replaced.append(True)
            self.replace().close()
            replaced.append(self.inode())
        return locked(self)

    monkeypatch.setattr(IndexFile, "locked", locked_after_another)
    assert same_as_scan(indexed) == []
    assert replaced == [True, indexed.file.inode()]


def test_a_ledger_without_records_has_no_index(tmp_path: Path) -> None:
    """Nothing is guessed about an empty log."""
    ledger = build(tmp_path / "audit.db")
    edit(ledger, "DELETE FROM record")
    with IndexedRecords(
        LedgerReader.open(ledger), IndexFile(tmp_path / "index", ledger)
    ) as records:
        assert records.find_calls("") == []
        with pytest.raises(LedgerError, match="no records"):
            records.refresh()
