"""Tracks requests that killed workers. Principals that sent such requests are isolated, and repeat
offenders are temporarily refused.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from dataclasses import dataclass, field

from guardrail.policy.fair_queue import party

__all__ = ["SHARD_SEPARATOR", "ShardBreaker", "SuspectShard"]

SHARD_SEPARATOR = "\x00"
"""Separates the parts of a shard's name. The first two parts are the tenant and the principal. A
name without a separator is a principal.
"""
_SHARDS = 4
"""A principal's limit is this multiple of the limit of one shard, because it costs nothing to
create new agents and tools.
"""


@dataclass(frozen=True, slots=True)
class SuspectShard:
    """The reason why guardrail refuses requests from a shard."""

    cause: str
    """How the last worker that this shard's requests killed died."""


@dataclass(slots=True)
class _History:
    times: deque[float] = field(default_factory=deque)
    cause: str = ""


class ShardBreaker:
    """Counts the requests from each shard that killed a worker. Thread-safe and bounded. Callers
    pass the current time.
    """

    def __init__(self, *, limit: int = 3, window: float = 60.0, capacity: int = 4096) -> None:
        """A shard is refused after *limit* kills within *window* seconds, until the first of these
        kills is older than *window*.

        After four times as many kills, every shard of the principal is refused. At most *capacity*
        shards are remembered; the one with the oldest last kill is forgotten first.
        """
        self._limit = limit
        self._window = window
        self._capacity = capacity
        self._lock = threading.Lock()
        self._shards: OrderedDict[str, _History] = OrderedDict()
        self._parties: OrderedDict[str, _History] = OrderedDict()

    def record(self, shard: str, cause: str, now: float) -> None:
        """Record that a request from *shard* killed a worker. *cause* is the worker's cause of
        death.
        """
        with self._lock:
            for table, key, limit in self._keys(shard):
                history = table.setdefault(key, _History())
                history.times.append(now)
                history.cause = cause
                while len(history.times) > limit:
                    history.times.popleft()
                table.move_to_end(key)
                while len(table) > self._capacity:
                    table.popitem(last=False)

    def _keys(self, shard: str) -> tuple[tuple[OrderedDict[str, _History], str, int], ...]:
        return (
            (self._shards, shard, self._limit),
            (self._parties, party(shard), _SHARDS * self._limit),
        )

    def open(self, shard: str, now: float) -> SuspectShard | None:
        """Return the reason that requests from *shard* are currently refused, or None if they are
        not refused.
        """
        if not self._parties:
            return None
        with self._lock:
            for table, key, limit in self._keys(shard):
                history = self._recent(table, key, now)
                if history is not None and len(history.times) >= limit:
                    return SuspectShard(history.cause)
        return None

    def _recent(self, table: OrderedDict[str, _History], key: str, now: float) -> _History | None:
        """Return the kills under *key* within the window. The caller holds the lock."""
        history = table.get(key)
        if history is None:
            return None
        while history.times and now - history.times[0] > self._window:
            history.times.popleft()
        if not history.times:
            del table[key]
            return None
        return history

    def suspect(self, shard: str, now: float) -> bool:
        """Return True if the principal of *shard* killed a worker within the window. That
        principal's requests are then isolated.
        """
        if not self._parties:
            return False
        with self._lock:
            return self._recent(self._parties, party(shard), now) is not None
