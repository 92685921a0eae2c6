"""Who has harmed a worker lately: which sessions are kept apart, and which shards are not asked for at all."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from dataclasses import dataclass, field

__all__ = ["SHARD_SEPARATOR", "Breaker", "Harm"]

SHARD_SEPARATOR = "\x00"
"""Between the parts of a shard's name. The first two are tenant and session; a name without it is a session's."""


@dataclass(frozen=True, slots=True)
class Harm:
    """Why a shard is not asked for."""

    cause: str
    """What its last request ended with."""


@dataclass(slots=True)
class _History:
    times: deque[float] = field(default_factory=deque)
    cause: str = ""


class Breaker:
    """Counts, per shard, the requests that killed a worker. Thread-safe, bounded, without a clock of its own."""

    def __init__(self, *, limit: int = 3, window: float = 60.0, capacity: int = 4096) -> None:
        """A shard is open after *limit* kills within *window* seconds, until the first of them is that long ago.

        At most *capacity* shards are remembered; the one that is longest without a kill is forgotten first.
        """
        self._limit = limit
        self._window = window
        self._capacity = capacity
        self._lock = threading.Lock()
        self._shards: OrderedDict[str, _History] = OrderedDict()
        self._sessions: OrderedDict[str, float] = OrderedDict()

    def record(self, shard: str, cause: str, now: float) -> None:
        """Note that a request of *shard* killed a worker, with *cause*."""
        with self._lock:
            history = self._shards.setdefault(shard, _History())
            history.times.append(now)
            history.cause = cause
            while len(history.times) > self._limit:
                history.times.popleft()
            self._shards.move_to_end(shard)
            session = _session(shard)
            self._sessions[session] = now
            self._sessions.move_to_end(session)
            for table in (self._shards, self._sessions):
                while len(table) > self._capacity:
                    table.popitem(last=False)

    def open(self, shard: str, now: float) -> Harm | None:
        """Return why *shard* is not asked for at the moment, or None where it is."""
        if not self._shards:
            return None
        with self._lock:
            history = self._shards.get(shard)
            if history is None:
                return None
            while history.times and now - history.times[0] > self._window:
                history.times.popleft()
            if not history.times:
                del self._shards[shard]
                return None
            return Harm(history.cause) if len(history.times) >= self._limit else None

    def suspect(self, shard: str, now: float) -> bool:
        """Whether the session of *shard* killed a worker within the window: its requests are kept apart from others'."""
        if not self._sessions:
            return False
        with self._lock:
            since = self._sessions.get(_session(shard))
            return since is not None and now - since <= self._window


def _session(shard: str) -> str:
    return SHARD_SEPARATOR.join(shard.split(SHARD_SEPARATOR, 2)[:2])
