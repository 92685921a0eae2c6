"""Hours in minutes: python tests/soak/soak.py [MINUTES] [FOLDER]

Four processes with three threads each make governed calls on one ledger, anchors on, while they are
killed, stopped, frozen and shut down at random, and the disk is full now and then. At the end
everything that was acknowledged must be in the ledger, once, every call closed, the chain and every
head that an anchor keeps intact. Exit code 0: it is.
"""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from guardrail import Guard
from guardrail.anchors.lines import parse_lines
from guardrail.config import Settings
from guardrail.core.log import chain
from guardrail.core.log.checkpoint import Checkpoint, SignedNote
from guardrail.core.log.key_epochs import TYPE as ROTATION
from guardrail.core.log.key_epochs import KeyRanges
from guardrail.core.log.merkle import Edge
from guardrail.core.log.record import decode
from guardrail.errors import LedgerError
from guardrail.keys.log_key import verify_signature
from guardrail.ledger.reader import LedgerReader
from guardrail.testing import StaticPolicy, allow
from guardrail.wiring.opening import anchor_watch, open_journal

PROCESSES, THREADS = 4, 3
BURST = 20
"""Calls without a pause."""


def settings(folder: Path) -> Settings:
    """Return settings with everything in *folder*."""
    return Settings().override(
        ledger={"path": folder / "ledger" / "audit.db", "append_deadline_ms": 4000},
        anchors={"file": folder / "elsewhere" / "heads", "interval_s": 1, "heartbeat_s": 5},
    )


# -- a process that works
# ------------------------------------------------------------------------------------------------


def work(folder: Path) -> None:
    """Make calls until told to stop; say of each, on standard output, when it was admitted and when
    its result was released.
    """
    chosen = settings(folder)
    journal, keys = open_journal(chosen, epochs=True)
    anchors = anchor_watch(chosen, journal, keys)
    engine = StaticPolicy(allow())
    guard = Guard(settings=chosen, engine=engine, journal=journal, keys=keys, anchors=anchors)
    guard.declare("send", schema={"type": "object", "additionalProperties": True})
    anchors.start()
    stop = threading.Event()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    wal = Path(f"{chosen.ledger.path}-wal")

    def full(*_: object) -> None:
        size = wal.stat().st_size if wal.exists() else 0
        # Files may not grow, or can't even be filled again to where they were.
        room = random.randrange(4096, size + 8192)
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))

    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGUSR1, full)
    signal.signal(
        signal.SIGUSR2, lambda *_: resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    )

    def say(text: str) -> None:
        os.write(1, text.encode())  # short enough to be written whole or not at all

    def calls() -> None:
        moment = random.Random()
        with guard.session(principal="alice", agent="bot"):
            while not stop.is_set():
                for _ in range(BURST):
                    try:
                        admission = guard.admit("send", {"text": "x" * moment.randrange(400)})
                        say(f"admitted {admission.seq} {admission.call}\n")
                        admission.settle()
                        say(f"released {admission.seq} {admission.call}\n")
                    except LedgerError:
                        say("refused 0 -\n")
                        time.sleep(0.05)
                stop.wait(moment.random() * 2)

    threads = [threading.Thread(target=calls) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    say("ready 0 -\n")
    while any(thread.is_alive() for thread in threads):
        time.sleep(0.02)  # here signals are taken
    guard.close()


# -- who disturbs them
# -------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Told:
    """What the processes said."""

    admitted: dict[str, int] = field(default_factory=dict)
    """Call -> number of its decision."""
    released: set[str] = field(default_factory=set)
    refused: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def hear(self, line: str) -> None:
        what, seq, call = line.split()
        with self.lock:
            if what == "admitted":
                self.admitted[call] = int(seq)
            elif what == "released":
                self.released.add(call)
            elif what == "refused":
                self.refused += 1


class Worker:
    """One process, and a thread that listens to it."""

    def __init__(self, folder: Path, told: Told) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--work", str(folder)], stdout=subprocess.PIPE, text=True
        )
        self.ready = threading.Event()
        self._told = told
        self._listener = threading.Thread(target=self._listen)
        self._listener.start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.ready.set()
            if line.endswith("\n"):
                self._told.hear(line)
        self.ready.set()

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self, number: signal.Signals) -> int:
        """End it; return how it ended."""
        self.send(number)
        code = self.process.wait(60)
        self._listener.join()
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


def disturb(folder: Path, minutes: float, moment: random.Random) -> tuple[Told, Counter[str]]:
    """Let processes work for *minutes*, and do everything to them; return what they said and what
    was done.
    """
    told, did = Told(), Counter[str]()
    workers = [Worker(folder, told) for _ in range(PROCESSES)]
    until = time.monotonic() + minutes * 60
    said = time.monotonic()
    while time.monotonic() < until:
        time.sleep(moment.random() * 2)
        workers[0].ready.wait(30)
        place = moment.randrange(PROCESSES)
        worker = workers[place]
        deed = moment.choices(["kill", "shut down", "freeze", "full disk"], [5, 2, 1, 2])[0]
        did[deed] += 1
        if deed == "freeze":
            worker.send(signal.SIGSTOP)
            time.sleep(moment.random())
            worker.send(signal.SIGCONT)
        elif deed == "full disk":
            _all(workers, signal.SIGUSR1)
            time.sleep(moment.random() * 3)
            if moment.random() < 0.5:
                worker.end(signal.SIGKILL)
                workers[place] = Worker(folder, told)
            _all(workers, signal.SIGUSR2)
        else:
            worker.ready.wait(30)
            code = worker.end(signal.SIGKILL if deed == "kill" else signal.SIGTERM)
            did["ended badly"] += code not in (0, -9)
            workers[place] = Worker(folder, told)
        if time.monotonic() - said > 60:
            said = time.monotonic()
            print(f"{len(told.admitted)} calls, {dict(did)}", file=sys.stderr)
    for worker in workers:
        worker.ready.wait(30)
        did["ended badly"] += worker.end(signal.SIGTERM) != 0
    return told, did


def _all(workers: list[Worker], number: signal.Signals) -> None:
    for worker in workers:
        if worker.ready.wait(30):
            worker.send(number)


# -- what must be true at the end
# -------------------------------------------------------------------------------------


@dataclass(slots=True)
class Seen:
    """What the ledger holds."""

    decisions: dict[str, int] = field(default_factory=dict)
    outcomes: dict[str, str] = field(default_factory=dict)
    roots: dict[int, bytes] = field(default_factory=dict)
    """Root of the tree, by size, at the sizes that anchors keep."""
    wrong: list[str] = field(default_factory=list)


def read(reader: LedgerReader, sizes: set[int], key: str) -> Seen:
    """Read the whole ledger once; *sizes* are those of the heads that anchors keep, *key* is the
    log's.
    """
    seen, edge = Seen(), Edge()
    ranges = KeyRanges(reader.log, bytes.fromhex(key), verify_signature)

    def rows() -> Iterator[tuple[int, bytes, bytes]]:
        for seq, leaf, line in reader.lines():
            edge.append(leaf)
            if edge.size in sizes:
                seen.roots[edge.size] = edge.root()
            _take(seen, ranges, seq, decode(line))
            yield seq, leaf, line

    report = chain.verify(rows())
    if report.first_bad is not None:
        seen.wrong.append(f"record {report.first_bad}: {report.detail}")
    if report.open_calls:
        seen.wrong.append(f"{len(report.open_calls)} calls are open")
    row = reader.storage.head()
    assert row is not None
    head = SignedNote.parse(row.note)
    if Checkpoint.parse(head.text) != Checkpoint(reader.log, edge.size, edge.root()):
        seen.wrong.append("the head does not cover exactly the records")
    if not ranges.signer_of(head, edge.size):
        seen.wrong.append("the signature of the head does not count")
    return seen


def _take(seen: Seen, ranges: KeyRanges, seq: int, record: dict[str, Any]) -> None:
    if record["type"] == ROTATION:
        problem = ranges.take(seq, record)
        if problem:
            seen.wrong.append(f"record {seq}: {problem}")
    elif record["type"] == "call.decision":
        seen.decisions[record["call"]] = seq
    elif record["type"] == "call.outcome":
        seen.outcomes[record["call"]] = record["status"]


def judge(folder: Path, told: Told) -> list[str]:
    """Say what is wrong with the ledger that is left; nothing where everything is as it was
    promised.
    """
    chosen = settings(folder)
    journal, keys = open_journal(chosen, epochs=False)  # closes what the dead left open
    journal.close()
    assert chosen.anchors.file is not None
    heads = [each.head for each in parse_lines(chosen.anchors.file.read_bytes())]
    with LedgerReader.open(chosen.ledger.path) as reader:
        seen = read(reader, {head.size for head in heads}, keys.public)
    wrong = list(seen.wrong)
    wrong += [
        f"anchored head of {head.size} records is of another log"
        for head in heads
        if seen.roots.get(head.size) != head.root
    ]
    lost = [call for call, seq in told.admitted.items() if seen.decisions.get(call) != seq]
    unsaid = [call for call in told.released if seen.outcomes.get(call) != "ok"]
    if not heads:
        wrong.append("no head was anchored")
    if lost or unsaid:
        wrong.append(
            f"lost: {len(lost)} decisions and {len(unsaid)} outcomes that were acknowledged"
        )
    print(
        f"{len(seen.decisions)} decisions, {len(told.admitted)} admitted, {len(told.released)}"
        f" released, {told.refused} refused, {len(heads)} heads anchored:"
        f" {'; '.join(wrong) or '0 lost, intact'}"
    )
    return wrong


def main() -> int:
    if sys.argv[1:2] == ["--work"]:
        work(Path(sys.argv[2]))
        return 0
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 30.0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(sys.argv[2] if len(sys.argv) > 2 else temporary).resolve()
        for name in ("ledger", "elsewhere"):
            (folder / name).mkdir(parents=True)
        open_journal(settings(folder), epochs=False)[0].close()
        told, did = disturb(folder, minutes, random.Random())
        print(", ".join(f"{what}: {times}" for what, times in sorted(did.items())))
        return 1 if judge(folder, told) or did["ended badly"] else 0


if __name__ == "__main__":
    sys.exit(main())
