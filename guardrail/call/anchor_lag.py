"""The interface by which the ledger's external checkpoints deny calls."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Anchoring", "Unanchored"]


class Anchoring(Protocol):
    """How far external checkpoints lag behind the ledger.
    ``guardrail.anchors.schedule.AnchorWatch`` implements it.
    """

    def denial_reason(self) -> str:
        """Return the reason to deny calls, ``conflict`` or ``lag``, or an empty string."""

    def note_size(self, size: int) -> None:
        """Record that the log has *size* records."""


class Unanchored:
    """Null object: never denies a call for anchor lag."""

    def denial_reason(self) -> str:
        """Return nothing."""
        return ""

    def note_size(self, size: int) -> None:
        """Do nothing."""
