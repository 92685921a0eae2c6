"""The result of one check of ``guardrail doctor``."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["TAIL", "Check", "State", "elsewhere"]

TAIL = 1000
"""Records at the end whose chain is checked; ``verify`` checks all."""


class State(StrEnum):
    """What a check found."""

    OK = "ok"
    NOTE = "note"
    """Works, and there is something to know."""
    FAIL = "fail"
    """Does not work, or would fail at the next call."""
    UNKNOWN = "unknown"
    """Could not be found out."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was checked."""

    name: str
    state: State
    found: str
    fix: str = ""
    """What to do about it; empty where there is nothing to do."""


def elsewhere(hint: str) -> str:
    """Return *hint*, or another step if it leads to ``doctor`` itself."""
    if hint.startswith("guardrail doctor"):
        return "see to what the other checks name; if they are all ok, look at the system's log"
    return hint
