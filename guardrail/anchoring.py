"""Signs a ledger's heads for its anchors and for this machine's memory of heads."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from guardrail.anchors.anchor import Anchor, check_follows
from guardrail.anchors.memory import HeadMemory, RememberedHead, memory_of
from guardrail.config import Settings
from guardrail.core.log.checkpoint import Checkpoint, NoteKey, SignedNote
from guardrail.core.log.merkle import consistency_proof
from guardrail.core.words import counted
from guardrail.errors import AnchorError, KeysError, LedgerError, LedgerOpenError, NoteError
from guardrail.keys.log_key import NAMES_FILE, LogSigning, verify_signature
from guardrail.ledger.forks import unforked
from guardrail.ledger.reader import LedgerReader
from guardrail.ledger.tree import node_reader

__all__ = [
    "CONTRADICTIONS",
    "LedgerHeads",
    "anchors_at",
    "anchors_of",
    "check_memory",
    "check_missing",
    "is_signed",
    "keep_in_memory",
    "remembered_head",
    "renew_memory",
    "stored_head",
    "stored_names",
]


CONTRADICTIONS = frozenset(
    f"ledger.{state}" for state in ("missing", "replaced", "rolled_back", "forked")
)
"""Codes of ``LedgerOpenError`` for a ledger that contradicts the head that this machine
remembers.
"""


class LedgerHeads:
    """The heads of one ledger, signed with its log key, which is the only key that a witness needs.

    Each read opens its own connection to the file.
    """

    def __init__(
        self,
        path: Path,
        log: str,
        signing: LogSigning,
        append: Callable[[str, Mapping[str, Any]], object] | None = None,
    ) -> None:
        """*append* writes an ``admin.*`` record with a type and a detail. If it is None, no
        heartbeats are written.
        """
        self._path = path
        self._signing = signing
        self._append = append
        self._newest: SignedNote | None = None
        self.log = log

    def size(self) -> int:
        """Return the number of records. Raises ``LedgerError``."""
        with unforked(), LedgerReader.open(self._path) as reader:
            return reader.size()

    def head(self) -> SignedNote:
        """Return the head stored in the ledger, signed with the log key.

        Raises ``LedgerError`` if the head is missing, or if it was not written by a holder of this
        log's keys, because signing it would endorse a forged head. Raises ``KeysError`` if the
        signer fails.
        """
        text = self._stored_text()
        if self._newest is None or self._newest.text != text:
            key = self._signing.log_key(self.log)
            self._newest = SignedNote.sign(text, key.key, key.sign)
        return self._newest

    def checkpoint(self) -> Checkpoint:
        """Return the head stored in the ledger as a checkpoint, without a new signature. Raises
        ``LedgerError``.
        """
        return Checkpoint.parse(self._stored_text())

    def _stored_text(self) -> str:
        with unforked(), LedgerReader.open(self._path) as reader:
            row = reader.storage.head()
        if row is None or not row.has_valid_mac(self._signing):
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
                "the ledger's head belongs to a different log",
                code="ledger.head",
                hint="guardrail verify",
            )
        return text

    def prove(self, first: int, size: int) -> Sequence[bytes]:
        """Return the consistency proof between the trees of *first* and *size* records. Raises
        ``LedgerError``.
        """
        with unforked(), LedgerReader.open(self._path) as reader, reader.snapshot():
            try:
                return consistency_proof(first, size, node_reader(reader.storage))
            except ValueError:
                raise LedgerError(
                    "the ledger does not have enough records for this proof",
                    code="ledger.proof",
                    hint="guardrail verify",
                ) from None

    def signed(self, note: SignedNote) -> bool:
        """Return True if the log key signed *note*."""
        return note.signed_by(self._signing.log_key(self.log).key, verify_signature)

    def heartbeat(self, detail: Mapping[str, Any]) -> None:
        """Write an ``admin.heartbeat`` record. Raises ``LedgerError``."""
        if self._append is not None:
            self._append("heartbeat", detail)


def stored_head(reader: LedgerReader) -> SignedNote | None:
    """Return the signed note stored in the ledger, without verifying it, or None if it is missing
    or malformed.
    """
    row = reader.storage.head()
    try:
        note = None if row is None else SignedNote.parse(row.note)
        if note is not None:
            Checkpoint.parse(note.text)
    except NoteError:
        return None
    return note


def anchors_of(settings: Settings, signing: LogSigning, log: str) -> list[Anchor]:
    """Return the anchors configured in *settings*. Raises ``ConfigError``."""
    from guardrail.anchors.configured import configured

    return configured(
        settings.anchors,
        ledger=settings.ledger.path,
        key=signing.log_key(log).key,
        verify=verify_signature,
        certificates=_certificates,
    )


def anchors_at(settings: Settings, public: str, log: str) -> list[Anchor]:
    """Return the anchors configured in *settings*, opened for reading. *public* is the key of
    *log*. Raises ``ConfigError``.
    """
    from guardrail.anchors.configured import configured

    return configured(
        settings.anchors,
        ledger=settings.ledger.path,
        key=NoteKey(log, bytes.fromhex(public)),
        verify=verify_signature,
        certificates=lambda _: (),
        deadline=5.0,
    )


def stored_names(settings: Settings) -> list[str]:
    """Return the names of logs that recoveries have stored with the keys, oldest first, or an empty
    list if they can't be read.
    """
    try:
        return (settings.key_path / NAMES_FILE).read_text("utf-8").splitlines()
    except (OSError, ValueError):
        return []


def is_signed(note: SignedNote, log: str, public: str) -> bool:
    """Return True if the key *public* (hex) of *log* signed *note*."""
    try:
        return note.signed_by(NoteKey(log, bytes.fromhex(public)), verify_signature)
    except (NoteError, ValueError):
        return False


def remembered_head(settings: Settings) -> RememberedHead | None:
    """Return the head of the ledger that this machine remembers, or None if there is none or it
    can't be read.
    """
    return _read_memory(memory_of(settings.anchors, settings.ledger.path, verify_signature))


def _certificates(path: Path) -> Sequence[Any]:
    from guardrail.keys.anchor_keys import certificates

    return certificates(path)


def check_memory(settings: Settings, signing: LogSigning) -> None:
    """Raise ``LedgerOpenError`` if the ledger exists and contradicts the head remembered on this
    machine.

    The code is ``ledger.replaced``, ``ledger.rolled_back`` or ``ledger.forked``. Nothing is raised
    if the memory is unreadable, because ``doctor`` reports that, or if the ledger is unreadable or
    has keys other than *signing*, because opening the ledger reports both.
    """
    memory = memory_of(settings.anchors, settings.ledger.path, verify_signature)
    remembered = _read_memory(memory)
    if memory is None or remembered is None:
        return
    try:
        with LedgerReader.open(settings.ledger.path) as reader:
            log, key = reader.log, reader.genesis.get("key")
        public = key.get("public") if isinstance(key, Mapping) else None
        if (log, public) != (remembered.key.name, remembered.key.public.hex()):
            raise _memory_error(
                memory, remembered, "replaced", f"the ledger contains a different log, {log}"
            )
        if public == signing.public:
            _compare(settings, memory, remembered, signing)
    except LedgerError as error:
        if isinstance(error, LedgerOpenError) and error.code in CONTRADICTIONS:
            raise


def _compare(
    settings: Settings, memory: HeadMemory, remembered: RememberedHead, signing: LogSigning
) -> None:
    heads = LedgerHeads(settings.ledger.path, remembered.key.name, signing)
    head = heads.checkpoint()
    if head.size < remembered.head.size:
        raise _memory_error(
            memory,
            remembered,
            "rolled_back",
            f"the ledger has only {counted(head.size, 'record')}: it was truncated or rolled back",
        )
    try:
        check_follows(remembered.head, head, heads.prove)
    except AnchorError:
        raise _memory_error(
            memory,
            remembered,
            "forked",
            "the ledger's first records differ: it was changed or forked",
        ) from None


def check_missing(settings: Settings) -> None:
    """Raise ``LedgerOpenError`` (``ledger.missing``) if this machine remembers a ledger that no
    longer exists.
    """
    memory = memory_of(settings.anchors, settings.ledger.path, verify_signature)
    remembered = _read_memory(memory)
    if memory is not None and remembered is not None and not settings.ledger.path.exists():
        raise _memory_error(memory, remembered, "missing", f"{settings.ledger.path} does not exist")


def keep_in_memory(settings: Settings, signing: LogSigning, log: str) -> None:
    """Remember the current head of the ledger, whose log is *log*, if this machine remembers heads
    and the memory can be written. Used after a command has changed a ledger: a copy from before, in
    which a suspension is missing, is then refused.
    """
    memory = memory_of(settings.anchors, settings.ledger.path, verify_signature)
    if memory is None:
        return
    heads = LedgerHeads(settings.ledger.path, log, signing)
    # The change itself is durable. Another process may have stored a larger head meanwhile.
    with contextlib.suppress(AnchorError, LedgerError, KeysError):
        memory.keep(heads.head(), signing.log_key(log).key, heads.prove)


def renew_memory(settings: Settings, signing: LogSigning) -> None:
    """Replace the remembered head with the ledger's current head. Used after ``recover`` has
    recorded that the log was interrupted.

    Raises ``LedgerError``, ``KeysError``, and ``AnchorError`` if the memory can't be written.
    """
    memory = memory_of(settings.anchors, settings.ledger.path, verify_signature)
    if memory is not None:
        with LedgerReader.open(settings.ledger.path) as reader:
            log = reader.log
        note = LedgerHeads(settings.ledger.path, log, signing).head()
        memory.replace(note, signing.log_key(log).key)


def _read_memory(memory: HeadMemory | None) -> RememberedHead | None:
    try:
        return None if memory is None else memory.read()
    except AnchorError:
        return None


def _memory_error(
    memory: HeadMemory, remembered: RememberedHead, state: str, found: str
) -> LedgerOpenError:
    return LedgerOpenError(
        f"this machine remembers {remembered.describe()} at {remembered.path}, and {found}",
        code=f"ledger.{state}",
        hint=(
            "put the ledger back, or run guardrail recover, which records the interruption; if "
            f"it was removed on purpose: guardrail anchor forget {memory.path}"
        ),
    )
