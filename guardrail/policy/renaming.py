"""Other names for variables that are declared with ``some`` and are called like a rule of their package.

In OPA such a variable hides the rule. The embedded engine refuses ``some name in xs`` there, and reads the rule's value
for the variable of ``some name``: a deny rule then does not fire.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from guardrail.policy.tree import Module, Node, Rule, children, kind, nodes, reference

__all__ = ["renamed"]

Edit = tuple[int, int, str]
"""First byte, byte after the last, and the text to put there."""


def renamed(module: Module, rules: frozenset[str], taken: Iterable[str]) -> list[Edit]:
    """Return what to write for each such variable of *module*; no new name is among *taken*.

    *rules* are the names of all rules of the package.
    """
    raw = module.source.text.encode("utf-8")
    used = frozenset(taken)
    found: dict[tuple[int, int], str] = {}
    for rule in module.rules:
        names = (rule.local & rules) - _arguments(rule)
        if names:
            for name, start, end in _places(rule.node, names, raw):
                found[start, end] = _free(name, used)
    return [(start, end, name) for (start, end), name in found.items()]


def _arguments(rule: Rule) -> frozenset[str]:
    """OPA refuses to declare these again: they are left as they are."""
    head = next(iter(rule.node["head"].values())) if "head" in rule.node else rule.node
    found = nodes(head.get("args") or [])
    return frozenset(content["value"] for name, content in found if name == "Var")


def _free(name: str, used: frozenset[str]) -> str:
    while name in used:
        name += "_"
    return name


def _places(node: Any, names: frozenset[str], raw: bytes) -> Iterator[tuple[str, int, int]]:
    """Yield every place of a variable of *names* in the scopes that declare it with ``some``."""
    for scope, query in _scopes(node):
        declared = _declared(query, raw) & names
        if declared:
            for part in scope:
                yield from _variables(part, declared, raw)


def _scopes(node: Any) -> Iterator[tuple[list[Any], Any]]:
    """Yield each query with everything that sees its variables."""
    name = kind(node)
    content = node[name] if name is not None else node
    if isinstance(content, dict):
        if name in {"ArrayCompr", "SetCompr", "ObjectCompr"}:
            yield [content], content["query"]
        elif name == "Every":
            yield [content["query"]], content["query"]
        elif "head" in content and content.get("bodies"):
            first = content["bodies"][0]["query"]
            head = next(iter(content["head"].values()))
            named = reference(head["refr"])
            keys = list(named.dynamic) if named is not None else []
            yield [[value for key, value in head.items() if key != "refr"], keys, first], first
            for body in content["bodies"][1:]:
                yield [body], body["query"]
    for child in children(content):
        yield from _scopes(child)


def _declared(query: Any, raw: bytes) -> frozenset[str]:
    """Return the names that the statements of *query* itself declare with ``some``."""
    names: set[str] = set()
    for statement in query["stmts"]:
        literal = statement["literal"]
        if kind(literal) == "SomeVars":
            names |= {_written(span, raw) for span in literal["SomeVars"]["vars"]}
        elif kind(literal) == "SomeIn":
            content = literal["SomeIn"]
            found = {
                inner["value"]
                for name, inner in nodes([content.get("key"), content["value"]])
                if name == "Var"
            }
            within = nodes(content["collection"])
            # OPA refuses to go through what the variable hides.
            names |= found - {inner["value"] for name, inner in within if name == "Var"}
    return frozenset(names)


def _variables(part: Any, names: frozenset[str], raw: bytes) -> Iterator[tuple[str, int, int]]:
    for name, content in nodes(part):
        if name == "Var" and content["value"] in names:
            span = content["span"]
            if _written(span, raw) == content["value"]:
                yield content["value"], span["start"], span["end"]
        elif name == "SomeVars":
            yield from _spans(content["vars"], names, raw)
        elif name == "Every":
            yield from _spans([content.get("key"), content["value"]], names, raw)


def _spans(spans: list[Any], names: frozenset[str], raw: bytes) -> Iterator[tuple[str, int, int]]:
    for span in spans:
        if span and _written(span, raw) in names:
            yield _written(span, raw), span["start"], span["end"]


def _written(span: Node, raw: bytes) -> str:
    return raw[span["start"] : span["end"]].decode("utf-8")
