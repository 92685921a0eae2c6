"""Moves expressions out of a statement, to a line before it, in the order in which OPA evaluates
them.

``not startswith(input.name, "x")`` becomes ``y := input.name; not startswith(y, "x")``: if the name
is missing, OPA finds the body undefined, whereas the embedded engine would find the negation true.
The same applies to the calls that OPA makes before it iterates in the same line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from guardrail.policy.rego.collection_order import (
    call_order,
    skipped_call_nodes,
    sorted_call_nodes,
)
from guardrail.policy.rego.order import (
    CALLS,
    early_call_nodes,
    late_call_nodes,
    result_call_nodes,
)
from guardrail.policy.rego.rewriting.splices import (
    Extents,
    Splice,
    Statement,
    end_of,
    fresh_names,
    spliced,
    statements,
)
from guardrail.policy.rego.tree import REFERENCES, Module, Node, RegoRule, kind, nodes, reference
from guardrail.policy.rego.world import PolicyIndex, RuleScope

__all__ = ["with_calls_in_order", "with_defined_negations"]

_COMPREHENSIONS = frozenset({"ArrayCompr", "SetCompr", "ObjectCompr"})
_SIDES = ("key", "value", "lhs", "rhs", "expr", "collection")
_OPERATORS = frozenset({"ArithExpr", "BinExpr", "BoolExpr", "Membership", "UnaryExpr"})


@dataclass(frozen=True, slots=True)
class _Home:
    """The line before or after which an expression is evaluated."""

    line: Statement
    after: bool


class _Hoister:
    """Collects the changes of one module."""

    def __init__(self, module: Module, world: PolicyIndex, fresh: Callable[[], str]) -> None:
        self.module = module
        self.world = world
        self.fresh = fresh
        self.raw = module.source.text.encode("utf-8")
        self.splices: list[Splice] = []
        self.changed: list[tuple[int, int]] = []

    def touches(self, start: int, end: int) -> bool:
        """Return True if a change was already made between *start* and *end*."""
        return any(low < end and start < high for low, high in self.changed)

    def hoist(self, home: _Home, expressions: Iterable[Node], *, plain: bool = False) -> bool:
        """Move *expressions* to *home*. Return False if that is not possible.

        If *plain* is False, the moved lines get the replacements (``with``) of the line.
        """
        extents = Extents(home.line.rule, self.raw)
        changes = b"" if plain else self._changes(home.line)
        place_of = call_order(home.line.rule.node)
        lines: list[tuple[bool, tuple[int, int, int], bytes]] = []
        places: list[Splice] = []
        for node in _outermost(expressions, extents):
            written = extents.on_one_line(node)
            if written is None or changes is None:
                return False
            start, end = extents.of(node)
            given = self.fresh().encode()
            calls = any(name in CALLS for name, _ in nodes(node))
            lines.append((not calls, place_of(start), given + b" := " + written + changes))
            places.append(Splice(start, end, extents.blank_lines(node) + given))
        # OPA makes the calls of a line before it reads references.
        ordered = [line for _, _, line in sorted(lines)]
        around = home.line.after(ordered) if home.after else home.line.before(ordered)
        low = min(place.start for place in (*places, *around))
        high = max(place.end for place in (*places, *around))
        if self.touches(low, high + 1):
            return False
        self.changed.append((low, high + 1))
        self.splices += [*around, *places]
        return True

    def _changes(self, line: Statement) -> bytes | None:
        if not line.changes:
            return b""
        start = int(line.changes[0]["span"]["start"])
        written = self.raw[start : line.end]
        return None if b"\n" in written else b" " + written


def _outermost(expressions: Iterable[Node], extents: Extents) -> list[Node]:
    found: list[tuple[int, int, Node]] = []
    for start, end, node in sorted(
        ((*extents.of(node), node) for node in expressions), key=lambda item: (item[0], -item[1])
    ):
        if not found or start >= found[-1][1]:
            found.append((start, end, node))
    return [node for _, _, node in found]


def with_defined_negations(modules: Sequence[Module]) -> list[str]:
    """Return the texts of *modules*, in order, in which each value that a negation needs is
    computed before the negation.
    """
    return _hoisted(modules, _negations)


def with_calls_in_order(modules: Sequence[Module]) -> list[str]:
    """Return the texts of *modules*, in order, in which calls are made before the iterations and
    collections on the same line.
    """
    return _hoisted(modules, _calls)


def _hoisted(
    modules: Sequence[Module], find: Callable[[_Hoister, RegoRule, RuleScope], None]
) -> list[str]:
    world, fresh = PolicyIndex(modules), fresh_names(modules)
    found = []
    for module in modules:
        if module.source.installed:
            found.append(module.source.text)
            continue
        hoister = _Hoister(module, world, fresh)
        for rule in module.rules:
            find(hoister, rule, RuleScope(world, module, rule))
        found.append(spliced(module.source.text, hoister.splices))
    return found


# Negations.


def _negations(hoister: _Hoister, rule: RegoRule, scope: RuleScope) -> None:
    lines = list(statements(rule, hoister.raw))
    for line in lines:
        if kind(line.literal) != "NotExpr":
            continue
        expression = line.literal["NotExpr"]["expr"]
        wanted = list(_needed(expression, scope))
        if not wanted:
            continue
        wanted += _calling_parts(expression)
        bound = rule.local | set(_positive_names(lines))
        # OPA refuses a variable that only the negation uses.
        if all(_names(node, scope) <= bound for node in wanted):
            hoister.hoist(_Home(line, after=False), wanted)


def _needed(node: Node, scope: RuleScope) -> Iterator[Node]:
    """Yield the parts of a negated expression that OPA computes before the negation, unless they
    always have a value.
    """
    name = kind(node)
    if name in REFERENCES:
        yield from _needed_indices(node, scope)
        return
    if name == "Call":
        yield from (each for each in node["Call"]["params"] if not scope.is_total(each))
        return
    equal = (name == "BoolExpr" and node["BoolExpr"]["op"] == "Eq") or (
        name == "AssignExpr" and node["AssignExpr"]["op"] == "Eq"
    )
    if name in _OPERATORS or equal:
        content = next(iter(node.values()))
        for side in (content.get(key) for key in ("key", "value", "lhs", "rhs", "expr")):
            if side and equal and kind(side) in REFERENCES:
                yield from _needed_indices(side, scope)
            elif side and not scope.is_total(side):
                yield side
        if content.get("collection") and not scope.is_total(content["collection"]):
            yield content["collection"]


def _calling_parts(node: Node) -> Iterator[Node]:
    """Yield the operands of an expression that contain calls. If any other operand is moved, the
    calls must stay before it. Of a reference, only the parts in brackets are moved, because a
    negation or comparison of a missing value has a meaning.
    """
    content = next(iter(node.values()))
    parts = list(content.get("params") or ())
    parts += [content[key] for key in _SIDES if content.get(key)]
    if kind(node) in REFERENCES:
        parts = [node]
    for part in parts:
        found = reference(part)
        inner = [part] if found is None else [*found.dynamic, *([found.base] if found.base else [])]
        yield from (each for each in inner if any(name in CALLS for name, _ in nodes(each)))


def _needed_indices(node: Node, scope: RuleScope) -> Iterator[Node]:
    found = reference(node)
    assert found is not None
    if found.base is not None and not scope.is_total(found.base):
        yield found.base
    yield from (part for part in found.dynamic if not scope.is_total(part))


def _positive_names(lines: Iterable[Statement]) -> Iterator[str]:
    for line in lines:
        if kind(line.literal) != "NotExpr":
            yield from (content["value"] for name, content in nodes(line.literal) if name == "Var")


def _names(node: Any, scope: RuleScope) -> set[str]:
    """Return the variables of *node*, except those of comprehensions."""
    name = kind(node)
    if name in _COMPREHENSIONS:
        return set()
    if name == "Var":
        value = node["Var"]["value"]
        known = value in {"input", "data"} or value in scope.own or value in scope.imports
        return set() if known else {value}
    if name == "Call":
        return set().union(*(_names(each, scope) for each in node["Call"]["params"]))
    found: set[str] = set()
    if isinstance(node, dict):
        for key, value in node.items():
            if key != "span" and isinstance(value, dict | list):
                found |= _names(value, scope)
    elif isinstance(node, list):
        for item in node:
            if isinstance(item, dict | list):
                found |= _names(item, scope)
    return found


# The order of calls.


def _calls(hoister: _Hoister, rule: RegoRule, scope: RuleScope) -> None:
    in_sorted_order = list(sorted_call_nodes(scope))
    if not all(is_known for _, is_known in in_sorted_order):
        return  # the order in which OPA makes them is not known
    wanted = [
        *early_call_nodes(scope),
        *skipped_call_nodes(scope),
        *(call for call, _ in in_sorted_order),
        *_pairs(rule, scope),
    ]
    late = [*result_call_nodes(scope), *late_call_nodes(scope)]
    if not wanted and not late:
        return
    homes = _Homes(rule, hoister.raw)
    placed: dict[tuple[int, bool], tuple[_Home, list[Node]]] = {}
    for node in wanted:
        home = homes.of(node)
        if home is not None:
            before = homes.calls_before(node, home, scope)
            placed.setdefault((home.line.start, home.after), (home, []))[1].extend([*before, node])
    for home, expressions in placed.values():
        hoister.hoist(home, expressions)
    for node in late:
        _assign_result(hoister, homes, node)


def _pairs(rule: RegoRule, scope: RuleScope) -> Iterator[Node]:
    """Yield the keys and values of ``k, v in xs`` that may be missing."""
    for name, content in nodes(rule.node):
        if name == "Membership" and content.get("key"):
            sides = (content["key"], content["value"])
            missing = [side for side in sides if not scope.is_total(side)]
            if missing:
                yield from missing
                yield from _calling_parts({name: content})


def _assign_result(hoister: _Hoister, homes: _Homes, call: Node) -> None:
    """Write ``f(x, result)`` as ``result := f(x)``, and ``walk(x, result)`` as an iteration over a
    list, because the embedded engine makes these calls too late.
    """
    home = homes.of(call)
    if home is None or home.line.changes or home.after:
        return
    content, extents = call["Call"], Extents(home.line.rule, hoister.raw)
    start, end = extents.of(call)
    sign = _sign(home.line.rule, content["params"][-1], start)
    if (home.line.start, home.line.end) != (start, end) or sign is None:
        return
    first, last = extents.of(content["params"][0])[0], extents.of(content["params"][-1])
    function = hoister.raw[start:first]
    arguments = hoister.raw[first : last[0]].rstrip().removesuffix(b",")
    result = hoister.raw[last[0] : last[1]]
    if b"\n" in result or hoister.touches(start, end + 1):
        return
    callee = reference(content["fcn"])
    if callee is not None and callee.dotted == "walk":
        if sign != b":=":
            return
        path, value = hoister.fresh().encode(), hoister.fresh().encode()
        pair = b"[" + path + b", " + value + b"]"
        pairs = b"[" + pair + b" | " + function + arguments + b", " + pair + b")]"
        written = b"some " + result + b" in " + pairs
    elif sign == b":=":
        written = result + b" := " + function + arguments + b")"
    else:
        name = hoister.fresh().encode()
        written = name + b" := " + function + arguments + b"); " + name + b" == " + result
    if not home.line.braced:
        written = b"{ " + written + b" }"
    hoister.changed.append((start, end + 1))
    hoister.splices.append(Splice(start, end, written))


def _sign(rule: RegoRule, result: Node, start: int) -> bytes | None:
    """Return ``:=`` if *result* only contains names that have no value before *start*, ``==`` if
    all of them have one, otherwise None.
    """
    head = next(iter(rule.node["head"].values()))
    arguments = {
        content["value"] for name, content in nodes(head.get("args") or []) if name == "Var"
    }
    names = {content["value"] for name, content in nodes(result) if name == "Var"} - {"_"}
    if names <= arguments and kind(result) not in {"Array", "Object", "Set"}:
        return b":=" if kind(result) == "Var" and not names else b"=="
    earlier = {
        content["value"]
        for name, content in nodes([body["query"] for body in rule.node.get("bodies") or []])
        if name == "Var" and int(content["span"]["start"]) < start
    }
    return b":=" if not names & (earlier | rule.local) else None


def _no_body(rule: RegoRule, raw: bytes) -> _Home:
    end = end_of(raw, rule.node["span"])
    nothing = Statement(rule, {}, (), end, end, braced=True, missing=True)
    return _Home(nothing, after=True)


class _Homes:
    """Finds the line of each expression in a rule. The home of a head, and of the term of a
    comprehension, is the end of the body.
    """

    def __init__(self, rule: RegoRule, raw: bytes) -> None:
        self._lines = {line.start: line for line in statements(rule, raw)}
        self._found: dict[tuple[int, int], _Home] = {}
        self._calls: list[tuple[Node, _Home]] = []
        bodies = rule.node.get("bodies") or []
        if not rule.default:
            head = next(iter(rule.node["head"].values()))
            last = self._last(bodies[0]["query"]) if bodies else _no_body(rule, raw)
            self._visit([head.get("key"), head.get("assign"), *rule.head.dynamic], last)
        for body in bodies:
            self._visit(body.get("assign"), self._last(body["query"]))
            self._query(body["query"])

    def of(self, node: Node) -> _Home | None:
        """Return the home of *node*, or None if it is not known."""
        return self._found.get(_span(node))

    def calls_before(self, node: Node, home: _Home, scope: RuleScope) -> Iterator[Node]:
        """Yield the calls with the same home that OPA makes before *node*, except those that
        iterate.
        """
        start = _span(node)[0]
        for call, other in self._calls:
            if other == home and _span(call)[1] <= start and not _iterates(call, scope):
                yield call

    def _last(self, query: Any) -> _Home | None:
        lines = query["stmts"]
        if not lines:
            return None
        return _Home(self._lines[int(lines[-1]["span"]["start"])], after=True)

    def _query(self, query: Any) -> None:
        for statement in query["stmts"]:
            line = self._lines[int(statement["span"]["start"])]
            self._visit(statement["literal"], _Home(line, after=False))

    def _visit(self, node: Any, home: _Home | None) -> None:
        name = kind(node)
        if name is not None:
            content = node[name]
            if home is not None and "span" in content:
                self._found.setdefault(_span(node), home)
                if name in CALLS:
                    self._calls.append((node, home))
            if name in _COMPREHENSIONS or name == "Every":
                inner = home if name == "Every" else self._last(content["query"])
                for key, value in content.items():
                    if key not in {"span", "query"} and isinstance(value, dict):
                        self._visit(value, inner)
                self._query(content["query"])
                return
        if isinstance(node, dict):
            for key, value in node.items():
                if key != "span" and isinstance(value, dict | list):
                    self._visit(value, home)
        elif isinstance(node, list):
            for item in node:
                self._visit(item, home)


def _iterates(node: Any, scope: RuleScope) -> bool:
    known = scope.rule.local | set(scope.own) | set(scope.imports) | {"input", "data"}
    indices = (content["index"] for name, content in nodes(node) if name == "RefBrack")
    return any(kind(each) == "Var" and each["Var"]["value"] not in known for each in indices)


def _span(node: Node) -> tuple[int, int]:
    name = kind(node)
    assert name is not None
    span = node[name]["span"]
    return int(span["start"]), int(span["end"])
