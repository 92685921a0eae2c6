"""Power loss while a log of format 2 gets the current format: the log has either format, with every
record, and the upgrade can be run again.
"""

from __future__ import annotations

import os
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

from guardrail.ledger.maintenance.upgrade import upgrade
from tests.support.crash.disks import disks_around, prepare, put, record
from tests.support.crash.judge import State, assert_covered, state_of
from tests.support.crash.server import DB, SequenceServer
from tests.support.ledgers import EPOCHS, reopen, whole_call

SOAK = 10 if os.environ.get("GUARDRAIL_SOAK") else 1
LEFT = 7
"""Open calls of the process that died before the upgrade."""


def format_of(db: Path) -> int:
    with closing(sqlite3.connect(db)) as connection:
        found: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return found


def test_power_loss_during_an_upgrade_leaves_either_format_and_every_record(
    tmp_path: Path, memory: Path, recorder: SequenceServer
) -> None:
    """On every disk. Once the command said that it was done, the format is the new one."""
    prepare("upgrade", tmp_path / "ledger", recorder)
    recording = record("upgrade", tmp_path / "ledger", recorder)
    right = state_of(tmp_path / "ledger" / DB)
    assert right is not None
    here, formats = memory / "state", Counter[int]()
    for done, files in disks_around(recording, passes=4 * SOAK):
        put(here, files)
        there = format_of(here / DB)
        formats[there] += 1
        assert there == 3 if done else there in (2, 3)
        assert upgrade(here / DB).changed == (there == 2)
        assert _same(state_of(here / DB), right)
    assert set(formats) == {2, 3}
    assert formats.total() > 50
    with reopen(here / DB, signing=EPOCHS) as writer:
        whole_call(writer)
    after = state_of(here / DB)
    assert after is not None
    assert_covered(after)


def _same(state: State | None, right: State) -> bool:
    assert state is not None
    assert_covered(state)
    return state == right
