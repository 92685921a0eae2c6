"""Proves which calls hold effect keys, and refuses records that the state does not permit.

No table has these facts, so no row can be edited or hidden: each process hashes each line once into
the tree of a signed head, and keeps the keys in it. A decision is compared again in the transaction
that appends it, in which no other process can write.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from guardrail.core.log.effects import EffectStep, HeldKeys, KeyHolder
from guardrail.core.log.merkle import Edge
from guardrail.core.log.record import Draft, decode_or_none
from guardrail.errors import LedgerError
from guardrail.ledger.names import SHORT, LogPosition, hash_existing_lines
from guardrail.ledger.steps import hash_lines
from guardrail.ledger.storage import TreeRows
from guardrail.system.forking import reset_in_children

__all__ = ["EFFECT_BEHIND", "EFFECT_HELD", "EffectKeys", "refused_drafts"]

EFFECT_HELD = "ledger.effect_held"
"""Error code for a decision whose effect key another call holds. Nothing was written."""
EFFECT_BEHIND = "ledger.effect_behind"
"""Error code for a decision whose effect key must be looked up again. Nothing was written."""
_WAIT = 0.1
"""Seconds for which a transaction waits for a reader of this process."""
_OUTCOME = b'"type":"call.outcome"'
_MARKS = (b'"effect":{', b'"type":"admin.resolved"', b'"type":"admin.effects_kept"')


class EffectKeys:
    """The effect keys of one log that are held. Thread-safe, and usable in a forked child.

    Empty until the first look, so a log whose tools declare no effect keys costs nothing.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._edge: Edge | None = None
        """The tree of the lines that have been read, or None before the first look."""
        self._held = HeldKeys()
        reset_in_children(self)

    def reset(self) -> None:
        """Forget everything."""
        self._lock = threading.Lock()
        self._edge, self._held = None, HeldKeys()

    def blocking(self, rows: TreeRows, place: LogPosition, step: EffectStep) -> KeyHolder | None:
        """Return the call up to *place* because of which *step* may not be written, or None.

        Raises ``LedgerError`` if the lines do not match the signed head.
        """
        with self._lock:
            self._reach(rows, place)
            return self._held.blocking(step)

    def holding(self, rows: TreeRows, place: LogPosition, step: EffectStep) -> KeyHolder | None:
        """Return the call up to *place* that holds the key of *step*, or None. Raises
        ``LedgerError``.
        """
        with self._lock:
            self._reach(rows, place)
            return self._held.holder(step.key)

    def below(self, rows: TreeRows, place: LogPosition, seq: int) -> list[KeyHolder]:
        """Return the holders up to *place* with decisions below *seq*. Raises ``LedgerError``."""
        with self._lock:
            self._reach(rows, place)
            return self._held.below(seq)

    def problem(self, rows: TreeRows, end: Edge, step: EffectStep) -> LedgerError | None:
        """Return the reason that *step* can't be written after the records of *end*, or None.

        Call it inside the transaction that writes. Raises ``LedgerError`` if the lines do not match
        *end*.
        """
        behind = LedgerError("the effect key must be looked up again", code=EFFECT_BEHIND)
        if not self._lock.acquire(timeout=_WAIT):
            return behind  # a caller reads the whole log; no other process can write meanwhile
        try:
            known = self._edge
            if known is None or known.size > end.size or end.size - known.size > SHORT:
                return behind
            if known.size < end.size:
                self._follow(rows, end.size, end.encode())
            holder = self._held.holder(step.key)
            if step.resolves is not None:
                wrong = holder is None or holder.seq != step.resolves or holder.state == "running"
            else:
                wrong = self._held.blocking(step) is not None
        finally:
            self._lock.release()
        if wrong:
            return LedgerError("another record has changed the effect key", code=EFFECT_HELD)
        return None

    def _reach(self, rows: TreeRows, place: LogPosition) -> None:
        edge = self._edge
        if edge is not None and edge.size >= place.size:
            return
        if edge is not None and edge.size >= place.begin:
            self._follow(rows, place.size, place.tree)
            return
        held = HeldKeys()
        self._edge = hash_existing_lines(rows, place, lambda line: _take(held, line))
        self._held = held

    def _follow(self, rows: TreeRows, size: int, tree: bytes) -> None:
        assert self._edge is not None
        found: list[bytes] = []

        def look(line: bytes) -> None:
            if _OUTCOME in line or any(mark in line for mark in _MARKS):
                found.append(line)

        # Nothing is taken from lines that turn out not to be those of the head.
        self._edge = hash_lines(rows, self._edge.copy(), size, tree, look)
        for line in found:
            _take(self._held, line)


def _take(held: HeldKeys, line: bytes) -> None:
    if (held.any_running and _OUTCOME in line) or any(mark in line for mark in _MARKS):
        record = decode_or_none(line)
        if record is not None:
            held.take(record)


def refused_drafts(
    rows: TreeRows, drafts: Sequence[Draft], end: Edge, keys: EffectKeys
) -> dict[int, LedgerError]:
    """Return the error for each draft whose effect key does not permit it after the records of
    *end*, keyed by the draft's position.

    Raises ``LedgerError`` (``ledger.unproved``), and any error from *rows*.
    """
    refused: dict[int, LedgerError] = {}
    taken: set[str] = set()
    for place, draft in enumerate(drafts):
        step = draft.effect
        if step is None:
            continue
        problem = keys.problem(rows, end, step)
        if problem is None and step.key in taken:
            # The other draft may still fail, so this one is tried again.
            problem = LedgerError("the effect key must be looked up again", code=EFFECT_BEHIND)
        taken.add(step.key)
        if problem is not None:
            refused[place] = problem
    return refused
