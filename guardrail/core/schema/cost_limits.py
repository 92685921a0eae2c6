"""Limits the cost of a foreign JSON Schema before anything is validated with it.

A schema from a tool server is hostile: it can refer to remote documents or to itself, or expand
exponentially when references are followed. ``survey`` visits every location that can contain a
schema, and rejects references that guardrail does not follow. ``measure`` computes the work that
the worst arguments could cause.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote

from guardrail.core.schema.json_copy import ArgumentLimits
from guardrail.errors import SchemaError

__all__ = ["REASONS", "Cost", "SchemaLimits", "Survey", "follow", "measure", "refuse", "survey"]

IN_PLACE_LISTS: Final = ("allOf", "anyOf", "oneOf")
IN_PLACE_SINGLES: Final = ("not", "if", "then", "else")
IN_PLACE_MAPS: Final = ("dependentSchemas", "dependencies")
_ANY_MEMBER: Final = ("additionalProperties", "unevaluatedProperties", "propertyNames")
_ANY_ITEM: Final = ("items", "additionalItems", "unevaluatedItems", "contains")
_UNUSED: Final = ("$defs", "definitions")
_DYNAMIC: Final = ("$dynamicRef", "$recursiveRef")
_NAMES: Final = ("$anchor", "$dynamicAnchor", "$recursiveAnchor")
_NULL_IS_ABSENT: Final = ("properties", "required")
"""Keywords that some servers send as null instead of omitting them, although the drafts do not
allow null there.
"""
_SMALLEST_DEPTH = 4
SMALLEST_STRING = 4_096
"""The limit on the characters in arguments is never lower than this."""

REASONS: Final[Mapping[str, str]] = {
    "not_json": "a schema must be JSON",
    "not_object": "the top level of a tool's schema must describe an object",
    "size": "a schema is too large",
    "draft": "only drafts 7, 2019-09 and 2020-12 are supported",
    "reference": "only references to existing parts of the schema itself (#/...) are supported",
    "dynamic_reference": "dynamic and recursive references are not supported",
    "identifier": "$id and $schema are accepted at the top level only",
    "recursion": "a schema applies itself to the same value endlessly",
    "expansion": "checking arguments against the schema could take too long",
    "pattern": (
        "a pattern is too large or malformed, needs backtracking (look-around, back-references), "
        "or has a different meaning in other engines"
    ),
    "invalid": "the schema is not valid in its JSON Schema draft",
}


def refuse(detail: str, message: str = "") -> SchemaError:
    """Return the error for *detail*, with *message* if it is more exact than the usual one. The
    message does not quote the schema, because the text of a foreign schema is hostile.
    """
    return SchemaError(
        message or REASONS[detail],
        code=f"schema.{detail}",
        hint="the tool counts as undeclared until its schema is accepted",
    )


@dataclass(frozen=True, slots=True)
class SchemaLimits:
    """Limits on the size of a tool's schema, and on the work that one call can cause with it."""

    size: int = 262_144
    """Maximum size of the schema's canonical JSON in bytes."""
    depth: int = 64
    nodes: int = 20_000
    """Maximum number of JSON values in the schema."""
    places: int = 3_000
    """Maximum number of locations that contain a schema."""
    path_work: int = 5_000
    """Maximum number of keyword groups against which the worst value is checked, summed from the
    root to a leaf.
    """
    total_work: int = 20_000_000
    """The same, summed over all values of one call. Each check takes about 12 ns, so all checks of
    a call take at most about a quarter of a second.
    """
    pattern_text: int = 262_144
    """Maximum number of characters that patterns read in one call (about 0.25 s at worst), divided
    by the number of patterns that read the same string.
    """
    arguments: ArgumentLimits = ArgumentLimits()
    """Limits on the arguments. A costly schema lowers them."""


@dataclass(slots=True)
class _Node:
    """One location that contains a schema."""

    work: int
    patterns: int
    factor: int
    """3 if ``unevaluated*`` makes the validator process everything below the location again."""
    in_place: list[int] = field(default_factory=list)
    members: dict[str, list[int]] = field(default_factory=dict)
    any_member: list[int] = field(default_factory=list)
    positions: list[list[int]] = field(default_factory=list)
    any_item: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Survey:
    """Every location of a schema or subschema. Each location comes after all locations that it
    applies to the same value.
    """

    nodes: list[_Node]
    order: list[int]
    patterns: list[tuple[dict[str, Any], str]]
    """Each pattern, after the schema that contains it."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Limits on arguments that keep validation within the cost limits."""

    depth: int
    nodes: int
    patterns: int
    """Maximum number of patterns that read one string, or 0 if the schema has none."""


def survey(schema: dict[str, Any], limits: SchemaLimits) -> Survey:
    """Strip the identifiers from *schema* in place, and return its locations.

    Raises ``SchemaError`` for references that are remote, dynamic or dangling, for identifiers
    below the top level, and for schemas that apply themselves to the same value.
    """
    schema.pop("$id", None)
    schema.pop("$schema", None)
    walk = _Walk(schema, limits.places)
    return Survey(walk.nodes, _in_place_order(walk.nodes), walk.patterns)


def measure(places: Survey, limits: SchemaLimits) -> Cost:
    """Return the cost for the worst arguments.

    Raises ``SchemaError`` if even small arguments cost too much.
    """
    nodes, order, deepest = places.nodes, places.order, limits.arguments.depth
    depth, worst = 0, 0
    for level, total in _levels(nodes, order, [node.work for node in nodes], deepest):
        if total > limits.path_work:
            break
        depth, worst = level, total
    else:
        depth = deepest
    if depth < _SMALLEST_DEPTH:
        raise refuse("expansion")
    patterns = 0
    if any(node.patterns for node in nodes):
        for _, total in _levels(nodes, order, [node.patterns for node in nodes], depth):
            patterns = total
    if patterns and limits.pattern_text // patterns < SMALLEST_STRING:
        raise refuse("expansion")
    return Cost(depth, min(limits.arguments.nodes, limits.total_work // max(worst, 1)), patterns)


class _Walk:
    """Every schema that can be reached from the root, as a graph of ``_Node``."""

    def __init__(self, root: dict[str, Any], places: int) -> None:
        self.root = root
        self.places = places
        self.nodes: list[_Node] = []
        self.patterns: list[tuple[dict[str, Any], str]] = []
        self._numbers: dict[int, int] = {}
        self._todo: list[dict[str, Any]] = []
        self._number(root)
        while self._todo:
            schema = self._todo.pop()
            self._visit(schema, self.nodes[self._numbers[id(schema)]])

    def _number(self, schema: Any) -> list[int]:
        # Boolean schemas cost nothing. The validator refuses anything else that is not an object.
        if not isinstance(schema, dict):
            return []
        number = self._numbers.get(id(schema))
        if number is None:
            number = self._numbers[id(schema)] = len(self.nodes)
            if number >= self.places:
                raise refuse("size")
            found = _patterns(schema)
            self.patterns += [(schema, pattern) for pattern in found]
            self.nodes.append(_own_cost(schema, len(found)))
            self._todo.append(schema)
        return [number]

    def _visit(self, schema: dict[str, Any], node: _Node) -> None:
        if any(name in schema for name in _DYNAMIC):
            raise refuse("dynamic_reference")
        if "$id" in schema or "$schema" in schema:
            raise refuse("identifier")
        for name in _NAMES:
            schema.pop(name, None)
        for name in _NULL_IS_ABSENT:
            if schema.get(name, ...) is None:
                del schema[name]
        if "$ref" in schema:
            node.in_place += self._number(follow(self.root, schema["$ref"]))
        node.in_place += self._singles(schema, IN_PLACE_SINGLES)
        node.in_place += self._maps(schema, IN_PLACE_MAPS)
        for keyword in IN_PLACE_LISTS:
            node.in_place += [n for item in _list(schema.get(keyword)) for n in self._number(item)]
        for key, item in _dict(schema.get("properties")).items():
            node.members[key] = self._number(item)
        node.any_member += self._maps(schema, ("patternProperties",))
        node.any_member += self._singles(schema, _ANY_MEMBER)
        for keyword in ("prefixItems", "items"):
            node.positions += [self._number(item) for item in _list(schema.get(keyword))]
        node.any_item += self._singles(schema, _ANY_ITEM)
        self._maps(schema, _UNUSED)

    def _singles(self, schema: dict[str, Any], keywords: tuple[str, ...]) -> list[int]:
        return [number for word in keywords for number in self._number(schema.get(word))]

    def _maps(self, schema: dict[str, Any], keywords: tuple[str, ...]) -> list[int]:
        return [
            number
            for word in keywords
            for item in _dict(schema.get(word)).values()
            for number in self._number(item)
        ]


def _patterns(schema: dict[str, Any]) -> list[str]:
    found = [pattern for pattern in (schema.get("pattern"),) if isinstance(pattern, str)]
    found += _dict(schema.get("patternProperties"))
    return found


def _own_cost(schema: dict[str, Any], patterns: int) -> _Node:
    # For every value, a validator visits each entry of properties, required and similar keywords.
    entries = sum(len(value) for value in schema.values() if isinstance(value, (dict, list)))
    again = "unevaluatedProperties" in schema or "unevaluatedItems" in schema
    return _Node(1 + entries // 4, patterns, 3 if again else 1)


def follow(root: Mapping[str, Any], reference: object) -> Any:
    """Return the target of a local reference (``#`` or ``#/...``).

    Raises ``SchemaError`` for any other reference.
    """
    if not isinstance(reference, str):
        raise refuse("reference")
    if reference == "#":
        return root
    if not reference.startswith("#/"):
        raise refuse("reference")
    found: Any = root
    for step in reference[2:].split("/"):
        key = unquote(step).replace("~1", "/").replace("~0", "~")
        if isinstance(found, dict) and key in found:
            found = found[key]
        elif (
            isinstance(found, list) and key.isascii() and key.isdecimal() and int(key) < len(found)
        ):
            found = found[int(key)]
        else:
            raise refuse("reference")
        # A part with its own identifier would resolve the references in it by different rules.
        if isinstance(found, dict) and isinstance(found.get("$id"), str):
            raise refuse("identifier")
    if not isinstance(found, (dict, bool)):
        raise refuse("reference")
    return found


def _in_place_order(nodes: list[_Node]) -> list[int]:
    """Return the nodes in an order in which each node comes after all nodes that it applies to the
    same value.

    Raises ``SchemaError`` if there is a cycle.
    """
    order: list[int] = []
    state = [0] * len(nodes)  # 0 is new, 1 is on the path, 2 is done
    for start in range(len(nodes)):
        if state[start]:
            continue
        state[start] = 1
        path: list[tuple[int, Iterator[int]]] = [(start, iter(nodes[start].in_place))]
        while path:
            number, rest = path[-1]
            for other in rest:
                if state[other] == 1:
                    raise refuse("recursion")
                if state[other] == 0:
                    state[other] = 1
                    path.append((other, iter(nodes[other].in_place)))
                    break
            else:
                state[number] = 2
                order.append(number)
                path.pop()
    return order


_ENOUGH = 10**9
"""Sums stop at this value, because exponential schemas would make them hundreds of digits long."""


def _levels(
    nodes: list[_Node], order: list[int], weights: list[int], depth: int
) -> Iterator[tuple[int, int]]:
    """Yield (levels of containers, worst sum of weights on a path from the root) until the sum
    stops growing.
    """
    below = [0] * len(nodes)
    for level in range(depth + 1):
        here = [0] * len(nodes)
        for number in order:
            node = nodes[number]
            total = weights[number] + sum(here[other] for other in node.in_place)
            if level:
                total += max(
                    _branch(list(node.members.values()), node.any_member, below),
                    _branch(node.positions, node.any_item, below),
                )
            here[number] = min(total * node.factor, _ENOUGH)
        yield level, here[0]
        if here == below:
            return
        below = here


def _branch(named: list[list[int]], anywhere: list[int], below: list[int]) -> int:
    most = max((sum(below[number] for number in numbers) for numbers in named), default=0)
    return most + sum(below[number] for number in anywhere)


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
