"""The states of sessions, principals and agents: their keys, versions, texts and changes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Final, NamedTuple, TypeAlias

from guardrail.core.types import JsonObject

__all__ = [
    "AGENT",
    "PRINCIPAL",
    "RECENT",
    "SECTIONS",
    "SESSION",
    "CallDecided",
    "CallEnded",
    "CallerStates",
    "ReadState",
    "ReadStates",
    "StateKey",
    "StateText",
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


class StateText:
    """One state as the policy sees it: JSON with sorted keys, which is made once for many calls."""

    __slots__ = ("_document", "_head", "_tail")

    def __init__(self, head: bytes, tail: bytes) -> None:
        """*head* holds the members of the JSON object before the key ``id``, *tail* those after
        it.
        """
        self._head, self._tail = head, tail
        self._document: JsonObject | None = None

    @classmethod
    def of(cls, document: JsonObject) -> StateText:
        """Return the text of *document*, a state."""
        parts: tuple[JsonObject, JsonObject] = ({}, {})
        for name, value in document.items():
            parts[name > "id"][name] = value
        head, tail = (
            json.dumps(part, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()
            for part in parts
        )
        return cls(head[:-1], tail[1:])

    @property
    def json(self) -> bytes:
        """The state as JSON."""
        return self._head + b"," + self._tail

    def json_of(self, session: bytes) -> bytes:
        """Return the state as JSON, with *session* (the JSON text of an id) as ``id``."""
        return b'%b,"id":%b,%b' % (self._head, session, self._tail)

    @property
    def document(self) -> JsonObject:
        """The state as a value. It is shared, and must not be changed."""
        if self._document is None:
            self._document = json.loads(self.json)
        return self._document


class CallDecided(NamedTuple):
    """The change that a decision makes to the states of its caller."""

    call: str
    keys: tuple[StateKey, ...]
    """The states that it changes."""
    tool: str
    effect: str
    labels: Sequence[str]
    """The labels of an admitted call: those of the policy, and those of the tool."""
    amounts: Mapping[str, Decimal]
    begin: bytes
    """JSON text of the call in ``recent``, up to the value of ``outcome``."""
    end: bytes
    """JSON text of the call in ``recent``, from there to the value of ``time``."""


class CallEnded(NamedTuple):
    """The change that an outcome makes to the states of its call's caller."""

    call: str
    status: str


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

    sections: Mapping[str, StateText]
    """States by the name of their section."""
    reads: ReadStates
    wanted: frozenset[str] = frozenset()
    """The sections that were read, and ``recent`` if the recent calls were."""
    displaced: bool = False
    """True if one of the states is no longer in memory (``CallStates.is_displaced``)."""
