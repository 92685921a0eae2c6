"""Files deleted, replaced or truncated under an open writer: nothing is acknowledged, and nothing
that is left is lost.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from guardrail.core.log import chain
from guardrail.core.log.record import decode
from guardrail.errors import LedgerError, LedgerPoisonedError, LedgerSealedError
from guardrail.ledger.maintenance.recover import recover
from guardrail.ledger.maintenance.recovery_plan import Action, inspect
from guardrail.ledger.reader import LedgerReader
from guardrail.ledger.sqlite.database import SCHEMA
from guardrail.ledger.writing.writer import LedgerWriter
from guardrail.system.ids import new_ulid
from tests.support.ledgers import (
    ACTOR,
    FAST,
    FILE_FAULTS,
    SIGNING,
    Driver,
    decision,
    deleted,
    driven,
    make,
    note,
    outcome,
    replaced,
    whole_call,
)


@pytest.mark.parametrize("how", FILE_FAULTS)
@pytest.mark.parametrize("part", ["", "-wal", "-shm"])
def test_the_next_record_is_not_acknowledged(
    tmp_path: Path, part: str, how: Callable[[Path], None]
) -> None:
    """Whatever happens to whichever file, the next append fails; then the writer or ``recover``
    goes on.
    """
    db = tmp_path / "a.db"
    writer = make(db)
    known = [writer.append(note()) for _ in range(20)]
    open_call = new_ulid()
    known.append(writer.append(decision(open_call, writer.process)))
    how(Path(f"{db}{part}"))
    lost = new_ulid()
    with pytest.raises(LedgerPoisonedError if part == "-shm" else LedgerError):
        writer.append(decision(lost, writer.process))
    goes_on = _goes_on(writer)
    if part == "-shm":
        assert goes_on, "shared memory holds nothing that can't be rebuilt"
    if part == "":
        assert not goes_on
        assert writer.sealed
    if not goes_on:
        assert (tmp_path / "a.db-sealed").exists()
        with pytest.raises(LedgerSealedError):
            LedgerWriter.open(db, signing=SIGNING, settings=FAST)
        with pytest.raises(LedgerSealedError):
            writer.append(note())
        writer.close()
        intact = inspect(db).intact
        report = recover(db, who=ACTOR, signing=SIGNING, reason="a test")
        assert report.receipt is not None
        if intact is not None:
            survivors = [receipt for receipt in known if receipt.seq < intact.size]
            assert len(survivors) + report.plan.lost >= len(known)
        writer = LedgerWriter.open(db, signing=SIGNING, settings=FAST)
    else:
        survivors = known
        writer.append(outcome(open_call, known[-1].seq, writer.process))
    whole_call(writer)
    with LedgerReader.open(db) as reader:
        found = chain.verify(reader.lines())
        assert found.first_bad is None
        if goes_on:
            assert list(reader.by_call(lost)) == []
            for receipt in survivors:
                assert chain.leaf_hash(reader.record(receipt.seq) or b"") == receipt.leaf
    writer.close()


def test_a_replaced_wal_with_the_same_bytes_needs_no_operator(tmp_path: Path) -> None:
    """The tail check after reopening finds every acknowledged record, so the writer goes on by
    itself.
    """
    with make(tmp_path / "a.db") as writer:
        call, seq = whole_call(writer)
        replaced(tmp_path / "a.db-wal")
        with pytest.raises(LedgerPoisonedError):
            writer.append(note())
        assert _goes_on(writer)
        with LedgerReader.open(tmp_path / "a.db") as reader:
            assert len(list(reader.by_call(call))) == 2
            assert seq == 1


def test_a_truncated_wal_is_never_copied_into_the_database(tmp_path: Path) -> None:
    """What the checkpoint at closing would write over the database is not written: the older state
    stays readable.
    """
    db = tmp_path / "a.db"
    writer = make(db)
    for _ in range(3):
        whole_call(writer)
    writer.close()
    writer = LedgerWriter.open(db, signing=SIGNING, settings=FAST)
    whole_call(writer)
    os.truncate(f"{db}-wal", 0)
    with pytest.raises(LedgerError):
        writer.append(note())
    assert not _goes_on(writer)
    writer.close()
    with LedgerReader.open(db) as reader:
        report = chain.verify(reader.lines())
    assert report.first_bad is None
    assert report.records == 7


def test_an_owed_outcome_survives_a_poisoned_ledger(tmp_path: Path) -> None:
    """An outcome that could not be written is written once, by itself, when the ledger is back."""
    with make(tmp_path / "a.db") as writer:
        call = new_ulid()
        seq = writer.append(decision(call, writer.process)).seq
        deleted(tmp_path / "a.db-shm")
        with pytest.raises(LedgerPoisonedError):
            writer.append(outcome(call, seq, writer.process))
        assert _goes_on(writer)
        assert writer.owed == 0
        with LedgerReader.open(tmp_path / "a.db") as reader:
            lines = list(reader.by_call(call))
        assert [decode(line)["type"] for line in lines] == ["call.decision", "call.outcome"]


def test_records_cut_off_by_another_connection_seal(tmp_path: Path) -> None:
    """A tail that contradicts a receipt is never written behind."""
    import sqlite3

    writer = make(tmp_path / "a.db")
    whole_call(writer)
    foreign = sqlite3.connect(tmp_path / "a.db")
    foreign.execute("DROP TRIGGER record_no_delete")
    foreign.execute("DELETE FROM record WHERE seq = 2")
    foreign.execute(SCHEMA["record_no_delete"])
    foreign.commit()
    with pytest.raises(LedgerSealedError) as caught:
        writer.append(note())
    assert caught.value.hint == "guardrail recover"
    assert (tmp_path / "a.db-sealed").exists()
    foreign.close()
    writer.close()


def test_a_seal_stops_every_other_writer(tmp_path: Path) -> None:
    """A marker that another process left is heeded at the next record."""
    with make(tmp_path / "a.db") as writer:
        (tmp_path / "a.db-sealed").write_text("{}")
        with pytest.raises(LedgerSealedError):
            writer.append(note())


def test_a_second_name_blocks_until_it_is_gone(tmp_path: Path) -> None:
    """A hard link made while the writer runs poisons; removed, the writer comes back without an
    operator.
    """
    with make(tmp_path / "a.db") as writer:
        os.link(tmp_path / "a.db", tmp_path / "b.db")
        for _ in range(2):
            with pytest.raises(LedgerPoisonedError):
                writer.append(note())
        (tmp_path / "b.db").unlink()
        assert _goes_on(writer)


def test_a_removed_folder_stops_the_writer(tmp_path: Path) -> None:
    """With the whole folder gone nothing is acknowledged, and closing ends."""
    (tmp_path / "d").mkdir()
    writer = make(tmp_path / "d" / "a.db")
    whole_call(writer)
    shutil.rmtree(tmp_path / "d")
    for _ in range(2):
        with pytest.raises(LedgerSealedError):
            writer.append(note())
    writer.close()
    (tmp_path / "d").mkdir()
    with pytest.raises(LedgerError):
        recover(tmp_path / "d" / "a.db", who=ACTOR, signing=SIGNING, reason="a test")
    assert inspect(tmp_path / "d" / "a.db").action is Action.RESTART


def test_what_another_process_wrote_past_stale_shared_memory_is_kept(tmp_path: Path) -> None:
    """The file under our shared memory was deleted, another process went on with a new one and
    died.

    Our connection does not know of its records. Closing it must not checkpoint what it knows and
    delete the rest.
    """
    db = tmp_path / "a.db"
    with make(db) as writer:
        whole_call(writer)
        deleted(tmp_path / "a.db-shm")
        with driven(db) as other:
            theirs = other.ask("call")
            other.kill()
        with pytest.raises(LedgerPoisonedError):
            writer.append(note())
        assert _goes_on(writer)
        with LedgerReader.open(db) as reader:
            assert len(list(reader.by_call(theirs["call"]))) == 2
            assert chain.verify(reader.lines()).first_bad is None


def test_truncated_shared_memory_kills_no_reader_of_the_process(tmp_path: Path) -> None:
    """Touching a mapping beyond the end of its file is a SIGBUS; the writer mends the file while a
    reader is inside.
    """
    with driven(tmp_path / "a.db") as driver:
        driver.ask("load", 1, 40)
        answer = driver.ask("read_past_truncation")
        assert answer["failed"] == "LedgerPoisonedError"
        assert answer["size"] >= 0
        assert "ok" in _until_ok(driver)


def test_shared_memory_of_two_writers_is_let_go_together(tmp_path: Path) -> None:
    """Both writers of a process come back after the file under their common shared memory was
    deleted.
    """
    with (
        make(tmp_path / "a.db") as one,
        LedgerWriter.open(tmp_path / "a.db", signing=SIGNING, settings=FAST) as two,
    ):
        whole_call(one)
        whole_call(two)
        with LedgerReader.open(tmp_path / "a.db") as reader:
            assert reader.size() == 5
            deleted(tmp_path / "a.db-shm")
            with pytest.raises(LedgerPoisonedError):
                one.append(note())
            assert _goes_on(one)
            assert _goes_on(two)
            assert chain.verify(reader.lines()).first_bad is None


def _until_ok(driver: Driver) -> dict[str, object]:
    for _ in range(40):
        answer = driver.ask("call")
        if "ok" in answer:
            break
    return answer


def _goes_on(writer: LedgerWriter, tries: int = 40) -> bool:
    """Tell whether the writer comes back by itself."""
    for _ in range(tries):
        try:
            writer.append(note())
        except LedgerSealedError:
            return False
        except LedgerPoisonedError:
            continue
        return True
    return False


def test_a_file_exchanged_during_the_commit_is_noticed_before_it_is_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check after the commit: the caller gets no receipt for what may be in a file that is
    gone.
    """
    from guardrail.ledger.sqlite.appending import Store

    with make(tmp_path / "a.db") as writer:
        commit = Store.commit

        def commit_and_replace(store: Store) -> None:
            commit(store)
            monkeypatch.setattr(Store, "commit", commit)
            replaced(tmp_path / "a.db-wal")

        monkeypatch.setattr(Store, "commit", commit_and_replace)
        call = new_ulid()
        with pytest.raises(LedgerPoisonedError):
            writer.append(decision(call, writer.process))
        assert _goes_on(writer)
        with LedgerReader.open(tmp_path / "a.db") as reader:
            ends = [decode(line).get("error") for line in reader.by_call(call)]
            assert ends == [None, {"class": "not_started", "message": ""}]
