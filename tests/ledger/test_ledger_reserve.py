"""The reserve: room on the disk that is kept for the outcomes of calls that were admitted."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from guardrail import Guard
from guardrail.core.log import chain
from guardrail.core.log.record import decode
from guardrail.errors import LedgerError, LedgerPoisonedError
from guardrail.ledger.files import reserve_path, traces
from guardrail.ledger.reader import LedgerReader
from guardrail.ledger.reserve import Reserve
from guardrail.ledger.writing.writer import LedgerWriter
from guardrail.system.ids import new_ulid
from tests.support.full_disk import fill, small_disk
from tests.support.ledgers import FAST, decision, driven, make, note, outcome, reopen
from tests.support.waiting import until

MB = 1 << 20
KEPT = replace(FAST, reserve=6 * MB)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", "24m") as folder:
        yield folder


def refused_for_room(writer: LedgerWriter) -> None:
    """Append decisions until the disk is full and nothing new is taken any more."""
    for _ in range(400):
        try:
            call = new_ulid()
            seq = writer.append(decision(call, writer.process, pad=30_000)).seq
            writer.append(outcome(call, seq, writer.process))
        except LedgerError as error:
            if error.code == "ledger.reserve":
                return
    raise AssertionError("the disk did not fill")


def outcomes(db: Path) -> dict[str, str]:
    with LedgerReader.open(db) as reader:
        found = [decode(line) for _, _, line in reader.lines()]
    return {each["call"]: each["status"] for each in found if each["type"] == "call.outcome"}


def test_each_admitted_call_gets_its_outcome_after_the_disk_is_full(disk: Path) -> None:
    """Nothing new is taken then; what was admitted is recorded to its end, and calls go on when
    there is room again.
    """
    db = disk / "a.db"
    with make(db, KEPT) as writer:
        calls = [new_ulid() for _ in range(60)]
        seqs = [writer.append(decision(call, writer.process)).seq for call in calls]
        assert reserve_path(db).stat().st_size == KEPT.reserve
        filler = disk / "filler"
        fill(filler)
        refused_for_room(writer)
        assert reserve_path(db).stat().st_blocks == 0
        assert writer.short_of_room
        for call, seq in zip(calls, seqs, strict=True):
            try:
                writer.append(outcome(call, seq, writer.process, pad=8000))
            except LedgerPoisonedError:
                pass  # owed: it is written by itself
        until(lambda: writer.owed == 0)
        assert set(calls) <= set(outcomes(db))
        with pytest.raises(LedgerPoisonedError) as caught:
            writer.append(decision(new_ulid(), writer.process))
        assert caught.value.code == "ledger.reserve"
        assert caught.value.hint
        writer.append(note())  # what operation does is recorded all the same
        filler.unlink()
        until(lambda: _goes_on(writer))
        assert reserve_path(db).stat().st_size == KEPT.reserve
        assert not writer.short_of_room


@pytest.mark.parametrize("together", [True, False])
def test_who_ends_a_call_on_a_full_disk_gets_a_receipt(disk: Path, together: bool) -> None:
    """The outcome that finds the disk full is written at once into the room that is given back for
    it.
    """
    db = disk / "a.db"
    with make(db, KEPT) as writer:
        calls = [new_ulid() for _ in range(40)]
        seqs = [writer.append(decision(call, writer.process)).seq for call in calls]
        fill(disk / "filler")
        drafts = [
            outcome(call, seq, writer.process, pad=30_000)
            for call, seq in zip(calls, seqs, strict=True)
        ]
        if together:
            receipts = [future.result(10) for future in [writer.submit(each) for each in drafts]]
        else:
            receipts = [writer.append(each) for each in drafts]
        assert len({receipt.seq for receipt in receipts}) == len(calls)
        assert reserve_path(db).stat().st_blocks == 0
        assert writer.owed == 0
    assert set(outcomes(db)) == set(calls)
    with LedgerReader.open(db) as reader:
        assert chain.verify(reader.lines()).first_bad is None


def _goes_on(writer: LedgerWriter) -> bool:
    try:
        call = new_ulid()
        seq = writer.append(decision(call, writer.process)).seq
        writer.append(outcome(call, seq, writer.process))
    except LedgerError:
        return False
    return True


def test_without_a_reserve_the_same_outcomes_have_to_wait(disk: Path) -> None:
    """So the test above is able to fail."""
    db = disk / "a.db"
    with make(db) as writer:
        calls = [new_ulid() for _ in range(60)]
        seqs = [writer.append(decision(call, writer.process)).seq for call in calls]
        filler = disk / "filler"
        fill(filler)
        for call, seq in zip(calls, seqs, strict=True):
            with contextlib.suppress(LedgerPoisonedError):
                writer.append(outcome(call, seq, writer.process, pad=30_000), timeout=0.1)
        assert writer.owed > 0
        filler.unlink()
        until(lambda: writer.owed == 0)


def test_the_room_is_taken_again_only_where_as_much_is_left(
    disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would be taken from the outcomes that it was given back for."""
    monkeypatch.setattr("guardrail.ledger.reserve.PATIENCE", 3600)
    db = disk / "a.db"
    db.touch()
    reserve = Reserve(db, 5 * MB)
    assert reserve.try_take()
    assert reserve.release()
    (disk / "filler").write_bytes(b"x" * 16 * MB)
    assert not reserve.try_take()
    (disk / "filler").unlink()
    assert not reserve.try_take(), "it does not ask the disk at every commit"
    assert reserve.shortage.startswith("10.0 MB are needed")
    assert Reserve(db, 5 * MB).try_take()
    assert os.stat(reserve_path(db)).st_blocks * 512 >= 5 * MB


def test_a_reserve_that_somebody_cut_is_made_whole(tmp_path: Path) -> None:
    """A file with a hole, or a shorter one, keeps no room."""
    db = tmp_path / "a.db"
    db.touch()
    for spoil in (lambda path: os.truncate(path, 100), _hollow, lambda path: path.unlink()):
        reserve = Reserve(db, MB)
        assert reserve.try_take()
        spoil(reserve_path(db))
        assert reserve.try_take() or Reserve(db, MB).try_take()
        assert os.stat(reserve_path(db)).st_blocks * 512 >= MB


def _hollow(path: Path) -> None:
    os.truncate(path, 0)
    os.truncate(path, MB)


def test_the_last_one_out_gives_the_room_back(tmp_path: Path) -> None:
    """No call is open then whose outcome may need it. It is no trace of a log either."""
    db = tmp_path / "a.db"
    writer = make(db, KEPT)
    writer.append(note())
    with driven(db) as other:
        writer.close()
        assert reserve_path(db).exists(), "another process may have calls open"
        other.end()
    with reopen(db, KEPT) as writer:
        writer.append(note())
        with reopen(db, KEPT) as second:
            second.append(note())
        assert reserve_path(db).exists(), "the first one of this process may have calls open"
    assert not reserve_path(db).exists()
    reserve_path(db).touch()
    db.unlink()
    assert [item.name for item in traces(db)] == []


def test_what_needs_no_reserve_makes_none(tmp_path: Path) -> None:
    """Neither does a symbolic link at its place lead anywhere."""
    db = tmp_path / "a.db"
    with make(db) as writer:
        writer.append(note())
    assert not reserve_path(db).exists()
    reserve_path(db).symlink_to(tmp_path / "elsewhere")
    with reopen(db, KEPT) as writer, contextlib.suppress(LedgerPoisonedError):
        writer.append(decision(new_ulid(), writer.process))
    assert not (tmp_path / "elsewhere").exists()


def test_on_a_small_volume_less_is_kept_and_calls_run(tmp_path: Path) -> None:
    """A volume that can't hold twice what is set is no full disk: a quarter of it is kept, and the
    error says what is needed.
    """
    with (
        small_disk(tmp_path / "disk", "24m") as folder,
        make(folder / "a.db", replace(FAST, reserve=16 * MB)) as writer,
    ):
        call = new_ulid()
        seq = writer.append(decision(call, writer.process)).seq
        writer.append(outcome(call, seq, writer.process))
        assert reserve_path(folder / "a.db").stat().st_size == 6 * MB
        fill(folder / "filler")
        refused_for_room(writer)
        with pytest.raises(LedgerError, match=r"12\.0 MB are needed, \d\.\d MB are free"):
            writer.append(decision(new_ulid(), writer.process))


def test_on_a_large_volume_that_is_nearly_full_calls_run_with_half_of_what_is_free(
    tmp_path: Path,
) -> None:
    """Twice what is set need not be free for the first call; processes agree on what the first one
    took.
    """
    kept = replace(FAST, reserve=16 * MB)
    with small_disk(tmp_path / "disk", "96m") as folder:
        (folder / "filler").write_bytes(b"x" * 72 * MB)
        db = folder / "a.db"
        with make(db, kept) as writer:
            assert _goes_on(writer)
            taken = reserve_path(db).stat().st_size
            assert 10 * MB <= taken <= 12 * MB
            (folder / "filler").write_bytes(b"x" * 40 * MB)
            with reopen(db, kept) as second:
                assert _goes_on(second)
                assert reserve_path(db).stat().st_size == taken
            fill(folder / "filler")
            refused_for_room(writer)
            assert reserve_path(db).stat().st_size == taken
            assert not Reserve(db, 16 * MB).try_take(), "others do not take less meanwhile"
            with pytest.raises(LedgerError, match=f"{2 * taken / MB:.1f} MB are needed"):
                writer.append(decision(new_ulid(), writer.process))
        assert not reserve_path(db).exists()


def test_with_less_than_the_least_the_first_call_is_refused_and_says_what_is_needed(
    tmp_path: Path,
) -> None:
    """Its outcome could not be recorded."""
    with (
        small_disk(tmp_path / "disk", "32m") as folder,
        make(folder / "a.db", replace(FAST, reserve=16 * MB)) as writer,
    ):
        (folder / "filler").write_bytes(b"x" * 29 * MB)
        with pytest.raises(LedgerError, match=r"4\.0 MB are needed, \d\.\d MB are free"):
            writer.append(decision(new_ulid(), writer.process))
        (folder / "filler").write_bytes(b"x" * 20 * MB)
        until(lambda: _goes_on(writer))


def test_the_reserve_of_processes_that_died_is_fitted_to_what_is_free_now(tmp_path: Path) -> None:
    """No call is open then that was admitted with more."""
    db = tmp_path / "a.db"
    make(db).close()
    reserve = Reserve(db, 4 * MB)
    assert reserve.try_take()
    assert reserve.release()
    with reopen(db, replace(FAST, reserve=3 * MB)) as writer:
        assert _goes_on(writer)
        assert reserve_path(db).stat().st_size == 3 * MB


def test_what_lies_in_the_place_of_the_reserve_keeps_no_guard_waiting(tmp_path: Path) -> None:
    """Such as a pipe, or a hole of a terabyte."""
    db = tmp_path / "a.db"
    os.mkfifo(reserve_path(db))
    reserve = Reserve(db, MB)
    assert not reserve.try_take()
    assert not reserve.release()
    reserve_path(db).unlink(missing_ok=True)
    reserve_path(db).touch()
    os.truncate(reserve_path(db), 1 << 40)
    assert Reserve(db, MB).try_take()


def test_a_folder_in_the_place_of_the_reserve_is_not_called_a_full_disk(tmp_path: Path) -> None:
    """The error says what is wrong, and calls go on once it is moved away."""
    policies = tmp_path / "policies"
    policies.mkdir()
    (policies / "a.rego").write_text('package guardrail.policy\n\nallow contains "any"\n')
    db = tmp_path / "a.db"
    reserve_path(db).mkdir()
    with Guard.open(policies=policies, ledger=db) as guard, guard.session(principal="alice"):
        with pytest.raises(LedgerError) as caught:
            guard.call("t", {}, run=lambda: None)
        assert caught.value.code == "ledger.reserve"
        assert str(reserve_path(db)) in caught.value.message
        assert "full" not in caught.value.message
        reserve_path(db).rmdir()
        time.sleep(0.2)  # the reserve is looked for at most so often
        assert guard.call("t", {}, run=lambda: 5) == 5
