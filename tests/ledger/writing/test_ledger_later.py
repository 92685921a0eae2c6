"""Outcomes that may wait for the next commit: they share it, and come before what was submitted
after them.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from guardrail.core.types import Receipt
from guardrail.errors import LedgerError
from guardrail.ledger.writing import work
from guardrail.ledger.writing.loop import Loop
from guardrail.ledger.writing.work import Entry, Inbox, Order
from guardrail.ledger.writing.writer import LedgerWriter
from guardrail.system.ids import new_ulid
from tests.support.guards import lines
from tests.support.interrupts import Interrupt
from tests.support.ledgers import decision, make, note, outcome
from tests.support.waiting import PATIENCE, until


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let outcomes wait for another record for an hour."""
    monkeypatch.setattr(work, "LONGEST_DELAY", 3600.0)


class Ended:
    """A committer that takes no record any more."""

    def settled(self) -> bool:
        return True

    def round(self, _: Inbox) -> None:
        pass

    def close(self) -> None:
        pass


def ended(writer: LedgerWriter) -> Future[Receipt]:
    """Write a decision, and submit its outcome, which may wait."""
    call = new_ulid()
    seq = writer.append(decision(call, writer.process)).seq
    return writer.submit(outcome(call, seq, writer.process), later=True)


@pytest.mark.usefixtures("patient")
def test_outcomes_share_the_commit_of_the_next_record_and_precede_it(tmp_path: Path) -> None:
    """They are not written before, and the order of submission is kept."""
    with make(tmp_path / "a.db") as writer:
        waiting = [ended(writer)]
        assert not waiting[0].done()
        waiting.append(ended(writer))
        assert waiting[0].result(0).seq == 2
        waiting.append(writer.submit(note(), later=True))
        assert not any(each.done() for each in waiting[1:])
        assert writer.append(note()).seq == 6
        assert [each.result(0).seq for each in waiting] == [2, 4, 5]


def test_an_outcome_that_no_record_follows_is_written_by_itself(tmp_path: Path) -> None:
    """Once it has waited long enough, and also while the commit thread had nothing to do."""
    with make(tmp_path / "a.db") as writer:
        assert [ended(writer).result(PATIENCE).seq for _ in range(2)] == [2, 4]


@pytest.mark.usefixtures("patient")
def test_an_outcome_is_written_at_once_if_it_is_asked_for(tmp_path: Path) -> None:
    """By a caller that must read it, and when the writer is closed."""
    with make(tmp_path / "a.db") as writer:
        first = ended(writer)
        writer.hurry()
        assert first.result(PATIENCE).seq == 2
        last = ended(writer)
        writer.hurry()
        last.result(PATIENCE)
        left = ended(writer)
    assert left.result(0).seq == 6
    assert len(lines(tmp_path / "a.db")) == 7


@pytest.mark.usefixtures("patient")
def test_threads_find_their_own_outcomes_before_their_next_records(tmp_path: Path) -> None:
    """Whatever else a commit takes: no record of a thread precedes the outcome that it submitted
    first.
    """
    with make(tmp_path / "a.db") as writer:

        def chain(_: int) -> None:
            for _ in range(25):
                before = ended(writer)
                after = writer.append(note())
                assert before.result(0).seq < after.seq

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(chain, range(8)))


def test_an_outcome_that_arrives_after_the_end_is_refused(tmp_path: Path) -> None:
    """Whether the writer knows that it is closed or not yet."""
    writer = make(tmp_path / "a.db")
    writer.close()
    with pytest.raises(LedgerError, match="closed"):
        writer.submit(note(), later=True).result(0)
    inbox, late = Inbox(), Entry(note())
    inbox.put_later(late)
    inbox.put(Order("close"))
    committer: Any = Ended()
    Loop(committer, inbox, 1).run()
    with pytest.raises(LedgerError, match="closed"):
        late.result(0)


@pytest.mark.usefixtures("patient")
def test_ctrl_c_while_an_outcome_is_queued_does_not_lose_it(tmp_path: Path) -> None:
    """Either it was not queued, or it is written without another record."""
    for place in range(1, 60):
        with make(tmp_path / f"{place}.db") as writer:
            call = new_ulid()
            seq = writer.append(decision(call, writer.process)).seq
            draft = outcome(call, seq, writer.process)
            try:
                with Interrupt(place, ("ledger/writing/",)):
                    writer.submit(draft, later=True)
            except KeyboardInterrupt:
                pass
            else:
                break
        assert len(lines(tmp_path / f"{place}.db")) in (2, 3)
    else:
        raise AssertionError("the interrupts did not reach the end")
    assert place > 5


def test_a_batch_takes_what_waits_before_what_was_queued_after_it() -> None:
    """And stops at an order, like every batch."""
    inbox = Inbox()
    first, outcomes, last = Entry(note()), [Entry(note()) for _ in range(3)], Entry(note())
    inbox.put(first)
    for each in outcomes:
        inbox.put_later(each)
    inbox.put(Order("wake"))
    inbox.put(last)
    batch: deque[Entry] = deque()
    inbox.take(batch, 10)
    assert list(batch) == [*outcomes, first]
    inbox.take(batch, 10)
    assert len(batch) == 4
    inbox.popleft()
    inbox.take(batch, 0)
    assert len(batch) == 4
    inbox.take(batch, 1)
    assert batch[-1] is last


def test_a_commit_thread_does_not_wait_longer_than_a_record_may() -> None:
    """A record shortens a wait that has begun, and one that begins later."""
    inbox = Inbox()
    with ThreadPoolExecutor(1) as pool:
        woken = pool.submit(inbox.wait, 1, None)
        until(lambda: (inbox.put_later(Entry(note())), woken.done())[1])
    until(inbox.is_due)
    assert inbox.wait(1, 30) is False  # at once
    assert inbox.is_due()
