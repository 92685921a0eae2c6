"""Limits on how much of a value redaction examines and records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["UNCUT", "Limits", "unmetered"]


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits on how much of a value is examined and recorded.

    Of everything beyond these limits, only the kind, size and token are recorded.
    """

    string: int = 4_096
    """Maximum length in characters of a string that is recorded completely. Of a longer string,
    this many characters are recorded, with its length and a token of the whole.
    """
    past: int = 512
    """Number of characters after those that are recorded in which a sensitive value must end to be
    found. A value that the cut would split is removed whole.
    """
    searched: int = 16_384
    """Maximum number of characters of a string that are searched for sensitive values, at least
    ``string`` + 2 * ``past``.
    """
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
    text: int = 16_384
    """Maximum number of characters recorded from a text that is no argument and no result, for
    example the message of a rule.
    """
    message: int = 1_000
    """Maximum number of characters recorded from an exception's message."""


UNCUT: Final = Limits(string=16_384, searched=17_408)
"""Limits for values on which somebody decides as they are recorded: strings of up to 16,384
characters are recorded completely.
"""


def unmetered(_: int) -> None:
    """Do nothing: this meter does not count the work."""
