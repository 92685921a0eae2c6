"""Holds the policies that a guard uses until the next reload."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from guardrail.config import Settings
from guardrail.core.types import Json
from guardrail.keys.log_key import Keys
from guardrail.ledger.kept_policies import PolicyHold
from guardrail.policy.own_texts import OwnTexts
from guardrail.policy.state_reads import ALL_STATE, StateReads
from guardrail.wiring.kept_sources import keep_sources
from guardrail.wiring.reload import RetiredEngines, load_again, settings_reader
from guardrail.wiring.zones import zone_table

if TYPE_CHECKING:
    from guardrail.policy.engine import Engine
    from guardrail.policy.sources import PolicySet

__all__ = ["CurrentPolicies"]


def _read_state(engine: Engine) -> StateReads:
    """Return the sections of the session state that the policies of *engine* read: all of them if
    only an OPA server has the policies.
    """
    own: StateReads | None = getattr(engine, "state_reads", None)
    if own is not None:  # a test double
        return own
    sources: PolicySet | None = getattr(engine, "sources", None)
    return ALL_STATE if sources is None else sources.state_reads


class CurrentPolicies:
    """The engine that currently decides, and its settings. ``reload`` replaces both.
    Thread-safe.
    """

    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        data: Mapping[str, Json] | None,
        record: Callable[[str, Mapping[str, Any]], object],
        *,
        keys: Keys,
    ) -> None:
        """*data* is the policy data passed by the program. *record* writes an ``admin.*``
        record. *keys* are those of the log.
        """
        self._keys = keys
        self._hold = PolicyHold()
        self.settings = settings
        self.engine = engine
        self.zones = zone_table(settings, engine)
        """The offsets of the policies' time zones."""
        self.state_reads = _read_state(engine)
        """The sections of the session state that the policies read."""
        self.own_texts = OwnTexts(getattr(engine, "sources", None))
        """The texts that the policies contain."""
        self._data = data
        self._record = record
        self._read = settings_reader(settings)
        self._retired = RetiredEngines()
        self._locks: dict[int, threading.Lock] = {}
        """The lock of each process: a reload can take seconds, and a child that is forked meanwhile
        would never get the lock that its parent's thread holds.
        """

    @property
    def deadline(self) -> float:
        """Number of seconds that a decision may take."""
        return self.settings.policy.deadline_ms / 1000

    def reload(self) -> str:
        """Read the settings file and the policies again; return the digest of the new policies.

        If this raises ``ConfigError``, ``PolicyLoadError`` or ``LedgerError``, nothing has changed.
        """
        from guardrail.wiring.engines import load_engine

        with self._lock():
            previous = self.engine
            settings, engine, hold = load_again(
                self.settings,
                self._read(),
                load=lambda settings: load_engine(settings, self._data),
                keep=keep_sources,
                previous=previous.identity,
                record=self._record,
                keys=self._keys,
            )
            # Decisions in progress may still finish on the old engine, and their records identify
            # it.
            longest = max(each.policy.deadline_ms for each in (self.settings, settings))
            self.zones = zone_table(settings, engine)
            self.state_reads = _read_state(engine)
            self.own_texts = OwnTexts(getattr(engine, "sources", None))
            self.engine, self.settings = engine, settings
            self._retired.add(previous, self._hold, 2 * longest / 1000)
            self._hold = hold
            return engine.identity.digest or ""

    def close(self) -> None:
        """Stop the workers of the current engine, and those of the engines that it replaced.
        Idempotent.
        """
        self.engine.close()
        with self._lock():
            self._retired.close()
            self._hold.release()

    def _lock(self) -> threading.Lock:
        return self._locks.setdefault(os.getpid(), threading.Lock())
