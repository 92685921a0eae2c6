"""How much of a value redaction looks at and records."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Limits", "unmetered"]


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of a value is looked at and recorded. What lies beyond is recorded as kind, size and token."""

    string: int = 16_384
    """Characters of a string that is kept whole; of a longer one, its head."""
    head: int = 256
    """Characters of a longer string that are kept."""
    depth: int = 32
    """Levels of objects and lists."""
    nodes: int = 5_000
    """Members and elements in all, those inside JSON strings included."""
    json_string: int = 65_536
    """Characters of a string that is parsed as JSON."""
    json_depth: int = 16
    """How many JSON strings may be nested in one another."""
    recorded: int = 40_960
    """Bytes of the recorded view; the pointers that tell what was removed get a fifth of it more, twice."""
    result: int = 65_536
    """Characters of a result that are searched for sensitive values."""
    message: int = 1_000
    """Characters of an exception's message that are kept."""


def unmetered(_: int) -> None:
    """Let the work be done: what stands for the meter of a call if nobody counts."""
