"""P6: killed at any moment, no acknowledged record is lost, and the ledger opens, verifies and goes
on.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from pathlib import Path

from guardrail.core.log.record import decode, leaf_hash
from tests.support.guards import Body, child, guarded, lines, records, whole

ROUNDS = 4

CALLER = """
import os, sys, threading
from pathlib import Path
from tests.support import guards

folder, told = Path(sys.argv[1]), os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_APPEND)

def say(*words):
    os.write(told, (" ".join(map(str, words)) + "\\n").encode())

with guards.guarded(folder) as guard:
    guard.declare("send", schema=guards.OPEN)

    def work():
        while True:
            admission = guard.admit("send", {"text": "x" * 300})
            say("admitted", admission.seq, admission.call)
            receipt = admission.settle()
            say("settled", receipt.seq, admission.call, receipt.leaf.hex())

    for _ in range(3):
        threading.Thread(target=work, daemon=True).start()
    threading.Event().wait()
"""


def test_killing_guards_at_random_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """Three processes with three threads each, killed again and again while they call."""
    folder = tmp_path / "home"
    folder.mkdir()
    with guarded(folder):
        pass
    moment = random.Random(6)
    for number in range(ROUNDS):
        running = [
            subprocess.Popen(
                [
                    sys.executable,
                    "-c",
                    CALLER,
                    str(folder),
                    str(tmp_path / f"told-{number}-{index}"),
                ]
            )
            for index in range(3)
        ]
        until = time.monotonic() + 30
        while time.monotonic() < until:
            if all((tmp_path / f"told-{number}-{index}").exists() for index in range(3)):
                break
            time.sleep(0.01)
        time.sleep(0.05 + moment.random() * 0.2)
        moment.shuffle(running)
        for process in running:
            process.kill()
            process.wait()
    with guarded(folder) as guard:
        body = Body()
        guard.call("send", {}, body)
        assert body.runs == 1
    found = whole(folder / "audit.db")
    stored = lines(folder / "audit.db")
    told = 0
    for path in tmp_path.glob("told-*"):
        for line in path.read_text().splitlines():
            kind, seq, call, *leaf = line.split(" ")
            record = found[int(seq)]
            assert record["call"] == call
            assert record["type"] == {"admitted": "call.decision", "settled": "call.outcome"}[kind]
            if leaf:
                assert leaf_hash(stored[int(seq)]).hex() == leaf[0]
            told += 1
    assert told > 2 * ROUNDS


def test_a_torn_last_write_is_no_record_and_hides_none(tmp_path: Path) -> None:
    """A -wal whose end was never synced: cut anywhere behind the last commit, every acknowledged
    record stays.
    """
    with child(tmp_path) as running:
        for _ in range(4):
            running.ask("call")
        known = lines(tmp_path / "audit.db")
        size = (tmp_path / "audit.db-wal").stat().st_size
        running.ask("begin_slow")
        running.kill()
    whole_size = (tmp_path / "audit.db-wal").stat().st_size
    assert whole_size > size
    content = (tmp_path / "audit.db-wal").read_bytes()
    cut = size + (whole_size - size) // 2
    (tmp_path / "audit.db-wal").write_bytes(content[:cut] + b"\xff" * (whole_size - cut))
    with guarded(tmp_path) as guard:
        guard.call("send", {}, Body())
    assert lines(tmp_path / "audit.db")[: len(known)] == known
    whole(tmp_path / "audit.db")


def test_a_second_process_may_come_and_go_at_any_time(tmp_path: Path) -> None:
    """Opening and closing beside a busy guard disturbs neither."""
    with child(tmp_path) as busy:
        busy.ask("flood")
        for _ in range(3):
            with guarded(tmp_path) as guard:
                guard.call("send", {"mine": True}, Body())
        busy.kill()
    with guarded(tmp_path):
        pass
    whole(tmp_path / "audit.db")
    mine = [
        record
        for record in records(tmp_path / "audit.db", "call.decision")
        if "mine" in json.dumps(record["input"])
    ]
    assert len(mine) == 3
    assert all(decode(line)["v"] == 1 for line in lines(tmp_path / "audit.db"))
