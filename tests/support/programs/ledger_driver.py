"""A process with a ledger writer, driven over stdin: one command per line, one JSON answer per
line.

The body of a call is counted, never run by the ledger: a ``call`` runs it only where the decision
was acknowledged.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from guardrail.errors import LedgerError
from guardrail.ledger.reader import LedgerReader
from guardrail.ledger.settings import LedgerSettings
from guardrail.system.ids import new_ulid
from tests.support import ledgers


def say(**answer: Any) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


class Main:
    """The commands."""

    def __init__(self, db: Path, deadline: float, *, epochs: bool = False) -> None:
        settings = LedgerSettings(append_deadline=deadline, retry_interval=0.02, retry_limit=0.1)
        signing = ledgers.EPOCHS if epochs else ledgers.SIGNING
        start = ledgers.reopen if db.exists() else ledgers.make
        self.writer = start(db, settings, signing=signing)
        self.bodies = 0

    def call(self, pad: str = "40") -> dict[str, Any]:
        """Decide, run the body, record the outcome."""
        call = new_ulid()
        try:
            receipt = self.writer.append(ledgers.decision(call, self.writer.process, pad=int(pad)))
        except LedgerError as error:
            return {
                "error": type(error).__name__,
                "code": error.code,
                "call": call,
                "message": error.message,
            }
        self.bodies += 1
        try:
            self.writer.append(ledgers.outcome(call, receipt.seq, self.writer.process))
        except LedgerError as error:
            return {"withheld": type(error).__name__, "call": call, "seq": receipt.seq}
        return {"ok": receipt.seq, "call": call}

    def decide(self, session: str = "s-1") -> dict[str, Any]:
        """Only decide: the call stays open."""
        call = new_ulid()
        try:
            receipt = self.writer.append(
                ledgers.decision(call, self.writer.process, session=session)
            )
        except LedgerError as error:
            return {"error": type(error).__name__, "code": error.code, "call": call}
        return {"ok": receipt.seq, "call": call, "leaf": receipt.leaf.hex()}

    def settle(self, call: str, seq: str) -> dict[str, Any]:
        """Record an outcome."""
        try:
            receipt = self.writer.append(ledgers.outcome(call, int(seq), self.writer.process))
        except LedgerError as error:
            return {"error": type(error).__name__, "code": error.code}
        return {"ok": receipt.seq}

    def sweep(self) -> dict[str, Any]:
        return {"swept": self.writer.sweep()}

    def state(self) -> dict[str, Any]:
        writer = self.writer
        return {
            "bodies": self.bodies,
            "owed": writer.owed,
            "trouble": writer.trouble,
            "sealed": writer.sealed,
            "process": writer.process,
        }

    def limit(self, size: str) -> dict[str, Any]:
        """Let no file of this process grow beyond *size* bytes."""
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(size) if int(size) >= 0 else hard, hard))
        return {}

    def load(self, threads: str, calls: str) -> dict[str, Any]:
        """Make *calls* calls in each of *threads* threads; report the longest append."""
        slowest: list[float] = []

        def work() -> None:
            worst = 0.0
            for _ in range(int(calls)):
                call = new_ulid()
                began = time.monotonic()
                seq = self.writer.append(ledgers.decision(call, self.writer.process, pad=800)).seq
                between = time.monotonic()
                self.writer.append(ledgers.outcome(call, seq, self.writer.process))
                worst = max(worst, between - began, time.monotonic() - between)
            slowest.append(worst)

        workers = [threading.Thread(target=work) for _ in range(int(threads))]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return {"finished": len(slowest), "slowest": max(slowest)}

    def flood(self, log: str) -> dict[str, Any]:
        """Call until killed; each acknowledged record's seq and leaf is in *log* before the next
        one is asked for.
        """
        acknowledged = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        lock = threading.Lock()

        def work() -> None:
            while True:
                call = new_ulid()
                receipt = self.writer.append(ledgers.decision(call, self.writer.process))
                with lock:
                    os.write(acknowledged, f"{receipt.seq} {receipt.leaf.hex()}\n".encode())
                receipt = self.writer.append(
                    ledgers.outcome(call, receipt.seq, self.writer.process)
                )
                with lock:
                    os.write(acknowledged, f"{receipt.seq} {receipt.leaf.hex()}\n".encode())

        for _ in range(2):
            threading.Thread(target=work, daemon=True).start()
        return {}

    def fork(self) -> dict[str, Any]:
        """Fork; the child makes a call of its own and ends; report what it said."""
        readable, writable = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(readable)
            answer = {**self.call(), "process": self.writer.process}
            os.write(writable, json.dumps(answer).encode())
            os._exit(0)
        os.close(writable)
        with os.fdopen(readable, "rb") as pipe:
            answer = json.loads(pipe.read() or b"{}")
        os.waitpid(child, 0)
        return {"child": answer, "parent": self.writer.process}

    def read_past_truncation(self) -> dict[str, Any]:
        """Read on, in a snapshot that was begun before the shared memory was truncated and the
        writer noticed.
        """
        with LedgerReader.open(self.writer.path) as reader:
            with reader.snapshot():
                os.truncate(f"{self.writer.path}-shm", 0)
                failed = self.call().get("error")
                try:
                    size = sum(1 for _ in reader.lines())
                except LedgerError:
                    size = 0
            return {"failed": failed, "size": size}

    def stop(self) -> dict[str, Any]:
        try:
            self.writer.close()
        except LedgerError as error:
            return {"error": type(error).__name__}
        return {}


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    deadline = float(sys.argv[2]) if len(sys.argv) > 2 else 4.0
    try:
        driver = Main(Path(sys.argv[1]), deadline, epochs="epochs" in sys.argv)
    except LedgerError as error:
        say(error=type(error).__name__, code=error.code, message=error.message)
        return
    say(log=driver.writer.log, process=driver.writer.process)
    for line in sys.stdin:
        name, *arguments = line.split()
        say(**getattr(driver, name)(*arguments))


if __name__ == "__main__":
    main()
