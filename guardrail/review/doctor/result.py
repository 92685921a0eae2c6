"""The result of one check of ``guardrail doctor``."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["TAIL", "Check", "CheckState", "without_doctor"]

TAIL = 1000
"""Number of newest records that ``doctor`` checks for a gap in the chain. ``verify`` checks all
records.
"""


class CheckState(StrEnum):
    """Result of a check."""

    OK = "ok"
    NOTE = "note"
    """The check passed, with a remark."""
    FAIL = "fail"
    """The check failed, or the next call would fail."""
    UNKNOWN = "unknown"
    """The result could not be determined."""


@dataclass(frozen=True, slots=True)
class Check:
    """A check and its result."""

    name: str
    state: CheckState
    found: str
    fix: str = ""
    """The next step, or an empty string if there is nothing to fix."""


def without_doctor(hint: str) -> str:
    """Return *hint*, or a different next step if *hint* refers to ``doctor`` itself."""
    if hint.startswith("guardrail doctor"):
        return "fix what the other checks report; if all of them are ok, look at the system's log"
    return hint
