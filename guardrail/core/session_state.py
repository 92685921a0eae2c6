"""Computes the state of sessions, principals and agents from the records of their calls.

A policy reads this state as ``input.context.session``, ``input.context.principal_state`` and
``input.context.agent_state``. The state after a record depends only on that record and on the
records before it, so every process computes the same state.

Pure: no clock, no files.
"""

from __future__ import annotations

import zlib
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from guardrail.core.call_tally import NO_CALLS, CallTally, RecentCall
from guardrail.core.joined_states import joined
from guardrail.core.state_changes import change_of
from guardrail.core.state_reads import (
    SESSION,
    CallDecided,
    CallEnded,
    StateKey,
    StateText,
    StateVersion,
)
from guardrail.core.types import Effect, JsonObject

__all__ = ["MOST_SUBJECTS", "MOST_UNPACKED", "CallStates"]

MOST_SUBJECTS = 200_000
"""Maximum number of packed states of sessions, and of those of principals and agents. Beyond that,
the least recently used one is displaced: its calls are no longer counted, and must be denied.
"""
MOST_UNPACKED = 2_048
"""Number of states that are kept ready; the others are kept packed, which takes less memory."""
_NEVER: Final = StateVersion(-1, -1)
_NO_CALL: Final[tuple[tuple[StateKey, ...], str]] = ((), "")


class CallStates:
    """The states after the records that were given to ``take``, in order.

    Not thread-safe. Apart from one number for each state that was displaced, the memory is bounded
    by the number of states.
    """

    def __init__(self, most: int | None = None) -> None:
        """Keep at most *most* packed states, by default ``MOST_SUBJECTS``."""
        self._most = MOST_SUBJECTS if most is None else most
        self._displaced: set[int] = set()
        """The hashes of the keys of displaced states. A state must never begin again: whoever makes
        up enough principals could reset the budget of another.
        """
        self._ready: OrderedDict[StateKey, CallTally] = OrderedDict()
        self._packed: dict[bool, OrderedDict[StateKey, bytes]] = {
            True: OrderedDict(),
            False: OrderedDict(),
        }
        """The states of sessions, and the others: sessions must not displace principals."""
        self._open: dict[str, tuple[tuple[StateKey, ...], str]] = {}
        """The calls without an outcome: their states, and the name of their tool."""
        self._restored: dict[StateKey, int] = {}
        """The states that were restored: they include the records below this number."""

    def __len__(self) -> int:
        return len(self._ready) + sum(map(len, self._packed.values()))

    def text(self, keys: Iterable[StateKey], *, recent: bool = True) -> StateText:
        """Return the state of a subject that has the names *keys* in the records. If *recent* is
        False, the recent calls are left out. It is the same object until the state changes.
        """
        found = [state for key in keys if (state := self._find(key)) is not None]
        if not found:
            return NO_CALLS
        if len(found) == 1:
            return found[0].text(recent=recent)
        return StateText.of(joined([state.text(recent=recent).document for state in found]))

    def document(self, keys: Iterable[StateKey], *, recent: bool = True) -> JsonObject:
        """Return the state that ``text`` returns as a value. It must not be changed."""
        return self.text(keys, recent=recent).document

    def version(self, keys: Iterable[StateKey]) -> StateVersion:
        """Return the version of the state that ``text`` returns."""
        found = [state.version for key in keys if (state := self._find(key)) is not None]
        if not found:
            return _NEVER
        return StateVersion(max(each.admitted for each in found), max(each.any for each in found))

    def is_displaced(self, keys: Iterable[StateKey]) -> bool:
        """Return True if the calls of one of *keys* are no longer counted, because too many others
        have made calls since.
        """
        return bool(self._displaced) and any(hash(key) in self._displaced for key in keys)

    def keys_of(self, call: str) -> tuple[StateKey, ...]:
        """Return the states that the outcome of *call* changes, or nothing if it is not open."""
        return self._open.get(call, _NO_CALL)[0]

    def take(self, record: Mapping[str, Any]) -> None:
        """Advance to the state after *record*, a decoded record of any type."""
        change = change_of(record)
        seq, time = record.get("seq"), record.get("ts")
        if change is not None and isinstance(seq, int):
            self.apply(change, seq, str(time))

    def apply(self, change: CallDecided | CallEnded, seq: int, time: str) -> None:
        """Advance to the state after record *seq*, which makes *change* and was written at
        *time*.
        """
        if isinstance(change, CallDecided):
            call, keys = RecentCall.of(change, time), change.keys
            if self._restored:
                keys = tuple(key for key in keys if seq >= self._restored.get(key, 0))
            for key in keys:
                if not self.is_displaced([key]):
                    self._make(key).decide(change, seq, time, call)
            if change.effect == Effect.ALLOW:
                self._open[change.call] = (*self.keys_of(change.call), *keys), change.tool
            return
        keys, tool = self._open.pop(change.call, _NO_CALL)
        for key in keys:
            state = self._find(key)
            if state is not None:
                state.end(change.call, tool, change.status, seq)

    # -- states that outlive their records ---------------------------------------------------------

    def restore(self, key: StateKey, before: int, fields: Mapping[str, Any]) -> None:
        """Begin the state of *key* with *fields*, a state from ``kept`` that includes the records
        below *before*. Call this before any record is taken. Raises one of ``MALFORMED``.
        """
        made = CallTally.of_kept(fields)
        running = [(str(call), str(tool)) for call, tool in fields["open"]]
        self._keep(key, made)
        self._restored[key] = before
        for call, tool in running:
            self._open[call] = (*self.keys_of(call), key), tool

    def restored(self) -> None:
        """Note that every later record is newer than those that the restored states include."""
        self._restored = {}

    def kept(self) -> Iterator[tuple[StateKey, dict[str, Any]]]:
        """Yield each state without its recent calls, with the calls that are open, for
        ``restore``.
        """
        running: dict[StateKey, list[list[str]]] = {}
        for call, (keys, tool) in self._open.items():
            for key in keys:
                running.setdefault(key, []).append([call, tool])
        packed = (
            (key, CallTally.unpacked(zlib.decompress(each)))
            for part in self._packed.values()
            for key, each in part.items()
        )
        for key, state in (*self._ready.items(), *packed):
            yield key, {**state.kept(), "open": running.get(key, [])}

    # -- keeping the states within memory ----------------------------------------------------------

    def _find(self, key: StateKey) -> CallTally | None:
        state = self._ready.get(key)
        if state is not None:
            self._ready.move_to_end(key)
            return state
        packed = self._packed[key[0] == SESSION].pop(key, None)
        if packed is None:
            return None
        return self._keep(key, CallTally.unpacked(zlib.decompress(packed)))

    def _make(self, key: StateKey) -> CallTally:
        return self._find(key) or self._keep(key, CallTally())

    def _keep(self, key: StateKey, state: CallTally) -> CallTally:
        self._ready[key] = state
        if len(self._ready) > MOST_UNPACKED:
            oldest, idle = self._ready.popitem(last=False)
            packed = self._packed[oldest[0] == SESSION]
            packed[oldest] = zlib.compress(idle.packed(), 1)
            if len(packed) > self._most:
                self._displaced.add(hash(packed.popitem(last=False)[0]))
        return state
