"""Which records a head that is kept elsewhere covers: nothing is deleted before that, or nobody could tell that it was there."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from guardrail.anchors.state import read_state, state_path
from guardrail.core.note import Checkpoint, NoteKey, SignedNote
from guardrail.errors import NoteError, RetentionError
from guardrail.keys import verify_signature

__all__ = ["kept_heads", "read_checkpoint"]

_MAX_NOTE = 1 << 16


def kept_heads(
    db: Path, log: str, public: str, given: Iterable[SignedNote] = ()
) -> list[Checkpoint]:
    """Return the heads of *log* that its key *public* (64 hex) signed and that anchors took or someone gave, the largest first."""
    key = NoteKey(log, bytes.fromhex(public))
    notes = list(given)
    for state in read_state(state_path(db), log).anchors.values():
        try:
            if state.note:
                notes.append(SignedNote.parse(state.note))
        except NoteError:
            continue
    found = []
    for note in notes:
        try:
            checkpoint = Checkpoint.parse(note.text)
        except NoteError:
            continue
        if checkpoint.origin == log and note.signed_by(key, verify_signature):
            found.append(checkpoint)
    return sorted(found, key=lambda each: each.size, reverse=True)


def read_checkpoint(path: Path) -> SignedNote:
    """Return the signed head in a file. Raises ``RetentionError``."""
    try:
        with path.open("rb") as source:
            return SignedNote.parse(source.read(_MAX_NOTE + 1))
    except OSError as error:
        raise RetentionError(
            f"the checkpoint can't be read ({error.strerror})", code="retention.checkpoint"
        ) from None
    except NoteError:
        raise RetentionError(
            "the file is no signed head",
            code="retention.checkpoint",
            hint="guardrail checkpoint prints one",
        ) from None
