"""``python -m guardrail.wiring.retention_worker``: does all due retention work once, for a guard in
another process, and exits.

The job arrives on standard input, and the result goes to standard output
(``guardrail.retention.process``). The worker opens the ledger as a command does, independently of
the guard's own connections, locks and threads. It may be killed at any point.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

from guardrail.errors import GuardrailError
from guardrail.ledger.files import missing_ledger
from guardrail.ledger.maintenance.prune import DeletionPace, PruneResult
from guardrail.retention.process import RetentionJob, RunOutcome
from guardrail.system.threads import BackgroundThread

__all__ = ["carry_out_job", "main"]

Delete = Callable[[Callable[[], PruneResult]], PruneResult]
"""Runs a function that deletes records, and returns its result."""

_NICE = 10
"""Niceness of all work except the deletion itself, because a holder of the ledger's lock must not
wait for a processor.
"""
_PACE = DeletionPace(part=200, share=0.01, within=2 * 3600.0)
"""Calls wait while records are deleted, so each batch is a fifth of the size that commands use,
with long pauses between batches.
"""


def main() -> None:
    """Read the job, carry it out, and write the result."""
    job = pickle.load(sys.stdin.buffer)  # noqa: S301 - from the guard, through a private pipe
    BackgroundThread(_end_with_the_guard, "guardrail-retention-end").start()
    with ThreadPoolExecutor(1) as normal:
        normal.submit(int).result()  # the pool has started its thread, which keeps its priority
        with contextlib.suppress(OSError):
            # on Linux, this applies to this thread and to the threads that it starts
            os.nice(_NICE)
        made = carry_out_job(job, delete=lambda work: normal.submit(work).result())
    json.dump({"code": made.code, "message": made.message, "hint": made.hint}, sys.stdout)
    sys.stdout.flush()


def _end_with_the_guard() -> None:
    """Wait until the pipe from the guard is closed, and exit."""
    sys.stdin.buffer.read()
    os._exit(1)


def carry_out_job(job: RetentionJob, *, delete: Delete = lambda work: work()) -> RunOutcome:
    """Do all due work and return the result. Never raises and never creates a ledger. *delete* runs
    the deletion.
    """
    try:
        return _carry_out(job, delete)
    except GuardrailError as error:
        return _outcome(error)
    except Exception as error:  # noqa: BLE001 - a boundary: doctor reports the failure
        return RunOutcome(
            "retention.failed",
            f"the due work failed unexpectedly ({type(error).__name__})",
            "guardrail retention run; please report it",
        )


def _carry_out(job: RetentionJob, delete: Delete) -> RunOutcome:
    from guardrail.identity.actor import current_actor
    from guardrail.retention.actions import RetentionManager
    from guardrail.retention.due import carry_out
    from guardrail.wiring.opening import open_journal

    path = job.settings.ledger.path
    if not path.exists():
        raise missing_ledger(path, hint="guardrail doctor")
    began = time.monotonic()

    def now() -> datetime:
        passed = job.now + time.monotonic() - began
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=passed)

    journal, keys = open_journal(job.settings, epochs=False)
    with contextlib.closing(journal):
        manager = RetentionManager(
            job.settings,
            signing=keys.signing(actor=current_actor(), epochs=False),
            record=journal.admin,
            clock=now,
            pace=_PACE,
            delete=delete,
        )
        done = carry_out(manager, why="due by [retention], done by a guard")
    return _outcome(done.failures[0]) if done.failures else RunOutcome()


def _outcome(error: GuardrailError) -> RunOutcome:
    return RunOutcome(error.code, error.message, error.hint)


if __name__ == "__main__":
    main()
