"""Writers killed at any moment, and many of them at once: nothing that was acknowledged is lost."""

from __future__ import annotations

import random
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from guardrail.core.log import chain
from guardrail.ledger.reader import LedgerReader
from guardrail.ledger.writing.writer import LedgerWriter
from guardrail.review.verify import VerifyState, verify_ledger
from tests.support.crash.judge import assert_covered, state_of
from tests.support.ledgers import FAST, SIGNING, Driver, driven

ROUNDS = 6


def test_killing_four_writers_loses_no_acknowledged_record(tmp_path: Path) -> None:
    """Four flooding processes are killed in rounds; each record that was acknowledged is there,
    under a head that counts.
    """
    db = tmp_path / "a.db"
    moment = random.Random(4)
    for number in range(ROUNDS):
        drivers = [Driver(db, "4.0", "epochs") for _ in range(4)]
        for driver in drivers:
            driver.ask("flood", tmp_path / f"acknowledged-{number}-{driver.process.pid}")
        time.sleep(0.05 + moment.random() * 0.15)
        moment.shuffle(drivers)
        for driver in drivers:
            driver.kill()
    LedgerWriter.open(db, signing=SIGNING, settings=FAST).close()
    acknowledged = 0
    with LedgerReader.open(db) as reader:
        report = chain.verify(reader.lines())
        assert report.first_bad is None, report
        assert not report.open_calls
        leaves = {seq: leaf.hex() for seq, leaf, _ in reader.lines()}
        for file in tmp_path.glob("acknowledged-*"):
            for line in file.read_text().splitlines():
                seq, leaf = line.split()
                assert leaves[int(seq)] == leaf
                acknowledged += 1
        keys = reader.storage.epochs()
    assert acknowledged > ROUNDS * 4
    assert keys == [], "a dead writer's key still counts"
    assert verify_ledger(db).state is VerifyState.NOT_ANCHORED
    state = state_of(db)
    assert state is not None
    assert_covered(state)


def test_four_processes_with_four_threads_take_fair_turns(tmp_path: Path) -> None:
    """4 processes x 4 threads x 60 calls: all records, chain intact, and nobody waited a second for
    the lock.
    """
    db = tmp_path / "a.db"
    with (
        driven(db) as one,
        driven(db) as two,
        driven(db) as three,
        driven(db) as four,
        driven(db) as slow,
    ):
        slow.ask("decide")  # a slow tool: its call stays open all the while
        with ThreadPoolExecutor(4) as pool:
            answers = list(
                pool.map(lambda driver: driver.ask("load", 4, 60), [one, two, three, four])
            )
        assert [answer["finished"] for answer in answers] == [4] * 4
        assert max(answer["slowest"] for answer in answers) < 1.0
        with LedgerReader.open(db) as reader:
            report = chain.verify(reader.lines())
            assert report.first_bad is None
            assert report.records == 1 + 1 + 4 * 4 * 60 * 2
            assert len(report.open_calls) == 1


def test_a_process_killed_while_it_creates_leaves_nothing_or_a_log(tmp_path: Path) -> None:
    """Creation is one step for everyone else: what is there opens, or can be created anew."""
    import subprocess
    import sys

    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from tests.support.ledgers import make\n"
        "print(flush=True)\n"
        "make(Path(sys.argv[1]))\n"
    )
    moment = random.Random(1)
    for number in range(6):
        db = tmp_path / str(number) / "a.db"
        db.parent.mkdir()
        child = subprocess.Popen([sys.executable, "-c", script, str(db)], stdout=subprocess.PIPE)
        assert child.stdout is not None
        child.stdout.read(1)
        time.sleep(moment.random() * 0.02)
        child.kill()
        child.wait()
        child.stdout.close()
        if db.exists():
            LedgerWriter.open(db, signing=SIGNING, settings=FAST).close()
        else:
            with driven(db) as driver:
                assert "ok" in driver.ask("call")
