"""Generates policy inputs from the names and values that policies mention.

Random values would rarely meet a condition. Inputs that are made of the policies' own literals meet
many, and miss others by one character or one unit.
"""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from guardrail.core.state_reads import SECTIONS
from guardrail.core.types import Json
from guardrail.policy.embedded.rehearsal import sample_input
from guardrail.policy.rego.tree import Module, nodes, reference

__all__ = ["generated_inputs"]

_ARGS = ("action", "properties", "args")
_MOST_ARGS = 5
_LISTING = 0.1
"""Share of inputs that ask for a listing."""
_TIMES = (
    "2026-01-01T00:00:00.000000Z",
    "2026-07-18T13:30:00.000000Z",
    "2026-11-01T23:59:59.999999Z",
)

_OFFSETS = (0, 3600, 7200, 20_700, 50_400, -12_600, -36_000)
"""Offsets of time zones in seconds."""

_AGES = (-60, 0, 1, 1799, 1800, 3599, 3600, 3601, 86_400, 172_800)
"""Ages of earlier calls in seconds. A clock that was set back makes one negative."""
_AMOUNTS = (0, 1, 50, 99, 100, 101, 2000)


def generated_inputs(
    modules: Sequence[Module], count: int, seed: str, zones: Sequence[str] = ()
) -> Iterator[str]:
    """Yield *count* policy inputs as JSON: complete calls, with arguments that are missing, of the
    wrong type, or equal or close to the literals in *modules*, and any offset for each time zone in
    *zones*. The same seed gives the same inputs.

    Every other input takes the next pair of an argument and a literal, or a number one beside it,
    so no seed misses a pair if *count* is at least twice the number of pairs.
    """
    words = _Words(modules, zones)
    choice = random.Random(seed)  # noqa: S311 - no secret
    pairs = itertools.cycle(words.pairs(choice))
    for index in range(count):
        yield _input(words, choice, dict([next(pairs)] if index % 2 else []))


class _Words:
    """The names and literals in the authors' modules."""

    def __init__(self, modules: Sequence[Module], zones: Sequence[str]) -> None:
        self.zones = zones
        texts: set[str] = set()
        numbers: set[float | int] = set()
        args: set[str] = set()
        for module in modules:
            if module.source.installed:
                continue
            for rule in module.rules:
                for name, value in nodes(rule.node):
                    if name in {"String", "RawString"} and isinstance(value.get("value"), str):
                        texts.add(value["value"])
                    elif name == "Number" and isinstance(value.get("value"), int | float):
                        numbers.add(value["value"])
                    elif name in {"RefDot", "RefBrack"}:
                        args |= _argument({name: value})
        self.texts = [*sorted(texts), "", "x"]
        self.numbers = [*sorted(numbers), 0, 1]
        self.args = sorted(args) or self.texts

    def pairs(self, choice: random.Random) -> list[tuple[str, Json]]:
        """Return each argument with each literal, and with the numbers beside it, in any order."""
        numbers = {number + step for number in self.numbers for step in (0, 1, -1)}
        values: list[Json] = [*self.texts, *sorted(numbers)]
        found = [*itertools.product(self.args, values)]
        choice.shuffle(found)
        return found


def _argument(node: dict[str, Any]) -> set[str]:
    """Return the name of the argument that *node* refers to, or an empty set."""
    found = reference(node)
    static = () if found is None else found.static
    if found is None or found.head == "data":
        return set()
    depth = len(_ARGS)
    if static[:depth] == _ARGS and len(static) > depth:
        return {static[depth]}
    # Policies often read arguments through a rule of their own, such as args.amount.
    return {static[0]} if static and found.head != "input" else set()


def _input(words: _Words, choice: random.Random, args: Mapping[str, object]) -> str:
    """Return an input whose arguments include *args*."""
    names = [_name(words, choice) for _ in range(choice.randrange(_MOST_ARGS + 1))]
    document: dict[str, Any] = json.loads(
        sample_input(
            choice.choice(words.texts) or "guardrail.sample",
            declared=choice.random() < 0.8,
            args={**{name: _value(words, choice, 0) for name in names}, **args},
            name="tools/list" if choice.random() < _LISTING else "tools/call",
        )
    )
    document["subject"]["id"] = choice.choice(words.texts) or "someone"
    properties = document["subject"]["properties"]
    properties["assurance"] = choice.choice(["asserted", "verified"])
    properties["roles"] = choice.sample(words.texts, min(len(words.texts), choice.randrange(3)))
    document["context"]["agent"]["id"] = choice.choice(words.texts) or "agent"
    document["context"]["time"] = choice.choice(_TIMES)
    document["context"]["zones"] = {zone: choice.choice(_OFFSETS) for zone in words.zones}
    document["resource"]["properties"] |= {
        "target": choice.sample(words.texts, choice.randrange(2)),
        "amounts": _amounts(words, choice),
    }
    for section in SECTIONS:
        document["context"][section] |= _state(words, choice, document["context"]["time"])
    return json.dumps(document)


def _state(words: _Words, choice: random.Random, now: str) -> dict[str, Json]:
    """Return the state of a session, principal or agent at *now*."""
    ages = sorted((choice.choice(_AGES) for _ in range(choice.randrange(5))), reverse=True)
    recent: list[Json] = []
    moments: list[str] = []
    by_tool: dict[str, dict[str, Any]] = {}
    labels: set[str] = set()
    for age in ages:
        tool, allowed = choice.choice(words.texts), choice.random() < 0.7
        amounts, own = _amounts(words, choice), choice.sample(words.texts, choice.randrange(2))
        counts = by_tool.setdefault(tool, {"calls": 0, "denied": 0, "in_flight": 0, "amounts": {}})
        counts["calls" if allowed else "denied"] += 1
        for pointer, amount in amounts.items() if allowed else ():
            counts["amounts"][pointer] = counts["amounts"].get(pointer, 0) + amount
        labels |= {label for label in own if allowed}
        moment = datetime.fromisoformat(now) - timedelta(seconds=age)
        moments.append(moment.isoformat(timespec="microseconds").replace("+00:00", "Z"))
        recent.append(
            {
                "time": moments[-1],
                "tool": tool,
                "effect": "allow" if allowed else choice.choice(["deny", "require_approval"]),
                "outcome": choice.choice(["ok", "error", ""]) if allowed else "",
                "rules": [],
                "target": choice.sample(words.texts, choice.randrange(2)),
                "labels": [*own],
                "amounts": {**amounts},
            }
        )
    allowed_calls = sum(counts["calls"] for counts in by_tool.values())
    return {
        "calls": allowed_calls,
        "denied": len(recent) - allowed_calls,
        "since": moments[0] if moments else "",
        "by_tool": {**by_tool},
        "labels": [*sorted(labels)],
        "recent": recent,
        "recent_complete": choice.random() < 0.7,
    }


def _amounts(words: _Words, choice: random.Random) -> dict[str, int]:
    pointers = [text for text in words.texts if text.startswith("/")]
    return {pointer: choice.choice(_AMOUNTS) for pointer in pointers if choice.random() < 0.7}


def _name(words: _Words, choice: random.Random) -> str:
    """Return the name of an argument, or another text, which might be one."""
    return choice.choice(words.args if choice.random() < 0.8 else words.texts)


def _value(words: _Words, choice: random.Random, depth: int) -> Json:
    kind = choice.randrange(10)
    if kind < 3:
        return choice.choice(words.texts)
    if kind < 5:
        return choice.choice(words.numbers) + choice.choice([0, 0, 1, -1])
    if kind == 5:
        return choice.choice([True, False, None])
    if kind == 6:
        return str(choice.choice(words.numbers))
    if kind == 7 or depth > 1:
        return choice.choice(words.texts) + choice.choice(["", " ", "/", "A"])
    if kind == 8:
        return [_value(words, choice, depth + 1) for _ in range(choice.randrange(3))]
    names = [_name(words, choice) for _ in range(choice.randrange(3))]
    return {name: _value(words, choice, depth + 1) for name in names}
