"""Leases, sweeps and forks, with real processes."""

from __future__ import annotations

import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from ledgerkit import FAST, SIGNING, decision, driven, make, note, outcome, whole_call

from guardrail.core import chain
from guardrail.core.record import decode
from guardrail.errors import LedgerError
from guardrail.ledger.lease import Leases, Life
from guardrail.ledger.reader import LedgerReader
from guardrail.ledger.writer import LedgerWriter
from guardrail.ulid import new_ulid


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
    """Two writers of one process keep each other's calls open, and sweeping does not cost the lease."""
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
        assert Leases(tmp_path / "a.db-leases").life(slow.opened["process"]) is Life.ALIVE
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
    """A call that outlives its writer is still told to be alive; it ends as unknown with its process."""
    with make(tmp_path / "a.db") as writer, driven(tmp_path / "a.db") as other:
        opened = other.ask("decide")
        other.ask("stop")
        assert Leases(tmp_path / "a.db-leases").life(other.opened["process"]) is Life.ALIVE
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
    """The child has a name, lease and connection of its own, and its end takes nothing from the parent."""
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
    """Children forked while four threads append either write or refuse; every record of the parent is there."""
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
    """A connection that was in use at the fork makes this ledger unusable in the child, and only there."""
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
