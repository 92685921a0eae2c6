"""Decides which heads are moved from one anchor file to another."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from guardrail.anchors.lines import HeadLine
from guardrail.core.log.checkpoint import Checkpoint
from guardrail.core.log.ruling import Ruling, rule
from guardrail.core.words import counted
from guardrail.errors import AnchorError

__all__ = ["SortedHeads", "sort_heads"]


@dataclass(frozen=True, slots=True)
class SortedHeads:
    """The heads of one log in an anchor file."""

    ours: tuple[HeadLine, ...]
    """Heads that the log's key signed and that the ledger contains, in order."""
    left_out: tuple[Checkpoint, ...]
    """Heads that a different key signed and that the ledger contradicts. Calls are denied while the
    configured file contains such a head.
    """


def sort_heads(
    lines: Iterable[HeadLine],
    *,
    log: str,
    size: int,
    root_of: Callable[[int], bytes | None],
    signed: Callable[[HeadLine], bool],
) -> SortedHeads:
    """Compare the heads of *log* in *lines* with a ledger of *size* records. ``root_of(n)`` returns
    the root of the ledger's first n records.

    Raises ``AnchorError`` (``anchor.conflict``) if the log's key signed a head that the ledger
    contradicts: leaving that head out would hide that the ledger was changed.
    """
    ours: dict[tuple[int, bytes], HeadLine] = {}
    left_out: dict[tuple[int, bytes], Checkpoint] = {}

    def fits(head: Checkpoint) -> bool | None:
        root = root_of(head.size)
        return None if root is None else root == head.root

    for line in lines:
        head = line.head
        if head.origin != log:
            continue
        ruling = rule(head, log=log, size=size, fits=fits, signed=partial(signed, line))
        if ruling is Ruling.COVERED:
            ours.setdefault((head.size, head.root), line)
        elif ruling in (Ruling.TRUNCATED, Ruling.FORKED):
            if signed(line):
                raise AnchorError(
                    f"the file holds a head of {counted(head.size, 'record')} signed by the log's "
                    "key, but the ledger does not continue that head: the ledger was truncated, "
                    "rolled back or changed",
                    code="anchor.conflict",
                    hint=(
                        "guardrail verify; then restore the correct ledger, or run guardrail "
                        "recover, which starts a new log"
                    ),
                )
            left_out.setdefault((head.size, head.root), head)
    return SortedHeads(tuple(ours.values()), tuple(left_out.values()))
