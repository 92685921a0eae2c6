"""Creates, certifies, rotates and retires the key that a writer signs heads with.

The key exists only in memory. The log key, or the signer that holds it, certifies the key before
the log's lock is taken, because a slow signer must not delay other writers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from guardrail.core.log import fields
from guardrail.core.log.record import Draft
from guardrail.errors import KeysError, LedgerError
from guardrail.ledger.heads import HeadKey, Signing
from guardrail.ledger.lease import own_origin

__all__ = ["Ending", "Epochs", "Rotation", "ended"]

_PATIENCE = 60.0
"""Seconds between two attempts to replace a key that is due for rotation, while the old key still
signs.
"""


class Ending(StrEnum):
    """The reason for retiring a key."""

    ROTATED = "rotated"
    CLOSED = "closed"
    DEAD = "dead"
    """The key's process died, and another process recorded this."""


@dataclass(frozen=True, slots=True)
class Rotation:
    """An ``admin.key_rotated`` record, and its effect."""

    draft: Draft
    public: str | None
    """The key that the record certifies, hex."""
    ended: tuple[str, ...]
    """The keys that the record retires, hex."""


class Epochs:
    """One writer's head key. Used by the writer's commit thread only."""

    def __init__(self, signing: Signing, interval: float) -> None:
        self._signing = signing
        self._interval = interval
        self._key: HeadKey | None = None
        self._announced = False
        """True if the key's certificate is known to be durable in the log."""
        self._replaced: HeadKey | None = None
        """The previous key, if its retirement is not durable yet."""
        self._rotation_due = 0.0

    def prepare(self, log: str, size: int) -> None:
        """Make sure that there is a key, and create a new one if rotation is due.

        Do not call this under the log's lock, because a signer can take seconds.

        Raises ``LedgerError`` (``ledger.signer``) if there is no key and none can be obtained. A
        key that is merely due for rotation stays in use until the signer answers.
        """
        now = time.monotonic()
        if self._key is not None and (now < self._rotation_due or self._replaced is not None):
            return
        try:
            made = self._signing.epoch_key(log, size)
        except KeysError as error:
            if self._key is None:
                raise LedgerError(error.message, code="ledger.signer", hint=error.hint) from None
            self._rotation_due = now + _PATIENCE
            return
        if made is not None and self._announced:
            self._replaced = self._key
        self._key = made if made is not None else self._signing.log_key(log)
        self._announced = made is None
        self._rotation_due = now + self._interval

    @property
    def key(self) -> HeadKey:
        """The key to sign with. Available after ``prepare``."""
        assert self._key is not None
        return self._key

    @property
    def in_use(self) -> str | None:
        """The public key (hex) once its certificate is durable in the log. None before that, or if
        the log key itself signs.
        """
        if self._key is None or self._key.certificate is None or not self._announced:
            return None
        return self._key.key.public.hex()

    def replace_ended(self, has_epoch: Callable[[str], bool], log: str, size: int) -> None:
        """Replace the key at once if another process has retired it, because heads signed with it
        would no longer count.

        *has_epoch* returns True if a key is certified and not retired. Call this inside the
        transaction that signs. Raises the same errors as ``prepare``.
        """
        mine = self.in_use
        if mine is not None and not has_epoch(mine):
            self.mark_ended()
            self.prepare(log, size)

    def announcement(self, log: str) -> Rotation | None:
        """Return the record that must precede the next head, or None if none is needed."""
        if self._announced or self._key is None:
            return None
        old = self._replaced
        endings = [(old.key.public.hex(), Ending.ROTATED)] if old is not None else []
        return _rotation(log, self._signing, self._key, endings)

    def mark_durable(self) -> None:
        """Record in memory that the commit with the key's certificate is durable."""
        self._announced = True
        self._replaced = None

    def mark_uncertain(self) -> None:
        """Record in memory that the last commit might not be durable. The key's certificate is then
        written again.
        """
        if self._key is not None and self._key.certificate is not None:
            self._announced = False

    def final_rotation(self, log: str) -> Rotation | None:
        """Return the record that retires this writer's key, or None if no key of this writer is
        certified in the log.
        """
        if self._key is None or self._key.certificate is None or not self._announced:
            return None
        return _rotation(log, self._signing, None, [(self._key.key.public.hex(), Ending.CLOSED)])

    def mark_ended(self) -> None:
        """Record in memory that the record that retires this writer's key is durable."""
        self._key = None
        self._announced = False


def ended(log: str, signing: Signing, publics: Sequence[str]) -> Rotation:
    """Return the record that retires the keys of dead processes."""
    return _rotation(log, signing, None, [(public, Ending.DEAD) for public in publics])


def _rotation(
    log: str, signing: Signing, key: HeadKey | None, endings: Sequence[tuple[str, Ending]]
) -> Rotation:
    detail = {
        "key": {"type": "ed25519", "public": key.key.public.hex()} if key is not None else None,
        "first": key.first if key is not None else None,
        "certificate": key.certificate if key is not None else None,
        "ended": [{"public": public, "reason": str(why)} for public, why in endings],
    }
    record = fields.admin(
        log, "key_rotated", actor=signing.actor, where=own_origin("ledger"), detail=detail
    )
    return Rotation(
        Draft.build(record),
        key.key.public.hex() if key is not None else None,
        tuple(public for public, _ in endings),
    )
