"""Suspends and resumes: writes the records that ``ledger.suspensions`` reads.

Each change is one record in one transaction. If another process changes the suspensions at the same
time, nothing is written, and the change is made again for the new state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from guardrail.core.log.suspensions import (
    MOST_SUSPENSIONS,
    Subject,
    Suspension,
    Suspensions,
)
from guardrail.core.types import Receipt
from guardrail.core.words import counted
from guardrail.errors import LedgerError
from guardrail.ledger.storage import SUSPENSIONS_CHANGED

__all__ = ["NOT_SUSPENDED", "Suspended", "Suspender", "repeat_suspensions"]

NOT_SUSPENDED = "suspension.none"
"""Error code for a subject that is not suspended."""

_TRIES = 100
"""Maximum number of attempts at a change while other processes change the suspensions."""

_State = Suspensions
_Change = tuple[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Suspended:
    """The result of suspending a subject."""

    receipt: Receipt | None
    """Receipt of the new record, or None if an earlier suspension already covers the request."""
    earlier: Suspension | None
    """The suspension of the same subject that was in force before."""
    in_force: int
    """Number of suspensions in force now, including expired ones."""


class Suspender:
    """Changes the suspensions of one log."""

    def __init__(
        self,
        read: Callable[[Suspensions | None], Suspensions],
        record: Callable[[str, Mapping[str, Any]], Receipt],
    ) -> None:
        """*read* returns the proved suspensions in force; it gets an earlier result, or None.
        *record* writes an ``admin.*`` record with the given type and detail, and returns once the
        record is durable.
        """
        self._read_from = read
        self._record = record
        self._known: Suspensions | None = None

    def suspend(
        self, subject: Subject, *, reason: str, until: str | None, now: Callable[[], str]
    ) -> Suspended:
        """Suspend *subject*, until the time *until* if it is given. Every call that a guard admits
        after this returns obeys the suspension.

        A suspension is never shortened: if one is in force that lasts as long, nothing is written.
        Raises ``LedgerError``: ``suspension.limit`` if too many suspensions are in force.
        """
        for _ in range(_TRIES):
            state = self._read()
            earlier = state.of(subject)
            if earlier is not None and earlier.counts_at(now()) and _lasts(earlier, until):
                return Suspended(None, earlier, len(state))
            if earlier is None and len(state) >= MOST_SUSPENSIONS:
                raise LedgerError(
                    f"{counted(MOST_SUSPENSIONS, 'suspension')} are in force, which is the limit",
                    code="suspension.limit",
                    hint="guardrail suspensions",
                )
            receipt = self._write(_suspended(state, subject, earlier, reason, until))
            if receipt is not None:
                return Suspended(receipt, earlier, len(state) + (earlier is None))
        raise _contended()

    def state(self) -> Suspensions:
        """Return the suspensions in force. Raises ``LedgerError``."""
        return self._read()

    def resume(self, subject: Subject, *, reason: str | None) -> tuple[Receipt, Suspension, int]:
        """End the suspension of *subject*. Return the receipt, the suspension, and the number of
        suspensions that are still in force.

        Raises ``LedgerError``: ``suspension.none`` if *subject* is not suspended.
        """
        for _ in range(_TRIES):
            state = self._read()
            found = state.of(subject)
            if found is None:
                raise LedgerError(
                    "this subject is not suspended, so nothing was changed",
                    code=NOT_SUSPENDED,
                    hint="guardrail suspensions",
                )
            receipt = self._write(_resumed(state, found, reason))
            if receipt is not None:
                return receipt, found, len(state) - 1
        raise _contended()

    def move_from(self, before: int, now: str) -> int:
        """Make sure that no suspension in force depends on a record below *before*: repeat each
        such suspension in a new record, or end it if it has expired. Return the number of records
        that were written.

        Each record is complete by itself, so this can be interrupted at any time. Raises
        ``LedgerError``.
        """
        written = 0
        for _ in range(_TRIES + MOST_SUSPENSIONS):
            state = self._read()
            oldest = next(iter(state.in_force), None)
            if oldest is None or oldest.seq >= before:
                return written
            if oldest.counts_at(now):
                change = _suspended(state, oldest.subject, oldest, oldest.reason, oldest.until)
                change[1]["begun"] = _begun(oldest)
            else:
                change = _resumed(state, oldest, None)
            written += self._write(change) is not None
        raise _contended()

    def _read(self) -> Suspensions:
        self._known = self._read_from(self._known)
        return self._known

    def _write(self, change: _Change) -> Receipt | None:
        """Write *change*. Return None if another process has changed the suspensions."""
        try:
            return self._record(*change)
        except LedgerError as error:
            if error.code != SUSPENSIONS_CHANGED:
                raise
            return None


def repeat_suspensions(
    suspensions: Iterable[Suspension],
    record: Callable[[Mapping[str, Any]], Receipt],
    *,
    after: Suspensions | None = None,
) -> None:
    """Repeat *suspensions* in a log in which those of *after* are in force. *record* writes an
    ``admin.suspended`` record with the given detail.
    """
    place = _place(Suspensions() if after is None else after, None)
    previous, first = place["previous"], place["first"]
    for each in suspensions:
        receipt = record(
            {
                "subject": each.subject.document,
                "reason": each.reason,
                "until": each.until,
                "begun": _begun(each),
                "replaces": None,
                "previous": previous,
                "first": first,
            }
        )
        previous = {"seq": receipt.seq, "leaf": receipt.leaf.hex()}
        first = receipt.seq if first is None else first


def _begun(each: Suspension) -> dict[str, Any]:
    who = {"id": each.actor, "assurance": each.assurance}
    return {"seq": each.begun, "ts": each.since, "actor": who}


def _lasts(earlier: Suspension, until: str | None) -> bool:
    return earlier.until is None or (until is not None and until <= earlier.until)


def _suspended(
    state: _State, subject: Subject, earlier: Suspension | None, reason: str, until: str | None
) -> _Change:
    return "suspended", {
        "subject": subject.document,
        "reason": reason,
        "until": until,
        "begun": None,
        "replaces": None if earlier is None else earlier.seq,
        **_place(state, earlier),
    }


def _resumed(state: _State, found: Suspension, reason: str | None) -> _Change:
    return "resumed", {
        "subject": found.subject.document,
        "reason": reason,
        "suspension": found.seq,
        **_place(state, found),
    }


def _place(state: _State, ended: Suspension | None) -> dict[str, Any]:
    standing = len(state) > 0
    return {
        "previous": {"seq": state.version, "leaf": state.leaf} if standing else None,
        "first": state.first_besides(ended),
    }


def _contended() -> LedgerError:
    return LedgerError(
        "other processes keep changing the suspensions; nothing was changed",
        code=SUSPENSIONS_CHANGED,
        hint="try again",
    )
