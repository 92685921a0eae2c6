"""A proof that a log contains one record: its line, the audit path to a head, and the signed head,
in one file.

Pure, with only the standard library: the caller passes the function that checks signatures.
docs/record-format.md section 11 describes the file.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from guardrail.core.log.checkpoint import Checkpoint, Cosignature, NoteKey, SignedNote, Verify
from guardrail.core.log.key_epochs import certified_text
from guardrail.core.log.merkle import HASH_BYTES, verify_inclusion
from guardrail.errors import NoteError

__all__ = ["MAX_PROOF", "Certificate", "Proof", "ProofCheck", "Verdict", "check_proof"]

MAX_PROOF = 1 << 20
"""Maximum size of a proof file in bytes. A proof with the longest line, escaped, a full note and a
path of 63 hashes is smaller.
"""
_KIND = "proof/1"
_MAX_PATH = 63
_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Certificate:
    """The log key's certificate for an epoch key (section 9.2)."""

    public: str
    """64 hex."""
    first: int
    signature: bytes

    def good(self, log: NoteKey, size: int, verify: Verify) -> bool:
        """Return True if the key *log* certified this key for heads of *size* records."""
        text = certified_text(log.name, self.public, self.first)
        return self.first < size and verify(log.public, self.signature, text)


@dataclass(frozen=True, slots=True)
class Proof:
    """The contents of a proof file."""

    line: bytes
    index: int
    """Number of the record."""
    path: tuple[bytes, ...]
    """Audit path from its leaf to the root of the head."""
    note: SignedNote
    epoch: Certificate | None = None
    """The certificate of the epoch key that signed the head, or None if the log key signed it."""

    def encode(self) -> bytes:
        """Return the file: one JSON object."""
        epoch = self.epoch
        document = {
            "guardrail": _KIND,
            "epoch": None
            if epoch is None
            else {
                "public": epoch.public,
                "first": epoch.first,
                "certificate": base64.b64encode(epoch.signature).decode("ascii"),
            },
            "head": str(self.note),
            "index": self.index,
            "line": self.line.decode("utf-8"),
            "path": [each.hex() for each in self.path],
        }
        text = json.dumps(document, ensure_ascii=False, indent=1, sort_keys=True)
        return text.encode("utf-8") + b"\n"

    @classmethod
    def parse(cls, raw: bytes) -> Proof:
        """Parse a proof file. Raises ``NoteError``, code ``proof.malformed``."""
        if len(raw) > MAX_PROOF:
            raise _malformed("the file is too long")
        document = _object(raw)
        if document.get("guardrail") != _KIND:
            raise _malformed("the file is not in the format of a proof")
        line, index, path = document.get("line"), document.get("index"), document.get("path")
        if not isinstance(line, str) or type(index) is not int or index < 0:
            raise _malformed("line or index is missing")
        if not isinstance(path, list) or len(path) > _MAX_PATH:
            raise _malformed("the path is missing, or too long")
        if not all(isinstance(each, str) and _HASH.fullmatch(each) for each in path):
            raise _malformed("the path does not consist of hashes")
        head = document.get("head")
        if not isinstance(head, str):
            raise _malformed("the signed head is missing")
        note = SignedNote.parse(head)
        Checkpoint.parse(note.text)
        return cls(
            line.encode("utf-8"),
            index,
            tuple(bytes.fromhex(each) for each in path),
            note,
            _certificate(document.get("epoch")),
        )


class Verdict(StrEnum):
    """The verdict of a check."""

    GOOD = "good"
    """The log contains the record at that position, and the expected key signed its head."""
    NOT_IN_HEAD = "not_in_head"
    """The head does not cover the line at that position."""
    KEY_UNKNOWN = "key_unknown"
    """The head is signed neither by the expected key nor by one that it certified."""


@dataclass(frozen=True, slots=True)
class ProofCheck:
    """The result of ``check_proof``."""

    verdict: Verdict
    detail: str
    """Description of the problem, or an empty string if there is none. It contains no part of the
    record.
    """
    head: Checkpoint
    record: Mapping[str, Any] | None = None
    """The record, or None unless the head covers the line at its position."""
    epoch: str | None = None
    """The epoch key that signed the head, in hex, or None if the log key signed it."""
    cosignatures: tuple[Cosignature, ...] = ()
    """The valid cosignatures by the given witnesses' keys."""


def check_proof(
    proof: Proof, public: bytes, verify: Verify, witnesses: Sequence[NoteKey] = ()
) -> ProofCheck:
    """Check *proof* with the log's *public* key, and check the cosignatures by *witnesses* on its
    head.

    The check does not need a ledger, a network or a clock.
    """
    head = Checkpoint.parse(proof.note.text)
    leaf = hashlib.sha256(b"\x00" + proof.line).digest()
    # (1) The line is the record of that number in the tree that the head names,
    if not verify_inclusion(leaf, proof.index, head.size, proof.path, head.root):
        detail = f"the line is not record {proof.index} of the records that the head covers"
        return ProofCheck(Verdict.NOT_IN_HEAD, detail, head)
    # (2) the line states that number itself,
    record = _record(proof.line)
    if record is None or record.get("seq") != proof.index or record.get("log") != head.origin:
        detail = "the line's number or log does not match its position"
        return ProofCheck(Verdict.NOT_IN_HEAD, detail, head)
    # (3) and the head is signed by the log key, or by a key that this one certified.
    key = _key(head.origin, public)
    epoch = proof.epoch
    if key is None or not proof.note.signed_by(key, verify):
        known = key is not None and epoch is not None and epoch.good(key, head.size, verify)
        mine = _key(head.origin, bytes.fromhex(epoch.public)) if epoch is not None else None
        if not known or mine is None or not proof.note.signed_by(mine, verify):
            detail = "the head is signed neither by the expected key nor by a key that it certified"
            return ProofCheck(Verdict.KEY_UNKNOWN, detail, head, record)
    else:
        epoch = None
    found = [proof.note.cosigned_by(each, verify) for each in witnesses]
    return ProofCheck(
        Verdict.GOOD,
        "",
        head,
        record,
        epoch.public if epoch is not None else None,
        tuple(each for each in found if each is not None),
    )


def _key(name: str, public: bytes) -> NoteKey | None:
    try:
        return NoteKey(name, public)
    except NoteError:
        return None  # a log can't have such a name


def _record(line: bytes) -> Mapping[str, Any] | None:
    try:
        return _object(line)
    except NoteError:
        return None


def _object(raw: bytes) -> dict[str, Any]:
    try:
        value = json.loads(raw.decode("utf-8"), object_pairs_hook=_refuse_repeated_keys)
        if b"\\u" in raw:
            json.dumps(value, ensure_ascii=False).encode("utf-8")  # this finds lone surrogates
    except (ValueError, RecursionError):
        raise _malformed("the file is not JSON") from None
    if not isinstance(value, dict):
        raise _malformed("the file is not a JSON object")
    return value


def _refuse_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError
    return found


def _certificate(value: object) -> Certificate | None:
    if value is None:
        return None
    entries: Mapping[str, Any] = value if isinstance(value, dict) else {}
    public, first, encoded = (entries.get(each) for each in ("public", "first", "certificate"))
    try:
        signature = base64.b64decode(encoded, validate=True) if isinstance(encoded, str) else b""
    except ValueError:
        signature = b""
    if (
        not isinstance(public, str)
        or not _HASH.fullmatch(public)
        or type(first) is not int
        or first < 0
        or len(signature) != 2 * HASH_BYTES
    ):
        raise _malformed("the certificate is malformed")
    return Certificate(public, first, signature)


def _malformed(why: str) -> NoteError:
    return NoteError(
        f"this is not a proof: {why}",
        code="proof.malformed",
        hint="guardrail prove SEQ --out FILE creates a proof",
    )
