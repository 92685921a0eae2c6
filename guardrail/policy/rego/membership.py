"""Makes ``x in xs`` undefined if ``x`` or ``xs`` is undefined, as in OPA.

In the embedded engine it is false then, so ``(input.name in blocked) == false`` would be true for a
call without a name. Each such expression whose value is used is therefore rewritten as a call of
``data.guardrail.lib.engine.member``, which is undefined if an argument is undefined. A line of a
body does not distinguish undefined from false.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from guardrail.policy.rego.rewriting.splices import Extents, Splice, spliced
from guardrail.policy.rego.tree import Module, Node, children, kind
from guardrail.policy.rego.world import PolicyIndex, RuleScope
from guardrail.policy.tokens import tokens

__all__ = ["with_defined_memberships"]

_FUNCTION = b"data.guardrail.lib.engine.member("


def with_defined_memberships(modules: Sequence[Module]) -> list[str]:
    """Return the texts of *modules*, in order, with calls in place of such expressions. Line
    numbers do not change.
    """
    world = PolicyIndex(modules)
    return [
        module.source.text
        if module.source.installed
        else spliced(module.source.text, _splices(module, world))
        for module in modules
    ]


def _splices(module: Module, world: PolicyIndex) -> Iterator[Splice]:
    raw = module.source.text.encode("utf-8")
    for rule in module.rules:
        scope, extents = RuleScope(world, module, rule), Extents(rule, raw)
        closing: list[Splice] = []
        for node in _used(rule.node):
            content = node["Membership"]
            sides = [content[key] for key in ("key", "value", "collection") if content.get(key)]
            if all(map(scope.is_total, sides)):
                continue
            left, right = extents.of(content["value"])[1], extents.of(content["collection"])[0]
            word = next(token for token in tokens(raw, left, right) if token.written == b"in")
            start, end = extents.of(node)
            yield Splice(start, start, _FUNCTION)
            yield Splice(word.start, word.end, b",")
            closing.append(Splice(end, end, b")"))
        yield from closing


def _used(node: Any) -> Iterator[Node]:
    """Yield the memberships whose value is used: all but those that are a line of a body."""
    if isinstance(node, dict) and "literal" in node:
        line = next(iter(node["literal"].values()))
        expression = line.get("expr")
        if kind(expression) == "Membership":
            yield from _used(list(expression["Membership"].values()))
            yield from _used(node.get("with_mods") or [])
            return
    if kind(node) == "Membership":
        yield node
    for child in children(node):
        yield from _used(child)
