"""Effect keys: which call holds which key, according to the records.

A tool can declare the arguments that identify its effect, such as an invoice. A call that is
admitted holds the key of their values, and no other call may run with it. Pure: the state follows
from the records alone, so every reader computes the same one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from guardrail.core.repeats import names_of

__all__ = [
    "KEPT",
    "RESOLVED",
    "EffectStep",
    "HeldKeys",
    "KeyHolder",
    "concerns",
    "kept_details",
    "step_of_fields",
]

RESOLVED: Final = "admin.resolved"
KEPT: Final = "admin.effects_kept"
RUNNING: Final = "running"
"""State of a holder whose call has no outcome yet."""
_FREED: Final = "interrupted"
_KEPT_KEYS: Final = 100
"""Maximum number of keys in one record, so that the record fits in a line."""
_MALFORMED = (LookupError, TypeError, ValueError, AttributeError)


@dataclass(frozen=True, slots=True)
class EffectStep:
    """The part of a draft that the state of the keys must permit when the draft is written."""

    key: str
    commitment: str | None = None
    """Commitment of the call that takes the key; None for a record that resolves one."""
    names: tuple[str, ...] = ()
    """Names of the call by its framework's id (``names_of``)."""
    resolves: int | None = None
    """Number of the decision whose hold on the key a person resolves, or None."""


@dataclass(frozen=True, slots=True)
class KeyHolder:
    """The call that holds a key."""

    key: str
    seq: int
    """Number of its decision."""
    call: str
    state: str
    """``running``, the status of its outcome, or ``ran`` once a person has confirmed it."""
    commitment: str | None = None
    """Commitment of the call, as long as the same call may take the key again."""
    names: tuple[str, ...] = ()

    def yields_to(self, step: EffectStep) -> bool:
        """Return True if a framework interrupted the call, and *step* is the same call again."""
        if self.state != _FREED or self.commitment is None or self.commitment != step.commitment:
            return False
        return not self.names or not set(self.names).isdisjoint(step.names)


class HeldKeys:
    """The keys that are held after some records."""

    def __init__(self, *, unknown: int = 0) -> None:
        """Start without holders. If records below *unknown* are missing, records may resolve keys
        that calls among them held.
        """
        self._unknown = unknown
        self._by_key: dict[str, KeyHolder] = {}
        self._running: dict[str, str] = {}
        """The keys of the calls without an outcome, by call."""

    def __len__(self) -> int:
        return len(self._by_key)

    @property
    def any_running(self) -> bool:
        """True if a call that holds a key has no outcome yet."""
        return bool(self._running)

    def holder(self, key: str) -> KeyHolder | None:
        """Return the call that holds *key*, or None."""
        return self._by_key.get(key)

    def below(self, seq: int) -> list[KeyHolder]:
        """Return the holders whose decisions have a number below *seq*, oldest first."""
        found = [each for each in self._by_key.values() if each.seq < seq]
        return sorted(found, key=lambda each: each.seq)

    def blocking(self, step: EffectStep) -> KeyHolder | None:
        """Return the holder because of which *step* may not be written, or None. A step that
        resolves a key needs the holder that it names.
        """
        holder = self._by_key.get(step.key)
        if holder is None or step.resolves is not None:
            return None
        return None if holder.yields_to(step) else holder

    def take(self, record: Mapping[str, Any]) -> str:
        """Take the next record. Return its conflict with the state, or an empty string.

        Of a record that conflicts, the newer call holds the key.
        """
        try:
            return self._take(record)
        except _MALFORMED:
            return "the record's effect key has missing or malformed fields"

    def _take(self, record: Mapping[str, Any]) -> str:
        type_ = record.get("type")
        if type_ == "call.outcome":
            self._end(record)
        elif type_ == "call.decision":
            step = step_of_fields(record)
            return "" if step is None else self._hold(record, step)
        elif type_ == RESOLVED:
            return self._resolve(record["detail"])
        elif type_ == KEPT:
            for each in record["detail"]["keys"]:
                self._keep(each)
        return ""

    def _hold(self, record: Mapping[str, Any], step: EffectStep) -> str:
        before = self.blocking(step)
        call = str(record["call"])
        self._by_key[step.key] = KeyHolder(
            step.key, int(record["seq"]), call, RUNNING, step.commitment, step.names
        )
        self._running[call] = step.key
        return "" if before is None else f"the effect key of this call is held by {before.seq}"

    def _end(self, record: Mapping[str, Any]) -> None:
        key = self._running.pop(str(record.get("call")), None)
        holder = None if key is None else self._by_key.get(key)
        if holder is None or holder.call != record["call"]:
            return
        error, status = record.get("error"), str(record["status"])
        kind = error.get("class") if isinstance(error, Mapping) else None
        if (status, kind) == ("cancelled", "not_started"):
            del self._by_key[holder.key]
            return
        again = status == _FREED
        self._by_key[holder.key] = replace(
            holder,
            state=status,
            commitment=holder.commitment if again else None,
            names=holder.names if again else (),
        )

    def _resolve(self, detail: Mapping[str, Any]) -> str:
        holder = self._by_key.get(detail["key"])
        if holder is None and detail["decision"] < self._unknown:
            return ""
        if holder is None or holder.seq != detail["decision"]:
            return "the record resolves an effect key that this call does not hold"
        if detail["ran"] is True:
            self._by_key[holder.key] = replace(holder, state="ran", commitment=None, names=())
        else:
            del self._by_key[holder.key]
            self._running.pop(holder.call, None)
        return ""

    def _keep(self, entry: Mapping[str, Any]) -> None:
        names = tuple(str(each) for each in entry["names"])
        holder = KeyHolder(
            str(entry["key"]),
            int(entry["decision"]),
            str(entry["call"]),
            str(entry["state"]),
            entry["commitment"],
            names,
        )
        if holder.key not in self._by_key:
            self._by_key[holder.key] = holder
            if holder.state == RUNNING:
                self._running[holder.call] = holder.key


def step_of_fields(fields: Mapping[str, Any]) -> EffectStep | None:
    """Return the effect step of the record with *fields*, or None if it has none."""
    type_ = fields.get("type")
    if type_ == RESOLVED:
        detail = fields["detail"]
        return EffectStep(detail["key"], resolves=detail["decision"])
    effect = fields.get("effect") if type_ == "call.decision" else None
    if effect is None or fields["decision"]["effect"] != "allow":
        return None
    return EffectStep(str(effect["key"]), fields.get("commitment"), tuple(names_of(fields)))


def concerns(record: Mapping[str, Any]) -> bool:
    """Return True if *record* can change which call holds a key, other than by its status."""
    type_ = record.get("type")
    if type_ == "call.outcome":
        return record.get("status") in ("cancelled", _FREED)
    return type_ in (RESOLVED, KEPT) or (type_ == "call.decision" and "effect" in record)


def kept_details(holders: list[KeyHolder]) -> Iterator[dict[str, Any]]:
    """Yield the details of the ``admin.effects_kept`` records that repeat *holders*."""
    for start in range(0, len(holders), _KEPT_KEYS):
        yield {
            "keys": [
                {
                    "key": each.key,
                    "decision": each.seq,
                    "call": each.call,
                    "state": each.state,
                    "commitment": each.commitment,
                    "names": list(each.names),
                }
                for each in holders[start : start + _KEPT_KEYS]
            ]
        }
