"""Keys other than the log's own: a witness's key, and the trusted certificates for timestamps.

This module is for programs that do not have a log. Like ``guardrail.keys.log_key``, it imports
``cryptography``.
"""

from __future__ import annotations

import stat
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from guardrail.core.log.checkpoint import (
    Algorithm,
    NoteKey,
    NoteSignature,
    SignedNote,
    cosigned_text,
)
from guardrail.errors import ConfigError, KeysError, NoteError, os_reason
from guardrail.system.disk import is_full, make_room, why_not_written
from guardrail.system.durable import sync_directory, write_private
from guardrail.system.input_files import read_input

__all__ = ["WitnessKey", "certificates"]

_PRIVATE = "witness.key"
_PUBLIC = "witness.pub"
_MAX_FILE = 1 << 20
"""Maximum size in bytes of a file with a key or certificates."""


class WitnessKey:
    """A witness's key, with the name under which it signs."""

    def __init__(self, name: str, private: Ed25519PrivateKey) -> None:
        """Sign with *private* under *name*. Raises ``NoteError`` if the name is not valid for a
        key.
        """
        self._private = private
        self.key = NoteKey(name, private.public_key().public_bytes_raw(), Algorithm.COSIGNATURE_V1)
        """The public half, in the form that logs pin."""

    @classmethod
    def create(cls, folder: Path, name: str) -> WitnessKey:
        """Create a new key in *folder*, and sync it to disk before returning. The folder is
        created if necessary, and its mode is set to 0700. Existing keys are never overwritten.

        Raises ``KeysError``.
        """
        try:
            made = cls(name, Ed25519PrivateKey.generate())
        except NoteError:
            raise KeysError(
                "a witness's name must not contain spaces or +",
                code="keys.name",
                hint="use a name such as witness.example.com/1",
            ) from None
        pem = made._private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if any(folder.iterdir()):
                raise KeysError(
                    f"{folder} is not empty; keys are never overwritten",
                    code="keys.exist",
                    hint="choose a new or empty folder",
                )
            folder.chmod(0o700)
            write_private(folder / _PRIVATE, pem)
            write_private(folder / _PUBLIC, f"{made.key}\n".encode())
            for each in (folder, folder.parent):
                sync_directory(each)
        except OSError as error:
            raise KeysError(
                f"{folder}: the keys can't be created ({why_not_written(error, folder)})",
                code="keys.create",
                hint=make_room(folder) if is_full(error, folder) else "",
            ) from None
        return made

    @classmethod
    def load(cls, folder: Path) -> WitnessKey:
        """Read the key in *folder*. Raises ``KeysError`` if it is missing, malformed, or readable
        by others.
        """
        malformed = KeysError(
            f"{folder}: the key is malformed, or its halves do not match",
            code="keys.malformed",
            hint="restore the folder from a backup; without one, create a new witness",
        )
        private_pem, public = _read(folder / _PRIVATE), _read(folder / _PUBLIC)
        try:
            private = serialization.load_pem_private_key(private_pem, password=None)
            pinned = NoteKey.parse(public.decode("utf-8"))
        except (ValueError, TypeError, UnsupportedAlgorithm, NoteError):
            raise malformed from None
        if not isinstance(private, Ed25519PrivateKey):
            raise malformed
        made = cls(pinned.name, private)
        if made.key != pinned:
            raise malformed
        return made

    def cosign(self, text: str, time: int) -> SignedNote:
        """Return *text* with a cosignature stating that it was seen at *time*, seconds since
        1970.
        """
        signature = self._private.sign(cosigned_text(text, time))
        line = NoteSignature(self.key.name, self.key.key_id, time.to_bytes(8, "big") + signature)
        return SignedNote(text, (line,))


def certificates(path: Path) -> list[x509.Certificate]:
    """Return the certificates in *path* (PEM). Raises ``ConfigError`` if there are none or the file
    can't be read.
    """
    try:
        return x509.load_pem_x509_certificates(read_input(path, _MAX_FILE))
    except (OSError, ValueError) as error:
        why = (
            os_reason(error)
            if isinstance(error, OSError)
            else "it contains no certificate in PEM format"
        )
        raise ConfigError(
            f"{path}: can't read any certificates ({why})",
            code="config.anchor_tls",
            hint=(
                "set [anchors] tsa_root to the file with the timestamping authority's root "
                "certificate"
            ),
        ) from None


def _read(path: Path) -> bytes:
    try:
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise KeysError(
                f"{path}: others can read it", code="keys.exposed", hint=f"chmod 600 {path}"
            )
        return read_input(path, _MAX_FILE, text=False)
    except FileNotFoundError:
        raise KeysError(
            f"{path}: the key is missing",
            code="keys.missing",
            hint="guardrail witness init --db FILE --key FOLDER --name NAME",
        ) from None
    except OSError as error:
        raise KeysError(
            f"{path}: can't be read ({os_reason(error)})", code="keys.unreadable"
        ) from None
