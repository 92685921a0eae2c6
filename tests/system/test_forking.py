"""A forked child gets new objects, although threads of its parent were using them."""

from __future__ import annotations

import gc
import os
import threading

from guardrail.system.forking import reset_in_children


class Counter:
    """Counts its resets; its lock may be held at the moment of the fork."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.resets = 0
        reset_in_children(self)

    def reset(self) -> None:
        self.lock = threading.Lock()
        self.resets += 1


def test_objects_are_reset_in_the_child_only() -> None:
    kept, gone = Counter(), Counter()
    del gone
    gc.collect()
    with kept.lock:
        child = os.fork()
        if child == 0:
            os._exit(7 if kept.resets == 1 and kept.lock.acquire(blocking=False) else 1)
        _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 7
    assert kept.resets == 0
