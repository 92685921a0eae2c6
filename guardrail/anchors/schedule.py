"""Anchors heads in the background, with one thread per process and one active process per log.

No call waits for an anchor. Every process that uses the log reads the state of the anchors from a
file next to the ledger. A lag causes denials only if a limit is configured.
"""

from __future__ import annotations

import contextlib
import os
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from guardrail.anchors.anchor import Anchor, timestamp
from guardrail.anchors.lock import ProcessLock
from guardrail.anchors.sending import (
    HeadSource,
    believed_state,
    failed_state,
    send_head,
    unexpected,
)
from guardrail.anchors.state import (
    AnchorState,
    AnchorStates,
    lock_path,
    state_path,
    write_state,
)
from guardrail.config import AnchorSettings
from guardrail.core.log.checkpoint import SignedNote
from guardrail.errors import GuardrailError
from guardrail.system.input_files import FileVersion, version_of
from guardrail.system.threads import BackgroundThread, OnceEvent

__all__ = ["AnchorLag", "AnchorWatch"]

_TICK_S = 1.0
_RETRY_S = (1.0, 2.0, 5.0, 15.0, 60.0)
"""Seconds to wait before the next attempt to reach an anchor, by the number of consecutive
failures.
"""
START_S = 5.0
CLOSE_S = 5.0


@dataclass(frozen=True, slots=True)
class AnchorLag:
    """The lag of the anchor that is furthest behind."""

    records: int
    """Number of records that no head in the anchor covers."""
    seconds: float
    """Seconds since the oldest of these records was written."""


class AnchorWatch:
    """Sends heads to the anchors of one ledger, and tracks their progress. Thread-safe.

    The process that holds the ledger's anchor lock sends heads for all processes that use the log;
    if it dies, another process takes over.
    """

    def __init__(
        self,
        ledger: Path,
        source: HeadSource,
        anchors: Sequence[Anchor],
        settings: AnchorSettings,
        *,
        remember: Callable[[SignedNote], object] | None = None,
        clock: Callable[[], float] = time.time,
        tick: float = _TICK_S,
    ) -> None:
        """Prepare the watch. The thread does not run before ``start``.

        *remember* stores a head in this machine's memory of heads. It is called on the anchors'
        schedule, at the start and at the end. *clock* returns seconds since 1970, and *tick* is the
        interval between checks in seconds.
        """
        self._remember = remember
        self._ledger = ledger
        self._source = source
        self._anchors = list(anchors)
        self._settings = settings
        self._clock = clock
        self._tick = tick
        self._state_path = state_path(ledger)
        self._lock = ProcessLock(lock_path(ledger), ledger)
        self._mark = self._state_version()
        self._state = self._read_state()
        self._saw = 0
        self._noticed: dict[str, tuple[int, float]] = {}
        """For each anchor, the size of its head, and the time at which a call first found that the
        anchor was behind. Valid until the thread has checked the anchor.
        """
        self._limited = bool(settings.max_lag_s or settings.max_lag_records)
        self._closed = False
        self._reset()
        # Threads do not survive a fork. A child anchors heads itself if the parent's lock permits
        # it.
        watch = weakref.ref(self)
        os.register_at_fork(after_in_child=lambda: _start_again(watch()))

    def _reset(self) -> None:
        self._stop = OnceEvent()
        self._first = OnceEvent()
        self._started = self._clock()
        self._leads = False
        self._looked = False
        """True if every anchor has been contacted since this process acquired the lock. Until then,
        the ledger may have been replaced.
        """
        self._heartbeat_at = 0.0
        self._remembered = (-1, 0.0)
        """Size of the head that was remembered last, and the time of the attempt."""
        self._thread: BackgroundThread | None = None

    # -- life
    # ----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the thread, and wait for at most a few seconds for every anchor to be compared with
        the ledger.

        If there is a conflict, even the first call is therefore denied. A configured limit does not
        deny calls merely because the anchors have not been contacted yet.
        """
        if not self._anchors and not self._settings.heartbeat_s and self._remember is None:
            return
        self._thread = BackgroundThread(self._run, "guardrail-anchors")
        self._thread.start()
        if self._anchors:
            self._first.wait(START_S)

    def start_again(self) -> None:
        """Restart the watch in a forked child, unless it was closed or never started."""
        if self._closed or self._thread is None:
            return
        self._lock.forget()
        self._reset()
        self._thread = BackgroundThread(self._run, "guardrail-anchors")
        self._thread.start()

    def close(self) -> None:
        """Send the newest head once more, unless another process anchors this log, and stop the
        thread.

        Waits at most a few seconds. Idempotent.
        """
        if self._closed:
            return
        self._closed = True
        self._stop.set()
        if self._thread is not None:
            self._thread.join(CLOSE_S)

    # -- the lag
    # ----------------------------------------------------------------------------------------------

    def note_size(self, size: int) -> None:
        """Remember that the log has *size* records."""
        self._saw = max(self._saw, size)

    def lag(self, now: float | None = None) -> AnchorLag:
        """Return the lag of the anchor that is furthest behind; zero if no anchor is configured."""
        now = self._clock() if now is None else now
        records, seconds = 0, 0.0
        state, size = self._state, self._saw
        for anchor in self._anchors:
            each = state.of(anchor.name)
            conflict = each.code == "anchor.conflict"
            if size > each.size or conflict:
                records = max(records, size if conflict else size - each.size)
                seconds = max(seconds, now - self._behind_since(anchor.name, each, now))
        return AnchorLag(records, seconds)

    def _behind_since(self, name: str, each: AnchorState, now: float) -> float:
        """Return the time at which an anchor fell behind. The state file can only make the lag
        longer, never shorter, than this process knows.
        """
        size, noticed = self._noticed.get(name, (-1, now))
        if each.size > size:
            size, noticed = self._noticed[name] = each.size, now
        return min(noticed, now if each.behind is None else each.behind)

    def denial_reason(self) -> str:
        """Return the reason for denying calls: ``conflict`` if an anchor holds a head that
        contradicts the ledger, ``lag`` if an anchor is further behind than the settings allow,
        otherwise an empty string.
        """
        if any(self._state.of(each.name).code == "anchor.conflict" for each in self._anchors):
            # Waiting does not help: the ledger was truncated, rolled back or forked, and each call
            # would extend the fork.
            return "conflict"
        if not self._limited:
            return ""
        lag, settings = self.lag(), self._settings
        too_far = (settings.max_lag_records and lag.records > settings.max_lag_records) or (
            settings.max_lag_s and lag.seconds > settings.max_lag_s
        )
        return "lag" if too_far else ""

    # -- the thread
    # ----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._safe_turn(final=False)
            self._first.set()
            while not self._stop.wait(self._tick):
                self._safe_turn(final=False)
            self._safe_turn(final=True)
        finally:
            self._first.set()
            self._lock.release()

    def _safe_turn(self, *, final: bool) -> None:
        """Run one turn. After an error, every anchor counts as failing until a turn succeeds; the
        thread continues.
        """
        try:
            self._turn(final=final)
        except Exception as error:  # noqa: BLE001 - if the thread ended, no anchor would get heads
            for anchor in self._anchors:
                failed = failed_state(self._state.of(anchor.name), unexpected(error), self._clock())
                self._state = self._state.with_anchor(anchor.name, failed)

    def _turn(self, *, final: bool) -> None:
        """Run one turn: send due heads if this process holds the lock, otherwise read the state
        written by the process that does.
        """
        if self._leads and not self._lock.is_current():
            self._leads = False
        if not self._leads:
            if not self._lock.try_acquire():
                self._refresh()
                return
            self._leads, self._looked = True, False
            self._state = self._read_state()
            self._heartbeat_at = max(self._state.heartbeat or 0.0, self._started)
        before, beat = self._state, False
        # Callers already receive errors because the ledger can't be read or written. The next turn
        # tries again.
        with contextlib.suppress(GuardrailError):
            beat = not final and self._heartbeat()
        with contextlib.suppress(GuardrailError):
            self.note_size(self._source.size())
            now_all = beat or final or not self._looked
            self._remember_head(now_all=now_all)
            self._send_due(now_all=now_all)
            self._looked = True
        if self._state is not before:
            self._noticed.clear()
        # The holder of the lock knows the true state. A planted file could only delay the processes
        # that read it.
        if self._state is not before or self._state_version() != self._mark:
            self._write_state()

    def _heartbeat(self) -> bool:
        """Record a heartbeat if one is due; return True if one was recorded."""
        interval, now = self._settings.heartbeat_s, self._clock()
        if not interval or 0 <= now - self._heartbeat_at < interval:
            return False
        anchors = [
            {"name": each.name, "size": state.size, "ts": timestamp(state.time)}
            for each in self._anchors
            if (state := self._state.of(each.name)).size
        ]
        # After a failure, do not retry at once, because the next attempt would fail as well.
        self._heartbeat_at = now - interval + min(interval, _RETRY_S[-1])
        self._source.heartbeat({"interval_s": interval, "anchors": anchors})
        self._heartbeat_at = now
        self._state = replace(self._state, heartbeat=now)
        return True

    def _remember_head(self, *, now_all: bool) -> None:
        """Remember the newest head if it is due. ``doctor`` reports failures; they don't stop
        calls.
        """
        (size, tried), now = self._remembered, self._clock()
        if self._remember is None or self._saw == size:
            return
        waited = now - tried
        due = not 0 <= waited < self._settings.interval_s
        if now_all or due or self._saw - size >= self._settings.records:
            self._remembered = (size, now)
            with contextlib.suppress(GuardrailError):
                self._remember(self._source.head())
                self._remembered = (self._saw, now)

    def _send_due(self, *, now_all: bool) -> None:
        due: list[Anchor] = []
        for anchor in self._anchors:
            each, now = self._state.of(anchor.name), self._clock()
            # If the ledger has become smaller, the anchor will refuse its head.
            if self._saw == each.size and self._looked and not each.failures:
                continue
            if each.behind is None and self._saw != each.size:
                each = replace(each, behind=self._behind_since(anchor.name, each, now))
                self._state = self._state.with_anchor(anchor.name, each)
            if self._is_due(each, now, now_all=now_all):
                due.append(anchor)
        if not due:
            return
        try:
            note = self._source.head()
        except GuardrailError as error:
            # For example, a signer may have failed. It is not asked again on each turn, and the
            # state of the anchors shows the failure.
            for anchor in due:
                failed = failed_state(self._state.of(anchor.name), error, self._clock())
                self._state = self._state.with_anchor(anchor.name, failed)
            return
        for anchor in due:
            note = self._send(anchor, note)

    def _is_due(self, each: AnchorState, now: float, *, now_all: bool) -> bool:
        waited = now - each.tried
        if each.failures:
            # A clock that was set back must not keep an anchor waiting for long.
            pause = _RETRY_S[min(each.failures, len(_RETRY_S)) - 1]
            return waited >= pause or waited < 0
        if now_all or not each.size or self._saw - each.size >= self._settings.records:
            return True
        return waited >= self._settings.interval_s or waited < 0

    def _send(self, anchor: Anchor, note: SignedNote) -> SignedNote:
        """Send *note*; return it with any signature that was added, for the next anchors."""
        each = self._state.of(anchor.name)
        state, note = send_head(anchor, self._source, note, each, self._clock())
        if not state.code and self._saw > state.size:
            state = replace(state, behind=state.tried)
        self._state = self._state.with_anchor(anchor.name, state)
        return note

    # -- the file
    # ----------------------------------------------------------------------------------------------

    def _write_state(self) -> None:
        # A full disk also stops the ledger itself. Other processes then see the old state, which
        # lags behind.
        with contextlib.suppress(OSError):
            write_state(self._state_path, self._state)
            self._mark = self._state_version()

    def _refresh(self) -> None:
        with contextlib.suppress(GuardrailError):
            self.note_size(self._source.size())
        mark = self._state_version()
        if mark != self._mark:
            self._state, self._mark = self._read_state(), mark

    def _read_state(self) -> AnchorStates:
        return believed_state(self._ledger, self._source, self._anchors, self._clock())

    def _state_version(self) -> FileVersion | None:
        try:
            return version_of(self._state_path.lstat())
        except OSError:
            return None


def _start_again(watch: AnchorWatch | None) -> None:
    if watch is not None:
        watch.start_again()
