"""What one signed head says of a log: judged in one place, for guards before calls and for ``verify`` afterwards. Pure."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from guardrail.core.log.checkpoint import Checkpoint

__all__ = ["Ruling", "rule"]


class Ruling(StrEnum):
    """What one head says of a log."""

    MALFORMED = "malformed"
    REPLACED = "replaced"
    TRUNCATED = "truncated"
    EMPTY = "empty"
    """It covers nothing, or nothing that is left can be compared with it."""
    FORKED = "forked"
    KEY_UNKNOWN = "key_unknown"
    """The log contains it, and no key of the log signed it: it says nothing for the log, and nothing against it."""
    COVERED = "covered"


def rule(
    head: Checkpoint,
    *,
    log: str,
    size: int,
    fits: Callable[[Checkpoint], bool | None],
    signed: Callable[[], bool],
) -> Ruling:
    """Compare *head* with the first *size* records of *log*; an empty name is that of a log that could not be read.

    *fits* tells whether the log's first records are those of a head that is not longer than the log; None if that can't be
    told any more. *signed* tells whether a key of the log signed the head. A head that the log contradicts counts
    whoever signed it: a log that was made again in the place of another has other keys.
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
