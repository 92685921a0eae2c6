"""Callers that arrive while a commit is under way share the next one, and each gets what is
theirs.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import sqlite3
import struct
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from guardrail.core.log import chain
from guardrail.core.log.checkpoint import Checkpoint, SignedNote
from guardrail.core.log.merkle import Edge
from guardrail.errors import LedgerError, LedgerPoisonedError
from guardrail.ledger.reader import LedgerReader
from guardrail.ledger.settings import LedgerSettings
from guardrail.ledger.sqlite.appending import Store
from guardrail.ledger.writing.work import Entry
from guardrail.ledger.writing.writer import LedgerWriter
from guardrail.system.ids import new_ulid
from guardrail.system.waiting import wait_async
from tests.support.ledgers import FAST, Shim, decision, driven, make, note, outcome
from tests.support.waiting import until


class Held:
    """The lock of a log, held as by a process that is stuck in a commit."""

    def __init__(self, writer: LedgerWriter) -> None:
        self._descriptor = os.open(f"{writer.path}-lock", os.O_RDWR)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)

    def let_go(self) -> None:
        os.close(self._descriptor)


def commits(db: Path) -> int:
    """Return how many commits stand in the ``-wal``: frames that name the database's size end
    one.
    """
    data = Path(f"{db}-wal").read_bytes()
    page, salt = struct.unpack(">I", data[8:12])[0], data[16:24]
    found = 0
    for place in range(32, len(data), 24 + page):
        size, frame_salt = struct.unpack(">4xI8s", data[place : place + 16])
        if frame_salt == salt and size:
            found += 1
    return found


def test_callers_that_wait_for_the_lock_share_one_commit(tmp_path: Path) -> None:
    """Threads and tasks alike: twelve records, one commit, in the order in which they came."""
    with make(tmp_path / "a.db") as writer:
        writer.append(note())
        before = commits(writer.path)
        held = Held(writer)
        with ThreadPoolExecutor(6) as pool:
            threads = [pool.submit(writer.append, note()) for _ in range(6)]

            async def tasks() -> list[int]:
                futures = [writer.submit(note()) for _ in range(6)]
                waiting = [asyncio.ensure_future(wait_async(future, 10)) for future in futures]
                await asyncio.sleep(0)
                until(lambda: len(writer._inbox) == 11)  # one is in the commit thread's hand
                held.let_go()
                return [receipt.seq for receipt in await asyncio.gather(*waiting)]

            seqs = asyncio.run(tasks())
            assert seqs == sorted(seqs)
            every = sorted([*seqs, *(thread.result(10).seq for thread in threads)])
            assert every == list(range(2, 14))
        assert commits(writer.path) == before + 1


def test_the_outcome_of_one_call_and_the_decision_of_another_share_a_commit(tmp_path: Path) -> None:
    """Both are durable before either is acknowledged; what each was promised stays true."""
    with make(tmp_path / "a.db") as writer:
        first, second = new_ulid(), new_ulid()
        seq = writer.append(decision(first, writer.process)).seq
        before = commits(writer.path)
        held = Held(writer)
        ended = writer.submit(outcome(first, seq, writer.process))
        begun = writer.submit(decision(second, writer.process))
        held.let_go()
        assert (ended.result(10).seq, begun.result(10).seq) == (seq + 1, seq + 2)
        assert commits(writer.path) == before + 1
        with LedgerReader.open(writer.path) as reader:
            assert [item.call for item, _ in reader.open_calls()] == [second]


def test_decisions_and_outcomes_of_a_commit_are_written_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not record by record: each statement would make the commit thread wait for its turn."""
    with make(tmp_path / "a.db") as writer, monkeypatch.context() as patched:
        calls = [new_ulid() for _ in range(5)]
        seqs = [writer.append(decision(call, writer.process)).seq for call in calls]
        patched.setattr(Store, "add", None)
        held = Held(writer)
        futures = [writer.submit(decision(new_ulid(), writer.process)) for _ in range(5)]
        futures += [
            writer.submit(outcome(call, seq, writer.process))
            for call, seq in zip(calls, seqs, strict=True)
        ]
        held.let_go()
        assert [each.result(10).seq for each in futures] == list(range(seqs[-1] + 1, seqs[-1] + 11))
        with LedgerReader.open(writer.path) as reader:
            assert len(list(reader.open_calls())) == 5
        patched.undo()


def test_the_outcome_of_a_call_can_share_the_commit_of_its_own_decision(tmp_path: Path) -> None:
    """What comes later in a batch sees what came before: an outcome right behind its decision is
    none too many.
    """
    with make(tmp_path / "a.db") as writer:
        held = Held(writer)
        call = new_ulid()
        futures = [
            writer.submit(decision(call, writer.process)),
            writer.submit(outcome(call, 1, writer.process)),
            writer.submit(outcome(call, 1, writer.process)),
            writer.submit(note()),
        ]
        held.let_go()
        assert [futures[0].result(10).seq, futures[1].result(10).seq] == [1, 2]
        refused = futures[2].exception(10)
        assert isinstance(refused, LedgerError)
        assert refused.code == "ledger.closed_call"
        assert futures[3].result(10).seq == 3
        with LedgerReader.open(writer.path) as reader:
            assert chain.verify(reader.lines()).records == 4
            assert reader.open_calls() == []


def test_a_call_that_begins_and_ends_in_one_commit_is_not_left_open(tmp_path: Path) -> None:
    """Nothing of the batch is refused, and yet its outcome closes what the same batch opens."""
    with make(tmp_path / "a.db") as writer:
        held = Held(writer)
        call = new_ulid()
        begun = writer.submit(decision(call, writer.process))
        ended = writer.submit(outcome(call, 1, writer.process))
        held.let_go()
        assert (begun.result(10).seq, ended.result(10).seq) == (1, 2)
        with LedgerReader.open(writer.path) as reader:
            assert reader.open_calls() == []


def test_of_a_batch_only_those_that_the_log_must_not_hold_are_refused(tmp_path: Path) -> None:
    """Wherever in a batch they stand, each gets its own code, and the others are one unbroken
    chain.
    """
    with make(tmp_path / "a.db") as writer:
        settled, opened = new_ulid(), new_ulid()
        seq = writer.append(decision(settled, writer.process)).seq
        writer.append(outcome(settled, seq, writer.process))
        writer.append(decision(opened, writer.process))
        ends = new_ulid()
        writer.append(decision(ends, writer.process))
        twice = new_ulid()
        sent = {
            "ends": outcome(ends, 4, writer.process),
            "unknown": outcome(new_ulid(), 1, writer.process),
            "one": decision(twice, writer.process),
            "again": decision(twice, writer.process),
            "closed": outcome(settled, seq, writer.process),
            "two": note(),
            "open": decision(opened, writer.process),
            "known": decision(settled, writer.process),
            "three": note(),
        }
        held = Held(writer)
        futures = {name: writer.submit(draft) for name, draft in sent.items()}
        held.let_go()
        codes: dict[str, Any] = {}
        for name, future in futures.items():
            try:
                codes[name] = future.result(10).seq
            except LedgerError as error:
                codes[name] = error.code
        assert codes == {
            "ends": 5,
            "unknown": "ledger.no_open_call",
            "one": 6,
            "again": "ledger.duplicate_call",
            "closed": "ledger.closed_call",
            "two": 7,
            "open": "ledger.duplicate_call",
            "known": "ledger.duplicate_call",
            "three": 8,
        }
        with LedgerReader.open(writer.path) as reader:
            assert chain.verify(reader.lines()).records == 9
            assert {item.call for item, _ in reader.open_calls()} == {opened, twice}


async def test_who_gives_up_while_the_commit_waits_takes_nobody_with_them(tmp_path: Path) -> None:
    """One task is cancelled, one and a thread run out of time: theirs is dropped, the others' is
    written.
    """
    with make(tmp_path / "a.db") as writer:
        held = Held(writer)
        stays = [
            asyncio.ensure_future(wait_async(writer.submit(note()), 10)),
            asyncio.ensure_future(asyncio.to_thread(writer.append, note())),
        ]
        calls = [new_ulid() for _ in range(3)]
        drafts = [decision(call, writer.process) for call in calls]
        futures = [writer.submit(draft) for draft in drafts[:2]]
        cancelled = asyncio.ensure_future(wait_async(futures[0], 10))
        late = asyncio.ensure_future(wait_async(futures[1], 0.02))
        thread = asyncio.ensure_future(asyncio.to_thread(writer.append, drafts[2], 0.02))
        await asyncio.sleep(0.01)
        cancelled.cancel()
        gone = await asyncio.gather(cancelled, late, thread, return_exceptions=True)
        for future in futures:
            assert isinstance(writer.expired(future), LedgerPoisonedError)
        held.let_go()
        assert sorted(receipt.seq for receipt in await asyncio.gather(*stays)) == [1, 2]
        assert [type(answer) for answer in gone] == [
            asyncio.CancelledError,
            TimeoutError,
            LedgerPoisonedError,
        ]
        with LedgerReader.open(writer.path) as reader:
            assert [list(reader.by_call(call)) for call in calls] == [[], [], []]


def test_a_loop_that_was_closed_leaves_the_others_of_its_commit_their_receipts(
    tmp_path: Path,
) -> None:
    """Its record is written, nobody hears of it, and the thread beside it gets its receipt."""
    with make(tmp_path / "a.db") as writer:
        held = Held(writer)
        future = writer.submit(note())

        async def leave() -> None:
            with pytest.raises(TimeoutError):
                await wait_async(future, 0.01)

        asyncio.run(leave())
        other = writer.submit(note())
        held.let_go()
        assert other.result(10).seq == 2
        assert future.result(10).seq == 1


def test_a_batch_has_a_limit_and_the_rest_comes_next(tmp_path: Path) -> None:
    """More waiters than one commit takes: all are written, in several commits."""
    with make(tmp_path / "a.db") as writer:
        writer.append(note())
        before = commits(writer.path)
        held = Held(writer)
        futures = [writer.submit(note()) for _ in range(FAST.max_batch + 20)]
        until(lambda: len(writer._inbox) == len(futures) - 1)
        held.let_go()
        assert [future.result(20).seq for future in futures] == list(range(2, 2 + len(futures)))
        assert commits(writer.path) == before + 2


def test_a_batch_that_completes_a_tile_keeps_it_and_its_head_covers_all(tmp_path: Path) -> None:
    """Records 250 to 270 share a commit: the tile of the first 256 leaves is there, and the head is
    the tree's.
    """
    with make(tmp_path / "a.db") as writer:
        for future in [writer.submit(note()) for _ in range(248)]:
            future.result(20)
        held = Held(writer)
        futures = [writer.submit(note()) for _ in range(21)]
        held.let_go()
        last = [future.result(20).seq for future in futures][-1]
    raw = sqlite3.connect(f"file:{tmp_path / 'a.db'}?mode=ro", uri=True)
    leaves = [row[0] for row in raw.execute("SELECT leaf FROM record ORDER BY seq")]
    assert last > 256
    assert raw.execute("SELECT level, number, hashes FROM tile").fetchall()[0] == (
        0,
        0,
        b"".join(leaves[:256]),
    )
    edge = Edge()
    for leaf in leaves:
        edge.append(leaf)
    (text,) = raw.execute("SELECT note FROM head").fetchone()
    raw.close()
    head = Checkpoint.parse(SignedNote.parse(text).text)
    assert (head.size, head.root) == (len(leaves), edge.root())


FAILING = """
import json, sys
from pathlib import Path
from tests.ledger.writing.test_ledger_group_commit import a_batch_that_fails
print(json.dumps(a_batch_that_fails(Path(sys.argv[1]))))
"""


def a_batch_that_fails(db: Path) -> dict[str, Any]:
    """Let one commit hang, send more, and have the first one fail: tell who got what. In a process
    with a shim.
    """

    control = Path(os.environ["GR_SHIM"])
    settings = LedgerSettings(append_deadline=20.0, retry_interval=1.5)
    with make(db, settings) as writer:
        writer.append(note())
        held = Held(writer)
        first = [writer.submit(note()) for _ in range(3)]
        until(lambda: len(writer._inbox) == 2)
        control.write_text("sync HANG\n")
        held.let_go()
        until(lambda: all(isinstance(entry, Entry) and entry.taken for entry in first))
        second = [writer.submit(note()) for _ in range(3)]
        with ThreadPoolExecutor(1) as pool:
            third = pool.submit(writer.append, note())
            os.link(db, db.with_name("another-name.db"))
            control.unlink()
            failed = [str(getattr(entry.exception(20), "code", None)) for entry in first]
            early = [entry.done() for entry in second]
            db.with_name("another-name.db").unlink()
            seqs = [entry.result(20).seq for entry in second]
            return {"failed": failed, "early": early, "seqs": [*seqs, third.result(20).seq]}


def test_a_failed_commit_fails_its_own_callers_and_not_those_who_came_meanwhile(
    tmp_path: Path,
) -> None:
    """Three share the commit that fails, four came while it hung: three errors, four receipts, one
    chain.
    """
    shim = Shim(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", FAILING, str(tmp_path / "a.db")],
        env={**os.environ, **shim.env},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    answer = json.loads(done.stdout)
    assert answer["failed"] == ["ledger.poisoned"] * 3
    assert answer["early"] == [False] * 3
    with LedgerReader.open(tmp_path / "a.db") as reader:
        report = chain.verify(reader.lines())
    assert report.detail == ""
    # What failed may be in the log or not; what was acknowledged is.
    assert max(answer["seqs"]) == report.records - 1


def test_four_processes_get_equal_shares_of_one_log(tmp_path: Path) -> None:
    """While all four write, none gets much less than another, and none waits while the others take
    many turns.
    """
    make(tmp_path / "a.db").close()
    told = [tmp_path / f"acknowledged-{number}" for number in range(4)]
    with ExitStack() as stack:
        drivers = [stack.enter_context(driven(tmp_path / "a.db", "20")) for _ in told]
        for driver, path in zip(drivers, told, strict=True):
            driver.ask("flood", path)

        def written() -> list[int]:
            return [path.read_bytes().count(b"\n") for path in told]

        until(lambda: min(written()) > 0)  # from here on all of them are there
        before = written()
        until(lambda: sum(written()) >= sum(before) + 1500)
        shares = [late - early for late, early in zip(written(), before, strict=True)]
    assert min(shares) / max(shares) > 0.4
    seqs = [[int(line.split()[0]) for line in path.read_text().splitlines()] for path in told]
    begin, finish = max(each[0] for each in seqs), min(each[-1] for each in seqs)
    waits = [
        late - early
        for each in seqs
        for early, late in pairwise(sorted(seq for seq in each if begin <= seq <= finish))
    ]
    assert max(waits) < 400
    with LedgerReader.open(tmp_path / "a.db") as reader:
        assert chain.verify(reader.lines()).detail == ""


def test_a_caller_has_its_deadline_while_another_process_holds_the_lock(tmp_path: Path) -> None:
    """Four callers, four errors, nothing written; with the lock free again the same writer goes
    on.
    """
    with make(tmp_path / "a.db") as writer:
        held = Held(writer)
        errors: list[LedgerError] = []

        def call() -> None:
            try:
                writer.append(note(), timeout=0.05)
            except LedgerError as error:
                errors.append(error)

        threads = [threading.Thread(target=call) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert [type(error) for error in errors] == [LedgerPoisonedError] * 4
        held.let_go()
        assert writer.append(note()).seq == 1
