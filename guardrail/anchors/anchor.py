"""Defines the anchor interface. An anchor stores a ledger's signed heads outside the ledger."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from guardrail.core.log.checkpoint import Checkpoint, SignedNote
from guardrail.core.log.merkle import verify_consistency
from guardrail.core.log.ruling import Ruling, rule
from guardrail.core.words import agree, counted
from guardrail.errors import AnchorError

__all__ = ["Anchor", "AnchoredHead", "Prove", "check_follows", "timestamp"]

Prove = Callable[[int, int], Sequence[bytes]]
"""A function (first, size) that returns the consistency proof between the trees of *first* and
*size* leaves. Raises ``GuardrailError``.
"""


@dataclass(frozen=True, slots=True)
class AnchoredHead:
    """A head that an anchor has stored."""

    name: str
    """Name of the anchor."""
    size: int
    time: float
    """Time in seconds since 1970, by the anchor's own clock if it has one."""
    note: SignedNote
    """The head, with the anchor's signature if the anchor signs."""


class Anchor(Protocol):
    """A place that stores heads. Used by one thread at a time."""

    @property
    def name(self) -> str:
        """Name of the anchor in records, commands and the state file."""

    def publish(
        self, note: SignedNote, prove: Prove, known: Checkpoint | None = None
    ) -> AnchoredHead:
        """Publish the head *note*, signed by the log's key. When this returns, the anchor has
        stored it.

        *known* is the last head that this anchor is known to hold. Raises ``AnchorError``. The code
        is ``anchor.conflict`` if the anchor holds a larger head, a different history, or a smaller
        head than *known*; nothing was published in that case.
        """

    def is_proved_by(self, note: SignedNote) -> bool:
        """Return True if *note* itself proves that this anchor has accepted it, or if the anchor
        does not sign.
        """

    def latest(self, origin: str) -> SignedNote | None:
        """Return the newest head of the log *origin* in this anchor, or None if the anchor holds no
        such head, or if its heads can't be read back.

        Raises ``AnchorError``.
        """

    def heads(self, origin: str) -> Sequence[SignedNote]:
        """Return all heads of the log *origin* that this anchor holds, without duplicates, in order
        of arrival.

        Compare a ledger with all of them: an attacker who can only append to an anchor can't remove
        a head. The caller checks the signatures. Raises ``AnchorError``.
        """


def check_follows(
    before: Checkpoint, head: Checkpoint, prove: Prove, *, signed: Callable[[], bool] = lambda: True
) -> bool:
    """Check that *head* extends *before*. Return True if the log's key signed *before* (*signed*),
    False if a different key signed it.

    Raises ``AnchorError`` (``anchor.conflict``) if *head* does not extend *before*, whoever signed
    it: ``verify`` applies the same rule.
    """

    def fits(one: Checkpoint) -> bool:
        path = prove(one.size, head.size) if one.size < head.size else ()
        return verify_consistency(one.size, one.root, head.size, head.root, path)

    ruling = rule(before, log=head.origin, size=head.size, fits=fits, signed=signed)
    if ruling is Ruling.REPLACED:
        raise _conflict_error(f"it has a head of the log {before.origin}: the ledger was replaced")
    if ruling is Ruling.TRUNCATED:
        raise _conflict_error(
            f"it holds a head of {counted(before.size, 'record')}{_foreign_signer(signed)}, but "
            f"the ledger has only {head.size}: the ledger was truncated, rolled back or replaced",
            signed,
        )
    if ruling is Ruling.FORKED:
        raise _conflict_error(
            f"the ledger's first {counted(before.size, 'record')} {agree(before.size, 'does')} "
            f"not match the head that it holds{_foreign_signer(signed)}: the ledger was changed "
            "or forked",
            signed,
        )
    return ruling is not Ruling.KEY_UNKNOWN


def _foreign_signer(signed: Callable[[], bool]) -> str:
    return "" if signed() else ", signed by a key other than the log's"


def _conflict_error(message: str, signed: Callable[[], bool] = lambda: True) -> AnchorError:
    foreign = (
        "guardrail verify, and find out who wrote there; if this log replaces a lost one, "
        "it needs a new name (docs/keys.md, If keys are lost)"
    )
    hint = "guardrail verify" if signed() else foreign
    return AnchorError(message, code="anchor.conflict", hint=hint)


def timestamp(time: float) -> str:
    """Return *time*, seconds since 1970, as RFC 3339 in UTC."""
    return datetime.fromtimestamp(time, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
