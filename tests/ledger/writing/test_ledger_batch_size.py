"""How many callers a commit waits for."""

from __future__ import annotations

import threading
from pathlib import Path

from guardrail.ledger.writing.loop import BatchSizeEstimator
from tests.support.ledgers import make, note


def test_as_many_are_expected_as_came_together_last() -> None:
    """The first ones are believed at once, and so is a larger number."""
    estimator = BatchSizeEstimator()
    assert estimator.expected == 1
    for callers in (8, 8, 64):
        estimator.note_arrivals(callers)
        assert estimator.expected == callers


def test_who_stays_away_is_soon_no_longer_waited_for() -> None:
    """Of a crowd only those are expected who come, and a lone caller waits for nobody, after a few
    commits each.
    """
    estimator = BatchSizeEstimator()
    estimator.note_arrivals(64)
    seen = []
    for _ in range(20):
        estimator.note_arrivals(3)
        seen.append(estimator.expected)
    assert seen == sorted(seen, reverse=True)
    assert seen[0] == 48
    assert seen[-1] == 3
    for _ in range(2):
        estimator.note_arrivals(1)
    assert estimator.expected == 1


def test_callers_who_stay_away_keep_nobody_from_being_written(tmp_path: Path) -> None:
    """Eight threads write and end; one goes on alone, and an order that comes meanwhile is
    obeyed.
    """
    with make(tmp_path / "a.db") as writer:
        threads = [
            threading.Thread(target=lambda: [writer.append(note()) for _ in range(10)])
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [writer.append(note()).seq for _ in range(5)] == list(range(81, 86))
        assert writer.sweep() == 0
