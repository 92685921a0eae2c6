"""Computes the state of sessions, principals and agents from the records of their calls.

A policy reads this state as ``input.context.session``, ``input.context.principal_state`` and
``input.context.agent_state``. The state after a record depends only on that record and on the
records before it, so every process computes the same state.

Pure: no clock, no files.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Context, Decimal
from typing import Any, Final

from guardrail.core.folding import folded
from guardrail.core.log.record import dumps
from guardrail.core.state_reads import AGENT, PRINCIPAL, SECTIONS, SESSION, StateKey, StateVersion
from guardrail.core.types import Effect, Json, JsonObject

__all__ = [
    "EMPTY",
    "MOST_RECENT",
    "MOST_SUBJECTS",
    "MOST_TOOLS",
    "MOST_UNPACKED",
    "CallStates",
    "caller_keys",
    "joined",
    "subject_names",
]

MOST_RECENT = 40
"""Maximum number of calls in ``recent``. Beyond that, the oldest call of the tool with the most
calls is dropped, so that frequent calls of one tool do not hide those of another.
"""
MOST_SUBJECTS = 200_000
"""Maximum number of packed states of sessions, and of those of principals and agents. Beyond that,
the state of the least recently used one is dropped.
"""
MOST_UNPACKED = 2_048
"""Number of states that are kept ready; the others are kept packed, which takes less memory."""
MOST_TOOLS = 512
"""Maximum number of tools counted separately in one state. Calls of others count as tool ``*``."""
_MOST_DENIED_TOOLS = 16
"""Maximum number of tools counted separately of which no call was admitted. An agent can make up
any number of names, and these must not displace the tools that it uses.
"""
_MOST_RULES = 8
"""Maximum number of rules of one call in ``recent``."""
_LONG = 200
"""Maximum length of a target in ``recent``, in bytes. A longer one, and one that is a list or an
object, is replaced by its hash.
"""
_MOST_LABELS = 64
"""Maximum number of labels in one state. Beyond that, ``*`` stands for every other label."""
_OTHER = "*"
_SUM = Context(prec=60, traps=[])
"""Sums must not depend on the settings that the program made for its own decimals."""

_folded = functools.lru_cache(4_096)(folded)
_MALFORMED = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError)


_NEVER = StateVersion(-1, -1)


@dataclass(slots=True)
class _Counts:
    """The calls of one tool."""

    calls: int = 0
    denied: int = 0
    in_flight: int = 0
    amounts: dict[str, Decimal] = field(default_factory=dict)
    dropped: bool = False
    """True if an admitted call of this tool is missing from ``recent``."""

    def document(self) -> JsonObject:
        return {
            "calls": self.calls,
            "denied": self.denied,
            "in_flight": self.in_flight,
            "amounts": {place: _number(total) for place, total in self.amounts.items()},
            "recent_complete": not self.dropped,
        }


class _CallTally:
    """The state of one session, principal or agent."""

    __slots__ = (
        "admitted",
        "changed",
        "denied",
        "dropped",
        "labels",
        "made",
        "recent",
        "since",
        "tools",
    )

    def __init__(self) -> None:
        self.denied = 0
        self.since = ""
        self.tools: dict[str, _Counts] = {}
        self.labels: set[str] = set()
        self.recent: list[JsonObject] = []
        self.dropped = False
        """True if an admitted call is missing from ``recent``, because there were too many."""
        self.admitted = self.changed = -1
        self.made: dict[bool, JsonObject] = {}
        """The documents with and without the recent calls, until the state changes."""

    @property
    def version(self) -> StateVersion:
        return StateVersion(self.admitted, self.changed)

    def of_tool(self, name: str, *, admitted: bool = True) -> _Counts:
        found = self.tools.get(name)
        if found is None:
            used = sum(each.calls > 0 for each in self.tools.values())
            full = used >= MOST_TOOLS
            if not admitted:
                full = full or len(self.tools) - used >= _MOST_DENIED_TOOLS
            found = self.tools.setdefault(_OTHER if full else name, _Counts())
        return found

    def add_labels(self, labels: Sequence[str]) -> None:
        """Add *labels*. If there are too many, ``*`` stands for those that are missing."""
        for label in labels:
            self.labels.add(label if len(self.labels) < _MOST_LABELS else _OTHER)

    def remember(self, entry: JsonObject) -> None:
        """Add *entry* to the recent calls. Calls that were not admitted are dropped first."""
        self.recent.append(entry)
        if len(self.recent) <= MOST_RECENT:
            return
        tools = Counter(each["tool"] for each in self.recent)
        refused = [each for each in self.recent if each["effect"] != Effect.ALLOW]
        most = max(tools, key=lambda name: tools[name])
        oldest = refused[0] if refused else next(e for e in self.recent if e["tool"] == most)
        self.recent = [each for each in self.recent if each is not oldest]
        if not refused:
            self.dropped = self.of_tool(str(most)).dropped = True

    def document(self, *, recent: bool) -> JsonObject:
        """Return the state as the policy sees it, without the recent calls if *recent* is False. It
        is shared, and must not be changed.
        """
        made = self.made.get(recent)
        if made is None:
            tools = self.tools
            made = self.made[recent] = {
                "calls": sum(each.calls for each in tools.values()),
                "denied": self.denied,
                "in_flight": sum(each.in_flight for each in tools.values()),
                "since": self.since,
                "by_tool": {name: each.document() for name, each in tools.items()},
                "labels": list[Json](sorted(self.labels)),
                "recent": [
                    {name: value for name, value in each.items() if name != "call"}
                    for each in (self.recent if recent else ())
                ],
                "recent_complete": recent and not self.dropped,
            }
        return made

    def packed(self) -> bytes:
        return dumps(
            [
                self.denied,
                self.since,
                [
                    [
                        name,
                        each.calls,
                        each.denied,
                        each.in_flight,
                        {place: str(total) for place, total in each.amounts.items()},
                        each.dropped,
                    ]
                    for name, each in self.tools.items()
                ],
                sorted(self.labels),
                self.recent,
                self.dropped,
                self.admitted,
                self.changed,
            ]
        )

    @classmethod
    def unpacked(cls, packed: bytes) -> _CallTally:
        made = cls()
        denied, since, tools, labels, recent, dropped, admitted, changed = json.loads(packed)
        made.denied, made.since, made.labels, made.recent = denied, since, set(labels), recent
        for name, calls, refused, in_flight, amounts, missing in tools:
            sums = {place: Decimal(total) for place, total in amounts.items()}
            made.tools[name] = _Counts(calls, refused, in_flight, sums, missing)
        made.dropped, made.admitted, made.changed = dropped, admitted, changed
        return made


def _number(total: Decimal) -> Json:
    whole = total == total.to_integral_value() and abs(total) < 1 << 53
    return int(total) if whole else float(total)


EMPTY: Final[JsonObject] = _CallTally().document(recent=True)
"""The state before the first call."""


def caller_keys(fields: Mapping[str, Any]) -> tuple[StateKey, StateKey, StateKey]:
    """Return the keys of the session, the principal and the agent in *fields*, the fields of a
    record about a call. Raises ``LookupError``, ``TypeError`` or ``AttributeError`` if a field is
    missing or malformed.

    Spellings of an id that look alike have one state, because this can only count more calls.
    """
    tenant, principal, agent = fields["tenant"], fields["principal"], fields["agent"]
    id_, name = principal["id"], agent["id"]
    return (
        (SESSION, tenant, fields["session"]),
        (PRINCIPAL, tenant, principal.get("issuer") or "", _folded(id_) or id_),
        (AGENT, tenant, _folded(name) or name),
    )


def subject_names(
    forms: Iterable[Mapping[str, Any]],
) -> dict[str, tuple[StateKey, ...]]:
    """Return the keys of one caller in records of each of *forms*, by section. *forms* holds the
    fields of such records.
    """
    found = [caller_keys(fields) for fields in forms]
    return {
        section: tuple(dict.fromkeys(keys[place] for keys in found))
        for place, section in enumerate(SECTIONS)
    }


class CallStates:
    """The states after the records that were given to ``take``, in order.

    Not thread-safe. The memory is bounded by ``MOST_SUBJECTS``.
    """

    def __init__(self) -> None:
        self._ready: OrderedDict[StateKey, _CallTally] = OrderedDict()
        self._packed: dict[bool, OrderedDict[StateKey, bytes]] = {
            True: OrderedDict(),
            False: OrderedDict(),
        }
        """The states of sessions, and the others: sessions must not displace principals."""
        self._open: dict[str, tuple[tuple[StateKey, ...], str]] = {}
        """The calls without an outcome: their states, and the name of their tool."""

    def __len__(self) -> int:
        return len(self._ready) + sum(map(len, self._packed.values()))

    def document(self, keys: Iterable[StateKey], *, recent: bool = True) -> JsonObject:
        """Return the state of a subject that has the names *keys* in the records. The value is
        shared, and must not be changed. If *recent* is False, the recent calls are left out.
        """
        found = [state for key in keys if (state := self._find(key)) is not None]
        if not found:
            return EMPTY
        documents = [state.document(recent=recent) for state in found]
        return documents[0] if len(documents) == 1 else joined(documents)

    def version(self, keys: Iterable[StateKey]) -> StateVersion:
        """Return the version of the state that ``document`` returns."""
        found = [state.version for key in keys if (state := self._find(key)) is not None]
        if not found:
            return _NEVER
        return StateVersion(max(each.admitted for each in found), max(each.any for each in found))

    def keys_of(self, call: str) -> tuple[StateKey, ...]:
        """Return the states that the outcome of *call* changes, or nothing if it is not open."""
        return self._open.get(call, ((), ""))[0]

    def take(self, record: Mapping[str, Any]) -> None:
        """Advance to the state after *record*, a decoded record of any type."""
        type_ = record.get("type")
        try:
            if type_ == "call.decision":
                self._decided(record)
            elif type_ == "call.outcome":
                self._ended(record)
        except _MALFORMED:
            return  # a record of another version counts for nothing; verify reports it

    def _decided(self, record: Mapping[str, Any]) -> None:
        decision, seq, tool = record["decision"], record["seq"], record["tool"]["name"]
        effect = decision["effect"]
        admitted = effect == Effect.ALLOW
        labels = _labels_of(record) if admitted else []
        amounts = record.get("amounts") or {}
        entry: JsonObject = {
            "call": record["call"],
            "time": record["ts"],
            "tool": tool,
            "effect": effect,
            "outcome": "",
            "rules": [rule["rule"] for rule in decision["rules"][:_MOST_RULES]],
            "target": [_short(each) for each in record["target"]],
            "labels": list[Json](labels),
            "amounts": amounts,
        }
        keys = caller_keys(record)
        for key in keys:
            state = self._make(key)
            state.changed, state.made = seq, {}
            state.since = state.since or record["ts"]
            counts = state.of_tool(tool, admitted=admitted)
            if admitted:
                state.admitted = seq
                counts.calls += 1
                counts.in_flight += 1
                state.add_labels(labels)
                for place, value in amounts.items():
                    before = counts.amounts.get(place, Decimal(0))
                    counts.amounts[place] = _SUM.add(before, Decimal(str(value)))
            elif effect == Effect.DENY:
                state.denied += 1
                counts.denied += 1
            state.remember(dict(entry))
        if admitted:
            self._open[record["call"]] = keys, tool

    def _ended(self, record: Mapping[str, Any]) -> None:
        keys, tool = self._open.pop(record["call"], ((), ""))
        for key in keys:
            state = self._find(key)
            if state is None:
                continue
            state.admitted = state.changed = record["seq"]
            state.made = {}
            counts = state.of_tool(tool)
            counts.in_flight = max(0, counts.in_flight - 1)  # the state may have begun again
            for each in reversed(state.recent):
                if each["call"] == record["call"]:
                    each["outcome"] = record["status"]
                    break

    # -- keeping the states within memory ----------------------------------------------------------

    def _find(self, key: StateKey) -> _CallTally | None:
        state = self._ready.get(key)
        if state is not None:
            self._ready.move_to_end(key)
            return state
        packed = self._packed[key[0] == SESSION].pop(key, None)
        if packed is None:
            return None
        return self._keep(key, _CallTally.unpacked(packed))

    def _make(self, key: StateKey) -> _CallTally:
        return self._find(key) or self._keep(key, _CallTally())

    def _keep(self, key: StateKey, state: _CallTally) -> _CallTally:
        self._ready[key] = state
        if len(self._ready) > MOST_UNPACKED:
            oldest, idle = self._ready.popitem(last=False)
            packed = self._packed[oldest[0] == SESSION]
            packed[oldest] = idle.packed()
            if len(packed) > MOST_SUBJECTS:
                packed.popitem(last=False)
        return state


def _short(target: Json) -> Json:
    if not isinstance(target, str | list | dict):
        return target
    written = dumps(target)
    if isinstance(target, str) and len(written) <= _LONG:
        return target
    return "sha256:" + hashlib.sha256(written).hexdigest()


def _labels_of(record: Mapping[str, Any]) -> list[str]:
    """Return the labels of an admitted call: those of the policy, and those of the tool."""
    given = record["decision"].get("labels") or []
    resource = ((record.get("input") or {}).get("resource") or {}).get("properties") or {}
    return sorted({*given, *(resource.get("labels") or [])})


def _without_gaps(documents: Sequence[JsonObject], recent: Sequence[Any]) -> list[Any]:
    """Return *recent* by time. Calls of a tool that are older than a dropped one are left out, so
    that each dropped call of a tool is older than those that are left.
    """
    floors: dict[str, str] = {}
    for each in documents:
        held: Mapping[str, Any] = each
        for tool, counts in held["by_tool"].items():
            if not counts["recent_complete"]:
                kept = (str(entry["time"]) for entry in held["recent"] if entry["tool"] == tool)
                floors[tool] = max(floors.get(tool, ""), min(kept, default="~"))
    left = [entry for entry in recent if str(entry["time"]) >= floors.get(entry["tool"], "")]
    return sorted(left, key=lambda entry: str(entry["time"]))


def joined(documents: Sequence[JsonObject]) -> JsonObject:
    """Return one state for several of the same subject, whose records have it under several names:
    an id and its token, for example.
    """
    made: dict[str, Any] = dict(EMPTY)
    tools: dict[str, dict[str, Any]] = {}
    recent: list[Any] = []
    for each in documents:
        held: Mapping[str, Any] = each
        for name in ("calls", "denied", "in_flight"):
            made[name] += held[name]
        made["since"] = min(filter(None, (made["since"], held["since"])), default="")
        made["labels"] = sorted({*made["labels"], *held["labels"]})
        made["recent_complete"] = made["recent_complete"] and held["recent_complete"]
        recent.extend(held["recent"])
        for tool, counts in held["by_tool"].items():
            kept = tools.setdefault(
                tool,
                {
                    "calls": 0,
                    "denied": 0,
                    "in_flight": 0,
                    "amounts": {},
                    "recent_complete": True,
                },
            )
            kept["recent_complete"] = kept["recent_complete"] and counts["recent_complete"]
            for name in ("calls", "denied", "in_flight"):
                kept[name] += counts[name]
            for place, total in counts["amounts"].items():
                before = Decimal(str(kept["amounts"].get(place, 0)))
                kept["amounts"][place] = _number(_SUM.add(before, Decimal(str(total))))
    recent = _without_gaps(documents, recent)
    if len(recent) > MOST_RECENT:
        recent, made["recent_complete"] = recent[-MOST_RECENT:], False
        for counts in tools.values():
            counts["recent_complete"] = False
    return {**made, "by_tool": tools, "recent": recent}
