"""The pool of connections to an OPA server: Ctrl-C does not use up its threads."""

from __future__ import annotations

import itertools
import time
from typing import Any

from guardrail.policy.opa.pool import ConnectionPool, PoolJob
from guardrail.system.threads import OnceEvent
from tests.support.interrupts import Interrupt, renamed_threads
from tests.support.waiting import PATIENCE

PARTS = ("policy/opa/pool.py", "system/threads.py")


class Unused:
    """A connection that no job uses."""

    def close(self) -> None:
        pass


def job(ended: OnceEvent) -> PoolJob:
    return PoolJob(
        lambda _: ended.set(), lambda _: ended.set(), time.monotonic() + PATIENCE, "alice"
    )


@renamed_threads()
def test_a_submission_that_was_interrupted_leaves_its_thread_to_the_next() -> None:
    for place in itertools.count(1):
        connect: Any = Unused
        pool = ConnectionPool(connect, 1)
        interrupted = True
        try:
            with Interrupt(place, PARTS, threads=True):
                pool.submit(job(OnceEvent()))
            interrupted = False
        except KeyboardInterrupt:
            ended = OnceEvent()
            pool.submit(job(ended))
            assert ended.wait(PATIENCE / 2), place
        pool.close()
        if not interrupted:
            break
    assert place > 5
