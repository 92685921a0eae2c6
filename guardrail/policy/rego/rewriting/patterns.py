"""Writes object patterns and repeated names as comparisons.

In OPA, ``{"a": x} := o`` matches an object with the key ``a`` and no other, and a name that occurs
twice stands for equal values. The embedded engine checks neither, so both are written out:
``y := o; is_object(y); object.keys(y) == {"a"}; x := y["a"]``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from guardrail.policy.rego.matching import nested_patterns
from guardrail.policy.rego.rewriting.splices import (
    Extents,
    Splice,
    Statement,
    end_of,
    fresh_names,
    spliced,
    statements,
)
from guardrail.policy.rego.tree import Module, Node, RegoRule, kind
from guardrail.policy.rego.world import PolicyIndex, RuleScope

__all__ = ["with_compared_patterns"]

_KEYS = frozenset({"String", "RawString", "Number"})


class _Unsupported(Exception):
    """A pattern that can't be written out."""


class _Writer:
    """Writes out the patterns of one rule."""

    def __init__(self, rule: RegoRule, raw: bytes, fresh: Callable[[], str]) -> None:
        self.extents = Extents(rule, raw)
        self.fresh = fresh
        self.splices: list[Splice] = []
        self.lines: list[bytes] = []

    def replace(self, node: Node) -> bytes:
        """Put a new name in place of *node* and return it."""
        name = self.fresh().encode()
        start, end = self.extents.of(node)
        self.splices.append(Splice(start, end, self.extents.blank_lines(node) + name))
        return name

    def pattern(self, node: Node, names: set[str], sign: bytes) -> None:
        """Simplify a pattern in place. *names* are those that occurred before; *sign* assigns the
        value of a part to a name.
        """
        form = kind(node)
        if form == "Var":
            name = node["Var"]["value"]
            if name in names:
                self.lines.append(self.replace(node) + b" == " + name.encode())
            elif name != "_":
                names.add(name)
        elif form == "Array":
            for item in node["Array"]["items"]:
                self.pattern(item, names, sign)
        elif form == "Object":
            self.matched(node, self.replace(node), names, sign)
        elif form == "Set":
            raise _Unsupported

    def matched(self, node: Node, value: bytes, names: set[str], sign: bytes) -> None:
        """Add the lines that compare *value*, an expression, with a pattern."""
        form = kind(node)
        if form == "Var":
            name = node["Var"]["value"]
            if name in names:
                self.lines.append(value + b" == " + name.encode())
            else:
                self.lines.append(
                    (b"_" if name == "_" else name.encode()) + b" " + sign + b" " + value
                )
                names |= {name} - {"_"}
        elif form == "Object":
            self._fields(node, value, names, sign)
        elif form == "Array":
            item_names = []
            inner: list[tuple[Node, bytes]] = []
            for item in node["Array"]["items"]:
                item_names.append(self.fresh().encode())
                inner.append((item, item_names[-1]))
            self.lines.append(b"[" + b", ".join(item_names) + b"] := " + value)
            for item, name in inner:
                self.matched(item, name, names, sign)
        elif form == "Set":
            raise _Unsupported
        else:
            self.lines.append(value + b" == " + self._text(node))

    def _fields(self, node: Node, value: bytes, names: set[str], sign: bytes) -> None:
        fields = node["Object"]["fields"]
        if any(kind(key) not in _KEYS for _, key, _ in fields):
            raise _Unsupported
        keys = [self._text(key) for _, key, _ in fields]
        self.lines.append(b"is_object(" + value + b")")
        allowed = b"{" + b", ".join(keys) + b"}" if keys else b"set()"
        self.lines.append(b"object.keys(" + value + b") == " + allowed)
        for key, (_, _, part) in zip(keys, fields, strict=True):
            place = value + b"[" + key + b"]"
            if kind(part) in {"Object", "Array"}:
                name = self.fresh().encode()
                self.lines.append(name + b" := " + place)
                place = name
            self.matched(part, place, names, sign)

    def _text(self, node: Node) -> bytes:
        written = self.extents.on_one_line(node)
        if written is None:
            raise _Unsupported
        return written


def with_compared_patterns(modules: Sequence[Module]) -> list[str]:
    """Return the texts of *modules*, in order, without object patterns and repeated names in
    patterns.
    """
    world, fresh = PolicyIndex(modules), fresh_names(modules)
    found = []
    for module in modules:
        raw = module.source.text.encode("utf-8")
        splices: list[Splice] = []
        for rule in module.rules:
            scope = RuleScope(world, module, rule)
            taken: list[tuple[int, int]] = []
            for changes in _changes(scope, raw, fresh):
                low, high = min(c.start for c in changes), max(c.end for c in changes)
                if not any(low <= end and start <= high for start, end in taken):
                    taken.append((low, high))
                    splices += changes
        found.append(spliced(module.source.text, splices))
    return found


def _changes(scope: RuleScope, raw: bytes, fresh: Callable[[], str]) -> Iterator[list[Splice]]:
    rule = scope.rule
    if rule.default:
        return
    head = next(iter(rule.node["head"].values()))
    arguments: list[Node] = head.get("args") or []
    if _is_complex(arguments, set()):
        changes = _function(rule, raw, fresh, arguments)
        if changes:
            yield changes
            return
    bound = {each["Var"]["value"] for each in nested_patterns(arguments) if kind(each) == "Var"}
    bound |= {"input", "data", *scope.own, *scope.imports} - rule.local
    for line in statements(rule, raw):
        changes = _line(line, raw, fresh, bound)
        if changes:
            yield changes


def _is_complex(parts: Sequence[Any], bound: set[str]) -> bool:
    """Return True if *parts* contain an object pattern, or one new name twice."""
    found = list(nested_patterns([part for part in parts if part]))
    names = [each["Var"]["value"] for each in found if kind(each) == "Var"]
    new = [name for name in names if name not in bound and name != "_"]
    objects = any(kind(each) in {"Object", "Set"} for each in found)
    return (objects and bool(new or not bound)) or max(Counter(new).values(), default=0) > 1


def _line(line: Statement, raw: bytes, fresh: Callable[[], str], bound: set[str]) -> list[Splice]:
    """Return the changes of a line that contains a pattern."""
    if line.changes:
        return []
    writer = _Writer(line.rule, raw, fresh)
    form = kind(line.literal)
    given: Any = (line.literal.get("Expr") or {}).get("expr")
    try:
        if form == "SomeIn":
            content = line.literal["SomeIn"]
            parts = [part for part in (content.get("key"), content["value"]) if part]
            if not _has_objects(parts):
                return []
            names: set[str] = set()
            for part in parts:
                writer.pattern(part, names, b":=")
        elif kind(given) == "AssignExpr":
            content = given["AssignExpr"]
            if content["op"] == "ColEq":
                if not _has_objects([content["lhs"]]):
                    return []
                writer.pattern(content["lhs"], set(), b":=")
            else:
                names = set()
                for side in (content["lhs"], content["rhs"]):
                    if kind(side) != "Var" and _is_complex([side], bound):
                        _unified(writer, side, names, bound)
    except _Unsupported:
        return []
    if not writer.lines:
        return []
    return [*writer.splices, *line.after(writer.lines)]


def _has_objects(parts: Sequence[Any]) -> bool:
    # OPA refuses a name that is declared twice.
    names = [each["Var"]["value"] for each in nested_patterns(list(parts)) if kind(each) == "Var"]
    repeated = max(Counter(name for name in names if name != "_").values(), default=0) > 1
    return not repeated and any(kind(each) == "Object" for each in nested_patterns(list(parts)))


def _unified(writer: _Writer, side: Node, names: set[str], bound: set[str]) -> None:
    """Simplify one side of ``=``. Names in *bound* have a value, the others may get one."""
    form = kind(side)
    if form == "Var":
        name = side["Var"]["value"]
        if name in names:
            writer.lines.append(writer.replace(side) + b" == " + name.encode())
        elif name != "_" and name not in bound:
            names.add(name)
    elif form == "Array":
        for item in side["Array"]["items"]:
            _unified(writer, item, names, bound)
    elif form == "Object":
        new = [
            each["Var"]["value"]
            for each in nested_patterns(side)
            if kind(each) == "Var" and each["Var"]["value"] not in bound
        ]
        if new:
            writer.matched(side, writer.replace(side), names, b"=")
    elif form == "Set":
        raise _Unsupported


def _function(
    rule: RegoRule, raw: bytes, fresh: Callable[[], str], arguments: Sequence[Node]
) -> list[Splice]:
    """Return the changes of a function whose arguments contain a pattern."""
    writer = _Writer(rule, raw, fresh)
    names: set[str] = set()
    try:
        for argument in arguments:
            writer.pattern(argument, names, b":=")
    except _Unsupported:
        return []
    if not writer.lines:
        return []
    lines = {line.start: line for line in statements(rule, raw)}
    written = b"; ".join(writer.lines)
    found = list(writer.splices)
    bodies = rule.node["bodies"]
    for body in bodies:
        first = next(iter(body["query"]["stmts"]), None)
        if first is not None:
            found += lines[int(first["span"]["start"])].before(writer.lines)
        else:
            end = end_of(raw, body["span"])
            found.append(Splice(end, end, b" if { " + written + b" }"))
    if not bodies:
        end = end_of(raw, rule.node["span"])
        found.append(Splice(end, end, b" if { " + written + b" }"))
    return found
