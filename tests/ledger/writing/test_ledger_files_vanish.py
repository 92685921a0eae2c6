"""A ledger whose files vanish under an open writer: named as that, and continued only if the same
files come back.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from guardrail.core.log import chain
from guardrail.errors import LedgerError, LedgerSealedError
from guardrail.ledger.maintenance.recovery_plan import Action, inspect
from guardrail.ledger.reader import LedgerReader
from guardrail.ledger.settings import LedgerSettings
from guardrail.ledger.writing.writer import LedgerWriter
from guardrail.system.ids import new_ulid
from tests.support.ledgers import FAST, SIGNING, make, note, outcome, whole_call
from tests.support.ledgers import decision as allowed

RESERVED = LedgerSettings(
    reserve=1 << 20, retry_interval=FAST.retry_interval, retry_limit=FAST.retry_limit
)


def _opened(db: Path) -> LedgerWriter:
    db.parent.mkdir()
    make(db).close()
    return LedgerWriter.open(db, signing=SIGNING, settings=RESERVED)


def _remove(db: Path) -> None:
    for item in db.parent.glob(f"{db.name}*"):
        if item.is_file():
            item.unlink()


def test_removed_files_are_not_called_a_full_disk(tmp_path: Path) -> None:
    """The reserve is removed with the log, so its absence says nothing about the disk."""
    db = tmp_path / "log" / "a.db"
    writer = _opened(db)
    whole_call(writer)
    _remove(db)
    for _ in range(3):
        with pytest.raises(LedgerSealedError) as caught:
            writer.append(note())
        assert "the database file is missing" in caught.value.message
        assert "put the same files back" in caught.value.hint
    writer.close()
    assert inspect(db).action is Action.RESTART


def test_a_removed_folder_is_not_called_a_full_disk(tmp_path: Path) -> None:
    """Whether the files or their whole folder are gone, the error names the database."""
    db = tmp_path / "log" / "a.db"
    writer = _opened(db)
    whole_call(writer)
    shutil.rmtree(db.parent)
    with pytest.raises(LedgerSealedError, match="the database file is missing"):
        writer.append(note())
    writer.close()


@pytest.mark.parametrize("folder", [True, False], ids=["the folder", "the files"])
def test_the_same_files_are_continued(tmp_path: Path, *, folder: bool) -> None:
    """Same inode, same end: the process goes on, and writes the outcome that it owes."""
    db = tmp_path / "log" / "a.db"
    away = tmp_path / "away"
    writer = _opened(db)
    call = new_ulid()
    seq = writer.append(allowed(call, writer.process)).seq
    if not folder:
        away.mkdir()
    _move(db, away, folder=folder)
    with pytest.raises(LedgerSealedError):
        writer.append(outcome(call, seq, writer.process))
    assert writer.owed == 1
    _move(away / db.name, db.parent, folder=folder)
    whole_call(writer)
    assert writer.owed == 0
    assert not writer.sealed, writer.trouble
    assert not Path(f"{db}-sealed").exists()
    with LedgerReader.open(db) as reader:
        assert chain.verify(reader.lines()).first_bad is None
        assert len(list(reader.by_call(call))) == 2
    writer.close()


def _move(db: Path, target: Path, *, folder: bool) -> None:
    if folder:
        db.parent.rename(target)
        return
    for suffix in ("", "-wal", "-shm"):
        Path(f"{db}{suffix}").rename(target / f"{db.name}{suffix}")


def test_a_copy_that_comes_back_is_not_continued(tmp_path: Path) -> None:
    """Another file of the same bytes is not the file that was there: it may be an older copy of
    it.
    """
    db = tmp_path / "log" / "a.db"
    writer = _opened(db)
    whole_call(writer)
    shutil.copytree(db.parent, tmp_path / "copy")
    shutil.rmtree(db.parent)
    with pytest.raises(LedgerSealedError):
        writer.append(note())
    (tmp_path / "copy").rename(db.parent)
    for _ in range(2):
        with pytest.raises(LedgerSealedError, match="is replaced"):
            writer.append(note())
    writer.close()
    with pytest.raises(LedgerError):
        LedgerWriter.open(db, signing=SIGNING, settings=FAST)


def test_a_database_that_comes_back_without_its_wal_is_not_continued(tmp_path: Path) -> None:
    """The file is the same one, and acknowledged records are not in it."""
    db = tmp_path / "log" / "a.db"
    writer = _opened(db)
    whole_call(writer)
    db.rename(tmp_path / "kept.db")
    with pytest.raises(LedgerSealedError):
        writer.append(note())
    Path(f"{db}-wal").unlink()
    (tmp_path / "kept.db").rename(db)
    for _ in range(2):
        with pytest.raises(LedgerSealedError, match="which was acknowledged"):
            writer.append(note())
    writer.close()
    assert inspect(db).lost > 0


def test_a_process_that_did_not_have_it_open_needs_recover(tmp_path: Path) -> None:
    """Only who knows the file tells it from another: for others the seal stays."""
    db = tmp_path / "log" / "a.db"
    writer = _opened(db)
    whole_call(writer)
    db.rename(tmp_path / "kept.db")
    with pytest.raises(LedgerSealedError):
        writer.append(note())
    writer.close()
    (tmp_path / "kept.db").rename(db)
    with pytest.raises(LedgerSealedError) as caught:
        LedgerWriter.open(db, signing=SIGNING, settings=FAST)
    assert caught.value.hint == "guardrail recover"
