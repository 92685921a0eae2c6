"""The signed head of a log: one row, replaced in every commit.

A head covers every durable record. The row also contains a MAC that only holders of this log's keys
can compute. A writer extends another writer's head only if the MAC is valid, so that no honest
writer signs a forged tail. The caller passes the signing functions; this module does not handle
keys.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hmac import compare_digest
from typing import Protocol

from guardrail.core.log.checkpoint import Checkpoint, HeadSigner, NoteKey, SignedNote
from guardrail.core.log.merkle import Edge
from guardrail.core.log.suspensions import NO_SUSPENSION
from guardrail.errors import NoteError

__all__ = ["HeadKey", "HeadRow", "Signing", "head_problem", "head_signer", "sign_head"]


_MAC = 32
_NUMBER = 8
"""Lengths in bytes of the MAC and of the number after it."""


class HeadKey(Protocol):
    """A key that signs heads, such as ``guardrail.keys.log_key.Ed25519HeadKey``."""

    @property
    def key(self) -> NoteKey:
        """The public half of the key, under the log's name."""

    @property
    def first(self) -> int:
        """The key's certificate applies to heads with more records than this."""

    @property
    def certificate(self) -> str | None:
        """The log key's signature of this key, base64, or None for the log key itself."""

    @property
    def sign(self) -> Callable[[bytes], bytes]:
        """The function that signs a byte string."""


class Signing(Protocol):
    """The key operations that a writer needs. ``guardrail.keys.log_key.LogSigning`` implements
    them.
    """

    @property
    def public(self) -> str:
        """The public half of the log key: 64 hex characters."""

    @property
    def actor(self) -> Mapping[str, str]:
        """The field ``actor`` of the writer's own records."""

    def log_key(self, log: str) -> HeadKey:
        """Return the log key."""

    def epoch_key(self, log: str, first: int) -> HeadKey | None:
        """Return a newly certified key, or None if this writer signs with the log key."""

    def mac(self, message: bytes) -> bytes:
        """Return the MAC of *message*, 32 bytes. Only holders of this log's keys can compute it."""


@dataclass(frozen=True, slots=True)
class HeadRow:
    """The stored row of the table ``head``."""

    size: int
    """Number of records."""
    leaf: bytes
    """Leaf hash of the last record."""
    edge: bytes
    """``core.log.merkle.Edge``, encoded."""
    note: str
    """The signed note."""
    mac: bytes
    """The MAC, followed by the number of the newest record of a suspension in 8 bytes if a
    suspension is in force.
    """

    @property
    def covered(self) -> bytes:
        """The bytes that ``mac`` authenticates."""
        return _covered(self.size, self.leaf, self.edge, self.note, self.suspended)

    @property
    def suspended(self) -> int:
        """Number of the newest record of a suspension, or ``NO_SUSPENSION`` if none is in force."""
        if len(self.mac) != _MAC + _NUMBER:
            return NO_SUSPENSION
        return int.from_bytes(self.mac[_MAC:], "big")

    def has_valid_mac(self, signing: Signing) -> bool:
        """Return True if a holder of this log's keys wrote the row."""
        return compare_digest(self.mac, _mac(signing, self.covered, self.suspended))


def _covered(size: int, leaf: bytes, edge: bytes, note: str, suspended: int) -> bytes:
    covered = b"%d\n%b%b%b" % (size, leaf, edge, note.encode("utf-8"))
    # A note has no U+0000, so no other head has these bytes.
    return covered if suspended == NO_SUSPENSION else b"%b\0%d" % (covered, suspended)


def _mac(signing: Signing, covered: bytes, suspended: int) -> bytes:
    code = signing.mac(covered)
    return code if suspended == NO_SUSPENSION else code + suspended.to_bytes(_NUMBER, "big")


def head_signer(log: str, key: HeadKey) -> HeadSigner:
    """Return a signer for the heads of *log*, which uses *key*. It can sign many heads."""
    return HeadSigner(log, key.key, key.sign)


def sign_head(
    leaf: bytes,
    edge: Edge,
    signer: HeadSigner,
    signing: Signing,
    suspended: int = NO_SUSPENSION,
) -> HeadRow:
    """Return the signed head of the log with the tree *edge* and the last leaf hash *leaf*.
    *suspended* is the number of the newest record of a suspension, if one is in force.

    Raises any exception that the key of *signer* raises.
    """
    note = signer.note(edge.size, edge.root())
    encoded = edge.encode()
    covered = _covered(edge.size, leaf, encoded, note, suspended)
    return HeadRow(edge.size, leaf, encoded, note, _mac(signing, covered, suspended))


def head_problem(head: HeadRow, log: str, signing: Signing) -> str:
    """Return the problem with *head*, which another process wrote for the log *log*, or an empty
    string if there is none.
    """
    if not head.has_valid_mac(signing):
        return "the head was written by someone who does not hold this log's keys"
    try:
        text = SignedNote.parse(head.note).text
        root = Edge.decode(head.size, head.edge).root()
    except (NoteError, ValueError):
        return "the head is malformed"
    if text != Checkpoint(log, head.size, root).text:
        return "the head differs from its row"
    return ""
