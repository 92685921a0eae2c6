"""Limits the number of decisions per minute for each principal and for each tenant. Further calls
are denied, and are counted instead of being recorded individually. So are calls that the ledger has
no room for, because it has reached its size limit.

The first call of a principal above the limit writes ``admin.quota_reached``, and all of its further
calls in that minute wait for this record: a denial always refers to a durable record, even if the
process dies before the minute ends. At the end of the minute, or when the guard closes, one
``call.throttled`` record states the number of denied calls. If the process is killed before that,
the first record still proves that calls were denied, but not how many.

Minutes are measured with a monotonic clock. Each guard counts its own calls, so that no call waits
for another process.
"""

from __future__ import annotations

import functools
import os
import threading
import time
from array import array
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NoReturn

from guardrail.call.journal import Journal
from guardrail.config.sections import LimitSettings
from guardrail.core.folding import folded
from guardrail.core.log import fields
from guardrail.core.log.record import Draft
from guardrail.core.times import record_time
from guardrail.core.types import Cause, Receipt
from guardrail.core.words import counted
from guardrail.errors import Denied, LedgerError, LedgerPoisonedError, RedactionError
from guardrail.identity.actor import current_actor
from guardrail.identity.session import SessionState
from guardrail.system.waiting import Steps, Wait

__all__ = ["ExceededLimit", "Throttle"]

MINUTE = 60.0
MAX_PRINCIPALS = 10_000
"""Maximum number of principals counted by name; see ``Throttle._forget``."""
_PLACES = 1 << 18
"""Number of counters in each of the two rows for principals whose names are no longer stored."""
MAX_EXCEEDED = 10_000
"""Maximum number of principals above their limit that get their own records in one minute. The
others share one record.
"""
_MAX_TOOLS = 16
_RETRY = 10.0
"""Number of seconds after which guardrail tries again to write a count."""
_GRACE = 0.05

Key = tuple[str, str | None, str]

_TENANT = "\0tenant"
"""First part of the key of a whole tenant. No tenant has this name."""
_FULL: Key = ("\0ledger", None, "")
"""The key of all calls that the ledger has no room for."""

# Spellings of a name that look the same count as one principal. This can only deny more calls.
_folded = functools.lru_cache(4_096)(folded)


@dataclass(slots=True, eq=False)
class ExceededLimit:
    """The denied calls of a principal that exceeded its limit in one minute."""

    state: SessionState | None
    """One of the principal's sessions, or None for the principals that share one record."""
    window: int
    limit: int
    """Number of calls per minute, or size of the ledger in MB if ``of_ledger`` is True."""
    since: str
    """Start of the minute (RFC 3339)."""
    of_tenant: bool = False
    """True if a tenant exceeded its limit, so all of its principals are denied."""
    of_ledger: bool = False
    """True if the ledger has reached its size limit, so that all calls are denied."""
    count: int = 0
    """Number of denied calls."""
    tools: dict[str, int] = field(default_factory=dict)
    """Number of denied calls by tool name, for a limited number of tools."""
    ready: Future[Receipt] = field(default_factory=Future)
    """Completes with the receipt of ``admin.quota_reached``."""
    entry: Future[Receipt] | None = None


def _recorded_limit(exceeded: ExceededLimit) -> dict[str, int | None]:
    if exceeded.of_ledger:
        return {"calls_per_minute": None, "ledger_mb": exceeded.limit}
    return {"calls_per_minute": exceeded.limit}


def _tenant_key(state: SessionState) -> Key:
    return (_TENANT, None, state.session.tenant)


class Throttle:
    """Counts the calls of each principal and tenant. Thread-safe; starts from zero after a fork."""

    def __init__(
        self,
        journal: Journal,
        limit: int,
        tenant_limit: int = 0,
        ledger_mb: int = 0,
        *,
        now: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """*limit* is the number of calls per minute for each principal, *tenant_limit* that for
        each tenant, and *ledger_mb* the size of the ledger; 0 means no limit.
        """
        self._journal = journal
        self._limit = limit
        self._tenant_limit = tenant_limit
        self._ledger_mb = ledger_mb
        self._now = now
        self._wall = wall
        # Minutes start together with those of the wall clock, as long as that clock is not changed.
        self._start = now() - wall() % MINUTE
        self._reset(os.getpid())

    @classmethod
    def of(cls, journal: Journal, limits: LimitSettings) -> Throttle:
        """Return a throttle with the limits in the settings."""
        return cls(journal, limits.calls_per_minute, limits.tenant_calls, limits.ledger_mb)

    def _reset(self, pid: int) -> None:
        self._pid = pid
        self._lock = threading.Lock()
        self._window = -1
        self._counts: dict[Key, int] = {}
        self._rows: list[array[int]] = []
        self._exceeded: dict[Key | None, ExceededLimit] = {}
        self._due: list[ExceededLimit] = []
        self._timer: threading.Timer | None = None
        self._closed = False

    def count(self, state: SessionState, tool: str) -> ExceededLimit | None:
        """Count a call to *tool* by the principal of *state*. Return None if the call is within the
        limits.
        """
        if self._journal.ledger.full:
            return self.count_unwritten(state, tool)
        if not self._limit and not self._tenant_limit:
            return None
        key = self._key(state)
        with self._lock:
            # A call above its principal's limit does not count for the tenant, so one principal
            # can't use up the calls of the others.
            limit = self._limit
            if not limit or self._add_calls(key, 1) <= limit:
                key, limit = _tenant_key(state), self._tenant_limit
                if not limit or self._add_calls(key, 1) <= limit:
                    return None
            exceeded, new = self._count_denied(key, state, tool, limit)
        if new:
            self._announce(key, exceeded)
        return exceeded

    def count_unwritten(self, state: SessionState, tool: str) -> ExceededLimit:
        """Count a call to *tool* that is denied because the ledger has reached its size limit."""
        self._key(state)  # after a fork, the counts start from zero
        with self._lock:
            window = int((self._now() - self._start) // MINUTE)
            if window != self._window:
                self._start_minute(window)
            exceeded, new = self._count_denied(_FULL, state, tool, self._ledger_mb)
        if new:
            self._announce(_FULL, exceeded)
        return exceeded

    def charge(self, state: SessionState, calls: int) -> None:
        """Count *calls* additional calls for the principal of *state* and its tenant, because its
        record is as large as *calls* ordinary records.
        """
        if calls > 0:
            key = self._key(state)
            with self._lock:
                if self._limit:
                    self._add_calls(key, calls)
                if self._tenant_limit:
                    self._add_calls(_tenant_key(state), calls)

    def _key(self, state: SessionState) -> Key:
        pid = os.getpid()
        if pid != self._pid:
            # The parent process records the calls that were counted before the fork.
            self._reset(pid)
        session = state.session
        id_ = session.principal.id
        return (session.tenant, session.principal.issuer, _folded(id_) or id_)

    def refuse(self, exceeded: ExceededLimit) -> Steps[NoReturn]:
        """Wait until the record that denies this minute's calls is durable, and raise ``Denied``.
        Raises ``LedgerError`` if the record can't be written.
        """
        seq = yield from self.wait_for_record(exceeded)
        if exceeded.of_ledger:
            raise Denied(
                f"denied: the ledger has reached its limit of {exceeded.limit:,} MB",
                seq=seq,
                cause=str(Cause.QUOTA),
                hint="guardrail retention status; or raise [limits] ledger_mb",
            )
        raise Denied(
            f"denied: more than {counted(exceeded.limit, 'call')} in a minute",
            seq=seq,
            cause=str(Cause.QUOTA),
            hint=self._journal.next_steps.show(seq),
        )

    def refuse_unwritten(self, state: SessionState, tool: str) -> Steps[NoReturn]:
        """Count a call to *tool* that the ledger has no room for, and raise as ``refuse`` does."""
        return self.refuse(self.count_unwritten(state, tool))

    def wait_for_record(self, exceeded: ExceededLimit) -> Steps[int]:
        """Return the sequence number of the record that denies this minute's calls, once that
        record is durable.
        """
        try:
            receipt: Receipt = yield Wait(exceeded.ready, self._journal.deadline)
        except TimeoutError:
            if exceeded.entry is None:
                raise LedgerPoisonedError("the ledger could not be reached in time") from None
            raise self._journal.ledger.expired(exceeded.entry) from None
        return receipt.seq

    def close(self) -> None:
        """Record the counts so far. Idempotent. Counts that can't be written now are dropped."""
        if self._pid != os.getpid():
            return
        with self._lock:
            self._closed = True
            timer, self._timer = self._timer, None
            self._start_minute(self._window)
        if timer is not None:
            timer.cancel()
        self._write_due()

    # -- under the lock ----------------------------------------------------------------------------

    def _add_calls(self, key: Key, calls: int) -> int:
        """Add *calls* to the principal's count in this minute; return the new count."""
        window = int((self._now() - self._start) // MINUTE)
        if window != self._window:
            self._start_minute(window)
        before = self._counts.get(key)
        if before is None:
            before = min((row[place] for row, place in self._counters(key)), default=0)
        number = self._counts[key] = before + calls
        if len(self._counts) > MAX_PRINCIPALS:
            self._forget()
        return number

    def _start_minute(self, window: int) -> None:
        """Start a new minute."""
        self._due += self._exceeded.values()
        self._exceeded, self._counts, self._rows, self._window = {}, {}, [], window

    def _forget(self) -> None:
        """Discard the names of the half of the principals with the fewest calls, and keep each
        count under a hash of the name.

        An unknown principal starts with the largest count of any discarded principal that shares
        both parts of its hash. Therefore, filling the table with names does not reset a count, and
        a new principal is denied by mistake only if hundreds of thousands of names arrive in one
        minute.
        """
        least = sorted(self._counts.values())[len(self._counts) // 2]
        if not self._rows:
            self._rows = [array("Q", bytes(8 * _PLACES)) for _ in range(2)]
        for key, number in self._counts.items():
            if number <= least:
                for row, place in self._counters(key):
                    row[place] = max(row[place], number)
        self._counts = {key: n for key, n in self._counts.items() if n > least}

    def _counters(self, key: Key) -> list[tuple[array[int], int]]:
        # Python's string hash is keyed at random in each process, so no caller can choose names
        # that collide with other names. The hash of a tuple is not enough: if its low bits collide,
        # so do its high bits.
        number = hash(repr(key))
        return [(row, (number >> 32 * at) % _PLACES) for at, row in enumerate(self._rows)]

    def _count_denied(
        self, key: Key, state: SessionState, tool: str, limit: int
    ) -> tuple[ExceededLimit, bool]:
        """Count a denied call. Return its count, and True if this is the first of the minute."""
        exceeded, new = self._find_or_start(key, state, limit)
        exceeded.count += 1
        if tool in exceeded.tools or len(exceeded.tools) < _MAX_TOOLS:
            exceeded.tools[tool] = exceeded.tools.get(tool, 0) + 1
        return exceeded, new

    def _find_or_start(
        self, key: Key, state: SessionState, limit: int
    ) -> tuple[ExceededLimit, bool]:
        found = self._exceeded.get(key)
        if found is not None:
            return found, False
        of_tenant, of_ledger = key[0] == _TENANT, key == _FULL
        named = of_tenant or of_ledger or len(self._exceeded) < MAX_EXCEEDED
        place = key if named else None
        found = self._exceeded.get(place)
        if found is not None:
            return found, False
        elapsed = self._now() - self._start - self._window * MINUTE
        since = datetime.fromtimestamp(self._wall() - elapsed, UTC)
        made = ExceededLimit(
            state if named else None,
            self._window,
            limit,
            record_time(since),
            of_tenant,
            of_ledger,
        )
        self._exceeded[place] = made
        if self._timer is None and not self._closed:
            self._start_timer(MINUTE - elapsed)
        return made, True

    def _start_timer(self, seconds: float) -> None:
        timer = threading.Timer(max(seconds, 0.0) + _GRACE, self.write_finished_minutes)
        timer.name = "guardrail-throttle"
        timer.daemon = True
        timer.start()
        self._timer = timer  # last: if Ctrl-C interrupts the start, the next call starts another

    # -- records -----------------------------------------------------------------------------------

    def _announce(self, key: Key, exceeded: ExceededLimit) -> None:
        """Write ``admin.quota_reached``. *exceeded* becomes ready when the record is durable; it is
        discarded if the record can't be written.
        """

        def ended(entry: Future[Receipt]) -> None:
            try:
                receipt = entry.result(0)
            except BaseException as problem:  # noqa: BLE001 - cancelled after a deadline, or refused
                self._announcement_failed(key, exceeded, problem)
            else:
                exceeded.ready.set_result(receipt)

        detail = {
            **_recorded_limit(exceeded),
            "since": exceeded.since,
            **self._recorded_principal(exceeded),
        }
        try:
            record = fields.admin(
                self._journal.log,
                "quota_reached",
                actor=current_actor(),
                where=self._journal.where(),
                detail=detail,
            )
            exceeded.entry = self._journal.ledger.submit(Draft.build(record))
        except BaseException as problem:
            self._announcement_failed(key, exceeded, problem)
            raise
        exceeded.entry.add_done_callback(ended)

    def _announcement_failed(
        self, key: Key, exceeded: ExceededLimit, problem: BaseException
    ) -> None:
        with self._lock:
            for place in (key, None):
                if self._exceeded.get(place) is exceeded:
                    del self._exceeded[place]
            if exceeded in self._due:
                self._due.remove(exceeded)
        if not isinstance(problem, LedgerError):
            problem = LedgerPoisonedError("the ledger could not be reached in time")
        exceeded.ready.set_exception(problem)

    def _recorded_principal(self, exceeded: ExceededLimit) -> Mapping[str, Any]:
        if exceeded.state is None or exceeded.of_ledger:
            return {"tenant": None, "principal": None}
        try:
            exceeded.state.recorded()
        except RedactionError:
            said = exceeded.state.bare
        else:
            said = exceeded.state.fields
        principal = None if exceeded.of_tenant else said.principal
        return {"tenant": said.tenant, "principal": principal}

    def write_finished_minutes(self) -> None:
        """Write the counts for each minute that has ended. Called by a timer at the end of each
        minute.
        """
        with self._lock:
            self._timer = None
            window = int((self._now() - self._start) // MINUTE)
            if window != self._window:
                self._start_minute(window)
        self._write_due()
        self._restart_timer()

    def _restart_timer(self) -> None:
        with self._lock:
            if self._timer is None and not self._closed and (self._due or self._exceeded):
                elapsed = self._now() - self._start - self._window * MINUTE
                self._start_timer(_RETRY if self._due else MINUTE - elapsed)

    def _write_due(self) -> None:
        """Write the records that are due; those that can't be written stay due."""
        while True:
            with self._lock:
                if not self._due:
                    return
                exceeded = self._due.pop(0)
            try:
                # If the announcement failed, its callers received the error, and no record is
                # pending.
                if exceeded.ready.done() and exceeded.ready.exception() is not None:
                    continue
                seq = exceeded.ready.result(self._journal.deadline).seq
                self._journal.append(Draft.build(self._throttled_record(exceeded, seq)))
            except (LedgerError, TimeoutError):
                with self._lock:
                    if len(self._due) < MAX_EXCEEDED:
                        self._due.append(exceeded)
                return

    def _throttled_record(self, exceeded: ExceededLimit, seq: int) -> dict[str, Any]:
        whose = self._recorded_principal(exceeded)
        tools: dict[str, int] = {}
        if exceeded.state is not None:
            for name, count in exceeded.tools.items():
                shown = exceeded.state.text(name)
                tools[shown] = tools.get(shown, 0) + count
        return fields.throttled(
            self._journal.log,
            **whose,
            where=self._journal.where(),
            since=exceeded.since,
            limit=_recorded_limit(exceeded),
            count=exceeded.count,
            tools=tools,
            begun=seq,
        )
