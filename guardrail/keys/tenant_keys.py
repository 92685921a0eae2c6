"""The keyed functions of a tenant, which make tokens, marks and commitments."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from collections.abc import Iterable

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

__all__ = ["Commitment", "TenantKeys", "derive"]

_TOKEN_BYTES = 15
_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
_PAIRS = [high + low for high in _ALPHABET for low in _ALPHABET]


class TenantKeys:
    """The keyed functions of one tenant. Two tenants never share a token for the same value."""

    __slots__ = ("_classes", "_commitment", "_kid", "_master")

    def __init__(self, master: bytes, tenant: str, kid: str) -> None:
        self._master = derive(
            master, b"guardrail/tenant/1/" + tenant.encode("utf-8", "surrogatepass")
        )
        self._kid = kid
        self._commitment = hmac.new(
            derive(self._master, b"guardrail/commitment/1"), digestmod=hashlib.sha256
        )
        self._classes: dict[str, tuple[str, bytes]] = {}
        """For each class, the prefix of its tokens and its key."""

    @property
    def kid(self) -> str:
        """Name of the token key, as it appears in every token."""
        return self._kid

    def token(self, cls: str, value: str) -> str:
        """Return ``gr1:<cls>:<kid>:<24 characters>``, equal for equal values of one class
        (docs/record-format.md section 5).
        """
        found = self._classes.get(cls)
        if found is None:
            key = derive(self._master, f"guardrail/token/1/{cls}/{self._kid}".encode())
            found = self._classes[cls] = (f"gr1:{cls}:{self._kid}:", key)
        digest = hmac.digest(found[1], value.encode("utf-8", "surrogatepass"), "sha256")
        return found[0] + _base32(digest[:_TOKEN_BYTES])

    @staticmethod
    def mark(class_: str) -> str:
        """Return ``gr1:<class>:-:<24 random characters>``, which shows that something was removed,
        and nothing else about it.
        """
        return (
            f"gr1:{class_}:-:" + base64.b32encode(os.urandom(_TOKEN_BYTES)).decode("ascii").lower()
        )

    def commitment(self, parts: Iterable[bytes]) -> Commitment:
        """Return the commitment over *parts*. It can be extended, so that the parts that many calls
        share are hashed once.
        """
        return Commitment(self._commitment.copy()).extended(parts)


class Commitment:
    """An HMAC-SHA-256, under a tenant's commitment key, over several parts. Each part is preceded
    by its length (8 bytes, big endian).
    """

    __slots__ = ("_state",)

    def __init__(self, state: hmac.HMAC) -> None:
        self._state = state

    def extended(self, parts: Iterable[bytes]) -> Commitment:
        """Return the commitment over this one's parts, followed by *parts*."""
        state = self._state.copy()
        state.update(
            b"".join([piece for part in parts for piece in (len(part).to_bytes(8, "big"), part)])
        )
        return Commitment(state)

    def hexdigest(self) -> str:
        """Return the commitment as 64 hex characters."""
        return self._state.hexdigest()


def _base32(fifteen: bytes) -> str:
    """Return 15 bytes as RFC 4648 base32 in lower case: 24 characters, looked up two at a time."""
    number = int.from_bytes(fifteen, "big")
    return "".join([_PAIRS[number >> shift & 1023] for shift in range(110, -1, -10)])


def derive(key: bytes, info: bytes) -> bytes:
    """Return 32 bytes derived from *key* for the purpose *info*."""
    # RFC 5869 without salt, because the input is 32 uniformly random bytes, or derived from them.
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=info).derive(key)
