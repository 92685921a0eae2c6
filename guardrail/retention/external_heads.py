"""Finds external heads and the records that they cover. Only covered records may be deleted,
because no one could prove later that an uncovered record had existed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from guardrail.anchors.anchor import Anchor
from guardrail.anchors.configured import configured
from guardrail.anchors.file import FileAnchor
from guardrail.anchors.state import read_state, state_path
from guardrail.anchors.witness.client import WitnessAnchor
from guardrail.config import Settings
from guardrail.core.log.checkpoint import Checkpoint, NoteKey, SignedNote
from guardrail.core.words import counted
from guardrail.errors import AnchorError, NoteError, RetentionError
from guardrail.keys.log_key import verify_signature
from guardrail.system.input_files import read_input
from guardrail.system.ownership import explain_error

__all__ = ["ExternalHeads", "external_heads", "read_checkpoint"]

_MAX_NOTE = 1 << 16


@dataclass(frozen=True, slots=True)
class ExternalHeads:
    """The heads of a log that are stored outside its ledger."""

    heads: tuple[Checkpoint, ...]
    """Heads that a configured anchor confirms. Only these permit a deletion."""
    named: tuple[Checkpoint, ...]
    """Heads that the user passed and that no anchor confirms. The ledger must not contradict them,
    but they do not permit a deletion.
    """
    doubts: tuple[str, ...]
    """For each rejected head that the user passed, the reason for the rejection."""


def external_heads(
    settings: Settings, log: str, public: str, given: Iterable[SignedNote] = ()
) -> ExternalHeads:
    """Return the heads of *log* that its key *public* (64 hex) signed, from the anchors in
    *settings* and from *given*.

    An anchor vouches for the heads that are read back from it, and a witness vouches for the heads
    that it has cosigned. The ledger's own files about its anchors are not evidence, because anyone
    who can write the ledger can write these files. A head from the user is not evidence either,
    because ``guardrail checkpoint`` prints one for any ledger. Raises ``RetentionError`` if an
    anchor that might hold more heads can't be read.
    """
    key = NoteKey(log, bytes.fromhex(public))
    anchors = configured(
        settings.anchors,
        ledger=settings.ledger.path,
        key=key,
        verify=verify_signature,
        certificates=lambda _: (),
    )
    heads = [
        head
        for note in _heads_of_anchors(settings, anchors, key)
        if (head := _signed_checkpoint(note, key)) is not None
    ]
    named, doubts = [], []
    for note in given:
        head = _signed_checkpoint(note, key)
        if head is None:
            doubts.append("it is not a head of this log that the log's key signed")
        elif any(isinstance(each, WitnessAnchor) and each.is_proved_by(note) for each in anchors):
            heads.append(head)
        elif head not in heads:
            named.append(head)
            doubts.append(_doubt(head, anchors))
    return ExternalHeads(tuple(heads), tuple(named), tuple(doubts))


def _signed_checkpoint(note: SignedNote, key: NoteKey) -> Checkpoint | None:
    """Return the checkpoint in *note* if *key* signed it as a head of the log named in the key,
    otherwise None.
    """
    try:
        found = Checkpoint.parse(note.text)
    except NoteError:
        return None
    return found if found.origin == key.name and note.signed_by(key, verify_signature) else None


def _doubt(head: Checkpoint, anchors: Sequence[Anchor]) -> str:
    """Return the reason that a head passed by the user is rejected."""
    able = [each for each in anchors if isinstance(each, FileAnchor | WitnessAnchor)]
    if not able:
        return (
            "no file or witness in [anchors] has it, and anyone who can write the ledger can "
            "print such a head"
        )
    ways = " and ".join(
        (
            f"{each.name} did not cosign it"
            if isinstance(each, WitnessAnchor)
            else f"the anchor {each.name} does not hold it"
        )
        for each in able
    )
    return f"{ways} (a head of {counted(head.size, 'record')})"


def _heads_of_anchors(
    settings: Settings, anchors: Sequence[Anchor], key: NoteKey
) -> list[SignedNote]:
    found: list[SignedNote] = []
    remembered = read_state(state_path(settings.ledger.path), key.name)
    for anchor in anchors:
        try:
            found += anchor.heads(key.name)
        except AnchorError as error:
            if not isinstance(anchor, WitnessAnchor):
                raise RetentionError(
                    f"the anchor {anchor.name} can't be read, so nothing is deleted:"
                    f" {error.message}",
                    code="retention.not_anchored",
                    hint=error.hint,
                ) from None
        if isinstance(anchor, WitnessAnchor):
            # There is no need to contact the witness, because its signature is part of the head's
            # note.
            note = _parse_note(remembered.of(anchor.name).note)
            if note is not None and anchor.is_proved_by(note):
                found.append(note)
    return found


def _parse_note(text: str) -> SignedNote | None:
    try:
        return SignedNote.parse(text) if text else None
    except NoteError:
        return None


def read_checkpoint(path: Path) -> SignedNote:
    """Return the signed head in a file. Raises ``RetentionError``."""
    try:
        return SignedNote.parse(read_input(path, _MAX_NOTE, text=False))
    except OSError as error:
        why, way = explain_error(error, path)
        raise RetentionError(
            f"{path}: the checkpoint can't be read ({why})", code="retention.checkpoint", hint=way
        ) from None
    except NoteError:
        raise RetentionError(
            "the file is not a signed head",
            code="retention.checkpoint",
            hint="guardrail checkpoint prints a signed head",
        ) from None
