"""What a ledger lives through, done by a real process: ``sequences.py NAME LEDGER RECORD``, or
``sequences.py serve``.

Whatever was acknowledged is written to RECORD when it was, before anything else is asked for. Where
the disk fails, a sequence goes on as a program would; it gives up only where the ledger does not
open.
"""

from __future__ import annotations

import ctypes
import json
import os
import sqlite3
import struct
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import guardrail.ledger.sqlite.appending
import guardrail.ledger.sqlite.database
from guardrail.config import Settings
from guardrail.core.log.record import Draft
from guardrail.core.types import Receipt
from guardrail.errors import GuardrailError, LedgerError
from guardrail.ledger.maintenance.recover import recover
from guardrail.ledger.maintenance.recovery_plan import Action
from guardrail.ledger.maintenance.upgrade import upgrade as maintenance_upgrade
from guardrail.ledger.seal import Seal
from guardrail.ledger.settings import LedgerSettings
from guardrail.ledger.tree import TILE
from guardrail.ledger.writing.writer import LedgerWriter
from guardrail.system.ids import new_ulid
from tests.support import ledgers
from tests.support.crash.retention_sequences import (
    anchor,
    archive,
    copy,
    expire,
    hold,
    keep,
    prune,
    read,
    segment,
    shelve,
)
from tests.support.format2 import as_format_2
from tests.support.ledgers import ACTOR, EPOCHS, FAST, LOG, decision, note, outcome

GAVE_UP = 3
"""Exit code of a sequence that could not open or close its ledger."""


class Run:
    """One run of a sequence on the ledger at ``db``; *short* where it is one of very many."""

    def __init__(self, db: Path, record: str, *, short: bool = False) -> None:
        self.db = db
        self.record = record
        self.short = short
        self.refused = 0
        """Records that were not acknowledged."""
        self._log = os.open(record, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        # Checkpoints come often, so that short runs have many.
        guardrail.ledger.sqlite.database.CHECKPOINT_PAGES = 12 if short else 24

    def times(self, long: int, short: int) -> range:
        """Return how often something is done."""
        return range(short if self.short else long)

    def done(self) -> None:
        """Say that all that was done until now was acknowledged, and nothing else is under way."""
        self._say(b"D", 0, b"")

    def _say(self, what: bytes, number: int, data: bytes) -> None:
        os.write(self._log, what + struct.pack("<QQII", 0, number, 0, len(data)) + data)

    def create(self) -> LedgerWriter:
        return ledgers.make(self.db, signing=EPOCHS)

    def open(self, settings: LedgerSettings = FAST) -> LedgerWriter:
        return ledgers.reopen(self.db, settings, signing=EPOCHS)

    def append(self, writer: LedgerWriter, draft: Draft) -> Receipt | None:
        """Append; None where that was refused."""
        try:
            receipt = writer.append(draft)
        except LedgerError:
            self.refused += 1
            return None
        self._say(b"A", receipt.seq, receipt.leaf)
        return receipt

    def call(self, writer: LedgerWriter, pad: int = 40) -> None:
        """Make one whole call."""
        call = new_ulid()
        receipt = self.append(writer, decision(call, writer.process, pad=pad))
        if receipt is not None:
            self.append(writer, outcome(call, receipt.seq, writer.process))


def create(run: Run) -> None:
    """Make a log where there was none."""
    with run.create() as writer:
        run.done()
        run.call(writer)
    run.done()


def append(run: Run) -> None:
    """One caller, records of many sizes."""
    with run.open() as writer:
        for number in run.times(24, 4):
            run.call(writer, pad=number * 97 % 1500)
    run.done()


def group(run: Run) -> None:
    """Many callers whose records share commits."""

    def work() -> None:
        for _ in run.times(4, 2):
            run.call(writer)

    with run.open() as writer:
        workers = [threading.Thread(target=work) for _ in run.times(12, 4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    run.done()


def rotate(run: Run) -> None:
    """A new key for the heads in every commit."""
    with run.open(replace(FAST, epoch_interval=0.0)) as writer:
        for _ in run.times(8, 3):
            run.call(writer)
    run.done()


def fill(run: Run) -> None:
    """Write records until the first tile of the tree is nearly complete."""
    with run.open() as writer:
        for future in [writer.submit(note()) for _ in range(TILE - 20)]:
            future.result()


def tile(run: Run) -> None:
    """Complete a tile of the tree."""
    with run.open() as writer:
        for _ in range(10):
            run.call(writer)
    run.done()


def reopen(run: Run) -> None:
    """One writer after the other; the last one out tidies up."""
    for _ in run.times(4, 2):
        with run.open() as writer:
            for _ in run.times(3, 1):
                run.call(writer)
        run.done()


def leave(run: Run) -> None:
    """Die with calls open and the ``-wal`` full."""
    writer = run.open()
    run.call(writer)
    for _ in range(6):
        run.append(writer, decision(new_ulid(), writer.process))
    os._exit(0)


def sweep(run: Run) -> None:
    """Come after a process that died: its calls are closed, and its ``-wal`` is taken over."""
    with run.open() as writer:
        run.done()
        run.call(writer)
    run.done()


def seal(run: Run) -> None:
    """Leave a marker that keeps everybody from writing."""
    genesis = {**ledgers.GENESIS, "v": 1, "log": LOG, "type": "genesis"}
    Seal(LOG, 3, "0" * 64, "for a test", "2026-01-01T00:00:00.000000Z", genesis).write(run.db)


def lift(run: Run) -> None:
    """Recover a sealed log whose chain is intact: it goes on."""
    assert recovered(run.db) is Action.CONTINUE
    run.done()
    with run.open() as writer:
        run.call(writer)
    run.done()


def spoil(run: Run) -> None:
    """Change a record, and leave all that was done since the log was made in its ``-wal``."""
    connection = sqlite3.connect(run.db, isolation_level=None)
    trigger = guardrail.ledger.sqlite.database.SCHEMA["record_no_update"]
    connection.execute("DROP TRIGGER record_no_update")
    connection.execute("UPDATE record SET line = replace(line, 'alice', 'mallory') WHERE seq = 3")
    connection.execute(trigger)
    os._exit(0)


def restart(run: Run) -> None:
    """Recover a log whose chain is broken: it is set aside, and a new one begun."""
    assert recovered(run.db) is Action.RESTART
    run.done()


def age(run: Run) -> None:
    """Turn the log into one of format 2."""
    as_format_2(run.db)


def upgrade(run: Run) -> None:
    """Give a log of format 2 the current format."""
    assert maintenance_upgrade(run.db).changed
    run.done()


def recovered(db: Path) -> Action:
    """Recover as the command does; return what was done."""
    report = recover(
        db,
        who=ACTOR,
        reason="a test",
        signing=ledgers.SIGNING,
        genesis=ledgers.GENESIS,
        log=LOG,
    )
    return report.plan.action


def found(run: Run) -> None:
    """Make keys and a log where there was nothing, as a guard does that is started for the first
    time.
    """
    from guardrail.wiring.opening import open_journal

    journal, _ = open_journal(Settings().override(ledger={"path": run.db}), epochs=True)
    run.done()
    journal.close()
    run.done()


def pair(run: Run) -> None:
    """Two processes write at the same time, one of them comes and goes."""
    other = subprocess.Popen([sys.executable, __file__, "visit", str(run.db), run.record])
    with run.open() as writer:
        while other.poll() is None:
            run.call(writer)
            time.sleep(0.02)
    assert other.returncode == 0
    run.done()


def visit(run: Run) -> None:
    """Come and go while another process writes."""
    for _ in range(2):
        with run.open() as writer:
            for _ in range(8):
                run.call(writer)


SEQUENCES: dict[str, Callable[[Run], None]] = {
    each.__name__: each
    for each in (
        create, append, group, rotate, fill, tile, reopen, leave, sweep, pair, visit,
        seal, lift, spoil, restart, segment, prune, found, archive, expire, hold, shelve, copy,
        read, anchor, keep, age, upgrade,
    )
}  # fmt: skip
BEFORE: dict[str, tuple[str, ...]] = {
    "create": (),
    "found": (),
    "tile": ("create", "fill"),
    "lift": ("create", "leave", "seal"),
    "upgrade": ("create", "leave", "append", "leave", "age"),
    "restart": ("create", "leave", "spoil"),
    "prune": ("create", "leave", "segment", "leave"),
    "archive": ("create", "leave", "segment", "shelve"),
    "expire": ("create", "leave", "segment", "shelve", "archive", "leave", "prune"),
}
"""What came before a sequence: by default somebody made the log, and died while he used it."""


def before(name: str) -> tuple[str, ...]:
    """Return the sequences that came before *name*."""
    return BEFORE.get(name, ("create", "leave"))


def without_sync() -> None:
    """Let connections run with ``synchronous = NORMAL``, which may lose what was committed."""
    real = guardrail.ledger.sqlite.appending.connect

    def connect(db: Path):  # type: ignore[no-untyped-def]
        connection, schema = real(db)
        connection.execute("PRAGMA synchronous = NORMAL")
        return connection, schema

    guardrail.ledger.sqlite.appending.connect = connect


def serve() -> None:
    """Fork a process for each line of server.py on stdin; say its number; it begins at the next
    line.

    When it has ended its status is said: a signal as a negative number.
    """
    for line in sys.stdin:
        name, db, record, short, environment = json.loads(line)
        ready, go = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(go)
            # Where only ancestors may trace a process, this one allows it to everybody.
            ctypes.CDLL(None).prctl(0x59616D61, ctypes.c_ulong(-1), 0, 0, 0)
            os.read(ready, 1)
            os.environ.update(environment)
            _run(name, Path(db), record, short=short)
        os.close(ready)
        print(child, flush=True)
        sys.stdin.readline()
        os.close(go)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def _run(name: str, db: Path, record: str, *, short: bool) -> NoReturn:
    """Let a sequence happen, and end the process. Only short runs may meet faults."""
    status = 1
    try:
        if os.environ.get("GR_SYNCHRONOUS") == "NORMAL":
            without_sync()
        run = Run(db, record, short=short)
        SEQUENCES[name](run)
        assert short or not run.refused
        status = 0
    except (GuardrailError, OSError):
        if short:
            status = GAVE_UP
        else:
            traceback.print_exc()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def main() -> None:
    if sys.argv[1:] == ["serve"]:
        serve()
        return
    _run(sys.argv[1], Path(sys.argv[2]), sys.argv[3], short=False)


if __name__ == "__main__":
    main()
