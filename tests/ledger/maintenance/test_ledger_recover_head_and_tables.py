"""Recover, where the lines are whole and what stands beside them is not: the head, the tree, the
tables that are caches.
"""

from __future__ import annotations

import contextlib
import json
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from guardrail.core.log import fields
from guardrail.core.log.merkle import inclusion_proof, verify_inclusion
from guardrail.core.log.record import Draft, decode, leaf_hash
from guardrail.errors import LedgerError, LedgerOpenError, LedgerSealedError
from guardrail.keys.log_key import Keys, verify_signature
from guardrail.ledger.files import seal_path
from guardrail.ledger.maintenance import prune as pruning
from guardrail.ledger.maintenance.examine import examine
from guardrail.ledger.maintenance.prune import DeletionPace, PruneCut, detail, prune
from guardrail.ledger.maintenance.recover import RecoveryReport, recover
from guardrail.ledger.maintenance.recovery_plan import Action, RecoveryPlan, inspect
from guardrail.ledger.reader import LedgerReader
from guardrail.ledger.tree import TILE, node_reader
from guardrail.system.ids import new_ulid
from tests.support.ledgers import (
    ACTOR,
    EPOCHS,
    GENESIS,
    LOG,
    SIGNING,
    decision,
    driven,
    make,
    note,
    reopen,
    whole_call,
)


def changed(db: Path, *statements: str) -> None:
    """Run SQL on the ledger, as somebody does who can write the file."""
    connection = sqlite3.connect(db, isolation_level=None)
    for each in statements:
        connection.execute(each)
    connection.close()


def filled(db: Path, *, count: int = TILE + 20) -> None:
    """Make a ledger with a whole tile, whose process died with a key that is not ended and a call
    that is open.
    """
    with make(db) as writer:
        for future in [writer.submit(note()) for _ in range(count)]:
            future.result()
    with driven(db, "4.0", "epochs") as driver:
        driver.ask("decide")
        driver.kill()


def looked(db: Path) -> RecoveryPlan:
    return inspect(db, signing=SIGNING, verify=verify_signature)


def mended(db: Path) -> RecoveryReport:
    report = recover(db, who=ACTOR, reason="a test", signing=SIGNING, verify=verify_signature)
    assert looked(db).action is Action.NOTHING
    with reopen(db) as writer:
        whole_call(writer)
    assert looked(db).action is Action.NOTHING
    return report


def test_nothing_is_wrong_with_a_ledger_in_use(tmp_path: Path) -> None:
    """Open calls, keys that sign and tiles that grow are what they are to be."""
    db = tmp_path / "a.db"
    with make(db, signing=EPOCHS) as writer:
        for future in [writer.submit(note()) for _ in range(2 * TILE)]:
            future.result()
        writer.append(decision(new_ulid(), writer.process))
        plan = looked(db)
        assert (plan.action, plan.head, plan.caches) == (Action.NOTHING, "", ())


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("UPDATE head SET mac = zeroblob(32)", "does not hold this log's keys"),
        ("UPDATE head SET note = note || 'x'", "does not hold this log's keys"),
        ("DELETE FROM head", "missing or malformed"),
        ("UPDATE head SET edge = zeroblob(31)", "does not hold this log's keys"),
    ],
)
def test_a_head_that_no_writer_wrote_is_named_and_made_anew(
    tmp_path: Path, statement: str, says: str
) -> None:
    """No writer opens such a log; recover says why, keeps the row, and signs over the lines on the
    record.
    """
    db = tmp_path / "a.db"
    with make(db) as writer:
        whole_call(writer)
    changed(db, statement)
    with pytest.raises(LedgerSealedError):
        reopen(db)
    plan = looked(db)
    assert plan.action is Action.CONTINUE
    assert says in plan.head
    assert says in plan.found
    report = mended(db)
    (kept,) = report.set_aside
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert "head" in json.loads(kept.read_text())
    assert report.receipt is not None
    with LedgerReader.open(db) as reader:
        detail = decode(reader.record(report.receipt.seq) or b"")["detail"]
    assert says in detail["head"]
    assert detail["set_aside"] == [kept.name]


def test_records_that_were_added_without_the_keys_are_named(tmp_path: Path) -> None:
    """They are linked as they should be, and the head does not cover them: recover says which
    ones.
    """
    db = tmp_path / "a.db"
    with make(db) as writer:
        whole_call(writer)
    with LedgerReader.open(db) as reader:
        head = reader.head()
    assert head is not None
    line = note().finish(seq=head.size, prev=head.leaf.hex(), ts="2026-01-01T00:00:00.000000Z")
    connection = sqlite3.connect(db, isolation_level=None)
    connection.execute(
        "INSERT INTO record (seq, leaf, line) VALUES (?, ?, ?)",
        (head.size, leaf_hash(line), line.decode()),
    )
    connection.close()
    plan = looked(db)
    assert plan.action is Action.CONTINUE
    assert f"record {head.size} is not covered" in plan.head
    report = mended(db)
    with LedgerReader.open(db) as reader:
        assert report.receipt is not None
        assert b"someone without this log's keys" in (reader.record(report.receipt.seq) or b"")


def test_records_that_the_head_covers_and_that_are_gone_are_counted(tmp_path: Path) -> None:
    """The head was written by a holder of the keys, so the records behind the end were
    acknowledged.
    """
    db = tmp_path / "a.db"
    with make(db) as writer:
        for _ in range(3):
            whole_call(writer)
    trigger = _trigger(db)
    changed(db, "DROP TRIGGER record_no_delete", "DELETE FROM record WHERE seq >= 5", trigger)
    plan = looked(db)
    assert (plan.action, plan.lost) == (Action.CONTINUE, 2)
    assert mended(db).plan.lost == 2


def _trigger(db: Path) -> str:
    with LedgerReader.open(db) as reader:
        return reader.storage.objects()["record_no_delete"]


@pytest.mark.parametrize(
    ("table", "statement"),
    [
        ("tile", "UPDATE tile SET hashes = zeroblob(length(hashes)) WHERE level = 0"),
        ("tile", "UPDATE tile SET hashes = zeroblob(32) WHERE level = 1"),
        ("tile", "DELETE FROM tile"),
        ("tile", "INSERT INTO tile VALUES (1, 1, zeroblob(32))"),
        ("tile", "INSERT INTO tile VALUES (0, 1, zeroblob(32))"),
        ("call", "DELETE FROM call WHERE open = 1"),
        ("call", "UPDATE call SET process = 'other' WHERE open = 1"),
        ("call", "INSERT INTO call VALUES (1, 'x', 3, NULL, 'p', 'h', 1)"),
        ("epoch", "DELETE FROM epoch"),
        ("epoch", "UPDATE epoch SET seq = 4"),
    ],
)
def test_a_table_that_is_not_what_the_lines_say_is_made_anew(
    tmp_path: Path, table: str, statement: str
) -> None:
    """The rows that were there are kept in a file; proofs and sweeps work again."""
    db = tmp_path / "a.db"
    filled(db)
    changed(db, statement)
    plan = looked(db)
    assert (plan.action, plan.head, plan.caches) == (Action.CONTINUE, "", (table,))
    report = mended(db)
    (kept,) = report.set_aside
    assert list(json.loads(kept.read_text())) == [table]
    with LedgerReader.open(db) as reader:
        size = reader.size()
        found = examine(reader, signing=SIGNING, verify=verify_signature)
        path = inclusion_proof(7, size, node_reader(reader.storage))
        leaf, calls = reader.storage.leaf(7), reader.open_calls()
    assert verify_inclusion(leaf, 7, size, path, found.edge.root())
    assert calls == [], "the call of the process that died is closed"


def test_a_head_by_a_key_that_the_log_does_not_certify_is_named(tmp_path: Path) -> None:
    """Whoever holds the token key and not the log key can make the code, and not the signature."""
    db = tmp_path / "a.db"
    with make(db) as writer:
        whole_call(writer)
    other = Keys.ephemeral(b"some other seed of some 32 bytes")

    class Half:
        """Has the code of this log's holders, and another key."""

        public = SIGNING.public
        actor = ACTOR
        mac = staticmethod(SIGNING.mac)
        log_key = staticmethod(other.signing(actor=ACTOR, epochs=False).log_key)
        epoch_key = staticmethod(lambda log, first: None)

    with reopen(db, signing=Half()) as writer:  # type: ignore[arg-type]
        writer.append(note())
    plan = looked(db)
    assert (plan.action, plan.head) == (Action.CONTINUE, "no key of this log signed the head")
    mended(db)


def test_who_has_no_keys_still_sees_what_the_lines_show(tmp_path: Path) -> None:
    """The code can't be told then; the head's own words can."""
    db = tmp_path / "a.db"
    with make(db) as writer:
        whole_call(writer)
    changed(db, "UPDATE head SET mac = zeroblob(32)")
    assert inspect(db).action is Action.NOTHING
    changed(db, "UPDATE head SET size = 2")
    assert "not covered" in inspect(db).head


def _version(db: Path, number: int) -> None:
    changed(db, f"PRAGMA user_version = {number}")


@pytest.mark.parametrize(
    ("number", "code"), [(1, "ledger.older_format"), (4, "ledger.newer_format")]
)
@pytest.mark.parametrize("opened", [reopen, LedgerReader.open, inspect])
def test_a_ledger_of_another_format_is_left_alone(
    tmp_path: Path, number: int, code: str, opened: Callable[[Path], object]
) -> None:
    """Whoever opens it is told what to do; it is not taken for damaged and set aside."""
    db = tmp_path / "a.db"
    make(db).close()
    _version(db, number)
    with pytest.raises(LedgerOpenError) as caught:
        opened(db)
    assert caught.value.code == code
    assert caught.value.hint


@pytest.mark.parametrize("size", [512, 65536])
def test_a_ledger_with_pages_of_another_size_is_a_ledger(tmp_path: Path, size: int) -> None:
    """VACUUM INTO with another page size makes a copy that opens, goes on and is whole."""
    db, copy = tmp_path / "a.db", tmp_path / "b.db"
    filled(db)
    reopen(db).close()
    connection = sqlite3.connect(db, isolation_level=None)
    connection.execute(f"PRAGMA page_size = {size}")
    connection.execute("VACUUM INTO ?", (str(copy),))
    connection.close()
    connection = sqlite3.connect(copy)
    assert connection.execute("PRAGMA page_size").fetchone()[0] == size
    connection.close()
    with reopen(copy) as writer:
        whole_call(writer)
    plan = looked(copy)
    assert (plan.action, plan.log) == (Action.NOTHING, LOG)
    assert GENESIS["key"] == plan.genesis["key"]


def record(log: str, cut: PruneCut) -> Draft:
    """Return what is written about *cut*."""
    return Draft.build(
        fields.admin(log, "pruned", actor=ACTOR, where={}, detail=detail(cut, {"days": 1}))
    )


def pruned(db: Path, before: int) -> None:
    """Delete the records from 1 to *before* - 1, as prune does."""
    prune(db, before, signing=SIGNING, allow=lambda cut: None, record=record)


def test_a_pruner_whose_key_was_ended_meanwhile_goes_on_under_a_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Heads that the old key signed afterwards would not count."""
    db = tmp_path / "a.db"
    with make(db) as writer:
        for future in [writer.submit(note()) for _ in range(300)]:
            future.result()

    def end(_: float) -> None:
        with contextlib.closing(sqlite3.connect(db, isolation_level=None)) as connection:
            connection.execute("DELETE FROM epoch")

    monkeypatch.setattr(pruning.time, "sleep", end)
    prune(
        db, 200, signing=EPOCHS, allow=lambda cut: None, record=record, pace=DeletionPace(part=100)
    )
    with LedgerReader.open(db) as reader:
        keys = [
            decode(line)["detail"]["key"]["public"]
            for _, line in reader.admin("admin.key_rotated")
            if decode(line)["detail"].get("key")
        ]
    assert len(set(keys)) == len(keys) == 2


@pytest.mark.parametrize("before", [2, TILE - 1, TILE, TILE + 1, TILE + 40])
def test_a_pruned_log_is_whole_and_its_tree_can_be_mended(tmp_path: Path, before: int) -> None:
    """What was pruned has left its hashes: the trees above them are made anew from these."""
    db = tmp_path / "a.db"
    with make(db) as writer:
        for future in [writer.submit(note()) for _ in range(2 * TILE + 9)]:
            future.result()
    pruned(db, before)
    plan = looked(db)
    assert (plan.action, plan.head, plan.caches) == (Action.NOTHING, "", ())
    changed(db, "DELETE FROM tile WHERE level > 0", "UPDATE head SET mac = zeroblob(32)")
    plan = looked(db)
    assert (plan.action, plan.caches) == (Action.CONTINUE, ("tile",))
    mended(db)
    with LedgerReader.open(db) as reader:
        size = reader.size()
        edge = examine(reader, signing=SIGNING, verify=verify_signature).edge
        path = inclusion_proof(1, size, node_reader(reader.storage))
        hashes = reader.storage.tile(0, 0)
    assert verify_inclusion(hashes[32:64], 1, size, path, edge.root())


def test_hashes_of_pruned_records_that_were_changed_are_left_alone_and_named(
    tmp_path: Path,
) -> None:
    """Nothing can make them anew; the log itself goes on from what the record about them says."""
    db = tmp_path / "a.db"
    with make(db) as writer:
        for future in [writer.submit(note()) for _ in range(2 * TILE)]:
            future.result()
    pruned(db, TILE + 3)
    changed(db, "UPDATE tile SET hashes = zeroblob(length(hashes)) WHERE number = 0 AND level = 0")
    plan = looked(db)
    assert plan.action is Action.NOTHING
    assert plan.examined is not None
    assert not plan.examined.kept
    assert "hashes of pruned records" in plan.found


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.support.ledgers import SIGNING
from guardrail.keys.log_key import verify_signature
from guardrail.ledger.maintenance import recover as module
from guardrail.ledger.sqlite.appending import Store
from guardrail.ledger.sqlite.maintaining import MaintenanceStore

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

point = sys.argv[2]
if point == "before":
    Store.commit = die
elif point == "after":
    Store.checkpoint = die
else:
    MaintenanceStore.rebuild = die
db, who = Path(sys.argv[1]), {"id": "x"}
module.recover(db, who=who, reason="a test", signing=SIGNING, verify=verify_signature)
"""


@pytest.mark.parametrize("point", ["kept", "before", "after"])
def test_killed_in_the_middle_it_is_done_again_or_was_done(tmp_path: Path, point: str) -> None:
    """Nothing is made anew without the record that says so."""
    db = tmp_path / "a.db"
    filled(db)
    changed(db, "DELETE FROM tile", "DELETE FROM epoch", "UPDATE head SET mac = zeroblob(32)")
    with LedgerReader.open(db) as reader:
        size = reader.size()
    ran = subprocess.run([sys.executable, "-c", KILLED, str(db), point], check=False)
    assert ran.returncode == -signal.SIGKILL
    plan = looked(db)
    with LedgerReader.open(db) as reader:
        last = decode(reader.record(reader.size() - 1) or b"")
    if point == "after":
        assert (plan.action, last["type"]) == (Action.NOTHING, "admin.recovered")
        assert last["detail"]["rebuilt"] == ["tile", "epoch"]
    else:
        assert (plan.action, plan.caches, last["seq"]) == (
            Action.CONTINUE,
            ("tile", "epoch"),
            size - 1,
        )
        mended(db)


def test_a_writer_that_meets_a_forged_head_seals_and_recover_says_both(tmp_path: Path) -> None:
    """The marker says why nobody writes, the head says who was there; both are gone afterwards."""
    db = tmp_path / "a.db"
    with make(db) as writer:
        whole_call(writer)
        changed(db, "UPDATE head SET mac = zeroblob(32)")
        with pytest.raises(LedgerSealedError):
            writer.append(note())
        with pytest.raises(LedgerSealedError):
            reopen(db)
    plan = looked(db)
    assert plan.action is Action.CONTINUE
    assert plan.found.startswith("sealed: ")
    assert "does not hold this log's keys" in plan.head
    mended(db)
    assert not seal_path(db).exists()


def test_of_two_that_recover_at_once_one_does_and_the_other_finds_nothing(tmp_path: Path) -> None:
    """They wait for each other, and look again before they act."""
    db = tmp_path / "a.db"
    filled(db)
    changed(db, "DELETE FROM tile", "DELETE FROM head")
    reports: list[RecoveryReport] = []

    def act() -> None:
        reports.append(
            recover(db, who=ACTOR, reason="a test", signing=SIGNING, verify=verify_signature)
        )

    workers = [threading.Thread(target=act) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted(report.plan.action for report in reports) == [Action.CONTINUE, Action.NOTHING]
    assert looked(db).action is Action.NOTHING


def test_whoever_has_the_ledger_open_must_end_first(tmp_path: Path) -> None:
    """A head is not made anew under a process that built on the old one."""
    db = tmp_path / "a.db"
    make(db).close()
    with driven(db) as other:
        other.ask("call")
        changed(db, "DELETE FROM head")
        with pytest.raises(LedgerError) as caught:
            recover(db, who=ACTOR, reason="a test", signing=SIGNING)
        assert caught.value.code == "ledger.in_use"
    mended(db)
