"""The state of one session, principal or agent: the calls that were counted, and the newest ones.
Pure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Context, Decimal
from typing import Any, Final

from guardrail.core.log.record import dumps
from guardrail.core.state_reads import CallDecided, StateText, StateVersion
from guardrail.core.types import Effect, Json, JsonObject

__all__ = [
    "EMPTY",
    "MOST_RECENT",
    "MOST_RECENT_BYTES",
    "MOST_TOOLS",
    "NO_CALLS",
    "SUM",
    "CallTally",
    "RecentCall",
    "number",
]

MOST_RECENT = 40
"""Maximum number of calls in ``recent``. Beyond that, the oldest call of the tool with the most
calls is dropped, so that frequent calls of one tool do not hide those of another.
"""
MOST_RECENT_BYTES = 12_288
"""Maximum length of ``recent`` in bytes, as JSON. A record has room for the state of a session, a
principal and an agent.
"""
MOST_TOOLS = 512
"""Maximum number of tools counted separately in one state. Calls of others count as tool ``*``."""
_MOST_DENIED_TOOLS = 16
"""Maximum number of tools counted separately of which no call was admitted. An agent can make up
any number of names, and these must not displace the tools that it uses.
"""
_MOST_LABELS = 64
"""Maximum number of labels in one state. Beyond that, ``*`` stands for every other label."""
_OTHER = "*"
SUM: Final = Context(prec=60, traps=[])
"""Sums must not depend on the settings that the program made for its own decimals."""


@dataclass(slots=True)
class _Counts:
    """The calls of one tool."""

    calls: int = 0
    denied: int = 0
    in_flight: int = 0
    amounts: dict[str, Decimal] = field(default_factory=dict)
    dropped: bool = False
    """True if an admitted call of this tool is missing from ``recent``."""
    text: bytes = b""
    """The counts as JSON, or nothing if they have changed."""

    def written(self) -> bytes:
        """Return the counts as JSON."""
        if not self.text:
            self.text = dumps(
                {
                    "calls": self.calls,
                    "denied": self.denied,
                    "in_flight": self.in_flight,
                    "amounts": {place: number(total) for place, total in self.amounts.items()},
                    "recent_complete": not self.dropped,
                }
            )
        return self.text


@dataclass(slots=True)
class RecentCall:
    """A call in ``recent``, which several states share. Its JSON text is made once, and again when
    the call ends.
    """

    call: str
    tool: str
    admitted: bool
    begin: bytes
    """The JSON text before the outcome."""
    outcome: str
    end: bytes
    """The JSON text after the outcome."""
    text: bytes = b""

    def __post_init__(self) -> None:
        self.text = self.begin + dumps(self.outcome) + self.end

    @classmethod
    def of(cls, change: CallDecided, time: str) -> RecentCall:
        """Return the call of *change*, which was decided at *time*."""
        end = b'%b%b,"tool":%b}' % (change.end, dumps(time), dumps(change.tool))
        admitted = change.effect == Effect.ALLOW
        return cls(change.call, change.tool, admitted, change.begin, "", end)

    def finish(self, outcome: str) -> None:
        """Set the outcome."""
        if outcome != self.outcome:
            self.outcome = outcome
            self.__post_init__()


class CallTally:
    """The state of one session, principal or agent."""

    __slots__ = (
        "_held",
        "_made",
        "admitted",
        "changed",
        "denied",
        "dropped",
        "labels",
        "recent",
        "refused",
        "since",
        "size",
        "tools",
    )

    def __init__(self) -> None:
        self.denied = 0
        self.since = ""
        self.tools: dict[str, _Counts] = {}
        self.labels: set[str] = set()
        self.recent: list[RecentCall] = []
        self.size = 0
        """Length of the recent calls in bytes, without the outcomes that they got later."""
        self.refused = 0
        """Number of recent calls that were not admitted."""
        self._held: dict[str, int] = {}
        """Number of recent calls by tool."""
        self.dropped = False
        """True if an admitted call is missing from ``recent``, because there were too many."""
        self.admitted = self.changed = -1
        self._made: dict[bool, StateText] = {}
        """The texts with and without the recent calls, until the state changes."""

    @property
    def version(self) -> StateVersion:
        """The version of the state."""
        return StateVersion(self.admitted, self.changed)

    # -- changes -----------------------------------------------------------------------------------

    def decide(self, change: CallDecided, seq: int, time: str, call: RecentCall) -> None:
        """Count the call of *change*, which record *seq* decided at *time*. *call* is the same call
        for ``recent``.
        """
        admitted = change.effect == Effect.ALLOW
        self._made = {}
        self.changed = seq
        self.since = self.since or time
        counts = self._of_tool(change.tool, admitted=admitted)
        counts.text = b""
        if admitted:
            self.admitted = seq
            counts.calls += 1
            counts.in_flight += 1
            self._add_labels(change.labels)
            for place, value in change.amounts.items():
                before = counts.amounts.get(place, Decimal(0))
                counts.amounts[place] = SUM.add(before, value)
        elif change.effect == Effect.DENY:
            self.denied += 1
            counts.denied += 1
        self._remember(call)
        while len(self.recent) > MOST_RECENT or self.size > MOST_RECENT_BYTES:
            self._drop_one()

    def end(self, call: str, tool: str, status: str, seq: int) -> None:
        """Count the end of *call*, an admitted call of *tool*, in record *seq*."""
        self._made = {}
        self.admitted = self.changed = seq
        counts = self._of_tool(tool)
        counts.text = b""
        counts.in_flight -= 1
        for each in reversed(self.recent):
            if each.call == call:
                each.finish(status)
                break

    def _of_tool(self, name: str, *, admitted: bool = True) -> _Counts:
        found = self.tools.get(name)
        if found is None:
            used = sum(each.calls > 0 for each in self.tools.values())
            full = used >= MOST_TOOLS
            if not admitted:
                full = full or len(self.tools) - used >= _MOST_DENIED_TOOLS
            found = self.tools.setdefault(_OTHER if full else name, _Counts())
        return found

    def _add_labels(self, labels: Sequence[str]) -> None:
        """Add *labels*. If there are too many, ``*`` stands for those that are missing."""
        for label in labels:
            self.labels.add(label if len(self.labels) < _MOST_LABELS else _OTHER)

    def _remember(self, call: RecentCall) -> None:
        self.recent.append(call)
        self.size += len(call.begin) + len(call.end)
        self.refused += not call.admitted
        self._held[call.tool] = self._held.get(call.tool, 0) + 1

    def _drop_one(self) -> None:
        """Drop a recent call: one that was not admitted, or the oldest of the tool with the most
        calls.
        """
        held, recent = self._held, self.recent
        if self.refused:
            place = next(n for n, each in enumerate(recent) if not each.admitted)
            self.refused -= 1
        else:
            most = max(held.values())
            place = next(n for n, each in enumerate(recent) if held[each.tool] == most)
            counts = self._of_tool(recent[place].tool)
            self.dropped = counts.dropped = True
            counts.text = b""
        gone = recent.pop(place)
        self.size -= len(gone.begin) + len(gone.end)
        held[gone.tool] -= 1
        if not held[gone.tool]:
            del held[gone.tool]

    # -- the policy's view -------------------------------------------------------------------------

    def text(self, *, recent: bool) -> StateText:
        """Return the state as the policy sees it, without the recent calls if *recent* is False. It
        is the same object until the state changes.
        """
        made = self._made.get(recent)
        if made is None:
            tools = self.tools
            by_tool = b",".join(
                b"%b:%b" % (dumps(name), tools[name].written()) for name in sorted(tools)
            )
            made = self._made[recent] = StateText(
                b'{"by_tool":{%b},"calls":%d,"denied":%d'
                % (by_tool, sum(each.calls for each in tools.values()), self.denied),
                b'"in_flight":%d,"labels":%b,"recent":[%b],"recent_complete":%b,"since":%b}'
                % (
                    sum(each.in_flight for each in tools.values()),
                    dumps(sorted(self.labels)),
                    b",".join([each.text for each in self.recent]) if recent else b"",
                    b"true" if recent and not self.dropped else b"false",
                    dumps(self.since),
                ),
            )
        return made

    # -- storing -----------------------------------------------------------------------------------

    def kept(self) -> dict[str, Any]:
        """Return the state without its recent calls, for ``of_kept``."""
        return {
            "denied": self.denied,
            "since": self.since,
            "labels": sorted(self.labels),
            "admitted": self.admitted,
            "changed": self.changed,
            "tools": [
                {
                    "name": name,
                    "calls": each.calls,
                    "denied": each.denied,
                    "in_flight": each.in_flight,
                    "amounts": {place: str(total) for place, total in each.amounts.items()},
                }
                for name, each in self.tools.items()
            ],
        }

    @classmethod
    def of_kept(cls, fields: Mapping[str, Any]) -> CallTally:
        """Return the state that ``kept`` returned. Raises one of ``MALFORMED``."""
        made = cls()
        made.denied, made.since = int(fields["denied"]), str(fields["since"])
        made.labels = set(map(str, fields["labels"]))
        made.admitted, made.changed = int(fields["admitted"]), int(fields["changed"])
        for each in fields["tools"]:
            sums = {place: Decimal(total) for place, total in each["amounts"].items()}
            calls = int(each["calls"])
            made.tools[str(each["name"])] = _Counts(
                calls, int(each["denied"]), int(each["in_flight"]), sums, dropped=calls > 0
            )
        made.dropped = any(each.dropped for each in made.tools.values())
        return made

    def packed(self) -> bytes:
        """Return the state as bytes, for ``unpacked``."""
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
                [
                    [
                        each.call,
                        each.tool,
                        each.admitted,
                        each.begin.decode(),
                        each.outcome,
                        each.end.decode(),
                    ]
                    for each in self.recent
                ],
                self.dropped,
                self.admitted,
                self.changed,
            ]
        )

    @classmethod
    def unpacked(cls, packed: bytes) -> CallTally:
        """Return the state that ``packed`` stored."""
        made = cls()
        denied, since, tools, labels, recent, dropped, admitted, changed = json.loads(packed)
        made.denied, made.since, made.labels = denied, since, set(labels)
        for call, tool, was_admitted, begin, outcome, end in recent:
            found = RecentCall(call, tool, was_admitted, begin.encode(), outcome, end.encode())
            made._remember(found)
        for name, calls, refused, in_flight, amounts, missing in tools:
            sums = {place: Decimal(total) for place, total in amounts.items()}
            made.tools[name] = _Counts(calls, refused, in_flight, sums, missing)
        made.dropped, made.admitted, made.changed = dropped, admitted, changed
        return made


def number(total: Decimal) -> Json:
    """Return a sum as a JSON number."""
    whole = total == total.to_integral_value() and abs(total) < 1 << 53
    return int(total) if whole else float(total)


NO_CALLS: Final = CallTally().text(recent=True)
"""The state before the first call, as text."""
EMPTY: Final[JsonObject] = NO_CALLS.document
"""The state before the first call."""
