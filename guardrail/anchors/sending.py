"""Sends a head to an anchor, and returns the anchor's new state."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from guardrail.anchors.anchor import Anchor, AnchoredHead
from guardrail.anchors.lock import ProcessLock
from guardrail.anchors.state import (
    AnchorState,
    AnchorStates,
    lock_path,
    read_state,
    state_path,
    write_state,
)
from guardrail.core.log.checkpoint import Checkpoint, SignedNote
from guardrail.errors import AnchorError, GuardrailError

__all__ = [
    "AnchorAnswer",
    "HeadSource",
    "believed_state",
    "failed_state",
    "send_head",
    "send_now",
    "unexpected",
]


class HeadSource(Protocol):
    """The ledger whose heads are anchored."""

    @property
    def log(self) -> str:
        """The log's origin name."""

    def size(self) -> int:
        """Return the number of records. Raises ``GuardrailError``."""

    def head(self) -> SignedNote:
        """Return the head over all records, signed by the log's key. Raises ``GuardrailError``."""

    def prove(self, first: int, size: int) -> Sequence[bytes]:
        """Return the consistency proof. Raises ``GuardrailError``."""

    def signed(self, note: SignedNote) -> bool:
        """Return True if the log's key signed *note*."""

    def heartbeat(self, detail: Mapping[str, Any]) -> None:
        """Write an ``admin.heartbeat`` record; durable when this returns. Raises
        ``GuardrailError``.
        """


@dataclass(frozen=True, slots=True)
class AnchorAnswer:
    """The answer of one anchor."""

    name: str
    state: AnchorState
    """New state of the anchor. Its ``code`` is empty if the anchor accepted the head."""


def send_now(ledger: Path, source: HeadSource, anchors: Sequence[Anchor]) -> Iterator[AnchorAnswer]:
    """Send the newest head to each of *anchors*, and yield their answers.

    Raises ``GuardrailError`` if there is no head.

    The result is written to the state file, unless another process anchors this ledger, because
    that process will find the heads itself.
    """
    lock = ProcessLock(lock_path(ledger), ledger)
    leads = lock.try_acquire()
    try:
        state = believed_state(ledger, source, anchors, time.time())
        note = source.head()
        for anchor in anchors:
            made, note = send_head(anchor, source, note, state.of(anchor.name), time.time())
            state = state.with_anchor(anchor.name, made)
            yield AnchorAnswer(anchor.name, made)
        if leads:
            with contextlib.suppress(OSError):
                write_state(state_path(ledger), state)
    finally:
        lock.release()


def send_head(
    anchor: Anchor, source: HeadSource, note: SignedNote, each: AnchorState, now: float
) -> tuple[AnchorState, SignedNote]:
    """Send *note*. Return the anchor's new state, and the note with any signature that was added,
    for the next anchors.
    """
    try:
        made = _publish(anchor, source, note, each.known)
    except GuardrailError as error:
        return failed_state(each, error, now), note
    except Exception as error:  # noqa: BLE001 - a border: one anchor's defect is not to keep heads from the others
        return failed_state(each, unexpected(error), now), note
    state = AnchorState(size=made.size, time=made.time, note=str(made.note), tried=now)
    if made.note.text != note.text:
        return state, made.note
    return state, note.with_signatures(made.note.signatures)


def unexpected(error: Exception) -> AnchorError:
    """Return the error for an exception that is not an ``AnchorError``, which no anchor raises on
    purpose.
    """
    return AnchorError(
        f"anchoring failed unexpectedly ({type(error).__name__})",
        code="anchor.failed",
        hint=(
            "please report this; guardrail retries automatically; to retry now, run guardrail"
            " anchor"
        ),
    )


def failed_state(each: AnchorState, error: GuardrailError, now: float) -> AnchorState:
    """Return the state of an anchor after *error* at the time *now*."""
    return replace(
        each,
        behind=each.behind if each.behind is not None else now,
        failures=each.failures + 1,
        code=error.code,
        message=error.message,
        hint=error.hint,
        tried=now,
    )


def believed_state(
    ledger: Path, source: HeadSource, anchors: Sequence[Anchor], now: float
) -> AnchorStates:
    """Return the part of the stored state that its signed notes prove, because anyone could have
    written the file.
    """
    state = read_state(state_path(ledger), source.log, now=now)
    for anchor in anchors:
        each = state.of(anchor.name)
        if each.size and not _is_proved(anchor, source, each):
            state = state.with_anchor(anchor.name, replace(each, size=0, note="", behind=0.0))
    return state


def _is_proved(anchor: Anchor, source: HeadSource, each: AnchorState) -> bool:
    known = each.known
    if known is None or (known.origin, known.size) != (source.log, each.size):
        return False
    note = SignedNote.parse(each.note)
    return source.signed(note) and anchor.is_proved_by(note)


def _publish(
    anchor: Anchor, source: HeadSource, note: SignedNote, known: Checkpoint | None
) -> AnchoredHead:
    """Send *note* to *anchor*. If the anchor already holds a larger head, send a newer head once.

    Raises ``GuardrailError``.
    """
    try:
        return anchor.publish(note, source.prove, known)
    except AnchorError as error:
        if error.code != "anchor.conflict":
            raise
        # Another process or a person may have sent a newer head meanwhile, so only a mismatch with
        # the newest head is a conflict.
        newest = source.head()
        if newest.text == note.text:
            raise
        return anchor.publish(newest, source.prove, known)
