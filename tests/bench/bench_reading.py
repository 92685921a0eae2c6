"""What a command that reads costs, its access record included, as a ratio to a process that only
loads the libraries that it needs.

    python -m tests.bench.bench_reading [ROUNDS]

The ledger has 10,000 records. Each round runs each command once, and the process that loads the
libraries before and after it. Processor time is that of the whole process, user and system. The
first use of the index, which reads the whole ledger, is measured apart.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from guardrail.core.log.record import Draft
from guardrail.core.types import Status
from guardrail.keys.log_key import Keys
from guardrail.ledger.writing.writer import LedgerWriter
from tests.support.benchmarks import QUICK, judge
from tests.support.command_line import command, environment
from tests.support.records import LOG, decision, genesis, outcome

RECORDS = 500 if QUICK else 10_000
ROUNDS = 1 if QUICK else 9
LIBRARIES = (
    "import click, orjson, sqlite3, tomllib, concurrent.futures\n"
    "from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey\n"
    "from cryptography.hazmat.primitives.kdf.hkdf import HKDF\n"
)
COMMANDS = (("show", "last"), ("show", "250"), ("why", "last"), ("sessions",))
MOST = 2.3
"""Aim: a command that reads costs at most so many times what its libraries cost. Before commands
loaded only what they use, it was 4.1.
"""


def fill(db: Path, records: int) -> None:
    """Write a log of so many records: calls of eight to a session, each with its outcome."""
    keys = Keys.create(db.with_suffix(".keys"))
    signing = keys.signing(actor={"id": "bench"}, epochs=False)
    with LedgerWriter.create(db, log=LOG, genesis=genesis(keys.public), signing=signing) as writer:
        for number in range(records // 2):
            args = {"to": f"user{number}@example.com", "body": "word " * 40}
            made = decision("send_email", args, session=f"S-{number // 8:06d}")
            seq = writer.append(Draft.build(made, opens=True, process="P" * 26)).seq
            writer.append(Draft.build(outcome(made, seq, Status.OK)))


def cost(arguments: list[str], folder: Path) -> tuple[float, float]:
    """Run a process; return its processor time and its time, in milliseconds."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        arguments,
        cwd=folder,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    took = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return used * 1e3, took * 1e3


def main(rounds: int) -> None:
    """Measure, and print each figure with its aim."""
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root)
        fill(folder / "audit.db", RECORDS)
        (folder / "guardrail.toml").write_text(
            '[ledger]\npath = "audit.db"\n[review]\nindex = "index"\n'
        )
        first = cost(command("sessions"), folder)
        name = f"first use of the index, {RECORDS:,} records, processor time"
        print(f"{name:58} {first[0]:8.0f} ms")
        for words in COMMANDS:
            cost(command(*words), folder)  # so that every module is compiled
            measured, floor = [], []
            for _ in range(rounds):
                floor.append(cost([sys.executable, "-c", LIBRARIES], folder))
                measured.append(cost(command(*words), folder))
            for at, what in enumerate(("processor time", "time")):
                mine = statistics.median(each[at] for each in measured)
                least = statistics.median(each[at] for each in floor)
                name = f"guardrail {' '.join(words)}, {what} ({mine:.0f} ms) / libraries"
                print(judge(name, mine / least, most=MOST))


if __name__ == "__main__":
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    main(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS)
