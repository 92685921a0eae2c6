"""Scans many texts in one pass for detector matches and for a session's known values, and maps
each match to its text.

The caller passes a function that is called with the amount of work, roughly in characters, before
that work is done. That function raises an exception if the total exceeds the limit for one view.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from guardrail.core.redaction.detectors.scan import scan
from guardrail.core.redaction.marks import MARK_PREFIX, mask_marks, needs_normalising, normalised
from guardrail.core.redaction.session_memory import Known, Memory
from guardrail.core.redaction.spans import JOINT, Hit, merge_hits

__all__ = [
    "Spend",
    "add_known",
    "add_known_and_names",
    "detect",
    "holds_known",
    "join",
    "scan_all",
    "unmetered",
]

Spend = Callable[[int], None]
"""Called with the amount of work to do, in characters. Raises ``RedactionError`` if the total is
too large.
"""
_AT_ONCE = 4_096
"""Maximum number of characters that are joined and scanned together. A longer text is scanned
separately.
"""
_PER_HIT = 32
_SPELL = 16
"""Number of small steps of work that are reported to *spend* together."""


def unmetered(_: int) -> None:
    """Do nothing: this meter has no limit."""


def scan_all(
    texts: list[str],
    memory: Memory,
    spend: Spend = unmetered,
    detector: Callable[[str, Spend], list[Hit]] = scan,
) -> list[list[Hit]]:
    """Return the hits of *detector* in each text, as if each were scanned alone, and the values
    that *memory* knows. The positions refer to the normalised text.
    """
    out: list[list[Hit]] = [[] for _ in texts]
    texts, joined = join(texts, spend)
    if MARK_PREFIX in joined:
        joined = mask_marks(joined)  # once for both detectors and search
    detect(detector, texts, joined, out, spend)
    if len(memory):
        add_known(texts, joined, memory, out, spend)
    return out


def detect(
    detector: Callable[[str, Spend], list[Hit]],
    texts: list[str],
    joined: str,
    out: list[list[Hit]],
    spend: Spend,
) -> None:
    """Find the hits of *detector* in each of *texts*, as returned by ``join``, and add them to that
    text's list in *out*.

    Large text is scanned in parts. Between them, *spend* can let other threads run or stop the
    scan.
    """
    if len(joined) <= _AT_ONCE:  # this is nearly always the case
        found = detector(joined, spend)
        if found:
            _distribute(found, texts, out, spend)
        return
    for first, last, part in _parts(texts):
        found = detector(part, spend)
        if found:
            _distribute(found, texts[first:last], out[first:last], spend)


def _parts(texts: list[str]) -> Iterator[tuple[int, int, str]]:
    """Yield (first, last, joined) for runs of *texts* that are small enough to be scanned
    together.
    """
    first = 0
    while first < len(texts):
        last, size = first + 1, len(texts[first])
        while last < len(texts) and size + len(texts[last]) < _AT_ONCE:
            size += len(texts[last]) + 1
            last += 1
        yield first, last, JOINT.join(texts[first:last])
        first = last


def join(texts: list[str], spend: Spend) -> tuple[list[str], str]:
    """Return *texts* in the form that detectors read, with no ``JOINT`` inside any of them, and one
    string that joins them all.
    """
    joined = JOINT.join(texts)
    plain = joined.isascii() and "\x01" not in joined and "\x1b" not in joined
    if plain and joined.count(JOINT) < max(1, len(texts)):
        return texts, joined
    out: list[str] = []
    for text in texts:
        if needs_normalising(text):
            spend(len(text))
            out.append(normalised(text))
        else:
            out.append(text)
    return out, JOINT.join(out)


def _distribute(found: list[Hit], texts: list[str], out: list[list[Hit]], spend: Spend) -> None:
    index, start = 0, 0
    end = len(texts[0])
    spend(_PER_HIT * len(found))
    for hit in found:
        while hit.start >= end:
            start = end + 1
            index += 1
            end = start + len(texts[index])
        out[index].append(Hit(hit.start - start, min(hit.end, end) - start, hit.cls, hit.rule))


def holds_known(texts: list[str], memory: Memory, spend: Spend) -> bool:
    """Return True if any of *texts* (ASCII or normalised) contains a value that the session
    knows.
    """
    joined = JOINT.join(texts)
    if len(joined) <= _AT_ONCE:
        return bool(memory.find(joined, spend))
    return any(memory.find(part, spend) for _, _, part in _parts(texts))


def add_known(
    texts: list[str], joined: str, memory: Memory, out: list[list[Hit]], spend: Spend
) -> bool:
    """Add the session's known values in each of *texts* to *out*, except those found there already.

    Return True if there are any.
    """
    met = False
    whole = ((0, len(texts), joined),)
    for first, last, part in whole if len(joined) <= _AT_ONCE else _parts(texts):
        spend(len(part) // _SPELL)
        added = memory.added
        known = memory.find(part, spend)
        if not known:
            if len(part) <= _AT_ONCE:
                memory.mark_clean(texts[first:last], added)
        else:
            met = True
            _add_known_of_part(texts[first:last], part, known, memory, out[first:last], spend)
    return met


def add_known_and_names(  # noqa: PLR0917 - as ``add_known``, and the names
    texts: list[str],
    joined: str,
    names: list[str],
    memory: Memory,
    out: list[list[Hit]],
    spend: Spend,
) -> tuple[bool, bool]:
    """Do the same as ``add_known``, with a single search for texts and *names* if they are short.

    Return two flags: whether there are any known values, and whether one of *names* contains one.
    """
    named = JOINT.join(names)
    if not names or len(joined) + len(named) >= _AT_ONCE:
        met = add_known(texts, joined, memory, out, spend)
        held = bool(names) and holds_known(names, memory, spend)
        return met or held, held
    both = f"{joined}{JOINT}{named}" if texts else named
    spend(len(both) // _SPELL)
    added = memory.added
    known = memory.find(both, spend)
    if not known:
        # Names were searched as they are, and not in their normal form.
        memory.mark_clean(
            (*texts, *(names if named.isascii() else filter(str.isascii, names))), added
        )
        return False, False
    if texts and _is_whole(known, both):
        add_known(texts, joined, memory, out, spend)
        return True, bool(memory.find(named, spend))
    edge = len(both) - len(named)
    mine = [hit for hit in known if hit.start < edge]
    if mine:
        _add_known_of_part(texts, joined, mine, memory, out, spend)
    return True, len(mine) < len(known)


def _add_known_of_part(  # noqa: PLR0917 - one part of the arguments of ``add_known``
    texts: list[str],
    joined: str,
    known: list[Known],
    memory: Memory,
    out: list[list[Hit]],
    spend: Spend,
) -> None:
    if len(texts) > 1 and _is_whole(known, joined):
        # An escaped value causes its whole text to be removed, so that text must be found.
        new = [
            [Hit(hit.start, hit.end, hit.cls, "known") for hit in memory.find(text, spend)]
            for text in texts
        ]
    else:
        new = [[] for _ in texts]
        _distribute([Hit(hit.start, hit.end, hit.cls, "known") for hit in known], texts, new, spend)
    for index, hits in enumerate(new):
        if hits:
            # Values that a detector or an annotation has just made known are found again here. That
            # does not count as a second rule.
            before = out[index]
            fresh = _not_within(hits, before, spend)
            if fresh:
                before[:] = merge_hits([*before, *fresh])


def _is_whole(known: list[Known], text: str) -> bool:
    """Return True if the first hit covers all of *text*, as it does if a known value is hidden
    behind escapes.
    """
    return known[0].start == 0 and known[0].end == len(text)


def _not_within(hits: list[Hit], others: list[Hit], spend: Spend) -> list[Hit]:
    """Return, in one pass, the *hits* that do not lie within any of *others*. Both lists are in
    order and have no overlaps.
    """
    fresh: list[Hit] = []
    at = 0
    spend(_PER_HIT * len(hits))
    for hit in hits:
        while at < len(others) and others[at].end <= hit.start:
            at += 1
        if at == len(others) or not (others[at].start <= hit.start and hit.end <= others[at].end):
            fresh.append(hit)
    return fresh
