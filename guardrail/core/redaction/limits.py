"""Limits on how much of a value redaction examines and records."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Limits", "unmetered"]


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits on how much of a value is examined and recorded.

    Of everything beyond these limits, only the kind, size and token are recorded.
    """

    string: int = 16_384
    """Maximum length in characters of a string that is recorded completely. Only the beginning of a
    longer string is recorded.
    """
    head: int = 256
    """Number of characters recorded from the beginning of a longer string."""
    depth: int = 32
    """Maximum number of levels of objects and lists."""
    nodes: int = 5_000
    """Maximum number of members and elements in total, including those inside JSON strings."""
    json_string: int = 65_536
    """Maximum length in characters of a string that is parsed as JSON."""
    json_depth: int = 16
    """Maximum nesting depth of JSON strings."""
    recorded: int = 40_960
    """Maximum size in bytes of the recorded view. The pointers to removed values may take another
    two fifths of this size.
    """
    result: int = 65_536
    """Maximum number of characters of a result that are searched for sensitive values."""
    message: int = 1_000
    """Maximum number of characters recorded from an exception's message."""


def unmetered(_: int) -> None:
    """Do nothing: this meter does not count the work."""
