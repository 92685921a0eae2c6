"""Limits on how much of a value redaction examines and records."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Limits", "unmetered"]


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits on how much of a value is examined and recorded.

    The remainder is recorded as kind, size and token.
    """

    string: int = 16_384
    """Largest string, in characters, that is recorded whole. A longer one is recorded by its
    beginning.
    """
    head: int = 256
    """Characters that are recorded of a longer string."""
    depth: int = 32
    """Levels of objects and lists."""
    nodes: int = 5_000
    """Members and elements in total, including those inside JSON strings."""
    json_string: int = 65_536
    """Characters of a string that is parsed as JSON."""
    json_depth: int = 16
    """Largest nesting depth of JSON strings."""
    recorded: int = 40_960
    """Bytes of the recorded view; the pointers to removed values get two more fifths of it."""
    result: int = 65_536
    """Characters of a result that are searched for sensitive values."""
    message: int = 1_000
    """Characters that are recorded of an exception's message."""


def unmetered(_: int) -> None:
    """Do nothing: a meter that does not count the work."""
