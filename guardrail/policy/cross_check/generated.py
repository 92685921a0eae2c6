"""Generates policy inputs from the names and values that policies mention.

Random values would rarely meet a condition. Inputs that are made of the policies' own literals meet
many, and miss others by one character or one unit.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from typing import Any

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


def generated_inputs(
    modules: Sequence[Module], count: int, seed: str, zones: Sequence[str] = ()
) -> Iterator[str]:
    """Yield *count* policy inputs as JSON: complete calls, with arguments that are missing, of the
    wrong type, or equal or close to the literals in *modules*, and any offset for each time zone in
    *zones*. The same seed gives the same inputs.
    """
    words = _Words(modules, zones)
    choice = random.Random(seed)  # noqa: S311 - no secret
    for _ in range(count):
        yield _input(words, choice)


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


def _input(words: _Words, choice: random.Random) -> str:
    names = [_name(words, choice) for _ in range(choice.randrange(_MOST_ARGS + 1))]
    document: dict[str, Any] = json.loads(
        sample_input(
            choice.choice(words.texts) or "guardrail.sample",
            declared=choice.random() < 0.8,
            args={name: _value(words, choice, 0) for name in names},
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
    return json.dumps(document)


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
