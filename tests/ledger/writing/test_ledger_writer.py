"""The writer on a healthy disk."""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from guardrail.core.log import chain
from guardrail.core.log.record import decode, leaf_hash
from guardrail.errors import LedgerError, LedgerOpenError, LedgerPoisonedError
from guardrail.ledger.files import network_filesystem, traces
from guardrail.ledger.reader import LedgerReader
from guardrail.ledger.sqlite.database import SCHEMA
from guardrail.ledger.writing.writer import LedgerWriter
from guardrail.system.ids import new_ulid
from tests.support.ledgers import (
    FAST,
    GENESIS,
    LOG,
    SIGNING,
    decision,
    make,
    note,
    outcome,
    reopen,
    whole_call,
)


def test_a_new_log_begins_with_its_genesis(tmp_path: Path) -> None:
    """Line 0 holds what was given, and the chain starts at 64 zeros."""
    with make(tmp_path / "a.db") as writer, LedgerReader.open(writer.path) as reader:
        line = reader.record(0)
        assert line is not None
        record = decode(line)
        assert record["type"] == "genesis"
        assert record["prev"] == "0" * 64
        assert record["log"] == writer.log == LOG
        assert record["key"] == GENESIS["key"]


def test_a_receipt_names_the_stored_line(tmp_path: Path) -> None:
    """Sequence number, leaf and time of the receipt are those of the record on disk."""
    with make(tmp_path / "a.db") as writer, LedgerReader.open(writer.path) as reader:
        receipt = writer.append(decision(new_ulid(), writer.process))
        line = reader.record(receipt.seq)
        assert line is not None
        assert leaf_hash(line) == receipt.leaf
        assert decode(line)["ts"] == receipt.ts


def test_only_the_owner_can_read_what_was_created(tmp_path: Path) -> None:
    """Database, write-ahead log, lock and lease are closed to everyone else, whatever the umask."""
    old = os.umask(0)
    try:
        with make(tmp_path / "a.db") as writer:
            writer.append(note())
            files = [item for item in tmp_path.rglob("*") if item.is_file()]
            assert len(files) == 5
            assert {stat.S_IMODE(item.stat().st_mode) for item in files} == {0o600}
            assert stat.S_IMODE((tmp_path / "a.db-leases").stat().st_mode) == 0o700
    finally:
        os.umask(old)


def test_closing_leaves_one_file_that_opens_again(tmp_path: Path) -> None:
    """After a clean close the database alone holds everything; only the lock and an empty folder
    are beside it.
    """
    writer = make(tmp_path / "a.db")
    whole_call(writer)
    writer.close()
    writer.close()
    assert traces(tmp_path / "a.db") == [tmp_path / "a.db"]
    with LedgerWriter.open(tmp_path / "a.db", signing=SIGNING, settings=FAST) as again:
        assert again.append(note()).seq == 3


def test_records_of_many_threads_form_one_chain(tmp_path: Path) -> None:
    """Eight threads that append together lose nothing and break no link."""
    with make(tmp_path / "a.db") as writer:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: [whole_call(writer) for _ in range(20)], range(8)))
        with LedgerReader.open(writer.path) as reader:
            report = chain.verify(reader.lines())
    assert report.first_bad is None
    assert report.records == 1 + 8 * 20 * 2
    assert not report.open_calls


def test_callers_that_arrive_together_share_one_commit(tmp_path: Path) -> None:
    """While the lock is elsewhere records gather, and one transaction writes them all."""
    with make(tmp_path / "a.db") as writer:
        before = (tmp_path / "a.db-wal").stat().st_size
        held = _hold(tmp_path / "a.db-lock")
        futures = [writer.submit(note()) for _ in range(50)]
        os.close(held)
        assert [future.result(5).seq for future in futures] == list(range(1, 51))
        frames = ((tmp_path / "a.db-wal").stat().st_size - before) / (4096 + 24)
        assert frames < 50


def test_a_call_has_one_outcome_whoever_races(tmp_path: Path) -> None:
    """Eight threads settle one call: one receipt, seven refusals that say why, and the writer goes
    on.
    """
    with make(tmp_path / "a.db") as writer:
        call = new_ulid()
        seq = writer.append(decision(call, writer.process)).seq
        barrier = threading.Barrier(8)

        def settle(_: int) -> str:
            barrier.wait()
            try:
                writer.append(outcome(call, seq, writer.process))
            except LedgerError as error:
                return error.code
            return "written"

        with ThreadPoolExecutor(8) as pool:
            answers = sorted(pool.map(settle, range(8)))
        assert answers == ["ledger.closed_call"] * 7 + ["written"]
        with LedgerReader.open(writer.path) as reader:
            assert len(list(reader.by_call(call))) == 2
        assert not writer.trouble


def test_a_second_decision_about_a_call_is_refused(tmp_path: Path) -> None:
    """A call id is used once, whether the call is open, ended or denied."""
    with make(tmp_path / "a.db") as writer:
        ended, _ = whole_call(writer)
        is_open, denied = new_ulid(), new_ulid()
        writer.append(decision(is_open, writer.process))
        writer.append(decision(denied, writer.process, effect="deny"))
        for call in (ended, is_open, denied):
            with pytest.raises(LedgerError) as caught:
                writer.append(decision(call, writer.process))
            assert caught.value.code == "ledger.duplicate_call"
        with LedgerReader.open(writer.path) as reader:
            assert [call.call for call, _ in reader.open_calls()] == [is_open]


def test_an_outcome_without_an_open_call_is_refused(tmp_path: Path) -> None:
    """Nothing settles a call that was never allowed."""
    with make(tmp_path / "a.db") as writer:
        denied = new_ulid()
        seq = writer.append(decision(denied, writer.process, effect="deny")).seq
        for call in (denied, new_ulid()):
            with pytest.raises(LedgerError) as caught:
                writer.append(outcome(call, seq, writer.process))
            assert caught.value.code == "ledger.no_open_call"


def test_a_refused_record_takes_no_other_down(tmp_path: Path) -> None:
    """Of a batch, only the record that the log must not hold fails."""
    with make(tmp_path / "a.db") as writer:
        held = _hold(tmp_path / "a.db-lock")
        good, bad, better = (
            writer.submit(note()),
            writer.submit(outcome("x", 0, "p")),
            writer.submit(note()),
        )
        os.close(held)
        assert good.result(5).seq == 1
        assert isinstance(bad.exception(5), LedgerError)
        assert better.result(5).seq == 2


def test_an_existing_log_is_never_replaced(tmp_path: Path) -> None:
    """Creating where something is left of a log is refused, and leaves it alone."""
    make(tmp_path / "a.db").close()
    with pytest.raises(LedgerOpenError) as caught:
        make(tmp_path / "a.db")
    assert caught.value.code == "ledger.exists"
    (tmp_path / "a.db").unlink()
    (tmp_path / "a.db-wal").write_bytes(b"something")
    with pytest.raises(LedgerOpenError) as caught:
        make(tmp_path / "a.db")
    assert caught.value.code == "ledger.traces"
    assert caught.value.hint == "guardrail recover"
    assert (tmp_path / "a.db-wal").read_bytes() == b"something"


def test_only_one_of_racing_creators_makes_the_log(tmp_path: Path) -> None:
    """Four threads create at once: one log, three refusals."""

    def create(_: int) -> LedgerWriter | str:
        try:
            return make(tmp_path / "a.db")
        except LedgerOpenError as error:
            return error.code

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(create, range(4)))
    winners = [answer for answer in answers if isinstance(answer, LedgerWriter)]
    assert len(winners) == 1
    assert answers.count("ledger.exists") == 3
    winners[0].close()
    assert not [item for item in tmp_path.iterdir() if "-new-" in item.name]


def test_files_that_are_no_log_are_refused(tmp_path: Path) -> None:
    """Missing, not SQLite, another SQLite database, a folder, a newer format: each with its code,
    none is changed.
    """
    (tmp_path / "text.db").write_bytes(b"no database at all, but long enough to have a header" * 40)
    other = sqlite3.connect(tmp_path / "other.db")
    other.execute("CREATE TABLE t (a)")
    other.close()
    (tmp_path / "folder.db").mkdir()
    make(tmp_path / "newer.db").close()
    newer = sqlite3.connect(tmp_path / "newer.db")
    newer.execute("PRAGMA user_version = 4")
    newer.commit()
    newer.close()
    expected = {
        "missing.db": "ledger.missing",
        "text.db": "ledger.not_a_ledger",
        "other.db": "ledger.not_a_ledger",
        "folder.db": "ledger.not_a_file",
        "newer.db": "ledger.newer_format",
        "nowhere/a.db": "ledger.missing",
    }
    for name, code in expected.items():
        with pytest.raises(LedgerOpenError) as caught:
            LedgerWriter.open(tmp_path / name, signing=SIGNING, settings=FAST)
        assert (name, caught.value.code) == (name, code)


@pytest.mark.parametrize("change", ["DROP TABLE place", "DROP TRIGGER record_no_delete"])
def test_a_log_without_its_safeguards_is_refused(tmp_path: Path, change: str) -> None:
    """One outcome per call rests on an index: a log whose index or trigger is gone does not open
    for writing.
    """
    make(tmp_path / "a.db").close()
    raw = sqlite3.connect(tmp_path / "a.db")
    raw.execute(change)
    raw.close()
    with pytest.raises(LedgerOpenError) as caught:
        LedgerWriter.open(tmp_path / "a.db", signing=SIGNING, settings=FAST)
    assert caught.value.code == "ledger.schema"
    assert caught.value.hint == "guardrail verify"


def test_a_log_with_two_names_is_refused_while_it_has_them(tmp_path: Path) -> None:
    """A hard link would get a write-ahead log of its own; with it gone, the ledger opens."""
    make(tmp_path / "a.db").close()
    os.link(tmp_path / "a.db", tmp_path / "b.db")
    with pytest.raises(LedgerOpenError) as caught:
        LedgerWriter.open(tmp_path / "a.db", signing=SIGNING, settings=FAST)
    assert caught.value.code == "ledger.linked"
    (tmp_path / "b.db").unlink()
    LedgerWriter.open(tmp_path / "a.db", signing=SIGNING, settings=FAST).close()


def test_a_process_that_died_as_it_named_a_new_log_hinders_nobody(tmp_path: Path) -> None:
    """The name under which the log was made is removed by whoever opens it; other files stay."""
    db = tmp_path / "a.db"
    make(db).close()
    first = tmp_path / "a.db-new-123"
    first.hardlink_to(db)
    other = tmp_path / "a.db-new-456"
    other.write_bytes(b"another file")
    with LedgerWriter.open(db, signing=SIGNING, settings=FAST) as writer:
        whole_call(writer)
    assert not first.exists()
    assert other.exists()


def test_a_symbolic_link_leads_to_one_log(tmp_path: Path) -> None:
    """Opened through a link, lock, leases and write-ahead log are those of the file that it leads
    to.
    """
    (tmp_path / "real").mkdir()
    make(tmp_path / "real" / "a.db").close()
    (tmp_path / "link.db").symlink_to(tmp_path / "real" / "a.db")
    with LedgerWriter.open(tmp_path / "link.db", signing=SIGNING, settings=FAST) as writer:
        writer.append(note())
        assert writer.path == tmp_path / "real" / "a.db"
    assert sorted(item.name for item in tmp_path.iterdir()) == ["link.db", "real"]


def test_network_file_systems_are_told_by_their_mount(tmp_path: Path) -> None:
    """The innermost mount counts; a local disk below a network mount is local."""
    inside = tmp_path / "net" / "disk"
    inside.mkdir(parents=True)
    line = "36 35 98:0 / {} rw,noatime - {} server:/x rw"
    mounts = "\n".join(
        [
            line.format("/", "ext4"),
            line.format(tmp_path / "net", "nfs4"),
            line.format(tmp_path / "net" / "disk", "xfs"),
        ]
    )
    assert network_filesystem(tmp_path, mounts) is None
    assert network_filesystem(tmp_path / "net", mounts) == "nfs4"
    assert network_filesystem(inside, mounts) is None
    escaped = line.format(str(tmp_path / "net").replace("n", "\\156"), "fuse.sshfs")
    assert network_filesystem(tmp_path / "net", escaped) == "fuse.sshfs"


def test_a_log_on_a_network_file_system_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither created nor opened, with a hint."""
    monkeypatch.setattr("guardrail.ledger.files.network_filesystem", lambda folder: "nfs")
    with pytest.raises(LedgerOpenError) as caught:
        make(tmp_path / "a.db")
    assert caught.value.code == "ledger.filesystem"
    assert caught.value.hint
    assert not list(tmp_path.iterdir())


def test_a_closed_writer_refuses(tmp_path: Path) -> None:
    """After close every use fails at once, with a code of its own."""
    writer = make(tmp_path / "a.db")
    writer.close()
    for use in (
        lambda: writer.append(note()),
        lambda: writer.submit(note()).result(0),
        writer.sweep,
    ):
        with pytest.raises(LedgerError) as caught:
            use()
        assert caught.value.code == "ledger.closed"


def test_what_waits_past_its_deadline_is_not_written(tmp_path: Path) -> None:
    """A decision that could not be reached in time is dropped unwritten; an outcome is written all
    the same.
    """
    with make(tmp_path / "a.db") as writer:
        settled = new_ulid()
        seq = writer.append(decision(settled, writer.process)).seq
        held = _hold(tmp_path / "a.db-lock")
        late = new_ulid()
        with pytest.raises(LedgerPoisonedError):
            writer.append(decision(late, writer.process), timeout=0.05)
        with pytest.raises(LedgerPoisonedError):
            writer.append(outcome(settled, seq, writer.process), timeout=0.05)
        os.close(held)
        writer.append(note())
        with LedgerReader.open(writer.path) as reader:
            assert list(reader.by_call(late)) == []
            assert len(list(reader.by_call(settled))) == 2


def test_an_expired_future_gives_its_caller_an_error_and_leaves_no_open_call(
    tmp_path: Path,
) -> None:
    """Whenever the caller gives up, before, while or after the commit, the call is absent or closed
    as not started.
    """
    with make(tmp_path / "a.db") as writer:
        calls = [new_ulid() for _ in range(60)]
        for call in calls:
            assert isinstance(
                writer.expired(writer.submit(decision(call, writer.process))), LedgerPoisonedError
            )
        durable = new_ulid()
        future = writer.submit(decision(durable, writer.process))
        future.result(5)
        writer.expired(future)
        writer.append(note())
        writer.append(note())
        with LedgerReader.open(writer.path) as reader:
            assert reader.open_calls() == []
            for call in calls:
                assert len(list(reader.by_call(call))) in (0, 2)
            record = decode(list(reader.by_call(durable))[1])
        assert record["status"] == "cancelled"
        assert record["error"] == {"class": "not_started", "message": ""}
        assert record["decision_seq"] == future.result().seq


@pytest.mark.parametrize("another", [False, True])
def test_a_lock_file_that_is_gone_or_exchanged_is_not_the_lock(
    tmp_path: Path, another: bool
) -> None:
    """The writer goes on, and locks the file that others will see."""
    with make(tmp_path / "a.db") as writer:
        (tmp_path / "a.db-lock").unlink()
        if another:
            (tmp_path / "a.db-lock").touch()
        writer.append(note())
        held = _hold(tmp_path / "a.db-lock")
        with pytest.raises(LedgerPoisonedError):
            writer.append(note(), timeout=0.05)
        os.close(held)


def test_two_writers_of_one_process_share_a_log(tmp_path: Path) -> None:
    """They take turns, share one lease, and each sees the other's records in its links."""
    with (
        make(tmp_path / "a.db") as one,
        LedgerWriter.open(tmp_path / "a.db", signing=SIGNING, settings=FAST) as two,
    ):
        assert one.process == two.process
        for _ in range(5):
            one.append(note())
            two.append(note())
        assert len(list((tmp_path / "a.db-leases").iterdir())) == 1
        with LedgerReader.open(one.path) as reader:
            assert chain.verify(reader.lines()).records == 11


def test_the_tail_is_verified_at_open(tmp_path: Path) -> None:
    """A changed last record keeps the ledger from being opened for writing."""
    with make(tmp_path / "a.db") as writer:
        whole_call(writer)
    raw = sqlite3.connect(tmp_path / "a.db")
    raw.execute("DROP TRIGGER record_no_update")
    raw.execute("""UPDATE record SET line = replace(line, '"ok"', '"ko"') WHERE seq = 2""")
    raw.execute(SCHEMA["record_no_update"])
    raw.commit()
    raw.close()
    with pytest.raises(LedgerError) as caught:
        LedgerWriter.open(tmp_path / "a.db", signing=SIGNING, settings=FAST)
    assert caught.value.code == "ledger.sealed"


def _hold(lock: Path) -> int:
    import fcntl

    descriptor = os.open(lock, os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


@pytest.mark.parametrize(
    "name",
    ["a.db", "a.db-wal", "a.db-shm", "a.db-lock", "a.db-leases", "a.db-reserve", "a.access.db"],
)
@pytest.mark.parametrize("there", [True, False])
def test_a_new_log_is_not_made_through_a_symbolic_link(
    tmp_path: Path, name: str, there: bool
) -> None:
    """Whoever could write in the folder first must not choose where the files of a log are."""
    here, outside = tmp_path / "here", tmp_path / "outside"
    here.mkdir()
    outside.mkdir()
    if there:
        (outside / "victim").mkdir()
    (here / name).symlink_to(outside / "victim")
    with pytest.raises(LedgerOpenError) as caught:
        make(here / "a.db")
    assert caught.value.code == "ledger.linked"
    assert name in caught.value.hint
    assert [each.name for each in here.iterdir()] == [name]
    assert [list(each.iterdir()) for each in outside.iterdir()] == ([[]] if there else [])


@pytest.mark.parametrize("name", ["a.db-lock", "a.db-leases"])
def test_a_log_is_not_opened_with_a_link_in_the_place_of_a_file_of_its_own(
    tmp_path: Path, name: str
) -> None:
    """What is removed as a leftover could otherwise come back as a link to somewhere else."""
    db = tmp_path / "a.db"
    make(db).close()
    path = tmp_path / name
    if path.is_dir():
        path.rmdir()
    path.unlink(missing_ok=True)
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(LedgerOpenError) as caught:
        reopen(db)
    assert caught.value.code == "ledger.linked"
    assert not (tmp_path / "elsewhere").exists()
    path.unlink()
    reopen(db).close()
