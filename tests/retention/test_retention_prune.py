"""Pruning deletes what may be deleted, and nothing else; what it leaves is a log in which every
proof still works.
"""

from __future__ import annotations

import os
import sqlite3
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from guardrail.core.log import fields
from guardrail.core.log.checkpoint import Checkpoint, SignedNote
from guardrail.core.log.merkle import (
    consistency_proof,
    inclusion_proof,
    range_root,
    verify_consistency,
    verify_inclusion,
)
from guardrail.core.log.record import Draft
from guardrail.errors import LedgerError
from guardrail.ledger.maintenance import prune as pruning
from guardrail.ledger.reader import LedgerReader
from guardrail.retention.closing import node_of
from guardrail.review.verify import OutsideHead, VerifyState, verify_ledger
from guardrail.system.ids import new_ulid
from tests.support.retention import (
    ACTOR,
    EPOCHS,
    KEYS,
    LOG,
    POLICY,
    SIGNING,
    build,
    cut,
    decision,
    driven,
    head,
    held_bytes,
    intact,
    noted,
    reopen,
)

BORDERS = (2, 3, 255, 256, 257, 511, 512, 513, 600)


@pytest.mark.parametrize("before", BORDERS)
def test_every_proof_made_before_and_after_still_works(tmp_path: Path, before: int) -> None:
    """Inclusion of records that are gone and of those that stay, and consistency between all sizes
    around the borders of tiles.
    """
    db = tmp_path / "audit.db"
    build(db, 700)
    with LedgerReader.open(db) as reader:
        leaves = [leaf for _, leaf, _ in reader.lines()]
        sizes = sorted({1, 2, 255, 256, 257, 511, 512, 513, before, 700})
        roots = {size: range_root(0, size, node_of(reader)) for size in sizes}
    assert cut(db, before).deleted == before - 1
    with reopen(db) as writer:
        for number in range(400):  # so that tiles which were cut get complete
            writer.submit(noted(str(number)))
        writer.append(noted("last"))
    with LedgerReader.open(db) as reader:
        assert reader.first() >= before
        node = node_of(reader)
        size = reader.size()
        now = range_root(0, size, node)
        for old, root in roots.items():
            assert verify_consistency(old, root, size, now, consistency_proof(old, size, node))
            for newer in (each for each in sizes if each >= old):
                path = consistency_proof(old, newer, node)
                assert verify_consistency(old, root, newer, roots[newer], path)
        for index in {0, 1, before - 1, before, 254, 255, 256, 257, 511, 512, 699}:
            path = inclusion_proof(index, size, node)
            assert verify_inclusion(leaves[index], index, size, path, now)
    assert intact(db)


@pytest.mark.parametrize("before", [200, 256, 600])
@pytest.mark.parametrize("number", [0, 1, 2])
@pytest.mark.parametrize("change", ["zeroblob(length(hashes))", "substr(hashes, 1, 32)"])
def test_kept_hashes_that_were_changed_are_found(
    tmp_path: Path, before: int, number: int, change: str
) -> None:
    """Also where the roots above them are right: the tree is made from the hashes themselves."""
    db = tmp_path / "a.db"
    build(db, 700)
    old, new = head(db, 150), head(db)
    cut(db, before)
    assert intact(db, new)
    connection = sqlite3.connect(db, isolation_level=None)
    what = f"UPDATE tile SET hashes = {change} WHERE level = 0 AND number = {number}"
    changed = connection.execute(what).rowcount
    connection.close()
    assert changed == (number < 2 or before == 600)
    if changed:
        with pytest.raises(AssertionError):
            intact(db, new)
        report = verify_ledger(db, key=KEYS.public, heads=heads_of(new, old))
        assert report.exit_code == 1


def heads_of(*notes: SignedNote) -> list[OutsideHead]:
    """Heads as verify takes them."""
    return [OutsideHead.parse(f"head {number}", str(each)) for number, each in enumerate(notes)]


def test_a_head_that_pruned_records_contradict_is_a_fork(tmp_path: Path) -> None:
    """The hashes that were kept show it, though the records are gone; one that they fit covers
    nothing that is left.
    """
    db = tmp_path / "a.db"
    build(db, 400)
    old = head(db, 150)
    cut(db, 300)
    report = verify_ledger(db, key=KEYS.public, heads=heads_of(old))
    assert (report.state, report.anchored_to) == (VerifyState.NOT_ANCHORED, None)
    key = SIGNING.log_key(LOG)
    text = Checkpoint(LOG, 150, bytes(32)).text
    other = SignedNote.sign(text, key.key, key.sign)
    assert verify_ledger(db, key=KEYS.public, heads=heads_of(other)).state is VerifyState.FORKED


def test_a_record_among_those_that_were_pruned_is_found(tmp_path: Path) -> None:
    """Nothing vouches for what stands there now."""
    db = tmp_path / "a.db"
    build(db, 400)
    with LedgerReader.open(db) as reader:
        ((_, leaf, line),) = reader.lines(20, 21)
    new = head(db)
    cut(db, 300)
    connection = sqlite3.connect(db, isolation_level=None)
    connection.execute(
        "INSERT INTO record (seq, leaf, line) VALUES (20, ?, ?)", (leaf, line.decode())
    )
    connection.close()
    report = verify_ledger(db, key=KEYS.public, heads=heads_of(new))
    assert (report.exit_code, report.first_bad) == (1, 20)


def test_a_log_can_be_pruned_again_and_again(tmp_path: Path) -> None:
    """Each time up to a later record; a head of before is compared with what is left."""
    db = tmp_path / "audit.db"
    build(db, 700)
    kept = head(db)
    for before in (10, 250, 256, 300, 513):
        cut(db, before)
        assert intact(db, kept)
    assert cut(db, 513).deleted == 0
    assert cut(db, 100).deleted == 0
    assert intact(db, kept)


def test_the_text_is_gone_from_the_files(tmp_path: Path) -> None:
    """From the database, its free pages and the -wal, although a writer has the log open and no
    file shrinks.
    """
    db = tmp_path / "audit.db"
    build(db, 900, text="canary" * 20)
    with reopen(db) as writer:
        writer.append(noted("after"))
        sizes = db.stat().st_size, Path(f"{db}-wal").stat().st_size
        assert held_bytes(db, b"canary")
        done = cut(db, 900)
        assert done.overwritten
        assert held_bytes(db, b"canary") == []
        assert db.stat().st_size >= sizes[0]
        assert Path(f"{db}-wal").stat().st_size >= sizes[1]
        writer.append(noted("the writer noticed nothing"))
        assert writer.trouble == ""
    assert intact(db)


def test_a_reader_that_keeps_the_wal_is_told_of_and_done_later(tmp_path: Path) -> None:
    """The records are gone; that their text may still stand there is the answer, until it is
    overwritten.
    """
    db = tmp_path / "audit.db"
    build(db, 300, text="canary")
    with reopen(db) as writer, LedgerReader.open(db) as reader:
        with reader.snapshot():
            writer.append(noted("after"))
            assert not cut(db, 200).overwritten
        done = cut(db, 200)
        assert (done.deleted, done.overwritten) == (0, True)
        assert held_bytes(db, b"canary-150") == []
        assert held_bytes(db, b"canary-250") != []


def test_a_process_that_dies_in_the_middle_leaves_a_log_that_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it deleted is deleted and said, the rest is there; writers go on, and the next run ends
    the work.
    """
    db = tmp_path / "audit.db"
    build(db, 500)
    kept = head(db)
    monkeypatch.setattr(pruning, "CHUNK_RECORDS", 100)
    child = os.fork()
    if child == 0:
        made = pruning.detail

        def dying(where: pruning.PruneCut, policy: dict[str, int]) -> dict[str, object]:
            if where.before > 301:
                os._exit(7)
            return made(where, policy)

        sys.modules["tests.support.retention"].detail = dying  # type: ignore[attr-defined]
        cut(db, 450)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    with LedgerReader.open(db) as reader:
        assert reader.first() == 301
    assert intact(db, kept)
    with reopen(db) as writer:
        writer.append(noted("a writer goes on"))
    done = cut(db, 450)
    assert done.deleted == 149
    assert len(done.records) == 2
    assert intact(db, kept)


def test_other_writers_go_on_while_records_are_pruned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process appends all the time: none of its calls fails, and the log is whole."""
    db = tmp_path / "audit.db"
    build(db, 3000)
    monkeypatch.setattr(pruning, "CHUNK_RECORDS", 100)
    with driven(db) as driver:
        answers: list[dict[str, object]] = []
        done = threading.Event()

        def calling() -> None:
            while not done.is_set() or len(answers) < 20:
                answers.append(driver.ask("call"))

        thread = threading.Thread(target=calling)
        thread.start()
        pruned = cut(db, 2500)
        done.set()
        thread.join()
        assert driver.end() == 0
    assert pruned.deleted == 2499
    assert all("ok" in answer for answer in answers)
    assert intact(db)


def test_a_writer_whose_last_record_was_pruned_goes_on(tmp_path: Path) -> None:
    """It wrote nothing for so long that everything it knows is gone: the hash that was kept tells
    it that it was there.
    """
    db = tmp_path / "audit.db"
    build(db, 2)
    with driven(db) as driver:
        assert "ok" in driver.ask("call")
        with reopen(db) as writer:
            for number in range(300):
                writer.submit(noted(str(number)))
            writer.append(noted("last"))
        cut(db, 280)
        assert "ok" in driver.ask("call")
        assert driver.end() == 0
    assert intact(db)


def test_an_open_call_is_not_cut_off(tmp_path: Path) -> None:
    """Its outcome must find its decision; nothing is deleted then, whatever was asked."""
    db = tmp_path / "audit.db"
    build(db, 10)
    with reopen(db) as writer:
        writer.append(decision(new_ulid(), writer.process))
        for number in range(10):
            writer.append(noted(str(number)))
        with pytest.raises(LedgerError) as caught:
            cut(db, 15)
        assert caught.value.code == "ledger.needed"
        assert cut(db, 10).deleted == 9


def test_the_certificate_of_a_key_that_signs_is_not_cut_off(tmp_path: Path) -> None:
    """Without it nobody could tell whose the newest head is."""
    db = tmp_path / "audit.db"
    build(db, 10)
    with reopen(db, signing=EPOCHS) as writer:
        for number in range(10):
            writer.append(noted(str(number)))
        with pytest.raises(LedgerError) as caught:
            cut(db, 15)
        assert caught.value.code == "ledger.needed"
    cut(db, 15)  # it has ended
    assert intact(db)


def test_pruning_with_a_key_of_its_own_certifies_and_ends_it(tmp_path: Path) -> None:
    """As where the log key is another program's, which is asked once."""
    db = tmp_path / "audit.db"
    build(db, 600)
    done = cut(db, 500, signing=EPOCHS)
    assert done.deleted == 499
    assert intact(db)


def test_a_line_that_was_changed_is_not_covered_up(tmp_path: Path) -> None:
    """Each line is hashed once more before it goes: deleting must not be a way to lose the
    traces.
    """
    db = tmp_path / "audit.db"
    build(db, 400)
    connection = sqlite3.connect(db)
    connection.execute("DROP TRIGGER record_no_update")
    connection.execute("UPDATE record SET line = replace(line, 'text-7', 'text-8') WHERE seq = 7")
    sql = (
        "CREATE TRIGGER record_no_update BEFORE UPDATE ON record\n"
        "BEGIN SELECT RAISE(ABORT, 'records are never changed'); END"
    )
    connection.execute(sql)
    connection.commit()
    connection.close()
    with pytest.raises(LedgerError, match="record 7"):
        cut(db, 100)
    with LedgerReader.open(db) as reader:
        assert reader.record(7) is not None


def test_what_the_log_says_and_what_is_gone_are_one_commit(tmp_path: Path) -> None:
    """A record that can't be written keeps the records that it is about."""
    db = tmp_path / "audit.db"
    build(db, 100)

    def record(log: str, where: pruning.PruneCut) -> Draft:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        pruning.prune(db, 50, signing=SIGNING, allow=lambda _: None, record=record)
    with LedgerReader.open(db) as reader:
        assert reader.size() == 100
        assert reader.record(49) is not None
    assert cut(db, 50).deleted == 49


def test_a_sealed_ledger_is_not_pruned(tmp_path: Path) -> None:
    """First a person looks."""
    db = tmp_path / "audit.db"
    build(db, 100)
    Path(f"{db}-sealed").write_text("{}")
    with pytest.raises(LedgerError) as caught:
        cut(db, 50)
    assert caught.value.code == "ledger.sealed"


def test_two_that_prune_at_once_do_not_undo_each_other(tmp_path: Path) -> None:
    """Whoever comes second with less finds it done, and writes no record that would say less than
    is gone.
    """
    db = tmp_path / "audit.db"
    build(db, 100)

    def late(_: pruning.PruneCut) -> None:
        cut(db, 80)

    with pytest.raises(LedgerError) as caught:
        pruning.prune(
            db, 50, signing=SIGNING, allow=late, record=lambda log, where: noted("never written")
        )
    assert caught.value.code == "ledger.pruned"
    assert intact(db)


def test_verifying_while_records_are_pruned_finds_nothing_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where they go between the moment when it is read what was pruned and the moment when
    they are to be read.
    """
    import guardrail.review.verify.ledger as verifying

    db = tmp_path / "audit.db"
    build(db, 700)
    cut(db, 100)
    begin = verifying._begin
    cuts = iter((300, 500))

    def late(*arguments: Any) -> None:
        begin(*arguments)
        for before in cuts:
            cut(db, before)
            break

    monkeypatch.setattr(verifying, "_begin", late)
    assert intact(db)
    assert next(cuts, None) is None


def test_calls_have_the_lock_for_most_of_the_time_while_records_are_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The slower the disk, the longer the pauses."""
    db = tmp_path / "audit.db"
    build(db, 200)
    held = []
    delete = pruning._Pruner._transaction

    def timed(*args: Any, **more: Any) -> tuple[int, int]:
        began = time.monotonic()
        done = delete(*args, **more)
        held.append(time.monotonic() - began)
        return done

    monkeypatch.setattr(pruning._Pruner, "_transaction", timed)

    def record(log: str, where: pruning.PruneCut) -> Draft:
        about = pruning.detail(where, POLICY)
        return Draft.build(fields.admin(log, "pruned", actor=ACTOR, where={}, detail=about))

    began = time.monotonic()
    done = pruning.prune(
        db,
        150,
        signing=SIGNING,
        allow=lambda _: None,
        record=record,
        pace=pruning.DeletionPace(part=20, share=0.2, within=60.0),
    )
    assert (done.deleted, len(done.records), len(held)) == (149, 8, 8)
    assert time.monotonic() - began >= 5 * sum(held)
    assert intact(db)


def test_pauses_never_take_longer_than_all_of_them_may() -> None:
    """However much is to be deleted, and however slow the disk is."""
    pace = pruning.DeletionPace(part=200, share=0.01, within=7200.0)
    assert pace.after(0.02, 1000) == pytest.approx(1.98)
    assert pace.after(3.0, 1000) == pytest.approx(7.2)
    assert pace.after(0.02, 10_000_000) == pytest.approx(0.00072)
    assert pruning.DeletionPace().after(3.0, 1) == 0
