"""Signs with a log key that a different program holds, and verifies signatures."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from guardrail.errors import ConfigError, KeysError, os_reason

__all__ = ["CommandSigner", "verify_signature"]

_SIGNER_SECONDS = 10.0


class CommandSigner:
    """A log key held by a different program."""

    def __init__(
        self, command: Sequence[str], public: str, allow: Callable[[], None] = lambda: None
    ) -> None:
        self._command = tuple(command)
        self._allow = allow
        self.public = public

    def sign(self, message: bytes) -> bytes:
        """Return the signer's signature after verifying it. Raises ``KeysError``."""
        try:
            self._allow()
        except ConfigError as error:
            raise KeysError(error.message, code=error.code, hint=error.hint) from None
        import subprocess

        try:
            done = subprocess.run(
                self._command,
                input=message,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                timeout=_SIGNER_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise _signer_error("did not answer in time") from None
        except OSError as error:
            raise _signer_error(f"can't be started ({os_reason(error)})") from None
        if done.returncode != 0:
            raise _signer_error(f"ended with exit code {done.returncode}")
        answer = done.stdout
        for candidate in (answer, _decode_signature(answer)):
            if len(candidate) == 64 and verify_signature(
                bytes.fromhex(self.public), candidate, message
            ):
                return candidate
        raise _signer_error("did not return a signature by the log key")


def _signer_error(what: str) -> KeysError:
    return KeysError(
        f"the signer {what}",
        code="keys.signer",
        hint=(
            "run the command in [keys] signer by hand: it reads the message on stdin and writes "
            "64 bytes or their base64 on stdout"
        ),
    )


def _decode_signature(answer: bytes) -> bytes:
    try:
        return base64.b64decode(answer.strip(), validate=True)
    except (binascii.Error, ValueError):
        return b""


def verify_signature(public: bytes, signature: bytes, message: bytes) -> bool:
    """Return True if *signature* (64 bytes) over *message* was made with the Ed25519 key *public*
    (32 bytes). Never raises.
    """
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True
