"""Leases, sweeps and forks, with real processes."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from guardrail.core.log import chain
from guardrail.core.log.record import decode
from guardrail.errors import LedgerError
from guardrail.ledger.files import lock_path
from guardrail.ledger.lease import Leases, ProcessState
from guardrail.ledger.lock import FileLock
from guardrail.ledger.reader import LedgerReader
from guardrail.ledger.writing.writer import LedgerWriter
from guardrail.system.ids import new_ulid
from tests.support.ledgers import (
    EPOCHS,
    FAST,
    KEYS,
    LOG,
    SIGNING,
    decision,
    driven,
    make,
    note,
    outcome,
    whole_call,
)


def test_the_calls_of_a_killed_process_end_as_unknown(tmp_path: Path) -> None:
    """Opening the ledger closes them, with what the decision says about who and where."""
    with driven(tmp_path / "a.db") as driver:
        opened = driver.ask("decide", "s-7")
        driver.kill()
    with (
        LedgerWriter.open(tmp_path / "a.db", signing=SIGNING, settings=FAST) as writer,
        LedgerReader.open(writer.path) as reader,
    ):
        before, after = [decode(line) for line in reader.by_call(opened["call"])]
        assert after["status"] == "unknown"
        assert after["decision_seq"] == opened["ok"]
        assert after["session"] == "s-7"
        assert after["principal"] == before["principal"]
        assert after["origin"]["adapter"] == "sweep"
        assert after["origin"]["process"] == writer.process != before["origin"]["process"]
        assert reader.open_calls() == []
        assert [item.name for item in (tmp_path / "a.db-leases").iterdir()] == [writer.process]


def test_four_racing_sweepers_close_a_dead_call_once(tmp_path: Path) -> None:
    """Each dead call gets one outcome, and the sweeps together count each once."""
    db = tmp_path / "a.db"
    with make(db) as first, driven(db) as dying:
        calls = [dying.ask("decide")["call"] for _ in range(10)]
        with driven(db) as one, driven(db) as two, driven(db) as three:
            dying.kill()
            sweepers = [one, two, three]
            with ThreadPoolExecutor(4) as pool:
                mine = pool.submit(first.sweep)
                theirs = list(pool.map(lambda driver: driver.ask("sweep")["swept"], sweepers))
            assert mine.result() + sum(theirs) == 10
        with LedgerReader.open(db) as reader:
            for call in calls:
                assert len(list(reader.by_call(call))) == 2
            assert chain.verify(reader.lines()).first_bad is None


def test_a_slow_process_is_never_swept(tmp_path: Path) -> None:
    """Neither while it works nor while it is stopped; it settles its call itself in the end."""
    import signal

    with make(tmp_path / "a.db") as writer, driven(tmp_path / "a.db") as slow:
        opened = slow.ask("decide")
        assert writer.sweep() == 0
        slow.process.send_signal(signal.SIGSTOP)
        assert writer.sweep() == 0
        slow.process.send_signal(signal.SIGCONT)
        assert "ok" in slow.ask("settle", opened["call"], opened["ok"])


def test_a_writer_never_sweeps_its_own_process(tmp_path: Path) -> None:
    """Two writers of one process keep each other's calls open, and sweeping does not cost the
    lease.
    """
    with (
        make(tmp_path / "a.db") as one,
        LedgerWriter.open(tmp_path / "a.db", signing=SIGNING, settings=FAST) as two,
    ):
        call = new_ulid()
        seq = one.append(decision(call, one.process)).seq
        assert two.sweep() == 0
        with driven(tmp_path / "a.db") as other:
            assert other.ask("sweep") == {"swept": 0}
            two.close()
            assert other.ask("sweep") == {"swept": 0}
        one.append(outcome(call, seq, one.process))


def test_a_lost_lease_file_does_not_get_a_live_process_swept(tmp_path: Path) -> None:
    """The process number still counts, and the next record brings the lease back."""
    with make(tmp_path / "a.db") as writer, driven(tmp_path / "a.db") as slow:
        opened = slow.ask("decide")
        shutil.rmtree(tmp_path / "a.db-leases")
        assert writer.sweep() == 0
        until = time.monotonic() + 20
        while not (tmp_path / "a.db-leases" / slow.opened["process"]).exists():
            assert time.monotonic() < until
            slow.ask("call")
            time.sleep(0.1)
        assert (
            Leases(tmp_path / "a.db-leases").process_state(slow.opened["process"])
            is ProcessState.ALIVE
        )
        assert "ok" in slow.ask("settle", opened["call"], opened["ok"])


def test_a_dead_process_without_a_lease_file_is_swept_by_its_number(tmp_path: Path) -> None:
    """On the same host a process number that is gone says enough."""
    with make(tmp_path / "a.db") as writer, driven(tmp_path / "a.db") as dying:
        dying.ask("decide")
        (tmp_path / "a.db-leases" / dying.opened["process"]).unlink()
        dying.kill()
        assert writer.sweep() == 1


def test_a_clean_end_leaves_no_lease(tmp_path: Path) -> None:
    """A process that closed its ledger leaves nothing to be swept."""
    with make(tmp_path / "a.db") as writer:
        with driven(tmp_path / "a.db") as other:
            other.ask("call")
            other.ask("stop")
            assert other.end() == 0
        assert [item.name for item in (tmp_path / "a.db-leases").iterdir()] == [writer.process]
        assert writer.sweep() == 0


def test_closing_with_an_open_call_leaves_the_lease_until_death(tmp_path: Path) -> None:
    """A call that outlives its writer is still told to be alive; it ends as unknown with its
    process.
    """
    with make(tmp_path / "a.db") as writer, driven(tmp_path / "a.db") as other:
        opened = other.ask("decide")
        other.ask("stop")
        assert (
            Leases(tmp_path / "a.db-leases").process_state(other.opened["process"])
            is ProcessState.ALIVE
        )
        assert writer.sweep() == 0
        other.kill()
        assert writer.sweep() == 1
        with LedgerReader.open(writer.path) as reader:
            assert decode(list(reader.by_call(opened["call"]))[1])["status"] == "unknown"


def test_a_settle_after_unknown_is_told_so(tmp_path: Path) -> None:
    """Its caller learns that the call was closed, and the writer is not poisoned."""
    with make(tmp_path / "a.db") as writer:
        call = new_ulid()
        seq = writer.append(
            decision(call, "0" * 26)
        ).seq  # another process's lease, which never was
        with driven(tmp_path / "a.db") as other:
            other.ask("settle", call, seq)
        with pytest.raises(LedgerError) as caught:
            writer.append(outcome(call, seq, writer.process))
        assert caught.value.code == "ledger.closed_call"
        assert not writer.trouble


def test_the_sweep_comes_by_itself(tmp_path: Path) -> None:
    """A writer that nobody calls closes the calls of the dead."""
    from dataclasses import replace

    with make(tmp_path / "a.db", replace(FAST, sweep_interval=0.1)) as writer:
        with driven(tmp_path / "a.db") as dying:
            dying.ask("decide")
            dying.kill()
        until = time.monotonic() + 20
        with LedgerReader.open(writer.path) as reader:
            while reader.open_calls():
                assert time.monotonic() < until
                time.sleep(0.02)


def test_a_forked_child_and_its_parent_both_go_on(tmp_path: Path) -> None:
    """The child has a name, lease and connection of its own, and its end takes nothing from the
    parent.
    """
    with driven(tmp_path / "a.db") as driver:
        opened = driver.ask("decide")
        for _ in range(5):
            answer = driver.ask("fork")
            assert "ok" in answer["child"]
            assert answer["child"]["process"] != answer["parent"] == driver.opened["process"]
            assert "ok" in driver.ask("call")
        with LedgerWriter.open(tmp_path / "a.db", signing=SIGNING, settings=FAST) as writer:
            assert writer.sweep() == 0
        assert "ok" in driver.ask("settle", opened["call"], opened["ok"])
        driver.ask("stop")
    with LedgerReader.open(tmp_path / "a.db") as reader:
        report = chain.verify(reader.lines())
        assert report.first_bad is None
        assert report.records == 1 + 2 + 5 * 4


def test_forking_amid_calls_of_other_threads_loses_nothing(tmp_path: Path) -> None:
    """Children forked while four threads append either write or refuse; every record of the parent
    is there.
    """
    with make(tmp_path / "a.db") as writer:

        def work(_: int) -> int:
            for _ in range(40):
                whole_call(writer)
            return 40

        with ThreadPoolExecutor(4) as pool:
            running = pool.map(work, range(4))
            children = []
            for _ in range(6):
                child = os.fork()
                if child == 0:
                    try:
                        writer.append(note())
                    except LedgerError as error:
                        os._exit(0 if error.code == "ledger.forked" else 1)
                    os._exit(0)
                children.append(child)
                time.sleep(0.01)
            assert sum(running) == 160
        assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * 6
        with LedgerReader.open(writer.path) as reader:
            report = chain.verify(reader.lines())
            assert report.first_bad is None
            assert sum(b'"call.outcome"' in line for _, _, line in reader.lines()) == 160


def test_a_fork_during_a_read_keeps_the_child_from_the_ledger(tmp_path: Path) -> None:
    """A connection that was in use at the fork makes this ledger unusable in the child, and only
    there.
    """
    with make(tmp_path / "a.db") as writer, LedgerReader.open(writer.path) as reader:
        with reader.snapshot():
            child = os.fork()
            if child == 0:
                try:
                    writer.append(note())
                except LedgerError as error:
                    os._exit(0 if error.code == "ledger.forked" else 1)
                os._exit(2)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        writer.append(note())
        assert reader.size() == 2


# -- what must not make the living look dead, nor the dead alive
# -------------------------------------------------------------

_PROGRAM = """
import ctypes, os, subprocess, sys, time
from pathlib import Path
from guardrail.ledger.lease import Leases, process_name

leases = Leases(Path(sys.argv[1]))
leases.acquire()
how = sys.argv[2]
if how == "fork":
    if os.fork() == 0:
        time.sleep(60)
elif how == "fork past Python":
    if ctypes.PyDLL(None).fork() == 0:
        time.sleep(60)
elif how == "program":
    nothing = subprocess.DEVNULL
    subprocess.Popen(["sleep", "60"], close_fds=False, stdin=nothing, stdout=nothing)
elif how == "reads it":
    for each in Path(sys.argv[1]).iterdir():
        each.read_bytes()
print(process_name(), os.getpid(), flush=True)
sys.stdin.readline()
os._exit(0)
"""


@contextlib.contextmanager
def holder(folder: Path, how: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run a process that holds a lease in *folder*; end it and its children at the end."""
    process = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, str(folder), how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield process, process.stdout.readline().split()[0]
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdin.close()
        process.stdout.close()


@pytest.mark.parametrize("how", ["alone", "fork", "fork past Python", "program", "reads it"])
def test_a_lease_lasts_as_long_as_its_process_and_no_longer(tmp_path: Path, how: str) -> None:
    """Children that outlive it do not keep it, and reading the file does not end it."""
    leases = Leases(tmp_path / "leases")
    with holder(tmp_path / "leases", how) as (process, name):
        assert leases.process_state(name) is ProcessState.ALIVE
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
        process.wait(20)
        assert leases.process_state(name) is ProcessState.DEAD


@pytest.mark.parametrize("what", ["copy", "removed", "link", "fifo", "folder"])
def test_a_lease_file_that_is_exchanged_does_not_end_its_process(tmp_path: Path, what: str) -> None:
    """Who can write in the folder, without keys, can't have the calls of a live process closed."""
    leases = Leases(tmp_path / "leases")
    with holder(tmp_path / "leases", "alone") as (process, name):
        path = tmp_path / "leases" / name
        text = path.read_text()
        path.unlink()
        if what == "copy":
            path.write_text(text)
        elif what == "link":
            path.symlink_to(tmp_path / "elsewhere")
        elif what == "fifo":
            os.mkfifo(path)
        elif what == "folder":
            path.mkdir()
        host = text.split()[0]
        assert leases.process_state(name, host, process.pid) in (
            ProcessState.ALIVE,
            ProcessState.UNKNOWN,
        )
        process.kill()
        process.wait()
        assert leases.process_state(name, host, process.pid) is ProcessState.DEAD


def test_a_lease_of_another_boot_or_of_a_number_that_is_taken_again_is_dead(tmp_path: Path) -> None:
    """A process in a container has the same number each time."""
    folder = tmp_path / "leases"
    with holder(folder, "alone") as (_, name):
        host, pid, space, started = (folder / name).read_text().split()
        other = folder / "OTHER"
        for text in (
            f"{host} {pid} {space} {int(started) - 1}",
            f"{host} {pid} another:1 {started}",
            f"{host} {pid}",
            "",
            "\0" * 100,
            f"{host} -1 {space} {started}",
            f"{host} 99999999999999999999 {space} {started}",
        ):
            other.write_text(text)
            assert Leases(folder).process_state("OTHER") is ProcessState.DEAD, text


def test_a_writer_whose_key_was_ended_signs_with_a_new_one(tmp_path: Path) -> None:
    """Heads under the old key would not count: it looks before each, and nothing is lost."""
    from guardrail.ledger.epochs import ended
    from guardrail.ledger.sqlite.appending import Store
    from guardrail.review.verify import VerifyState, verify_ledger

    with make(tmp_path / "a.db", signing=EPOCHS) as writer:
        whole_call(writer)
        with FileLock(lock_path(writer.path)):
            store = Store(writer.path, EPOCHS)
            tail = store.begin()
            store.rotate(ended(LOG, EPOCHS, [row.public for row in store.epochs()]), tail)
            store.sign(tail, EPOCHS.log_key(LOG))
            store.commit()
            store.close()
        whole_call(writer)
        assert verify_ledger(writer.path, key=KEYS.public).state is VerifyState.NOT_ANCHORED
    assert verify_ledger(tmp_path / "a.db", key=KEYS.public).state is VerifyState.NOT_ANCHORED


@pytest.mark.parametrize("table", ["call", "epoch"])
def test_a_table_that_names_a_dead_process_does_not_get_a_live_one_swept(
    tmp_path: Path, table: str
) -> None:
    """Whose a call and a key are comes from their lines, which the signed head proves; the table
    only says where to look.
    """
    db = tmp_path / "a.db"
    with driven(db, "4.0", "epochs") as dying:
        dying.ask("decide")
        gone = decode(_last_decision(db))["origin"]["process"]
        dying.kill()
        with driven(db, "4.0", "epochs") as alive:
            call = alive.ask("decide")["call"]
            with LedgerReader.open(db) as reader:
                keys = [row for row in reader.storage.epochs() if row.process != gone]
            # A number that no process has, and the name of one that died.
            change(
                db,
                f"UPDATE {table} SET process = '{gone}', pid = 99999999 WHERE process <> '{gone}'",
            )
            with contextlib.suppress(LedgerError):
                LedgerWriter.open(db, signing=EPOCHS, settings=FAST).close()
            with LedgerReader.open(db) as reader:
                assert len(list(reader.by_call(call))) == 1, "no outcome"
                ended = [
                    each["public"]
                    for _, line in reader.admin("admin.key_rotated")
                    for each in decode(line)["detail"]["ended"]
                ]
                assert not {row.public for row in keys} & set(ended)


def _last_decision(db: Path) -> bytes:
    with LedgerReader.open(db) as reader:
        found = [line for _, _, line in reader.lines() if b'"call.decision"' in line]
    return found[-1]


def change(db: Path, statement: str) -> None:
    """Change the ledger as somebody does who can write the file."""
    connection = sqlite3.connect(db, isolation_level=None)
    connection.execute(statement)
    connection.close()
