"""Heads in text form: C2SP signed notes, checkpoints and cosignatures (c2sp.org/signed-note,
tlog-checkpoint, tlog-cosignature).

Pure: the caller passes the functions that sign and verify. A note is the signed text, a blank line,
and signature lines; unknown signatures are preserved, but not used.
"""

from __future__ import annotations

import base64
import binascii
import functools
import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import IntEnum

from guardrail.errors import NoteError

__all__ = [
    "MAX_NOTE",
    "Algorithm",
    "Checkpoint",
    "Cosignature",
    "HeadSigner",
    "NoteKey",
    "NoteSignature",
    "SignedNote",
    "Verify",
    "cosigned_text",
    "is_name",
]

MAX_NOTE = 64 * 1024
"""Maximum size of a note in bytes. A larger note is refused before it is parsed."""
_MAX_SIGNATURES = 100
_EM_DASH = "\u2014"

Verify = Callable[[bytes, bytes, bytes], bool]
"""Called with a public key (32 bytes), a signature (64 bytes) and a message. Returns True if the
key made the signature (Ed25519).
"""


class Algorithm(IntEnum):
    """The algorithm in the first byte of a note key (c2sp.org/signed-note)."""

    ED25519 = 0x01
    """Ed25519 over the text."""
    COSIGNATURE_V1 = 0x04
    """Ed25519 over a time and the text: a witness's signature."""


@dataclass(frozen=True, slots=True)
class NoteKey:
    """A public key, and the name under which its owner signs."""

    name: str
    """The name: not empty, and without white space or ``+``. For the key of a log, this is the
    log's origin.
    """
    public: bytes
    """Ed25519, 32 bytes."""
    algorithm: Algorithm = Algorithm.ED25519

    def __post_init__(self) -> None:
        if not is_name(self.name) or len(self.public) != 32:
            raise NoteError("a key must have 32 bytes, and a name without spaces")

    @property
    def key_id(self) -> bytes:
        """Four bytes of SHA-256 over name, algorithm and key. They identify the key in a signature
        line.
        """
        return _key_id(self.name, self.algorithm, self.public)

    @classmethod
    def parse(cls, text: str) -> NoteKey:
        """Read ``name+hash+base64``, the text form of note keys. Raises ``NoteError``."""
        name, plus, rest = text.strip().partition("+")
        given, second, encoded = rest.partition("+")
        raw = _base64(encoded) if plus and second else b""
        if len(raw) != 33 or raw[0] not in tuple(Algorithm):
            raise NoteError(
                "this is not a note key: expected name+8 hex characters+base64 of type and key"
            )
        key = cls(name, raw[1:], Algorithm(raw[0]))
        if key.key_id.hex() != given.lower():
            raise NoteError("the note key's hash does not match its name and key")
        return key

    def __str__(self) -> str:
        encoded = base64.b64encode(bytes([self.algorithm]) + self.public).decode()
        return f"{self.name}+{self.key_id.hex()}+{encoded}"


@functools.lru_cache(maxsize=64)  # each commit signs with the same key
def _key_id(name: str, algorithm: int, public: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + bytes([algorithm]) + public).digest()[:4]


@dataclass(frozen=True, slots=True)
class NoteSignature:
    """One signature line."""

    name: str
    key_id: bytes
    """4 bytes."""
    signature: bytes
    """The bytes after the key id: 64 for Ed25519; 8 bytes of time and 64 for a cosignature."""

    def __str__(self) -> str:
        encoded = base64.b64encode(self.key_id + self.signature).decode()
        return f"{_EM_DASH} {self.name} {encoded}"


@dataclass(frozen=True, slots=True)
class Cosignature:
    """A valid signature by a witness."""

    name: str
    time: int
    """Time at which the witness saw the head, in seconds since 1970, by the witness's own clock."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The head of a log: the number of records, and the root of the Merkle tree over them
    (c2sp.org/tlog-checkpoint).
    """

    origin: str
    """Name of the log."""
    size: int
    root: bytes
    """32 bytes."""

    @property
    def text(self) -> str:
        """The signed text: three lines, each with a line feed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """Read the text of a checkpoint. Lines after the third are extensions and are ignored.
        Raises ``NoteError``.
        """
        lines = text.split("\n")
        if len(lines) < 4 or lines[-1] or not all(lines[:-1]):
            raise NoteError(
                "this is not a checkpoint: expected origin, size and root on three lines"
            )
        origin, number, encoded = lines[:3]
        if not number.isascii() or not number.isdigit() or number != str(int(number[:20])):
            raise NoteError("the checkpoint's size is not a number")
        root = _base64(encoded)
        if len(root) != 32:
            raise NoteError("the checkpoint's root is not 32 bytes in base64")
        if int(number) >= 1 << 63:
            raise NoteError("the checkpoint's size is out of range")
        return cls(origin, int(number), root)


class HeadSigner:
    """Signs the heads of one log with one key. Everything that does not depend on the head is
    computed once, because every commit signs a head while other writers wait.
    """

    def __init__(self, origin: str, key: NoteKey, sign: Callable[[bytes], bytes]) -> None:
        """*origin* is the name of the log, and *sign* is the private half of *key*."""
        self._origin = f"{origin}\n"
        self._signature = f"\n{_EM_DASH} {key.name} "
        self._key_id = key.key_id
        self._sign = sign

    def note(self, size: int, root: bytes) -> str:
        """Return the signed note for the head with *size* records and *root*, as ``SignedNote``
        encodes it. Raises any exception that *sign* raises.
        """
        text = f"{self._origin}{size}\n{_encoded(root)}\n"
        return f"{text}{self._signature}{_encoded(self._key_id + self._sign(text.encode()))}\n"


def _encoded(value: bytes) -> str:
    return binascii.b2a_base64(value, newline=False).decode("ascii")


@dataclass(frozen=True, slots=True)
class SignedNote:
    """A text and the signatures under it."""

    text: str
    """Ends with a line feed."""
    signatures: tuple[NoteSignature, ...] = ()

    @classmethod
    def sign(cls, text: str, key: NoteKey, sign: Callable[[bytes], bytes]) -> SignedNote:
        """Return *text* signed by the private half of *key*."""
        return cls(text, (NoteSignature(key.name, key.key_id, sign(text.encode())),))

    def with_signatures(self, more: Iterable[NoteSignature]) -> SignedNote:
        """Return the note with *more* signatures added, without duplicates."""
        kept = list(self.signatures)
        kept.extend(each for each in more if each not in kept)
        return SignedNote(self.text, tuple(kept))

    @classmethod
    def parse(cls, raw: bytes | str) -> SignedNote:
        """Read a signed note. Raises ``NoteError``."""
        if len(raw) > MAX_NOTE:
            raise NoteError("the note is too long")
        try:
            whole = raw if isinstance(raw, str) else raw.decode("utf-8")
        except UnicodeDecodeError:
            raise NoteError("the note is not UTF-8") from None
        if any(ord(each) < 0x20 and each != "\n" for each in whole):
            raise NoteError("the note contains control characters")
        head, empty, tail = whole.rpartition("\n\n")
        if not empty or not tail.endswith("\n"):
            raise NoteError(
                "this is not a signed note: expected text, a blank line and signature lines"
            )
        lines = tail[:-1].split("\n")
        if len(lines) > _MAX_SIGNATURES:
            raise NoteError("the note has too many signatures")
        return cls(head + "\n", tuple(_signature(line) for line in lines))

    @classmethod
    def parse_signature_lines(cls, raw: bytes) -> tuple[NoteSignature, ...]:
        """Parse signature lines without their note, as a witness returns them.

        Raises ``NoteError``.
        """
        try:
            lines = raw.decode("utf-8").splitlines()
        except UnicodeDecodeError:
            raise NoteError("the signature lines are not UTF-8") from None
        if len(raw) > MAX_NOTE or len(lines) > _MAX_SIGNATURES:
            raise NoteError("too many signature lines")
        return tuple(_signature(line) for line in lines)

    def __str__(self) -> str:
        return self.text + "\n" + "".join(f"{each}\n" for each in self.signatures)

    def encode(self) -> bytes:
        """Return the note in its stored form, UTF-8."""
        return str(self).encode("utf-8")

    def signed_by(self, key: NoteKey, verify: Verify) -> bool:
        """Return True if the note has a valid Ed25519 signature by *key*."""
        return any(
            verify(key.public, each.signature, self.text.encode())
            for each in self._by(key)
            if len(each.signature) == 64
        )

    def cosigned_by(self, key: NoteKey, verify: Verify) -> Cosignature | None:
        """Return the newest valid cosignature by the witness with *key*, or None."""
        found = None
        for each in self._by(key):
            if len(each.signature) != 72:
                continue
            time = int.from_bytes(each.signature[:8], "big")
            good = verify(key.public, each.signature[8:], cosigned_text(self.text, time))
            if good and (found is None or time > found.time):
                found = Cosignature(key.name, time)
        return found

    def _by(self, key: NoteKey) -> list[NoteSignature]:
        key_id = key.key_id
        return [each for each in self.signatures if each.name == key.name and each.key_id == key_id]


def cosigned_text(text: str, time: int) -> bytes:
    """Return the text that a witness signs to state that it saw the head *text* at *time*, seconds
    since 1970 (c2sp.org/tlog-cosignature).
    """
    return f"cosignature/v1\ntime {time}\n{text}".encode()


def _signature(line: str) -> NoteSignature:
    parts = line.split(" ")
    if len(parts) != 3 or parts[0] != _EM_DASH or not is_name(parts[1]):
        raise NoteError("a signature line is malformed")
    raw = _base64(parts[2])
    if len(raw) < 5:
        raise NoteError("a signature line is malformed")
    return NoteSignature(parts[1], raw[:4], raw[4:])


def is_name(name: str) -> bool:
    """Return True if *name* is allowed in a signature line: it is not empty, and contains no white
    space and no ``+``.
    """
    return bool(name) and "+" not in name and not any(each.isspace() for each in name)


def _base64(text: str) -> bytes:
    """Decode standard base64 with padding; return empty bytes if it is invalid."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""
    return raw if base64.b64encode(raw).decode() == text else b""
