"""The interface that reports whether calls must be denied because of the external anchors'
state.
"""

from __future__ import annotations

from typing import Protocol

__all__ = ["Anchoring", "Unanchored"]


class Anchoring(Protocol):
    """Reports whether calls must be denied because of the state of the anchors.

    ``guardrail.anchors.schedule.AnchorWatch`` implements it.
    """

    def denial_reason(self) -> str:
        """Return the reason for denying calls: ``conflict``, ``lag``, or an empty string if there
        is none.
        """

    def note_size(self, size: int) -> None:
        """Record that the log has *size* records."""


class Unanchored:
    """Null object for a ledger without anchors: never denies a call."""

    def denial_reason(self) -> str:
        """Return an empty string."""
        return ""

    def note_size(self, size: int) -> None:
        """Do nothing."""
