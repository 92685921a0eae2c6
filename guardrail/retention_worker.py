"""``python -m guardrail.retention_worker``: does once what is due, for a guard in another process, and ends.

Told over standard input, answers on standard output (``guardrail.retention.worker``). It opens the ledger as a command
does, so that the guard's own connections, locks and threads have no part in it. It may be killed at any point.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import sys
import threading
import time
from datetime import UTC, datetime, timedelta

from guardrail.errors import GuardrailError, LedgerOpenError
from guardrail.retention.worker import Job, Outcome

__all__ = ["carry_out_job", "main"]

_NICE = 10
_PART = 200
"""Records that one transaction deletes at most: 5 times fewer than a person's command, as calls wait for its lock."""
_PAUSE_S = 0.02
"""How long it stays away from that lock between two of them."""


def main() -> None:
    """Read the job, do it, answer."""
    job = pickle.load(sys.stdin.buffer)  # noqa: S301 - the guard that started this process wrote it, into a pipe of its own
    threading.Thread(target=_end_with_the_guard, daemon=True).start()
    with contextlib.suppress(OSError):
        os.nice(_NICE)
    made = carry_out_job(job)
    json.dump({"code": made.code, "message": made.message, "hint": made.hint}, sys.stdout)
    sys.stdout.flush()


def _end_with_the_guard() -> None:
    """Wait until the pipe from the guard is closed, and end."""
    sys.stdin.buffer.read()
    os._exit(1)


def carry_out_job(job: Job) -> Outcome:
    """Do what is due; return what came of it. Never raises. Never makes a ledger."""
    try:
        return _carry_out(job)
    except GuardrailError as error:
        return _outcome(error)
    except Exception as error:  # noqa: BLE001 - a border: what goes wrong is told to whoever asks doctor
        return Outcome(
            "retention.failed",
            f"what is due failed in a way that nobody expects ({type(error).__name__})",
            "guardrail retention run; please report it",
        )


def _carry_out(job: Job) -> Outcome:
    from guardrail.journal import actor
    from guardrail.opening import open_journal
    from guardrail.retention.acts import Keeper
    from guardrail.retention.due import carry_out

    path = job.settings.ledger.path
    if not path.exists():
        raise LedgerOpenError(
            f"{path}: there is no ledger at this path",
            code="ledger.missing",
            hint="guardrail doctor",
        )
    began = time.monotonic()

    def now() -> datetime:
        passed = job.now + time.monotonic() - began
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=passed)

    journal, keys = open_journal(job.settings, epochs=False)
    with contextlib.closing(journal):
        keeper = Keeper(
            job.settings,
            signing=keys.signing(actor=actor(), epochs=False),
            record=journal.admin,
            clock=now,
            part=_PART,
            pause=_PAUSE_S,
        )
        done = carry_out(keeper, why="due by [retention], done by a guard")
    return _outcome(done.failures[0]) if done.failures else Outcome()


def _outcome(error: GuardrailError) -> Outcome:
    return Outcome(error.code, error.message, error.hint)


if __name__ == "__main__":
    main()
