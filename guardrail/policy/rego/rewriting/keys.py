"""Has the computed keys of an object compared with its other keys.

If two keys are equal, ``{"a": 1, x: 2}`` has another value in OPA than in the embedded engine.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from guardrail.policy.rego.conditions import SERVER, ConstructRefusal
from guardrail.policy.rego.rewriting.splices import Extents, Splice, spliced
from guardrail.policy.rego.tree import Module, Node, RegoRule, kind, line_of, nodes, reference
from guardrail.policy.rego.world import RuleScope

__all__ = ["equal_keys", "with_distinct_keys"]

_CONSTANTS = frozenset({"String", "RawString", "Number", "Bool", "Null"})
_COMPOSITES = frozenset({"Array", "ArrayCompr", "Object", "ObjectCompr", "Set", "SetCompr"})


def with_distinct_keys(modules: Sequence[Module]) -> list[str]:
    """Return the texts of *modules*, in order, in which each computed key that shares an object
    with other keys raises an error if it is equal to one of them.
    """
    found = []
    for module in modules:
        raw = module.source.text.encode("utf-8")
        splices: list[Splice] = []
        if not (module.source.installed or module.test):
            for rule in module.rules:
                splices += _splices(rule, raw)
        found.append(spliced(module.source.text, splices))
    return found


def equal_keys(scope: RuleScope, content: dict[str, Any]) -> Iterator[tuple[int, ConstructRefusal]]:
    """Yield a refusal if an object has a computed key, and other keys that may be equal to it."""
    for _, key, _ in content["fields"]:
        name = kind(key)
        value = scope.aliases.get(key["Var"]["value"]) if name == "Var" else key
        if name in _CONSTANTS or (value is not None and _is_checked(value)):
            continue
        if len(content["fields"]) > 1:
            yield line_of(key) or int(content["span"]["line"]), _EQUAL
            return


_EQUAL = ConstructRefusal(
    "computed-key",
    (
        "an object combines a computed key with other keys: if two keys are "
        "equal, the embedded engine keeps the last value, but in OPA another "
        "value wins or the rule is undefined"
    ),
    (f'write object.union({{"a": 1}}, {{key: value}}), where the second wins, or {SERVER}'),
)


def _splices(rule: RegoRule, raw: bytes) -> Iterator[Splice]:
    extents = Extents(rule, raw)
    patterns = list(map(id, _patterns(rule)))
    for name, content in nodes(rule.node):
        if name != "Object" or id(content) in patterns or "fields" not in content:
            continue
        keys = [field[1] for field in content["fields"]]
        computed = [key for key in keys if kind(key) not in _CONSTANTS]
        if not computed or len(keys) == 1 or any(map(_is_checked, keys)):
            continue
        if any(kind(key) in _COMPOSITES for key in keys):
            continue
        texts = [extents.on_one_line(key) for key in keys]
        if None in texts:
            continue
        others = [text or b"" for key, text in zip(keys, texts, strict=True) if key not in computed]
        for key in computed:
            start, end = extents.of(key)
            yield Splice(start, start, b"guardrail.key(")
            yield Splice(end, end, b", [" + b", ".join(others) + b"])")
            others.append(extents.on_one_line(key) or b"")


def _is_checked(node: Node) -> bool:
    callee = reference(node["Call"]["fcn"]) if kind(node) == "Call" else None
    return callee is not None and callee.dotted == "guardrail.key"


def _patterns(rule: RegoRule) -> Iterator[Node]:
    """Yield the objects that may be patterns, or that contain other computed keys."""
    head = next(iter(rule.node["head"].values())) if "head" in rule.node else {}
    places: list[Any] = [head.get("args")]
    for name, content in nodes(rule.node):
        if name == "AssignExpr":
            places += [content["lhs"], content["rhs"] if content["op"] == "Eq" else None]
        elif name == "SomeIn":
            places += [content.get("key"), content["value"]]
        elif name == "Expr" and kind(content["expr"]) == "Call":
            places.append(content["expr"]["Call"]["params"][-1:])
        elif name == "Object" and "fields" in content:
            places += [field[1] for field in content["fields"]]
    for place in places:
        yield from (content for name, content in nodes(place) if name == "Object")
