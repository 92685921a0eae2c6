"""The log key, and the folder of keys.

A key folder (mode 0700) holds ``log.key`` (Ed25519, PKCS 8 PEM), ``log.pub`` (its public half, 64
hex characters) and ``tokens.key`` (``guardrail.keys.token_keys``), each with mode 0600. Anyone who
can read the folder can compute tokens and sign heads, so the people whose actions are recorded must
not have access to it. Back it up: without the token key, tokens can no longer be looked up.

If a *signer* is set, the log key is stored elsewhere, such as in a KMS or a program that a
different user runs. The folder then contains no ``log.key``: the signer command reads the bytes to
sign from its standard input and writes the signature to its standard output.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from guardrail.core.log.checkpoint import NoteKey
from guardrail.core.log.key_epochs import certified_text
from guardrail.core.redaction.normal_forms import NORMAL_FORM
from guardrail.errors import KeysError
from guardrail.keys.command_signer import CommandSigner, verify_signature
from guardrail.keys.key_files import check_mode, read_key
from guardrail.keys.tenant_keys import TenantKeys, derive
from guardrail.keys.token_keys import TokenSecrets
from guardrail.system.disk import is_full, make_room, why_not_written
from guardrail.system.durable import sync_directory, write_private
from guardrail.system.ownership import denial_of, new_folder

__all__ = [
    "NAMES_FILE",
    "TOKENS_FILE",
    "Ed25519HeadKey",
    "Keys",
    "LogSigning",
    "discard_new_keys",
    "verify_signature",
]

_LOG_KEY = "log.key"
# RFC 8410 section 7: the start of the DER form of an Ed25519 private key. The 32 bytes of the key
# follow.
_PKCS8 = bytes.fromhex("302e020100300506032b657004220420")
_PEM = re.compile(
    rb"-----BEGIN PRIVATE KEY-----\n([A-Za-z0-9+/]{64})\n-----END PRIVATE KEY-----\n?"
)
_LOG_PUBLIC = "log.pub"
TOKENS_FILE = "tokens.key"
"""File in a key folder with the keys of tokens."""
NAMES_FILE = "log.names"
"""File in a key folder with the names that the log had before each restart."""


def discard_new_keys(folder: Path) -> None:
    """Remove the keys that this process has just created in *folder*, if their log could not be
    created. Otherwise, they would look like the keys of a lost log.
    """
    with contextlib.suppress(OSError):
        for name in (_LOG_KEY, _LOG_PUBLIC, TOKENS_FILE):
            (folder / name).unlink(missing_ok=True)
        folder.rmdir()


def _create_error(folder: Path, error: OSError) -> KeysError:
    missing = denial_of(error, folder)
    why = why_not_written(error, folder) if missing is None else missing.what
    room = make_room(folder) if is_full(error, folder) else ""
    return KeysError(
        f"{folder}: the keys can't be created ({why})",
        code="keys.create",
        hint=room if missing is None else missing.hint,
    )


class Ed25519HeadKey:
    """A key that signs the heads of one log, under the log's name."""

    __slots__ = ("certificate", "first", "key", "sign")

    def __init__(
        self,
        key: NoteKey,
        sign: Callable[[bytes], bytes],
        *,
        first: int = 0,
        certificate: str | None = None,
    ) -> None:
        self.key = key
        self.sign = sign
        """Returns the signature of its argument: Ed25519, 64 bytes. If this is the log key, it may
        raise ``KeysError``.
        """
        self.first = first
        self.certificate = certificate
        """The certificate by the log key, in base64 (docs/record-format.md section 9.2), or None
        for the log key itself, which needs none.
        """


class LogSigning:
    """The key operations that a writer needs: head keys, and the MAC by which writers recognise
    each other's heads.
    """

    def __init__(
        self, keys: Keys, *, actor: Mapping[str, str], epochs: bool, master: bytes
    ) -> None:
        """Use ``Keys.signing`` instead."""
        self.actor = actor
        """The writer's actor, for ``admin.key_rotated`` records."""
        self._keys = keys
        self._epochs = epochs
        self._mac = hmac.new(derive(master, b"guardrail/head/1"), digestmod=hashlib.sha256)

    @property
    def public(self) -> str:
        """The log key's public half: 64 hex characters."""
        return self._keys.public

    def log_key(self, log: str) -> Ed25519HeadKey:
        """Return the log key as a head key. If a signer holds the key, the signer creates each
        signature.
        """
        return Ed25519HeadKey(NoteKey(log, bytes.fromhex(self._keys.public)), self._keys.signer())

    def epoch_key(self, log: str, first: int) -> Ed25519HeadKey | None:
        """Return a new key, held in memory only, that the log key certifies for heads of more than
        *first* records.

        Returns None if this writer signs with the log key. Raises ``KeysError`` if the signer
        fails.
        """
        if not self._epochs and not self._keys.remote:
            return None
        private = Ed25519PrivateKey.generate()
        key = NoteKey(log, private.public_key().public_bytes_raw())
        signature = self._keys.signer()(certified_text(log, key.public.hex(), first))
        certificate = base64.b64encode(signature).decode("ascii")
        return Ed25519HeadKey(key, private.sign, first=first, certificate=certificate)

    def mac(self, message: bytes) -> bytes:
        """Return HMAC-SHA-256 of *message*, 32 bytes, under a key that only holders of the token
        key can derive.
        """
        state = self._mac.copy()
        state.update(message)
        return state.digest()


class Keys:
    """The keys of one log."""

    def __init__(
        self,
        log_key: Ed25519PrivateKey | CommandSigner,
        secrets: TokenSecrets,
        file: Path | None = None,
    ) -> None:
        """Use ``create``, ``load`` or ``ephemeral`` instead."""
        self._log_key = log_key
        self._secrets = secrets
        self._file = file
        self._stamp = _stamp(file)
        self._tenants: dict[tuple[str, int], TenantKeys] = {}
        self.public = (
            log_key.public
            if isinstance(log_key, CommandSigner)
            else log_key.public_key().public_bytes_raw().hex()
        )
        """The log key's public half: 64 hex characters."""

    @classmethod
    def ephemeral(cls, seed: bytes | None = None) -> Keys:
        """Return keys that are never written to disk, for tests. The same *seed* of 32 bytes gives
        the same keys.
        """
        log_key = (
            Ed25519PrivateKey.generate()
            if seed is None
            else Ed25519PrivateKey.from_private_bytes(seed)
        )
        master = os.urandom(32) if seed is None else hashlib.sha256(seed).digest()
        return cls(log_key, TokenSecrets.single(master, NORMAL_FORM))

    @classmethod
    def create(
        cls,
        folder: Path,
        *,
        signer: Sequence[str] = (),
        public: str = "",
        allow: Callable[[], None] = lambda: None,
        like: Path | None = None,
    ) -> Keys:
        """Create and sync new keys in *folder* (mode 0700), for the owner of the ledger *like*.

        If a *signer* command is given, *public* is the public half of the log key that the signer
        holds, and no log key is created here. Raises ``KeysError`` if the folder exists and is not
        empty: keys are never overwritten.
        """
        if folder.is_symlink():
            raise KeysError(
                f"{folder} is a symbolic link: new keys would be created elsewhere",
                code="keys.linked",
                hint=f"remove the link: rm {folder}",
            )
        try:
            new_folder(folder, like)
            if any(folder.iterdir()):
                raise KeysError(
                    f"{folder} is not empty; keys are never overwritten",
                    code="keys.exist",
                    hint="choose a new or empty folder",
                )
            folder.chmod(0o700)
            log_key: Ed25519PrivateKey | CommandSigner
            if signer:
                log_key = CommandSigner(
                    signer, _check_public(public, "the signer's public key"), allow
                )
            else:
                from cryptography.hazmat.primitives import serialization

                log_key = Ed25519PrivateKey.generate()
                pem = log_key.private_bytes(
                    serialization.Encoding.PEM,
                    serialization.PrivateFormat.PKCS8,
                    serialization.NoEncryption(),
                )
                write_private(folder / _LOG_KEY, pem, like)
            secrets = TokenSecrets.new()
            public = cls(log_key, secrets).public
            secrets = secrets.of_log(public)
            write_private(folder / _LOG_PUBLIC, public.encode("ascii") + b"\n", like)
            write_private(folder / TOKENS_FILE, secrets.text(), like)
            keys = cls(log_key, secrets, folder / TOKENS_FILE)
            sync_directory(folder)
            sync_directory(folder.parent)
        except OSError as error:
            discard_new_keys(folder)
            raise _create_error(folder, error) from None
        return keys

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        signer: Sequence[str] = (),
        allow: Callable[[], None] = lambda: None,
    ) -> Keys:
        """Read the keys in *folder*. With a *signer* command, only the public half of the log key
        is read.

        *allow* is called each time before the command is started, and raises ``ConfigError`` if the
        command must not be started.

        Raises ``KeysError`` if keys are missing, malformed, or readable by others.
        """
        check_mode(folder, 0o077, f"chmod 700 {folder}", folder=True)
        try:
            secrets, stamp = _read_secrets(folder / TOKENS_FILE)
            log_key: object
            if signer:
                text = read_key(folder / _LOG_PUBLIC).decode("ascii").strip()
                log_key = CommandSigner(
                    signer, _check_public(text, f"{folder / _LOG_PUBLIC}"), allow
                )
            else:
                log_key = _private_key(read_key(folder / _LOG_KEY))
        except (ValueError, KeyError, TypeError, UnsupportedAlgorithm):
            raise KeysError(
                f"{folder}: a key file is malformed",
                code="keys.malformed",
                hint="restore the folder from a backup",
            ) from None
        if not isinstance(log_key, Ed25519PrivateKey | CommandSigner):
            raise KeysError(
                f"{folder}: a key file contains the wrong kind of key",
                code="keys.malformed",
                hint="restore the folder from a backup",
            )
        keys = cls(log_key, secrets, folder / TOKENS_FILE)
        keys._stamp = stamp
        if secrets.log not in ("", keys.public):
            # With them, the heads of this log would look like those of a forger.
            raise KeysError(
                f"{folder}: {TOKENS_FILE} belongs to a different log than the log key",
                code="keys.mixed",
                hint=f"restore {TOKENS_FILE} from the newest backup of this folder",
            )
        return keys

    @property
    def remote(self) -> bool:
        """True if a signer command holds the log key."""
        return isinstance(self._log_key, CommandSigner)

    @property
    def secrets(self) -> TokenSecrets:
        """The keys of tokens, as they are in the key folder now."""
        self._refresh()
        return self._secrets

    def tenant(self, tenant: str) -> TenantKeys:
        """Return the keyed functions of *tenant*; always the same object, until another process
        replaces the key of tokens.
        """
        self._refresh()
        epoch = self._secrets.epoch
        found = self._tenants.get((tenant, epoch.number))
        if found is None:
            made = TenantKeys(self._secrets.master, tenant, epoch)
            found = self._tenants.setdefault((tenant, epoch.number), made)
        return found

    def _refresh(self) -> None:
        """Read the keys of tokens again if their file was replaced. If they can't be read now, the
        previous ones remain in use.
        """
        stamp = _stamp(self._file)
        if stamp == self._stamp or stamp is None or self._file is None:
            return
        try:
            fresh = TokenSecrets.parse(read_key(self._file))
        except (KeysError, ValueError, KeyError, TypeError):
            return
        if fresh.master == self._secrets.master:
            # A session that began before keeps its key, so only new sessions use the new one.
            self._secrets, self._stamp, self._tenants = fresh, stamp, {}

    def signer(self) -> Callable[[bytes], bytes]:
        """Return a function that signs bytes with the log key (Ed25519, 64 bytes).

        That function raises ``KeysError`` if a signer command holds the key and fails.
        """
        return self._log_key.sign

    def signing(self, *, actor: Mapping[str, str], epochs: bool) -> LogSigning:
        """Return the keys with which a writer signs heads.

        If *epochs* is True, the writer signs with its own key, which the log key certifies.
        Otherwise the writer, such as a short command, signs with the log key, unless a signer
        command holds that key. *actor* is the writer's actor.
        """
        return LogSigning(self, actor=actor, epochs=epochs, master=self._secrets.master)


def _stamp(file: Path | None) -> tuple[int, int, int] | None:
    """Return values that change if *file* is replaced, or None if there is no file."""
    try:
        found = None if file is None else os.stat(file)
    except OSError:
        return None
    return None if found is None else (found.st_ino, found.st_mtime_ns, found.st_size)


def _read_secrets(file: Path) -> tuple[TokenSecrets, tuple[int, int, int] | None]:
    """Return the keys of tokens in *file*, and its stamp from before it was read. If another
    process replaces the file in the meantime, and overwrites the old one, it is read again.

    Raises ``KeysError``, ``ValueError``, ``KeyError`` or ``TypeError``.
    """
    while True:
        stamp = _stamp(file)
        try:
            return TokenSecrets.parse(read_key(file)), stamp
        except (ValueError, KeyError, TypeError):
            if _stamp(file) == stamp:
                raise


def _private_key(pem: bytes) -> object:
    """Return the private key in *pem*. Raises ``ValueError``, ``TypeError`` or
    ``UnsupportedAlgorithm``.
    """
    match = _PEM.fullmatch(pem)
    der = b"" if match is None else base64.b64decode(match[1])
    if len(der) == len(_PKCS8) + 32 and der.startswith(_PKCS8):
        return Ed25519PrivateKey.from_private_bytes(der[len(_PKCS8) :])
    # This import loads the code for every kind of key, which takes longer than most commands.
    from cryptography.hazmat.primitives import serialization

    return serialization.load_pem_private_key(pem, password=None)


def _check_public(text: str, what: str) -> str:
    try:
        if len(bytes.fromhex(text)) == 32:
            return text.lower()
    except ValueError:
        pass
    raise KeysError(
        f"{what}: a public key must be 64 hex characters",
        code="keys.malformed",
        hint="use the public half of the signer's Ed25519 key",
    )
