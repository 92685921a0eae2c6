"""Which key may sign which heads: the keys that ``admin.key_rotated`` records certify and end (docs/record-format.md section 9).

Pure. A verifier feeds the records in order; what a record certifies is checked with a function that is handed in.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from guardrail.core.note import NoteKey, SignedNote, Verify

__all__ = ["TYPE", "KeyRange", "KeyRanges", "certified_text"]

TYPE = "admin.key_rotated"


def certified_text(log: str, public: str, first: int) -> bytes:
    """Return what the log key signs to certify the epoch key *public* (64 hex) for heads of more than *first* records."""
    return f"guardrail/epoch/1\n{log}\n{public}\n{first}\n".encode()


@dataclass(slots=True)
class KeyRange:
    """From which record to which an epoch key is certified."""

    certified: int
    """Number of the record that certifies it."""
    ended: int | None = None
    """Number of the record that ends it; None where none does."""

    def covers(self, size: int) -> bool:
        """Tell whether a signature by the key on a head of *size* records counts."""
        return self.certified < size and (self.ended is None or size <= self.ended + 1)


class KeyRanges:
    """The keys of one log, as its records certify them."""

    def __init__(self, log: str, public: bytes, verify: Verify) -> None:
        """Begin with the log key *public* (32 bytes) alone."""
        self._log = NoteKey(log, public)
        self._verify = verify
        self.epochs: dict[str, KeyRange] = {}
        """Public key in hex -> its range."""

    def take(self, seq: int, record: Mapping[str, Any]) -> str:
        """Take the ``admin.key_rotated`` record *seq*; return what is wrong with it, or an empty string."""
        detail = record.get("detail")
        if not isinstance(detail, Mapping):
            return "a key rotation without detail"
        problem = self._certify(seq, detail) if detail.get("key") is not None else ""
        if problem:
            return problem
        ended = detail.get("ended")
        for each in ended if isinstance(ended, list) else ():
            public = each.get("public") if isinstance(each, Mapping) else None
            found = self.epochs.get(public) if isinstance(public, str) else None
            if found is not None and found.ended is None:
                found.ended = seq
        return ""

    def _certify(self, seq: int, detail: Mapping[str, Any]) -> str:
        key, first, encoded = detail.get("key"), detail.get("first"), detail.get("certificate")
        public = key.get("public") if isinstance(key, Mapping) else None
        if (
            not isinstance(public, str)
            or not isinstance(encoded, str)
            or not isinstance(first, int)
            or isinstance(first, bool)
            or not 0 <= first <= seq
        ):
            return "a key rotation that is malformed"
        try:
            if bytes.fromhex(public).hex() != public or len(public) != 64:
                return "a key rotation that is malformed"
            signature = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            return "a key rotation that is malformed"
        message = certified_text(self._log.name, public, first)
        if len(signature) != 64 or not self._verify(self._log.public, signature, message):
            return "a key rotation that the log key did not certify"
        self.epochs.setdefault(public, KeyRange(seq))
        return ""

    def signer_of(self, note: SignedNote, size: int) -> str | None:
        """Return whose signature on the head *note* of *size* records counts: ``log``, an epoch key in hex, or None."""
        if note.signed_by(self._log, self._verify):
            return "log"
        for public, reach in self.epochs.items():
            if not reach.covers(size):
                continue
            if note.signed_by(NoteKey(self._log.name, bytes.fromhex(public)), self._verify):
                return public
        return None
