"""Wait for a condition, never for a time: a test must pass on a machine ten times slower."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE = 60.0
"""Seconds until a test gives up. Nothing that works takes nearly as long."""


def until(condition: Callable[[], object], what: str = "it", *, seconds: float = PATIENCE) -> None:
    """Return as soon as *condition* is true; fail if it stays false, and name *what* it was."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what} did not happen"
        time.sleep(0.005)
