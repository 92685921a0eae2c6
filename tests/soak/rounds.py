"""Spend one limit from everywhere: python -m tests.soak.rounds [ROUNDS] [FOLDER]

In each round, four processes with eight threads each make calls of one principal, whose policy
admits ten, until the policy denies. In every second round, one, two or all of them are killed at a
random moment, and new processes go on with the same round. A call that was denied with cause
``contention`` is made again. Exit code 0: in each round exactly ten calls were admitted, at most
ten bodies ran, and the ledger is intact.
"""

from __future__ import annotations

import os
import random
import select
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from guardrail import Denied, Guard
from guardrail.wiring.opening import open_guard
from tests.support.guards import guarded, ruled, settings, whole

PROCESSES, THREADS, LIMIT = 4, 8, 10
ROUNDS_OF_A_LEDGER = 25
"""A new process reads its ledger from the beginning, so a ledger ends after this many rounds."""
STOP = "stop"
PATIENCE = 300.0
"""Seconds until a round that does not end is an error."""

RULE = f'allow contains "few" if input.context.principal_state.calls < {LIMIT}'
SETTINGS: dict[str, Any] = {
    "ledger": {"append_deadline_ms": 60_000},
    "policy": {"deadline_ms": 60_000, "eval_limit_ms": 60_000},
}
"""A busy machine must not be a reason to deny a call."""


# -- a process that works
# ------------------------------------------------------------------------------------------------


def work(folder: Path, orders: int, answers: int) -> None:
    """Spend the limit of each principal that *orders* names, and say so on *answers*."""
    ran = os.open(folder / "ran", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    chosen = settings(folder, **SETTINGS)
    with open_guard(Guard, chosen, None) as guard, ThreadPoolExecutor(THREADS) as pool:
        guard.declare("pay", schema={"type": "object", "properties": {}})
        os.write(answers, b"ready\n")
        with os.fdopen(orders, "r") as lines:
            for principal in map(str.strip, lines):
                if principal == STOP:
                    break
                together = threading.Barrier(THREADS)
                denied = [
                    pool.submit(spend, guard, principal, ran, together) for _ in range(THREADS)
                ]
                again = sum(each.result() for each in denied)
                os.write(answers, b"%d\n" % again)


def spend(guard: Guard, principal: str, ran: int, together: threading.Barrier) -> int:
    """Make calls until the policy denies one; return how often one had to be made again."""
    again = 0
    together.wait()
    while True:
        try:
            with guard.session(principal=principal, agent="bot"):
                guard.call("pay", {}, run=lambda: os.write(ran, f"{principal}\n".encode()))
        except Denied as error:
            if error.code == "denied.policy":
                return again
            if error.code != "denied.contention":
                raise
            again += 1


class Worker:
    """One process that works, and what it says."""

    def __init__(self, folder: Path) -> None:
        orders, self._orders = os.pipe()
        self._answers, answers = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                os.close(self._orders)
                work(folder, orders, answers)
                code = 0
            except BaseException:
                sys.excepthook(*sys.exc_info())
            finally:
                os._exit(code)
        os.close(orders)
        os.close(answers)
        self._said = b""

    def begin(self, principal: str) -> None:
        os.write(self._orders, f"{principal}\n".encode())

    def hear(self) -> str:
        """Return the next line that it says."""
        until = time.monotonic() + PATIENCE
        while b"\n" not in self._said:
            ready, _, _ = select.select([self._answers], [], [], until - time.monotonic())
            more = os.read(self._answers, 4096) if ready else b""
            if not more:
                raise AssertionError(f"process {self.pid} {'ended' if ready else 'hangs'}")
            self._said += more
        line, _, self._said = self._said.partition(b"\n")
        return line.decode()

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        self._end()

    def stop(self) -> int:
        """Let it end; return its exit code."""
        self.begin(STOP)  # the end of the pipe would not tell it, because its siblings have it too
        return self._end()

    def _end(self) -> int:
        _, status = os.waitpid(self.pid, 0)
        os.close(self._orders)
        os.close(self._answers)
        return os.waitstatus_to_exitcode(status)


# -- rounds
# ------------------------------------------------------------------------------------------------


def rounds(folder: Path, names: list[str], moment: random.Random) -> tuple[Counter[str], set[str]]:
    """Make a round for each of *names* on one new ledger; return what happened, and the names of
    the rounds in which a process was killed.
    """
    did, disturbed = Counter[str](), set[str]()
    with ruled(folder, RULE, **SETTINGS):
        pass  # the ledger and its keys
    workers = [Worker(folder) for _ in range(PROCESSES)]
    usual = 0.5
    for each in workers:
        each.hear()
    for number, name in enumerate(names):
        began = time.monotonic()
        for each in workers:
            each.begin(name)
        killed = moment.choice([1, 2, PROCESSES]) if number % 2 else 0
        for place in moment.sample(range(PROCESSES), killed):
            time.sleep(moment.random() * usual / killed)
            workers[place].kill()
            workers[place] = Worker(folder)
            workers[place].begin(name)
            did["killed"] += 1
            disturbed.add(name)
        for each in workers:
            answer = each.hear()
            did["again"] += int(each.hear() if answer == "ready" else answer)
        if not killed:
            usual = time.monotonic() - began
    did["ended badly"] += sum(each.stop() != 0 for each in workers)
    return did, disturbed


def judge(folder: Path, names: list[str], disturbed: set[str]) -> list[str]:
    """Say what is wrong with the rounds *names*; nothing if each admitted exactly ten calls."""
    with guarded(folder):
        pass  # closes what the dead left open
    admitted = Counter(
        record["principal"]["id"]
        for record in whole(folder / "audit.db")
        if record["type"] == "call.decision" and record["decision"]["effect"] == "allow"
    )
    ran = Counter((folder / "ran").read_text().split())
    wrong = [f"{name}: {admitted[name]} admitted" for name in names if admitted[name] != LIMIT]
    wrong += [
        f"{name}: {ran[name]} ran"
        for name in names
        if ran[name] > LIMIT or (ran[name] < LIMIT and name not in disturbed)
    ]
    return wrong


def main() -> int:
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    did, wrong = Counter[str](), list[str]()
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(sys.argv[2] if len(sys.argv) > 2 else temporary).resolve()
        for first in range(0, number, ROUNDS_OF_A_LEDGER):
            folder = place / f"from-{first}"
            folder.mkdir(parents=True)
            names = [f"p{n}" for n in range(first, min(number, first + ROUNDS_OF_A_LEDGER))]
            happened, disturbed = rounds(folder, names, random.Random())
            did += happened + Counter({"disturbed": len(disturbed), "rounds": len(names)})
            wrong += judge(folder, names, disturbed)
            print(f"{dict(did)}, {len(wrong)} wrong", file=sys.stderr, flush=True)
    print(
        f"{did['rounds']} rounds, {did['disturbed']} with kills, {did['killed']} processes killed,"
        f" {did['again']} calls made again: {'; '.join(wrong) or f'{LIMIT} admitted in each'}"
    )
    return 1 if wrong or did["ended badly"] else 0


if __name__ == "__main__":
    sys.exit(main())
