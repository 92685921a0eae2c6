"""Tracks which key may sign which heads, from the ``admin.key_rotated`` records that certify and
retire keys (docs/record-format.md section 9).

Pure. A verifier passes the records in order; the caller passes the function that checks
certificates.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from guardrail.core.log.checkpoint import NoteKey, SignedNote, Verify

__all__ = ["TYPE", "KeyRange", "KeyRanges", "certified_text"]

TYPE = "admin.key_rotated"
_PUBLIC = re.compile(r"[0-9a-f]{64}")


def certified_text(log: str, public: str, first: int) -> bytes:
    """Return the text that the log key signs to certify the epoch key *public* (64 hex) for heads
    of more than *first* records.
    """
    return f"guardrail/epoch/1\n{log}\n{public}\n{first}\n".encode()


@dataclass(slots=True)
class KeyRange:
    """The range of records for which an epoch key is certified."""

    certified: int
    """Number of the record that certifies the key."""
    ended: int | None = None
    """Number of the record that retires the key, or None if the key has not been retired."""

    def covers(self, size: int) -> bool:
        """Return True if this key may sign a head of *size* records."""
        return self.certified < size and (self.ended is None or size <= self.ended + 1)


class KeyRanges:
    """The keys of one log, as certified by its records."""

    def __init__(self, log: str, public: bytes, verify: Verify) -> None:
        """Start with only the log key, *public* (32 bytes)."""
        self._log = NoteKey(log, public)
        self._verify = verify
        self.epochs: dict[str, KeyRange] = {}
        """The range of each epoch key, by public key in hex."""
        self._ended: dict[str, int] = {}
        """The first record that retires each public key, even if the key's certificate was not
        seen.
        """

    def take(self, seq: int, record: Mapping[str, Any]) -> str:
        """Process the ``admin.key_rotated`` record *seq*. Return a description of its fault, or an
        empty string.
        """
        detail = record.get("detail")
        ended = detail.get("ended") if isinstance(detail, Mapping) else None
        if not isinstance(detail, Mapping) or not isinstance(ended, list):
            return "the key rotation has no detail"
        publics: list[str] = []
        for each in ended:
            public = each.get("public") if isinstance(each, Mapping) else None
            if not isinstance(public, str):
                return "the key rotation is malformed"
            publics.append(public)
        problem = self._certify(seq, detail)
        if problem:
            return problem
        for public in publics:
            first = self._ended.setdefault(public, seq)
            if public in self.epochs:
                self.epochs[public].ended = first
        return ""

    def _certify(self, seq: int, detail: Mapping[str, Any]) -> str:
        key, first, encoded = detail.get("key"), detail.get("first"), detail.get("certificate")
        if key is None:
            unused = first is None and encoded is None
            return "" if unused else "the certificate does not name a key"
        public = key.get("public") if isinstance(key, Mapping) else None
        if (
            not isinstance(public, str)
            or not _PUBLIC.fullmatch(public)
            or key.get("type") != "ed25519"
            or not isinstance(encoded, str)
            or type(first) is not int
            or not 0 <= first <= seq
        ):
            return "the key rotation is malformed"
        try:
            signature = base64.b64decode(encoded, validate=True)
        except ValueError:
            return "the key rotation is malformed"
        if len(signature) != 64 or base64.b64encode(signature).decode() != encoded:
            return "the key rotation is malformed"
        if not self._verify(
            self._log.public, signature, certified_text(self._log.name, public, first)
        ):
            return "the log key did not certify this key rotation"
        self.epochs.setdefault(public, KeyRange(seq, self._ended.get(public)))
        return ""

    def signer_of(self, note: SignedNote, size: int) -> str | None:
        """Return the key that signed *note*, a head of *size* records: ``log``, or an epoch key in
        hex. Return None unless that key was allowed to sign the head.
        """
        if note.signed_by(self._log, self._verify):
            return "log"
        for public, reach in self.epochs.items():
            if not reach.covers(size):
                continue
            if note.signed_by(NoteKey(self._log.name, bytes.fromhex(public)), self._verify):
                return public
        return None
