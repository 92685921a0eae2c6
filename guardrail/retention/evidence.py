"""Which records a head that is kept elsewhere covers: nothing is deleted before that, or nobody could tell that it was there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from guardrail.anchors.configured import configured
from guardrail.anchors.state import read_state, state_path
from guardrail.anchors.witness import WitnessAnchor
from guardrail.config import Settings
from guardrail.core.note import Checkpoint, NoteKey, SignedNote
from guardrail.errors import AnchorError, NoteError, RetentionError
from guardrail.keys import verify_signature

__all__ = ["kept_heads", "read_checkpoint"]

_MAX_NOTE = 1 << 16


def kept_heads(
    settings: Settings, log: str, public: str, given: Iterable[SignedNote] = ()
) -> list[Checkpoint]:
    """Return the heads of *log* that its key *public* (64 hex) signed, and that an anchor vouches for or someone gave.

    An anchor vouches for what is read back from it, and a witness for what it cosigned. What the ledger's own files say that an anchor
    took is nobody's word: whoever can write the ledger can write them. Raises ``RetentionError`` if an anchor can't be read that
    may hold something else.
    """
    key = NoteKey(log, bytes.fromhex(public))
    notes = [*given, *_of_anchors(settings, key)]
    found = []
    for note in notes:
        try:
            checkpoint = Checkpoint.parse(note.text)
        except NoteError:
            continue
        if checkpoint.origin == log and note.signed_by(key, verify_signature):
            found.append(checkpoint)
    return found


def _of_anchors(settings: Settings, key: NoteKey) -> Iterator[SignedNote]:
    ledger = settings.ledger.path
    anchors = configured(
        settings.anchors,
        ledger=ledger,
        key=key,
        verify=verify_signature,
        certificates=lambda _: (),
    )
    remembered = read_state(state_path(ledger), key.name)
    for anchor in anchors:
        try:
            yield from anchor.heads(key.name)
        except AnchorError as error:
            if not isinstance(anchor, WitnessAnchor):
                raise RetentionError(
                    f"the anchor {anchor.name} can't be read, and nothing is deleted: {error.message}",
                    code="retention.not_anchored",
                    hint=error.hint,
                ) from None
        if isinstance(anchor, WitnessAnchor):
            # It need not be asked: its signature is under the head.
            note = _parsed(remembered.of(anchor.name).note)
            if note is not None and anchor.vouched(note):
                yield note


def _parsed(text: str) -> SignedNote | None:
    try:
        return SignedNote.parse(text) if text else None
    except NoteError:
        return None


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
