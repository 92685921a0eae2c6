"""The keyed functions of a tenant, which make tokens, marks and commitments."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NoReturn

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from guardrail.core.redaction.normal_forms import normal_form
from guardrail.keys.token_keys import TokenEpoch, TokenSecrets, kid_of

__all__ = ["ClassTokens", "Commitment", "TenantKeys", "class_tokens", "derive", "live_tokens"]

_TOKEN_BYTES = 15
_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
_PAIRS = [high + low for high in _ALPHABET for low in _ALPHABET]
_LOW = (1 << 60) - 1
_BLOCK = 64
_INNER_PAD = bytes(octet ^ 0x36 for octet in range(256))
_OUTER_PAD = bytes(octet ^ 0x5C for octet in range(256))

if TYPE_CHECKING:
    from hashlib import _Hash


class ClassTokens:
    """Makes the tokens of one tenant with one key. Two tenants never share a token."""

    __slots__ = ("_classes", "_secret", "kid", "normal")

    def __init__(self, secret: bytes, kid: str, normal: int) -> None:
        """*secret* is derived for the tenant. *normal* is the version of the normal form."""
        self._secret = secret
        self.kid = kid
        """Name of the key, as it appears in every token."""
        self.normal = normal
        self._classes: dict[str, tuple[str, _Hash, _Hash]] = {}
        """For each class, the prefix of its tokens and its keyed HMAC states (RFC 2104): the inner
        and the outer hash. A copied state saves half of the work for a short value.
        """

    def token(self, cls: str, value: str) -> str:
        """Return the token of *value* in its normal form."""
        return self.exact(cls, normal_form(self.normal, cls, value))

    def exact(self, cls: str, value: str) -> str:
        """Return ``gr1:<cls>:<kid>:<24 characters>``, equal for equal values of one class
        (docs/record-format.md section 5).
        """
        found = self._classes.get(cls)
        if found is None:
            key = derive(self._secret, f"guardrail/token/1/{cls}/{self.kid}".encode())
            states = [
                hashlib.sha256(key.ljust(_BLOCK, b"\x00").translate(pad))
                for pad in (_INNER_PAD, _OUTER_PAD)
            ]
            found = self._classes[cls] = (f"gr1:{cls}:{self.kid}:", states[0], states[1])
        prefix, inner, outer = found
        state = inner.copy()
        state.update(value.encode("utf-8", "surrogatepass"))
        digest = state.digest()
        state = outer.copy()
        state.update(digest)
        return prefix + _base32(state.digest()[:_TOKEN_BYTES])


class TenantKeys:
    """The keyed functions of one tenant. Two tenants never share a token for the same value."""

    __slots__ = ("_commitment", "_identity", "_values", "kid", "token", "value_token")

    def __init__(self, master: bytes, tenant: str, epoch: TokenEpoch | None = None) -> None:
        """*epoch* has the key for the tokens of values; None: the same key as for everything
        else.
        """
        own = _of_tenant(master, tenant)
        self._identity = ClassTokens(own, kid_of(master, 1), 1)
        self._values = self._identity if epoch is None else class_tokens(tenant, epoch)
        self._commitment = hmac.new(
            derive(own, b"guardrail/commitment/1"), digestmod=hashlib.sha256
        )
        self.token = self._identity.exact
        """Returns the token of an id (a class and the id), which is the same in all epochs:
        sessions and callers are recognised by it.
        """
        self.value_token = self._values.token
        """Returns the token of a removed value (a class and the value), under the key of the
        epoch. Equal values of one class have equal tokens.
        """
        self.kid = self._values.kid
        """Name of the key for the tokens of values."""

    @staticmethod
    def mark(class_: str) -> str:
        """Return ``gr1:<class>:-:<24 random characters>``, which shows that a value was removed,
        and reveals nothing else about the value.
        """
        return f"gr1:{class_}:-:{_base32(os.urandom(_TOKEN_BYTES))}"

    def commitment(self, parts: Iterable[bytes]) -> Commitment:
        """Return the commitment over *parts*. It can be extended, so parts that many calls share
        are hashed only once.
        """
        return Commitment(self._commitment.copy()).extended(parts)

    def __reduce__(self) -> NoReturn:
        raise TypeError("keys can't be pickled")


def class_tokens(tenant: str, epoch: TokenEpoch) -> ClassTokens:
    """Return the function that makes the tokens of *tenant* with the key of *epoch*."""
    return ClassTokens(_of_tenant(epoch.key, tenant), epoch.kid, epoch.normal)


def live_tokens(secrets: TokenSecrets, tenant: str) -> Mapping[str, ClassTokens]:
    """Return the functions that make the tokens of *tenant*, by the name of their key: for each
    live epoch, and for ids.
    """
    master = secrets.master
    for_ids = ClassTokens(_of_tenant(master, tenant), kid_of(master, 1), 1)
    return {for_ids.kid: for_ids} | {
        epoch.kid: class_tokens(tenant, epoch) for epoch in secrets.epochs
    }


def _of_tenant(key: bytes, tenant: str) -> bytes:
    return derive(key, b"guardrail/tenant/1/" + tenant.encode("utf-8", "surrogatepass"))


class Commitment:
    """An HMAC-SHA-256, under a tenant's commitment key, over several parts. Each part is preceded
    by its length (8 bytes, big endian).
    """

    __slots__ = ("_state",)

    def __init__(self, state: hmac.HMAC) -> None:
        self._state = state

    def extended(self, parts: Iterable[bytes]) -> Commitment:
        """Return the commitment over the parts of this one, followed by *parts*."""
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
    # Without a loop, this takes a third of the time.
    high, low = int.from_bytes(fifteen[:8], "big") >> 4, int.from_bytes(fifteen[7:], "big") & _LOW
    return (
        f"{_PAIRS[high >> 50]}{_PAIRS[high >> 40 & 1023]}{_PAIRS[high >> 30 & 1023]}"
        f"{_PAIRS[high >> 20 & 1023]}{_PAIRS[high >> 10 & 1023]}{_PAIRS[high & 1023]}"
        f"{_PAIRS[low >> 50]}{_PAIRS[low >> 40 & 1023]}{_PAIRS[low >> 30 & 1023]}"
        f"{_PAIRS[low >> 20 & 1023]}{_PAIRS[low >> 10 & 1023]}{_PAIRS[low & 1023]}"
    )


def derive(key: bytes, info: bytes) -> bytes:
    """Return 32 bytes derived from *key* for the purpose *info*."""
    # RFC 5869 without salt, because the input is 32 uniformly random bytes, or derived from them.
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=info).derive(key)
