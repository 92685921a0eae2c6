"""Replaces operators whose operands may not be whole numbers with calls of guardrail's functions,
which calculate as OPA does.

The embedded engine calculates with 53 bits, where ``0.1 + 0.2 > 0.3``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from guardrail.policy.rego.numbers import arithmetic
from guardrail.policy.rego.rewriting.splices import Extents, Splice, spliced
from guardrail.policy.rego.tree import Module, Node, kind, nodes
from guardrail.policy.rego.world import PolicyIndex, RuleScope
from guardrail.policy.tokens import tokens

__all__ = ["with_exact_arithmetic"]

_FUNCTIONS = {
    "Add": (b"+", b"guardrail.plus("),
    "Sub": (b"-", b"guardrail.minus("),
    "Mul": (b"*", b"guardrail.times("),
    "Div": (b"/", b"guardrail.divide("),
    "Mod": (b"%", b"guardrail.remainder("),
}


def with_exact_arithmetic(modules: Sequence[Module]) -> list[str]:
    """Return the texts of *modules*, in order, with calls in place of such operators."""
    world = PolicyIndex(modules)
    found = []
    for module in modules:
        if module.source.installed:
            found.append(module.source.text)
        else:
            found.append(spliced(module.source.text, _splices(module, world)))
    return found


def _splices(module: Module, world: PolicyIndex) -> Iterator[Splice]:
    raw = module.source.text.encode("utf-8")
    for rule in module.rules:
        scope, extents = RuleScope(world, module, rule), Extents(rule, raw)
        closing: list[Splice] = []
        for name, content in nodes(rule.node):
            if name != "ArithExpr" or not _is_replaced(scope, content):
                continue
            sign, function = _FUNCTIONS[content["op"]]
            left, right = extents.of(content["lhs"])[1], extents.of(content["rhs"])[0]
            operator = next(
                (token for token in tokens(raw, left, right) if token.written == sign), None
            )
            if operator is None:
                continue
            start, end = extents.of({name: content})
            yield Splice(start, start, function)
            yield Splice(operator.start, operator.end, b",")
            closing.append(Splice(end, end, b")"))
        yield from closing


def _is_replaced(scope: RuleScope, content: Node) -> bool:
    if arithmetic(scope, content) is None:
        return False
    # A quotient seldom has few digits, unless the divisor is a literal.
    divisor = content["rhs"]["Number"]["value"] if kind(content["rhs"]) == "Number" else 0
    return content["op"] != "Div" or bool(divisor)
