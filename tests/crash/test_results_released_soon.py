"""Guards with ``outcome = "soon"`` that are killed between the release of a result and the commit
of its outcome: only that last outcome of each thread may be missing.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections import Counter
from functools import partial
from pathlib import Path

from tests.support.guards import guarded, records, whole
from tests.support.waiting import until

ROUNDS = 2

CALLER = """
import os, sys, threading
from pathlib import Path
from guardrail.call.admission import Admission
from tests.support import guards

folder, told = Path(sys.argv[1]), os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_APPEND)

def work():
    released = []

    def body():
        # The results of the earlier calls of this thread were used; their outcomes are durable now.
        call = Admission.current_call()
        os.write(told, (" ".join(["ran", call, *released[-1:]]) + "\\n").encode())
        return call

    while True:
        released.append(guard.call("send", {"text": "x" * 300}, lambda text: body()))
        os.write(told, f"used {released[-1]}\\n".encode())

with guards.guarded(folder, ledger={"outcome": "soon"}) as guard:
    guard.declare("send", schema=guards.OPEN)
    for _ in range(3):
        threading.Thread(target=work, daemon=True).start()
    sys.stdin.read()
"""


def _has_told(path: Path, lines: int) -> bool:
    return path.exists() and path.read_text().count("\n") >= lines


def test_killing_guards_loses_only_outcomes_that_no_later_body_relies_on(tmp_path: Path) -> None:
    """Two processes with three threads each are killed after so many lines: each call has one
    outcome, and it is ``ok`` if a later body of its thread ran.
    """
    folder = tmp_path / "home"
    folder.mkdir()
    moment = random.Random(9)
    durable: set[str] = set()
    ran: set[str] = set()
    used: set[str] = set()
    for number in range(ROUNDS):
        told = [tmp_path / f"told-{number}-{index}" for index in range(2)]
        running = [
            subprocess.Popen(
                [sys.executable, "-c", CALLER, str(folder), str(path)], stdin=subprocess.PIPE
            )
            for path in told
        ]
        wanted = moment.randrange(30, 90)
        for path in told:
            until(partial(_has_told, path, wanted), "enough calls")
        for process in running:
            process.kill()
            process.communicate()
        for line in "".join(path.read_text() for path in told).splitlines():
            what, call, *before = line.split()
            (ran if what == "ran" else used).add(call)
            durable.update(before)
    with guarded(folder):
        pass
    whole(folder / "audit.db")
    decided = {record["call"] for record in records(folder / "audit.db", "call.decision")}
    ends = {each["call"]: each["status"] for each in records(folder / "audit.db", "call.outcome")}
    assert ran | used <= decided == set(ends), "a body ran without a durable decision"
    assert {ends[call] for call in durable} == {"ok"}, json.dumps(Counter(ends.values()))
    lost = [call for call in used if ends[call] != "ok"]
    assert {ends[call] for call in lost} <= {"unknown"}
    assert len(lost) <= ROUNDS * 2 * 3
    assert len(durable) > ROUNDS * 2 * 3
