"""Writes ``x = {"a": y}`` as ``x := {"a": y}`` if ``x`` gets its value there, and compares two
objects or lists part by part: ``{"a": x} = {"a": y}`` becomes ``x = y``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from guardrail.policy.rego.rewriting.splices import (
    Extents,
    Splice,
    Statement,
    spliced,
    statements,
)
from guardrail.policy.rego.tree import Module, Node, RegoRule, kind, nodes

__all__ = ["with_assignments"]

_COMPREHENSIONS = frozenset({"ArrayCompr", "SetCompr", "ObjectCompr"})
_KEYS = frozenset({"String", "RawString"})
_COMPOSITES = frozenset({"Array", "Object"})


def with_assignments(modules: Sequence[Module]) -> list[str]:
    """Return the texts of *modules*, in order, with these lines rewritten."""
    rules: dict[tuple[str, ...], set[str]] = {}
    for module in modules:
        rules.setdefault(module.package, set()).update(rule.name for rule in module.rules)
    found = []
    for module in modules:
        raw = module.source.text.encode("utf-8")
        named = rules[module.package] | {"input", "data"}
        named |= {item.alias for item in module.imports if not item.ignored}
        splices = [
            splice
            for rule in module.rules
            if not rule.default
            for splice in _rule_changes(rule, raw, named)
        ]
        found.append(spliced(module.source.text, splices))
    return found


def _rule_changes(rule: RegoRule, raw: bytes, named: set[str]) -> Iterator[Splice]:
    lines = {line.start: line for line in statements(rule, raw)}
    head = next(iter(rule.node["head"].values()))
    arguments = {
        content["value"] for name, content in nodes(head.get("args") or []) if name == "Var"
    }
    for query, outer in _queries([head, rule.node["bodies"]], named | arguments):
        known = set(outer)
        outside = _outside(rule, query)
        # The embedded engine may evaluate xs[x] first, whatever the order of the lines.
        searched = _indices(query["stmts"])
        for statement in query["stmts"]:
            line = lines[int(statement["span"]["start"])]
            sides = _sides(line)
            if sides is not None:
                yield from _changes(line, raw, sides, known, outside | searched)
            outside |= {c["value"] for name, c in nodes(statement) if name == "Var"}
            known |= _given(statement["literal"], known)


def _queries(node: Any, known: set[str]) -> Iterator[tuple[Node, set[str]]]:
    """Yield each body in *node* with the names that have a value before it."""
    if isinstance(node, list):
        for item in node:
            yield from _queries(item, known)
    elif isinstance(node, dict):
        if "stmts" in node:
            yield node, known
            inner = set(known)
            for statement in node["stmts"]:
                yield from _queries(statement["literal"], inner)
                inner |= _given(statement["literal"], inner)
            return
        for key, value in node.items():
            if key != "span":
                yield from _queries(value, known)


def _outside(rule: RegoRule, query: Node) -> set[str]:
    """Return the variables in the bodies of *rule*, except those in *query*."""
    found: set[str] = set()
    stack: list[Any] = [rule.node["bodies"], rule.node["head"]]
    while stack:
        item = stack.pop()
        if item is query:
            continue
        if isinstance(item, dict):
            if kind(item) == "Var":
                found.add(item["Var"]["value"])
            stack += [value for key, value in item.items() if key != "span"]
        elif isinstance(item, list):
            stack += item
    own = _terms(rule, query)
    return found - own


def _terms(rule: RegoRule, query: Node) -> set[str]:
    """Return the variables in the head or term whose body is *query*."""
    found: set[str] = set()
    head = next(iter(rule.node["head"].values()))
    for index, body in enumerate(rule.node["bodies"]):
        if body["query"] is query:
            terms = [body.get("assign")]
            if not index:
                terms += [head.get("key"), head.get("assign"), *rule.head.dynamic]
            return {content["value"] for name, content in nodes(terms) if name == "Var"}
    for name, content in nodes([rule.node["bodies"], rule.node["head"]]):
        if name in _COMPREHENSIONS and content["query"] is query:
            terms = [value for key, value in content.items() if key not in {"query", "span"}]
            found |= {inner["value"] for each, inner in nodes(terms) if each == "Var"}
    return found


def _sides(line: Statement) -> tuple[Node, Node] | None:
    given: Any = (line.literal.get("Expr") or {}).get("expr")
    if kind(given) != "AssignExpr" or given["AssignExpr"]["op"] != "Eq" or line.changes:
        return None
    return given["AssignExpr"]["lhs"], given["AssignExpr"]["rhs"]


def _changes(
    line: Statement,
    raw: bytes,
    sides: tuple[Node, Node],
    known: set[str],
    outside: set[str],
) -> Iterator[Splice]:
    rule, extents = line.rule, Extents(line.rule, raw)
    for one, other in (sides, sides[::-1]):
        if kind(one) == "Var" and kind(other) in _COMPOSITES:
            name = one["Var"]["value"]
            new = name != "_" and name not in known | outside | rule.local
            new = new and _has_object(other)
            if new and _needed(other) and _needed(other) <= known:
                yield from _assigned(extents, raw, sides, name)
            return
    if kind(sides[0]) == kind(sides[1]) and any(
        kind(side) == "Object" or _has_object(side) for side in sides
    ):
        pairs = _pairs(*sides)
        both = raw[line.start : line.end]
        if pairs is not None and b"\n" not in both and not _has_call(sides):
            written = b"; ".join(
                extents.text(left) + b" = " + extents.text(right) for left, right in pairs
            )
            if not line.braced:
                written = b"{ " + written + b" }"
            yield Splice(line.start, line.end, written)


def _assigned(
    extents: Extents, raw: bytes, sides: tuple[Node, Node], name: str
) -> Iterator[Splice]:
    (left, end), (begin, _) = extents.of(sides[0]), extents.of(sides[1])
    if kind(sides[0]) == "Var":
        sign = raw.index(b"=", end, begin)
        yield Splice(sign, sign + 1, b":=")
    elif b"\n" not in raw[left : extents.of(sides[1])[1]]:
        value = extents.text(sides[0])
        yield Splice(left, extents.of(sides[1])[1], name.encode() + b" := " + value)


def _pairs(left: Node, right: Node) -> list[tuple[Node, Node]] | None:
    """Return the parts that must be equal, or None if they are not known."""
    form = kind(left)
    if form != kind(right) or form not in _COMPOSITES:
        return [(left, right)]
    if form == "Array":
        one, two = left["Array"]["items"], right["Array"]["items"]
        parts = list(zip(one, two, strict=False)) if len(one) == len(two) else None
    else:
        first, second = _fields(left), _fields(right)
        same = first is not None and second is not None and first.keys() == second.keys()
        parts = [(first[key], second[key]) for key in first] if same and first and second else None
    if not parts:
        return None
    found: list[tuple[Node, Node]] = []
    for one, two in parts:
        inner = _pairs(one, two)
        if inner is None:
            return None
        found += inner
    return found


def _fields(node: Node) -> dict[str, Node] | None:
    fields = node["Object"]["fields"]
    if any(kind(key) not in _KEYS for _, key, _ in fields):
        return None
    found = {key[kind(key)]["value"]: value for _, key, value in fields}
    return found if len(found) == len(fields) else None


def _has_object(node: Node) -> bool:
    return any(name == "Object" for name, _ in nodes(node))


def _has_call(tree: Any) -> bool:
    return any(name in {"Call", *_COMPREHENSIONS} for name, _ in nodes(list(tree)))


def _needed(node: Any) -> set[str]:
    """Return the variables that must have a value before *node* has one."""
    name = kind(node)
    if name in _COMPREHENSIONS:
        return set()
    if name == "Var":
        return {node["Var"]["value"]} - {"_"}
    if name == "RefBrack" and kind(node["RefBrack"]["index"]) == "Var":
        return _needed(node["RefBrack"]["refr"])
    if name == "Call":
        return set().union(*(_needed(each) for each in node["Call"]["params"]))
    found: set[str] = set()
    values = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    for value in values:
        if isinstance(value, dict | list):
            found |= _needed(value)
    return found


def _indices(node: Any) -> set[str]:
    """Return the variables in brackets, which have a value after *node* is evaluated."""
    return {
        content["index"]["Var"]["value"]
        for name, content in nodes(node)
        if name == "RefBrack" and kind(content["index"]) == "Var"
    }


def _given(literal: Node, known: set[str]) -> set[str]:
    """Return the variables that certainly have a value after a line."""
    form = kind(literal)
    if form == "SomeIn":
        content = literal["SomeIn"]
        if _needed(content["collection"]) <= known:
            parts = [content.get("key"), content["value"]]
            return {part["Var"]["value"] for part in parts if kind(part) == "Var"}
        return set()
    given: Any = (literal.get("Expr") or {}).get("expr")
    if kind(given) != "AssignExpr":
        plain = given is not None and kind(given) != "Call" and _needed(given) <= known
        return _indices(given) if plain and not _inner_names(given) else set()
    for one, other in (
        (given["AssignExpr"]["lhs"], given["AssignExpr"]["rhs"]),
        (given["AssignExpr"]["rhs"], given["AssignExpr"]["lhs"]),
    ):
        if kind(one) == "Var" and _needed(other) <= known and not _inner_names(other):
            return {one["Var"]["value"], *_indices(other)}
        if kind(one) == "Var" and _needed(other) <= known:
            return {one["Var"]["value"]}
    return set()


def _inner_names(node: Any) -> bool:
    return any(name in _COMPREHENSIONS for name, _ in nodes(node))
