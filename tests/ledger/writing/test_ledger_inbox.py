"""The queue of a commit thread: one wake-up for all items that the thread waits for, and none that
it misses.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from guardrail.ledger.writing.work import Entry, Inbox, Order
from tests.support.ledgers import note
from tests.support.waiting import until


def test_the_thread_is_woken_once_for_all_items_that_it_waits_for() -> None:
    """Not for the first of three, nor for the second."""
    inbox = Inbox()
    with ThreadPoolExecutor(1) as pool:
        woken = pool.submit(inbox.wait, 3, 30)
        for _ in range(2):
            inbox.put(Entry(note()))
        assert not woken.done()
        inbox.put(Entry(note()))
        assert woken.result(10) is True
    assert len(inbox) == 3


def test_items_that_arrive_while_nobody_waits_wake_nobody_later() -> None:
    """The next wait finds them; the one after it waits for new ones."""
    inbox = Inbox()
    for _ in range(5):
        inbox.put(Entry(note()))
    assert inbox.wait(5, 0)
    inbox.clear()
    assert not inbox.wait(1, 0.01)


def test_an_order_ends_a_wait_for_more_items() -> None:
    """Closing is not delayed by callers that do not come back."""
    inbox = Inbox()
    with ThreadPoolExecutor(1) as pool:
        woken = pool.submit(inbox.wait, 64, 30)
        until(lambda: (inbox.put(Order("wake")), woken.done())[1])
        assert woken.result(10) is True


def test_no_item_is_missed() -> None:
    """Four threads put 4,000 items each; the one that waits gets all of them without a timeout."""
    inbox, seen = Inbox(), 0
    ready = threading.Barrier(5)

    def fill() -> None:
        ready.wait(10)
        for _ in range(4_000):
            inbox.put(Entry(draft))

    draft = note()
    threads = [threading.Thread(target=fill) for _ in range(4)]
    for thread in threads:
        thread.start()
    ready.wait(10)
    while seen < 16_000:
        assert inbox.wait(1, 30)
        while inbox:
            inbox.popleft()
            seen += 1
    for thread in threads:
        thread.join()
    assert not inbox
