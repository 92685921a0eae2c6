"""Compares a log with a signed head. Guards do this before calls, and ``verify`` does it
afterwards. Performs no I/O.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from guardrail.core.log.checkpoint import Checkpoint

__all__ = ["Ruling", "rule"]


class Ruling(StrEnum):
    """The result of comparing a head with a log."""

    MALFORMED = "malformed"
    REPLACED = "replaced"
    TRUNCATED = "truncated"
    EMPTY = "empty"
    """The head covers nothing, or no remaining record can be compared with it."""
    FORKED = "forked"
    KEY_UNKNOWN = "key_unknown"
    """The log agrees with the head, but no key of the log signed the head: it is evidence neither
    for nor against the log.
    """
    COVERED = "covered"


def rule(
    head: Checkpoint,
    *,
    log: str,
    size: int,
    fits: Callable[[Checkpoint], bool | None],
    signed: Callable[[], bool],
) -> Ruling:
    """Compare *head* with the first *size* records of *log*; an empty *log* means that it could not
    be read.

    *fits* is called with a head that covers at most *size* records. It returns True if the log
    begins with the records that the head covers, or None if this can no longer be determined.
    *signed* returns True if a key of the log signed the head. A head that the log contradicts
    counts even if no key of the log signed it, because a log that replaces another one has
    different keys.
    """
    if log and head.origin != log:
        return Ruling.REPLACED
    if head.size > size:
        return Ruling.TRUNCATED
    if head.size == 0:
        return Ruling.EMPTY
    fitting = fits(head)
    if fitting is None:
        return Ruling.EMPTY
    if not fitting:
        return Ruling.FORKED
    return Ruling.COVERED if signed() else Ruling.KEY_UNKNOWN
