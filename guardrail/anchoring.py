"""The ledger, its keys and its anchors brought together: what a guard starts, and what the commands use."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guardrail.anchors.anchor import Anchor
from guardrail.anchors.configured import configured
from guardrail.anchors.schedule import AnchorWatch
from guardrail.config import Settings
from guardrail.core.merkle import consistency_proof
from guardrail.core.note import Checkpoint, SignedNote
from guardrail.errors import LedgerError, NoteError
from guardrail.keys import Signing, verify_signature
from guardrail.ledger.heads import node_reader, read_head
from guardrail.ledger.reader import LedgerReader

if TYPE_CHECKING:
    from guardrail.journal import Journal
    from guardrail.keys import Keys

__all__ = ["LedgerHeads", "anchor_watch", "anchors_of", "stored_head"]


class LedgerHeads:
    """The heads of one ledger, signed by its log key, so that a witness needs to know no other.

    Reads the file with a connection for each look.
    """

    def __init__(
        self,
        path: Path,
        log: str,
        signing: Signing,
        append: Callable[[str, Mapping[str, Any]], object] | None = None,
    ) -> None:
        """*append* writes an ``admin.*`` record of a type with a detail; without it there is no heartbeat."""
        self._path = path
        self._signing = signing
        self._append = append
        self._newest: SignedNote | None = None
        self.log = log

    def size(self) -> int:
        """Return how many records there are. Raises ``LedgerError``."""
        with LedgerReader.open(self._path) as reader:
            return reader.size()

    def head(self) -> SignedNote:
        """Return the head that the ledger holds, signed by the log key.

        Raises ``LedgerError`` where it is missing, or no holder of this log's keys wrote it: signing it would vouch for a forged
        end. Raises ``KeysError`` where a signer does not sign.
        """
        with LedgerReader.open(self._path) as reader:
            row = read_head(reader.execute)
        if row is None or not row.written_by_a_holder(self._signing):
            raise LedgerError(
                "the ledger's head is missing, or was written without this log's keys",
                code="ledger.head",
                hint="guardrail verify",
            )
        try:
            text = SignedNote.parse(row.note).text
            found = Checkpoint.parse(text)
        except NoteError:
            found = None
        if found is None or found.origin != self.log:
            raise LedgerError(
                "the ledger's head is that of another log",
                code="ledger.head",
                hint="guardrail verify",
            )
        if self._newest is None or self._newest.text != text:
            key = self._signing.log_key(self.log)
            self._newest = SignedNote.sign(text, key.key, key.sign)
        return self._newest

    def prove(self, first: int, size: int) -> Sequence[bytes]:
        """Return the consistency proof from *first* to *size* records. Raises ``LedgerError``."""
        with LedgerReader.open(self._path) as reader, reader.snapshot():
            try:
                return consistency_proof(first, size, node_reader(reader.execute))
            except ValueError:
                raise LedgerError(
                    "the ledger has not enough records for this proof",
                    code="ledger.proof",
                    hint="guardrail verify",
                ) from None

    def signed(self, note: SignedNote) -> bool:
        """Tell whether the log key signed *note*."""
        return note.signed_by(self._signing.log_key(self.log).key, verify_signature)

    def heartbeat(self, detail: Mapping[str, Any]) -> None:
        """Record ``admin.heartbeat``. Raises ``LedgerError``."""
        if self._append is not None:
            self._append("heartbeat", detail)


def stored_head(reader: LedgerReader) -> SignedNote | None:
    """Return the signed note that the ledger holds, unverified; None where there is none, or it is malformed."""
    row = read_head(reader.execute)
    try:
        note = None if row is None else SignedNote.parse(row.note)
        if note is not None:
            Checkpoint.parse(note.text)
    except NoteError:
        return None
    return note


def anchors_of(settings: Settings, signing: Signing, log: str) -> list[Anchor]:
    """Return the anchors that *settings* ask for. Raises ``ConfigError``."""
    return configured(
        settings.anchors,
        ledger=settings.ledger.path,
        key=signing.log_key(log).key,
        verify=verify_signature,
        certificates=_certificates,
    )


def _certificates(path: Path) -> Sequence[Any]:
    from guardrail.anchor_keys import certificates

    return certificates(path)


def anchor_watch(settings: Settings, journal: Journal, keys: Keys) -> AnchorWatch:
    """Return what anchors the ledger of *journal* beside its calls. Raises ``ConfigError``."""
    from guardrail.journal import actor

    signing = keys.signing(actor=actor(), epochs=False)
    anchors = anchors_of(settings, signing, journal.log)
    heads = LedgerHeads(settings.ledger.path, journal.log, signing, journal.admin)
    return AnchorWatch(settings.ledger.path, heads, anchors, settings.anchors)
