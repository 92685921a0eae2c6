"""Compares the external heads of a log with the remaining records, and counts the records that the
heads cover. Pure functions.

Recovery records the last of these heads as the predecessor, because the ledger's files alone can't
show that a log was truncated or lost.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from guardrail.core.words import agree, counted

__all__ = ["Judged", "KnownHead", "family", "generation", "is_earlier", "judge", "next_name"]


@dataclass(frozen=True, slots=True)
class KnownHead:
    """An authenticated head: signed by a key of its log, or held by an anchor."""

    source: str
    """``memory``, ``anchor NAME`` or ``backup``."""
    log: str
    size: int
    root: bytes
    public: str = ""
    """The public log key, hex, if the source names it, otherwise an empty string."""
    binding: bool = True
    """True if guardrail refuses a ledger that contradicts this head. False for a backup, because a
    backup may belong to any log.
    """
    roots: Mapping[int, bytes] = field(default_factory=dict)
    """For a backup: the roots of its trees, by size."""

    @property
    def document(self) -> dict[str, object]:
        """The recorded form of the head."""
        return {"log": self.log, "size": self.size, "root": self.root.hex()}


@dataclass(frozen=True, slots=True)
class Judged:
    """The result of comparing the known heads with the records that remain."""

    last: KnownHead | None = None
    """The last known head, if it covers records that are missing from this ledger or differ from
    its records.
    """
    proven: int = 0
    """Number of records, in this ledger or in a backup, that an external head covers."""
    kept: int = 0
    """Number of records of the ledger's log, in this ledger or in a backup, that no head
    contradicts.
    """
    problem: str = ""
    """Description of the head that the ledger contradicts, or an empty string if there is none."""


def judge(
    known: Sequence[KnownHead],
    *,
    log: str,
    public: str,
    size: int,
    roots: Mapping[int, bytes],
    predecessor: str | None = None,
) -> Judged:
    """Compare *known* with a ledger of *size* good records of *log*. *public* is the log's key, and
    *roots* are the roots of its trees.

    If the ledger can't be read at all, *log* is empty, and no head is contradicted. *predecessor*
    is the name of the earlier log in line 0, or empty; it is None if no holder of the keys signed a
    head of *log*. Heads of earlier logs with the same key do not contradict the ledger.
    """
    if predecessor is not None:
        known = [
            each
            for each in known
            if each.public not in ("", public) or not is_earlier(each.log, log, predecessor)
        ]
    last = max(known, key=lambda each: (generation(each.log), each.size), default=None)
    if last is None:
        return Judged(kept=size)
    binding = [each for each in known if each.binding]
    problem = next(
        (text for each in binding if (text := _contradiction(each, log, public, size, roots))), ""
    )
    same = not log or log == last.log
    here = dict(roots) if log == last.log else {}
    backups = [each for each in known if not each.binding and each.log == last.log]
    heads = [each for each in known if each.log == last.log]
    proven = max(
        (
            head.size
            for head in heads
            for tree in (here, *(each.roots for each in backups))
            if tree.get(head.size) == head.root and head.binding
        ),
        default=0,
    )
    forked = any(_is_contradicted(each, here) for each in binding if each.log == last.log)
    of_ours = proven if forked else (size if log == last.log else 0)
    copies = [
        each.size
        for each in backups
        if not any(_is_contradicted(one, each.roots) for one in binding)
    ]
    newer = not same or forked or last.size > size
    return Judged(last if newer else None, proven, max(of_ours, *copies, 0), problem)


def _contradiction(
    head: KnownHead, log: str, public: str, size: int, roots: Mapping[int, bytes]
) -> str:
    """Describe how the ledger contradicts *head*. Return an empty string if it does not, or if
    there is no ledger.
    """
    told = f"{head.source} holds a head of {counted(head.size, 'record')} of the log {head.log}"
    if not log:
        return ""
    if head.log != log:
        return f"{told}, but this is the log {log}"
    if head.public and public and head.public != public:
        return f"{told}, but this log has a different key"
    if head.size > size:
        return (
            f"{told}, and {size:,} {agree(size, 'is')} here unchanged: the ledger was truncated, "
            "changed or rolled back"
        )
    if _is_contradicted(head, roots):
        return f"{told}, but the ledger's first records differ: the ledger was changed or forked"
    return ""


def _is_contradicted(head: KnownHead, roots: Mapping[int, bytes]) -> bool:
    root = roots.get(head.size)
    return root is not None and root != head.root


# -- names ----------------------------------------------------------------------------------------


def family(log: str) -> str:
    """Return the log's name before its first recovery: ``NAME`` for ``NAME~3``."""
    name, mark, number = log.rpartition("~")
    return name if mark and _counts(number) else log


def generation(log: str) -> int:
    """Return the generation of a log, based on its name: 1 for ``NAME``, 2 for ``NAME~2``."""
    _, mark, number = log.rpartition("~")
    return int(number) if mark and _counts(number) else 1


def is_earlier(one: str, log: str, predecessor: str = "") -> bool:
    """Return True if *log* continues the earlier log *one*, according to their names or to the
    *predecessor* in line 0 of *log*.

    After a recovery, anchors still hold heads of the earlier log. They do not contradict the log
    that continues it.
    """
    if not log or one == log:
        return False
    if family(one) == family(log):
        return generation(one) < generation(log)
    return family(one) == family(predecessor) and generation(one) <= generation(predecessor)


def _counts(number: str) -> bool:
    return number.isascii() and number.isdigit() and len(number) < 10


def next_name(log: str, used: Iterable[str] = ()) -> str:
    """Return the name of the log that continues *log*: the first of ``NAME~2``, ``NAME~3``, ...
    that follows all *used* names.

    The name must be new. Otherwise, anchors of the old log would treat the new log as a truncated
    or forked copy.
    """
    base = family(log)
    taken = [generation(each) for each in (log, *used) if family(each) == base]
    return f"{base}~{max(taken) + 1}"
