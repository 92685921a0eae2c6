"""The file ``tokens.key``: the master key of the log, and the keys of tokens by epoch.

The master key is fixed: tokens of identities, commitments and the MACs of heads are made with it,
and two processes must never differ in them. Each *epoch* has a key of its own for the tokens of
removed values. New tokens are made with the key of the current epoch. The keys of earlier epochs
are live until they are destroyed: a value can be looked up under all of them.

Format 1 (``{"epoch": 1, "key": hex}``) has a single key for everything. It is read as epoch 1,
whose key is the master key and therefore can't be destroyed, with the first normal form of values.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

from guardrail.core.redaction.normal_forms import NORMAL_FORM

__all__ = ["TokenEpoch", "TokenSecrets", "kid_of"]

_FORMAT = 2
_BYTES = 32
_MOST_EPOCHS = 1_000


def kid_of(key: bytes, number: int) -> str:
    """Return the name of the key of epoch *number*, which is part of every token."""
    digest = hashlib.sha256(key + number.to_bytes(4, "big")).digest()
    return base64.b32encode(digest[:5]).decode().lower()


@dataclass(frozen=True, slots=True)
class TokenEpoch:
    """One key for the tokens of removed values."""

    number: int
    key: bytes = field(repr=False)
    """32 random bytes."""
    normal: int
    """Version of the normal form of values (``core.redaction.normal_forms``)."""

    @property
    def kid(self) -> str:
        """Name of the key, which is part of every token."""
        return kid_of(self.key, self.number)

    def __reduce__(self) -> NoReturn:
        raise TypeError("keys can't be pickled")


@dataclass(frozen=True, slots=True)
class TokenSecrets:
    """The content of ``tokens.key``."""

    master: bytes = field(repr=False)
    """32 random bytes."""
    epochs: tuple[TokenEpoch, ...]
    """The live keys, oldest first."""
    current: int
    """Number of the epoch whose key makes new tokens. An epoch with a higher number was prepared,
    but no token was made with its key yet.
    """
    destroyed: tuple[str, ...] = ()
    """Names of the keys that were destroyed."""
    log: str = ""
    """Public key of the log that these keys belong to (64 hex characters), or an empty string if an
    earlier version made the file.
    """

    @classmethod
    def new(cls) -> TokenSecrets:
        """Return new random keys."""
        return cls(os.urandom(_BYTES), (TokenEpoch(1, os.urandom(_BYTES), NORMAL_FORM),), 1)

    @classmethod
    def single(cls, master: bytes, normal: int = 1) -> TokenSecrets:
        """Return keys with one key for everything, as in format 1."""
        return cls(master, (TokenEpoch(1, master, normal),), 1)

    @classmethod
    def parse(cls, content: bytes) -> TokenSecrets:
        """Parse the file. Raises ``ValueError``, ``KeyError`` or ``TypeError``, without any part of
        *content* in the message.
        """
        try:
            document = json.loads(content)
        except ValueError:
            raise ValueError("not JSON") from None
        if not isinstance(document, dict):
            raise TypeError("not an object")
        if "format" not in document:
            if document["epoch"] != 1 or type(document["epoch"]) is not int:
                raise ValueError("unknown epoch")
            return cls.single(_key(document, "key"))
        if document["format"] != _FORMAT:
            raise ValueError("unknown format")
        epochs = tuple(map(_epoch, document["epochs"]))
        numbers = [epoch.number for epoch in epochs]
        current, destroyed = document["current"], document["destroyed"]
        log = document.get("log", "")
        if numbers != sorted(set(numbers)) or current not in numbers or type(current) is not int:
            raise ValueError("epochs out of order")
        if not all(isinstance(kid, str) for kid in destroyed) or len(epochs) > _MOST_EPOCHS:
            raise ValueError("unknown names")
        if not isinstance(log, str):
            raise TypeError("unknown log")
        return cls(_key(document, "master"), epochs, current, tuple(destroyed), log)

    def text(self) -> bytes:
        """Return the content of the file, in format 2."""
        document = {
            "current": self.current,
            "destroyed": list(self.destroyed),
            "epochs": [
                {"key": each.key.hex(), "normal": each.normal, "number": each.number}
                for each in self.epochs
            ],
            "format": _FORMAT,
            **({"log": self.log} if self.log else {}),
            "master": self.master.hex(),
        }
        return json.dumps(document).encode("ascii") + b"\n"

    @property
    def epoch(self) -> TokenEpoch:
        """The current epoch."""
        return next(each for each in self.epochs if each.number == self.current)

    @property
    def replaced(self) -> tuple[TokenEpoch, ...]:
        """The live epochs before the current one, oldest first."""
        return tuple(each for each in self.epochs if each.number < self.current)

    def of_log(self, public: str) -> TokenSecrets:
        """Return these keys as the keys of the log with the public key *public*."""
        return replace(self, log=public)

    def prepared(self) -> TokenSecrets:
        """Return these keys with the key of a next epoch, which is not used yet."""
        last = self.epochs[-1]
        if last.number > self.current:
            return self
        fresh = TokenEpoch(last.number + 1, os.urandom(_BYTES), NORMAL_FORM)
        return replace(self, epochs=(*self.epochs, fresh))

    def advanced(self) -> TokenSecrets:
        """Return these keys with the prepared epoch as the current one."""
        return replace(self, current=self.epochs[-1].number)

    def may_destroy(self, epoch: TokenEpoch) -> bool:
        """Return False if *epoch* is in use, or its key is the master key."""
        return epoch in self.replaced and epoch.key != self.master

    def without(self, epoch: TokenEpoch) -> TokenSecrets:
        """Return these keys without the key of *epoch*."""
        left = tuple(each for each in self.epochs if each != epoch)
        return replace(self, epochs=left, destroyed=(*self.destroyed, epoch.kid))

    def __reduce__(self) -> NoReturn:
        raise TypeError("keys can't be pickled")


def _key(document: Mapping[str, Any], name: str) -> bytes:
    key = bytes.fromhex(document[name])
    if len(key) != _BYTES:
        raise ValueError("wrong length")
    return key


def _epoch(entry: Any) -> TokenEpoch:
    number, normal = entry["number"], entry["normal"]
    if type(number) is not int or not 0 < number < 1 << 31:
        raise ValueError("unknown epoch")
    if type(normal) is not int or not 0 < normal <= NORMAL_FORM:
        raise ValueError("unknown normal form")
    return TokenEpoch(number, _key(entry, "key"), normal)
