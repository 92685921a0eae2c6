"""Runs due retention work once a day in the background. One thread per process starts a worker;
each log has at most one worker at a time.

No call waits for this work, and no failure stops a call: failures are written to a file next to the
ledger, and ``doctor`` shows them.
"""

from __future__ import annotations

import contextlib
import os
import time
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from guardrail.config import Settings
from guardrail.core.log.record import decode
from guardrail.errors import GuardrailError, os_reason
from guardrail.ledger.forks import unforked
from guardrail.ledger.lock import FileLock
from guardrail.ledger.reader import LedgerReader
from guardrail.retention.actions import retention_lock
from guardrail.retention.facts import moment
from guardrail.retention.process import RetentionJob, RetentionWorker, RunOutcome
from guardrail.retention.state import RetentionState, read_state, state_path, write_state
from guardrail.system.threads import BackgroundThread, OnceEvent

__all__ = ["RetentionWatch"]

_DAY_S = 86_400.0
_RETRY_S = (3600.0, 4 * 3600.0, _DAY_S)
"""Seconds until the next attempt, after one, two, and three or more consecutive failures."""
_TICK_S = 60.0
_LOOK_S = 0.2
_GRACE_S = 2.0
"""Seconds that ``close`` waits before it terminates a worker."""
_CLOSE_S = 6.0
_LIMIT_S = 6 * 3600.0
"""Seconds after which a worker is considered hung and is terminated."""
_JUMP_S = 3600.0
"""If the clock jumps by more than this number of seconds, in either direction, it is not trusted
for an equal length of time, because the jump might be corrected.
"""


class RetentionWatch:
    """Runs the due retention work of one ledger once a day. Any thread may close it.

    The process that holds the ledger's retention lock does the work for all processes that use the
    log. The worker inherits the lock, which is therefore held as long as the worker runs.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        tick: float = _TICK_S,
    ) -> None:
        """Prepare the watch. The thread does not run before ``start``.

        *clock* returns seconds since 1970, and *tick* is the interval between checks, in seconds.
        """
        self._settings = settings
        self._folder = os.getcwd()
        """The folder to which relative paths in the settings refer, because the program may change
        its working directory later.
        """
        self._db = Path(os.path.realpath(settings.ledger.path))
        self._path = state_path(self._db)
        self._clock = clock
        self._monotonic = monotonic
        self._tick = tick
        self._waits = False
        self._closed = False
        self._born: float | None = None
        self._state = RetentionState()
        """The state that this process wrote last, used if a full disk prevented the write."""
        self._inherited: list[object] = []
        self._reset()
        # Threads do not survive a fork, so a child checks for due work itself. The parent's lock
        # prevents the child from doing the work at the same time.
        watch = weakref.ref(self)
        os.register_at_fork(after_in_child=lambda: _start_again(watch()))

    def _reset(self) -> None:
        self._stop = OnceEvent()
        self._lock: FileLock | None = None
        self._worker: RetentionWorker | None = None
        self._seen: tuple[float, float] | None = None
        """Wall clock and monotonic time at the last check."""
        self._distrust_until = 0.0
        self._thread: BackgroundThread | None = None

    # -- life
    # ----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the watch. Returns at once."""
        self._thread = BackgroundThread(self._run, "guardrail-retention")
        self._thread.start()

    def start_again(self) -> None:
        """Restart the watch in a forked child, unless it was closed or never started."""
        if self._closed or self._thread is None:
            return
        # The worker belongs to the parent, so nothing here may wait for it or end it. Closing a
        # copy of the lock does not release it.
        self._inherited.append(self._worker)
        lock = self._lock
        self._reset()
        if lock is not None:
            lock.close()
        self._waits = True
        self.start()

    def close(self) -> None:
        """Stop the watch. A worker has two seconds to end, and is then terminated. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self._stop.set()
        if self._thread is not None:
            self._thread.join(_CLOSE_S)

    # -- the thread
    # ----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        # A forked child has not opened the ledger yet. A reader that is open while the parent, the
        # last writer, closes the ledger would keep a shared-memory file that SQLite has deleted,
        # and the child's first call would be denied.
        if self._waits and self._stop.wait(self._tick):
            return
        while True:
            try:
                self._turn()
            except Exception as error:  # noqa: BLE001 - a border: a thread that ended would delete nothing ever again
                self._record_failure(
                    RunOutcome(
                        "retention.failed",
                        "the retention work that is due could not be started "
                        f"({type(error).__name__})",
                        "guardrail retention run",
                    )
                )
            if self._stop.wait(self._tick):
                return

    def _turn(self) -> None:
        """Check once for due work. If there is any, and no other process is doing the work, start a
        worker.
        """
        if not self._clock_is_sane() or not self._is_due(self._read_state()):
            return
        lock = retention_lock(self._db)
        try:
            self._lock = lock
            if not lock.try_acquire():
                return  # another process, or a person, is doing the work
            if self._is_due(self._read_state()):  # another process might have done it meanwhile
                self._run_worker(lock)
        finally:
            self._lock = None
            lock.close()

    def _clock_is_sane(self) -> bool:
        """Return True if the wall clock has advanced as fast as real time since the last check."""
        clock, passed = self._clock(), self._monotonic()
        seen, self._seen = self._seen, (clock, passed)
        if seen is not None and abs((clock - seen[0]) - (passed - seen[1])) > _JUMP_S:
            self._distrust_until = passed + _JUMP_S
        return passed >= self._distrust_until

    def _read_state(self) -> RetentionState:
        state, mine = read_state(self._path), self._state
        return mine if (mine.tried or 0.0) > (state.tried or 0.0) else state

    def _is_due(self, state: RetentionState) -> bool:
        now = self._clock()
        if state.failures and state.tried is not None:
            pause = _RETRY_S[min(state.failures, len(_RETRY_S)) - 1]
            return not 0 <= now - state.tried < pause
        since = state.done if state.done is not None else self._log_begin()
        # A time in the future means that the clock was set back. It must not delay the work.
        return since is not None and not 0 <= now - since < _DAY_S

    def _log_begin(self) -> float | None:
        """Return the time at which the log began, or None if the log can't be read now. Nothing is
        due on a log's first day.
        """
        if self._born is None:
            with (
                contextlib.suppress(GuardrailError),
                unforked(),
                LedgerReader.open(self._db) as reader,
            ):
                line = reader.record(0)
                began = moment(str(decode(line).get("ts", ""))) if line is not None else None
                self._born = began.timestamp() if began is not None else 0.0
        return self._born

    def _run_worker(self, lock: FileLock) -> None:
        end = self._monotonic() + _LIMIT_S
        job = RetentionJob(self._settings, self._clock())
        try:
            worker = self._worker = RetentionWorker(job, keep=lock.fileno(), folder=self._folder)
        except OSError as error:
            self._record_failure(
                RunOutcome(
                    "retention.worker",
                    f"the retention worker can't be started ({os_reason(error)})",
                    "guardrail retention run",
                )
            )
            return
        try:
            while not worker.wait(_LOOK_S):
                if self._stop.is_set() and not worker.wait(_GRACE_S):
                    worker.end()
                    self._record_failure(_INTERRUPTED)
                    return
                if self._monotonic() > end:
                    worker.end()
                    self._record_failure(_SLOW)
                    return
            self._record_outcome(worker.outcome())
        finally:
            self._worker = None

    def _record_outcome(self, outcome: RunOutcome) -> None:
        if outcome.code:
            self._record_failure(outcome)
            return
        now = self._clock()
        self._write_state(RetentionState(done=now, tried=now))

    def _record_failure(self, outcome: RunOutcome) -> None:
        state = self._read_state()
        self._write_state(
            replace(
                state,
                tried=self._clock(),
                failures=state.failures + 1,
                code=outcome.code,
                message=outcome.message[:_MAX_SAID],
                hint=outcome.hint[:_MAX_SAID],
            )
        )

    def _write_state(self, state: RetentionState) -> None:
        self._state = state
        # The disk is full: this process remembers the state, and other processes determine their
        # own.
        with contextlib.suppress(OSError):
            write_state(self._path, state)


_MAX_SAID = 1000
_INTERRUPTED = RunOutcome(
    "retention.interrupted",
    "the guard was closed before all work that was due had been done",
    "guardrail retention run, from a timer if programs end too early",
)
_SLOW = RunOutcome(
    "retention.slow",
    f"the retention work that was due did not finish within {_LIMIT_S / 3600:.0f} hours",
    "guardrail retention run",
)


def _start_again(watch: RetentionWatch | None) -> None:
    if watch is not None:
        watch.start_again()
