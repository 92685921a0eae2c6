"""The states that a decision has read, so that they can be compared when it is recorded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple, TypeAlias

from guardrail.core.types import JsonObject

__all__ = [
    "AGENT",
    "PRINCIPAL",
    "RECENT",
    "SECTIONS",
    "SESSION",
    "CallerStates",
    "ReadState",
    "ReadStates",
    "StateKey",
    "StateVersion",
]

SESSION: Final = "session"
PRINCIPAL: Final = "principal_state"
AGENT: Final = "agent_state"
SECTIONS: Final = (SESSION, PRINCIPAL, AGENT)
"""Keys of the states in ``input.context``."""

RECENT: Final = "recent"
"""Key of the recent calls in each state."""

StateKey: TypeAlias = tuple[str, ...]
"""Section, tenant and id of a session, a principal or an agent."""


class StateVersion(NamedTuple):
    """The version of a state, by the records that changed it; -1 if no record did."""

    admitted: int
    """Number of the newest record that admitted a call or ended one."""
    any: int
    """Number of the newest record that changed the state."""


class ReadState(NamedTuple):
    """One state that a decision has read."""

    keys: tuple[StateKey, ...]
    """The names that its subject has in the records."""
    version: StateVersion


class ReadStates(NamedTuple):
    """The states that a decision has read, and those that its record changes."""

    changes: tuple[StateKey, ...]
    """The states that the record of the decision changes."""
    compared: tuple[ReadState, ...] = ()
    """The states that the policy has read; empty if the policy did not decide the call."""


class CallerStates(NamedTuple):
    """The states that a call gives to the policy."""

    sections: Mapping[str, JsonObject]
    """States by the name of their section."""
    reads: ReadStates
    wanted: frozenset[str] = frozenset()
    """The sections that were read, and ``recent`` if the recent calls were."""
