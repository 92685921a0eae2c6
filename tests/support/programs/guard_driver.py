"""A process with a guard on a real ledger, driven over stdin: one JSON list per line, one JSON
answer per line.

The body counts its runs. Options: ``deadline_ms`` for the ledger, ``engine`` ``static`` or
``embedded``.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from guardrail import Guard
from guardrail.errors import Denied, LedgerError
from guardrail.testing import StaticPolicy, allow
from guardrail.wiring.opening import open_guard, open_journal
from tests.support import guards
from tests.support.guards import journal_of

ANSWERS = sys.stdout
sys.stdout = sys.stderr


def say(**answer: Any) -> None:
    ANSWERS.write(json.dumps(answer) + "\n")
    ANSWERS.flush()


class Program:
    """The commands."""

    def __init__(self, folder: Path, options: dict[str, Any]) -> None:
        chosen = guards.settings(
            folder, ledger={"append_deadline_ms": options.get("deadline_ms", 4000)}
        )
        if options.get("engine") == "embedded":
            self.guard = open_guard(Guard, chosen, None)
        else:
            journal, keys = open_journal(chosen, epochs=True)
            engine: Any = StaticPolicy(allow())
            self.guard = Guard(settings=chosen, engine=engine, journal=journal, keys=keys)
        self.guard.declare("send", schema=guards.OPEN)
        self.guard.declare("pay", schema=guards.PAYMENT, effect_key=["/invoice"])
        self.bodies = 0
        self.admission: Any = None
        self.slow: threading.Thread | None = None
        self.release = threading.Event()
        # The retries of a poisoned writer are not what is waited for here.
        writer: Any = journal_of(self.guard).ledger
        fast = type(writer._settings)(
            append_deadline=writer._settings.append_deadline, retry_interval=0.02, retry_limit=0.1
        )
        writer._settings = writer._committer.health._settings = fast

    def body(self, **_: Any) -> str:
        self.bodies += 1
        return "done"

    def call(self, pad: int = 40, how: str = "call") -> dict[str, Any]:
        """Make one governed call; ``how`` is call, acall or admit."""
        args = {"text": "x " * (pad // 2)}
        before = self.bodies
        try:
            with self.guard.session(principal="alice", agent="bot"):
                if how == "call":
                    self.guard.call("send", args, self.body)
                elif how == "acall":
                    asyncio.run(self._acall(args))
                else:
                    admission = self.guard.admit("send", args)
                    self.body()
                    admission.settle()
        except LedgerError as error:
            return {
                "error": type(error).__name__,
                "code": error.code,
                "ran": self.bodies - before,
            }
        except Denied as error:
            return {"denied": error.code, "seq": error.seq, "ran": self.bodies - before}
        return {"ok": True}

    async def _acall(self, args: dict[str, Any]) -> None:
        async def body(**arguments: Any) -> str:
            return self.body(**arguments)

        await self.guard.acall("send", args, body)

    def pay(self, first: int, last: int) -> dict[str, Any]:
        """Pay each invoice from *first* to *last* once; return the numbers of those that were paid,
        and the codes of the errors.
        """
        paid: list[int] = []
        codes: set[str] = set()
        with self.guard.session(principal="alice", agent="bot"):
            for invoice in range(first, last):
                try:
                    self.guard.call("pay", {"invoice": invoice}, self.body)
                    paid.append(invoice)
                except (Denied, LedgerError) as error:
                    codes.add(error.code)
        return {"paid": paid, "codes": sorted(codes)}

    def pay_and_die(self, invoice: int) -> dict[str, Any]:
        """Begin to pay *invoice*, and kill this process in the body."""

        def body(**_: Any) -> None:
            os.kill(os.getpid(), signal.SIGKILL)

        self.guard.call("pay", {"invoice": invoice}, body)
        return {}

    def begin_slow(self) -> dict[str, Any]:
        """Begin a call whose body waits until ``end_slow``; answer when the body has begun."""
        started = threading.Event()

        def body(**_: Any) -> str:
            self.bodies += 1
            started.set()
            self.release.wait()
            return "slow"

        self.slow = threading.Thread(target=lambda: self.guard.call("send", {"slow": 1}, body))
        self.slow.start()
        started.wait()
        return {}

    def end_slow(self) -> dict[str, Any]:
        assert self.slow is not None
        self.release.set()
        self.slow.join()
        return {}

    def load(self, threads: int, calls: int) -> dict[str, Any]:
        """Make *calls* calls in each of *threads* threads."""
        failures: list[str] = []
        longest: list[float] = []

        def work() -> None:
            with self.guard.session(principal="alice", agent="bot"):
                for number in range(calls):
                    began = time.monotonic()
                    try:
                        self.guard.call("send", {"number": number}, self.body)
                    except LedgerError as error:
                        failures.append(f"{type(error).__name__}: {error}")
                    longest.append(time.monotonic() - began)

        workers = [threading.Thread(target=work) for _ in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return {"failures": failures, "longest": max(longest), "bodies": self.bodies}

    def flood(self) -> dict[str, Any]:
        """Call for ever, in a thread."""

        def work() -> None:
            while True:
                try:
                    self.guard.call("send", {"flood": 1}, lambda **_: None)
                except (Denied, LedgerError):
                    time.sleep(0.01)

        threading.Thread(target=work, daemon=True).start()
        return {}

    def sweep(self, times: int = 1) -> dict[str, Any]:
        writer: Any = journal_of(self.guard).ledger
        return {"swept": sum(writer.sweep() for _ in range(times))}

    def state(self) -> dict[str, Any]:
        writer: Any = journal_of(self.guard).ledger
        return {
            "bodies": self.bodies,
            "sealed": writer.sealed,
            "owed": writer.owed,
            "process": writer.process,
        }

    def limit(self, size: int) -> dict[str, Any]:
        """Let no file of this process grow beyond *size* bytes; -1: as large as it likes."""
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size if size >= 0 else hard, hard))
        return {}

    def fork_in_body(self) -> dict[str, Any]:
        """Make a call whose body forks and returns in both processes; the child then tries to go
        on.
        """
        pids: list[int] = []
        children: list[str] = []
        reader, writer = os.pipe()

        def body(**_: Any) -> str:
            pid = os.fork()
            pids.append(pid)
            return "child" if pid == 0 else "parent"

        try:
            result = self.guard.call("send", {}, body)
        except BaseException as error:  # a child must not go on as a second parent
            if pids and pids[0] == 0:
                os.write(writer, f"{type(error).__name__} {getattr(error, 'code', '')}".encode())
                os._exit(0)
            raise
        if pids[0] == 0:
            os.write(writer, b"returned")
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader, "rb") as pipe:
            children.append(pipe.read().decode())
        os.waitpid(pids[0], 0)
        return {"result": result, "child": children[0]}

    def fork_and_call(self) -> dict[str, Any]:
        """Fork while nothing runs and, once more, inside a body; each child makes a call of its own
        and ends.
        """
        answers: list[Any] = []

        def fork() -> None:
            reader, writer = os.pipe()
            pid = os.fork()
            if pid == 0:
                answer = {**self.call(), **self.state()}
                os.write(writer, json.dumps(answer).encode())
                os._exit(0)
            os.close(writer)
            with os.fdopen(reader, "rb") as pipe:
                answers.append(json.loads(pipe.read() or b"{}"))
            os.waitpid(pid, 0)

        fork()
        self.guard.call("send", {}, fork)
        return {"children": answers, "parent": self.state()["process"]}

    def stop(self) -> dict[str, Any]:
        try:
            self.guard.close()
        except LedgerError as error:
            return {"error": type(error).__name__}
        return {}


def main() -> None:
    folder, options = Path(sys.argv[1]), json.loads(sys.argv[2])
    try:
        program = Program(folder, options)
    except LedgerError as error:
        say(error=type(error).__name__, code=error.code)
        return
    say(opened=True)
    for line in sys.stdin:
        name, *words = json.loads(line)
        say(**getattr(program, name)(*words))


if __name__ == "__main__":
    main()
