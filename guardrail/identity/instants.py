"""Measures how old something is, although a clock can be set back and a computer can sleep."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

__all__ = ["Instant"]


@dataclass(frozen=True, slots=True)
class Instant:
    """A time by the clock that can be set, and by the one that can't, which may stop during sleep
    and whose start is not defined.
    """

    wall: float
    """Seconds since 1970."""
    steady: float
    """Seconds of ``time.monotonic``."""

    @classmethod
    def now(cls, clock: Callable[[], float]) -> Self:
        """Return the current time. *clock* returns the seconds since 1970."""
        return cls(clock(), time.monotonic())

    def before(self, seconds: float) -> Instant:
        """Return the time *seconds* before this."""
        return Instant(self.wall - seconds, self.steady - seconds)

    def later(self, other: Instant) -> Instant:
        """Return the later of two times, by each clock."""
        return Instant(max(self.wall, other.wall), max(self.steady, other.steady))

    def age(self, now: float) -> float:
        """Return the seconds since this time, by the clock that counts more. *now* is the number of
        seconds since 1970. If the clock was set back before this time, the age is infinite.
        """
        if now < self.wall:
            return float("inf")
        return max(now - self.wall, time.monotonic() - self.steady)
