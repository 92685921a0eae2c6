"""Checks the order of the calls in lists, sets and objects. Finds calls whose error in one engine
the other engine never reaches.

OPA makes the calls in a collection before it reads references, whereas the embedded engine builds
the collection item by item and stops at the first undefined item. OPA makes the calls in a set or
an object in the order of the sorted terms or keys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from guardrail.policy.rego.builtins import ALLOWED
from guardrail.policy.rego.conditions import SERVER, ConstructRefusal
from guardrail.policy.rego.order import (
    CALLS,
    COMPREHENSIONS,
    LITERALS,
    calls_of,
    can_fail,
    operands_of,
)
from guardrail.policy.rego.tree import REFERENCES, Node, children, kind, line_of, reference
from guardrail.policy.rego.world import RuleScope

__all__ = ["call_order", "skipped_call_nodes", "skipped_calls", "sorted_call_nodes", "sorted_calls"]


def skipped_calls(scope: RuleScope) -> Iterator[tuple[int, ConstructRefusal]]:
    """Yield the calls in a list, set or object that can fail and that follow an item that can be
    undefined.
    """
    for call in skipped_call_nodes(scope):
        yield line_of(call) or scope.rule.line, _SKIPPED


def skipped_call_nodes(scope: RuleScope) -> Iterator[Node]:
    """Yield the calls about which ``skipped_calls`` reports."""
    for composite, there in _collections(scope):
        missing = False
        for item in _ordered_items(composite):
            found = reference(item)
            if found is not None:
                missing = missing or not (found.dotted in there or scope.is_total(item))
            elif missing and kind(item) not in COMPREHENSIONS:
                yield from (call for call in calls_of(item) if can_fail(call, scope))


def sorted_calls(scope: RuleScope) -> Iterator[tuple[int, ConstructRefusal]]:
    """Yield the calls in a set or an object that can fail, if a call that can be undefined precedes
    them and OPA may make them before it.
    """
    for call, _ in sorted_call_nodes(scope):
        yield line_of(call) or scope.rule.line, _SORTED


def sorted_call_nodes(scope: RuleScope) -> Iterator[tuple[Node, bool]]:
    """Yield the calls about which ``sorted_calls`` reports, and whether OPA's order is known: it is
    in an object whose keys are all literal.
    """
    for composite, there in _collections(scope):
        for part, literal in _sorted_parts(composite):
            missing = False
            for item in part:
                calls = [] if kind(item) in COMPREHENSIONS else list(_authors_calls(item))
                if missing:
                    yield from ((call, literal) for call in calls if can_fail(call, scope))
                missing = missing or any(_can_be_undefined(each, scope, there) for each in calls)


def _collections(scope: RuleScope) -> Iterator[tuple[Node, set[str]]]:
    """Yield every list, set and object that is not nested in another, with the references that are
    certainly defined there.
    """
    known = _defined_references(scope)
    for composite in _composites(scope.rule.node):
        begin, _ = _span(composite)
        yield composite, {dotted for dotted, end in known if end <= begin}


def _sorted_parts(composite: Node) -> Iterator[tuple[list[Node], bool]]:
    """Yield the items of each set in *composite*, and those of each object whose keys are not in
    ascending order, and whether the keys are all literal.
    """
    items = _collection_items(composite) or []
    if kind(composite) == "Set":
        yield items, False
    elif kind(composite) == "Object":
        keys = _literal_keys(composite)
        if keys is None or keys != sorted(keys):
            yield items, keys is not None
    for item in items:
        if _collection_items(item) is not None:
            yield from _sorted_parts(item)


def _authors_calls(item: Node) -> Iterator[Node]:
    """Yield the calls in *item* without the checks of computed keys, which the rewriting added."""
    for call in calls_of(item):
        callee = reference(call["Call"]["fcn"]) if kind(call) == "Call" else None
        if callee is None or callee.dotted != "guardrail.key":
            yield call


def _literal_keys(node: Node) -> list[str] | None:
    keys = [field[1] for field in node["Object"]["fields"]]
    if not all(kind(key) in {"String", "RawString"} for key in keys):
        return None
    return [next(iter(key.values()))["value"] for key in keys]


def call_order(tree: Any) -> Callable[[int], tuple[int, int, int]]:
    """Return a function from the position of a call in *tree* to its place in OPA's order of the
    calls in a line: the order of the text, but of the sorted keys in an object.
    """
    places: list[tuple[int, int, int, int]] = []
    for composite in _composites(tree):
        begin = _span(composite)[0]
        for index, item in enumerate(_in_opas_order(composite)):
            places.append((*_span(item), begin, index))

    def place_of(start: int) -> tuple[int, int, int]:
        for first, last, begin, index in places:
            if first <= start < last:
                return begin, index, start
        return start, 0, start

    return place_of


def _in_opas_order(composite: Node) -> Iterator[Node]:
    items = _collection_items(composite) or []
    keys = _literal_keys(composite) if kind(composite) == "Object" else None
    if keys is not None:
        order = sorted(range(len(keys)), key=keys.__getitem__)
        items = [part for index in order for part in items[2 * index : 2 * index + 2]]
    for item in items:
        if _collection_items(item) is not None:
            yield from _in_opas_order(item)
        else:
            yield item


def _span(node: Node) -> tuple[int, int]:
    span = next(iter(node.values()))["span"]
    return int(span["start"]), int(span["end"])


def _can_be_undefined(call: Node, scope: RuleScope, there: set[str]) -> bool:
    """Return True if *call* can be undefined: an operand can be missing, or the function is a
    policy's.
    """
    if kind(call) == "Call":
        callee = reference(call["Call"]["fcn"])
        if callee is None or callee.dotted not in ALLOWED or callee.head in scope.own:
            return True
    return not all(_is_defined(operand, scope, there) for operand in operands_of(call))


def _is_defined(node: Node, scope: RuleScope, there: set[str]) -> bool:
    found = reference(node)
    if found is not None:
        return found.dotted in there or scope.is_total(node)
    if kind(node) in COMPREHENSIONS or kind(node) in LITERALS:
        return True
    items = _collection_items(node)
    if items is not None:
        return all(_is_defined(item, scope, there) for item in items)
    # A call is judged by itself.
    return kind(node) in CALLS


_SORTED = ConstructRefusal(
    "skipped-call",
    (
        "a call in a set or an object follows a call that may be undefined, and OPA may make them "
        "in a different order: there this call may fail, but the embedded engine stops at the "
        "first one"
    ),
    f"write y := call(...) on a separate line for each of them, or {SERVER}",
)


def _defined_references(scope: RuleScope) -> list[tuple[str, int]]:
    """Return the references that are certainly defined after some line of the rule's only body,
    with the end of that line.
    """
    bodies = scope.rule.node.get("bodies") or []
    found: list[tuple[str, int]] = []
    if len(bodies) != 1:
        return found
    for statement in bodies[0]["query"]["stmts"]:
        if "Expr" in statement["literal"]:
            end = statement["span"]["end"]
            found += [
                (dotted, end)
                for dotted in _required_references(statement["literal"]["Expr"]["expr"])
            ]
    return found


def _required_references(node: Any) -> Iterator[str]:
    """Yield the references that must be defined if *node* is true."""
    if kind(node) in COMPREHENSIONS or _collection_items(node) is not None:
        return
    found = reference(node)
    if found is not None and found.dotted is not None:
        yield found.dotted
        return
    for child in children(node):
        yield from _required_references(child)


def _composites(node: Any) -> Iterator[Node]:
    """Yield every list, set and object that is not nested in another."""
    if _collection_items(node) is not None:
        yield node
        for item in _ordered_items(node):
            if kind(item) not in REFERENCES:
                yield from _composites(item)
        return
    for child in children(node):
        yield from _composites(child)


def _ordered_items(composite: Node) -> Iterator[Node]:
    """Yield the items of a list, set or object in order. The items of nested collections are
    yielded in place of the collections.
    """
    for item in _collection_items(composite) or ():
        if _collection_items(item) is not None:
            yield from _ordered_items(item)
            continue
        found = reference(item)
        for part in found.dynamic if found is not None else ():
            yield from calls_of(part)
        yield item


def _collection_items(node: Any) -> list[Node] | None:
    """Return the items of a list, set or object, including its keys, or None for any other node. A
    rule head that the tree calls an object is not a collection.
    """
    name = kind(node)
    if name in {"Array", "Set"}:
        items: list[Node] | None = node[name].get("items")
        return items
    fields = node[name].get("fields") if name == "Object" else None
    return None if fields is None else [item for field in fields for item in field[1:]]


_SKIPPED = ConstructRefusal(
    "skipped-call",
    (
        "a call in a list, set or object follows an item that may be missing: OPA makes "
        "the call first, which may fail, but the embedded engine stops at the missing "
        "item"
    ),
    (
        "write y := call(...), or a condition that needs the item, on a separate line before it, "
        f"or {SERVER}"
    ),
)
