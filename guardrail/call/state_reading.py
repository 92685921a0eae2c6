"""Reads the states of the caller's session, principal and agent for the policy, and lets calls that
compete for one state take turns.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Collection, Mapping
from concurrent.futures import Future
from typing import TYPE_CHECKING

from guardrail.call.attempts import new_attempt
from guardrail.call.journal import Journal
from guardrail.call.stages import Decided, DeniedEarly, Prepared, Request
from guardrail.core import decision as decisions
from guardrail.core.state_reads import (
    AGENT,
    PRINCIPAL,
    RECENT,
    SECTIONS,
    SESSION,
    CallerStates,
    ReadStates,
    StateKey,
    StateText,
)
from guardrail.core.types import Cause, Json
from guardrail.errors import LedgerError
from guardrail.identity.session import SessionState
from guardrail.ledger.session_states import STATE_BEHIND, STATE_CHANGED
from guardrail.system.forking import reset_in_children
from guardrail.system.waiting import Steps, Wait

if TYPE_CHECKING:
    from guardrail.policy.engine import PoliciesInUse

__all__ = [
    "MOST_DECISIONS",
    "Queues",
    "StateReader",
    "StateTurn",
    "recorded_states",
    "widest_subject",
]

MOST_DECISIONS = 5
"""Maximum number of times that one call is decided because its states have changed."""
_DISPLACED = (
    "guardrail no longer has the earlier calls of this caller in memory, because too many others"
    " have made calls since"
)
_PATIENCE = 600.0
"""Minimum number of seconds to wait for the ledger: the first read in a process computes the states
from the whole ledger.
"""


class StateReader:
    """Reads the states that the policies of one guard read. Thread-safe."""

    def __init__(self, journal: Journal, policies: PoliciesInUse) -> None:
        self._journal = journal
        self._policies = policies
        self.queues = Queues()
        """The calls that wait for their turn."""

    def begin(self, request: Request) -> Request:
        """Return *request* with the states that the record of its decision will change. If no
        policy reads states, return it unchanged.
        """
        if not self._policies.state_reads:
            return request
        return request._replace(states=CallerStates({}, ReadStates(_changes(request.state))))

    def read(self, request: Request) -> Steps[Request]:
        """Return *request* with the states that the policies read. Raises ``LedgerError``."""
        wanted = self._policies.state_reads
        if not wanted:
            return request
        states = self._journal.ledger.states
        if not states.is_followed:
            yield from self._read_ledger()
        subjects = request.state.subjects
        # Policies that a reload has just replaced may have read no states.
        changes = (
            _changes(request.state) if request.states is None else request.states.reads.changes
        )
        read: dict[str, tuple[StateKey, ...]] = {
            name: subjects[name] for name in SECTIONS if name in wanted
        }
        documents, versions, displaced = states.read(read, recent=RECENT in wanted)
        return request._replace(
            states=CallerStates(documents, ReadStates(changes, versions), wanted, displaced)
        )

    def require_current(self, prepared: Prepared) -> None:
        """Raise ``DeniedEarly`` if the call was decided too often on a state that had changed, or
        if a state that the policies read is no longer in memory. Raise ``LedgerError``
        (``ledger.state_changed``) unless the call has the states that the policies read now: they
        may have been replaced since. Call it after the engine was chosen, because a reload replaces
        the engine last.
        """
        request, wanted = prepared.request, self._policies.state_reads
        if request.outdated >= MOST_DECISIONS:
            denied = decisions.denied(Cause.CONTENTION, "state")
            raise DeniedEarly(Decided(prepared, denied))
        if request.states is not None and request.states.displaced:
            denied = decisions.denied(Cause.CONTENTION, "displaced", message=_DISPLACED)
            raise DeniedEarly(Decided(prepared, denied))
        if wanted and (request.states is None or not request.states.wanted >= wanted):
            raise LedgerError("the policies read other states now", code=STATE_CHANGED)

    def next_attempt(self, request: Request, problem: LedgerError) -> Steps[Request]:
        """Return the next attempt at a call whose decision was outdated (``OUTDATED``). Raises
        ``LedgerError``.
        """
        if problem.code == STATE_BEHIND:
            yield from self._read_ledger()
        return new_attempt(request, outdated=request.outdated + 1)

    def _read_ledger(self) -> Steps[None]:
        """Compute the states up to the end of the log. Raises ``LedgerError``."""
        look = self._journal.requests.read_states
        yield from self._journal.look_up(look, patience=_PATIENCE)

    def turn(self, request: Request) -> StateTurn:
        """Return the place of *request* among the calls that compete for the same state."""
        return StateTurn(self.queues, widest_subject(request.state, self._policies.state_reads))


def _changes(state: SessionState) -> tuple[StateKey, ...]:
    """Return the states that the record of a decision in the session *state* changes."""
    return tuple(key for names in state.subjects.values() for key in names)


def widest_subject(state: SessionState, wanted: Collection[str]) -> StateKey | None:
    """Return the subject with the most calls among the *wanted* sections, or None if none is
    wanted.
    """
    if not wanted:
        return None
    for section in (AGENT, PRINCIPAL, SESSION):
        if section in wanted:
            return state.subjects[section][0]
    return None


def recorded_states(
    states: Mapping[str, StateText], state: SessionState
) -> Mapping[str, StateText]:
    """Return *states* without the values that the session knows to be sensitive now. It is the same
    object if nothing had to be removed.

    The states come from earlier records, and the session may have learned of a value since.
    """
    if not state.memory.added:
        return states
    made: dict[str, StateText] = {}
    for name, each in states.items():
        recent = each.document["recent"]
        shown = [_shown(entry, state) for entry in recent] if isinstance(recent, list) else []
        made[name] = each if shown == recent else StateText.of({**each.document, "recent": shown})
    return states if made == states else made


def _shown(entry: Json, state: SessionState) -> Json:
    targets = entry.get("target") if isinstance(entry, dict) else None
    if not isinstance(entry, dict) or not isinstance(targets, list):
        return entry
    shown = [state.text(each) if isinstance(each, str) else each for each in targets]
    return entry if shown == targets else {**entry, "target": shown}


class Queues:
    """The calls that wait for their turn, by the state that they compete for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.waiting: dict[StateKey, deque[Future[None]]] = {}
        reset_in_children(self)

    def reset(self) -> None:
        """Forget the calls that wait: those of a parent process do not exist in its child."""
        self._lock, self.waiting = threading.Lock(), {}

    def join(self, key: StateKey, *, always: bool) -> Future[None] | None:
        """Return a future that is done when it is the caller's turn, or None if nobody waits for
        *key* and *always* is False.
        """
        with self._lock:
            queue = self.waiting.get(key)
            if queue is None:
                if not always:
                    return None
                queue = self.waiting[key] = deque()
            place: Future[None] = Future()
            queue.append(place)
            if queue[0] is place:
                place.set_result(None)
            return place

    def leave(self, key: StateKey, place: Future[None]) -> None:
        """Give up *place*. If it was the first, it is the next caller's turn."""
        with self._lock:
            queue = self.waiting.get(key)
            if queue is None or place not in queue:
                return
            queue.remove(place)
            if not queue:
                del self.waiting[key]
            elif not queue[0].done():
                queue[0].set_result(None)


class StateTurn:
    """The place of one call among those that compete for one state.

    A call that was refused because a state had changed waits until the calls before it are
    recorded. While calls wait, a new call waits behind them.
    """

    __slots__ = ("_key", "_place", "_queues")

    def __init__(self, queues: Queues, key: StateKey | None) -> None:
        self._queues = queues
        self._key = key
        self._place: Future[None] | None = None

    def wait(self, deadline: float, *, refused: bool) -> Steps[None]:
        """Wait for the turn, at most *deadline* seconds, if calls wait for the state, or if
        *refused* says that this call was refused.
        """
        if self._key is None or self._place is not None:
            return
        self._place = self._queues.join(self._key, always=refused)
        if self._place is None or self._place.done():
            return
        try:
            yield Wait(self._place, deadline)
        except TimeoutError:
            return  # the call ahead is slow; comparing the versions still keeps the decision exact

    def leave(self) -> None:
        """Let the next call have its turn."""
        if self._key is not None and self._place is not None:
            self._queues.leave(self._key, self._place)
