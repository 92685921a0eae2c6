"""Checks patterns. A pattern matches a value and binds parts of the value to names.

In OPA, an object pattern matches only objects with exactly the same keys, and a name that occurs
twice in a pattern stands for equal values. In the embedded engine, an object pattern matches every
object that has at least the pattern's keys, and a repeated name is rebound each time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from guardrail.policy.rego.conditions import SERVER, ConstructRefusal
from guardrail.policy.rego.tree import Node, RegoRule, children, kind, line_of, nodes, reference
from guardrail.policy.rego.world import RuleScope

__all__ = [
    "ambiguous_patterns",
    "compared_functions",
    "matched_names",
    "nested_patterns",
    "result_pattern",
]

_COMPREHENSIONS = frozenset({"ArrayCompr", "SetCompr", "ObjectCompr"})
_CLOSED = "compare object.keys(x) with the allowed keys, and read each value as x.key"


def ambiguous_patterns(scope: RuleScope) -> Iterator[tuple[int, ConstructRefusal]]:
    """Yield the line and the reason for each pattern in a rule that the two engines interpret
    differently.
    """
    rule = scope.rule
    head = next(iter(rule.node["head"].values())) if "head" in rule.node else rule.node
    arguments: list[Node] = head.get("args") or []
    yield from _pattern(arguments, "a function's arguments", rule.line)
    bound = {node["Var"]["value"] for node in nested_patterns(arguments) if kind(node) == "Var"}
    bound |= {"input", "data", *scope.own, *scope.imports} - rule.local
    for name, content in nodes(rule.node):
        if name == "SomeIn":
            yield from _pattern([content.get("key"), content["value"]], "some ... in", rule.line)
        elif name == "AssignExpr" and content["op"] == "ColEq":
            yield from _pattern([content["lhs"]], ":=", rule.line)
        elif name == "AssignExpr":
            yield from _unified(content, bound, rule.line)
    yield from _reassigned(scope, bound)


def matched_names(query: Any) -> set[str]:
    """Return the names in all lines of *query* that could assign a value to one of them: ``=``, and
    calls that return their result in an argument.
    """
    found: set[str] = set()
    for form, content in nodes(query):
        unification = form == "AssignExpr" and content["op"] == "Eq"
        if unification or (form == "Expr" and kind(content["expr"]) == "Call"):
            found.update(name for name, _ in _variables(content))
    return found


def _variables(node: Any) -> Iterator[tuple[str, int]]:
    """Yield the name and position of each variable, except the names of functions."""
    if kind(node) == "Var":
        yield node["Var"]["value"], int(node["Var"]["span"]["start"])
    for child in children(node["Call"]["params"] if kind(node) == "Call" else node):
        yield from _variables(child)


def _reassigned(scope: RuleScope, known: set[str]) -> Iterator[tuple[int, ConstructRefusal]]:
    """Yield each ``every`` whose body may assign a new value to a name from outside. The engine
    does that if the outer value was assigned by ``=``, by a call or as an index.
    """
    rule = scope.rule
    everies = [content for name, content in nodes(rule.node) if name == "Every"]
    if not everies:
        return
    declared = known | {"_"}
    for name, content in nodes(rule.node):
        assigned = name == "AssignExpr" and content["op"] == "ColEq"
        parts = [content["lhs"]] if assigned else []
        parts += [content.get("key"), content["value"]] if name == "SomeIn" else []
        found = nested_patterns([part for part in parts if part])
        declared |= {node["Var"]["value"] for node in found if kind(node) == "Var"}
    for every in everies:
        start, end = int(every["span"]["start"]), int(every["span"]["end"])
        outside = {name for name, at in _variables(rule.node) if not start <= at < end}
        names = (outside - declared) & matched_names(every["query"])
        if names:
            name = min(names)
            yield (
                int(every["span"]["line"]),
                ConstructRefusal(
                    "every-match",
                    (
                        f"every compares {name} with = or with the result of a call: the embedded "
                        f"engine may assign another value to {name}"
                    ),
                    f"write ==, or assign {name} with :=, or {SERVER}",
                ),
            )


def result_pattern(node: Node, line: int) -> Iterator[tuple[int, ConstructRefusal]]:
    """Check the pattern in the argument that receives a call's result."""
    return _pattern([node], "the result of a call", line)


def _pattern(parts: list[Any], where: str, line: int) -> Iterator[tuple[int, ConstructRefusal]]:
    """Check a pattern that always binds all of its names."""
    found = list(nested_patterns([part for part in parts if part]))
    line = next((line_of(node) for node in found if line_of(node)), line)
    for node in found:
        if kind(node) in {"Object", "Set"}:
            yield line, _is_exact_object(where)
            break
    names = Counter(node["Var"]["value"] for node in found if kind(node) == "Var")
    for name, times in names.items():
        if times > 1 and name != "_":
            yield line, _repeated_names(name, where)


def _unified(
    content: dict[str, Any], bound: set[str], line: int
) -> Iterator[tuple[int, ConstructRefusal]]:
    """Check the two sides of ``=``, which compares operands that are defined and binds the others.

    Only names in *bound* are certainly defined: any other name might be bound somewhere other than
    where it is read.
    """
    free: list[str] = []
    for side in (content["lhs"], content["rhs"]):
        if kind(side) == "Var":
            # A complete value is bound or compared unchanged.
            continue
        found = list(nested_patterns(side))
        names = [node["Var"]["value"] for node in found if kind(node) == "Var"]
        binding = [name for name in names if name not in bound]
        free += binding
        if binding and any(kind(node) in {"Object", "Set"} for node in found):
            yield line_of(side) or line, _is_exact_object("=")
    for name, times in Counter(free).items():
        if times > 1 and name != "_":
            yield int(content["span"]["line"]), _repeated_names(name, "=")


def nested_patterns(pattern: Any) -> Iterator[Node]:
    """Yield *pattern* and the items, keys and values nested in it. Comprehensions are skipped;
    calls and references are yielded but not entered.
    """
    if isinstance(pattern, list):
        for item in pattern:
            yield from nested_patterns(item)
        return
    name = kind(pattern)
    if name is None or name in _COMPREHENSIONS:
        return
    yield pattern
    if name in {"Array", "Set"}:
        yield from nested_patterns(pattern[name]["items"])
    elif name == "Object":
        for field in pattern["Object"]["fields"]:
            yield from nested_patterns(list(field[1:]))


def _is_exact_object(where: str) -> ConstructRefusal:
    return ConstructRefusal(
        "object-pattern",
        (
            f"{where} has an object or set as a pattern: OPA matches only values with "
            "exactly these keys, but the embedded engine also matches values with more "
            "keys"
        ),
        f"{_CLOSED}, or {SERVER}",
    )


def _repeated_names(name: str, where: str) -> ConstructRefusal:
    return ConstructRefusal(
        "repeated-name",
        (
            f"{name} occurs twice in the pattern of {where}: OPA requires both values to "
            "be equal, but the embedded engine does not compare them"
        ),
        f"use two names and compare them with ==, or {SERVER}",
    )


def compared_functions(scope: RuleScope) -> Iterator[tuple[int, ConstructRefusal]]:
    """Yield the lines that compare the result of a function with ``else`` with a value. If the
    comparison fails, OPA continues with the ``else``.
    """
    for name, content in nodes(scope.rule.node):
        if name == "Call":
            package, rules, _ = _target(scope, content["fcn"], scope.module.package)
            if any(map(_has_else, rules)) and len(content["params"]) > rules[0].arity:
                yield int(content["span"]["line"]), _BRANCHED
        elif name in {"RefBrack", "RefDot"}:
            package, rules, below = _target(scope, {name: content}, scope.module.package)
            keys = [
                r.node["head"]["Set"]["key"] for r in rules if r.form == "set" and not r.default
            ]
            if below == 1 and any(_calls_else(scope, key, package) for key in keys):
                yield int(content["span"]["line"]), _BRANCHED


def _calls_else(scope: RuleScope, key: Node, package: tuple[str, ...]) -> bool:
    calls = (content for name, content in nodes(key) if name == "Call")
    return any(_has_else(r) for call in calls for r in _target(scope, call["fcn"], package)[1])


def _has_else(rule: RegoRule) -> bool:
    return any(body["is_else"] for body in rule.node.get("bodies", []))


def _target(
    scope: RuleScope, node: Node, package: tuple[str, ...]
) -> tuple[tuple[str, ...], list[RegoRule], int]:
    """Return the package and the rules that *node* refers to, and the number of parts that follow
    the rules' name in *node*.
    """
    found = reference(node)
    if found is not None and found.head == "data":
        owner = scope.world.owner(found.static)
        if owner is not None:
            rules = scope.world.packages[owner].get(found.static[len(owner)], [])
            return owner, rules, len(found.parts) - len(owner) - 1
    elif found is not None and found.head is not None:
        return package, scope.world.packages[package].get(found.head, []), len(found.parts)
    return package, [], 0


_BRANCHED = ConstructRefusal(
    "else-result",
    (
        "the result of a function with else is compared with a value, in the last "
        "argument or through a set's [...]: if they differ, OPA continues with else, but "
        "the embedded engine does not"
    ),
    f"write f(x) == value, or value in set, or {SERVER}",
)
